// How the page keeps up with the server: news of jobs and runs, refreshing, and what happens when the server or the file
// cannot be reached.

import { isAborted, RefusedError, UnreachableError } from "./data_source.js";

/** @import { Job } from "./types.js" */

const PAUSE = 500; // milliseconds between refreshes, however fast a run commits
const FIRST_RETRY = 2e3; // milliseconds until a file that cannot be read is tried again; doubled each time
const LAST_RETRY = 60e3;
const KNOCK = 3e3; // milliseconds between tries while the server does not answer

const ACTIVE = ["starting", "running", "stopping"];

/**
 * The page, as far as updates concern it.
 * @typedef {object} Page
 * @property {string | null} runKey
 * @property {() => number | null} revision of the run that is shown, null if none is
 * @property {() => boolean} canReopen whether an address was chosen and nothing is shown of it
 * @property {() => Promise<void>} refresh
 * @property {() => void} reopen open the address again
 * @property {() => void} hideNotice what the file became is no longer news
 * @property {() => void} changed draw the document bar and the cards' states
 */

export class Updates {
  /** @param {Page} page @param {EventTarget | null} events "message" with news as JSON, "open" and "error" of the connection */
  constructor(page, events) {
    this.page = page;
    this.events = events;
    /** @type {Job[]} */
    this.jobs = [];
    /** @type {Job | null} the active job on the run */
    this.job = null;
    this.isLost = false; // the server does not answer
    /** @type {string | null} why the file cannot be read now */
    this.trouble = null;
    this.isAsking = false;
    this.mustReopen = false; // the run could not be opened because the server did not answer
    /** @type {ReturnType<typeof setTimeout> | null} */
    this.waiting = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.retrying = undefined;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this.knocking = undefined;
    this.refreshedAt = 0;
    this.patience = FIRST_RETRY;
    this.onMessage = (/** @type {Event} */ event) => {
      if (event instanceof MessageEvent) this.hear(JSON.parse(event.data));
    };
    this.onError = () => this.line(false);
    this.onOpen = () => this.line(true);
    events?.addEventListener("message", this.onMessage);
    events?.addEventListener("error", this.onError);
    events?.addEventListener("open", this.onOpen);
  }
  /** @param {any} news */
  hear(news) {
    const { page } = this;
    if (news.type === "jobs") {
      this.jobs = news.jobs;
      this.setJob(this.jobOf(page.runKey));
    } else if (news.type === "line") this.line(news.online);
    else if (news.type === "run" && news.key === page.runKey) {
      if (news.job !== undefined) this.setJob(news.job);
      const revision = page.revision();
      if (news.state === "lost") this.troubled(news.error);
      else if (revision === null) {
        if (page.canReopen()) page.reopen();
      } else if (this.trouble !== null || news.revision !== revision) this.soon();
    }
  }
  /** The active job on a run, of those last announced. @param {string | null} key */
  jobOf(key) {
    return this.jobs.find((job) => job.key === key && ACTIVE.includes(job.state)) ?? null;
  }
  /** Another run is shown. */
  reset() {
    this.trouble = null;
    this.mustReopen = false;
    this.job = this.jobOf(this.page.runKey);
  }
  /** The connection was lost or is back. @param {boolean} isOnline */
  line(isOnline) {
    if (!isOnline) this.lost(true);
    else if (this.mustReopen) this.page.reopen();
    else if (this.isLost) this.page.refresh();
  }
  /** Refresh, at most twice a second. */
  soon() {
    if (this.waiting !== null) return;
    const since = performance.now() - this.refreshedAt;
    this.waiting = setTimeout(
      () => {
        this.waiting = null;
        this.page.refresh();
      },
      Math.max(0, PAUSE - since),
    );
    this.refreshedAt = performance.now();
  }
  /** @param {Job | null} job */
  setJob(job) {
    const kind = this.job?.kind;
    this.job = job;
    if (this.page.revision() === null) return;
    this.page.changed();
    if (kind !== job?.kind) this.soon();
  }
  /** @param {unknown} error of a refresh */
  failed(error) {
    if (isAborted(error)) return;
    if (error instanceof UnreachableError) this.lost(true);
    else if (error instanceof RefusedError) this.troubled(error.message);
    else throw error;
  }
  /** A refresh has succeeded. */
  succeeded() {
    this.trouble = null;
    this.lost(false);
  }
  /** The file cannot be read now. What was loaded stays; the news tell when it can be, or ever rarer tries. @param {string} sentence */
  troubled(sentence) {
    clearTimeout(this.retrying);
    this.patience = this.trouble === null ? FIRST_RETRY : Math.min(2 * this.patience, LAST_RETRY);
    this.retrying = setTimeout(() => {
      if (this.trouble !== null) this.page.refresh();
    }, this.patience);
    this.trouble = sentence;
    this.page.hideNotice();
    this.page.changed();
  }
  /** @param {boolean} isLost */
  lost(isLost) {
    if (this.isLost === isLost) return;
    this.isLost = isLost;
    this.page.changed();
    clearInterval(this.knocking);
    // An EventSource reconnects by itself; without one, or when it has given up, try now and then.
    if (isLost) this.knocking = setInterval(() => this.page.refresh(), KNOCK);
  }
  /** Read the file again on request; `loading` resolves when the panels are filled. @param {() => Promise<unknown>} loading */
  async again(loading) {
    if (this.isAsking) return;
    this.isAsking = true;
    this.page.changed();
    try {
      await this.page.refresh();
      await loading();
    } finally {
      this.isAsking = false;
      this.page.changed();
    }
  }
  close() {
    clearInterval(this.knocking);
    clearTimeout(this.retrying);
    if (this.waiting !== null) clearTimeout(this.waiting);
    this.events?.removeEventListener("message", this.onMessage);
    this.events?.removeEventListener("error", this.onError);
    this.events?.removeEventListener("open", this.onOpen);
  }
}
