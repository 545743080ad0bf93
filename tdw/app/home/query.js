// The search field of the table of runs: words and conditions such as `p:113 lr<1e-3 tag:paper grokked -old`. Conditions are
// those of `tdw runs --where` (tdw/statistics/where.py), with a colon too.

/** @import { Line } from "./types.js" */

/** One part of a search. `test` tells whether a line fulfills it. @typedef {{text: string, test: (line: Line) => boolean}} Term */

/** What was typed: its terms, and why the last one that is wrong is wrong. @typedef {{terms: Term[], error: string}} Query */

const PARTS = /(-?)(?:([A-Za-z_][\w.]*)(<=|>=|!=|[:=<>]))?("[^"]*"?|\S*)/g;
/** @type {Record<string, string>} */
const ALIASES = { tag: "tags", name: "path" };
const NONE = "none"; // a value that is unknown, does not apply, or was not reached

/** Words that are conditions. @type {Record<string, (line: Line) => boolean>} */
const WORDS = {
  grokked: ({ row }) => row?.grokking === "yes",
  generalized: ({ row }) => row?.["generalized_0.1"] != null,
  memorized: ({ row }) => row?.["memorized_0.1"] != null,
  diverged: ({ row }) => row?.diverged_at != null,
  finished: ({ row }) => row?.state === "finished",
  unfinished: ({ row }) => row?.state === "unfinished",
  new: ({ row }) => row?.state === "new",
  missing: ({ gone }) => gone,
  damaged: ({ problem }) => problem !== null,
};

/** @param {Line} line what a word is looked for in */
const textOf = ({ path, row }) =>
  [path, row?.title ?? "", ...(row?.tags ?? []), row?.task ?? "", row?.state ?? ""].join("\n").toLowerCase();

/** @param {unknown} value @param {string} text */
const equals = (value, text) => {
  if (value === null || value === undefined) return text === NONE;
  if (Array.isArray(value)) return value.some((one) => String(one).toLowerCase() === text);
  if (typeof value === "string") return value.toLowerCase() === text;
  return text !== "" && value === Number(text);
};

/** @type {Record<string, (value: number, bound: number) => boolean>} */
const ORDER = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b };

/**
 * A condition on a column, or why it is none.
 * @param {string} column @param {string} operator @param {string} text
 * @returns {((line: Line) => boolean) | string}
 */
const condition = (column, operator, text) => {
  const order = ORDER[operator];
  if (order) {
    const bound = Number(text);
    if (text === "" || Number.isNaN(bound)) return `${column}${operator} needs a number`;
    return ({ row }) => typeof row?.[column] === "number" && order(row[column], bound);
  }
  if (column === "path") return ({ path }) => path.toLowerCase().includes(text) === (operator !== "!=");
  const texts = text.split(",");
  const isOne = (/** @type {Line} */ { row }) =>
    row !== null && (texts.some((one) => equals(row[column], one)) || equals(row[column], text));
  return operator === "!=" ? (line) => line.row !== null && !isOne(line) : isOne;
};

/**
 * Parse what was typed. A condition that is wrong is left out, and told.
 * @param {string} typed
 * @param {readonly string[]} columns names of the columns of rows
 * @returns {Query}
 */
export const parseQuery = (typed, columns) => {
  /** @type {Term[]} */
  const terms = [];
  let error = "";
  for (const [whole, minus, given, operator, quoted] of typed.matchAll(PARTS)) {
    const text = quoted.replaceAll('"', "").toLowerCase();
    if (!whole || (!given && !text)) continue;
    /** @type {((line: Line) => boolean) | string} */
    let test;
    if (given) {
      const column = ALIASES[given] ?? given;
      test = columns.includes(column) ? condition(column, operator, text) : `runs have no column ${given}`;
    } else {
      test = WORDS[text] ?? ((line) => textOf(line).includes(text));
    }
    if (typeof test === "string") error = test;
    else {
      const positive = test;
      terms.push({ text: whole, test: minus ? (line) => !positive(line) : positive });
    }
  }
  return { terms, error };
};

/** @param {Query} query @param {Line} line */
export const matches = ({ terms }, line) => terms.every(({ test }) => test(line));
