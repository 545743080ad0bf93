// Which rows are near a place in a long array.

import { clamp } from "./numbers.js";

/**
 * A window of `width` rows that holds `row`: two thirds of it lie ahead in the direction of movement (-1, 0 or 1).
 * @param {number} row
 * @param {number} count of rows
 * @param {number} width
 * @param {number} direction
 * @returns {[number, number]} from, to (excluded)
 */
export const windowAround = (row, count, width, direction) => {
  const size = Math.min(Math.max(width, 1), count);
  const behind = Math.floor(((size - 1) * (direction > 0 ? 1 : direction < 0 ? 2 : 1.5)) / 3);
  const from = clamp(row - behind, 0, count - size);
  return [from, from + size];
};

/**
 * The next rows to fetch: `row` itself, then what is missing of its window, ahead first; null where nothing is. Ahead of a
 * moving slider rows are fetched several at a time: only when less than half of them are left.
 * @param {(row: number) => boolean} isHeld
 * @param {number} row
 * @param {[number, number]} window
 * @param {number} direction
 * @returns {[number, number] | null} from, to (excluded)
 */
export const nextRows = (isHeld, row, [from, to], direction) => {
  if (!isHeld(row)) return [row, row + 1];
  const ahead = () => {
    let start = row + 1;
    while (start < to && isHeld(start)) start++;
    let end = start;
    while (end < to && !isHeld(end)) end++;
    const isNear = direction <= 0 || start - row <= (to - row) / 2;
    return end > start && isNear ? /** @type {[number, number]} */ ([start, end]) : null;
  };
  const behind = () => {
    let end = row;
    while (end > from && isHeld(end - 1)) end--;
    let start = end;
    while (start > from && !isHeld(start - 1)) start--;
    const isNear = direction >= 0 || row - end < (row - from) / 2;
    return end > start && isNear ? /** @type {[number, number]} */ ([start, end]) : null;
  };
  return direction < 0 ? (behind() ?? ahead()) : (ahead() ?? behind());
};

/** The index nearest to `index` for which `isHeld` is true; -1 where there is none. @param {number} index @param {number} count @param {(index: number) => boolean} isHeld */
export const nearestHeld = (index, count, isHeld) => {
  for (let away = 0; away < count; away++) {
    if (index - away >= 0 && isHeld(index - away)) return index - away;
    if (index + away < count && isHeld(index + away)) return index + away;
  }
  return -1;
};
