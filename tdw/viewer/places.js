// Where the page was left: the view, and for each run its checkpoint and its pinned neurons. The tab keeps it, so that a reload
// comes back to it.

/** The index is null at the newest checkpoint, which may be another one later. @typedef {{index: number | null, pins: number[]}} Place */

const KEY = "tdw-places"; // in the tab's session storage

export class Places {
  constructor() {
    const { view, runs } = JSON.parse(sessionStorage.getItem(KEY) ?? "{}");
    /** @type {string} */
    this.view = view ?? "";
    /** @type {Map<string, Place>} by the address of the run */
    this.runs = new Map(runs);
  }
  /** @param {string} view the one that is shown */
  store(view) {
    sessionStorage.setItem(KEY, JSON.stringify({ view, runs: [...this.runs] }));
  }
}
