import assert from "node:assert/strict";
import { test } from "node:test";
import { attentionFromScores, attentionOfTwoTokens, neuronMap, routesOf } from "../../tdw/viewer/neuron_map.js";
import { randomNumbers } from "./random.js";

const p = 5;
const ACTIVATIONS = {
  relu: (x) => Math.max(0, x),
  quadratic: (x) => x * x,
  gelu: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
};

/** One pair at a time, with the softmax written out. */
const naive = ({ network, heads, activation, attention_rate }, table, scores, a, b) => {
  const { routes } = routesOf({ network, heads, p, attention_rate });
  let sum = table[0];
  for (let r = 0; r < routes; r++) {
    let [toA, toB] = [1, 1]; // an ungated route
    if (network === "transformer" && r < heads) {
      const exps = [scores[r * p + a], scores[(heads + r) * p + b], 0];
      const top = Math.max(...exps);
      const weights = exps.map((s) => Math.exp(s - top));
      const total = weights.reduce((x, y) => x + y, 0);
      [toA, toB] = [weights[0] / total, weights[1] / total];
    } else if (network === "two-token" && r < heads) {
      toA = 1 / (1 + Math.exp(-scores[(r * p + a) * p + b]));
      toB = 1 - toA;
    }
    sum += toA * table[1 + r * p + a] + toB * table[1 + (routes + r) * p + b];
  }
  return ACTIVATIONS[activation](sum);
};

for (const network of ["transformer", "two-token", "one-hot"]) {
  for (const activation of ["relu", "quadratic", "gelu"]) {
    for (const [heads, attention_rate] of [
      [1, 1],
      [4, 1],
      [6, 1],
      [4, 0.3],
    ]) {
      test(`a map of a ${network} with ${heads} heads, rate ${attention_rate} and ${activation} is that of a loop over pairs`, () => {
        const random = randomNumbers(heads);
        const { routes, gated, scores: count, open } = routesOf({ network, heads, p, attention_rate });
        assert.equal(
          routes,
          { transformer: heads + (attention_rate < 1), "two-token": heads + 1, "one-hot": 1 }[network],
        );
        const offset = 3; // tables and scores of earlier checkpoints come before
        const numbers = (size) => Float32Array.from({ length: offset + size }, () => 4 * random() - 2);
        const table = numbers(1 + 2 * routes * p);
        const scores = numbers(count);
        const attention = open(scores, offset, gated, p, null);
        const out = new Float32Array(p * p);
        const largest = neuronMap(table, offset, attention, { routes, gated, p, activation }, out);
        const expected = [];
        for (let a = 0; a < p; a++)
          for (let b = 0; b < p; b++)
            expected.push(
              naive(
                { network, heads, activation, attention_rate },
                table.subarray(offset),
                scores.subarray(offset),
                a,
                b,
              ),
            );
        const tolerance = activation === "gelu" ? 2e-3 : 1e-5; // the reference of gelu is its tanh approximation
        expected.forEach((value, i) => {
          assert.ok(Math.abs(out[i] - value) <= tolerance * (1 + Math.abs(value)), `${i}: ${out[i]} and ${value}`);
        });
        assert.equal(largest, Math.max(0, ...out));
      });
    }
  }
}

test("scores beyond what exp can hold are shares that sum to at most 1", () => {
  const scores = Float32Array.of(0, 800, -800, 3, 900, 900, -5, 4);
  const { first, second } = attentionFromScores(scores, 0, 1, 4, null);
  for (let a = 0; a < 4; a++) {
    for (let b = 0; b < 4; b++) {
      const [x, y] = [scores[a], scores[4 + b]];
      const top = Math.max(x, y, 0);
      const total = Math.exp(x - top) + Math.exp(y - top) + Math.exp(-top);
      assert.ok(Math.abs(first[a * 4 + b] - Math.exp(x - top) / total) < 1e-6);
      assert.ok(Math.abs(second[a * 4 + b] - Math.exp(y - top) / total) < 1e-6);
    }
  }
});

test("attention is written into the arrays that are given", () => {
  const scores = Float32Array.from({ length: 4 }, (_, i) => i);
  const into = { first: new Float32Array(4), second: new Float32Array(4) };
  assert.equal(attentionOfTwoTokens(scores, 0, 1, 2, into), into);
  const sums = Array.from(into.first, (share, i) => share + into.second[i]);
  assert.ok(sums.every((sum) => Math.abs(sum - 1) < 1e-6));
  assert.equal(into.first[0], 0.5);
});
