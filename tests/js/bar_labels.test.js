import assert from "node:assert/strict";
import { test } from "node:test";
import { BarLabels } from "../../tdw/viewer/bar_labels.js";

/** Labels of bars 10 px wide in a picture 100 px high, each digit 6 px wide. */
const labels = (heights, tall) => {
  const drawn = [];
  const context = { measureText: (text) => ({ width: 6 * text.length }), fillText: (text) => drawn.push(text) };
  const up = (v) => 100 - v;
  const data = Float32Array.from(heights);
  const drawing = {
    data,
    from: 0,
    count: data.length,
    x0: -0.5,
    each: 10,
    up,
    ratio: 1,
    colors: {},
    width: 10 * data.length,
  };
  const bars = new BarLabels();
  bars.draw(context, new Map(tall.map((i) => [i, { x: i, value: heights[i] }])), drawing);
  return { drawn, placed: bars.placed };
};

test("every dominant bar that has room is named, the tallest first", () => {
  assert.deepEqual(labels([0, 50, 0, 0, 80, 0], [1, 4]).drawn, ["4", "1"]);
});

test("a name that would touch that of a taller bar is left out", () => {
  const heights = Array.from({ length: 14 }, (_, i) => (i === 10 ? 50 : i === 11 ? 51 : 0));
  assert.deepEqual(labels(heights, [10, 11]).drawn, ["11"]);
});

test("a name that would lie on a bar is left out", () => {
  const tall = Array.from({ length: 12 }, (_, i) => (i === 10 ? 30 : i === 11 ? 60 : 0));
  assert.deepEqual(labels(tall, [10]).drawn, []);
});

test("names stay within the picture", () => {
  const { placed } = labels([50, 0, 0], [0]);
  assert.ok(placed[0].box[0] >= -2);
});
