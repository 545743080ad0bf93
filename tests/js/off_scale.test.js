import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { namedStretches, offScale, offScalePoints, stretches, stretchWords } from "../../tdw/viewer/off_scale.js";

const { NaN: NAN, POSITIVE_INFINITY: INF } = Number;

test("zeros, numbers below 0, infinities and missing numbers are told apart", () => {
  const kinds = (isLog) => [1e-9, 0, -2, INF, -INF, NAN].map((value) => offScale(value, isLog));
  assert.deepEqual(kinds(true), ["", "0", "below 0", "∞", "−∞", ""]);
  assert.deepEqual(kinds(false), ["", "", "", "∞", "−∞", ""]);
});

test("stretches are named by their epochs", () => {
  const values = [4, 0, 0, NAN, INF, 3, 0, 0];
  const epochs = [0, 10, 20, 30, 40, 50, 60, 70];
  const words = stretches(values, true).map((stretch) => stretchWords(stretch, epochs));
  assert.deepEqual(words, ["0 at epochs 10–20", "∞ at epoch 40", "0 from epoch 60"]);
  assert.deepEqual(
    namedStretches(stretches(values, true)).map(({ first }) => first),
    [6],
  );
  assert.deepEqual(stretches([], true), []);
});

test("what is off the scale is drawn at its edge and joined to its neighbors", () => {
  const { x, y, size } = offScalePoints([0, 1, 2, 3, 4, 5, 6], [9, 8, 0, 0, 7, 6, INF], true, { foot: 1, top: 10 });
  assert.deepEqual(
    x.filter((_, i) => !Number.isNaN(y[i])),
    [1, 2, 3, 4, 5, 6],
  );
  assert.deepEqual(y, [8, 1, 1, 7, 6, 10]);
  assert.deepEqual(size, [0, 9, 0, 0, 0, 9]);
  const apart = offScalePoints([0, 1, 2, 3], [0, 5, 5, 0], true, { foot: 1, top: 10 });
  assert.deepEqual(apart.y, [1, 5, 5, 1]);
  const far = offScalePoints([0, 1, 2, 3, 4], [0, 5, 5, 5, 0], true, { foot: 1, top: 10 });
  assert.deepEqual(far.y, [1, 5, NAN, 5, 1]);
});

test("the figures of Python say the same, in the cases that both are tested on", () => {
  const cases = JSON.parse(readFileSync(new URL("off_scale.cases.json", import.meta.url), "utf8"));
  for (const { isLog, isCurve, epochs, values, said, named } of cases) {
    const found = stretches(values.map(Number), isLog, isCurve);
    const words = (/** @type {typeof found} */ some) => some.map((one) => stretchWords(one, epochs));
    assert.deepEqual(words(found), said);
    assert.deepEqual(words(namedStretches(found)), named);
  }
});
