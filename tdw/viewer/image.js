// Panel kind "image": a heat map (row × column) at a checkpoint, colors fixed to 0…1, columns in their own or a sorted order.
import { clamp, el, formatBrief, formatExact, linearTicks } from "./format.js";
import { FramedPanel } from "./framed_panel.js";
import { colorScale, HeatMap, pixelCells } from "./heat.js";

export class ImagePanel extends FramedPanel {
  constructor(card, view, kept) {
    super(
      card,
      view,
      kept,
      { sort: "cluster" },
      {
        margin: { l: 30, r: 4, t: 8, b: 20 },
        layer: "under",
        painted: () => this.placePins(),
        click: (x) => this.pick(x),
      },
    );
    this.heat = new HeatMap();
    this.pins = [];
    const scale = (this.scale = el("span", "tdw-scale"));
    scale.append(el("span", null, "0"), el("i"), el("span", null, "1"));
    card.tools.append(scale);
  }
  update(spec, run) {
    this.spec = spec;
    this.run = run;
    const least = formatBrief(spec.threshold);
    this.scale.title = `Color: ${spec.quantity}, 0 to 1 at every checkpoint. A neuron belongs to a cluster from a share of ${least} on.`;
    const array = run.array(spec.array);
    this.values = array?.rows ? array : null;
    const { d_mlp: columns, frequencies: rows } = run.manifest.parameters;
    Object.assign(this, { columns, rows });
    this.full = { x: [-0.5, columns - 0.5], y: [0.5, rows + 0.5] };
    this.cluster = run.array(spec.cluster.array);
    this.dead = run.array(spec.dead.array);
    this.arrange();
    this.frame.redraw();
  }
  /** order[position] = neuron; groups = runs of positions of one final cluster. */
  arrange() {
    const { columns, rows } = this;
    this.order = Uint32Array.from({ length: columns }, (_, n) => n);
    this.groups = null;
    const sorted = this.kept.sort === "cluster" && this.cluster?.rows && this.values;
    if (sorted) {
      const last = this.cluster.rows - 1;
      const own = this.cluster.data.subarray(last * columns);
      const row = Math.min(last, this.values.rows - 1) * this.values.stride;
      const best = new Float64Array(columns);
      for (let n = 0; n < columns; n++) {
        for (let k = 0; k < rows; k++) best[n] = Math.max(best[n], this.values.data[row + k * columns + n]);
      }
      const group = (n) => (own[n] > 0 ? own[n] : 1e6); // the unassigned stand at the end
      this.order.sort((m, n) => group(m) - group(n) || best[n] - best[m] || m - n);
      this.groups = [];
      this.order.forEach((n, position) => {
        const current = this.groups.at(-1);
        if (current?.frequency === own[n]) current.to = position;
        else this.groups.push({ frequency: own[n], from: position, to: position });
      });
    }
    this.place = new Uint32Array(columns);
    this.order.forEach((n, position) => (this.place[n] = position));
  }
  axes(range, width, height) {
    const y = linearTicks(range.y[0], range.y[1], Math.max(2, Math.floor(height / 40)), true);
    let x = linearTicks(range.x[0], range.x[1], Math.max(2, Math.floor(width / 70)), true);
    if (this.groups) {
      x = { values: [], text: [] };
      let end = -Infinity;
      for (const group of this.groups) {
        const from = Math.max(group.from - 0.5, range.x[0]);
        const to = Math.min(group.to + 0.5, range.x[1]);
        if (to <= from) continue;
        const name = group.frequency > 0 ? `k ${group.frequency}` : "none";
        const half = name.length * 3.4 + 3;
        const middle = (((from + to) / 2 - range.x[0]) / (range.x[1] - range.x[0])) * width;
        if (middle - half < end || middle - half < -20 || middle + half > width + 3) continue;
        end = middle + half + 4;
        x.values.push((from + to) / 2);
        x.text.push(name);
      }
    }
    return { x, y, gridY: false };
  }
  draw(index) {
    const row = this.values ? this.view.row(this.spec.analysis, index) : -1;
    this.drawn = row;
    const { context: g, canvas, colors } = this.frame;
    g.clearRect(0, 0, canvas.width, canvas.height);
    if (row < 0 || row >= this.values.rows) return this.card.read("");
    const { columns, order } = this;
    const [x0, x1] = this.frame.range.x;
    const [y0, y1] = this.frame.range.y;
    const c0 = Math.max(0, Math.floor(x0 + 0.5));
    const c1 = Math.min(columns, Math.ceil(x1 + 0.5));
    const r0 = Math.max(0, Math.floor(y0 - 0.5));
    const r1 = Math.min(this.rows, Math.ceil(y1 - 0.5));
    // More cells than pixels: a lone bright neuron must not vanish.
    const w = Math.min(c1 - c0, canvas.width);
    const h = Math.min(r1 - r0, canvas.height);
    this.pooled = w < c1 - c0 || h < r1 - r0;
    const sx = canvas.width / (x1 - x0);
    const sy = canvas.height / (y1 - y0);
    const table = { data: this.values.data, from: row * this.values.stride, stepY: columns, stepX: 1, order };
    Object.assign(table, { rows: pixelCells(r0, r1, h), columns: pixelCells(c0, c1, w) });
    const where = [(c0 - 0.5 - x0) * sx, (y1 - (r1 + 0.5)) * sy, (c1 - c0) * sx, (r1 - r0) * sy];
    this.heat.paint(g, table, colorScale(colors, { type: "linear", top: 1 }), where);
    return this.card.read(this.reading(index));
  }
  reading(index) {
    const { cluster, columns } = this;
    const row = this.view.row(this.spec.cluster.analysis, index); // analyses may cover different checkpoints
    if (!cluster || row < 0 || row >= cluster.rows) return this.spec.quantity;
    const own = cluster.data.subarray(row * columns, (row + 1) * columns);
    let assigned = 0;
    const seen = new Uint8Array(this.rows + 1);
    let clusters = 0;
    for (let n = 0; n < columns; n++) {
      if (own[n] <= 0) continue;
      assigned++;
      if (!seen[own[n]]) clusters += seen[own[n]] = 1;
    }
    const what = assigned
      ? `${assigned} of ${columns} in ${clusters} cluster${clusters > 1 ? "s" : ""}`
      : "no clusters";
    return what;
  }
  hover(x, y) {
    const position = Math.round(x);
    const k = Math.round(y);
    if (!(this.drawn >= 0) || position < 0 || position >= this.columns || k < 1 || k > this.rows) return null;
    const n = this.order[position];
    const lines = [
      [`neuron ${n}`, `frequency ${k}`],
      `share ${formatExact(this.values.data[this.drawn * this.values.stride + (k - 1) * this.columns + n])}`,
    ];
    const of = (array, analysis) => {
      const row = this.view.row(analysis, this.view.index);
      return array && row >= 0 && row < array.rows ? array.data[row * this.columns + n] : undefined;
    };
    const cluster = of(this.cluster, this.spec.cluster.analysis);
    if (of(this.dead, this.spec.dead.analysis)) lines.push("dead: its activation does not vary");
    else if (cluster !== undefined) lines.push(cluster > 0 ? `in cluster k ${cluster}` : "in no cluster");
    lines.push(this.view.pins.includes(n) ? "click: unpin" : "click: pin this neuron");
    return lines;
  }
  pick(x) {
    const position = Math.round(x);
    if (position >= 0 && position < this.columns) this.view.togglePin(this.order[position]);
  }
  /** Pinned neurons get a mark above the picture, not on it. */
  placePins() {
    for (const node of this.pins) node.remove();
    this.pins = [];
    if (!this.values) return;
    for (const n of this.view.pins) {
      const x = this.frame.px(this.place[n]);
      if (x < 0 || x > this.frame.inner.width) continue;
      const mark = el("i", "tdw-pin-mark", null, { title: `neuron ${n} is pinned` });
      mark.style.transform = `translateX(${x}px)`;
      this.pins.push(mark);
    }
    this.frame.overlay.append(...this.pins);
  }
  pinned() {
    this.placePins();
  }
  menu() {
    return [
      {
        group: "Neurons in order of",
        value: this.kept.sort,
        options: [
          { label: "Final cluster", value: "cluster" },
          { label: "Index", value: "index" },
        ],
        choose: (value) => this.choose({ sort: value }),
      },
    ];
  }
  /** For tests: share of frequency k of a neuron and the pixel painted for it. */
  probe(k, neuron) {
    const { canvas, ratio } = this.frame;
    const x = Math.floor(this.frame.px(this.place[neuron]) * ratio);
    const y = Math.floor(this.frame.py(k) * ratio);
    return {
      value: this.values.data[this.drawn * this.values.stride + (k - 1) * this.columns + neuron],
      pixel: [
        ...this.frame.context.getImageData(clamp(x, 0, canvas.width - 1), clamp(y, 0, canvas.height - 1), 1, 1).data,
      ],
      pooled: this.pooled,
      range: this.frame.range,
    };
  }
}
