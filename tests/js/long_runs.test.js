import assert from "node:assert/strict";
import { test } from "node:test";
import { isWithoutNumbers, sampledText, scaled } from "../../tdw/viewer/array_extremes.js";
import { CurvePoints, firstFrom, readPoints } from "../../tdw/viewer/curve_points.js";
import { ARRAY_BYTES, arrayRoles, bucketOf, fetchPlan, gridStep, shareOf } from "../../tdw/viewer/fetch_plan.js";
import { Follower } from "../../tdw/viewer/follower.js";
import { SomeRows, WholeRows } from "../../tdw/viewer/row_store.js";
import { nearestHeld, nextRows, windowAround } from "../../tdw/viewer/row_window.js";
import { RunData } from "../../tdw/viewer/run_data.js";
import { SomeTables } from "../../tdw/viewer/some_tables.js";
import { standInText } from "../../tdw/viewer/stand_in.js";
import { randomNumbers } from "./random.js";

const NAN = Number.NaN;
const bytes = (plan, arrays) =>
  arrays.reduce((sum, { name, rows, bytes }) => {
    const { coarse, around } = plan.get(name);
    return sum + bytes * Math.min(rows, coarse + around);
  }, 0);
const array = (name, rows, each, isHistory = false) => ({ name, rows, bytes: each, isHistory });

test("short runs are fetched whole, to the last byte of the budget", () => {
  const arrays = [array("a", 100, ARRAY_BYTES / 200), array("b", 50, ARRAY_BYTES / 100)];
  assert.deepEqual(
    [...fetchPlan(arrays).values()].map(({ coarse }) => coarse),
    [Infinity, Infinity],
  );
  assert.ok(fetchPlan([...arrays, array("c", 2, 1)]).get("b").coarse < 50);
});

test("what is fetched does not depend on the number of checkpoints", () => {
  for (const rows of [500, 2001, 20_000, 1_000_000]) {
    const arrays = [
      array("share", rows, 114_688),
      array("summary", rows, 2048),
      array("norms", rows, 452, true),
      array("loss", rows, 12, true),
      array("once", 1, 50_000),
    ];
    const plan = fetchPlan(arrays);
    assert.ok(bytes(plan, arrays) <= ARRAY_BYTES, `${rows} rows: ${bytes(plan, arrays)} bytes`);
    assert.equal(plan.get("once").coarse, Infinity);
    if (rows > 500) assert.deepEqual(plan.get("share"), plan.get("summary"), "the same checkpoints of each");
    assert.ok(plan.get("loss").coarse >= Math.min(rows, 1000), "histories come first");
  }
});

test("the grid holds at most as many rows as planned, and more than half of them", () => {
  for (const rows of [2, 3, 17, 100, 2001, 99_999])
    for (const most of [2, 3, 8, 50]) {
      const step = gridStep(rows, most);
      const held = Math.ceil(rows / step);
      assert.ok(held <= most, `${rows} ${most}`);
      assert.ok(rows < most || held > most / 2 - 1);
    }
  assert.deepEqual(shareOf(100, 1000), { coarse: 5, around: 5 });
  assert.deepEqual(shareOf(1e9, 1000), { coarse: 2, around: 1 }, "two rows and the slider's, however large");
});

test("buckets are powers of two, and about a thousand", () => {
  assert.equal(bucketOf(1024), 1);
  assert.equal(bucketOf(1025), 2);
  assert.equal(bucketOf(1_000_001), 1024);
});

test("panels say which arrays they draw over training, and which have scales", () => {
  const scale = { top: null };
  const roles = arrayRoles([
    { kind: "curve", quantities: [{ lines: [{ array: "l" }] }] },
    {
      kind: "grid",
      views: [
        { array: "h", x: "checkpoint", scale: { top: 1 } },
        { array: "g", x: "head", scale },
      ],
    },
    { kind: "bars", views: [{ array: "b", reference: { array: "r" } }] },
    { kind: "maps", summary: { maximum: "m" } },
    { kind: "curve" }, // does not apply to the run
  ]);
  assert.deepEqual([...roles.histories], ["l", "h"]);
  assert.deepEqual([...roles.extremes], ["g", "b", "r", "m"]);
});

