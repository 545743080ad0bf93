// The rows of an array that the page holds: all of a short one, some of a long one.

/** @import { Numbers, RunArray } from "./types.js" */

/** @implements {RunArray} */
export class WholeRows {
  /** @param {Numbers} data @param {number[]} shape @param {number} stride @param {string} version */
  constructor(data, shape, stride, version) {
    this.data = data;
    this.shape = shape;
    this.stride = stride;
    this.rows = shape[0] ?? 1;
    this.version = version;
    this.isWhole = true;
    /** @type {Float64Array<ArrayBuffer> | null} */
    this.extremes = null;
  }
  /** Where the numbers of a row begin in `data`; -1 where it is not there. @param {number} row */
  offset(row) {
    return row >= 0 && row < this.rows ? row * this.stride : -1;
  }
  /** The rows that are held, in order. */
  held() {
    return Array.from({ length: this.rows }, (_, row) => row);
  }
}

/**
 * Some rows of a long array: a coarse grid that stays, and others, of which those farthest from the slider are given up.
 * @implements {RunArray}
 */
export class SomeRows {
  /**
   * @param {Numbers} data room for the rows that are held
   * @param {number[]} shape
   * @param {number} stride
   * @param {string} version
   * @param {{step: number, around: number}} plan step: between the rows of the grid, which holds the last one
   */
  constructor(data, shape, stride, version, { step, around }) {
    this.data = data;
    this.shape = shape;
    this.stride = stride;
    this.rows = shape[0];
    this.version = version;
    this.step = step;
    this.around = around;
    this.isWhole = false;
    this.capacity = Math.floor(data.length / stride);
    /** @type {Map<number, number>} row -> its place in `data` */
    this.places = new Map();
    /** @type {Set<number>} */
    this.grid = new Set();
    /** @type {Float64Array<ArrayBuffer> | null} */
    this.extremes = null;
  }
  /** Where the numbers of a row begin in `data`; -1 while it is not there. @param {number} row */
  offset(row) {
    const place = this.places.get(row);
    return place === undefined ? -1 : place * this.stride;
  }
  /** The rows that are held, in order. */
  held() {
    return [...this.places.keys()].sort((a, b) => a - b);
  }
  /** Keep rows `from`, `from + step`, …; they belong to the grid, or to the neighborhood of `center`. @param {Numbers} numbers @param {number} from @param {number} step @param {number | null} center */
  put(numbers, from, step, center) {
    const count = Math.floor(numbers.length / this.stride);
    for (let i = 0; i < count; i++) {
      const row = from + i * step;
      if (row >= this.rows) return; // committed after the manifest
      if (center === null) this.grid.add(row);
      const place = this.places.get(row) ?? this.room(center ?? row);
      if (place < 0) return;
      this.places.set(row, place);
      this.data.set(numbers.subarray(i * this.stride, (i + 1) * this.stride), place * this.stride);
    }
  }
  /** A free place; that of the row farthest from `center` which is not of the grid. @param {number} center */
  room(center) {
    if (this.places.size < this.capacity) return this.places.size;
    let far = -1;
    for (const row of this.places.keys())
      if (!this.grid.has(row) && (far < 0 || Math.abs(row - center) > Math.abs(far - center))) far = row;
    if (far < 0) return -1;
    const place = this.places.get(far) ?? -1;
    this.places.delete(far);
    return place;
  }
  /** The same rows of an array that has grown. @param {number[]} shape */
  grown(shape) {
    const { step, around } = this;
    const more = new SomeRows(this.data, shape, this.stride, this.version, { step, around });
    more.places = this.places;
    // What was the newest is a row like others now; the grid has its newest row again.
    more.grid = new Set([...this.grid].filter((row) => row % step === 0 || row === this.rows - 1));
    return more;
  }
}
