// A neuron's activation over all (a, b), exactly, from 1 + 2·routes·p numbers (tdw/network/closed_form.py): what the server sends is
// not a picture.
// Axes: h head · r route · a first operand (row) · b second operand (column).
import { concatenate, RefusedError } from "./data_source.js";

/**
 * The routes by which operands reach neurons, and the scores that say how far each is open, by the kind of network:
 * `gated` routes open with the scores of one checkpoint (`scores` numbers), the others are always open.
 */
export const routesOf = ({ network, heads, p }) => {
  switch (network) {
    case "two-token":
      return { routes: heads + 1, gated: heads, scores: heads * p * p, open: attentionOfTwoTokens };
    case "one-hot":
      return { routes: 1, gated: 0, scores: 0, open: attentionFromScores };
    default:
      return { routes: heads, gated: heads, scores: 2 * heads * p, open: attentionFromScores };
  }
};

/** Attention to a and to b of a network without '=', (head, a, b) each, from scores (head, a, b) of a relative to b. */
export const attentionOfTwoTokens = (scores, offset, heads, p, into) => {
  const size = heads * p * p;
  const out = into || { first: new Float32Array(size), second: new Float32Array(size) };
  for (let i = 0; i < size; i++) {
    out.first[i] = 1 / (1 + Math.exp(-scores[offset + i]));
    out.second[i] = 1 - out.first[i];
  }
  return out;
};

/** Attention to a and to b, (head, a, b) each, from the scores of one checkpoint (2, head, p), relative to that of '='. */
export const attentionFromScores = (scores, offset, heads, p, into) => {
  const size = heads * p * p;
  const out = into || { first: new Float32Array(size), second: new Float32Array(size) };
  const { first, second } = out;
  const e0 = new Float64Array(p);
  const e1 = new Float64Array(p);
  for (let h = 0; h < heads; h++) {
    const t0 = offset + h * p;
    const t1 = offset + (heads + h) * p;
    let top = 0; // the score of '=' itself
    for (let i = 0; i < p; i++) top = Math.max(top, scores[t0 + i], scores[t1 + i]);
    // One shift for the whole head: only the ratio counts. Scores so far apart that everything underflows are redone below.
    for (let i = 0; i < p; i++) {
      e0[i] = Math.exp(scores[t0 + i] - top);
      e1[i] = Math.exp(scores[t1 + i] - top);
    }
    const e2 = Math.exp(-top);
    const saturated = e2 < 1e-280;
    let at = h * p * p;
    for (let a = 0; a < p; a++) {
      for (let b = 0; b < p; b++, at++) {
        if (saturated) {
          const x = scores[t0 + a];
          const y = scores[t1 + b];
          const m = Math.max(x, y, 0);
          const ex = Math.exp(x - m);
          const ey = Math.exp(y - m);
          const z = ex + ey + Math.exp(-m);
          first[at] = ex / z;
          second[at] = ey / z;
        } else {
          const z = 1 / (e0[a] + e1[b] + e2);
          first[at] = e0[a] * z;
          second[at] = e1[b] * z;
        }
      }
    }
  }
  return out;
};

/** What a neuron makes of its input, in place. Returns the largest activation. */
const ACTIVATE = {
  relu: (out) => {
    let largest = 0;
    for (let i = 0; i < out.length; i++) {
      const value = out[i];
      if (value < 0) out[i] = 0;
      else if (value > largest) largest = value;
    }
    return largest;
  },
  quadratic: (out) => {
    let largest = 0;
    for (let i = 0; i < out.length; i++) {
      const value = (out[i] *= out[i]);
      if (value > largest) largest = value;
    }
    return largest;
  },
  gelu: (out) => {
    let largest = 0;
    for (let i = 0; i < out.length; i++) {
      const value = (out[i] *= 0.5 * (1 + erf(out[i] * Math.SQRT1_2)));
      if (value > largest) largest = value;
    }
    return largest;
  },
};

/** The error function, within 1.5e-7: formula 7.1.26 of Abramowitz and Stegun, as in closed_form.erf. */
const erf = (x) => {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const value = 1 - series * Math.exp(-x * x);
  return x < 0 ? -value : value;
};

