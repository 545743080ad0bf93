// Lines of curves: from the page's arrays to points.

import { stretches } from "./off_scale.js";
import { recordedIn } from "./recorded.js";
import { analysisOf, isOfAnalysis } from "./run_data.js";

/** @import { Line, Run, RunArray } from "./types.js" */
/** @import { Choices } from "./choices.js" */
/** @import { CurvePoints } from "./curve_points.js" */
/** @import { Stretch } from "./off_scale.js" */

/**
 * A line with its points: `values` as stored, `xs` and `ys` as drawn. A curve has a value per epoch, and epochs
 * at which nothing was recorded are left out; an analysis has one per row (`rowOf`: epoch -> row), and NaN is a gap. `off`: which
 * points the axis has no place for. Of a `long` curve there are points only, no `values`.
 * @typedef {Omit<Line, "array"> & {array: string, values: ArrayLike<number>, xs: number[], ys: number[], rowOf: Map<number, number> | null, off: Stretch[], long: CurvePoints | null}} Curve
 */

/**
 * @param {Line} line
 * @param {Run} run
 * @param {Choices} choices
 * @param {boolean} isLog
 * @returns {Curve}
 */
export const withPoints = (line, run, choices, isLog) => {
  const long = run.curve(line.array);
  if (long) {
    const { xs, ys } = long.points();
    return { ...line, values: [], xs, ys, rowOf: null, off: stretches(ys, isLog, true), long };
  }
  const array = run.array(line.array);
  if (!isOfAnalysis(line.array)) {
    const values = array?.data ?? [];
    const isRecorded = recordedIn(values);
    const xs = [];
    const ys = [];
    for (let i = 0; i < values.length; i++) {
      if (!isRecorded(i)) continue;
      xs.push(i);
      ys.push(values[i]);
    }
    return { ...line, values, xs, ys, rowOf: null, off: stretches(ys, isLog, true), long };
  }
  const { xs, values } = rowValues(line, array, run, choices);
  const rowOf = new Map(xs.map((epoch, row) => [epoch, row]));
  return { ...line, values, xs, ys: values, rowOf, off: stretches(values, isLog), long };
};

/**
 * Epochs and numbers of an analysis's rows, as far as they are held.
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
  const { data } = array;
  if (line.whole) {
    const count = Math.min(epochs.length, array.stride); // a whole run has one row, of all checkpoints
    return { xs: Array.from(epochs).slice(0, count), values: Array.from(data.subarray(0, count)) };
  }
  const { from } = choices.place(array, line.axes, line.picks);
  const rows = array.held().filter((row) => row < epochs.length);
  return { xs: rows.map((row) => epochs[row]), values: rows.map((row) => data[array.offset(row) + from]) };
};