test("a window holds its row and looks ahead", () => {
  assert.deepEqual(windowAround(50, 100, 10, 1), [47, 57]);
  assert.deepEqual(windowAround(50, 100, 10, -1), [44, 54]);
  assert.deepEqual(windowAround(0, 100, 10, -1), [0, 10]);
  assert.deepEqual(windowAround(99, 100, 10, 1), [90, 100]);
  assert.deepEqual(windowAround(1, 3, 10, 0), [0, 3]);
  const random = randomNumbers(5);
  const below = (count) => Math.floor(random() * count);
  for (let i = 0; i < 500; i++) {
    const count = 1 + below(200);
    const row = below(count);
    const [from, to] = windowAround(row, count, 1 + below(20), below(3) - 1);
    assert.ok(from >= 0 && from <= row && row < to && to <= count);
  }
});

test("the slider's own row comes first, then what is ahead of it", () => {
  const held = new Set([3, 4, 6]);
  const next = (row, direction) => nextRows((at) => held.has(at), row, [0, 10], direction);
  assert.deepEqual(next(5, 1), [5, 6]);
  held.add(5);
  assert.deepEqual(next(5, 1), [7, 10]);
  assert.deepEqual(next(5, -1), [0, 3]);
  for (const row of [7, 8, 9]) held.add(row);
  assert.deepEqual(next(5, 1), [0, 3]);
  for (const row of [0, 1, 2]) held.add(row);
  assert.equal(next(5, 1), null);
});

test("a slider that moves step by step has requests for several rows, ahead of it", () => {
  for (const direction of [1, -1]) {
    const held = new Set([500]);
    const asked = [];
    let isBehind = false;
    for (let row = 500; Math.abs(row - 500) < 200; row += direction) {
      if (!held.has(row)) isBehind = true;
      const isHeld = (at) => held.has(at);
      const next = () => nextRows(isHeld, row, windowAround(row, 1000, 18, direction), direction);
      for (let rows = next(); rows; rows = next()) {
        asked.push(rows);
        for (let at = rows[0]; at < rows[1]; at++) held.add(at);
      }
    }
    assert.equal(isBehind, false);
    assert.ok(asked.length < 60, `${asked.length} requests for 200 steps`);
  }
});

test("the nearest checkpoint that is there, the earlier of two", () => {
  const held =
    (...rows) =>
    (row) =>
      rows.includes(row);
  assert.equal(nearestHeld(5, 10, held(3, 7)), 3);
  assert.equal(nearestHeld(6, 10, held(3, 7)), 7);
  assert.equal(nearestHeld(9, 10, held(0)), 0);
  assert.equal(nearestHeld(5, 10, held()), -1);
  assert.equal(standInText([0, 100, 25_000], 1, 1), "");
  assert.match(standInText([0, 100, 25_000], 1, 2), /^epoch 100, loading 25.000$/);
});

const some = (rows, room, plan = { step: 10, around: 3 }) =>
  new SomeRows(new Float32Array(2 * room), [rows, 2], 2, "v", plan);
/** Rows whose numbers name them. */
const numbers = (from, count, step = 1) =>
  Float32Array.from({ length: 2 * count }, (_, i) => from + (i >> 1) * step + (i % 2) / 2);
const check = (array) => {
  for (const row of array.held()) {
    const at = array.offset(row);
    assert.deepEqual([array.data[at], array.data[at + 1]], [row, row + 0.5]);
  }
};

test("rows beyond the room are given up far from the slider; the grid stays", () => {
  const array = some(101, 15);
  array.put(numbers(0, 11, 10), 0, 10, null);
  for (const center of [33, 34, 35, 77, 78, 79, 36]) array.put(numbers(center, 1), center, 1, center);
  check(array);
  const grid = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100];
  assert.equal(array.held().length, 15);
  assert.ok(grid.every((row) => array.offset(row) >= 0));
  assert.ok(array.offset(36) >= 0);
  assert.equal(array.offset(79), -1, "the farthest");
  array.put(numbers(99, 5), 99, 1, 99);
  assert.equal(array.offset(101), -1, "committed after the manifest");
});

