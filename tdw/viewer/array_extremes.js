// What scales follow from, and how much of a history is drawn: the numbers of an array at all checkpoints, or of a long one its extremes.

import { formatInteger } from "./format.js";

/** @import { RunArray } from "./types.js" */

/** Numbers that reach as far as those of all rows; the places in a row repeat with its stride. @param {RunArray | null} array @returns {ArrayLike<number> & Iterable<number>} */
export const scaled = (array) => {
  if (!array) return [];
  return array.extremes
    ? array.extremes.subarray(0, 3 * array.stride)
    : array.data.subarray(0, array.rows * array.stride);
};

/** Whether all numbers are NaN. @param {RunArray} array */
export const isWithoutNumbers = ({ data, extremes, stride }) =>
  extremes ? extremes.subarray(3 * stride).every((count) => count === 0) : data.every(Number.isNaN);

/** What a picture of all checkpoints says that shows some of them only, "" where it shows all. @param {RunArray} array */
export const sampledText = (array) =>
  array.isWhole ? "" : `${formatInteger(array.held().length)} of ${formatInteger(array.rows)} checkpoints`;
