// A neuron's activation on every pair (a, b), exactly, from a table of 1 + 2·routes·p numbers (tdw/network/closed_form.py).
// Axes: h head · r route · a first operand (row) · b second operand (column).

/** @import { Parameters } from "./types.js" */

/**
 * Attention to a and to b, (head, a, b) each.
 * @typedef {{first: Float32Array, second: Float32Array}} Attention
 *
 * Attention from the scores of one checkpoint, which begin at `offset`; written into `into` where it is given.
 * @typedef {(scores: Float32Array, offset: number, heads: number, p: number, into: Attention | null) => Attention} Open
 *
 * @typedef {{routes: number, gated: number, p: number, activation: Parameters["activation"]}} Shape
 */

/**
 * The routes by which operands reach neurons, by the kind of network. The first `gated` routes are weighted with attention,
 * computed by `open` from the `scores` numbers of a checkpoint; the others are always open.
 * @param {Pick<Parameters, "network" | "heads" | "p" | "attention_rate">} parameters
 * @returns {{routes: number, gated: number, scores: number, open: Open}}
 */
export const routesOf = ({ network, heads, p, attention_rate }) => {
  switch (network) {
    case "two-token":
      return { routes: heads + 1, gated: heads, scores: heads * p * p, open: attentionOfTwoTokens };
    case "one-hot":
      return { routes: 1, gated: 0, scores: 0, open: attentionFromScores };
    default:
      // The last route is what an attention rate below 1 adds to every head's attention.
      return {
        routes: attention_rate === 1 ? heads : heads + 1,
        gated: heads,
        scores: 2 * heads * p,
        open: attentionFromScores,
      };
  }
};

/** For a network without '=', from scores (head, a, b) of a relative to b. @type {Open} */
export const attentionOfTwoTokens = (scores, offset, heads, p, into) => {
  const size = heads * p * p;
  const out = into || { first: new Float32Array(size), second: new Float32Array(size) };
  for (let i = 0; i < size; i++) {
    out.first[i] = 1 / (1 + Math.exp(-scores[offset + i]));
    out.second[i] = 1 - out.first[i];
  }
  return out;
};

/** For the transformer, from scores (2, head, p) relative to the score of '='. @type {Open} */
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

/** Activation functions, in place; each returns the largest activation. @type {Record<Parameters["activation"], (out: Float32Array) => number>} */
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
      out[i] *= out[i];
      const value = out[i];
      if (value > largest) largest = value;
    }
    return largest;
  },
  gelu: (out) => {
    let largest = 0;
    for (let i = 0; i < out.length; i++) {
      out[i] *= 0.5 * (1 + erf(out[i] * Math.SQRT1_2));
      const value = out[i];
      if (value > largest) largest = value;
    }
    return largest;
  },
};

/** The error function to 1.5e-7: Abramowitz and Stegun, formula 7.1.26, as in closed_form.erf. @param {number} x */
const erf = (x) => {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const value = 1 - series * Math.exp(-x * x);
  return x < 0 ? -value : value;
};

/** Magnitude of the minimum of gelu: a color scale that reaches as far shows every negative value. */
export const GELU_DEPTH = 0.17;

/**
 * Activation of one neuron, (a, b), written into `out`.
 * @param {Float32Array} table [c, U0 (route, a), U1 (route, b)] from `offset` on
 * @param {number} offset
 * @param {Attention} attention
 * @param {Shape} shape
 * @param {Float32Array} out p * p numbers
 * @returns {number} the largest value
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

/** Add an ungated route. @param {Float32Array} table @param {number} d0 where U0 begins @param {number} d1 where U1 begins @param {number} p @param {Float32Array} out */
const addOpen = (table, d0, d1, p, out) => {
  for (let a = 0, at = 0; a < p; a++) {
    const weight = table[d0 + a];
    for (let b = 0; b < p; b++, at++) out[at] += weight + table[d1 + b];
  }
};

/** Add one head, whose attention begins at `from`. @param {Float32Array} table @param {number} d0 where U0 begins @param {number} d1 where U1 begins @param {Attention} attention @param {number} from @param {number} p @param {Float32Array} out */
const addOne = (table, d0, d1, { first, second }, from, p, out) => {
  for (let a = 0, at = 0; a < p; a++) {
    const weight = table[d0 + a];
    for (let b = 0; b < p; b++, at++) out[at] += first[from + at] * weight + second[from + at] * table[d1 + b];
  }
};

/** Add four heads at once: one pass over `out` takes half the time of four. @param {Float32Array} table @param {number} d0 where U0 begins @param {number} d1 where U1 begins @param {Attention} attention @param {number} from @param {number} p @param {Float32Array} out */
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
