// Names at the right ends of lines and bands, moved apart where the ends are close; as many as there is room for.

import { el } from "./dom.js";
import { formatInteger } from "./format.js";
import { zeroFrom } from "./lines.js";
import { clamp, evenly, spreadApart } from "./numbers.js";

/** @import { Limits } from "./curve.js" */
/** @import { Curve } from "./lines.js" */
/** @import { PlotFrame } from "./plot_frame.js" */

const HEIGHT = 15; // pixels of a name
const ZERO_WIDTH = 130; // pixels of "0 from epoch …"

export class CurveLabels {
  /** @param {HTMLElement} overlay */
  constructor(overlay) {
    this.overlay = overlay;
    /** @type {HTMLElement[]} of the lines, then of the bands */
    this.nodes = [];
    /** @type {{node: HTMLElement, epoch: number, line: number}[]} where lines end in 0 */
    this.zeros = [];
  }
  /** @param {Curve[]} lines @param {Limits[]} bands */
  update(lines, bands) {
    for (const node of [...this.nodes, ...this.zeros.map(({ node }) => node)]) node.remove();
    const names = lines.map(({ label, color }) => {
      const node = el("span", "tdw-line-label", label);
      node.style.color = `var(--tdw-${color})`;
      return node;
    });
    this.nodes = [...names, ...bands.map(({ label }) => el("span", "tdw-line-label tdw-band-label", label))];
    this.zeros = lines.flatMap((line, i) => {
      const epoch = zeroFrom(line);
      if (epoch === null) return [];
      const node = el("span", "tdw-line-label tdw-zero-label", `▾ 0 from epoch ${formatInteger(epoch)}`);
      node.style.color = `var(--tdw-${line.color})`;
      return [{ node, epoch, line: i }];
    });
    this.overlay.append(...this.nodes, ...this.zeros.map(({ node }) => node));
  }
  /** @param {PlotFrame} frame @param {Curve[]} lines @param {Limits[]} bands @param {boolean} isLog */
  place(frame, lines, bands, isLog) {
    const [x0, x1] = frame.range.x;
    const { width, height } = frame.inner;
    /** @type {{label: HTMLElement, x: number, y: number}[]} */
    const ends = [];
    lines.forEach(({ xs, ys }, i) => {
      let at = xs.length - 1;
      while (at > 0 && (xs[at] > x1 || Number.isNaN(ys[at]))) at--;
      const label = this.nodes[i];
      label.hidden = at < 0 || xs[at] < x0 || Number.isNaN(ys[at]);
      if (label.hidden) return;
      const y = isLog && ys[at] === 0 ? height : frame.py(isLog ? Math.log10(ys[at]) : ys[at]);
      ends.push({ label, x: frame.px(xs[at]), y: clamp(y, 0, height) });
    });
    bands.forEach(({ low, high }, i) => {
      const y = frame.py((low + high) / 2);
      const label = this.nodes[lines.length + i];
      label.hidden = y < 0 || y > height;
      if (!label.hidden) ends.push({ label, x: width, y });
    });
    this.zeros.forEach(({ node, epoch }, i) => {
      const x = frame.px(epoch);
      node.hidden = !isLog || x < 0 || x > width;
      // Above the foot, to the left of the mark where there is no room to its right.
      const isLeft = x > width - ZERO_WIDTH;
      node.style.transform = `translate(${x - 4}px, ${height - HEIGHT * (i + 1) - 2}px)${isLeft ? " translateX(calc(-100% + 9px))" : ""}`;
    });
    ends.sort((a, b) => a.y - b.y);
    const shown = evenly(ends.length, Math.max(1, Math.floor(height / HEIGHT))).map((i) => ends[i]);
    for (const { label } of ends) label.hidden = true;
    const placed = spreadApart(
      shown.map(({ y }) => y),
      HEIGHT,
      height,
    );
    shown.forEach(({ label, x }, i) => {
      label.hidden = false;
      label.style.transform = `translate(${x + 7}px, ${placed[i] - HEIGHT / 2}px)`;
    });
  }
}