/** The lowest value of gelu, less its sign: a color scale that reaches as far shows every negative value. */
export const GELU_DEPTH = 0.17;

/**
 * Activation of one neuron, (a, b), into `out`; its table is [c, U0 (route, a), U1 (route, b)] from `offset` on. shape:
 * {routes, gated, p, activation}. Returns the largest value.
 */
export const neuronMap = (table, offset, attention, { routes, gated, p, activation }, out) => {
  out.fill(table[offset]);
  const first = offset + 1;
  const second = first + routes * p;
  let r = 0;
  for (; r + 4 <= gated; r += 4) addFour(table, first + r * p, second + r * p, attention, r * p * p, p, out);
  for (; r < gated; r++) addOne(table, first + r * p, second + r * p, attention, r * p * p, p, out);
  for (; r < routes; r++) addOpen(table, first + r * p, second + r * p, p, out);
  return ACTIVATE[activation](out);
};

/** Add what comes without attention. */
const addOpen = (table, d0, d1, p, out) => {
  for (let a = 0, at = 0; a < p; a++) {
    const weight = table[d0 + a];
    for (let b = 0; b < p; b++, at++) out[at] += weight + table[d1 + b];
  }
};

/** Add one head's part: D0 starts at d0, D1 at d1, the head's attention at `from`. */
const addOne = (table, d0, d1, { first, second }, from, p, out) => {
  for (let a = 0, at = 0; a < p; a++) {
    const weight = table[d0 + a];
    for (let b = 0; b < p; b++, at++) out[at] += first[from + at] * weight + second[from + at] * table[d1 + b];
  }
};

/** The same for four heads at once, which is how many there usually are: one pass over `out` takes half the time of four. */
const addFour = (table, d0, d1, { first, second }, from, p, out) => {
  const size = p * p;
  const [f0, f1, f2, f3] = [0, 1, 2, 3].map((i) => first.subarray(from + i * size, from + (i + 1) * size));
  const [s0, s1, s2, s3] = [0, 1, 2, 3].map((i) => second.subarray(from + i * size, from + (i + 1) * size));
  const [c0, c1, c2, c3] = [0, 1, 2, 3].map((i) => table.subarray(d1 + i * p, d1 + (i + 1) * p));
  for (let a = 0, at = 0; a < p; a++) {
    const w0 = table[d0 + a];
    const w1 = table[d0 + p + a];
    const w2 = table[d0 + 2 * p + a];
    const w3 = table[d0 + 3 * p + a];
    for (let b = 0; b < p; b++, at++) {
      out[at] +=
        f0[at] * w0 +
        f1[at] * w1 +
        f2[at] * w2 +
        f3[at] * w3 +
        s0[at] * c0[b] +
        s1[at] * c1[b] +
        s2[at] * c2[b] +
        s3[at] * c3[b];
    }
  }
};

