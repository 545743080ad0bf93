// Cells of tables: which checkpoints a pixel shows, which places get a tick, bits.

import { clamp, nearestIndex } from "./numbers.js";

/** @import { Numbers, Ticks } from "./types.js" */
/** @import { Axis } from "./choices.js" */
/** @import { Cells } from "./heat.js" */

/**
 * The rows that each pixel of an axis over training shows: all checkpoints that lie in it, else the nearest one; none
 * before the first checkpoint and after the last.
 * @param {number[]} range epochs, or indices where checkpoints are evenly spaced
 * @param {number} pixels
 * @param {number[]} checkpoints
 * @param {number} rows that are there
 * @param {boolean} isEven
 * @returns {Cells}
 */
export const checkpointColumns = ([x0, x1], pixels, checkpoints, rows, isEven) => {
  const last = rows - 1;
  const low = new Int32Array(pixels);
  const high = new Int32Array(pixels);
  const reach = (2 * (x1 - x0)) / pixels; // so that a single checkpoint can be seen
  const at = (/** @type {number} */ x) => (isEven ? Math.round(x) : nearestIndex(checkpoints, x));
  for (let i = 0; i < pixels; i++) {
    const [from, to] = [x0 + ((x1 - x0) * i) / pixels, x0 + ((x1 - x0) * (i + 1)) / pixels];
    low[i] = clamp(at(from), 0, last);
    // The next pixel begins with what this one ends with; the last pixel has no next one.
    high[i] = Math.max(low[i] + 1, i === pixels - 1 ? Math.min(at(to) + 1, rows) : Math.min(at(to), last));
    if (!isEven && (to < checkpoints[0] - reach || from > checkpoints[last] + reach)) high[i] = low[i];
  }
  return { low, high };
};

/**
 * Ticks of places: all that fit where they have names; frequencies and components at round numbers.
 * @param {Axis} axis
 * @param {number[]} range
 * @param {number} pixels
 * @param {number} room pixels of a tick
 * @returns {Ticks}
 */
export const placeTicks = (axis, [from, to], pixels, room) => {
  const each = pixels / (to - from);
  const [first, last] = [Math.max(0, Math.ceil(from)), Math.min(axis.count - 1, Math.floor(to))];
  const isComponent = axis.short(0) === "const";
  const perFrequency = isComponent ? 2 * each : each;
  const step = [1, 2, 5, 10, 20, 25, 50, 100, 200, 500].find((s) => s * perFrequency >= room) ?? 1000;
  const isShown = (/** @type {number} */ i) => {
    if (axis.isNamed) return each >= 11 || i % Math.ceil(11 / each) === 0;
    if (!isComponent) return (i + axis.first) % step === 0;
    const k = (i + 1) / 2;
    return i === 0 || (Number.isInteger(k) && k % step === 0 && k * perFrequency >= room * 0.7);
  };
  /** @type {number[]} */
  const values = [];
  for (let i = first; i <= last; i++) if (isShown(i)) values.push(i);
  return { values, text: values.map(axis.short) };
};

/** The bits of bytes that begin at `from`, the highest first, as numpy.packbits writes them. @param {Numbers} bytes @param {number} from @param {Uint8Array} bits written into */
export const unpack = (bytes, from, bits) => {
  for (let i = 0; i < bits.length; i++) bits[i] = (bytes[from + (i >> 3)] >> (7 - (i & 7))) & 1;
};
