// All neurons as thumbnails. There are only as many buttons as fit, and a row more at each end.

import { el, setText, targetOf } from "./dom.js";
import { MapCanvas } from "./map_canvas.js";

/** @import { Palette } from "./types.js" */
/** @import { NeuronMaps } from "./neuron_maps.js" */

const CELL = 48; // smallest thumbnail, CSS pixels
const GAP = 6;
const CAPTION = 15;
const SCROLL_BAR = 12;

/**
 * Where thumbnails are: `columns` of them, `size` wide and high, `stride` and `line` apart.
 * @param {number} width CSS pixels
 * @param {number} height
 */
export const thumbnailGrid = (width, height) => {
  const columns = Math.max(1, Math.floor((width + GAP) / (CELL + GAP)));
  let size = Math.floor((width - GAP * (columns - 1)) / columns);
  // A little smaller, if then no line of thumbnails is cut at the bottom.
  const lines = Math.round((height + GAP) / (size + CAPTION + GAP));
  const fitting = Math.floor((height + GAP) / Math.max(1, lines)) - CAPTION - GAP;
  if (fitting <= size && fitting > size * 0.85) size = fitting;
  return { columns, size, line: size + CAPTION + GAP, stride: (width - size) / Math.max(1, columns - 1) };
};

/**
 * @typedef {object} Slot
 * @property {HTMLButtonElement} button
 * @property {MapCanvas} map
 * @property {HTMLElement} caption
 * @property {number} neuron -1 for none
 * @property {number} position in the order of neurons
 * @property {string} key of its size and place
 * @property {number} drawn index of the checkpoint that is painted, -1 for none
 * @property {boolean} visible
 * @property {boolean} isWaiting
 * @property {boolean} isDead
 */

export class Thumbnails {
  /** @param {{toggle: (neuron: number) => void, scrolled: () => void}} actions */
  constructor({ toggle, scrolled }) {
    this.toggle = toggle;
    this.node = el("div", "tdw-thumbs");
    this.inner = el("div", "tdw-thumbs-inner");
    this.node.append(this.inner);
    this.node.addEventListener("scroll", scrolled);
    /** @type {Slot[]} */
    this.slots = [];
    this.order = new Uint32Array(0);
    this.p = 0;
  }
  /** Drop all thumbnails, for maps of another size. @param {number} p @param {number} count of neurons */
  reset(p, count) {
    for (const slot of this.slots) slot.button.remove();
    this.slots = [];
    this.p = p;
    this.order = Uint32Array.from({ length: count }, (_, n) => n);
  }
  /** Put a thumbnail wherever one is visible. @param {number} width @param {number} height of the card's body @param {number[]} pins */
  lay(width, height, pins) {
    const count = this.order.length;
    const inside = width - SCROLL_BAR;
    const { columns, size, line, stride } = thumbnailGrid(inside, height);
    const lines = Math.ceil(count / columns);
    this.inner.style.height = `${lines * line - GAP}px`;
    const shown = Math.ceil(height / line) + 2;
    const first = Math.max(0, Math.floor(this.node.scrollTop / line));
    const room = Math.min(shown, lines) * columns;
    while (this.slots.length < room) this.slots.push(this.newSlot());
    for (const slot of this.slots.splice(room)) slot.button.remove();
    const start = Math.max(0, Math.min(first, lines - shown)) * columns;
    const key = `${size} ${columns} ${inside}`;
    for (let position = start; position < start + room; position++) {
      const slot = this.slots[position % room]; // a thumbnail that stays in view keeps its button
      const neuron = position < count ? this.order[position] : -1;
      const y = Math.floor(position / columns) * line;
      if (slot.position !== position || slot.key !== key) {
        slot.position = position;
        slot.key = key;
        const { style } = slot.button;
        style.transform = `translate(${Math.round((position % columns) * stride)}px, ${y}px)`;
        style.width = `${size}px`;
        style.height = `${size + CAPTION}px`;
        slot.map.canvas.style.height = `${size}px`;
        slot.map.setSize(size);
      }
      slot.button.hidden = neuron < 0; // the last line may be shorter
      if (slot.neuron !== neuron) {
        slot.neuron = neuron;
        slot.drawn = -1;
        slot.button.setAttribute("aria-pressed", String(pins.includes(neuron)));
      }
      const top = y - this.node.scrollTop;
      slot.visible = top < height && top + line - GAP > 0;
    }
  }
  /** @returns {Slot} */
  newSlot() {
    const button = el("button", "tdw-thumb", null, { type: "button" });
    const map = new MapCanvas(this.p);
    const caption = el("span");
    button.append(map.canvas, caption);
    this.inner.append(button);
    const slot = {
      button,
      map,
      caption,
      neuron: -1,
      position: -1,
      key: "",
      drawn: -1,
      visible: false,
      isWaiting: false,
      isDead: false,
    };
    button.addEventListener("click", () => this.toggle(slot.neuron));
    return slot;
  }
  /** @param {number[]} pins */
  markPins(pins) {
    for (const { button, neuron } of this.slots) button.setAttribute("aria-pressed", String(pins.includes(neuron)));
  }
  /** The neurons that have a thumbnail now. */
  get neurons() {
    return this.slots.filter(({ neuron }) => neuron >= 0).map(({ neuron }) => neuron);
  }
  /** The thumbnail under a pointer. @param {Event} event */
  at(event) {
    const target = targetOf(event);
    return this.slots.find(({ button, neuron }) => neuron >= 0 && button.contains(target));
  }
  invalidate() {
    for (const slot of this.slots) slot.drawn = -1;
  }
  /** @param {NeuronMaps} maps @param {number} index @param {number} row of the summary @param {boolean} isFixed @param {Palette} colors */
  draw(maps, index, row, isFixed, colors) {
    for (const slot of this.slots) {
      if (slot.neuron < 0 || !slot.visible || slot.drawn === index) continue;
      const { neuron } = slot;
      // Without a summary the scale over all checkpoints is computed for pinned neurons only.
      const largest = maps.compute(neuron, index, { isFixed, isExact: false });
      const isWaiting = largest < 0;
      if (isWaiting) slot.map.clear();
      else {
        slot.map.paint(maps.scratch, largest, colors);
        slot.drawn = index;
      }
      const isDead = Boolean(maps.value("dead", row, neuron));
      if (slot.isWaiting !== isWaiting) slot.button.classList.toggle("tdw-waiting", isWaiting);
      if (slot.isDead !== isDead) slot.button.classList.toggle("tdw-dead", isDead);
      Object.assign(slot, { isWaiting, isDead });
      const k = maps.value("frequency", row, neuron) ?? 0;
      setText(slot.caption, isDead ? `${neuron} dead` : k > 0 ? `${neuron} · k${k}` : String(neuron));
    }
  }
}
