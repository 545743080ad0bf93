// What the page holds of a run: the manifest and the arrays that its panels read, extended as rows are appended.

import { CurvePoints } from "./curve_points.js";
import { bytesOf, RefusedError, typed } from "./data_source.js";
import { arrayRoles, fetchPlan, gridStep, LONG_CURVE } from "./fetch_plan.js";
import { Follower } from "./follower.js";
import { concatenate } from "./numbers.js";
import { isOtherRun } from "./replacement.js";
import { SomeRows, WholeRows } from "./row_store.js";

/** @import { ArrayEntry, DataSource, Manifest, Run } from "./types.js" */
/** @import { Share } from "./fetch_plan.js" */

/** @typedef {WholeRows | SomeRows} Held */

/** The analysis that an array is of, or is reduced from. @param {string} name */
export const analysisOf = (name) => name.split("/")[name.startsWith("reduced/") ? 2 : 1];

/** Whether an array has a row for each analyzed checkpoint. @param {string} name */
export const isOfAnalysis = (name) => name.startsWith("analysis/") || name.startsWith("reduced/");

/** @param {number[]} shape */
const rowsOf = (shape) => (shape.length ? shape[0] : 1);

/** @param {number[]} shape */
const strideOf = (shape) => shape.slice(1).reduce((a, b) => a * b, 1);

