// Lines of curves: from the page's arrays to points.

import { analysisOf, isOfAnalysis } from "./run_data.js";

/** @import { Line, Run, RunArray, TableRow } from "./types.js" */
/** @import { Choices } from "./choices.js" */

/**
 * A line with its points: `values` as stored, `xs` and `ys` as drawn. A recorded series has a value per epoch, and epochs
 * that were not evaluated are left out; an analysis has one per row (`rowOf`: epoch -> row), and NaN is a gap. A log axis has
 * no place for 0 and infinity, which are drawn at its ends.
 * @typedef {Omit<Line, "array"> & {array: string, values: ArrayLike<number>, xs: number[], ys: number[], rowOf: Map<number, number> | null}} Curve
 */

/**
 * @param {Line} line
 * @param {Run} run
 * @param {Choices} choices
 * @param {boolean} isLog
 * @returns {Curve}
 */
export const withPoints = (line, run, choices, isLog) => {
  const array = run.array(line.array);
  const isDrawable = (/** @type {number} */ v) => !Number.isNaN(v) && !(isLog && v < 0);
  if (!isOfAnalysis(line.array)) {
    const values = array?.data ?? [];
    const xs = [];
    const ys = [];
    for (let i = 0; i < values.length; i++) {
      if (!isDrawable(values[i])) continue;
      xs.push(i);
      ys.push(values[i]);
    }
    return { ...line, values, xs, ys, rowOf: null };
  }
  const { xs, values } = rowValues(line, array, run, choices);
  const ys = values.map((v) => (isDrawable(v) ? v : Number.NaN));
  return { ...line, values, xs, ys, rowOf: new Map(xs.map((epoch, row) => [epoch, row])) };
};

/** The epoch from which on a line is 0 to its end; null where it does not end in 0. @param {Curve} line */
export const zeroFrom = ({ xs, ys }) => {
  let at = ys.length;
  while (at > 0 && ys[at - 1] === 0) at--;
  return at < ys.length ? xs[at] : null;
};

/**
 * Epochs and numbers of an analysis's rows.
 * @param {Pick<Line, "array" | "axes" | "picks" | "whole">} line
 * @param {RunArray | null} array
 * @param {Run} run
 * @param {Choices} choices
 * @returns {{xs: number[], values: number[]}}
 */
const rowValues = (line, array, run, choices) => {
  const stored = run.array(`analysis/${analysisOf(line.array)}/epoch`)?.data;
  const epochs = stored ?? (line.whole && array?.rows ? run.checkpoints : []);
  if (!array) return { xs: [], values: [] };
  const rows = Math.min(epochs.length, line.whole ? array.stride : array.rows);
  const { data, stride } = array;
  const { from } = line.whole ? { from: 0 } : choices.place(array, line.axes, line.picks);
  const step = line.whole ? 1 : stride; // a whole run has one row, of all checkpoints
  return {
    xs: Array.from({ length: rows }, (_, row) => epochs[row]),
    values: Array.from({ length: rows }, (_, row) => data[row * step + from]),
  };
};

/** A measure at an epoch, NaN where it is missing. @param {TableRow} row @param {Run} run @param {Choices} choices @returns {(epoch: number) => number} */
export const valueAtEpoch = (row, run, choices) => {
  const { xs, values } = rowValues({ ...row, picks: {}, whole: false }, run.array(row.array), run, choices);
  const byEpoch = new Map(xs.map((epoch, i) => [epoch, values[i]]));
  return (epoch) => byEpoch.get(epoch) ?? Number.NaN;
};
