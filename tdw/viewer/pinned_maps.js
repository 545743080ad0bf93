// The pinned neurons' maps, as large as fit.

import { el, setText } from "./dom.js";
import { formatShort } from "./format.js";
import { MapCanvas } from "./map_canvas.js";
import { GELU_DEPTH } from "./neuron_map.js";
import { clamp } from "./numbers.js";

/** @import { Palette } from "./types.js" */
/** @import { NeuronMaps } from "./neuron_maps.js" */

const CAPTION = 20; // pixels
const [GAP_X, GAP_Y] = [12, 8];
const WIDE = 170; // pixels from which a caption has room for the scale

/** The largest squares that hold so many maps with their captions, and in how many columns. @param {number} count @param {number} width @param {number} height */
export const largestSquares = (count, width, height) => {
  let best = { size: 0, columns: 1 };
  for (let columns = 1; columns <= count; columns++) {
    const lines = Math.ceil(count / columns);
    const across = (width - (columns - 1) * GAP_X) / columns;
    const down = (height - lines * CAPTION - (lines - 1) * GAP_Y) / lines;
    const size = Math.floor(Math.min(across, down));
    if (size > best.size) best = { size, columns };
  }
  return best;
};

/** @typedef {{node: HTMLElement, map: MapCanvas, caption: HTMLElement, neuron: number, drawn: number, isWide: boolean, label: string}} Figure */

export class PinnedMaps {
  /** @param {(neuron: number) => void} unpin */
  constructor(unpin) {
    this.unpin = unpin;
    this.node = el("div", "tdw-pinned");
    /** @type {Figure[]} */
    this.figures = [];
  }
  /** @param {number[]} pins @param {number} p @param {number} width @param {number} height of the card's body */
  lay(pins, p, width, height) {
    const { size, columns } = largestSquares(pins.length, width, height);
    if (!size) return;
    this.node.style.gridTemplateColumns = `repeat(${columns}, ${size}px)`;
    const old = new Map(this.figures.map((figure) => [figure.neuron, figure]));
    this.figures = pins.map((neuron) => {
      const held = old.get(neuron);
      return held?.map.canvas.width === p ? held : this.newFigure(neuron, p);
    });
    for (const figure of this.figures) {
      const { style } = figure.map.canvas;
      style.width = style.height = `${size}px`;
      figure.map.setSize(size);
      figure.isWide = size >= WIDE;
      figure.drawn = -1;
    }
    this.node.replaceChildren(...this.figures.map((figure) => figure.node));
  }
  /** @param {number} neuron @param {number} p @returns {Figure} */
  newFigure(neuron, p) {
    const node = el("figure");
    const map = new MapCanvas(p);
    map.canvas.setAttribute("role", "img");
    const caption = el("figcaption");
    const name = `Unpin neuron ${neuron}`;
    const unpin = el("button", "tdw-unpin", "×", { type: "button", "aria-label": name, title: "Unpin" });
    unpin.addEventListener("click", () => this.unpin(neuron));
    node.append(map.canvas, caption, unpin);
    return { node, map, caption, neuron, drawn: -1, isWide: false, label: "" };
  }
  invalidate() {
    for (const figure of this.figures) figure.drawn = -1;
  }
  /** The map under a pointer, and the pair. @param {PointerEvent} event @param {number} p */
  at(event, p) {
    const figure = this.figures.find(({ map }) => map.canvas === event.target);
    if (!figure) return null;
    const box = figure.map.canvas.getBoundingClientRect();
    const b = clamp(Math.floor(((event.clientX - box.left) / box.width) * p), 0, p - 1);
    const a = clamp(Math.floor(((event.clientY - box.top) / box.height) * p), 0, p - 1);
    return { neuron: figure.neuron, a, b };
  }
  /** @param {NeuronMaps} maps @param {number} index @param {number} row of the summary @param {boolean} isFixed @param {Palette} colors */
  draw(maps, index, row, isFixed, colors) {
    for (const figure of this.figures) {
      if (figure.drawn === index) continue;
      const { neuron } = figure;
      const largest = maps.compute(neuron, index, { isFixed, isExact: true });
      if (largest < 0) figure.map.clear();
      else {
        figure.map.paint(maps.scratch, largest, colors);
        figure.drawn = index;
      }
      const k = maps.value("frequency", row, neuron) ?? 0;
      const words = [`n ${neuron}`];
      if (maps.value("dead", row, neuron)) words.push("dead");
      else if (k > 0) words.push(`k ${k}`, (maps.value("share", row, neuron) ?? 0).toFixed(2));
      const low = maps.shape.activation === "gelu" ? `−${GELU_DEPTH}` : "0";
      if (figure.isWide && largest > 0) words.push(`${low}–${formatShort(largest)}`);
      const text = words.join(" · ");
      setText(figure.caption, text);
      if (figure.label !== text) figure.map.canvas.setAttribute("aria-label", `Activation over a and b: ${text}`);
      figure.label = text;
    }
  }
}
