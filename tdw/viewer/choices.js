// What is chosen by name in a panel's menu, where that is in a stored array, and the names along axes.

/** @import { Choice, Kept, MenuItem, Parameters, RunArray } from "./types.js" */

export class Choices {
  /** @param {Kept} kept what was chosen before, by name */
  constructor(kept) {
    this.kept = kept;
    kept.picks ??= {};
    /** @type {Record<string, Choice>} */
    this.all = {};
    /** @type {string[]} choices whose options may be drawn side by side */
    this.comparable = [];
  }
  /** @param {{choices: Record<string, Choice>, compare?: string[]}} spec */
  update({ choices, compare = [] }) {
    this.all = choices;
    this.comparable = compare;
    if (!compare.includes(this.kept.compare)) this.kept.compare = compare[0] ?? null;
  }
  /** The choice whose options are drawn side by side. @returns {string | null} */
  get compared() {
    return this.kept.compare ?? null;
  }
  /** Index of the chosen option. @param {string} name */
  pick(name) {
    const { options, chosen } = this.all[name];
    const kept = options.indexOf(this.kept.picks[name]);
    return kept < 0 ? chosen : kept;
  }
  /** Name of the chosen option. @param {string} name */
  nameOf(name) {
    return this.all[name].options[this.pick(name)];
  }
  /**
   * Where the numbers of one row begin, and how far apart they are along the axes that are drawn.
   * @param {Pick<RunArray, "shape">} array
   * @param {(number | string)[]} axes for each axis after the rows: an index, the name of a choice, or "y" or "x"
   * @param {Record<string, number>} [picks] options that are fixed, whatever is chosen
   */
  place(array, axes, picks = {}) {
    let stride = 1;
    let from = 0;
    const step = { y: 0, x: 0 };
    for (let i = axes.length - 1; i >= 0; i--) {
      const axis = axes[i];
      if (axis === "y" || axis === "x") step[axis] = stride;
      else from += stride * (typeof axis === "number" ? axis : (picks[axis] ?? this.pick(axis)));
      stride *= array.shape[i + 1];
    }
    return { from, step };
  }
  /** What is chosen, for the card's reading; what is compared is left out. @param {string[] | null} [names] */
  words(names) {
    return (names ?? Object.keys(this.all))
      .filter((name) => name !== this.compared)
      .map((name) => {
        const { prefix, short, names } = this.all[name];
        return `${prefix}${(short.length ? short : names)[this.pick(name)]}`;
      });
  }
  /** @param {() => void} changed @param {string[]} [names] of the choices to offer @returns {MenuItem[]} */
  menu(changed, names = Object.keys(this.all)) {
    /** @type {MenuItem[]} */
    const groups = [];
    if (this.comparable.length > 1) {
      groups.push({
        group: "Side by side",
        value: this.compared,
        options: this.comparable.map((value) => ({ label: this.all[value].plural, value })),
        choose: (value) => {
          this.kept.compare = value;
          changed();
        },
      });
    }
    for (const name of names) {
      if (name === this.compared) continue;
      const { title, options, names } = this.all[name];
      groups.push({
        group: title,
        value: this.pick(name),
        options: names.map((label, value) => ({ label, value })),
        choose: (value) => {
          this.kept.picks[name] = options[value];
          changed();
        },
      });
    }
    return groups;
  }
}

/**
 * `name` for hovering, `short` for ticks; `first` is the number of the first place; `isNamed`: every place has a tick.
 * @typedef {{count: number, first: number, name: (i: number) => string, short: (i: number) => string, isNamed: boolean}} Axis
 */

/** The names along an axis. @param {string | string[]} axis @param {Parameters} parameters @returns {Axis} */
export const axisOf = (axis, parameters) => {
  const plain = { first: 0, isNamed: false };
  if (Array.isArray(axis)) {
    const at = (/** @type {number} */ i) => axis[i];
    return { count: axis.length, first: 0, name: at, short: at, isNamed: true };
  }
  const { frequencies, order, p, heads } = parameters;
  switch (axis) {
    case "frequency":
      return { ...plain, count: frequencies, first: 1, name: (i) => `frequency ${i + 1}`, short: (i) => String(i + 1) };
    case "component":
      return {
        ...plain,
        count: order,
        name: (i) => (i === 0 ? "constant" : `${i % 2 ? "cos" : "sin"} ${(i + 1) >> 1}`),
        short: (i) => (i === 0 ? "const" : `k=${(i + 1) >> 1}`),
      };
    case "operand":
      return { ...plain, count: p, name: String, short: String };
    case "head":
      return { ...plain, count: heads, name: (i) => `head ${i}`, short: (i) => `head ${i}`, isNamed: true };
    default:
      throw new Error(`unknown axis ${axis}`);
  }
};
