// The numbers of neurons' maps at a checkpoint, computed from tables, and what the stored summary says of neurons.

import { TABLE_BYTES } from "./fetch_plan.js";
import { GELU_DEPTH, neuronMap } from "./neuron_map.js";
import { NeuronTables } from "./neuron_tables.js";
import { SomeTables, tableBytes } from "./some_tables.js";

/** @import { NeuronSummary, Run, RunArray } from "./types.js" */
/** @import { Attention } from "./neuron_map.js" */

/** Whether a run is so long that the tables of all checkpoints are not held. @param {Run} run */
const isLong = ({ manifest, checkpoints }) => tableBytes(manifest.parameters) * checkpoints.length > TABLE_BYTES;

/** The largest number of each column of an array at any checkpoint. @param {RunArray} array */
const maxima = ({ data, rows, stride, extremes }) => {
  const largest = new Float64Array(stride);
  if (extremes) return largest.map((_, n) => Math.max(0, extremes[stride + n] || 0));
  for (let row = 0; row < rows; row++)
    for (let n = 0; n < stride; n++) largest[n] = Math.max(largest[n], data[row * stride + n]);
  return largest;
};

export class NeuronMaps {
  /** @param {Run} run @param {{changed: () => void, failed: (error: Error) => void}} changes of tables that come while the slider moves */
  constructor(run, changes) {
    this.run = run;
    const { p, d_mlp: count } = run.manifest.parameters;
    this.p = p;
    this.count = count;
    this.tables = isLong(run) ? new SomeTables(run, changes) : new NeuronTables(run);
    this.scratch = new Float32Array(p * p); // the map that was computed last
    /** @type {{attention: Attention, scores: Float32Array, offset: number} | null} */
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
  /** Whether the weights have changed since the tables were fetched, or are too many meanwhile to hold all. @param {Run} run */
  isStale(run) {
    const hasOutgrown = this.tables instanceof NeuronTables && isLong(run);
    return this.run !== run || this.tables.content !== run.manifest.contents?.weights || hasOutgrown;
  }
  /** Whether color scales are of the checkpoints that are here, since no summary of all is stored. */
  get isScaleOfSome() {
    return this.tables instanceof SomeTables && !this.largestEver;
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
    this.largestEver = Float32Array.from(maxima(maximum));
  }
  get isSummarized() {
    return Boolean(this.summary.frequency && this.summary.share && this.summary.dead);
  }
  /** A number of the summary, undefined where it is missing. @param {keyof NeuronSummary} key @param {number} row @param {number} neuron */
  value(key, row, neuron) {
    const array = this.summary[key];
    const from = array ? array.offset(row) : -1;
    return array && from >= 0 ? array.data[from + neuron] : undefined;
  }
  /** Attention at a checkpoint, null while it has not come. @param {number} index */
  attentionAt(index) {
    const scores = this.tables.scoresAt(index);
    if (!scores) return null;
    const { data, offset } = scores;
    if (this.opened?.scores !== data || this.opened.offset !== offset) {
      const attention = this.shape.open(data, offset, this.shape.gated, this.p, this.opened?.attention ?? null);
      this.opened = { attention, scores: data, offset };
    }
    return this.opened.attention;
  }
  /** Whether a checkpoint of a neuron can be drawn. @param {number} neuron @param {number} index */
  isLoaded(neuron, index) {
    return this.tables.scoresAt(index) !== null && this.tables.at(neuron, index) !== null;
  }
  /**
   * Compute a neuron's map into `scratch`; the top of its color scale, or -1 while its table has not come.
   * @param {number} neuron
   * @param {number} index
   * @param {{isFixed: boolean, isExact: boolean}} scale isFixed: the same at every checkpoint; isExact: also where that has to be computed here
   */
  compute(neuron, index, { isFixed, isExact }) {
    const { tables, scratch } = this;
    const table = tables.at(neuron, index);
    const attention = table && this.attentionAt(index);
    if (!attention) return -1;
    const here = this.top(neuronMap(table.data, table.offset, attention, this.shape, scratch));
    if (!isFixed) return here;
    const ever = this.largestEver?.[neuron];
    if (ever) return this.isComplete ? this.top(ever) : Math.max(ever, here);
    if (!isExact) return here;
    const largest = tables.largest(neuron, (at) => this.attentionAt(at), scratch);
    neuronMap(table.data, table.offset, this.attentionAt(index) ?? attention, this.shape, scratch);
    return this.top(largest);
  }
  /** How far a color scale reaches. @param {number} largest */
  top(largest) {
    return this.shape.activation === "gelu" ? Math.max(largest, GELU_DEPTH) : largest;
  }
  close() {
    this.tables.close();
  }
}
