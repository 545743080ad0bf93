import assert from "node:assert/strict";
import { test } from "node:test";
import { epochInputs, epochRange, reachedEvent, tintedSpans, tintShapes } from "../../tdw/viewer/epochs.js";

const event = (name, first) => ({ name, label: name, first, last: first, held: true, recorded: true });
const manifest = (changes) => ({
  state: "finished",
  epochs: 25_001,
  planned_epochs: 25_000,
  checkpoints: [0, 100],
  events: [event("memorized_0.1", [100, 110]), event("generalized_0.1", [9000, 9100])],
  grokking: { verdict: "yes", delay: [8890, 9000], wanted: 500, ratio: [63, 65], wanted_ratio: 1 },
  ...changes,
});

test("the axis ends at the last epoch of a finished run, and grows in steps until then", () => {
  assert.deepEqual(epochRange(manifest({})), [0, 25_000]);
  assert.deepEqual(epochRange(manifest({ state: "unfinished", epochs: 1235 })), [0, 1500]);
  assert.deepEqual(epochRange(manifest({ state: "unfinished", epochs: 24_500 })), [0, 25_000], "not beyond the plan");
  assert.deepEqual(epochRange(manifest({ epochs: 0, checkpoints: [] })), [0, 1]);
});

test("the tint lies between memorization and generalization, if both were reached in this order", () => {
  assert.deepEqual(
    tintedSpans(manifest({})).map(({ from, to }) => [from, to]),
    [[110, 9100]],
  );
  const reversed = [event("memorized_0.1", [9000, 9100]), event("generalized_0.1", [100, 110])];
  const never = [event("memorized_0.1", [100, 110]), event("generalized_0.1", null)];
  for (const events of [reversed, never, []]) assert.deepEqual(tintedSpans(manifest({ events })), []);
  const [shape] = tintShapes(manifest({}), "red");
  assert.deepEqual([shape.x0, shape.x1, shape.fillcolor], [110, 9100, "red"]);
});

test("events are found by how their names begin", () => {
  assert.equal(reachedEvent(manifest({}), "generalized").name, "generalized_0.1");
  assert.equal(reachedEvent(manifest({ events: [event("peak", null)] }), "peak"), undefined);
});

test("a panel over epochs is drawn again when epochs or events change, and not for checkpoints", () => {
  assert.notEqual(epochInputs(manifest({ epochs: 7 })), epochInputs(manifest({})));
  assert.notEqual(epochInputs(manifest({ events: [] })), epochInputs(manifest({})));
  assert.equal(epochInputs(manifest({ checkpoints: [0, 100, 200] })), epochInputs(manifest({})));
});