test("an array that grows keeps its rows", () => {
  const array = some(96, 20);
  array.put(numbers(0, 10, 10), 0, 10, null);
  array.put(numbers(95, 1), 95, 1, null);
  array.put(numbers(41, 2), 41, 1, 41);
  const more = array.grown([105, 2]);
  more.put(numbers(100, 1), 100, 10, null);
  more.put(numbers(104, 1), 104, 1, null);
  assert.deepEqual(more.held(), [0, 10, 20, 30, 40, 41, 42, 50, 60, 70, 80, 90, 95, 100, 104]);
  check(more);
});

test("scales of a long array follow from its extremes, of a short one from its numbers", () => {
  const whole = new WholeRows(Float64Array.of(1, NAN, 3, 4), [2, 2], 2, "v");
  assert.deepEqual([...scaled(whole)], [1, NAN, 3, 4]);
  assert.equal(isWithoutNumbers(whole), false);
  assert.equal(sampledText(whole), "");
  const long = some(1000, 4);
  long.extremes = Float64Array.of(-1, NAN, 5, NAN, 0.5, NAN, 1000, 0);
  assert.deepEqual([...scaled(long)], [-1, NAN, 5, NAN, 0.5, NAN]);
  assert.equal(isWithoutNumbers(long), false);
  long.extremes[6] = 0;
  assert.equal(isWithoutNumbers(long), true);
  long.put(numbers(0, 2, 10), 0, 10, null);
  assert.match(sampledText(long), /^2 of 1.000 checkpoints$/);
});

/** A followed array of 100 rows, whose requests are answered by hand. */
const followed = (around = 6) => {
  const held = new Set();
  const asked = [];
  const failures = [];
  let changes = 0;
  const follower = new Follower({
    count: () => 100,
    around: () => around,
    isHeld: (row) => held.has(row),
    fetch: (from, to, signal) =>
      new Promise((resolve, reject) => {
        const answer = () => {
          if (!signal.aborted) for (let row = from; row < to; row++) held.add(row);
          resolve();
        };
        signal.addEventListener("abort", () => reject(Object.assign(new Error("aborted"), { name: "AbortError" })));
        asked.push({ from, to, signal, answer, refuse: (error) => reject(error) });
      }),
    changed: () => changes++,
    failed: (error) => failures.push(error.message),
  });
  const last = () => asked.at(-1);
  const settle = () => new Promise((resolve) => setTimeout(resolve, 0));
  return { follower, held, asked, failures, last, settle, changes: () => changes };
};

test("a fast slider has one request at a time, for single rows, and the last one comes", async () => {
  const { follower, held, asked, last, settle } = followed();
  for (let row = 10; row < 60; row++) follower.follow(row);
  assert.deepEqual([asked.length, last().from], [1, 10], "it is not canceled: there would never be a row");
  last().answer();
  await settle();
  assert.deepEqual([asked.length, last().from, last().to], [2, 59, 60], "then where the slider is meanwhile");
  last().answer();
  await settle();
  assert.deepEqual([last().from, last().to], [60, 64], "then ahead");
  last().answer();
  await settle();
  last().answer();
  await settle();
  assert.deepEqual(
    [...held].sort((a, b) => a - b),
    [10, 58, 59, 60, 61, 62, 63],
  );
  assert.equal(asked.length, 4, "and nothing more");
});

test("a window that the slider has left is canceled, and its answer is not used", async () => {
  const { follower, asked, last, settle, changes } = followed();
  follower.follow(10);
  last().answer();
  await settle();
  const stale = last();
  assert.ok(stale.to - stale.from > 1);
  follower.follow(80);
  assert.ok(stale.signal.aborted);
  assert.deepEqual([last().from, last().to], [80, 81]);
  stale.answer();
  await settle();
  assert.deepEqual([changes(), asked.length], [1, 3]);
});

