import assert from "node:assert/strict";
import { test } from "node:test";
import { parseHex, ramp } from "../../tdw/viewer/color.js";
import { colorScale, paintPixels, pixelCells } from "../../tdw/viewer/heat.js";

const rgba = (packed) => [packed & 255, (packed >> 8) & 255, (packed >> 16) & 255, packed >>> 24];
const lut = Uint32Array.from({ length: 256 }, (_, i) => i);
const minus = Uint32Array.from({ length: 256 }, (_, i) => 1000 + i);

test("a ramp runs through its three colors, opaque", () => {
  const stops = ["#ffffff", "#2f5bea", "#0c1854"].map(parseHex);
  const pixels = ramp(stops);
  assert.deepEqual(rgba(pixels[0]), [255, 255, 255, 255]);
  assert.deepEqual(rgba(pixels[255]), [0x0c, 0x18, 0x54, 255]);
  assert.ok(rgba(pixels[128]).every((v, c) => c === 3 || Math.abs(v - stops[1][c]) <= 1));
  assert.throws(() => parseHex("blue"), /six hex digits \(got "blue"\)/);
});

test("linear colors go from 0 to the top, negative numbers in the other colors, NaN is transparent", () => {
  const color = colorScale({ lut, minus }, { type: "linear", top: 2 });
  assert.deepEqual([0, 1, 2, 99].map(color), [0, 128, 255, 255]);
  assert.deepEqual([-1, -2].map(color), [1128, 1255]);
  assert.equal(color(Number.NaN), 0);
  assert.equal(colorScale({ lut: minus, minus }, { type: "linear", top: 0 })(5), 1000, "nothing to scale by");
});

test("log colors go from the bottom to the top", () => {
  const color = colorScale({ lut, minus }, { type: "log", top: 100, bottom: 0.01 });
  assert.deepEqual([1e-9, 0.01, 1, 100, 1e9].map(color), [0, 0, 127, 255, 255]);
});

test("cells are spread over pixels without gap or overlap", () => {
  for (const [from, to, pixels] of [
    [0, 7, 7],
    [3, 113, 40],
  ]) {
    const { low, high } = pixelCells(from, to, pixels);
    assert.equal(low[0], from);
    assert.equal(high[pixels - 1], to);
    for (let i = 1; i < pixels; i++) assert.equal(low[i], high[i - 1]);
  }
});

test("a pixel shows the largest number by size of its cells, rows from below or above", () => {
  const data = Float32Array.of(1, 2, 3, -9, 5, 6); // 2 rows, 3 columns
  const table = { data, from: 0, stepY: 3, stepX: 1, rows: pixelCells(0, 2, 2), columns: pixelCells(0, 3, 3) };
  const painted = (changes) => {
    const merged = { ...table, ...changes };
    const pixels = new Uint32Array(merged.rows.low.length * merged.columns.low.length);
    paintPixels(pixels, merged, (v) => v + 100);
    return [...pixels].map((v) => v - 100);
  };
  assert.deepEqual(painted({}), [-9, 5, 6, 1, 2, 3]);
  assert.deepEqual(painted({ isDownward: true }), [1, 2, 3, -9, 5, 6]);
  assert.deepEqual(painted({ isDownward: true, order: Uint32Array.of(2, 0, 1) }), [3, 1, 2, 6, -9, 5]);
  assert.deepEqual(painted({ rows: pixelCells(0, 2, 1), columns: pixelCells(0, 3, 1) }), [-9]);
});
