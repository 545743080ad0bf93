// What a card says about a table at a checkpoint.

import { formatInteger, formatShort } from "./format.js";

/** @import { GridView, Numbers } from "./types.js" */
/** @import { Axis } from "./choices.js" */

/**
 * A table at a checkpoint. `x` is null for a history.
 * @typedef {{y: Axis, x: Axis | null, value: (j: number, i: number) => number, bits: () => Uint8Array, data: Numbers, epoch: number}} TableAt
 */

const MOST = 9; // numbers that are listed

/** @param {number} count @param {(i: number) => boolean} isIn */
const where = (count, isIn) => Array.from({ length: count }, (_, i) => i).filter(isIn);

/** @type {Record<GridView["reading"], (table: TableAt) => string[]>} */
const READINGS = {
  "": () => [],
  /** Rows that are not 0. */
  marked: ({ y, value }) => {
    const marked = where(y.count, (j) => value(j, 0) !== 0).map((j) => j + y.first);
    return [
      marked.length > MOST ? `${marked.length} of ${y.count}` : marked.length ? `k = ${marked.join(", ")}` : "none",
    ];
  },
  /** Columns in which no row is 0. */
  agreement: ({ y, x, value }) => {
    const isAgreed = (/** @type {number} */ i) => where(y.count, (j) => value(j, i) === 0).length === 0;
    const agreed = where(x?.count ?? 0, isAgreed).map((i) => i + (x?.first ?? 0));
    if (agreed.length > MOST) return [`all agree on ${agreed.length}`];
    return [agreed.length ? `all agree on k = ${agreed.join(", ")}` : "no agreement"];
  },
  correct: ({ bits }) => {
    const all = bits();
    return [`${formatInteger(all.reduce((a, b) => a + b, 0))} of ${formatInteger(all.length)} pairs`];
  },
  learned: ({ data, epoch }) => {
    let count = 0;
    for (const from of data) if (from >= 0 && from <= epoch) count++;
    return [`${formatInteger(count)} of ${formatInteger(data.length)} pairs learned`];
  },
  largest: ({ y, value }) => {
    let best = 0;
    for (let j = 1; j < y.count; j++) if (value(j, 0) > value(best, 0)) best = j;
    return [`largest ${y.isNamed ? "" : "k = "}${y.short(best)}: ${formatShort(value(best, 0))}`];
  },
};

/** @param {GridView["reading"]} name @param {TableAt} table */
export const reading = (name, table) => READINGS[name](table);
