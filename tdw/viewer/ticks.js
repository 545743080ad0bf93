// Ticks of axes.

import { formatFixed, formatInteger, formatScientific } from "./format.js";

/** @import { Ticks } from "./types.js" */

/** @param {number} rough */
const niceStep = (rough) => {
  const power = 10 ** Math.floor(Math.log10(rough));
  const digit = rough / power;
  return (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10) * power;
};

/**
 * Round values between low and high, about `most` of them.
 * @param {number} low
 * @param {number} high
 * @param {number} most
 * @param {boolean} isWhole integers only
 * @returns {Ticks}
 */
export const linearTicks = (low, high, most, isWhole) => {
  let step = niceStep((high - low) / Math.max(1, most));
  if (isWhole) step = Math.max(1, Math.round(step));
  const values = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) values.push(i * step);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const isShort = digits <= 4 && Math.max(Math.abs(low), Math.abs(high)) < 1e5; // longer ones do not fit
  const text = values.map((v) =>
    isWhole || isShort ? (Math.abs(v) >= 1000 ? formatInteger(v) : formatFixed(v, digits)) : formatScientific(v, 9),
  );
  return { values, text };
};

/**
 * Ticks of a log axis whose range is given as exponents: powers of ten, thinned; 2 and 5 between them when they are few.
 * @param {number} low
 * @param {number} high
 * @param {number} most
 * @returns {Ticks}
 */
export const logTicks = (low, high, most) => {
  const name = (/** @type {number} */ v) =>
    v >= 0.1 && v < 1e4 ? formatFixed(v, v < 1 ? 1 : 0) : formatScientific(v, 1);
  const first = Math.ceil(low - 1e-9);
  const last = Math.floor(high + 1e-9);
  if (last - first < 1) {
    const { values } = linearTicks(10 ** low, 10 ** high, most, false);
    return { values, text: values.map((v) => String(Number(v.toPrecision(4)))) };
  }
  const every = Math.max(1, Math.ceil((last - first + 1) / Math.max(2, most)));
  const values = [];
  for (let e = first; e <= last; e++) {
    if (((e % every) + every) % every === 0) values.push(10 ** e);
    if (last - first < 2 && every === 1)
      for (const m of [2, 5]) if (Math.log10(m) + e <= high) values.push(m * 10 ** e);
  }
  if (last - first < 2)
    for (const m of [2, 5]) if (Math.log10(m) + first - 1 >= low) values.unshift(m * 10 ** (first - 1));
  values.sort((a, b) => a - b);
  return { values, text: values.map(name) };
};
