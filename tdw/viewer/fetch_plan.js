// Which rows of arrays a page fetches when it opens a run: all of short ones; of long ones a coarse grid over the whole run,
// and a window around the slider. The sum of both does not depend on the length of the run.

/** @import { PanelDescription } from "./types.js" */

export const ARRAY_BYTES = 3.6e6; // of all arrays that a view draws
export const TABLE_BYTES = 2.8e6; // of the neurons' tables that it draws
export const LONG_CURVE = 32_768; // epochs, from which on a recorded curve is fetched as points
const BUCKETS = 1024; // of a curve's points: about as many as a card has pixels

/** An array of `rows` rows of `bytes` bytes each. `isHistory`: a panel draws it over all checkpoints. @typedef {{name: string, rows: number, bytes: number, isHistory: boolean}} Sized */
/** How many rows are fetched: `coarse` of the whole run (Infinity: all), and a window of `around` next to the slider. @typedef {{coarse: number, around: number}} Share */

const WHOLE = Object.freeze({ coarse: Number.POSITIVE_INFINITY, around: 0 });

/**
 * What to fetch of arrays within `budget` bytes. Small arrays are fetched whole, those that are drawn over all checkpoints
 * first; the others share the rest, with the same checkpoints of each.
 * @param {Sized[]} arrays
 * @param {number} [budget]
 * @returns {Map<string, Share>}
 */
export const fetchPlan = (arrays, budget = ARRAY_BYTES) => {
  const size = (/** @type {Sized} */ { rows, bytes }) => rows * bytes;
  const total = arrays.reduce((sum, array) => sum + size(array), 0);
  /** @type {Map<string, Share>} */
  const plan = new Map(arrays.map(({ name }) => [name, WHOLE]));
  if (total <= budget) return plan;
  let left = budget;
  /** @type {Sized[]} */
  const long = [];
  for (const array of [...arrays].sort((a, b) => Number(b.isHistory) - Number(a.isHistory) || size(a) - size(b))) {
    // One row is all there is of a result for the whole run.
    if (array.rows > 1 && budget - left + size(array) > budget / 2) long.push(array);
    else left -= size(array);
  }
  const histories = long.filter(({ isHistory }) => isHistory);
  for (const { name, bytes } of histories) {
    const most = Math.floor(Math.max(left, 0) / 2 / histories.length / bytes);
    plan.set(name, { coarse: Math.max(2, most - 1), around: 1 });
  }
  const others = long.filter(({ isHistory }) => !isHistory);
  const row = others.reduce((sum, { bytes }) => sum + bytes, 0);
  const share = shareOf(row, Math.max(left, 0) / (histories.length ? 2 : 1));
  for (const { name } of others) plan.set(name, share);
  return plan;
};

/** What to fetch within a budget where each checkpoint takes `bytes`. @param {number} bytes @param {number} budget @returns {Share} */
export const shareOf = (bytes, budget) => {
  const most = Math.floor(budget / Math.max(bytes, 1));
  const coarse = Math.max(2, most >> 1);
  return { coarse, around: Math.max(1, most - coarse) };
};

/** Between the rows of a grid of at most `most` rows: a power of two, so that grids have rows in common. @param {number} rows @param {number} most */
export const gridStep = (rows, most) => {
  let step = 1;
  while ((rows - 1) / step > Math.max(1, most - 1)) step *= 2;
  return step;
};

/** How many epochs a bucket of a curve's points has: a power of two, so that buckets stay what they are while a run grows. @param {number} epochs */
export const bucketOf = (epochs) => {
  let every = 1;
  while (epochs / every > BUCKETS) every *= 2;
  return every;
};

/**
 * What panels use arrays for: `histories` are drawn over all checkpoints; scales follow from the `extremes` of others.
 * @param {PanelDescription[]} panels
 */
export const arrayRoles = (panels) => {
  const histories = new Set();
  const extremes = new Set();
  for (const panel of panels) {
    if (panel.kind === "curve") {
      for (const { lines } of panel.quantities ?? []) for (const { array } of lines) histories.add(array);
    } else if (panel.kind === "grid") {
      for (const { array, x, scale, packed } of panel.views ?? []) {
        if (x === "checkpoint") histories.add(array);
        if (!packed && (scale.top === null || panel.empty)) extremes.add(array);
      }
    } else if (panel.kind === "bars") {
      for (const { array, reference } of panel.views ?? []) {
        extremes.add(array);
        if (reference) extremes.add(reference.array);
      }
    } else if (panel.kind === "maps" && panel.summary) extremes.add(panel.summary.maximum);
  }
  return { histories, extremes };
};
