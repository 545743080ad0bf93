// Numbers of a line that its axis has no place for: 0 and below on a log axis, infinities, and NaN that a curve recorded. They
// are drawn at the foot or the top of the plot and named in words; a number of an analysis that is missing is a gap. The rule of
// tdw/panels/off_scale.py.

import { formatInteger, formatRange } from "./format.js";

/** Consecutive points of one kind, by index. @typedef {{what: string, first: number, last: number, lasts: boolean}} Stretch */

/** Whether numbers of this kind are drawn at the top. @param {string} what */
export const isAtTop = (what) => what === "∞" || what === "NaN";

/** What a number is, where the axis has no place for it; "" where it has one, and for NaN that is not of a curve. @param {number} value @param {boolean} isLog @param {boolean} isCurve */
export const offScale = (value, isLog, isCurve = false) => {
  if (isCurve && Number.isNaN(value)) return "NaN";
  if (value === Number.POSITIVE_INFINITY) return "∞";
  if (value === Number.NEGATIVE_INFINITY) return "−∞";
  return isLog && value <= 0 ? (value === 0 ? "0" : "below 0") : "";
};

/** Where consecutive points are of one kind. @param {ArrayLike<number>} values @param {boolean} isLog @param {boolean} isCurve @returns {Stretch[]} */
export const stretches = (values, isLog, isCurve = false) => {
  /** @type {Stretch[]} */
  const found = [];
  let before = "";
  for (let i = 0; i < values.length; i++) {
    const what = offScale(values[i], isLog, isCurve);
    if (what && what === before) found[found.length - 1].last = i;
    else if (what) found.push({ what, first: i, last: i, lasts: false });
    before = what;
  }
  if (before) found[found.length - 1].lasts = true;
  return found;
};

/** "0 from epoch 250", "∞ at epochs 3–5". @param {Stretch} stretch @param {ArrayLike<number>} epochs */
export const stretchWords = ({ what, first, last, lasts }, epochs) => {
  if (first !== last && lasts) return `${what} from epoch ${formatInteger(epochs[first])}`;
  return `${what} at epoch${first === last ? "" : "s"} ${formatRange([epochs[first], epochs[last]])}`;
};

/** The stretches that are named in the plot: all of few, else the one that lasts to the end. @param {Stretch[]} found */
export const namedStretches = (found) => (found.length <= 2 ? found : found.filter(({ lasts }) => lasts));

/**
 * The points to draw of what is off the scale: at its edge, with the neighbors on the scale, so that the line is not cut.
 * @param {number[]} xs
 * @param {number[]} ys
 * @param {boolean} isLog
 * @param {{foot: number, top: number}} edge
 * @param {boolean} isCurve
 * @returns {{x: number[], y: number[], symbol: string[], size: number[]}} size 0: no mark
 */
export const offScalePoints = (xs, ys, isLog, edge, isCurve = false) => {
  const kinds = ys.map((value) => offScale(value, isLog, isCurve));
  /** @type {{x: number[], y: number[], symbol: string[], size: number[]}} */
  const points = { x: [], y: [], symbol: [], size: [] };
  const add = (/** @type {number} */ x, /** @type {number} */ y, symbol = "circle", size = 0) => {
    points.x.push(x);
    points.y.push(y);
    points.symbol.push(symbol);
    points.size.push(size);
  };
  kinds.forEach((what, i) => {
    const isTop = isAtTop(what);
    const symbol = what === "NaN" ? "x" : isTop ? "triangle-up" : "triangle-down";
    const isMarked = what !== (kinds[i - 1] ?? "");
    if (what) add(xs[i], isTop ? edge.top : edge.foot, symbol, isMarked ? 9 : 0);
    else if (kinds[i - 1] || kinds[i + 1]) add(xs[i], ys[i]);
    else if (points.x.length && !Number.isNaN(points.y.at(-1))) add(xs[i], Number.NaN);
  });
  return points;
};