/** Whether a recorded curve is so long that it is fetched as points. @param {string} name @param {ArrayEntry} entry */
const isLongCurve = (name, { shape }) => !isOfAnalysis(name) && rowsOf(shape) > LONG_CURVE;

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
    /** @type {Map<string, Held>} */
    this.arrays = new Map();
    /** @type {Map<string, CurvePoints>} */
    this.curves = new Map();
    /** @type {Map<string, Follower>} of arrays of which only some rows are held */
    this.followers = new Map();
    /** Rows have come. */
    this.changed = () => {};
    /** Rows could not be fetched. @type {(error: Error) => void} */
    this.failed = () => {};
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
  /** @param {string} name */
  curve(name) {
    return this.curves.get(name) || null;
  }
  /** Row of an analysis at a checkpoint's index, or -1. @param {string | null} analysis @param {number} index */
  row(analysis, index) {
    const rows = analysis === null ? undefined : this.rowsOf.get(analysis);
    return rows && index >= 0 && index < rows.length ? rows[index] : -1;
  }
  /** Whether the rows of these arrays at a checkpoint's index are there, as far as they were computed. @param {string[]} names @param {number} index */
  isHeld(names, index) {
    return names.every((name) => {
      const array = this.arrays.get(name);
      if (!array || array.isWhole) return true;
      const row = this.row(analysisOf(name), index);
      return row < 0 || row >= array.rows || array.offset(row) >= 0;
    });
  }
  /** Fetch rows of these arrays around a checkpoint's index, where only some are held. @param {string[]} names @param {number} index */
  follow(names, index) {
    for (const name of new Set(names)) {
      if (this.arrays.get(name)?.isWhole !== false) continue;
      let follower = this.followers.get(name);
      if (!follower) {
        follower = this.followerOf(name);
        this.followers.set(name, follower);
      }
      follower.follow(this.row(analysisOf(name), index));
    }
  }
  /** @param {string} name */
  followerOf(name) {
    const held = () => {
      const array = this.arrays.get(name);
      return array instanceof SomeRows ? array : null;
    };
    return new Follower({
      count: () => held()?.rows ?? 0,
      around: () => held()?.around ?? 0,
      isHeld: (row) => (held()?.offset(row) ?? 0) >= 0,
      fetch: async (from, to, signal) => {
        const array = held();
        if (!array) return;
        const numbers = await this.numbers(name, array.version, { from, to }, signal);
        if (numbers.length < (to - from) * array.stride) throw new RefusedError("The file has changed.");
        const now = held();
        if (now?.version === array.version) now.put(numbers, from, 1, this.followers.get(name)?.row ?? from);
      },
      changed: () => this.changed(),
      failed: (error) => this.failed(error),
    });
  }
  /** @param {string} name @param {string} version @param {import("./types.js").Rows} rows @param {AbortSignal} [signal] */
  async numbers(name, version, rows, signal) {
    return typed(await this.source.array(name, version, rows, signal), this.manifestOf(name).dtype);
  }
  /** @param {string} name */
  manifestOf(name) {
    return this.manifest.arrays[name];
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
      const curves = new Map([...this.curves].filter(([name]) => manifest.arrays[name]));
      const names = this.wanted(manifest);
      const plan = this.plan(names, manifest);
      /** @type {Map<string, string>} */
      const refused = new Map();
      const get = async (/** @type {string} */ name) => {
        try {
          if (isLongCurve(name, manifest.arrays[name])) {
            arrays.delete(name);
            curves.set(name, await this.fetchCurve(name, manifest));
          } else {
            curves.delete(name);
            arrays.set(name, await this.fetchArray(name, manifest, plan));
          }
        } catch (error) {
          // One array that is refused does not take the others with it.
          if (!(error instanceof RefusedError)) throw error;
          arrays.delete(name);
          curves.delete(name);
          refused.set(name, error.message);
        }
      };
      await Promise.all(names.map(get));
      // A refusal may come from a file that was being changed: what is refused again while the file stays the same is final.
      if (refused.size && (tries < 2 || (tries < 4 && (await this.source.manifest()).revision !== manifest.revision)))
        continue;
      // From here on nothing waits: panels never see a manifest without its arrays.
      this.loaded = manifest;
      this.arrays = arrays;
      this.curves = curves;
      this.refused = refused;
      this.mapRows();
      for (const follower of this.followers.values()) follower.again();
      return;
    }
  }
  /** Changes when rows that were there before change; stays when rows are appended. @param {string} name @param {Manifest} manifest */
  version(name, manifest) {
    return `${manifest.arrays[name].version}-${manifest.contents?.[name] ?? ""}`;
  }
  /** How much to fetch of each array. @param {string[]} names @param {Manifest} manifest @returns {Map<string, Share>} */
  plan(names, manifest) {
    const { histories } = arrayRoles(manifest.panels);
    const sized = names
      .filter((name) => isOfAnalysis(name) && !name.endsWith("/epoch"))
      .map((name) => {
        const { shape, dtype } = manifest.arrays[name];
        const bytes = strideOf(shape) * bytesOf(dtype);
        return { name, rows: rowsOf(shape), bytes, isHistory: histories.has(name) };
      });
    return fetchPlan(sized);
  }
  /** @param {string} name @param {Manifest} manifest @returns {Promise<CurvePoints>} */
  fetchCurve(name, manifest) {
    const recorded = rowsOf(manifest.arrays[name].shape);
    const version = this.version(name, manifest);
    const count = manifest.checkpoints.length;
    const old = this.curves.get(name) ?? null;
    const isSame = old?.version === version && old.recorded === recorded && old.at.length === 2 * count;
    return isSame ? Promise.resolve(old) : new CurvePoints(name, version, recorded).fill(this.source, count, old);
  }
  /** @param {string} name @param {Manifest} manifest @param {Map<string, Share>} plan @returns {Promise<Held>} */
  async fetchArray(name, manifest, plan) {
    const entry = manifest.arrays[name];
    const version = this.version(name, manifest);
    const rows = rowsOf(entry.shape);
    const stride = strideOf(entry.shape);
    const held = this.arrays.get(name);
    const old = held && held.version === version && held.stride === stride ? held : null;
    const share = plan.get(name);
    const isPlannedWhole = !share || share.coarse >= rows;
    if (old?.rows === rows && (old.isWhole || !isPlannedWhole)) return old; // what is held whole stays whole
    if (!isPlannedWhole) return this.fetchSome(name, manifest, share, old instanceof SomeRows ? old : null);
    const whole = old instanceof WholeRows ? old : null;
    const keep = whole && whole.rows < rows ? whole.rows : 0;
    const bytes = rows > keep ? await this.source.array(name, version, { from: keep }) : new ArrayBuffer(0);
    const fresh = typed(bytes, entry.dtype);
    let data = whole && keep ? concatenate(whole.data.subarray(0, keep * stride), fresh) : fresh;
    // A row committed between manifest and array may come along: it is cut off until a manifest announces it.
    if (data.length > rows * stride) data = data.subarray(0, rows * stride);
    const complete = stride ? Math.floor(data.length / stride) : 0;
    return new WholeRows(data, [complete, ...entry.shape.slice(1)], stride, version);
  }
  /**
   * The coarse grid of a long array, its last row, and its extremes where scales follow from them.
   * @param {string} name @param {Manifest} manifest @param {Share} share @param {SomeRows | null} old
   */
  async fetchSome(name, manifest, { coarse, around }, old) {
    const { shape, dtype } = manifest.arrays[name];
    const version = this.version(name, manifest);
    const rows = rowsOf(shape);
    const stride = strideOf(shape);
    const step = gridStep(rows, coarse);
    // A run that grows keeps its grid until it would have more rows than planned.
    const isSame = old !== null && old.rows <= rows && step <= old.step;
    const capacity = coarse + around + 3; // the newest rows are held besides the grid
    const room = typed(new ArrayBuffer(capacity * stride * bytesOf(dtype)), dtype);
    const some = isSame ? old.grown(shape) : new SomeRows(room, shape, stride, version, { step, around });
    const needsExtremes = arrayRoles(manifest.panels).extremes.has(name);
    const get = async (/** @type {import("./types.js").Rows} */ asked) =>
      typed(await this.source.array(name, version, asked), dtype);
    const first = isSame ? old.rows + ((some.step - (old.rows % some.step)) % some.step) : 0;
    const [grid, last, extremes] = await Promise.all([
      first < rows ? get({ from: first, to: rows, step: some.step }) : null,
      (rows - 1) % some.step ? get({ from: rows - 1, to: rows }) : null,
      needsExtremes ? this.source.extremes(name, version) : null,
    ]);
    if (grid) some.put(grid, first, some.step, null);
    if (last) some.put(last, rows - 1, 1, null);
    if (extremes) some.extremes = new Float64Array(extremes);
    return some;
  }
  /** Whether arrays that are drawn now are missing or behind. */
  isIncomplete() {
    const { manifest } = this;
    const names = this.wanted(manifest);
    const plan = this.plan(names, manifest);
    return names.some((name) => {
      const array = this.arrays.get(name);
      if (array?.isWhole === false && (plan.get(name)?.coarse ?? 0) >= array.rows) return true; // another view needs all rows
      const rows = array?.rows ?? this.curves.get(name)?.recorded;
      const version = (array ?? this.curves.get(name))?.version;
      return rows !== rowsOf(manifest.arrays[name].shape) || version !== this.version(name, manifest);
    });
  }
  /** Whether arrays that are drawn now were not asked for yet. */
  isUnasked() {
    const isThere = (/** @type {string} */ name) =>
      [this.arrays, this.curves, this.refused].some((all) => all.has(name));
    return this.wanted(this.manifest).some((name) => !isThere(name));
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
    for (const follower of this.followers.values()) follower.close();
    this.source.close();
  }
}
