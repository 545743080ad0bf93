// Playing: one checkpoint after the other, at a steady pace whatever a frame takes.

export const PER_SECOND = 12; // checkpoints

const INTERVAL = 1000 / PER_SECOND;

/** When the next step is due after one at `now` that was due at `due`: missed steps are skipped, not made up for. @param {number} due @param {number} now milliseconds */
export const nextDue = (due, now) => Math.max(due + INTERVAL, now);

export class Player {
  /**
   * @param {{readonly index: number, show: (index: number, isPlaying?: boolean) => void}} view
   * @param {() => number} count of checkpoints
   * @param {(isPlaying: boolean) => void} changed
   */
  constructor(view, count, changed) {
    this.view = view;
    this.count = count;
    this.changed = changed;
    /** @type {number | null} */
    this.request = null;
    this.due = 0;
  }
  get isPlaying() {
    return this.request !== null;
  }
  toggle() {
    if (this.isPlaying) this.stop();
    else this.start();
  }
  start() {
    if (!this.count()) return;
    if (this.view.index >= this.count() - 1) this.view.show(0, true);
    this.due = performance.now() + INTERVAL;
    this.request = requestAnimationFrame((now) => this.step(now));
    this.changed(true);
  }
  /** @param {number} now */
  step(now) {
    if (now >= this.due) {
      if (this.view.index >= this.count() - 1) {
        this.stop();
        return;
      }
      this.view.show(this.view.index + 1, true);
      this.due = nextDue(this.due, now);
    }
    this.request = requestAnimationFrame((time) => this.step(time));
  }
  stop() {
    if (this.request === null) return;
    cancelAnimationFrame(this.request);
    this.request = null;
    this.changed(false);
  }
}
