import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { nextDue, PER_SECOND, Player } from "../../tdw/viewer/player.js";

const interval = 1000 / PER_SECOND;
let frames;
let clock;
const original = performance.now;

beforeEach(() => {
  frames = new Map();
  clock = 0;
  performance.now = () => clock;
  let serial = 0;
  globalThis.requestAnimationFrame = (callback) => {
    frames.set(++serial, callback);
    return serial;
  };
  globalThis.cancelAnimationFrame = (id) => frames.delete(id);
});

afterEach(() => {
  performance.now = original;
});

/** Run the animation frames of so many milliseconds. */
const elapse = (milliseconds, each = 10) => {
  for (const end = clock + milliseconds; clock < end; ) {
    clock += each;
    const due = [...frames.values()];
    frames.clear();
    for (const callback of due) callback(clock);
  }
};

const player = (index, count) => {
  const view = {
    index,
    show: (to) => {
      view.index = to;
    },
  };
  const states = [];
  const made = new Player(
    view,
    () => count,
    (isPlaying) => states.push(isPlaying),
  );
  return { view, states, made };
};

test("playing shows so many checkpoints per second", () => {
  const { view, made } = player(0, 100);
  made.toggle();
  elapse(2000);
  assert.ok(Math.abs(view.index - 2 * PER_SECOND) <= 1, `${view.index} after 2 s`);
});

test("slow frames do not skip checkpoints, and are not made up for", () => {
  const { view, made } = player(0, 100);
  made.start();
  elapse(1000, 250);
  assert.equal(view.index, 4);
  assert.equal(nextDue(0, 10), interval);
  assert.equal(nextDue(0, 1000), 1000);
});

test("playing stops at the last checkpoint, and from there begins again at the first", () => {
  const { view, states, made } = player(1, 3);
  made.start();
  elapse(1000);
  assert.deepEqual([view.index, made.isPlaying, states], [2, false, [true, false]]);
  made.start();
  assert.equal(view.index, 0);
  made.toggle();
  assert.deepEqual([made.isPlaying, frames.size], [false, 0]);
});

test("without checkpoints there is nothing to play", () => {
  const { made, states } = player(-1, 0);
  made.toggle();
  assert.deepEqual([made.isPlaying, states], [false, []]);
});
