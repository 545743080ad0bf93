// Panel kind "bars": one value per Fourier component or frequency at a checkpoint. A view may have a threshold, which is
// dragged here and marks the large ones, and a reference, a line that the bars are compared with.

import { isWithoutNumbers, scaled } from "./array_extremes.js";
import { BarLabels } from "./bar_labels.js";
import { axisOf } from "./choices.js";
import { el, setText } from "./dom.js";
import { formatBrief, formatExact, formatShort } from "./format.js";
import { FramedPanel } from "./framed_panel.js";
import { ThresholdHandle } from "./threshold.js";
import { linearTicks, logTicks } from "./ticks.js";

/** @import { Axes, BarsDescription, BarsView, CardState, Kept, MenuItem, Range, Run, RunArray, TooltipLine, ViewerHandle } from "./types.js" */
/** @import { Card } from "./card.js" */

/** A view with the names of its bars and the frequency of each (0: the constant). @typedef {BarsView & {labels: string[], frequency: number[]}} Shape */

/** @extends {FramedPanel<BarsDescription>} */
export class BarsPanel extends FramedPanel {
  /** @param {Card} card @param {ViewerHandle} view @param {Kept} kept @param {BarsDescription} spec @param {Run} run */
  constructor(card, view, kept, spec, run) {
    super(
      card,
      view,
      kept,
      spec,
      run,
      { chosen: 0 },
      {
        margin: { l: 34, r: 40, t: 8, b: 22 }, // the right margin holds the threshold's value, so that it covers no bar
        layer: "over",
        zoom: "x",
        painted: () => this.placeThreshold(),
      },
    );
    /** @type {number | null} */
    this.threshold = null;
    /** @type {RunArray | null} */
    this.values = null;
    this.drawn = -1;
    /** @type {number[]} frequencies above the threshold */
    this.dominant = [];
    this.handle = new ThresholdHandle(this.frame.overlay, {
      range: () => this.full.y,
      move: (value) => this.move(value),
      value: () => this.threshold ?? 0,
    });
    this.reference = el("div", "tdw-reference");
    this.referenceText = el("span");
    this.reference.append(this.referenceText);
    this.frame.overlay.append(this.reference);
    this.labels = new BarLabels();
    this.shape = this.shaped();
  }
  /** @returns {Shape} */
  shaped() {
    const shape = this.spec.views[this.kept.chosen] ?? this.spec.views[0];
    const { count, name } = axisOf(shape.axis, this.run.manifest.parameters);
    const labels = Array.from({ length: count }, (_, i) => name(i));
    const frequency = labels.map((_, i) => (shape.axis === "component" ? (i + 1) >> 1 : i + 1));
    return { ...shape, labels, frequency };
  }
  get labeled() {
    return this.labels.placed;
  }
  get isLog() {
    return this.shape.scale === "log";
  }
  /** Where a value is on the axis. @param {number} value */
  height(value) {
    return this.isLog ? Math.log10(value) : value;
  }
  /** Arrays of which the row of one checkpoint is drawn. */
  arraysAt() {
    const { array, reference } = this.shape;
    return reference ? [array, reference.array] : [array];
  }
  /** @param {BarsDescription} spec @param {Run} run @override */
  update(spec, run) {
    super.update(spec, run);
    this.shape = this.shaped();
    const { array, threshold, reference, frequency } = this.shape;
    const stored = run.array(array);
    this.values = stored?.rows ? stored : null;
    this.full = { x: [-0.8, frequency.length - 0.2], y: this.extent() };
    this.handle.node.hidden = !threshold;
    this.reference.hidden = !reference;
    if (this.threshold === null && this.values && threshold) {
      this.threshold = threshold.value ?? this.largestAtEnd(this.values) * (threshold.of_largest ?? 0);
    }
    if (threshold && this.threshold !== null) this.threshold = Math.min(this.threshold, this.full.y[1]);
    this.frame.redraw();
  }
  /** The largest bar but the constant at the last analyzed checkpoint. @param {RunArray} values */
  largestAtEnd(values) {
    const { data, rows } = values;
    const from = values.offset(rows - 1);
    return this.shape.frequency.reduce((top, k, i) => (k && data[from + i] > top ? data[from + i] : top), 0);
  }
  /** The range of the vertical axis, the same at every checkpoint. @returns {[number, number]} */
  extent() {
    let low = this.isLog ? Number.POSITIVE_INFINITY : 0;
    let top = this.isLog ? Number.NEGATIVE_INFINITY : 0;
    const reach = (/** @type {number} */ v) => {
      if (!Number.isFinite(v) || (this.isLog && v <= 0)) return;
      low = Math.min(low, v);
      top = Math.max(top, v);
    };
    for (const v of scaled(this.values)) reach(v);
    const { reference } = this.shape;
    const compared = reference && this.run.array(reference.array);
    const { stride } = compared ?? { stride: 1 };
    const numbers = scaled(compared || null);
    for (let at = reference?.at ?? 0; at < numbers.length; at += stride) reach(numbers[at]);
    if (!this.isLog) return [low < 0 ? low * 1.16 : 0, (top || 1) * 1.16]; // room for a label above the tallest bar
    return low <= top ? [Math.log10(low) - 0.5, Math.log10(top) + 0.08 * (Math.log10(top / low) + 2)] : [-1, 1];
  }
  /** @param {Range} range @param {number} width @param {number} height @returns {Axes} @override */
  axes(range, width, height) {
    const most = Math.max(2, Math.floor(height / 40));
    const y = this.isLog ? logTicks(range.y[0], range.y[1], most) : linearTicks(range.y[0], range.y[1], most, false);
    return { x: this.names(range.x, width), y, yType: this.isLog ? "log" : "linear" };
  }
  /** Each component by name if there is room; else "const" and every so many frequencies. @param {number[]} range @param {number} width */
  names([x0, x1], width) {
    const { frequency, labels } = this.shape;
    const each = width / (x1 - x0);
    /** @type {number[]} */
    const values = [];
    /** @type {string[]} */
    const text = [];
    const add = (/** @type {number} */ x, /** @type {string} */ name) => {
      values.push(x);
      text.push(name);
    };
    if (each > 44) {
      labels.forEach((label, i) => {
        if (i >= x0 && i <= x1) add(i, label);
      });
      return { values, text };
    }
    /** @type {Map<number, number>} frequency -> center of its bars */
    const middle = new Map();
    frequency.forEach((k, i) => {
      const at = middle.get(k);
      middle.set(k, at === undefined ? i : (at + i) / 2);
    });
    const perFrequency = each * (frequency.length / middle.size);
    const step = [1, 2, 5, 10, 20, 25, 50, 100, 200, 500].find((s) => s * perFrequency > 42) ?? 1000;
    for (const [k, x] of middle) {
      if (x >= x0 && x <= x1 && k % step === 0) add(x, k === 0 ? "const" : `k=${k}`);
    }
    return { values, text };
  }
  /** @param {number} index */
  row(index) {
    return this.values ? this.view.row(this.spec.analysis, index) : -1;
  }
  /** @param {number} index @override */
  draw(index) {
    const row = this.row(index);
    this.drawn = row;
    const { context: g, canvas, ratio, inner, colors } = this.frame;
    g.clearRect(0, 0, canvas.width, canvas.height);
    const from = this.values ? this.values.offset(row) : -1;
    if (!this.values || from < 0) {
      this.card.read(this.shape.quantity);
      return;
    }
    const { data, stride } = this.values;
    const { frequency } = this.shape;
    const [x0, x1] = this.frame.range.x;
    const up = (/** @type {number} */ v) => this.frame.py(this.height(v)) * ratio;
    const each = (inner.width * ratio) / (x1 - x0);
    const gap = each > 3 * ratio ? Math.max(1, Math.round(each * 0.2)) : 0;
    const first = Math.max(0, Math.floor(x0));
    const last = Math.min(frequency.length - 1, Math.ceil(x1));
    // On a log axis bars cannot begin at zero: they begin at the reference, else at the bottom.
    const compared = this.referenceAt(index);
    const base = this.isLog ? (compared > 0 ? Math.round(up(compared)) : canvas.height) : Math.round(up(0));
    for (let pass = 0; pass < 2; pass++) {
      // one color after the other: a change of fillStyle costs more than a rectangle
      g.fillStyle = pass ? colors.accent : colors.bar;
      for (let i = first; i <= last; i++) {
        const value = data[from + i];
        const isAbove = this.isDominant(i, value);
        if (isAbove !== Boolean(pass) || Number.isNaN(value) || (this.isLog && value <= 0)) continue;
        const left = Math.round((i - 0.5 - x0) * each);
        const right = Math.round((i + 0.5 - x0) * each) - gap;
        const y = Math.round(up(value));
        const least = this.isLog ? 2 : 0;
        g.fillRect(left, Math.min(y, base), Math.max(1, right - left), Math.max(least, Math.abs(base - y)));
      }
    }
    /** @type {Map<number, {x: number, value: number}>} dominant frequency -> center and height of its bars, in sight */
    const tall = new Map();
    const dominant = new Set();
    for (let i = 0; i < frequency.length; i++) {
      const k = frequency[i];
      const value = data[from + i];
      if (!this.isDominant(i, value)) continue;
      dominant.add(k);
      if (i < first || i > last) continue;
      const other = tall.get(k);
      tall.set(k, other ? { x: (other.x + i) / 2, value: Math.max(other.value, value) } : { x: i, value });
    }
    this.dominant = [...dominant];
    this.labels.draw(g, tall, { data, from, count: stride, x0, each, up, ratio, colors, width: canvas.width });
    const words = [this.shape.quantity, this.placeReference(index), this.summary()];
    this.card.read(words.filter(Boolean).join(" · "));
  }
  /** The number of a bar that is drawn. @param {number} i */
  value(i) {
    const from = this.values ? this.values.offset(this.drawn) : -1;
    return this.values && from >= 0 ? this.values.data[from + i] : Number.NaN;
  }
  /** Whether a bar stands out: above the threshold; without one, every frequency that has a value. @param {number} i @param {number} value */
  isDominant(i, value) {
    return (
      this.shape.frequency[i] > 0 && (this.shape.threshold ? value >= (this.threshold ?? 0) : !Number.isNaN(value))
    );
  }
  /** Places the reference; its words. @param {number} index */
  placeReference(index) {
    const { reference } = this.shape;
    if (!reference) return "";
    const value = this.referenceAt(index);
    const y = this.frame.py(this.height(value));
    this.reference.style.transform = `translateY(${y >= 0 && y <= this.frame.inner.height ? y : -9999}px)`;
    setText(this.referenceText, reference.label);
    return Number.isNaN(value) ? "" : `${reference.label} ${formatShort(value)}`;
  }
  /** The reference at a checkpoint, NaN where it is missing. @param {number} index */
  referenceAt(index) {
    const { reference } = this.shape;
    const array = reference && this.run.array(reference.array);
    if (!array) return Number.NaN;
    const row = this.view.row(reference.array.split("/")[1], index);
    const from = array.offset(row);
    return from >= 0 ? array.data[from + reference.at] : Number.NaN;
  }
  /** @returns {CardState | null} */
  absence() {
    const isEmpty = this.spec.empty && this.values && isWithoutNumbers(this.values);
    return isEmpty ? { title: "Nothing to show", text: this.spec.empty } : null;
  }
  /** Which frequencies stand out. */
  summary() {
    const { dominant } = this;
    const names = `k = ${dominant.join(", ")}`;
    if (!this.shape.threshold)
      return dominant.length > 9 ? `${dominant.length} frequencies` : dominant.length ? names : "none";
    const total = this.run.manifest.parameters.frequencies;
    const above = `above ${formatBrief(this.threshold ?? 0)}`;
    if (!dominant.length) return `none ${above}`;
    if (dominant.length === total && total > 3) return `all ${total} ${above}`;
    return dominant.length > 9 ? `${dominant.length} of ${total} ${above}` : `${names} ${above}`;
  }
  placeThreshold() {
    if (this.shape.threshold && this.threshold !== null)
      this.handle.place(this.frame.py(this.threshold), this.threshold);
  }
  /** @param {number} value */
  move(value) {
    this.threshold = value;
    this.placeThreshold();
    this.view.repaint();
  }
  /** @param {number} x @returns {TooltipLine[] | null} @override */
  hover(x) {
    const i = Math.round(x);
    const { labels, frequency, threshold, missing, value_label: of } = this.shape;
    if (!this.values || this.drawn < 0 || i < 0 || i >= labels.length) return null;
    const value = this.value(i);
    if (Number.isNaN(value)) return [[labels[i], ""], missing || "not measured"];
    const isAbove = threshold && frequency[i] && this.isDominant(i, value);
    return [[labels[i], ""], `${of} ${formatExact(value)}`, ...(isAbove ? ["above the threshold"] : [])];
  }
  /** @returns {MenuItem[]} @override */
  menu() {
    /** @type {MenuItem[]} */
    const items = [];
    if (this.spec.views.length > 1) {
      items.push({
        group: "Bars",
        value: this.kept.chosen,
        options: this.spec.views.map(({ title }, value) => ({ label: title, value })),
        choose: (value) => {
          this.threshold = null;
          this.choose({ chosen: value });
        },
      });
    }
    if (this.shape.threshold) items.push({ label: "Reset threshold", run: () => this.resetThreshold() });
    return items;
  }
  resetThreshold() {
    this.threshold = null;
    this.update(this.spec, this.run);
    this.view.repaint();
  }
  /** A bar's value, the color at its foot, and its painted and expected height in CSS pixels. @param {number} i */
  probe(i) {
    const { canvas, ratio, inner, context, range } = this.frame;
    const x = Math.round((i - range.x[0] - 0.1) * ((inner.width * ratio) / (range.x[1] - range.x[0])));
    const value = this.value(i);
    const pixel = context.getImageData(x, canvas.height - 1, 1, 1).data;
    const column = context.getImageData(x, 0, 1, canvas.height).data;
    let top = canvas.height;
    while (top > 0 && column[4 * (top - 1) + 3] > 0) top--;
    const expected = inner.height - this.frame.py(this.height(value));
    return { value, pixel: [...pixel], height: (canvas.height - top) / ratio, expected };
  }
}
