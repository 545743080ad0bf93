// Variants of one idea: what is chosen by name in a panel's menu, and where that lies in a stored array.
// Axes of an array, one for each after its rows: a number (that place), the name of a choice, or "*", "y", "x" (all of it).

export class Choices {
  /** spec.choices: name -> {title, options, chosen} · spec.compare: names of those that may stand side by side */
  constructor(kept) {
    this.kept = kept;
    kept.picks ??= {};
    this.all = {};
  }
  update(spec) {
    this.all = spec.choices || {};
    this.comparable = spec.compare || [];
    if (!this.comparable.includes(this.kept.compare)) this.kept.compare = this.comparable[0] ?? null;
  }
  /** The choice whose options stand side by side, or null. */
  get compared() {
    return this.kept.compare;
  }
  pick(name) {
    const { options, chosen } = this.all[name];
    const kept = options.indexOf(this.kept.picks[name]);
    return kept < 0 ? chosen : kept;
  }
  /** The name of what is chosen. */
  name(name) {
    return this.all[name].options[this.pick(name)];
  }
  /** {from, step: {y, x, "*"}}: where the numbers of one row begin, and how far apart they stand along the open axes. */
  place(array, axes, picks = {}) {
    let stride = 1;
    let from = 0;
    const step = {};
    for (let i = axes.length - 1; i >= 0; i--) {
      const axis = axes[i];
      if (axis === "y" || axis === "x" || axis === "*") step[axis] = stride;
      else from += stride * (typeof axis === "number" ? axis : (picks[axis] ?? this.pick(axis)));
      stride *= array.shape[i + 1];
    }
    return { from, step };
  }
  /** In words, for the reading: the names of what is chosen, those compared left out. */
  words(names = Object.keys(this.all)) {
    return names
      .filter((name) => name !== this.compared)
      .map(
        (name) => `${this.all[name].word || ""}${(this.all[name].brief || this.all[name].options)[this.pick(name)]}`,
      );
  }
  menu(changed) {
    const groups = [];
    if (this.comparable.length > 1) {
      groups.push({
        group: "Side by side",
        value: this.kept.compare,
        options: this.comparable.map((value) => ({ label: this.all[value].many, value })),
        choose: (value) => {
          this.kept.compare = value;
          changed();
        },
      });
    }
    for (const [name, { title, options }] of Object.entries(this.all)) {
      if (name === this.compared) continue;
      groups.push({
        group: title,
        value: this.pick(name),
        options: options.map((label, value) => ({ label, value })),
        choose: (value) => {
          this.kept.picks[name] = options[value];
          changed();
        },
      });
    }
    return groups;
  }
}

/** Names along an axis: count, name(i) for hovering, and short(i) for ticks. */
export const axisOf = (axis, parameters) => {
  if (Array.isArray(axis)) return { count: axis.length, name: (i) => axis[i], short: (i) => axis[i], named: true };
  const { frequencies, order, p, heads, d_mlp: neurons } = parameters;
  const component = (i) => (i === 0 ? "constant" : `${i % 2 ? "cos" : "sin"} ${(i + 1) >> 1}`);
  switch (axis) {
    case "frequency":
      return { count: frequencies, first: 1, name: (i) => `frequency ${i + 1}`, short: (i) => String(i + 1) };
    case "component":
      return { count: order, first: 0, name: component, short: (i) => (i === 0 ? "const" : `k=${(i + 1) >> 1}`) };
    case "operand":
      return { count: p, first: 0, name: String, short: String };
    case "head":
      return { count: heads, name: (i) => `head ${i}`, short: (i) => `head ${i}`, named: true };
    case "neuron":
      return { count: neurons, first: 0, name: (i) => `neuron ${i}`, short: String };
    default:
      throw new Error(`no axis is named ${axis}`);
  }
};
