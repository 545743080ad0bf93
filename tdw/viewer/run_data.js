// What the page holds of a run: the manifest and the arrays that its panels read, extended as rows are appended.

import { RefusedError, typed } from "./data_source.js";
import { concatenate } from "./numbers.js";
import { isOtherRun } from "./replacement.js";

/** @import { DataSource, Manifest, Run, RunArray } from "./types.js" */

/** The analysis that an array is of, or is reduced from. @param {string} name */
export const analysisOf = (name) => name.split("/")[name.startsWith("reduced/") ? 2 : 1];

/** Whether an array has a row for each analyzed checkpoint. @param {string} name */
export const isOfAnalysis = (name) => name.startsWith("analysis/") || name.startsWith("reduced/");

/** @param {number[]} shape */
const rowsOf = (shape) => (shape.length ? shape[0] : 1);

/** @implements {Run} */
export class RunData {
  /**
   * @param {DataSource} source
   * @param {(manifest: Manifest) => string[]} wanted names of the arrays that are drawn now; only these are fetched
   */
  constructor(source, wanted) {
    this.source = source;
    this.wanted = wanted;
    /** @type {Manifest | null} */
    this.loaded = null;
    this.isReplaced = false; // the file holds another run now: this one ends
    /** @type {Map<string, RunArray>} */
    this.arrays = new Map();
    /** @type {Map<string, string>} name of an array that was not sent -> the server's sentence */
    this.refused = new Map();
    /** @type {Map<string, Int32Array>} analysis -> row of each checkpoint, -1 where it is missing */
    this.rowsOf = new Map();
    /** @type {Promise<void> | null} */
    this.busy = null;
    this.isAskedAgain = false;
  }
  /** Throws before the first refresh. */
  get manifest() {
    if (!this.loaded) throw new Error("the run was not loaded yet");
    return this.loaded;
  }
  get checkpoints() {
    return this.manifest.checkpoints;
  }
  /** @param {string} name */
  array(name) {
    return this.arrays.get(name) || null;
  }
  /** Row of an analysis at a checkpoint's index, or -1. @param {string | null} analysis @param {number} index */
  row(analysis, index) {
    const rows = analysis === null ? undefined : this.rowsOf.get(analysis);
    return rows && index >= 0 && index < rows.length ? rows[index] : -1;
  }
  /** Fetch the manifest and what is new of the wanted arrays. Calls in the meantime are answered by one more round. */
  refresh() {
    if (this.busy) {
      this.isAskedAgain = true;
      return this.busy;
    }
    this.busy = (async () => {
      try {
        do {
          this.isAskedAgain = false;
          await this.round();
        } while (this.isAskedAgain);
      } finally {
        this.busy = null;
      }
    })();
    return this.busy;
  }
  async round() {
    for (let tries = 1; ; tries++) {
      const manifest = await this.source.manifest();
      if (this.loaded && isOtherRun(this.loaded, manifest)) {
        this.isReplaced = true;
        return;
      }
      const arrays = new Map([...this.arrays].filter(([name]) => manifest.arrays[name]));
      /** @type {Map<string, string>} */
      const refused = new Map();
      const get = async (/** @type {string} */ name) => {
        try {
          arrays.set(name, await this.fetchArray(name, manifest));
        } catch (error) {
          // One array that is refused does not take the others with it.
          if (!(error instanceof RefusedError)) throw error;
          arrays.delete(name);
          refused.set(name, error.message);
        }
      };
      await Promise.all(this.wanted(manifest).map(get));
      // A refusal may come from a file that was being changed: what is refused again while the file stays the same is final.
      if (refused.size && (tries < 2 || (tries < 4 && (await this.source.manifest()).revision !== manifest.revision)))
        continue;
      // From here on nothing waits: panels never see a manifest without its arrays.
      this.loaded = manifest;
      this.arrays = arrays;
      this.refused = refused;
      this.mapRows();
      return;
    }
  }
  /** Changes when rows that were there before change; stays when rows are appended. @param {string} name @param {Manifest} manifest */
  version(name, manifest) {
    return `${manifest.arrays[name].version}-${manifest.contents?.[name] ?? ""}`;
  }
  /** @param {string} name @param {Manifest} manifest @returns {Promise<RunArray>} */
  async fetchArray(name, manifest) {
    const entry = manifest.arrays[name];
    const version = this.version(name, manifest);
    const rows = rowsOf(entry.shape);
    const stride = entry.shape.slice(1).reduce((a, b) => a * b, 1);
    const held = this.arrays.get(name);
    const old = held && held.version === version && held.stride === stride ? held : null;
    if (old?.rows === rows) return old;
    const keep = old && old.rows < rows ? old.rows : 0;
    const bytes = rows > keep ? await this.source.array(name, version, keep) : new ArrayBuffer(0);
    const fresh = typed(bytes, entry.dtype);
    let data = old && keep ? concatenate(old.data.subarray(0, keep * stride), fresh) : fresh;
    // A row committed between manifest and array may come along: it is cut off until a manifest announces it.
    if (data.length > rows * stride) data = data.subarray(0, rows * stride);
    const complete = stride ? Math.floor(data.length / stride) : 0;
    return { data, shape: [complete, ...entry.shape.slice(1)], stride, rows: complete, version };
  }
  /** Whether arrays that are drawn now are missing or behind. */
  isIncomplete() {
    const { manifest } = this;
    return this.wanted(manifest).some((name) => {
      const array = this.arrays.get(name);
      return (
        !array || array.version !== this.version(name, manifest) || array.rows !== rowsOf(manifest.arrays[name].shape)
      );
    });
  }
  /** Whether arrays that are drawn now were not asked for yet. */
  isUnasked() {
    return this.wanted(this.manifest).some((name) => !this.arrays.has(name) && !this.refused.has(name));
  }
  mapRows() {
    this.rowsOf = new Map();
    for (const [name, array] of this.arrays) {
      const match = /^analysis\/([^/]+)\/epoch$/.exec(name);
      if (!match) continue;
      /** @type {Map<number, number>} */
      const byEpoch = new Map();
      for (let row = 0; row < array.rows; row++) byEpoch.set(array.data[row], row);
      this.rowsOf.set(
        match[1],
        Int32Array.from(this.checkpoints, (epoch) => byEpoch.get(epoch) ?? -1),
      );
    }
    // The result of an analysis of the whole run holds at every checkpoint.
    for (const { per, arrays, analysis } of this.manifest.panels) {
      const own = arrays.filter((name) => name.startsWith(`analysis/${analysis}/`));
      if (analysis !== null && per === "run" && own.length && own.every((name) => this.arrays.get(name)?.rows))
        this.rowsOf.set(analysis, new Int32Array(this.checkpoints.length));
    }
  }
  close() {
    this.source.close();
  }
}
