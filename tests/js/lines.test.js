import assert from "node:assert/strict";
import { test } from "node:test";
import { Choices } from "../../tdw/viewer/choices.js";
import { withPoints } from "../../tdw/viewer/lines.js";
import { WholeRows } from "../../tdw/viewer/row_store.js";

const NAN = Number.NaN;
const array = (data, ...shape) =>
  new WholeRows(
    Float64Array.from(data),
    shape,
    shape.slice(1).reduce((a, b) => a * b, 1),
    "1",
  );
const arrays = {
  "losses/train": array([4, NAN, 0, 2], 4),
  "analysis/loss/epoch": array([0, 100, 200], 3),
  "analysis/loss/loss": array([1, 2, 3, NAN, 5, 6], 3, 2),
  "reduced/sum/loss/loss": array([3, 7], 2),
  "analysis/path/speed": array([7, 8, 9], 1, 3),
};
const run = { checkpoints: [0, 100, 200, 300], array: (name) => arrays[name] ?? null, curve: () => null };
const choices = new Choices({});
const line = (name, more = {}) => ({
  array: name,
  label: "",
  color: "series-0",
  axes: [],
  whole: false,
  picks: {},
  ...more,
});

test("a recorded series has a point at every epoch that was evaluated", () => {
  const linear = withPoints(line("losses/train"), run, choices, false);
  assert.deepEqual([linear.xs, linear.ys, linear.rowOf], [[0, 2, 3], [4, 0, 2], null]);
  const log = withPoints(line("losses/train"), run, choices, true);
  assert.deepEqual(log.ys, [4, 0, 2]);
  assert.deepEqual(log.off, [{ what: "0", first: 1, last: 1, lasts: false }], "a log axis has no place for 0");
  assert.deepEqual(linear.off, []);
});

test("NaN that was recorded is a point, and is named", () => {
  const values = array([4, NAN, NAN, 2], 4);
  new BigUint64Array(values.data.buffer)[2] = 0x7ff8000000000001n;
  const marked = { ...run, array: () => values };
  const { xs, ys, off } = withPoints(line("losses/train"), marked, choices, false);
  assert.deepEqual(
    [xs, ys],
    [
      [0, 2, 3],
      [4, NAN, 2],
    ],
  );
  assert.deepEqual(off, [{ what: "NaN", first: 1, last: 1, lasts: false }]);
  const inside = { ...run, array: () => ({ data: values.data.subarray(1) }) };
  assert.deepEqual(withPoints(line("losses/train"), inside, choices, false).xs, [1, 2]);
});

test("an analysis has a point at every row, and a gap where a number is missing", () => {
  const { xs, ys, rowOf, values } = withPoints(line("analysis/loss/loss", { axes: [1] }), run, choices, false);
  assert.deepEqual(
    [xs, ys, values],
    [
      [0, 100, 200],
      [2, NAN, 6],
      [2, NAN, 6],
    ],
  );
  assert.equal(rowOf.get(200), 2);
});

test("a reduction has the epochs of its analysis and ends where its rows end", () => {
  const { xs, ys } = withPoints(line("reduced/sum/loss/loss"), run, choices, false);
  assert.deepEqual(
    [xs, ys],
    [
      [0, 100],
      [3, 7],
    ],
  );
});

test("the single row of a whole run is over the checkpoints", () => {
  const { xs, ys } = withPoints(line("analysis/path/speed", { whole: true }), run, choices, false);
  assert.deepEqual(
    [xs, ys],
    [
      [0, 100, 200],
      [7, 8, 9],
    ],
  );
});

test("what is not there has no points", () => {
  for (const name of ["losses/test", "analysis/margin/mean", "reduced/sum/margin/mean"])
    assert.deepEqual(withPoints(line(name), run, choices, false).xs, [], name);
});
