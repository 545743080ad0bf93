// Panel kind "grid": a table of numbers as a heat map. Either both axes are of one checkpoint and it is painted at every step,
// or one axis is the training itself: then it is painted once, over epochs, and only the marker moves.
import { axisOf, Choices } from "./choices.js";
import { epochRange, LEFT_MARGIN } from "./curve.js";
import { clamp, el, formatExact, formatInteger, formatShort, linearTicks, nearestIndex, setText } from "./format.js";
import { FramedPanel } from "./framed_panel.js";
import { colorScale, HeatMap, pixelCells } from "./heat.js";

const DECADES = 4; // a log scale shows as many below its largest number

export class GridPanel extends FramedPanel {
  constructor(card, view, kept) {
    super(
      card,
      view,
      kept,
      { chosen: 0, even: false },
      {
        margin: { l: LEFT_MARGIN, r: 8, t: 8, b: 20 },
        layer: "under",
        painted: () => (this.stands = null),
        click: (x) => this.over && view.show(this.checkpointAt(x)),
      },
    );
    this.choices = new Choices(kept);
    this.heat = new HeatMap();
    this.addMarker();
    this.scale = el("span", "tdw-scale");
    this.scale.append((this.low = el("span")), (this.bar = el("i")), (this.high = el("span")));
    card.tools.append(this.scale);
  }
  depends({ epochs, planned_epochs: planned, state, events }) {
    return JSON.stringify([epochs, planned, state, events]);
  }
  update(spec, run) {
    this.spec = spec;
    this.run = run;
    this.choices.update(spec);
    const shown = (this.shown = spec.views[this.kept.chosen] || spec.views[0]);
    const { parameters, epochs } = run.manifest;
    this.over = shown.x === "checkpoint";
    this.y = axisOf(shown.y, parameters);
    this.x = this.over ? null : axisOf(shown.x, parameters);
    this.analysis = shown.array.split("/")[1];
    const array = run.array(shown.array);
    this.values = array?.rows ? array : null;
    if (shown.heading) setText(this.card.title, shown.heading);
    this.marker.hidden = !this.over;
    if (this.values) {
      const { from, step } = this.choices.place(array, shown.axes);
      Object.assign(this, { from, stepY: step.y, stepX: this.over ? array.stride : step.x });
      if (shown.bits)
        Object.assign(this, {
          from: 0,
          stepY: this.x.count,
          stepX: 1,
          bits: new Uint8Array(this.x.count * this.y.count),
        });
      this.top = this.largest();
    }
    const count = run.checkpoints.length;
    const x = !this.over ? [-0.5, this.x.count - 0.5] : this.kept.even ? [-0.5, count - 0.5] : epochRange(run.manifest);
    this.full = { x, y: shown.down ? [this.y.count - 0.5, -0.5] : [-0.5, this.y.count - 0.5] };
    this.epochs = epochs;
    this.stands = null;
    this.legend();
    const left = spec.left ?? LEFT_MARGIN;
    const right = this.over ? (spec.right ?? 8) : 8;
    const { margin } = this.frame;
    if (margin.l !== left || margin.r !== right || shown.square) {
      this.squared(left, right, shown.square);
      this.frame.measure();
    }
    this.frame.redraw();
  }
  /** Margins; a square table gets square cells. */
  squared(left, right, square) {
    Object.assign(this.frame.margin, { l: left, r: right });
    if (!square) return;
    const { clientWidth: width, clientHeight: height } = this.card.body;
    const { t, b } = this.frame.margin;
    const size = Math.max(10, Math.min(height - t - b, width - left - right));
    this.frame.margin.l = Math.max(left, Math.round((width - size) / 2));
    this.frame.margin.r = Math.max(right, width - this.frame.margin.l - size);
  }
  /** The largest number by size in what may be shown, at all checkpoints: the colors' top. */
  largest() {
    const { scale } = this.shown;
    if (scale.top) return scale.top;
    const { data, stride, rows } = this.values;
    let top = 0;
    for (let row = 0; row < rows; row++) {
      for (let j = 0; j < this.y.count; j++) {
        const at = row * stride + this.from + j * this.stepY;
        for (let i = 0; i < (this.over ? 1 : this.x.count); i++) {
          const size = Math.abs(data[at + i * this.stepX]);
          if (size > top) top = size;
        }
      }
    }
    return top || 1;
  }
  get tones() {
    const { type } = this.shown.scale;
    if (type === "epochs") {
      // late is dark, never is of the other color; by the order of checkpoints, which stand where much happens
      const { checkpoints } = this.run;
      const last = Math.max(1, nearestIndex(checkpoints, this.top));
      const tone = colorScale(this.frame.colors, { type: "linear", top: 1 });
      return (epoch) => tone(epoch < 0 ? -0.3 : 0.06 + (0.94 * nearestIndex(checkpoints, epoch)) / last);
    }
    return colorScale(this.frame.colors, { type, top: this.top, bottom: this.top / 10 ** DECADES });
  }
  legend() {
    const { scale } = this.shown;
    this.scale.hidden = scale.type === "names" || Boolean(this.shown.bits);
    this.bar.className = scale.signed ? "tdw-signed" : "";
    const ends = {
      log: [`≤ ${formatShort(this.top / 10 ** DECADES)}`, formatShort(this.top)],
      epochs: ["early", "late"],
    };
    const [low, high] = ends[scale.type] || [scale.signed ? `−${formatShort(this.top)}` : "0", formatShort(this.top)];
    setText(this.low, low);
    setText(this.high, high);
    this.scale.title = `Color: ${this.shown.quantity}${scale.type === "log" ? ", on a log scale" : ""}, the same at every checkpoint.`;
  }
  axes(range, width, height) {
    const y = this.ticks(this.y, range.y[0] < range.y[1] ? range.y : [range.y[1], range.y[0]], height, 22);
    if (!this.over) return { x: this.ticks(this.x, range.x, width, this.x.named ? 46 : 64), y, gridY: false };
    const most = Math.max(2, Math.floor(width / 80));
    if (!this.kept.even) return { x: linearTicks(range.x[0], range.x[1], most, true), y, gridY: false };
    const x = linearTicks(range.x[0], range.x[1], most, true);
    x.text = x.values.map((i) => formatInteger(this.run.checkpoints[i] ?? 0));
    return { x, y, gridY: false };
  }
  /** Places from 0 on with their names; frequencies and components are counted in round numbers. */
  ticks(axis, [from, to], pixels, room) {
    const each = pixels / (to - from);
    const [first, last] = [Math.max(0, Math.ceil(from)), Math.min(axis.count - 1, Math.floor(to))];
    if (axis.named) {
      const values = [];
      for (let i = first; i <= last; i++) if (each >= 11 || i % Math.ceil(11 / each) === 0) values.push(i);
      return { values, text: values.map(axis.short) };
    }
    const component = axis.short(0) === "const";
    const one = component ? 2 * each : each; // of a frequency
    const step = [1, 2, 5, 10, 20, 25, 50, 100, 200, 500].find((s) => s * one >= room) || 1000;
    const values = [];
    for (let i = first; i <= last; i++) {
      const k = component ? (i + 1) / 2 : i + (axis.first ?? 0);
      if ((component && i === 0) || (Number.isInteger(k) && k % step === 0 && (!component || k * one >= room * 0.7)))
        values.push(i);
    }
    return { values, text: values.map(axis.short) };
  }
  row(index) {
    return this.values ? this.view.row(this.analysis, index) : -1;
  }
  draw(index) {
    const { context: g, canvas, range } = this.frame;
    const row = this.row(index);
    this.drawn = row;
    if (this.over) {
      const x = index < 0 ? -1 : this.frame.px(this.kept.even ? index : this.run.checkpoints[index]);
      this.marker.style.transform = `translateX(${x >= -0.5 && x <= this.frame.inner.width + 0.5 ? x : -9999}px)`;
      this.read(index, row);
      if (this.stands === this.values && this.tonesOf === this.frame.colors) return;
    } else this.read(index, row);
    g.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.values || (!this.over && (row < 0 || row >= this.values.rows))) return;
    this.stands = this.values;
    this.tonesOf = this.frame.colors;
    const down = Boolean(this.shown.down);
    const [y0, y1] = down ? [range.y[1], range.y[0]] : range.y;
    const r0 = Math.max(0, Math.floor(y0 + 0.5));
    const r1 = Math.min(this.y.count, Math.ceil(y1 + 0.5));
    const h = Math.min(r1 - r0, canvas.height);
    const sy = canvas.height / (y1 - y0);
    const dy = down ? (r0 - 0.5 - y0) * sy : (y1 - (r1 - 0.5)) * sy;
    const table = {
      data: this.values.data,
      from: this.from,
      stepY: this.stepY,
      stepX: this.stepX,
      rows: pixelCells(r0, r1, h),
      down,
    };
    let [dx, dw] = [0, canvas.width];
    if (this.over) table.columns = this.columns(range.x, canvas.width);
    else {
      if (this.shown.bits) table.data = this.unpacked(row);
      else table.from += row * this.values.stride;
      const [x0, x1] = range.x;
      const c0 = Math.max(0, Math.floor(x0 + 0.5));
      const c1 = Math.min(this.x.count, Math.ceil(x1 + 0.5));
      const sx = canvas.width / (x1 - x0);
      table.columns = pixelCells(c0, c1, Math.min(c1 - c0, canvas.width));
      [dx, dw] = [(c0 - 0.5 - x0) * sx, (c1 - c0) * sx];
    }
    this.heat.paint(g, table, this.tones, [dx, dy, dw, (r1 - r0) * sy]);
    if (this.y.named) this.part(g);
    if (this.shown.write) this.write(g, row);
  }
  /** A gap between rows that have names, so that one does not run into the next. */
  part(g) {
    const { ratio } = this.frame;
    for (let j = 1; j < this.y.count; j++)
      g.clearRect(0, Math.round((this.frame.py(j - 0.5) - 1.5) * ratio), this.frame.canvas.width, 3 * ratio);
  }
  /** The rows that each pixel of an axis over training shows: all checkpoints that lie in it, else the nearest one. */
  columns([x0, x1], pixels) {
    const checkpoints = this.run.checkpoints;
    const last = this.values.rows - 1;
    const low = new Int32Array(pixels);
    const high = new Int32Array(pixels);
    const reach = (2 * (x1 - x0)) / pixels; // so that one checkpoint alone can be seen
    const at = (x) => (this.kept.even ? Math.round(x) : nearestIndex(checkpoints, x));
    for (let i = 0; i < pixels; i++) {
      const [from, to] = [x0 + ((x1 - x0) * i) / pixels, x0 + ((x1 - x0) * (i + 1)) / pixels];
      const first = at(from);
      const beyond = at(to);
      low[i] = clamp(first, 0, last);
      high[i] = Math.max(low[i] + 1, Math.min(beyond, last));
      // before the first checkpoint and after the last nothing is known
      if (!this.kept.even && (to < checkpoints[0] - reach || from > checkpoints[last] + reach)) high[i] = low[i];
    }
    return { low, high };
  }
  unpacked(row) {
    const { data, stride } = this.values;
    for (let i = 0; i < this.bits.length; i++) this.bits[i] = (data[row * stride + (i >> 3)] >> (7 - (i & 7))) & 1;
    return this.bits;
  }
  /** The numbers themselves, in cells that have room for them. */
  write(g, row) {
    const { ratio, inner, colors } = this.frame;
    if (inner.width / this.x.count < 40 || inner.height / this.y.count < 16) return;
    g.font = `${11.5 * ratio}px ${colors.font}`;
    g.textAlign = "center";
    g.textBaseline = "middle";
    const light = ([r, gr, b]) => 0.299 * r + 0.587 * gr + 0.114 * b;
    const parts = (packed) => [packed & 255, (packed >> 8) & 255, (packed >> 16) & 255];
    const tone = this.tones;
    const [dark, bright] =
      light(parts(colors.lut[0])) > 127 ? [colors.ink, colors.surface] : [colors.surface, colors.ink];
    for (let j = 0; j < this.y.count; j++) {
      for (let i = 0; i < this.x.count; i++) {
        const value = this.valueAt(row, j, i);
        g.fillStyle = light(parts(tone(value))) > 140 ? dark : bright;
        g.fillText(formatShort(value), this.frame.px(i) * ratio, this.frame.py(j) * ratio);
      }
    }
  }
  valueAt(row, j, i) {
    if (this.shown.bits) return this.unpacked(row)[j * this.stepY + i];
    const across = this.over ? 0 : i * this.stepX;
    return this.values.data[row * this.values.stride + this.from + j * this.stepY + across];
  }
  /** What the card says: marked rows by name, or how many, then what is chosen. */
  read(index, row) {
    const told = row >= 0 && this.values && row < this.values.rows ? this.told(row) : [];
    this.card.read(
      [...told, this.shown.quantity, ...this.choices.words(this.shown.choices)].filter(Boolean).join(" · "),
    );
  }
  told(row) {
    const { tell } = this.shown;
    if (tell === "marked") {
      const found = [];
      for (let j = 0; j < this.y.count; j++) if (this.valueAt(row, j, 0)) found.push(j + (this.y.first ?? 0));
      return [
        found.length > 9 ? `${found.length} of ${this.y.count}` : found.length ? `k = ${found.join(", ")}` : "none",
      ];
    }
    if (tell === "agreed") {
      const all = [];
      for (let i = 0; i < this.x.count; i++) {
        let votes = 0;
        for (let j = 0; j < this.y.count; j++) votes += this.valueAt(row, j, i);
        if (votes === this.y.count) all.push(i + (this.x.first ?? 0));
      }
      return [
        all.length > 9
          ? `all agree on ${all.length}`
          : all.length
            ? `all agree on k = ${all.join(", ")}`
            : "they agree on none",
      ];
    }
    if (tell === "right") {
      const bits = this.unpacked(row);
      return [`${formatInteger(bits.reduce((a, b) => a + b, 0))} of ${formatInteger(bits.length)} pairs`];
    }
    if (tell === "graduated") {
      const { data } = this.values;
      const now = this.run.checkpoints[this.view.index] ?? 0;
      const count = data.reduce((sum, epoch) => sum + (epoch >= 0 && epoch <= now), 0);
      return [`${formatInteger(count)} of ${formatInteger(data.length)} pairs by now`];
    }
    return tell === "largest" ? this.leading(row) : [];
  }
  leading(row) {
    let best = 0;
    for (let j = 1; j < this.y.count; j++) if (this.valueAt(row, j, 0) > this.valueAt(row, best, 0)) best = j;
    return [`largest ${this.y.named ? "" : "k = "}${this.y.short(best)}: ${formatShort(this.valueAt(row, best, 0))}`];
  }
  absence() {
    const nothing = this.values && this.spec.without && this.values.data.every(Number.isNaN);
    return nothing ? { title: "Nothing to show", text: this.spec.without } : null;
  }
  checkpointAt(x) {
    return this.kept.even
      ? clamp(Math.round(x), 0, this.run.checkpoints.length - 1)
      : nearestIndex(this.run.checkpoints, x);
  }
  hover(x, y) {
    const j = Math.round(y);
    if (!this.values || j < 0 || j >= this.y.count) return null;
    if (this.over) {
      const index = this.checkpointAt(x);
      const row = this.row(index);
      if (row < 0 || row >= this.values.rows) return null;
      return [
        [this.y.name(j), `epoch ${formatInteger(this.run.checkpoints[index])}`],
        this.sayValue(this.valueAt(row, j, 0)),
        "click: this checkpoint",
      ];
    }
    const i = Math.round(x);
    if (!(this.drawn >= 0) || i < 0 || i >= this.x.count) return null;
    return [
      [this.shown.pair ? `a = ${j}, b = ${i}` : `${this.y.name(j)} · ${this.x.name(i)}`, ""],
      this.sayValue(this.valueAt(this.drawn, j, i)),
      ...this.more(j, i),
    ];
  }
  /** Another array's number for the same cell. */
  more(j, i) {
    const { beside } = this.shown;
    const array = beside && this.run.array(beside.array);
    return array && this.drawn < array.rows
      ? [`${beside.label} ${formatExact(array.data[this.drawn * array.stride + j * this.stepY + i * this.stepX])}`]
      : [];
  }
  sayValue(value) {
    const { says, of } = this.shown;
    if (says) return says[value > 0 ? 1 : 0];
    if (this.shown.scale.type === "epochs")
      return value < 0 ? "wrong at the last checkpoint" : `right for good from epoch ${formatInteger(value)} on`;
    return `${of} ${formatExact(value)}`;
  }
  menu() {
    const groups = [];
    if (this.spec.views.length > 1) {
      groups.push({
        group: "Show",
        value: this.kept.chosen,
        options: this.spec.views.map(({ title }, value) => ({ label: title, value })),
        choose: (value) => this.choose({ chosen: value }),
      });
    }
    const used = this.shown.axes.filter((axis) => this.choices.all[axis]);
    groups.push(
      ...this.choices
        .menu(() => this.choose())
        .filter(({ group }) => used.some((name) => this.choices.all[name].title === group)),
    );
    if (this.over) {
      groups.push({
        group: "Checkpoints",
        value: this.kept.even,
        options: [
          { label: "At their epochs", value: false },
          { label: "Evenly spaced", value: true },
        ],
        choose: (value) => this.choose({ even: value }),
      });
    }
    return groups;
  }
  /** For tests: the number in row j at column i (of an image over training, at checkpoint i) and the pixel painted for it. */
  probe(j, i) {
    const { canvas, ratio, context } = this.frame;
    const row = this.over ? this.row(i) : this.drawn;
    const x = this.over ? (this.kept.even ? i : this.run.checkpoints[i]) : i;
    const at = (v, end) => clamp(Math.floor(v * ratio), 0, end - 1);
    const pixel = context.getImageData(
      at(this.frame.px(x), canvas.width),
      at(this.frame.py(j), canvas.height),
      1,
      1,
    ).data;
    const value = this.valueAt(row, j, i);
    return {
      value,
      top: this.top,
      pixel: [...pixel],
      marker: new DOMMatrix(this.marker.style.transform).e,
      x: this.frame.px(x),
      range: this.frame.range,
    };
  }
  resize() {
    if (this.shown?.square) this.squared(this.spec.left ?? LEFT_MARGIN, 8, true);
    this.stands = null;
    this.frame.resize();
  }
}
