// A long recorded curve: points over the whole run, finer ones where it is zoomed in, and the exact values at checkpoints.

import { bucketOf } from "./fetch_plan.js";
import { concatenate } from "./numbers.js";

/** @import { DataSource } from "./types.js" */

/** @typedef {{epochs: ArrayLike<number>, values: ArrayLike<number>}} Points */
/** Points of the epochs from…to (excluded), in buckets of `every`. @typedef {Points & {from: number, to: number, every: number}} Stretch */

/** Points as they are sent: all values, then all epochs. @param {ArrayBuffer} bytes @returns {{epochs: Uint32Array<ArrayBuffer>, values: Float64Array<ArrayBuffer>}} */
export const readPoints = (bytes) => {
  const count = Math.floor(bytes.byteLength / 12);
  return { values: new Float64Array(bytes, 0, count), epochs: new Uint32Array(bytes, 8 * count, count) };
};

/** First index whose epoch is at least `epoch`. @param {ArrayLike<number>} epochs increasing @param {number} epoch */
export const firstFrom = (epochs, epoch) => {
  let low = 0;
  let high = epochs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (epochs[middle] < epoch) low = middle + 1;
    else high = middle;
  }
  return low;
};

export class CurvePoints {
  /** @param {string} name @param {string} version @param {number} recorded epochs */
  constructor(name, version, recorded) {
    this.name = name;
    this.version = version;
    this.recorded = recorded;
    this.every = bucketOf(recorded);
    this.epochs = new Uint32Array(0);
    this.values = new Float64Array(0);
    /** (checkpoint, [value, epoch]) */
    this.at = new Float64Array(0);
    /** @type {Stretch | null} finer points of a part */
    this.fine = null;
    /** @type {{from: number, to: number, every: number, aborter: AbortController} | null} */
    this.asking = null;
  }
  /** Fetch what is missing of a run with so many checkpoints, keeping what `old` has. @param {DataSource} source @param {number} checkpoints @param {CurvePoints | null} old */
  async fill(source, checkpoints, old) {
    const isSame = old !== null && old.version === this.version && old.recorded <= this.recorded;
    const from = isSame && old.every === this.every ? old.recorded - (old.recorded % this.every) : 0;
    const keep = from ? firstFrom(old?.epochs ?? [], from) : 0;
    const known = isSame && old.at.length <= 2 * checkpoints ? old.at : new Float64Array(0);
    const { name, version, every, recorded } = this;
    const [points, at] = await Promise.all([
      source.points(name, version, every, { from, to: recorded }),
      known.length < 2 * checkpoints ? source.atCheckpoints(name, version, known.length / 2) : new ArrayBuffer(0),
    ]);
    const { epochs, values } = readPoints(points);
    this.epochs = old && keep ? concatenate(old.epochs.subarray(0, keep), epochs) : epochs;
    this.values = old && keep ? concatenate(old.values.subarray(0, keep), values) : values;
    // A checkpoint committed since the manifest may come along.
    this.at = concatenate(known, new Float64Array(at)).subarray(0, 2 * checkpoints);
    // A bucket that is cut by the end of the run is no longer what it was.
    if (isSame && old.fine && old.fine.to < old.recorded) this.fine = old.fine;
    return this;
  }
  /**
   * Fetch finer points of a range of epochs, if there are any; resolves to whether they came. A request for another range is
   * canceled.
   * @param {DataSource} source @param {number} x0 @param {number} x1
   */
  async refine(source, x0, x1) {
    const first = Math.max(0, Math.floor(x0));
    const last = Math.min(this.recorded, Math.ceil(x1) + 1);
    const every = bucketOf(last - first);
    if (every >= this.every || last <= first) return false;
    const from = first - (first % every);
    const covers = (/** @type {{from: number, to: number, every: number} | null} */ part) =>
      part !== null && part.every <= every && part.from <= from && part.to >= last;
    if (covers(this.fine) || covers(this.asking)) return false;
    this.asking?.aborter.abort();
    const asking = { from, to: last, every, aborter: new AbortController() };
    this.asking = asking;
    try {
      const rows = { from, to: last };
      const bytes = await source.points(this.name, this.version, every, rows, asking.aborter.signal);
      if (this.asking !== asking) return false;
      this.fine = { ...readPoints(bytes), from, to: last, every };
    } finally {
      if (this.asking === asking) this.asking = null;
    }
    return true;
  }
  /** All points: the fine ones where there are any. @returns {{xs: number[], ys: number[]}} */
  points() {
    const { epochs, values, fine } = this;
    if (!fine) return { xs: Array.from(epochs), ys: Array.from(values) };
    const [before, after] = [firstFrom(epochs, fine.from), firstFrom(epochs, fine.to)];
    const joined = (/** @type {Uint32Array | Float64Array} */ all, /** @type {ArrayLike<number>} */ part) => [
      ...all.subarray(0, before),
      ...Array.from(part),
      ...all.subarray(after),
    ];
    return { xs: joined(epochs, fine.epochs), ys: joined(values, fine.values) };
  }
  /** How many epochs a bucket has within a range. @param {number} x0 @param {number} x1 */
  everyIn(x0, x1) {
    const { fine } = this;
    const [first, last] = [Math.max(0, Math.floor(x0)), Math.min(this.recorded, Math.ceil(x1))];
    return fine && fine.from <= first && fine.to >= last ? fine.every : this.every;
  }
  /** The last value evaluated at or before a checkpoint, and its epoch; null while it is not there. @param {number} index @returns {[number, number] | null} */
  atCheckpoint(index) {
    return index >= 0 && 2 * index < this.at.length ? [this.at[2 * index], this.at[2 * index + 1]] : null;
  }
  /**
   * What is known at an epoch: its value (or the last one recorded before it; NaN for both without one), where every epoch is
   * there; else the least and the greatest value of its bucket, with its first and last epoch. A bucket of NaN only is one.
   * @param {number} epoch
   * @returns {{value: number, epoch: number} | {low: number, high: number, first: number, last: number}}
   */
  near(epoch) {
    const { fine } = this;
    const part = fine && epoch >= fine.from && epoch < fine.to ? fine : { ...this.whole(), every: this.every };
    const next = firstFrom(part.epochs, epoch + 1);
    const isKnown = part.every === 1 || part.epochs[next - 1] === epoch;
    if (isKnown && next > 0) return { value: part.values[next - 1], epoch: part.epochs[next - 1] };
    const first = epoch - (epoch % part.every);
    const last = Math.min(first + part.every, this.recorded) - 1;
    let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    let nan = Number.NaN; // the epoch of one
    for (let i = firstFrom(part.epochs, first); i < part.epochs.length && part.epochs[i] <= last; i++) {
      const value = part.values[i];
      if (Number.isNaN(value)) {
        nan = part.epochs[i];
        continue;
      }
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    return low > high ? { value: Number.NaN, epoch: nan } : { low, high, first, last };
  }
  /** @returns {Points} */
  whole() {
    return this;
  }
}
