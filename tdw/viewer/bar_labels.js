// Numbers over dominant bars, tallest first; one that would touch another, a bar or the edge is left out.

import { clamp } from "./numbers.js";

/** @import { Numbers, Palette } from "./types.js" */

/**
 * How bars are drawn, in device pixels: `each` wide from `x0` on, `up(value)` is the top of one.
 * @typedef {{data: Numbers, from: number, count: number, x0: number, each: number, up: (v: number) => number, ratio: number, colors: Palette, width: number}} Drawing
 */

/** Whether a box reaches over the top of a bar. @param {number[]} box left, top, right, bottom @param {Drawing} drawing */
const coversBar = (box, { data, from, count, x0, each, up }) => {
  const first = Math.max(0, Math.floor(box[0] / each + x0 + 0.5));
  const last = Math.min(count - 1, Math.floor(box[2] / each + x0 + 0.5));
  for (let i = first; i <= last; i++) if (up(data[from + i]) < box[3] - 1) return true;
  return false;
};

export class BarLabels {
  constructor() {
    /** @type {{k: number, box: number[]}[]} in CSS pixels */
    this.placed = [];
  }
  /** @param {CanvasRenderingContext2D} g @param {Map<number, {x: number, value: number}>} tall by frequency @param {Drawing} drawing */
  draw(g, tall, drawing) {
    const { x0, each, up, ratio, colors, width: limit } = drawing;
    g.font = `${11 * ratio}px ${colors.font}`;
    g.textAlign = "center";
    g.textBaseline = "alphabetic";
    g.fillStyle = colors.ink;
    /** @type {number[][]} */
    const taken = [];
    this.placed = [];
    for (const [k, bar] of [...tall].sort((a, b) => b[1].value - a[1].value)) {
      const { width } = g.measureText(String(k));
      const x = clamp((bar.x - x0) * each - each * 0.1, width / 2, limit - width / 2);
      const y = up(bar.value) - 4 * ratio;
      const box = [x - width / 2 - 2 * ratio, y - 9 * ratio, x + width / 2 + 2 * ratio, y + ratio];
      if (taken.some((o) => box[0] < o[2] && box[2] > o[0] && box[1] < o[3] && box[3] > o[1])) continue;
      if (coversBar(box, drawing)) continue;
      taken.push(box);
      this.placed.push({ k, box: box.map((v) => v / ratio) });
      g.fillText(String(k), x, y);
    }
  }
}