/** The tables of neurons, fetched when first shown and kept, the least recently shown given up beyond `limit` bytes. */
export class NeuronTables {
  constructor(run, limit = 160e6) {
    this.run = run;
    this.limit = limit;
    this.kept = new Map(); // neuron -> Float32Array (checkpoint, width); a Map remembers its order: oldest first
    this.pending = new Map();
    this.largestOf = new Map();
    this.scores = null;
    this.scoresPending = null;
    const { parameters, contents } = run.manifest;
    this.content = contents?.weights; // of what they are computed from; with another one they are of no use
    this.shape = {
      ...routesOf(parameters),
      p: parameters.p,
      heads: parameters.heads,
      activation: parameters.activation,
    };
    this.width = 1 + 2 * this.shape.routes * parameters.p;
  }
  get(neuron) {
    const table = this.kept.get(neuron);
    if (table) {
      this.kept.delete(neuron);
      this.kept.set(neuron, table);
    }
    return table;
  }
  rows(table) {
    return table.length / this.width;
  }
  /** Offset of checkpoint `index` in a neuron's table, or -1 while it has not come. */
  offset(table, index) {
    return index >= 0 && index < this.rows(table) ? index * this.width : -1;
  }
  scoresOffset(index) {
    const size = this.shape.scores;
    if (!size) return 0;
    return this.scores && index >= 0 && (index + 1) * size <= this.scores.length ? index * size : -1;
  }
  /** The numbers of an answer of so many a checkpoint, from checkpoint `from` on. Less than what there is draws nothing. */
  whole(bytes, size, from) {
    const rows = bytes.byteLength / (4 * size);
    const missing = this.run.checkpoints.length - from;
    if (!Number.isInteger(rows) || rows < missing) {
      throw new RefusedError(
        `The server sent ${Math.floor(rows)} of ${missing} checkpoints: the file has changed since the page last looked.`,
      );
    }
    return new Float32Array(bytes);
  }
  needScores() {
    const size = this.shape.scores;
    if (!size || (this.scores && this.scores.length >= this.run.checkpoints.length * size)) return null;
    const had = this.scores || new Float32Array(0);
    this.scoresPending ??= this.run.source
      .scores(had.length / size)
      .then((bytes) => (this.scores = concatenate(had, this.whole(bytes, size, had.length / size))))
      .finally(() => (this.scoresPending = null));
    return this.scoresPending;
  }
  /** Make sure the tables of `neurons` reach the last checkpoint. Resolves to true when something new came. */
  async need(neurons) {
    const count = this.run.checkpoints.length;
    const missing = neurons.filter((n) => {
      const table = this.kept.get(n);
      return (!table || this.rows(table) < count) && !this.pending.has(n);
    });
    const waits = neurons.filter((n) => this.pending.has(n)).map((n) => this.pending.get(n));
    if (missing.length) {
      // Those that a growing run has outrun need only their newest rows.
      const outrun = missing.filter((n) => this.kept.has(n));
      const from = Math.min(...outrun.map((n) => this.rows(this.kept.get(n))));
      const unknown = missing.filter((n) => !this.kept.has(n));
      for (const [group, start] of [
        [unknown, 0],
        [outrun, from],
      ]) {
        if (!group.length) continue;
        const fetched = this.fetch(group, start);
        for (const n of group) this.pending.set(n, fetched);
        waits.push(fetched);
      }
    }
    const scores = this.needScores();
    await Promise.all([...waits, scores]);
    return waits.length > 0;
  }
  async fetch(neurons, from) {
    try {
      const before = new Map(
        neurons.map((n) => [n, this.kept.get(n)?.subarray(0, from * this.width) ?? new Float32Array(0)]),
      );
      const all = this.whole(await this.run.source.neurons(neurons, from), neurons.length * this.width, from);
      const rows = Math.floor(all.length / (neurons.length * this.width));
      neurons.forEach((neuron, i) => {
        const table = new Float32Array(rows * this.width);
        for (let row = 0; row < rows; row++) {
          const from = (row * neurons.length + i) * this.width;
          table.set(all.subarray(from, from + this.width), row * this.width);
        }
        this.kept.delete(neuron);
        this.kept.set(neuron, concatenate(before.get(neuron), table));
        this.largestOf.delete(neuron);
      });
      let bytes = 0;
      for (const table of this.kept.values()) bytes += table.byteLength;
      for (const [neuron, table] of this.kept) {
        if (bytes <= this.limit || neurons.includes(neuron)) break;
        bytes -= table.byteLength;
        this.kept.delete(neuron);
      }
    } finally {
      for (const neuron of neurons) this.pending.delete(neuron);
    }
  }
  /** Largest activation of a neuron over all checkpoints, computed here: used where no summary is stored. */
  largest(neuron, table, attentionAt, scratch) {
    if (!this.largestOf.has(neuron)) {
      let largest = 0;
      for (let row = 0; row < this.rows(table); row++) {
        const attention = attentionAt(row);
        if (attention) largest = Math.max(largest, neuronMap(table, row * this.width, attention, this.shape, scratch));
      }
      this.largestOf.set(neuron, largest);
    }
    return this.largestOf.get(neuron);
  }
}
