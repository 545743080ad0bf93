import assert from "node:assert/strict";
import { test } from "node:test";
import { axisOf } from "../../tdw/viewer/choices.js";
import { checkpointColumns, placeTicks, unpack } from "../../tdw/viewer/grid_cells.js";
import { reading } from "../../tdw/viewer/grid_reading.js";
import { randomNumbers } from "./random.js";

const parameters = { p: 113, heads: 4, frequencies: 56, order: 113 };
const checkpoints = [0, 100, 200, 1000];
const cells = (range, pixels, rows, isEven) => {
  const { low, high } = checkpointColumns(range, pixels, checkpoints, rows, isEven);
  return Array.from(low, (from, i) => Array.from({ length: high[i] - from }, (_, k) => from + k));
};

test("a pixel over training shows every checkpoint in it, else the nearest", () => {
  assert.deepEqual(cells([0, 1000], 5, 4, false), [[0, 1], [2], [2], [2], [3]]);
  assert.deepEqual(cells([0, 400], 2, 4, false)[0], [0, 1], "more checkpoints than pixels: none is dropped");
});

test("every checkpoint is in some pixel, however many there are of either", () => {
  const random = randomNumbers(4);
  for (let round = 0; round < 200; round++) {
    const count = 1 + Math.floor(random() * 30);
    const pixels = 1 + Math.floor(random() * 20);
    const epochs = Array.from({ length: count }, () => Math.floor(random() * 1000)).sort((a, b) => a - b);
    const distinct = [...new Set(epochs)];
    const shown = (range, isEven) => {
      const { low, high } = checkpointColumns(range, pixels, distinct, distinct.length, isEven);
      return new Set(Array.from(low, (from, i) => Array.from({ length: high[i] - from }, (_, k) => from + k)).flat());
    };
    assert.equal(shown([0, distinct.at(-1)], false).size, distinct.length);
    assert.equal(shown([-0.5, distinct.length - 0.5], true).size, distinct.length);
  }
});

test("nothing is shown before the first checkpoint and after the last", () => {
  const columns = cells([-1000, 2000], 30, 4, false);
  assert.deepEqual([columns[0], columns[6], columns.at(-1)], [[], [], []]);
  assert.deepEqual(columns[10], [0]);
  assert.deepEqual(cells([0, 1000], 5, 2, false).at(-1), [], "rows that are not there yet");
});

test("checkpoints may be evenly spaced", () => {
  assert.deepEqual(cells([-0.5, 3.5], 4, 4, true), [[0], [1], [2], [3]]);
});

test("named places all have a tick, as far as there is room", () => {
  const rules = axisOf(["one", "two", "three"], parameters);
  assert.deepEqual(placeTicks(rules, [-0.5, 2.5], 90, 22).text, ["one", "two", "three"]);
  assert.deepEqual(placeTicks(rules, [-0.5, 2.5], 18, 22).text, ["one", "three"]);
});

test("frequencies and components have ticks at round numbers", () => {
  assert.deepEqual(placeTicks(axisOf("frequency", parameters), [-0.5, 55.5], 280, 40).text, [
    "10",
    "20",
    "30",
    "40",
    "50",
  ]);
  const components = placeTicks(axisOf("component", parameters), [-0.5, 112.5], 560, 64);
  assert.deepEqual(components.text, ["const", "k=10", "k=20", "k=30", "k=40", "k=50"]);
  assert.deepEqual(components.values, [0, 19, 39, 59, 79, 99], "at the cosine");
});

test("bits are unpacked as numpy packs them", () => {
  const bits = new Uint8Array(11);
  unpack(Uint8Array.of(255, 0b10100000, 0b01000000), 1, bits);
  assert.deepEqual([...bits], [1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0]);
});

const tableOf = (rows, more = {}) => ({
  y: axisOf("frequency", { ...parameters, frequencies: rows.length }),
  x: axisOf("frequency", { ...parameters, frequencies: rows[0].length }),
  value: (j, i) => rows[j][i],
  bits: () => Uint8Array.of(1, 0, 1),
  data: Float64Array.of(-1, 0, 100, 300),
  epoch: 100,
  ...more,
});

test("marked rows are listed, or counted where they are many", () => {
  assert.deepEqual(reading("marked", tableOf([[1], [0], [1]])), ["k = 1, 3"]);
  assert.deepEqual(reading("marked", tableOf([[0], [0]])), ["none"]);
  assert.deepEqual(reading("marked", tableOf(Array.from({ length: 12 }, (_, i) => [i ? 1 : 0]))), ["11 of 12"]);
});

test("agreement is on columns that every row marks", () => {
  const rows = [
    [1, 1, 0],
    [0, 1, 0],
  ];
  assert.deepEqual(reading("agreement", tableOf(rows)), ["all agree on k = 2"]);
  assert.deepEqual(
    reading(
      "agreement",
      tableOf([
        [1, 0],
        [0, 1],
      ]),
    ),
    ["no agreement"],
  );
});

test("pairs are counted, correct or learned", () => {
  assert.deepEqual(reading("correct", tableOf([[0]])), ["2 of 3 pairs"]);
  assert.deepEqual(reading("learned", tableOf([[0]])), ["2 of 4 pairs learned"]);
});

test("the largest row is named with its number", () => {
  assert.deepEqual(reading("largest", tableOf([[1], [3], [2]])), ["largest k = 2: 3"]);
  const heads = axisOf("head", parameters);
  assert.deepEqual(reading("largest", tableOf([[0.5], [0.25]], { y: heads, value: (j) => [0.5, 0.25, 0, 0][j] })), [
    "largest head 0: 0.500",
  ]);
  assert.deepEqual(reading("", tableOf([[1]])), []);
});
