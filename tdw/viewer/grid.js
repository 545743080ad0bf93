// Panel kind "grid": a table of numbers as a heat map. Either both axes are of one checkpoint and it is painted at every
// step; or one axis is training, then it is painted once, over epochs, and only the marker moves.

import { isWithoutNumbers, sampledText } from "./array_extremes.js";
import { axisOf, Choices } from "./choices.js";
import { el, placeMarker, setText } from "./dom.js";
import { epochInputs, epochRange } from "./epochs.js";
import { formatExact, formatInteger, formatShort } from "./format.js";
import { FramedPanel } from "./framed_panel.js";
import { checkpointColumns, placeTicks, unpack } from "./grid_cells.js";
import { reading } from "./grid_reading.js";
import { colorScale, HeatMap, pixelCells } from "./heat.js";
import { clamp, nearestIndex } from "./numbers.js";
import { linearTicks } from "./ticks.js";

/** @import { Axes, CardState, GridDescription, GridView, Kept, Manifest, MenuItem, Palette, Range, Run, RunArray, TooltipLine, ViewerHandle } from "./types.js" */
/** @import { Card } from "./card.js" */
/** @import { Axis } from "./choices.js" */

const DECADES = 4; // that a log scale shows below its largest number
const RIGHT = 8; // margin of a table of one checkpoint

