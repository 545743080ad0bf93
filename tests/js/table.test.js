// The verdict of the table of baselines.

import assert from "node:assert/strict";
import { test } from "node:test";
import { verdict } from "../../tdw/viewer/table.js";

const at = (middle, p) => ({ low: middle - 1, middle, high: middle + 1, p });

test("a measure stands out where all baselines agree on a side and are all unlikely", () => {
  assert.equal(verdict(9, [at(1, 0.01), at(2, 0.05)], 0.05), "above");
  assert.equal(verdict(-9, [at(1, 0.01), at(2, 0.05)], 0.05), "below");
  assert.equal(verdict(9, [at(1, 0.01), at(2, 0.06)], 0.05), "");
  assert.equal(verdict(5, [at(1, 0.01), at(9, 0.01)], 0.05), "");
});

test("a measure does not stand out where a baseline or the measure itself is missing", () => {
  assert.equal(verdict(9, [at(1, 0.01), at(2, Number.NaN)], 0.05), "");
  assert.equal(verdict(Number.NaN, [at(1, 0.01)], 0.05), "");
  assert.equal(verdict(9, [], 0.05), "");
});
