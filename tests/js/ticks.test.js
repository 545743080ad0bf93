import assert from "node:assert/strict";
import { test } from "node:test";
import { linearTicks, logTicks } from "../../tdw/viewer/ticks.js";

/** The number that a text means. @param {string} text */
const read = (text) => {
  const power = text.match(/10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)$/)?.[1] ?? "";
  const exponent = [...power].map((char) => (char === "⁻" ? "-" : "⁰¹²³⁴⁵⁶⁷⁸⁹".indexOf(char))).join("");
  const plain = text.replaceAll("−", "-").replaceAll("\u202f", "");
  if (!power) return Number(plain);
  const mantissa = plain.slice(0, plain.indexOf(`10${power}`)).replace("·", "");
  return Number(`${mantissa === "" || mantissa === "-" ? `${mantissa}1` : mantissa}e${exponent}`);
};

test("linear ticks are round and within their range", () => {
  const epochs = linearTicks(0, 25_000, 5, true);
  assert.deepEqual(epochs.values.map(Math.abs), [0, 5000, 10_000, 15_000, 20_000, 25_000]);
  assert.deepEqual(epochs.text.slice(0, 3), ["0", "5\u202f000", "10\u202f000"]);
  assert.deepEqual(linearTicks(1, 10, 5, true).values, [2, 4, 6, 8, 10]);
  const fractions = linearTicks(0, 1.04, 4, false);
  assert.deepEqual(fractions.text, ["0.0", "0.5", "1.0"]);
  assert.deepEqual(
    linearTicks(-0.4, 3.4, 10, true).values.map(Math.abs),
    [0, 1, 2, 3],
    "whole numbers are not divided",
  );
  for (const [low, high] of [
    [0, 1e-9],
    [-3e7, 2e7],
    [0.3, 0.31],
  ]) {
    const { values, text } = linearTicks(low, high, 5, false);
    const room = (high - low) * 1e-6;
    assert.ok(values.length >= 2 && values.every((v) => v >= low - room && v <= high + room), `${low} to ${high}`);
    assert.equal(new Set(text).size, text.length, "every tick has a label of its own");
    values.forEach((v, i) => {
      assert.ok(Math.abs(read(text[i]) - v) <= Math.abs(v) * 1e-3 + room);
    });
  }
});

test("log ticks are powers of ten, thinned where they are many", () => {
  assert.deepEqual(logTicks(-3, 1, 8), { values: [0.001, 0.01, 0.1, 1, 10], text: ["10⁻³", "10⁻²", "0.1", "1", "10"] });
  const thinned = logTicks(-12, 4, 5).values.map((v) => Math.round(Math.log10(v)));
  assert.ok(thinned.length <= 5);
  assert.equal(new Set(thinned.slice(1).map((e, i) => e - thinned[i])).size, 1, "equally spaced");
});

test("few decades have 2 and 5 between the powers, less than one has linear ticks", () => {
  assert.deepEqual(logTicks(-0.5, 1.1, 8).values, [0.5, 1, 2, 5, 10]);
  const { values, text } = logTicks(Math.log10(2), Math.log10(3), 4);
  assert.ok(values.length >= 2 && values.every((v) => v >= 2 - 1e-9 && v <= 3 + 1e-9));
  assert.deepEqual(text.map(Number), values);
});