test("a refused row is asked for again when the slider has moved or the file was read again", async () => {
  const { follower, asked, failures, last, settle } = followed(1);
  follower.follow(10);
  last().refuse(new Error("damaged"));
  await settle();
  follower.follow(10);
  assert.deepEqual([failures, asked.length], [["damaged"], 1]);
  follower.again();
  assert.equal(asked.length, 2);
  last().answer();
  await settle();
  follower.close();
  assert.equal(asked.length, 2);
});

const points = (values, epochs) => {
  const sent = new Uint8Array(12 * values.length);
  sent.set(new Uint8Array(Float64Array.from(values).buffer));
  sent.set(new Uint8Array(Uint32Array.from(epochs).buffer), 8 * values.length);
  return sent.buffer;
};

/** A server with a curve whose value at an epoch is half of it; it keeps the first and last epoch of each bucket. */
class CurveSource {
  constructor() {
    this.asked = [];
  }
  async points(_name, _version, every, { from, to }) {
    this.asked.push(`points ${every} ${from} ${to}`);
    const epochs = [];
    for (let start = from; start < to; start += every)
      epochs.push(...new Set([start, Math.min(start + every, to) - 1]));
    return points(
      epochs.map((epoch) => epoch / 2),
      epochs,
    );
  }
  async atCheckpoints(_name, _version, from) {
    this.asked.push(`at ${from}`);
    return Float64Array.from({ length: 2 * (5 - from) }, (_, i) => 1000 * (from + (i >> 1)) * (i % 2 ? 1 : 0.5)).buffer;
  }
}

test("NaN in a bucket of a long curve is none of its least and greatest values, and stands alone where there is nothing else", () => {
  const curve = new CurvePoints("losses/train", "v", 100_000);
  curve.epochs = Uint32Array.from([0, 5, 127, 130, 200, 256]);
  curve.values = Float64Array.from([0, Number.NaN, 3, Number.NaN, Number.NaN, 1]);
  assert.deepEqual(curve.near(60), { low: 0, high: 3, first: 0, last: 127 });
  assert.deepEqual(curve.near(5), { value: Number.NaN, epoch: 5 });
  assert.deepEqual(curve.near(150), { value: Number.NaN, epoch: 200 });
  assert.deepEqual(curve.near(400), { value: Number.NaN, epoch: Number.NaN });
});

test("a long curve has points over the run, exact values at checkpoints, and finer points where it is zoomed in", async () => {
  const source = new CurveSource();
  const curve = await new CurvePoints("losses/train", "v", 100_000).fill(source, 5, null);
  assert.equal(curve.every, 128);
  assert.deepEqual(curve.atCheckpoint(3), [1500, 3000]);
  assert.equal(curve.atCheckpoint(5), null);
  assert.deepEqual(curve.near(1000), { low: 448, high: 511.5, first: 896, last: 1023 });
  assert.deepEqual(curve.near(1024), { value: 512, epoch: 1024 });
  assert.equal(await curve.refine(source, 0, 100_000), false);
  assert.equal(await curve.refine(source, 900.5, 1200), true);
  assert.deepEqual(curve.near(1000), { value: 500, epoch: 1000 });
  assert.deepEqual([curve.everyIn(950, 1100), curve.everyIn(0, 1100)], [1, 128]);
  const { xs, ys } = curve.points();
  assert.ok(xs.every((x, i) => ys[i] === x / 2 && (i === 0 || x > xs[i - 1])));
  assert.equal(await curve.refine(source, 950, 1100), false, "it is there");
  assert.equal(firstFrom(xs, 900), xs.indexOf(900));
  assert.equal(readPoints(points([], [])).values.length, 0);
});

