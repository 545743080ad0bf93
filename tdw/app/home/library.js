// The library as the page knows it: lines by key, brought up to date by change numbers.

/** @import { Changes, Folder, Job, Line } from "./types.js" */

export class Library {
  /** @param {() => void} changed called after the lines changed */
  constructor(changed) {
    this.changed = changed;
    /** @type {Map<string, Line>} */
    this.lines = new Map();
    /** @type {string[]} names of the values of rows */
    this.columns = [];
    /** @type {string[]} */
    this.settings = [];
    /** @type {Folder[]} */
    this.folders = [];
    /** @type {Record<string, string>} */
    this.moved = {};
    this.isComplete = false; // every file was looked at once
    this.server = "";
    this.number = -1; // of the last change that is known
    this.wanted = -1;
    this.isAsking = false;
    /** @type {Job[]} */
    this.jobs = [];
  }
  /** Hear of changes from the server. @param {{number: number, complete: boolean}} news */
  hear({ number, complete }) {
    this.wanted = number;
    if (number !== this.number || complete !== this.isComplete) this.ask();
  }
  /** @param {Job[]} jobs */
  hearJobs(jobs) {
    this.jobs = jobs;
    const byKey = new Map(jobs.map((job) => [job.key, job]));
    for (const line of this.lines.values()) line.job = byKey.get(line.key) ?? null;
    this.changed();
  }
  /** Fetch what has changed, until nothing has. */
  async ask() {
    if (this.isAsking) return;
    this.isAsking = true;
    try {
      const answer = await fetch(`library${this.number < 0 ? "" : `?since=${this.number}`}`);
      if (answer.ok) this.take(await answer.json());
    } catch {
      // offline, which the side bar tells; the next news asks again
    }
    this.isAsking = false;
  }
  /** @param {Changes} changes */
  take({ server, number, complete, columns, settings, lines, removed, moved, folders }) {
    if (this.server && server !== this.server) {
      this.lines.clear(); // another server counts its changes from the start
      this.server = server;
      this.number = -1;
      queueMicrotask(() => this.ask());
      return;
    }
    const byKey = new Map(this.jobs.map((job) => [job.key, job]));
    for (const key of removed) this.lines.delete(key);
    for (const { values, ...line } of lines) {
      const row = values && Object.fromEntries(columns.map((name, i) => [name, read(values[i])]));
      this.lines.set(line.key, { ...line, row, job: byKey.get(line.key) ?? null });
    }
    Object.assign(this, { server, number, columns, settings, folders, moved });
    this.isComplete = complete;
    this.changed();
  }
}

/** Numbers that JSON does not have come as text. @param {any} value */
const read = (value) => (value === "inf" ? Infinity : value === "-inf" ? -Infinity : value);
