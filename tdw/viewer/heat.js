// Heat maps: numbers of a table to pixels, each pixel taking the largest (by size) of the cells that fall into it.

import { context2d } from "./dom.js";

/** @import { Numbers, Palette } from "./types.js" */

/**
 * Cells of one axis, for each pixel from `low` to `high` (excluded).
 * @typedef {{low: Int32Array, high: Int32Array}} Cells
 *
 * A table: data[from + row * stepY + order[column] * stepX]; the first row is at the bottom unless `isDownward`.
 * @typedef {{data: Numbers, from: number, stepY: number, stepX: number, order?: Uint32Array | null, rows: Cells, columns: Cells, isDownward?: boolean}} Table
 *
 * From 0 (linear) or `bottom` (log) to `top`.
 * @typedef {{type: "linear", top: number} | {type: "log", top: number, bottom: number}} Scale
 */

/** The cells `from` … `to` (excluded) spread over pixels. @param {number} from @param {number} to @param {number} pixels @returns {Cells} */
export const pixelCells = (from, to, pixels) => {
  const low = new Int32Array(pixels);
  const high = new Int32Array(pixels);
  for (let i = 0; i < pixels; i++) {
    low[i] = from + Math.floor((i * (to - from)) / pixels);
    high[i] = from + Math.floor(((i + 1) * (to - from)) / pixels);
  }
  return { low, high };
};

/**
 * The packed color of a number. Negative numbers run through the other colors; NaN is transparent.
 * @param {Pick<Palette, "lut" | "minus">} palette
 * @param {Scale} scale
 * @returns {(v: number) => number}
 */
export const colorScale = ({ lut, minus }, scale) => {
  if (scale.type === "log") {
    const low = Math.log(scale.bottom);
    const over = 255 / Math.max(Math.log(scale.top) - low, 1e-9);
    return (v) => {
      if (!(v > scale.bottom)) return Number.isNaN(v) ? 0 : lut[0];
      const level = ((Math.log(v) - low) * over + 0.5) | 0;
      return lut[level > 255 ? 255 : level];
    };
  }
  const over = scale.top > 0 ? 255 / scale.top : 0;
  return (v) => {
    if (Number.isNaN(v)) return 0;
    const level = (Math.abs(v) * over + 0.5) | 0;
    return (v < 0 ? minus : lut)[level > 255 ? 255 : level];
  };
};

/** Fill `pixels` (w × h, from the top) with the colors of a table. @param {Uint32Array} pixels @param {Table} table @param {(v: number) => number} tone */
export const paintPixels = (pixels, { data, from, stepY, stepX, order, rows, columns, isDownward }, tone) => {
  const w = columns.low.length;
  const h = rows.low.length;
  for (let j = 0; j < h; j++) {
    const top = rows.low[j];
    const bottom = rows.high[j];
    let to = (isDownward ? j : h - 1 - j) * w;
    for (let i = 0; i < w; i++, to++) {
      const right = columns.high[i];
      let value = Number.NaN;
      let size = -1;
      for (let k = top; k < bottom; k++) {
        for (let c = columns.low[i]; c < right; c++) {
          const here = data[from + k * stepY + (order ? order[c] : c) * stepX];
          const magnitude = here < 0 ? -here : here;
          if (magnitude > size) {
            value = here;
            size = magnitude;
          }
        }
      }
      pixels[to] = tone(value);
    }
  }
};

/** Paints tables on canvases, with a buffer of its own. */
export class HeatMap {
  constructor() {
    this.buffer = document.createElement("canvas");
    this.context = context2d(this.buffer);
    this.image = new ImageData(1, 1);
    this.pixels = new Uint32Array(this.image.data.buffer);
  }
  /**
   * @param {CanvasRenderingContext2D} g
   * @param {Table} table
   * @param {(v: number) => number} tone
   * @param {[number, number, number, number]} where x, y, width, height on the canvas of g
   */
  paint(g, table, tone, where) {
    const w = table.columns.low.length;
    const h = table.rows.low.length;
    if (!w || !h) return;
    if (this.image.width !== w || this.image.height !== h) {
      Object.assign(this.buffer, { width: w, height: h });
      this.image = new ImageData(w, h);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    paintPixels(this.pixels, table, tone);
    this.context.putImageData(this.image, 0, 0);
    g.imageSmoothingEnabled = false;
    g.drawImage(this.buffer, ...where);
  }
}
