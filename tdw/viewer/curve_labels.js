// Names at the right ends of lines and bands, moved apart where the ends are close; as many as there is room for.

import { el } from "./dom.js";
import { clamp, evenly, spreadApart } from "./numbers.js";

/** @import { Limits } from "./curve.js" */
/** @import { Curve } from "./lines.js" */
/** @import { PlotFrame } from "./plot_frame.js" */

const HEIGHT = 15; // pixels of a name

export class CurveLabels {
  /** @param {HTMLElement} overlay */
  constructor(overlay) {
    this.overlay = overlay;
    /** @type {HTMLElement[]} of the lines, then of the bands */
    this.nodes = [];
  }
  /** @param {Curve[]} lines @param {Limits[]} bands */
  update(lines, bands) {
    for (const node of this.nodes) node.remove();
    const names = lines.map(({ label, color }) => {
      const node = el("span", "tdw-line-label", label);
      node.style.color = `var(--tdw-${color})`;
      return node;
    });
    this.nodes = [...names, ...bands.map(({ label }) => el("span", "tdw-line-label tdw-band-label", label))];
    this.overlay.append(...this.nodes);
  }
  /** @param {PlotFrame} frame @param {Curve[]} lines @param {Limits[]} bands @param {(value: number) => number} height where a value is drawn, in pixels */
  place(frame, lines, bands, height) {
    const [x0, x1] = frame.range.x;
    const { width, height: room } = frame.inner;
    /** @type {{label: HTMLElement, x: number, y: number}[]} */
    const ends = [];
    lines.forEach(({ xs, ys }, i) => {
      let at = xs.length - 1;
      while (at > 0 && (xs[at] > x1 || Number.isNaN(ys[at]))) at--;
      const label = this.nodes[i];
      label.hidden = at < 0 || xs[at] < x0 || Number.isNaN(ys[at]);
      if (label.hidden) return;
      ends.push({ label, x: frame.px(xs[at]), y: clamp(height(ys[at]), 0, room) });
    });
    bands.forEach(({ low, high }, i) => {
      const y = frame.py((low + high) / 2);
      const label = this.nodes[lines.length + i];
      label.hidden = y < 0 || y > room;
      if (!label.hidden) ends.push({ label, x: width, y });
    });
    ends.sort((a, b) => a.y - b.y);
    const shown = evenly(ends.length, Math.max(1, Math.floor(room / HEIGHT))).map((i) => ends[i]);
    for (const { label } of ends) label.hidden = true;
    const placed = spreadApart(
      shown.map(({ y }) => y),
      HEIGHT,
      room,
    );
    shown.forEach(({ label, x }, i) => {
      label.hidden = false;
      label.style.transform = `translate(${x + 7}px, ${placed[i] - HEIGHT / 2}px)`;
    });
  }
}
