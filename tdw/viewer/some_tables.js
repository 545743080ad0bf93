// The tables of neurons and the attention scores of a long run: at a coarse grid of checkpoints, and around the slider.

import { RefusedError } from "./data_source.js";
import { gridStep, shareOf, TABLE_BYTES } from "./fetch_plan.js";
import { Follower } from "./follower.js";
import { largestAt, tableShape } from "./neuron_tables.js";

/** @import { Parameters, Rows, Run } from "./types.js" */
/** @import { Attention } from "./neuron_map.js" */
/** @import { Place } from "./neuron_tables.js" */

const LIMIT = 32e6; // bytes
const SHOWN = 40; // neurons that a card shows, about

/** What one checkpoint takes of the neurons that a card shows, in bytes. @param {Parameters} parameters */
export const tableBytes = (parameters) => {
  const { shape, width } = tableShape(parameters);
  return 4 * (SHOWN * width + shape.scores);
};

/** What is here of a checkpoint. @typedef {{scores: Float32Array | null, tables: Map<number, Place>}} Kept */

/** Offers what `NeuronTables` does. */
export class SomeTables {
  /** @param {Run} run @param {{changed: () => void, failed: (error: Error) => void}} changes @param {number} [limit] bytes that are kept */
  constructor(run, { changed, failed }, limit = LIMIT) {
    this.run = run;
    this.limit = limit;
    this.content = run.manifest.contents?.weights; // of the weights they are computed from
    const { shape, width } = tableShape(run.manifest.parameters);
    this.shape = shape;
    this.width = width;
    /** @type {Map<number, Kept>} by checkpoint */
    this.kept = new Map();
    /** @type {Set<number>} checkpoints that are not given up */
    this.grid = new Set();
    /** @type {number[]} neurons that are shown */
    this.neurons = [];
    /** @type {Set<number>} neurons whose coarse grid has come */
    this.known = new Set();
    /** @type {Map<number, Promise<void>>} neurons whose coarse grid is on its way */
    this.pending = new Map();
    this.step = 0; // between the checkpoints of the grid
    this.around = 1;
    this.follower = new Follower({
      count: () => this.run.checkpoints.length,
      around: () => this.around,
      isHeld: (index) => this.missing(index).length === 0 && this.scoresAt(index) !== null,
      fetch: (from, to, signal) => this.fetch(this.neurons, { from, to }, signal),
      changed,
      failed,
    });
  }
  /** Where a neuron's table at a checkpoint is, null while it has not come. @param {number} neuron @param {number} index @returns {Place | null} */
  at(neuron, index) {
    return this.kept.get(index)?.tables.get(neuron) ?? null;
  }
  /** Where the scores of a checkpoint are, null while they have not come. @param {number} index @returns {Place | null} */
  scoresAt(index) {
    const data = this.shape.scores ? this.kept.get(index)?.scores : NONE;
    return data ? { data, offset: 0 } : null;
  }
  /** Checkpoints of which something is here. */
  held() {
    return [...this.kept.keys()];
  }
  /** The neurons that are shown and not here at a checkpoint. @param {number} index */
  missing(index) {
    return this.neurons.filter((neuron) => !this.at(neuron, index));
  }
  /** Whether what is shown of a checkpoint is here, of the neurons whose grid has come. @param {number} index @param {number[]} neurons */
  isHeld(index, neurons) {
    const known = neurons.filter((neuron) => this.known.has(neuron));
    return !known.length || (this.scoresAt(index) !== null && known.every((neuron) => this.at(neuron, index) !== null));
  }
  /** Fetch what is missing of the coarse grid of neurons. @param {number[]} neurons @returns {Promise<boolean>} whether something came */
  async need(neurons) {
    const count = this.run.checkpoints.length;
    const share = shareOf(4 * (neurons.length * this.width + this.shape.scores), TABLE_BYTES);
    const step = gridStep(count, share.coarse);
    this.around = share.around;
    if (step > this.step) {
      this.step = step; // a run that grows keeps its grid until it would have more checkpoints than planned
      this.known.clear();
    }
    const rows = Array.from({ length: Math.ceil(count / this.step) }, (_, i) => i * this.step);
    this.grid = new Set(rows);
    /** @type {Map<number, number[]>} first checkpoint of the grid that is missing -> neurons */
    const absent = new Map();
    for (const neuron of neurons) {
      const first = rows.find((index) => !this.at(neuron, index));
      if (first !== undefined && !this.pending.has(neuron)) absent.set(first, [...(absent.get(first) ?? []), neuron]);
    }
    const { step: each } = this;
    for (const [from, group] of absent) {
      const fetched = this.fetch(group, { from, to: count, step: each }).finally(() => {
        for (const neuron of group) this.pending.delete(neuron);
      });
      for (const neuron of group) this.pending.set(neuron, fetched);
    }
    const waits = neurons.flatMap((neuron) => this.pending.get(neuron) ?? []);
    await Promise.all(waits);
    for (const neuron of neurons) this.known.add(neuron);
    this.neurons = neurons;
    this.follower.again();
    return waits.length > 0;
  }
  /** The slider is at a checkpoint. @param {number} index @param {number[]} neurons that are shown */
  follow(index, neurons) {
    this.neurons = neurons.filter((neuron) => this.known.has(neuron));
    if (this.neurons.length) this.follower.follow(index);
  }
  /** @param {number[]} neurons @param {Rows & {from: number, to: number}} rows @param {AbortSignal} [signal] */
  async fetch(neurons, rows, signal) {
    const { source } = this.run;
    const { from, to, step = 1 } = rows;
    const { scores: size } = this.shape;
    const count = Math.ceil((to - from) / step);
    const isWithout = Array.from({ length: count }, (_, i) => from + i * step).some((index) => !this.scoresAt(index));
    const [tables, scores] = await Promise.all([
      source.neurons(neurons, rows, signal),
      isWithout ? source.scores(rows, signal) : null,
    ]);
    const wanted = count * neurons.length * this.width * 4;
    if (tables.byteLength < wanted || (scores && scores.byteLength < count * size * 4))
      throw new RefusedError("The server sent fewer checkpoints than there were: the file has changed since.");
    const all = new Float32Array(tables);
    const ownScores = scores && new Float32Array(scores);
    for (let i = 0; i < count; i++) {
      const index = from + i * step;
      const entry = this.kept.get(index) ?? { scores: null, tables: new Map() };
      // Copies, so that a part can be given up.
      if (ownScores) entry.scores = ownScores.slice(i * size, (i + 1) * size);
      neurons.forEach((neuron, n) => {
        const at = (i * neurons.length + n) * this.width;
        entry.tables.set(neuron, { data: all.slice(at, at + this.width), offset: 0 });
      });
      this.kept.set(index, entry);
    }
    this.giveUp();
  }
  /** Beyond the limit: neurons that are not shown, then checkpoints far from the slider. */
  giveUp() {
    const bytes = (/** @type {Kept} */ { tables }) => 4 * (this.shape.scores + tables.size * this.width);
    let total = 0;
    for (const entry of this.kept.values()) total += bytes(entry);
    if (total <= this.limit) return;
    const shown = new Set(this.neurons);
    for (const entry of this.kept.values()) {
      total -= bytes(entry);
      for (const neuron of [...entry.tables.keys()]) {
        if (shown.has(neuron)) continue;
        entry.tables.delete(neuron);
        this.known.delete(neuron);
      }
      total += bytes(entry);
    }
    const center = this.follower.row;
    const far = [...this.kept.keys()].sort((a, b) => Math.abs(b - center) - Math.abs(a - center));
    for (const index of far) {
      const entry = this.kept.get(index);
      if (total <= this.limit) return;
      if (!entry || this.grid.has(index)) continue;
      total -= bytes(entry);
      this.kept.delete(index);
    }
  }
  /** Largest activation of a neuron over the checkpoints that are here. @param {number} neuron @param {(index: number) => Attention | null} attentionAt @param {Float32Array} scratch */
  largest(neuron, attentionAt, scratch) {
    return largestAt(this, neuron, attentionAt, scratch);
  }
  close() {
    this.follower.close();
  }
}

const NONE = new Float32Array(0);
