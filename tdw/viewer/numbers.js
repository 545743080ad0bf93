// Small numeric helpers.

/** @import { Numbers } from "./types.js" */

/** @param {number} v @param {number} low @param {number} high */
export const clamp = (v, low, high) => (v < low ? low : Math.min(v, high));

/**
 * Index of the entry of an increasing list that is nearest to `x`; -1 for an empty list.
 * @param {ArrayLike<number>} list
 * @param {number} x
 */
export const nearestIndex = (list, x) => {
  if (!list.length) return -1;
  let low = 0;
  let high = list.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (list[middle] <= x) low = middle;
    else high = middle;
  }
  return x - list[low] <= list[high] - x ? low : high;
};

/**
 * Two typed arrays of the same type, one after the other.
 * @template {Numbers} T
 * @param {Numbers} old
 * @param {T} fresh
 */
export const concatenate = (old, fresh) => {
  const Type = /** @type {new (length: number) => T} */ (fresh.constructor);
  const all = new Type(old.length + fresh.length);
  all.set(old);
  all.set(fresh, old.length);
  return all;
};

/**
 * Increasing places, at least `gap` apart and within 0…`end`, each as close as possible to where it wants to be.
 * @param {number[]} wanted increasing
 * @param {number} gap
 * @param {number} end
 */
export const spreadApart = (wanted, gap, end) => {
  /** @type {{sum: number, count: number, start: number}[]} Touching places; sum of what they want, minus their offsets. */
  const groups = [];
  const last = (/** @type {number} */ back) => groups[groups.length - back];
  for (const y of wanted) {
    groups.push({ sum: y, count: 1, start: y });
    while (groups.length > 1 && last(2).start + last(2).count * gap > last(1).start) {
      const { sum, count } = last(1);
      groups.pop();
      const before = last(1);
      before.sum += sum - count * before.count * gap;
      before.count += count;
      before.start = clamp(before.sum / before.count, 0, Math.max(0, end - (before.count - 1) * gap));
    }
  }
  return groups.flatMap(({ start, count }) => Array.from({ length: count }, (_, i) => start + i * gap));
};

/**
 * Which of `count` things in a row to show where only `room` fit: the first, the last, and as even as possible between.
 * @param {number} count
 * @param {number} room at least 1
 * @returns {number[]} increasing
 */
export const evenly = (count, room) =>
  count <= room
    ? Array.from({ length: count }, (_, i) => i)
    : Array.from({ length: room }, (_, i) => Math.round((i * (count - 1)) / Math.max(1, room - 1)));

/**
 * Points of (xs, ys) between x0 and x1 for `buckets` pixels: first, smallest, largest and last of each, so that a spike of
 * one epoch stays visible. One point beyond each end is kept, so that the line leaves the picture.
 * @param {number[]} xs increasing
 * @param {number[]} ys
 * @param {number} x0
 * @param {number} x1
 * @param {number} buckets
 * @returns {{x: number[], y: number[], per: number}} `per`: points that each bucket stands for
 */
export const thin = (xs, ys, x0, x1, buckets) => {
  let from = 0;
  let to = xs.length;
  while (from < to && xs[from] < x0) from++;
  while (to > from && xs[to - 1] > x1) to--;
  from = Math.max(0, from - 1);
  to = Math.min(xs.length, to + 1);
  const count = to - from;
  if (count <= 4 * buckets) return { x: xs.slice(from, to), y: ys.slice(from, to), per: 1 };
  /** @type {number[]} */
  const keep = [];
  for (let bucket = 0; bucket < buckets; bucket++) {
    const start = from + Math.floor((bucket * count) / buckets);
    const end = from + Math.floor(((bucket + 1) * count) / buckets);
    let low = start;
    let high = start;
    for (let i = start + 1; i < end; i++) {
      if (!(ys[i] >= ys[low])) low = i; // also where one of them is NaN: a gap is kept
      if (ys[i] > ys[high] || Number.isNaN(ys[high])) high = i;
    }
    for (const i of [start, Math.min(low, high), Math.max(low, high), end - 1]) if (i !== keep.at(-1)) keep.push(i);
  }
  return { x: keep.map((i) => xs[i]), y: keep.map((i) => ys[i]), per: count / buckets };
};
