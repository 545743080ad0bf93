// The numbers of neurons' maps at a checkpoint, computed from tables, and what the stored summary says of neurons.

import { GELU_DEPTH, neuronMap } from "./neuron_map.js";
import { NeuronTables } from "./neuron_tables.js";

/** @import { NeuronSummary, Run, RunArray } from "./types.js" */
/** @import { Attention } from "./neuron_map.js" */

export class NeuronMaps {
  /** @param {Run} run */
  constructor(run) {
    this.run = run;
    const { p, d_mlp: count } = run.manifest.parameters;
    this.p = p;
    this.count = count;
    this.tables = new NeuronTables(run);
    this.scratch = new Float32Array(p * p); // the map that was computed last
    /** @type {{attention: Attention, index: number, scores: Float32Array} | null} */
    this.opened = null;
    /** @type {Partial<Record<keyof NeuronSummary, RunArray>>} */
    this.summary = {};
    /** @type {Float32Array | null} largest activation of each neuron at all checkpoints */
    this.largestEver = null;
    this.isComplete = false; // the summary covers every checkpoint
  }
  get shape() {
    return this.tables.shape;
  }
  /** Whether the weights have changed since the tables were fetched. @param {Run} run */
  isStale(run) {
    return this.run !== run || this.tables.content !== run.manifest.contents?.weights;
  }
  /** @param {NeuronSummary} names */
  summarize(names) {
    this.summary = {};
    for (const key of /** @type {(keyof NeuronSummary)[]} */ (Object.keys(names))) {
      const array = this.run.array(names[key]);
      if (array?.rows) this.summary[key] = array;
    }
    const { maximum } = this.summary;
    this.largestEver = null;
    if (!maximum) return;
    this.isComplete = maximum.rows >= this.run.checkpoints.length; // else a later checkpoint may go beyond it
    this.largestEver = new Float32Array(this.count);
    for (let row = 0; row < maximum.rows; row++) {
      for (let n = 0; n < this.count; n++)
        this.largestEver[n] = Math.max(this.largestEver[n], maximum.data[row * this.count + n]);
    }
  }
  get isSummarized() {
    return Boolean(this.summary.frequency && this.summary.share && this.summary.dead);
  }
  /** A number of the summary, undefined where it is missing. @param {keyof NeuronSummary} key @param {number} row @param {number} neuron */
  value(key, row, neuron) {
    const array = this.summary[key];
    return array && row >= 0 && row < array.rows ? array.data[row * this.count + neuron] : undefined;
  }
  /** Attention at a checkpoint, null while it has not come. @param {number} index */
  attentionAt(index) {
    const { scores } = this.tables;
    const offset = this.tables.scoresOffset(index);
    if (offset < 0) return null;
    if (this.opened?.index !== index || this.opened.scores !== scores) {
      const attention = this.shape.open(scores, offset, this.shape.gated, this.p, this.opened?.attention ?? null);
      this.opened = { attention, index, scores };
    }
    return this.opened.attention;
  }
  /** Whether a checkpoint of a neuron can be drawn. @param {number} neuron @param {number} index */
  isLoaded(neuron, index) {
    const table = this.tables.kept.get(neuron);
    return this.tables.scoresOffset(index) >= 0 && Boolean(table && this.tables.offset(table, index) >= 0);
  }
  /**
   * Compute a neuron's map into `scratch`; the top of its color scale, or -1 while its table has not come.
   * @param {number} neuron
   * @param {number} index
   * @param {{isFixed: boolean, isExact: boolean}} scale isFixed: the same at every checkpoint; isExact: also where that has to be computed here
   */
  compute(neuron, index, { isFixed, isExact }) {
    const { tables, scratch } = this;
    const table = tables.get(neuron);
    const offset = table ? tables.offset(table, index) : -1;
    const attention = offset < 0 ? null : this.attentionAt(index);
    if (!table || !attention) return -1;
    const here = this.top(neuronMap(table, offset, attention, this.shape, scratch));
    if (!isFixed) return here;
    const ever = this.largestEver?.[neuron];
    if (ever) return this.isComplete ? this.top(ever) : Math.max(ever, here);
    if (!isExact) return here;
    const largest = tables.largest(neuron, table, (row) => this.attentionAt(row), scratch);
    neuronMap(table, offset, this.attentionAt(index) ?? attention, this.shape, scratch);
    return this.top(largest);
  }
  /** How far a color scale reaches. @param {number} largest */
  top(largest) {
    return this.shape.activation === "gelu" ? Math.max(largest, GELU_DEPTH) : largest;
  }
}
