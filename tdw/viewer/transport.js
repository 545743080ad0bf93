// The checkpoint slider: play, a timeline with a tick per checkpoint at its epoch and tints between events, and the epoch as
// text that can be edited.

import { context2d, el, setText } from "./dom.js";
import { tintedSpans } from "./epochs.js";
import { formatInteger, formatInterval } from "./format.js";
import { nearestIndex } from "./numbers.js";
import { Player } from "./player.js";

/** @import { Manifest, Palette, RunEvent } from "./types.js" */
/** @import { Tooltip } from "./tooltip.js" */

const PAD = 8; // half of the thumb: the native range keeps it within its track

/** @param {string} path */
const icon = (path) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
};

/** The epoch that a text means, or null. @param {string} text */
export const parseEpoch = (text) => {
  const digits = text.replace(/[\s\u202f,_']/g, "");
  const epoch = Number(digits);
  return digits === "" || !Number.isFinite(epoch) ? null : epoch;
};

/**
 * What the slider moves.
 * @typedef {{readonly index: number, show: (index: number, isPlaying?: boolean) => void, say: (text: string) => void, tooltip: Tooltip}} Shown
 */

export class Transport {
  /** @param {Element} parent @param {Shown} view @param {Palette} colors @param {Manifest} manifest */
  constructor(parent, view, colors, manifest) {
    this.view = view;
    this.colors = colors;
    this.manifest = manifest;
    this.end = 1;
    this.recorded = 0;
    this.width = this.height = 0;
    /** @type {number | null} the index that was last announced to screen readers */
    this.announced = null;
    this.bar = el("div", "tdw-transport", null, { role: "group", "aria-label": "Checkpoint" });
    this.icons = { play: icon("M4 2.5v11l9.5-5.5z"), pause: icon("M4 3h3v10H4zM9 3h3v10H9z") };
    this.play = el("button", "tdw-button tdw-play", null, { type: "button" });
    this.player = new Player(
      view,
      () => this.checkpoints.length,
      (isPlaying) => this.face(isPlaying),
    );
    this.face(false);
    this.timeline = el("div", "tdw-timeline");
    this.canvas = el("canvas", null, null, { "aria-hidden": "true" });
    this.elapsed = el("div", "tdw-elapsed");
    this.range = el("input", "tdw-range", null, {
      type: "range",
      min: "0",
      max: "1",
      step: "any",
      "aria-label": "Epoch of the checkpoint shown",
    });
    this.timeline.append(this.canvas, this.elapsed, this.range);
    this.epoch = el("input", "tdw-epoch", null, {
      type: "text",
      inputmode: "numeric",
      autocomplete: "off",
      spellcheck: "false",
      "aria-label": "Epoch: type one to go to the nearest checkpoint",
      title: "Type an epoch to go to the nearest checkpoint",
    });
    const words = el("div", "tdw-where");
    this.where = el("div", null, "");
    words.append(el("div", null, "epoch"), this.where);
    this.bar.append(this.play, this.timeline, this.epoch, words);
    parent.append(this.bar);
    this.listen();
  }
  listen() {
    this.play.addEventListener("click", () => this.toggle());
    this.range.addEventListener("input", () =>
      this.view.show(nearestIndex(this.checkpoints, Number(this.range.value)), true),
    );
    this.range.addEventListener("pointermove", (event) => this.hover(event));
    this.range.addEventListener("pointerleave", () => this.view.tooltip.hide());
    this.epoch.addEventListener("focus", () => this.epoch.select());
    this.epoch.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.typed();
      else if (event.key === "Escape") this.restore();
      else return;
      event.stopPropagation();
    });
    this.epoch.addEventListener("blur", () => this.restore());
  }
  get checkpoints() {
    return this.manifest.checkpoints;
  }
  /** @param {Manifest} manifest */
  update(manifest) {
    this.manifest = manifest;
    this.recorded = Math.max(0, manifest.epochs - 1);
    const planned = manifest.state === "finished" ? this.recorded : Math.max(this.recorded, manifest.planned_epochs);
    this.end = Math.max(1, planned, this.checkpoints.at(-1) ?? 0);
    this.announced = null;
    this.range.max = String(this.end);
    const isEmpty = !this.checkpoints.length;
    for (const node of [this.range, this.play, this.epoch]) node.disabled = isEmpty;
    this.bar.classList.toggle("tdw-idle", isEmpty);
    this.paint();
  }
  /** @param {number} epoch */
  x(epoch) {
    return PAD + (epoch / this.end) * (this.width - 2 * PAD);
  }
  resize() {
    this.width = this.timeline.clientWidth;
    this.height = this.timeline.clientHeight;
    this.paint();
  }
  /** @param {Palette} colors */
  theme(colors) {
    this.colors = colors;
    this.paint();
  }
  /** What does not move: track, ticks, tints, events. */
  paint() {
    if (!this.width) return;
    const ratio = window.devicePixelRatio || 1;
    const { canvas, colors, height } = this;
    Object.assign(canvas, { width: Math.round(this.width * ratio), height: Math.round(height * ratio) });
    const g = context2d(canvas);
    const middle = Math.round(height / 2);
    /** @param {number} from @param {number} to @param {number} y @param {number} h @param {string} color @param {number} alpha */
    const rect = (from, to, y, h, color, alpha) => {
      g.globalAlpha = alpha;
      g.fillStyle = color;
      const left = Math.round(this.x(from) * ratio);
      g.fillRect(left, y * ratio, Math.max(ratio, Math.round(this.x(to) * ratio) - left), h * ratio);
    };
    rect(0, this.end, middle - 1, 2, colors.line, 1);
    rect(0, this.recorded, middle - 1, 2, colors.lineStrong, 1);
    for (const { from, to } of tintedSpans(this.manifest)) rect(from, to, middle - 8, 16, colors.test, 0.16);
    for (const event of this.manifest.events) {
      if (!event.first) continue;
      const [before, after] = event.first;
      rect(before < 0 ? after : before, after, 1, 4, this.colorOf(event), 0.9);
    }
    g.globalAlpha = 0.6;
    g.fillStyle = colors.muted;
    let last = -9;
    for (const epoch of this.checkpoints) {
      const x = Math.round(this.x(epoch) * ratio);
      if (x === last) continue;
      g.fillRect(x - Math.floor(ratio / 2), (middle - 5) * ratio, Math.max(1, Math.floor(ratio)), 10 * ratio);
      last = x;
    }
    g.globalAlpha = 1;
  }
  /** @param {RunEvent} event */
  colorOf({ name }) {
    if (name.startsWith("memorized")) return this.colors.train;
    return name.startsWith("generalized") ? this.colors.good : this.colors.muted;
  }
  /** @param {number} index */
  draw(index) {
    const isEmpty = index < 0;
    const epoch = isEmpty ? 0 : this.checkpoints[index];
    this.elapsed.style.transform = `scaleX(${isEmpty ? 0 : (this.x(epoch) - PAD) / (this.width - 2 * PAD)})`;
    if (Number(this.range.value) !== epoch) this.range.value = String(epoch);
    const text = isEmpty ? "–" : formatInteger(epoch);
    const isEdited = document.activeElement === this.epoch && this.epoch.dataset.shown !== this.epoch.value;
    if (!isEdited) this.epoch.value = text;
    this.epoch.dataset.shown = text;
    const of = this.checkpoints.length;
    setText(this.where, isEmpty ? "no checkpoint" : `checkpoint ${index + 1} / ${of}`);
    if (this.announced !== index) {
      const words = isEmpty ? "no checkpoint" : `epoch ${epoch}, checkpoint ${index + 1} of ${of}`;
      this.range.setAttribute("aria-valuetext", words);
      this.announced = index;
    }
  }
  /** @param {PointerEvent} event */
  hover(event) {
    if (event.buttons || !this.checkpoints.length) {
      this.view.tooltip.hide();
      return;
    }
    const box = this.range.getBoundingClientRect();
    const epoch = ((event.clientX - box.left - PAD) / (box.width - 2 * PAD)) * this.end;
    const near = this.checkpoints[nearestIndex(this.checkpoints, epoch)];
    /** @type {import("./types.js").TooltipLine[]} */
    const lines = [[`epoch ${formatInteger(near)}`, ""]];
    const slack = (4 / (box.width - 2 * PAD)) * this.end;
    for (const { label, first } of this.manifest.events) {
      if (first && epoch >= first[0] - slack && epoch <= first[1] + slack)
        lines.push(`${label} ${formatInterval(first)}`);
    }
    for (const { from, to, label } of tintedSpans(this.manifest)) if (epoch > from && epoch < to) lines.push(label);
    this.view.tooltip.show(event.clientX, box.bottom - 8, lines);
  }
  /** Go to the epoch in the text field. */
  typed() {
    const epoch = parseEpoch(this.epoch.value);
    if (epoch === null) {
      this.epoch.setAttribute("aria-invalid", "true");
      this.view.say(`The epoch must be a number from 0 to ${this.end} (got “${this.epoch.value.slice(0, 20)}”).`);
      return;
    }
    const index = nearestIndex(this.checkpoints, epoch);
    this.epoch.removeAttribute("aria-invalid");
    this.epoch.value = this.epoch.dataset.shown = formatInteger(this.checkpoints[index]);
    this.view.show(index);
    this.epoch.select();
  }
  restore() {
    this.epoch.removeAttribute("aria-invalid");
    this.epoch.value = this.epoch.dataset.shown || "";
  }
  toggle() {
    this.player.toggle();
  }
  stop() {
    this.player.stop();
  }
  /** @param {boolean} isPlaying */
  face(isPlaying) {
    const label = isPlaying ? "Pause" : "Play";
    this.play.replaceChildren(isPlaying ? this.icons.pause : this.icons.play);
    this.play.setAttribute("aria-label", label);
    this.play.title = `${label} (space)`;
  }
  close() {
    this.stop();
    this.bar.remove();
  }
}
