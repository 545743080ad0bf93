// The tables of neurons and the attention scores that the page holds: fetched when first shown, extended as a run grows.

import { RefusedError } from "./data_source.js";
import { neuronMap, routesOf } from "./neuron_map.js";
import { concatenate } from "./numbers.js";

/** @import { Parameters, Run } from "./types.js" */
/** @import { Attention } from "./neuron_map.js" */

const LIMIT = 160e6; // bytes

/** Numbers that begin at `offset`. @typedef {{data: Float32Array, offset: number}} Place */

/** Sizes of what is fetched of neurons. @param {Parameters} parameters */
export const tableShape = (parameters) => {
  const { p, heads, activation } = parameters;
  const shape = { ...routesOf(parameters), p, heads, activation };
  return { shape, width: 1 + 2 * shape.routes * p };
};

export class NeuronTables {
  /** @param {Run} run @param {number} [limit] bytes, beyond which the least recently shown tables are dropped */
  constructor(run, limit = LIMIT) {
    this.run = run;
    this.limit = limit;
    /** @type {Map<number, Float32Array<ArrayBuffer>>} neuron -> (checkpoint, width), the least recently shown first */
    this.kept = new Map();
    /** @type {Map<number, Promise<void>>} */
    this.pending = new Map();
    /** @type {Map<number, number>} */
    this.largestOf = new Map();
    this.scores = new Float32Array(0);
    /** @type {Promise<void> | null} */
    this.scoresPending = null;
    const { parameters, contents } = run.manifest;
    this.content = contents?.weights; // of the weights they are computed from
    const { shape, width } = tableShape(parameters);
    this.shape = shape;
    this.width = width;
  }
  /** Where a neuron's table at a checkpoint is, null while it has not come; it is marked as shown. @param {number} neuron @param {number} index @returns {Place | null} */
  at(neuron, index) {
    const data = this.get(neuron);
    const offset = data ? this.offset(data, index) : -1;
    return data && offset >= 0 ? { data, offset } : null;
  }
  /** Where the scores of a checkpoint are, null while they have not come. @param {number} index @returns {Place | null} */
  scoresAt(index) {
    const offset = this.scoresOffset(index);
    return offset < 0 ? null : { data: this.scores, offset };
  }
  /** Checkpoints whose tables are here: all. */
  held() {
    return this.run.checkpoints.map((_, index) => index);
  }
  /** Nothing is drawn in place of a checkpoint that has not come: all come together. @param {number} _index @param {number[]} _neurons */
  isHeld(_index, _neurons) {
    return true;
  }
  /** Nothing to do: tables are of all checkpoints. @param {number} _index @param {number[]} _neurons */
  follow(_index, _neurons) {}
  close() {}
  /** A neuron's table, marked as shown. @param {number} neuron */
  get(neuron) {
    const table = this.kept.get(neuron);
    if (table) {
      this.kept.delete(neuron);
      this.kept.set(neuron, table);
    }
    return table;
  }
  /** @param {Float32Array} table */
  rows(table) {
    return table.length / this.width;
  }
  /** Offset of a checkpoint in a neuron's table, or -1 while it has not come. @param {Float32Array} table @param {number} index */
  offset(table, index) {
    return index >= 0 && index < this.rows(table) ? index * this.width : -1;
  }
  /** Offset of a checkpoint in the scores, or -1 while it has not come. @param {number} index */
  scoresOffset(index) {
    const size = this.shape.scores;
    if (!size) return 0;
    return index >= 0 && (index + 1) * size <= this.scores.length ? index * size : -1;
  }
  /** An answer with `size` numbers per checkpoint from checkpoint `from` on. @param {ArrayBuffer} bytes @param {number} size @param {number} from */
  complete(bytes, size, from) {
    const rows = bytes.byteLength / (4 * size);
    const missing = this.run.checkpoints.length - from;
    if (!Number.isInteger(rows) || rows < missing) {
      throw new RefusedError(
        `The server sent ${Math.floor(rows)} of ${missing} checkpoints: the file has changed since it was last read.`,
      );
    }
    return new Float32Array(bytes);
  }
  /** @returns {Promise<void> | null} null where nothing is missing */
  needScores() {
    const size = this.shape.scores;
    if (!size || this.scores.length >= this.run.checkpoints.length * size) return null;
    const held = this.scores;
    const from = held.length / size;
    this.scoresPending ??= this.run.source
      .scores({ from })
      .then((bytes) => {
        this.scores = concatenate(held, this.complete(bytes, size, from));
      })
      .finally(() => {
        this.scoresPending = null;
      });
    return this.scoresPending;
  }
  /** Fetch what is missing of neurons up to the last checkpoint. @param {number[]} neurons @returns {Promise<boolean>} whether something came */
  async need(neurons) {
    const count = this.run.checkpoints.length;
    const missing = neurons.filter((n) => {
      const table = this.kept.get(n);
      return (!table || this.rows(table) < count) && !this.pending.has(n);
    });
    const waits = neurons.flatMap((n) => this.pending.get(n) ?? []);
    // Tables of a run that has grown need only their newest rows.
    const held = missing.flatMap((n) => this.kept.get(n) ?? []);
    const from = Math.min(...held.map((table) => this.rows(table)));
    const behind = missing.filter((n) => this.kept.has(n));
    const absent = missing.filter((n) => !this.kept.has(n));
    for (const { group, start } of [
      { group: absent, start: 0 },
      { group: behind, start: from },
    ]) {
      if (!group.length) continue;
      const fetched = this.fetch(group, start);
      for (const n of group) this.pending.set(n, fetched);
      waits.push(fetched);
    }
    const scores = this.needScores();
    await Promise.all([...waits, scores]);
    return waits.length > 0;
  }
  /** @param {number[]} neurons @param {number} from */
  async fetch(neurons, from) {
    try {
      const empty = new Float32Array(0);
      const before = neurons.map((n) => this.kept.get(n)?.subarray(0, from * this.width) ?? empty);
      const all = this.complete(await this.run.source.neurons(neurons, { from }), neurons.length * this.width, from);
      const rows = Math.floor(all.length / (neurons.length * this.width));
      neurons.forEach((neuron, i) => {
        const table = new Float32Array(rows * this.width);
        for (let row = 0; row < rows; row++) {
          const at = (row * neurons.length + i) * this.width;
          table.set(all.subarray(at, at + this.width), row * this.width);
        }
        this.kept.delete(neuron);
        this.kept.set(neuron, concatenate(before[i], table));
        this.largestOf.delete(neuron);
      });
      let bytes = 0;
      for (const table of this.kept.values()) bytes += table.byteLength;
      for (const [neuron, table] of this.kept) {
        if (bytes <= this.limit || neurons.includes(neuron)) break;
        bytes -= table.byteLength;
        this.kept.delete(neuron);
      }
    } finally {
      for (const neuron of neurons) this.pending.delete(neuron);
    }
  }
  /** Largest activation of a neuron over all checkpoints, where no summary is stored. @param {number} neuron @param {(index: number) => Attention | null} attentionAt @param {Float32Array} scratch */
  largest(neuron, attentionAt, scratch) {
    let largest = this.largestOf.get(neuron);
    if (largest === undefined) {
      largest = largestAt(this, neuron, attentionAt, scratch);
      this.largestOf.set(neuron, largest);
    }
    return largest;
  }
}

/**
 * Largest activation of a neuron over the checkpoints whose tables are here.
 * @param {Pick<NeuronTables, "held" | "at" | "shape">} tables
 * @param {number} neuron
 * @param {(index: number) => Attention | null} attentionAt
 * @param {Float32Array} scratch
 */
export const largestAt = (tables, neuron, attentionAt, scratch) => {
  let largest = 0;
  for (const index of tables.held()) {
    const table = tables.at(neuron, index);
    const attention = table && attentionAt(index);
    if (attention) largest = Math.max(largest, neuronMap(table.data, table.offset, attention, tables.shape, scratch));
  }
  return largest;
};
