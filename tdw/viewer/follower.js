// Fetches the rows of one long array around the slider: the slider's own row first, then its window, ahead first. There is one
// request at a time. A window that the slider has left is canceled; a single row comes soon, and canceling one at each step of
// a fast slider would leave it without any.

import { isAborted } from "./data_source.js";
import { nextRows, windowAround } from "./row_window.js";

/**
 * @typedef {object} Followed
 * @property {() => number} count of rows
 * @property {() => number} around rows of the window
 * @property {(row: number) => boolean} isHeld
 * @property {(from: number, to: number, signal: AbortSignal) => Promise<void>} fetch rows, and keep them
 * @property {() => void} changed rows have come
 * @property {(error: Error) => void} failed
 */

export class Follower {
  /** @param {Followed} followed */
  constructor(followed) {
    this.followed = followed;
    this.row = -1;
    this.direction = 0;
    /** @type {{from: number, to: number, aborter: AbortController} | null} */
    this.busy = null;
    /** @type {number | null} the row at which a request failed: it is not repeated before the slider moves */
    this.failedAt = null;
  }
  /** The slider is at a row. @param {number} row */
  follow(row) {
    if (row < 0) return;
    if (row !== this.row) {
      this.direction = this.row < 0 ? 0 : Math.sign(row - this.row);
      this.failedAt = null;
    }
    this.row = row;
    const { busy } = this;
    if (busy) {
      const isOfUse = row >= busy.from && row < busy.to;
      if (isOfUse || busy.to - busy.from === 1 || this.followed.isHeld(row)) return;
      this.busy = null;
      busy.aborter.abort();
    }
    this.next();
  }
  /** Begin again after a failure. */
  again() {
    this.failedAt = null;
    if (this.row >= 0) this.follow(this.row);
  }
  async next() {
    const { followed, row } = this;
    const count = followed.count();
    if (this.busy || row < 0 || row >= count || this.failedAt === row) return;
    const window = windowAround(row, count, followed.around(), this.direction);
    const rows = nextRows((at) => followed.isHeld(at), row, window, this.direction);
    if (!rows) return;
    const [from, to] = rows;
    const busy = { from, to, aborter: new AbortController() };
    this.busy = busy;
    try {
      await followed.fetch(from, to, busy.aborter.signal);
    } catch (error) {
      if (this.busy === busy) this.busy = null;
      if (isAborted(error) || !(error instanceof Error)) return;
      this.failedAt = row;
      followed.failed(error);
      return;
    }
    if (this.busy !== busy) return; // an answer to a canceled request
    this.busy = null;
    followed.changed();
    this.next();
  }
  close() {
    this.row = -1;
    this.busy?.aborter.abort();
    this.busy = null;
  }
}