test("a curve that grows asks for its last bucket and what follows", async () => {
  const source = new CurveSource();
  const old = await new CurvePoints("losses/train", "v", 100_000).fill(source, 4, null);
  await old.refine(source, 0, 100);
  source.asked = [];
  const more = await new CurvePoints("losses/train", "v", 101_000).fill(source, 5, old);
  assert.deepEqual(source.asked, ["points 128 99968 101000", "at 4"]);
  const plain = await new CurvePoints("losses/train", "v", 101_000).fill(source, 5, null);
  assert.deepEqual([more.points(), more.at], [{ ...more.points() }, plain.at]);
  assert.deepEqual(more.epochs, plain.epochs);
  assert.ok(more.fine);
  const other = await new CurvePoints("losses/train", "w", 101_000).fill(source, 5, old);
  assert.equal(other.fine, null, "another content");
});

test("tables of a long run: a grid of each neuron once, single checkpoints around the slider, and a limit", async () => {
  const parameters = { p: 3, heads: 1, d_mlp: 400, network: "one-hot", activation: "relu" };
  const asked = [];
  const source = {
    neurons: async (ids, { from, to, step = 1 }) => {
      asked.push([ids.length, from, to, step]);
      const rows = Math.ceil((to - from) / step);
      const value = (i) => 1000 * (from + Math.floor(i / 7 / ids.length) * step) + ids[Math.floor(i / 7) % ids.length];
      return Float32Array.from({ length: rows * ids.length * 7 }, (_, i) => value(i)).buffer;
    },
    scores: async () => new ArrayBuffer(0),
  };
  const checkpoints = Array.from({ length: 3000 }, (_, i) => i);
  const changes = { changed: () => {}, failed: (error) => assert.fail(error) };
  const tables = new SomeTables({ manifest: { parameters }, checkpoints, source }, changes, 3.2e6);
  const neurons = Array.from({ length: 100 }, (_, n) => n);
  const first = tables.need(neurons);
  assert.equal(tables.isHeld(17, neurons), true, "before the grid has come there is nothing to wait for");
  await Promise.all([first, tables.need(neurons)]);
  assert.equal(asked.length, 1, "a grid is asked for once");
  const { step } = tables;
  assert.ok(step > 1);
  const valueAt = (neuron, index) => {
    const table = tables.at(neuron, index);
    return table === null ? null : table.data[table.offset];
  };
  assert.deepEqual([valueAt(99, 2 * step), valueAt(99, step + 1)], [2000 * step + 99, null]);
  assert.equal(tables.isHeld(step + 1, neurons), false);
  tables.follow(step + 1, neurons);
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve, 0));
  assert.deepEqual(asked[1], [100, step + 1, step + 2, 1]);
  assert.equal(valueAt(5, step + 1), 1000 * (step + 1) + 5);
  assert.ok(tables.isHeld(step + 1, neurons));
  await tables.need(neurons.map((n) => n + 100));
  for (let index = 0; index < 3000; index += 50) {
    tables.follow(
      index,
      neurons.map((n) => n + 100),
    );
    for (let i = 0; i < 3; i++) await new Promise((resolve) => setTimeout(resolve, 0));
  }
  const numbers = [...tables.kept.values()].reduce((sum, { tables }) => sum + tables.size, 0);
  assert.ok(4 * 7 * numbers <= 3.2e6 + 4 * 7 * 100 * Math.ceil(3000 / step), `${28 * numbers} bytes`);
  assert.equal(valueAt(150, 4 * step), 4000 * step + 150, "the grid of what is shown stays");
});

const SHARE = "analysis/neuron_frequencies/share";
const EPOCH = "analysis/neuron_frequencies/epoch";
const OTHER = "analysis/neuron_frequencies/other";
const WIDTH = 5000; // numbers in a row

