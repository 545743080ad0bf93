// Lines of curves: from the page's arrays to points.

import { stretches } from "./off_scale.js";
import { analysisOf, isOfAnalysis } from "./run_data.js";

/** @import { Line, Run, RunArray } from "./types.js" */
/** @import { Choices } from "./choices.js" */
/** @import { Stretch } from "./off_scale.js" */

/**
 * A line with its points: `values` as stored, `xs` and `ys` as drawn. A recorded series has a value per epoch, and epochs
 * that were not evaluated are left out; an analysis has one per row (`rowOf`: epoch -> row), and NaN is a gap. `off`: which
 * points the axis has no place for.
 * @typedef {Omit<Line, "array"> & {array: string, values: ArrayLike<number>, xs: number[], ys: number[], rowOf: Map<number, number> | null, off: Stretch[]}} Curve
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
  if (!isOfAnalysis(line.array)) {
    const values = array?.data ?? [];
    const xs = [];
    const ys = [];
    for (let i = 0; i < values.length; i++) {
      if (Number.isNaN(values[i])) continue;
      xs.push(i);
      ys.push(values[i]);
    }
    return { ...line, values, xs, ys, rowOf: null, off: stretches(ys, isLog) };
  }
  const { xs, values } = rowValues(line, array, run, choices);
  const rowOf = new Map(xs.map((epoch, row) => [epoch, row]));
  return { ...line, values, xs, ys: values, rowOf, off: stretches(values, isLog) };
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