/** @extends {FramedPanel<GridDescription>} */
export class GridPanel extends FramedPanel {
  /** @param {Card} card @param {ViewerHandle} view @param {Kept} kept @param {GridDescription} spec @param {Run} run */
  constructor(card, view, kept, spec, run) {
    super(
      card,
      view,
      kept,
      spec,
      run,
      { chosen: 0, even: false },
      {
        margin: { l: spec.left, r: RIGHT, t: 8, b: 20 },
        layer: "under",
        painted: () => {
          this.painted = null;
        },
        click: (x) => {
          if (this.isHistory) view.show(this.checkpointAt(x));
        },
      },
    );
    this.choices = new Choices(kept);
    this.heat = new HeatMap();
    this.marker = this.addMarker();
    this.scale = el("span", "tdw-scale");
    this.low = el("span");
    this.high = el("span");
    this.bar = el("i");
    this.scale.append(this.low, this.bar, this.high);
    card.tools.append(this.scale);
    /** @type {RunArray | null} */
    this.values = null;
    /** @type {{values: RunArray, colors: Palette} | null} what a history is painted of */
    this.painted = null;
    this.drawn = -1;
    // Where the numbers of a row begin, and how far apart they are along the axes.
    this.from = this.stepY = this.stepX = 0;
    this.bits = new Uint8Array(0);
    this.top = 1;
    this.shown = this.viewOf(spec);
    /** @type {Axis} */
    this.y = axisOf(this.shown.y, run.manifest.parameters);
    /** @type {Axis | null} null where it is training */
    this.x = null;
  }
  /** @param {GridDescription} spec @returns {GridView} */
  viewOf(spec) {
    return spec.views[this.kept.chosen] ?? spec.views[0];
  }
  get isHistory() {
    return this.shown.x === "checkpoint";
  }
  /** Columns of a table of one checkpoint. */
  get width() {
    return this.x?.count ?? 0;
  }
  /** @param {Manifest} manifest */
  depends(manifest) {
    return epochInputs(manifest);
  }
  /** @param {GridDescription} spec @param {Run} run @override */
  update(spec, run) {
    super.update(spec, run);
    this.choices.update(spec);
    this.shown = this.viewOf(spec);
    const { shown } = this;
    const { parameters } = run.manifest;
    this.y = axisOf(shown.y, parameters);
    this.x = shown.x === "checkpoint" ? null : axisOf(shown.x, parameters);
    const array = run.array(shown.array);
    this.values = array?.rows ? array : null;
    if (shown.heading) setText(this.card.title, shown.heading);
    this.marker.hidden = !this.isHistory;
    if (this.values) {
      const { from, step } = shown.packed
        ? { from: 0, step: { y: this.width, x: 1 } }
        : this.choices.place(this.values, shown.axes);
      this.from = from;
      this.stepY = step.y;
      this.stepX = this.isHistory ? this.values.stride : step.x;
      if (shown.packed) this.bits = new Uint8Array(this.width * this.y.count);
      this.top = shown.scale.top ?? this.largest(this.values);
    }
    const across = this.kept.even ? [-0.5, run.checkpoints.length - 0.5] : epochRange(run.manifest);
    const down = [-0.5, this.y.count - 0.5];
    this.full = {
      x: this.isHistory ? across : [-0.5, this.width - 0.5],
      y: shown.downward ? down.reverse() : down,
    };
    this.painted = null;
    this.legend();
    this.setMargins();
    this.frame.measure();
    this.frame.redraw();
  }
  /** A square table has square cells. */
  setMargins() {
    const { left } = this.spec;
    const right = this.isHistory ? this.spec.right : RIGHT;
    const { margin } = this.frame;
    Object.assign(margin, { l: left, r: right });
    if (!this.shown.square) return;
    const { clientWidth: width, clientHeight: height } = this.card.body;
    const size = Math.max(10, Math.min(height - margin.t - margin.b, width - left - right));
    margin.l = Math.max(left, Math.round((width - size) / 2));
    margin.r = Math.max(right, width - margin.l - size);
  }
  /** The largest magnitude at any checkpoint of what is shown. @param {RunArray} values */
  largest({ data, stride, rows, extremes }) {
    let top = 0;
    const columns = this.isHistory ? 1 : this.width;
    // Of a long array the least and the greatest numbers of all rows.
    const [numbers, count] = extremes ? [extremes, 2] : [data, rows];
    for (let row = 0; row < count; row++) {
      for (let j = 0; j < this.y.count; j++) {
        const at = row * stride + this.from + j * this.stepY;
        for (let i = 0; i < columns; i++) {
          const size = Math.abs(numbers[at + (this.isHistory ? 0 : i * this.stepX)]);
          if (size > top) top = size;
        }
      }
    }
    return top || 1;
  }
  get bottom() {
    return this.top / 10 ** DECADES;
  }
  /** The packed color of a number. @returns {(v: number) => number} */
  get tones() {
    const { type } = this.shown.scale;
    const { colors } = this.frame;
    if (type === "log") return colorScale(colors, { type, top: this.top, bottom: this.bottom });
    if (type !== "epochs") return colorScale(colors, { type: "linear", top: this.top });
    // Late is dark and never has the other color. By index, since checkpoints are dense where much happens.
    const { checkpoints } = this.run;
    const last = Math.max(1, nearestIndex(checkpoints, this.top));
    const tone = colorScale(colors, { type: "linear", top: 1 });
    return (epoch) => tone(epoch < 0 ? -0.3 : 0.06 + (0.94 * nearestIndex(checkpoints, epoch)) / last);
  }
  legend() {
    const { scale, packed, quantity, value_label: label } = this.shown;
    this.scale.hidden = scale.type === "flags" || packed;
    this.bar.className = scale.signed ? "tdw-signed" : "";
    const high = formatShort(this.top);
    const ends = {
      log: [`≤ ${formatShort(this.bottom)}`, high],
      epochs: ["early", "late"],
      flags: ["0", "1"],
      linear: [scale.signed ? `−${high}` : "0", high],
    };
    const [from, to] = ends[scale.type];
    setText(this.low, from);
    setText(this.high, to);
    const how = scale.type === "log" ? ", on a log scale" : "";
    this.scale.title = `Color: ${quantity || label || "epoch"}${how}, the same at every checkpoint.`;
  }
  /** @param {Range} range @param {number} width @param {number} height @returns {Axes} @override */
  axes(range, width, height) {
    const y = placeTicks(this.y, [Math.min(...range.y), Math.max(...range.y)], height, 22);
    if (this.x) return { x: placeTicks(this.x, range.x, width, this.x.isNamed ? 46 : 64), y, gridY: false };
    const x = linearTicks(range.x[0], range.x[1], Math.max(2, Math.floor(width / 80)), true);
    if (this.kept.even) x.text = x.values.map((i) => formatInteger(this.run.checkpoints[i] ?? 0));
    return { x, y, gridY: false };
  }
  /** Arrays of which the row of one checkpoint is drawn. */
  arraysAt() {
    const { array, companion } = this.shown;
    if (this.isHistory) return [];
    return companion ? [array, companion.array] : [array];
  }
  /** Of a history what is held: where on the axis (epochs, or indices where evenly spaced), and in which place of the array. @param {RunArray} values */
  history(values) {
    const { checkpoints } = this.run;
    const rows = values.held();
    const at = values.isWhole || !this.kept.even ? rows.map((row) => checkpoints[row]) : rows;
    const places = values.isWhole ? null : Uint32Array.from(rows, (row) => values.offset(row) / values.stride);
    return { held: at, places };
  }
  /** @param {number} index */
  row(index) {
    const row = this.values ? this.view.row(this.shown.array.split("/")[1], index) : -1;
    return this.values && this.values.offset(row) >= 0 ? row : -1;
  }
  /** @param {number} index @override */
  draw(index) {
    const { context: g, canvas, colors, inner } = this.frame;
    const row = this.row(index);
    this.drawn = row;
    this.read(row);
    if (this.isHistory) {
      const at = this.kept.even ? index : this.run.checkpoints[index];
      placeMarker(this.marker, index < 0 ? -1 : this.frame.px(at), inner.width);
      if (this.painted?.values === this.values && this.painted?.colors === colors) return;
    }
    g.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.values || (!this.isHistory && row < 0)) return;
    this.painted = { values: this.values, colors };
    this.paint(this.values, row);
    if (this.y.isNamed) this.separate(g);
    if (this.shown.show_values) this.write(g, row);
  }
  /** @param {RunArray} values @param {number} row */
  paint(values, row) {
    const { context: g, canvas, range } = this.frame;
    const isDownward = this.shown.downward;
    const [y0, y1] = isDownward ? [range.y[1], range.y[0]] : range.y;
    const r0 = Math.max(0, Math.floor(y0 + 0.5));
    const r1 = Math.min(this.y.count, Math.ceil(y1 + 0.5));
    const sy = canvas.height / (y1 - y0);
    const dy = isDownward ? (r0 - 0.5 - y0) * sy : (y1 - (r1 - 0.5)) * sy;
    const rows = pixelCells(r0, r1, Math.min(r1 - r0, canvas.height));
    const steps = { stepY: this.stepY, stepX: this.stepX, rows, isDownward };
    const high = (r1 - r0) * sy;
    if (this.isHistory) {
      const { held, places } = this.history(values);
      const columns = checkpointColumns(range.x, canvas.width, held, held.length, this.kept.even && values.isWhole);
      const table = { ...steps, data: values.data, from: this.from, columns, order: places };
      this.heat.paint(g, table, this.tones, [0, dy, canvas.width, high]);
      return;
    }
    const [x0, x1] = range.x;
    const c0 = Math.max(0, Math.floor(x0 + 0.5));
    const c1 = Math.min(this.width, Math.ceil(x1 + 0.5));
    const sx = canvas.width / (x1 - x0);
    const columns = pixelCells(c0, c1, Math.min(c1 - c0, canvas.width));
    const from = this.shown.packed ? 0 : this.from + values.offset(row);
    const data = this.shown.packed ? this.unpacked(row) : values.data;
    this.heat.paint(g, { ...steps, data, from, columns }, this.tones, [(c0 - 0.5 - x0) * sx, dy, (c1 - c0) * sx, high]);
  }
  /** A gap between rows that have names. @param {CanvasRenderingContext2D} g */
  separate(g) {
    const { ratio, canvas } = this.frame;
    for (let j = 1; j < this.y.count; j++)
      g.clearRect(0, Math.round((this.frame.py(j - 0.5) - 1.5) * ratio), canvas.width, 3 * ratio);
  }
  /** @param {number} row */
  unpacked(row) {
    if (this.values) unpack(this.values.data, this.values.offset(row), this.bits);
    return this.bits;
  }
  /** The numbers themselves, in cells that have room. @param {CanvasRenderingContext2D} g @param {number} row */
  write(g, row) {
    const { ratio, inner, colors } = this.frame;
    if (inner.width / this.width < 40 || inner.height / this.y.count < 16) return;
    g.font = `${11.5 * ratio}px ${colors.font}`;
    g.textAlign = "center";
    g.textBaseline = "middle";
    const lightness = (/** @type {number} */ packed) =>
      0.299 * (packed & 255) + 0.587 * ((packed >> 8) & 255) + 0.114 * ((packed >> 16) & 255);
    const tone = this.tones;
    const isLight = lightness(colors.lut[0]) > 127;
    const [dark, bright] = isLight ? [colors.ink, colors.surface] : [colors.surface, colors.ink];
    for (let j = 0; j < this.y.count; j++) {
      for (let i = 0; i < this.width; i++) {
        const value = this.valueAt(row, j, i);
        g.fillStyle = lightness(tone(value)) > 140 ? dark : bright;
        g.fillText(formatShort(value), this.frame.px(i) * ratio, this.frame.py(j) * ratio);
      }
    }
  }
  /** @param {number} row @param {number} j @param {number} i */
  valueAt(row, j, i) {
    if (!this.values) return Number.NaN;
    if (this.shown.packed) return this.unpacked(row)[j * this.stepY + i];
    const across = this.isHistory ? 0 : i * this.stepX;
    const at = this.values.offset(row);
    return at < 0 ? Number.NaN : this.values.data[at + this.from + j * this.stepY + across];
  }
  /** @param {number} row */
  read(row) {
    const words = row >= 0 ? reading(this.shown.reading, this.tableAt(row)) : [];
    const chosen = this.choices.words(this.shown.choices);
    const some = this.isHistory && this.values ? sampledText(this.values) : "";
    this.card.read([...words, this.shown.quantity, ...chosen, some].filter(Boolean).join(" · "));
  }
  /** What a reading needs of a row. @param {number} row */
  tableAt(row) {
    return {
      y: this.y,
      x: this.x,
      value: (/** @type {number} */ j, /** @type {number} */ i) => this.valueAt(row, j, i),
      bits: () => this.unpacked(row),
      data: this.values?.data ?? new Uint8Array(0),
      epoch: this.run.checkpoints[this.view.index] ?? 0,
    };
  }
  /** @returns {CardState | null} */
  absence() {
    const isEmpty = this.spec.empty && this.values && isWithoutNumbers(this.values);
    return isEmpty ? { title: "Nothing to show", text: this.spec.empty } : null;
  }
  /** @param {number} x */
  checkpointAt(x) {
    const { checkpoints } = this.run;
    return this.kept.even ? clamp(Math.round(x), 0, checkpoints.length - 1) : nearestIndex(checkpoints, x);
  }
  /** @param {number} x @param {number} y @returns {TooltipLine[] | null} @override */
  hover(x, y) {
    const j = Math.round(y);
    if (!this.values || j < 0 || j >= this.y.count) return null;
    if (!this.x) {
      const index = this.checkpointAt(x);
      const row = this.row(index);
      if (row < 0) return null;
      const epoch = `epoch ${formatInteger(this.run.checkpoints[index])}`;
      return [[this.y.name(j), epoch], this.described(this.valueAt(row, j, 0)), "click: this checkpoint"];
    }
    const i = Math.round(x);
    if (this.drawn < 0 || i < 0 || i >= this.width) return null;
    const name = this.shown.pairs ? `a = ${j}, b = ${i}` : `${this.y.name(j)} · ${this.x.name(i)}`;
    return [[name, ""], this.described(this.valueAt(this.drawn, j, i)), ...this.companion(j, i)];
  }
  /** Another array's number for the same cell. @param {number} j @param {number} i */
  companion(j, i) {
    const { companion } = this.shown;
    const array = companion && this.run.array(companion.array);
    const at = array ? array.offset(this.drawn) : -1;
    if (!array || at < 0) return [];
    const value = array.data[at + j * this.stepY + i * this.stepX];
    return [`${companion.label} ${formatExact(value)}`];
  }
  /** @param {number} value */
  described(value) {
    const { value_names: names, value_label: label, scale } = this.shown;
    if (names.length) return names[value > 0 ? 1 : 0];
    if (scale.type !== "epochs") return `${label} ${formatExact(value)}`;
    return value < 0 ? "incorrect at the last checkpoint" : `correct from epoch ${formatInteger(value)} on`;
  }
  /** @returns {MenuItem[]} @override */
  menu() {
    /** @type {MenuItem[]} */
    const groups = [];
    if (this.spec.views.length > 1) {
      groups.push({
        group: "Show",
        value: this.kept.chosen,
        options: this.spec.views.map(({ title }, value) => ({ label: title, value })),
        choose: (value) => this.choose({ chosen: value }),
      });
    }
    const used = Object.keys(this.choices.all).filter((name) => this.shown.axes.includes(name));
    groups.push(...this.choices.menu(() => this.choose(), used));
    if (this.isHistory) {
      groups.push({
        group: "Checkpoints",
        value: this.kept.even,
        options: [
          { label: "Spaced by epoch", value: false },
          { label: "Evenly spaced", value: true },
        ],
        choose: (value) => this.choose({ even: value }),
      });
    }
    return groups;
  }
  /** The number in row j at column i (of a history, at checkpoint i) and the pixel painted for it. @param {number} j @param {number} i */
  probe(j, i) {
    const { canvas, ratio, context } = this.frame;
    const row = this.isHistory ? this.row(i) : this.drawn;
    const x = this.frame.px(this.isHistory && !this.kept.even ? this.run.checkpoints[i] : i);
    const at = (/** @type {number} */ v, /** @type {number} */ end) => clamp(Math.floor(v * ratio), 0, end - 1);
    const [left, top] = [at(x, canvas.width), at(this.frame.py(j), canvas.height)];
    return {
      value: this.valueAt(row, j, i),
      top: this.top,
      pixel: [...context.getImageData(left, top, 1, 1).data],
      marker: new DOMMatrix(this.marker.style.transform).e,
      x,
      range: this.frame.range,
    };
  }
  /** @override */
  resize() {
    this.setMargins();
    this.painted = null;
    this.frame.resize();
  }
}