/** A server with a run of `rows` checkpoints, whose rows of 20 kB begin with their number. */
class LongSource {
  constructor(rows) {
    this.rows = rows;
    this.asked = [];
    this.content = "a.0";
    this.kind = "bars";
  }
  async manifest() {
    const { rows } = this;
    return {
      id: "a",
      parameters: {},
      revision: rows,
      checkpoints: Array.from({ length: rows }, (_, i) => 100 * i),
      arrays: {
        [SHARE]: { dtype: "<f4", shape: [rows, WIDTH], version: "v" },
        [EPOCH]: { dtype: "<i8", shape: [rows], version: "v" },
      },
      contents: { [SHARE]: this.content, [EPOCH]: "a.0" },
      panels: [{ kind: this.kind, arrays: [SHARE], views: [{ array: SHARE }], analysis: "neuron_frequencies" }],
    };
  }
  async array(name, _version, { from = 0, to = this.rows, step = 1 }) {
    if (name === SHARE) this.asked.push([from, to, step]);
    const rows = Array.from({ length: Math.ceil((to - from) / step) }, (_, i) => from + i * step);
    if (name === EPOCH) return BigInt64Array.from(rows, (row) => BigInt(100 * row)).buffer;
    const data = new Float32Array(rows.length * WIDTH);
    rows.forEach((row, i) => {
      data.fill(row, i * WIDTH, (i + 1) * WIDTH);
    });
    return data.buffer;
  }
  async extremes() {
    this.asked.push("extremes");
    return new Float64Array(4 * WIDTH).fill(7).buffer;
  }
}

test("of a long array the page holds a grid, what is around the slider, and its extremes", async () => {
  const source = new LongSource(1000); // 20 MB
  const run = new RunData(source, () => [SHARE, EPOCH]);
  const valueAt = (index) => {
    const held = run.array(SHARE);
    const at = held.offset(run.row("neuron_frequencies", index));
    return at < 0 ? null : held.data[at + 17];
  };
  const settle = async () => {
    for (let i = 0; i < 30; i++) await new Promise((resolve) => setTimeout(resolve, 0));
  };
  await run.refresh();
  const { step, around } = run.array(SHARE);
  assert.deepEqual(source.asked, [[0, 1000, step], [999, 1000, 1], "extremes"]);
  assert.deepEqual([valueAt(0), valueAt(step), valueAt(999), valueAt(5)], [0, step, 999, null]);
  assert.deepEqual([run.isHeld([SHARE], 5), run.isHeld([SHARE], step)], [false, true]);
  assert.equal(run.array(SHARE).extremes[0], 7);
  assert.ok(run.array(SHARE).held().length * WIDTH * 4 < ARRAY_BYTES);

  source.asked = [];
  run.follow([SHARE], 505);
  await settle();
  assert.deepEqual(source.asked[0], [505, 506, 1]);
  assert.equal(valueAt(505), 505);
  assert.ok(run.isHeld([SHARE], 506) && !run.isHeld([SHARE], 505 + around));
  assert.ok(run.isIncomplete() === false);

  source.asked = [];
  source.rows = 1003;
  await run.refresh();
  assert.deepEqual(source.asked.filter(Array.isArray).at(-1), [1002, 1003, 1]);
  assert.deepEqual([valueAt(505), valueAt(1002)], [505, 1002], "what was there stays");
  assert.ok(source.asked.includes("extremes"), "of more rows there may be others");

  source.asked = [];
  source.content = "a.1";
  await run.refresh();
  await settle();
  assert.equal(source.asked[0][2], step, "another content: from the beginning");
  assert.equal(valueAt(505), 505, "the slider is still there");
});

test("an array that a view draws over training is fetched whole if it can be", async () => {
  const source = new LongSource(150); // 3 MB
  let names = [SHARE, EPOCH, OTHER];
  const manifest = source.manifest.bind(source);
  source.manifest = async () => {
    const found = await manifest();
    found.arrays[OTHER] = { dtype: "<f4", shape: [150, WIDTH], version: "v" };
    return found;
  };
  const run = new RunData(source, () => names);
  await run.refresh();
  assert.ok(!run.array(SHARE).isWhole || !run.array(OTHER).isWhole);
  names = [SHARE, EPOCH];
  assert.equal(run.isIncomplete(), !run.array(SHARE).isWhole);
  await run.refresh();
  assert.ok(run.array(SHARE).isWhole);
  names = [SHARE, EPOCH, OTHER];
  source.asked = [];
  await run.refresh();
  assert.deepEqual(source.asked, [], "and stays whole");
});
