import assert from "node:assert/strict";
import { test } from "node:test";
import { RefusedError, refusalIn, typed } from "../../tdw/viewer/data_source.js";
import { NeuronTables } from "../../tdw/viewer/neuron_tables.js";
import { replacementMessage } from "../../tdw/viewer/replacement.js";
import { analysisOf, RunData } from "../../tdw/viewer/run_data.js";

const PARAMETERS = { p: 3, heads: 1, d_mlp: 4, frequencies: 1, order: 3, network: "one-hot", activation: "relu" };
const NAMES = ["analysis/margin/mean", "analysis/margin/epoch"];

/** A server with one analysis, of which `rows` rows are there. */
class FakeSource {
  constructor() {
    this.rows = 2;
    this.refuses = new Set();
    this.changes = {};
    this.asked = [];
  }
  async manifest() {
    const entry = (dtype) => ({ dtype, shape: [this.rows], version: "v1" });
    return {
      id: "a",
      file: "run.tdw",
      parameters: PARAMETERS,
      revision: this.rows,
      epochs: 100 * this.rows,
      checkpoints: Array.from({ length: this.rows + 1 }, (_, i) => 100 * i),
      arrays: { "analysis/margin/mean": entry("<f4"), "analysis/margin/epoch": entry("<i8") },
      panels: [],
      ...this.changes,
    };
  }
  async array(name, _version, { from = 0 }) {
    this.asked.push(`${name} ${from}`);
    if (this.refuses.has(name)) throw new RefusedError("damaged");
    const rows = Array.from({ length: this.rows - from }, (_, i) => i + from);
    return name.endsWith("epoch")
      ? BigInt64Array.from(rows, (i) => BigInt(100 * i)).buffer
      : Float32Array.from(rows, (i) => i / 2).buffer;
  }
  async neurons(ids, { from = 0 }) {
    this.asked.push(`neurons ${ids} ${from}`);
    const rows = this.rows + 1 - from;
    return Float32Array.from({ length: rows * ids.length * 7 }, (_, i) => Math.floor(i / 7)).buffer;
  }
  async scores() {
    return new ArrayBuffer(0);
  }
  close() {}
}

const opened = async () => {
  const source = new FakeSource();
  const run = new RunData(source, (manifest) => NAMES.filter((name) => manifest.arrays[name]));
  await run.refresh();
  return { source, run };
};

test("arrays are fetched once, and only new rows of those that grow", async () => {
  const { source, run } = await opened();
  assert.deepEqual([...run.array("analysis/margin/mean").data], [0, 0.5]);
  assert.deepEqual(
    [0, 1, 2].map((index) => run.row("margin", index)),
    [0, 1, -1],
  );
  source.asked = [];
  await run.refresh();
  assert.deepEqual(source.asked, []);
  source.rows = 3;
  await run.refresh();
  assert.deepEqual(source.asked.sort(), ["analysis/margin/epoch 2", "analysis/margin/mean 2"]);
  assert.deepEqual([...run.array("analysis/margin/mean").data], [0, 0.5, 1]);
  assert.equal(run.row("margin", 2), 2);
});

test("another content of an array is fetched from its first row", async () => {
  const { source, run } = await opened();
  source.asked = [];
  source.changes = { contents: { "analysis/margin/mean": "x.1" } };
  await run.refresh();
  assert.deepEqual(source.asked, ["analysis/margin/mean 0"]);
});

test("one array that is refused does not take the others with it", async () => {
  const { source, run } = await opened();
  source.refuses.add("analysis/margin/mean");
  source.rows = 3;
  await run.refresh();
  assert.equal(run.refused.get("analysis/margin/mean"), "damaged");
  assert.equal(run.array("analysis/margin/mean"), null);
  assert.equal(run.array("analysis/margin/epoch").rows, 3);
});

test("another run in the file ends this one", async () => {
  const { source, run } = await opened();
  source.changes = { id: "b" };
  await run.refresh();
  assert.ok(run.isReplaced);
  assert.equal(run.manifest.id, "a");
});

test("what became of a file is said only where it did not just grow", async () => {
  const before = await new FakeSource().manifest();
  const message = (changes) => replacementMessage(before, { ...before, ...changes });
  assert.equal(message({}), "");
  assert.equal(message({ epochs: 900, checkpoints: [...before.checkpoints, 300] }), "");
  assert.match(message({ id: "b" }), /replaced by another run/);
  assert.match(message({ parameters: { ...PARAMETERS, p: 5 } }), /replaced by another run/);
  assert.match(message({ epochs: 51 }), /ends at epoch 50 instead of 199/);
  assert.match(message({ checkpoints: [0, 100] }), /other checkpoints: 2 instead of 3/);
  const renewed = (was, is) =>
    replacementMessage({ ...before, contents: { weights: was } }, { ...before, contents: { weights: is } });
  assert.match(renewed("x.0", "x.1"), /replaced by another copy/);
  assert.equal(renewed("x.0", "y.0"), "", "a server that was restarted");
});

test("numbers of every type are read, and unknown types refused", () => {
  assert.deepEqual([...typed(BigInt64Array.of(7n, 25_000n).buffer, "<i8")], [7, 25_000]);
  assert.deepEqual([...typed(Float32Array.of(0.5).buffer, "<f4")], [0.5]);
  assert.deepEqual([...typed(Uint8Array.of(200).buffer, "|u1")], [200]);
  assert.throws(() => typed(new ArrayBuffer(8), "<c8"), /<c8/);
});

test("the sentence of a refusal is found in its body", () => {
  assert.equal(refusalIn('{"error": "file is damaged"}'), "file is damaged");
  assert.equal(refusalIn('{"detail": "Not Found"}'), "Not Found");
  assert.equal(refusalIn("Bad gateway"), "Bad gateway");
});

test("the analysis of an array and of a reduction", () => {
  assert.equal(analysisOf("analysis/margin/mean"), "margin");
  assert.equal(analysisOf("reduced/sum/margin/mean"), "margin");
});

test("tables of neurons are fetched once, then only for new checkpoints, and given up beyond the limit", async () => {
  const { source, run } = await opened();
  const bytes = 4 * 3 * 7; // of one neuron at three checkpoints
  const tables = new NeuronTables(run, 2 * bytes);
  source.asked = [];
  assert.equal(await tables.need([0, 1]), true);
  assert.equal(await tables.need([1, 0]), false);
  assert.deepEqual(source.asked, ["neurons 0,1 0"]);
  assert.deepEqual(
    [0, 1, 2].map((index) => tables.get(1)[tables.offset(tables.get(1), index)]),
    [1, 3, 5],
  );
  tables.get(0);
  await tables.need([2]);
  assert.deepEqual([...tables.kept.keys()], [0, 2], "the least recently used is given up");
  source.rows = 3;
  await run.refresh();
  source.asked = [];
  await tables.need([2]);
  assert.deepEqual(source.asked, ["neurons 2 3"]);
  assert.equal(tables.get(2).length, 4 * 7);
});

test("an answer with too few checkpoints is refused", async () => {
  const { source, run } = await opened();
  source.neurons = async () => new ArrayBuffer(4 * 7);
  await assert.rejects(new NeuronTables(run).need([0]), /1 of 3 checkpoints/);
});
