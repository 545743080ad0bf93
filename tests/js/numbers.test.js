import assert from "node:assert/strict";
import { test } from "node:test";
import { clamp, concatenate, evenly, nearestIndex, spreadApart, thin } from "../../tdw/viewer/numbers.js";
import { randomNumbers } from "./random.js";

test("clamp", () => {
  assert.deepEqual(
    [-1, 0.5, 9].map((v) => clamp(v, 0, 1)),
    [0, 0.5, 1],
  );
});

test("the nearest entry is that of a linear search", () => {
  const random = randomNumbers(1);
  const list = Array.from({ length: 40 }, () => Math.floor(random() * 1000)).sort((a, b) => a - b);
  for (let i = 0; i < 200; i++) {
    const x = random() * 1200 - 100;
    const least = Math.min(...list.map((v) => Math.abs(v - x)));
    assert.equal(Math.abs(list[nearestIndex(list, x)] - x), least, `of ${x}`);
  }
  assert.equal(nearestIndex([], 3), -1);
  assert.equal(nearestIndex([7], 3), 0);
  assert.equal(nearestIndex([0, 10], 5), 0, "halfway, the earlier one");
});

test("typed arrays are joined in order and keep their type", () => {
  const joined = concatenate(Float32Array.of(1, 2), Float32Array.of(3));
  assert.ok(joined instanceof Float32Array);
  assert.deepEqual([...joined], [1, 2, 3]);
});

test("labels are spread apart, in order, within the frame, and stay where they have room", () => {
  assert.deepEqual(spreadApart([10, 50, 90], 15, 100), [10, 50, 90]);
  assert.deepEqual(spreadApart([50, 50], 10, 100), [45, 55]);
  assert.deepEqual(spreadApart([0, 1, 2], 10, 100), [0, 10, 20]);
  const random = randomNumbers(2);
  for (let round = 0; round < 50; round++) {
    const wanted = Array.from({ length: 6 }, () => random() * 100).sort((a, b) => a - b);
    const placed = spreadApart(wanted, 10, 100);
    placed.forEach((y, i) => {
      assert.ok(i === 0 || y - placed[i - 1] >= 10 - 1e-9, "not covered");
      assert.ok(y >= -1e-9 && y <= 100 + 1e-9, "within the frame");
    });
  }
});

test("as many as fit, the first and the last among them, none twice", () => {
  assert.deepEqual(evenly(3, 5), [0, 1, 2]);
  assert.deepEqual(evenly(9, 3), [0, 4, 8]);
  assert.deepEqual(evenly(5, 1), [0]);
  assert.deepEqual(evenly(0, 4), []);
  for (let count = 1; count < 60; count++)
    for (let room = 2; room <= count; room++) {
      const chosen = evenly(count, room);
      assert.equal(new Set(chosen).size, room);
      assert.deepEqual([chosen[0], chosen.at(-1)], [0, count - 1]);
    }
});

test("thinning keeps the smallest and the largest of every pixel, and gaps", () => {
  const random = randomNumbers(3);
  const xs = Array.from({ length: 10_000 }, (_, i) => i);
  const ys = xs.map(() => random());
  ys[4321] = 50;
  ys[8765] = -50;
  ys[2500] = Number.NaN;
  const { x, y, per } = thin(xs, ys, 0, 9999, 100);
  assert.equal(per, 100);
  assert.ok(x.length <= 400);
  assert.ok(x.includes(4321) && x.includes(8765) && x.includes(2500) && x[0] === 0 && x.at(-1) === 9999);
  assert.ok(
    x.every((at, i) => i === 0 || at > x[i - 1]),
    "increasing, each point once",
  );
  assert.deepEqual(
    y,
    x.map((at) => ys[at]),
  );
  for (let bucket = 0; bucket < 100; bucket++) {
    const all = ys.slice(bucket * 100, bucket * 100 + 100).filter((v) => !Number.isNaN(v));
    const kept = x.flatMap((at, i) => (Math.floor(at / 100) === bucket && !Number.isNaN(y[i]) ? [y[i]] : []));
    if (bucket !== 25) assert.deepEqual([Math.min(...kept), Math.max(...kept)], [Math.min(...all), Math.max(...all)]);
  }
});

test("few points are not thinned, and one beyond each end of the range stays", () => {
  const xs = [0, 10, 20, 30, 40];
  const ys = [5, 4, 3, 2, 1];
  assert.deepEqual(thin(xs, ys, 12, 28, 100), { x: [10, 20, 30], y: [4, 3, 2], per: 1 });
});
