// Panel kind "image": frequency × neuron as a heat map at a checkpoint, colors fixed to 0…1, neurons by cluster or index.

import { clusterOrder } from "./cluster_order.js";
import { el } from "./dom.js";
import { formatBrief, formatCount, formatExact } from "./format.js";
import { FramedPanel } from "./framed_panel.js";
import { colorScale, HeatMap, pixelCells } from "./heat.js";
import { clamp } from "./numbers.js";
import { linearTicks } from "./ticks.js";

/** @import { Axes, ImageDescription, Kept, MenuItem, Range, Run, RunArray, TooltipLine, ViewerHandle } from "./types.js" */
/** @import { Card } from "./card.js" */
/** @import { Group } from "./cluster_order.js" */

/** @extends {FramedPanel<ImageDescription>} */
export class ImagePanel extends FramedPanel {
  /** @param {Card} card @param {ViewerHandle} view @param {Kept} kept @param {ImageDescription} spec @param {Run} run */
  constructor(card, view, kept, spec, run) {
    super(
      card,
      view,
      kept,
      spec,
      run,
      { sort: "cluster" },
      {
        margin: { l: 30, r: 4, t: 8, b: 20 },
        layer: "under",
        painted: () => this.placePins(),
        click: (x) => this.pick(x),
      },
    );
    this.heat = new HeatMap();
    /** @type {HTMLElement[]} */
    this.marks = [];
    /** @type {RunArray | null} */
    this.values = null;
    /** @type {RunArray | null} */
    this.cluster = null;
    /** @type {RunArray | null} */
    this.dead = null;
    this.columns = this.rows = 0;
    this.order = new Uint32Array(0); // position -> neuron
    this.place = new Uint32Array(0); // neuron -> position
    /** @type {Group[] | null} */
    this.groups = null;
    this.drawn = -1;
    this.index = -1; // of the checkpoint that is drawn
    this.isPooled = false; // more cells than pixels
    this.scale = el("span", "tdw-scale");
    this.scale.append(el("span", null, "0"), el("i"), el("span", null, "1"));
    card.tools.append(this.scale);
  }
  /** Arrays of which the row of one checkpoint is drawn. */
  arraysAt() {
    const { array, cluster, dead } = this.spec;
    return [array, cluster.array, dead.array];
  }
  /** @param {ImageDescription} spec @param {Run} run @override */
  update(spec, run) {
    super.update(spec, run);
    const least = formatBrief(spec.threshold);
    this.scale.title = `Color: ${spec.quantity}, 0 to 1 at every checkpoint. From ${least} on, a neuron belongs to a cluster.`;
    const array = run.array(spec.array);
    this.values = array?.rows ? array : null;
    this.columns = run.manifest.parameters.d_mlp;
    this.rows = run.manifest.parameters.frequencies;
    this.full = { x: [-0.5, this.columns - 0.5], y: [0.5, this.rows + 0.5] };
    this.cluster = run.array(spec.cluster.array);
    this.dead = run.array(spec.dead.array);
    this.arrange();
    this.frame.redraw();
  }
  arrange() {
    const { columns, rows, values, cluster } = this;
    const isSorted = this.kept.sort === "cluster" && values && cluster?.rows;
    if (isSorted) {
      const last = cluster.rows - 1;
      const from = values.offset(Math.min(last, values.rows - 1));
      const shares = values.data.subarray(from, from + rows * columns);
      const { order, groups } = clusterOrder(cluster.data.subarray(cluster.offset(last)), shares, rows);
      this.order = order;
      this.groups = groups;
    } else {
      this.order = Uint32Array.from({ length: columns }, (_, n) => n);
      this.groups = null;
    }
    this.place = new Uint32Array(columns);
    this.order.forEach((n, position) => {
      this.place[n] = position;
    });
  }
  /** @param {Range} range @param {number} width @param {number} height @returns {Axes} @override */
  axes(range, width, height) {
    const y = linearTicks(range.y[0], range.y[1], Math.max(2, Math.floor(height / 40)), true);
    const x = this.groups
      ? this.groupNames(this.groups, range.x, width)
      : linearTicks(range.x[0], range.x[1], Math.max(2, Math.floor(width / 70)), true);
    return { x, y, gridY: false };
  }
  /** Names of clusters at their centers, as far as there is room. @param {Group[]} groups @param {number[]} range @param {number} width */
  groupNames(groups, [x0, x1], width) {
    /** @type {number[]} */
    const values = [];
    /** @type {string[]} */
    const text = [];
    let end = Number.NEGATIVE_INFINITY;
    for (const group of groups) {
      const from = Math.max(group.from - 0.5, x0);
      const to = Math.min(group.to + 0.5, x1);
      if (to <= from) continue;
      const name = group.frequency > 0 ? `k ${group.frequency}` : "none";
      const half = name.length * 3.4 + 3;
      const middle = (((from + to) / 2 - x0) / (x1 - x0)) * width;
      if (middle - half < end || middle - half < -20 || middle + half > width + 3) continue;
      end = middle + half + 4;
      values.push((from + to) / 2);
      text.push(name);
    }
    return { values, text };
  }
  /** @param {number} index @override */
  draw(index) {
    const row = this.values ? this.view.row(this.spec.analysis, index) : -1;
    this.drawn = row;
    const { context: g, canvas, colors, range } = this.frame;
    g.clearRect(0, 0, canvas.width, canvas.height);
    this.index = index;
    const from = this.values ? this.values.offset(row) : -1;
    if (!this.values || from < 0) {
      this.card.read("");
      return;
    }
    const { columns, order } = this;
    const [x0, x1] = range.x;
    const [y0, y1] = range.y;
    const c0 = Math.max(0, Math.floor(x0 + 0.5));
    const c1 = Math.min(columns, Math.ceil(x1 + 0.5));
    const r0 = Math.max(0, Math.floor(y0 - 0.5));
    const r1 = Math.min(this.rows, Math.ceil(y1 - 0.5));
    // More cells than pixels: a single bright neuron must not vanish.
    const w = Math.min(c1 - c0, canvas.width);
    const h = Math.min(r1 - r0, canvas.height);
    this.isPooled = w < c1 - c0 || h < r1 - r0;
    const sx = canvas.width / (x1 - x0);
    const sy = canvas.height / (y1 - y0);
    this.heat.paint(
      g,
      {
        data: this.values.data,
        from,
        stepY: columns,
        stepX: 1,
        order,
        rows: pixelCells(r0, r1, h),
        columns: pixelCells(c0, c1, w),
      },
      colorScale(colors, { type: "linear", top: 1 }),
      [(c0 - 0.5 - x0) * sx, (y1 - (r1 + 0.5)) * sy, (c1 - c0) * sx, (r1 - r0) * sy],
    );
    this.card.read(this.reading(index));
  }
  /** A share that is drawn. @param {number} k frequency @param {number} neuron */
  value(k, neuron) {
    const from = this.values ? this.values.offset(this.drawn) : -1;
    return this.values && from >= 0 ? this.values.data[from + (k - 1) * this.columns + neuron] : Number.NaN;
  }
  /** How many neurons are in how many clusters. @param {number} index */
  reading(index) {
    const { cluster, columns } = this;
    const row = this.view.row(this.spec.cluster.analysis, index); // analyses may cover different checkpoints
    const from = cluster ? cluster.offset(row) : -1;
    if (!cluster || from < 0) return this.spec.quantity;
    const own = cluster.data.subarray(from, from + columns);
    let assigned = 0;
    let clusters = 0;
    const seen = new Uint8Array(this.rows + 1);
    for (let n = 0; n < columns; n++) {
      if (own[n] <= 0) continue;
      assigned++;
      if (!seen[own[n]]) clusters++;
      seen[own[n]] = 1;
    }
    return assigned ? `${assigned} of ${columns} in ${formatCount(clusters, "cluster")}` : "no clusters";
  }
  /** @param {number} x @param {number} y @returns {TooltipLine[] | null} @override */
  hover(x, y) {
    const position = Math.round(x);
    const k = Math.round(y);
    if (!this.values || this.drawn < 0 || position < 0 || position >= this.columns || k < 1 || k > this.rows)
      return null;
    const n = this.order[position];
    const share = this.value(k, n);
    /** @type {TooltipLine[]} */
    const lines = [[`neuron ${n}`, `frequency ${k}`], `share ${formatExact(share)}`];
    const stored = (/** @type {RunArray | null} */ array, /** @type {string} */ analysis) => {
      const from = array ? array.offset(this.view.row(analysis, this.index)) : -1;
      return array && from >= 0 ? array.data[from + n] : undefined;
    };
    const cluster = stored(this.cluster, this.spec.cluster.analysis);
    if (stored(this.dead, this.spec.dead.analysis)) lines.push("dead: constant activation");
    else if (cluster !== undefined) lines.push(cluster > 0 ? `in cluster k ${cluster}` : "not in a cluster");
    lines.push(this.view.pins.includes(n) ? "click: unpin" : "click: pin this neuron");
    return lines;
  }
  /** @param {number} x */
  pick(x) {
    const position = Math.round(x);
    if (position >= 0 && position < this.columns) this.view.togglePin(this.order[position]);
  }
  /** Pinned neurons have a mark above the picture. */
  placePins() {
    for (const node of this.marks) node.remove();
    this.marks = [];
    if (!this.values) return;
    for (const n of this.view.pins) {
      const x = this.frame.px(this.place[n]);
      if (x < 0 || x > this.frame.inner.width) continue;
      const mark = el("i", "tdw-pin-mark", null, { title: `neuron ${n} is pinned` });
      mark.style.transform = `translateX(${x}px)`;
      this.marks.push(mark);
    }
    this.frame.overlay.append(...this.marks);
  }
  pinned() {
    this.placePins();
  }
  /** @returns {MenuItem[]} @override */
  menu() {
    return [
      {
        group: "Order of neurons",
        value: this.kept.sort,
        options: [
          { label: "Final cluster", value: "cluster" },
          { label: "Index", value: "index" },
        ],
        choose: (value) => this.choose({ sort: value }),
      },
    ];
  }
  /** Share of frequency k of a neuron, and the pixel painted for it. @param {number} k @param {number} neuron */
  probe(k, neuron) {
    const { canvas, ratio, context } = this.frame;
    const x = clamp(Math.floor(this.frame.px(this.place[neuron]) * ratio), 0, canvas.width - 1);
    const y = clamp(Math.floor(this.frame.py(k) * ratio), 0, canvas.height - 1);
    return {
      value: this.value(k, neuron),
      pixel: [...context.getImageData(x, y, 1, 1).data],
      pooled: this.isPooled,
      range: this.frame.range,
    };
  }
}
