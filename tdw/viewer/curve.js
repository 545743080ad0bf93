// Panel kind "curve": quantities over epochs, a marker at the current one; a click goes to a checkpoint, a drag zooms.

import { sampledText } from "./array_extremes.js";
import { Choices } from "./choices.js";
import { SERIES_COLORS } from "./color.js";
import { CurveLabels } from "./curve_labels.js";
import { isAborted, RefusedError } from "./data_source.js";
import { el, placeMarker, setText } from "./dom.js";
import { epochInputs, epochRange, LEFT_MARGIN, tintShapes } from "./epochs.js";
import { formatExact, formatInteger, formatShort, formatSpan, plotlyText } from "./format.js";
import { FramedPanel } from "./framed_panel.js";
import { withPoints } from "./lines.js";
import { clamp, nearestIndex, thin } from "./numbers.js";
import { isAtTop, namedStretches, offScale, offScalePoints, stretchWords } from "./off_scale.js";
import { recordedIn } from "./recorded.js";
import { linearTicks, logTicks } from "./ticks.js";

/** @import { Axes, Band, CardState, CurveDescription, Kept, Line, Manifest, MenuItem, Range, Run, TooltipLine, ViewerHandle } from "./types.js" */
/** @import { Card } from "./card.js" */
/** @import { Curve } from "./lines.js" */

const EDGE = 0.02; // of the height: how far inside the plot numbers off the scale are drawn

/** @typedef {{label: string, low: number, middle: number, high: number}} Limits */

/** Whether a value at an epoch is NaN that a curve recorded. @param {Curve} line @param {number} value @param {number} epoch */
const isNaNOfCurve = (line, value, epoch) => !line.rowOf && Number.isNaN(value) && !Number.isNaN(epoch);

/** The range of y that holds numbers from low to high, in powers of ten on a log axis. @param {number} low @param {number} high @param {boolean} isLog @param {[number | null, number | null] | null} fixed @returns {[number, number]} */
export const valueRange = (low, high, isLog, fixed) => {
  if (isLog) {
    const [a, b] = [Math.log10(low), Math.log10(high)];
    const room = Math.max(0.05, (b - a) * 0.07);
    return [a - room, b + room];
  }
  const [least, most] = fixed ?? [null, null]; // null follows the numbers
  const room = ((most ?? high) - Math.min(low, 0)) * 0.06 || 1;
  return [least === null ? (low < 0 ? low - room : 0) : least * 1.04, most === null ? high + room : most * 1.04];
};

/** @extends {FramedPanel<CurveDescription>} */
export class CurvePanel extends FramedPanel {
  /** @param {Card} card @param {ViewerHandle} view @param {Kept} kept @param {CurveDescription} spec @param {Run} run */
  constructor(card, view, kept, spec, run) {
    // scale: "log", "linear" or null for the quantity's own
    super(
      card,
      view,
      kept,
      spec,
      run,
      { scale: null, chosen: 0 },
      {
        margin: { l: LEFT_MARGIN, r: spec.right, t: 6, b: 22 }, // the right margin holds the names of lines
        layer: null,
        traces: () => this.traces(),
        painted: () => this.labels.place(this.frame, this.lines, this.bands, (value) => this.height(value)),
        click: (x) => this.jump(x),
        doubleClick: () => this.before !== null && view.show(this.before),
      },
    );
    this.choices = new Choices(kept);
    this.marker = this.addMarker();
    this.labels = new CurveLabels(this.frame.overlay);
    /** @type {HTMLElement[]} */
    this.dots = [];
    /** @type {Curve[]} */
    this.lines = [];
    /** @type {Limits[]} */
    this.bands = [];
    /** @type {{x: number[], y: number[], per: number}[]} */
    this.shown = [];
    this.per = 1; // epochs that a pixel stands for
    /** @type {number | null} the index before a click, which a double click returns to */
    this.before = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.forgetting = undefined;
  }
  get quantity() {
    return this.spec.quantities[this.kept.chosen] ?? this.spec.quantities[0];
  }
  get isLog() {
    return (this.kept.scale ?? this.quantity.scale) === "log";
  }
  /** @param {Manifest} manifest */
  depends(manifest) {
    return epochInputs(manifest);
  }
  /** @param {CurveDescription} spec @param {Run} run @override */
  update(spec, run) {
    super.update(spec, run);
    this.choices.update(spec);
    const drawn = this.quantity.lines.flatMap((line) => this.sideBySide(line));
    this.lines = drawn.map((line) => withPoints(line, run, this.choices, this.isLog));
    this.bands = this.quantity.bands.map((band) => this.limits(band)).filter(({ low }) => Number.isFinite(low));
    this.full = { x: epochRange(run.manifest), y: this.extent() };
    for (const node of this.dots) node.remove();
    this.dots = this.lines.map(({ color }) => {
      const dot = el("i", "tdw-dot");
      dot.style.background = `var(--tdw-${color})`;
      return dot;
    });
    this.labels.update(this.lines, this.bands);
    this.frame.overlay.append(...this.dots);
    if (spec.quantities.length > 1) setText(this.card.title, this.quantity.title);
    this.frame.redraw();
  }
  /** From the least low to the greatest high of a band; the median where it is of one quantity. @param {Band} band @returns {Limits} */
  limits({ label, value, array, rows }) {
    if (value !== null) return { label, low: value, middle: value, high: value };
    const stored = this.run.array(array);
    if (!stored?.rows) return { label, low: Number.NaN, middle: Number.NaN, high: Number.NaN };
    const at = (/** @type {number} */ i) => rows.map((row) => stored.data[3 * row + i]);
    const middle = rows.length > 1 ? Number.NaN : at(1)[0];
    return { label, low: Math.min(...at(0)), middle, high: Math.max(...at(2)) };
  }
  /** The lines that are drawn for one of the description: one for each option of the compared choice. @param {Line} line @returns {Line[]} */
  sideBySide(line) {
    const { compared } = this.choices;
    if (compared === null || !line.axes.includes(compared)) return [line];
    return this.choices.all[compared].names.map((label, i) => ({
      ...line,
      label,
      color: `series-${i % SERIES_COLORS}`,
      picks: { [compared]: i },
    }));
  }
  extent() {
    let low = Number.POSITIVE_INFINITY;
    let high = Number.NEGATIVE_INFINITY;
    for (const { ys } of this.lines) {
      for (const y of ys) {
        if (offScale(y, this.isLog)) continue;
        if (y < low) low = y;
        if (y > high) high = y;
      }
    }
    for (const band of this.bands) {
      low = Math.min(low, band.low);
      high = Math.max(high, band.high);
    }
    if (low > high) [low, high] = [0.1, 1];
    return valueRange(low, high, this.isLog, this.quantity.range);
  }
  /** @param {Range} range @param {number} width @param {number} height @returns {Axes} @override */
  axes(range, width, height) {
    const x = linearTicks(range.x[0], range.x[1], Math.max(2, Math.floor(width / 80)), true);
    const most = Math.max(2, Math.floor(height / 34));
    const y = this.isLog ? logTicks(range.y[0], range.y[1], most) : linearTicks(range.y[0], range.y[1], most, false);
    const { muted, test } = this.frame.colors;
    const shapes = this.bands.flatMap(({ low, middle, high }) => {
      const across = { layer: "below", xref: "paper", yref: "y", x0: 0, x1: 1 };
      const area = { ...across, type: "rect", y0: low, y1: high, fillcolor: muted, opacity: 0.13, line: { width: 0 } };
      if (Number.isNaN(middle)) return [area];
      const line = { width: 1, color: muted, dash: "dot" };
      return [area, { ...across, type: "line", y0: middle, y1: middle, opacity: 0.7, line }];
    });
    return { x, y, yType: this.isLog ? "log" : "linear", shapes: [...tintShapes(this.run.manifest, test), ...shapes] };
  }
  traces() {
    const [x0, x1] = this.frame.range.x;
    const buckets = Math.max(50, Math.round(this.frame.inner.width));
    this.shown = this.lines.map((line) => thin(line.xs, line.ys, x0, x1, buckets));
    const each = (x1 - x0) / this.frame.inner.width;
    const isPooled = this.lines.some(({ long }) => long !== null && long.everyIn(x0, x1) > 1);
    this.per = Math.max(1, isPooled ? each : 1, ...this.shown.map(({ per }) => per));
    this.refine(x0, x1);
    const onScale = this.lines.map((line, i) => {
      const { x, y } = this.shown[i];
      const color = this.frame.colors.named[line.color];
      return {
        type: "scatter",
        mode: x.length < this.frame.inner.width / 10 ? "lines+markers" : "lines",
        marker: { size: 4, color },
        x,
        y: y.map((value) => (offScale(value, this.isLog) ? Number.NaN : value)),
        line: { color, width: 1.5, simplify: false },
        hoverinfo: "skip",
      };
    });
    return [...onScale, ...this.offScaleTraces()];
  }
  /** Fetch finer points of long curves, where it is zoomed in. @param {number} x0 @param {number} x1 */
  refine(x0, x1) {
    for (const { long } of this.lines) {
      long?.refine(this.run.source, x0, x1).then(
        (isFiner) => isFiner && this.finer(),
        (error) => this.notRefined(error),
      );
    }
  }
  /** Finer points did not come: the coarse ones stay. @param {Error} error */
  notRefined(error) {
    if (isAborted(error)) return;
    if (error instanceof RefusedError)
      this.view.soon(); // the file has changed
    else this.view.failed(error);
  }
  /** Draw the finer points that have come. */
  finer() {
    this.lines = this.lines.map((line) => (line.long ? withPoints(line, this.run, this.choices, this.isLog) : line));
    this.frame.redraw();
    this.view.repaint();
  }
  /** Values just inside the foot and the top of the plot. */
  edges() {
    const [low, high] = this.frame.range.y;
    const inside = (high - low) * EDGE;
    const value = (/** @type {number} */ at) => (this.isLog ? 10 ** at : at);
    return { foot: value(low + inside), top: value(high - inside) };
  }
  /** The line where its axis has no place for it: at the foot or the top, with a mark and in words. */
  offScaleTraces() {
    const edges = this.edges();
    const [x0, x1] = this.frame.range.x;
    const named = { foot: 0, top: 0 }; // lines of text already there: they stand one above the other
    return this.lines.flatMap((line, i) => {
      if (!line.off.length) return [];
      const { x, y } = this.shown[i];
      const color = this.frame.colors.named[line.color];
      const common = { type: "scatter", hoverinfo: "skip", cliponaxis: false };
      const { symbol, size, ...points } = offScalePoints(x, y, this.isLog, edges, line.rowOf === null);
      const style = { color, width: 1.5, dash: "dot", simplify: false };
      const marker = { color, symbol, size, opacity: 1, line: { width: 0 } };
      const texts = namedStretches(line.off).filter(({ last }) => line.xs[last] >= x0);
      const names = texts.map((stretch) => {
        const isTop = isAtTop(stretch.what);
        const at = Math.max(line.xs[stretch.first], x0);
        const side = at > (x0 + x1) / 2 ? "left" : "right";
        const words = plotlyText(`${line.label} ${stretchWords(stretch, line.xs)}`.trim());
        const gap = "<br>\u00a0".repeat(named[isTop ? "top" : "foot"]++);
        return {
          ...common,
          mode: "text",
          x: [at],
          y: [isTop ? edges.top : edges.foot],
          text: [isTop ? `${gap}${words}` : `${words}${gap}`],
          textposition: `${isTop ? "bottom" : "top"} ${side}`,
          textfont: { color, size: 11, family: this.frame.colors.font },
        };
      });
      return [{ ...common, mode: "lines+markers", ...points, line: style, marker }, ...names];
    });
  }
  /** Where a value is drawn, in pixels from the top. @param {number} value */
  height(value) {
    const what = offScale(value, this.isLog);
    const { foot, top } = this.edges();
    const shown = what ? (isAtTop(what) ? top : foot) : value;
    return this.frame.py(this.isLog ? Math.log10(shown) : shown);
  }
  /** Value of a line at an epoch, or the last one recorded before it: [value, epoch], NaN for both without one. @param {Curve} line @param {number} epoch @returns {[number, number]} */
  at(line, epoch) {
    if (line.long) {
      const index = nearestIndex(this.run.checkpoints, epoch);
      if (this.run.checkpoints[index] === epoch) return line.long.atCheckpoint(index) ?? [Number.NaN, Number.NaN];
      const near = line.long.near(epoch);
      return "value" in near ? [near.value, near.epoch] : [Number.NaN, Number.NaN];
    }
    if (line.rowOf) {
      const row = line.rowOf.get(epoch);
      return row === undefined ? [Number.NaN, Number.NaN] : [line.values[row], epoch];
    }
    const isRecorded = recordedIn(line.values);
    let e = Math.min(epoch, line.values.length - 1);
    while (e >= 0 && !isRecorded(e)) e--;
    return e >= 0 ? [line.values[e], e] : [Number.NaN, Number.NaN];
  }
  /** @param {number} index @override */
  draw(index) {
    const { frame } = this;
    const epoch = index < 0 ? this.run.manifest.epochs - 1 : this.run.checkpoints[index];
    const x = index < 0 ? -1 : frame.px(epoch);
    const isInside = x >= -0.5 && x <= frame.inner.width + 0.5;
    placeMarker(this.marker, x, frame.inner.width);
    /** @type {string[]} */
    const values = [];
    this.lines.forEach((line, i) => {
      const [value, e] = this.at(line, epoch);
      const y = this.height(value);
      const isSeen = isInside && y >= 0 && y <= frame.inner.height;
      this.dots[i].style.transform = isSeen ? `translate(${x}px, ${y}px)` : "translate(-9999px, 0)";
      values.push(`${line.label ? `${line.label} ` : ""}${isNaNOfCurve(line, value, e) ? "NaN" : formatShort(value)}`);
    });
    const chosen = this.choices.words();
    const unit = this.quantity.unit ?? (this.isLog ? "log" : "linear");
    const words = chosen.length ? [...chosen, ...values] : [unit, ...values];
    const sampled = this.lines.map(({ array }) => this.run.array(array)).find((array) => array && !array.isWhole);
    if (sampled) words.push(sampledText(sampled));
    if (this.per > 1) words.push(`${Math.round(this.per)} epochs per pixel`);
    this.card.read(words.filter(Boolean).join(" · "));
    if (this.per > 1) {
      const each = `Each pixel stands for about ${Math.round(this.per)} epochs and shows the smallest and the largest`;
      this.card.reading.title = `${each}; zoom in to see every one.`;
    }
  }
  /** @returns {CardState | null} */
  absence() {
    const isEmpty = this.lines.every(({ ys, rowOf }) => (rowOf ? ys.every(Number.isNaN) : !ys.length));
    return isEmpty && this.spec.empty ? { title: "Nothing to show", text: this.spec.empty, keepsMenu: true } : null;
  }
  /** @param {number} x @returns {TooltipLine[] | null} @override */
  hover(x) {
    const { manifest, checkpoints } = this.run;
    if (!manifest.epochs) return null;
    let epoch = clamp(Math.round(x), 0, manifest.epochs - 1);
    if (this.lines.some((line) => line.rowOf) && checkpoints.length)
      epoch = checkpoints[nearestIndex(checkpoints, epoch)];
    /** @type {TooltipLine[]} */
    const lines = [[`epoch ${formatInteger(epoch)}`, ""]];
    for (const line of this.lines) {
      const near = checkpoints.includes(epoch) ? null : line.long?.near(epoch);
      if (near && "low" in near) {
        const where = `${formatInteger(near.first)} to ${formatInteger(near.last)}`;
        const name = line.label || this.quantity.title;
        lines.push(`${name} ${formatSpan(formatShort(near.low), formatShort(near.high))} at ${where}`);
        continue;
      }
      const [value, e] = this.at(line, epoch);
      const place = e === epoch || Number.isNaN(e) ? "" : ` at ${formatInteger(e)}`;
      const isNaNThere = Number.isNaN(value) && !Number.isNaN(e);
      lines.push(`${line.label || this.quantity.title} ${isNaNThere ? "not a number" : formatExact(value)}${place}`);
    }
    for (const { label, low, high } of this.bands)
      lines.push(`${label}: ${formatSpan(formatShort(low), formatShort(high))}`);
    const near = nearestIndex(checkpoints, epoch);
    if (near >= 0) lines.push(`click: checkpoint ${formatInteger(checkpoints[near])}`);
    return lines;
  }
  /** @param {number} x */
  jump(x) {
    const near = nearestIndex(this.run.checkpoints, x);
    if (near < 0) return;
    this.before = this.view.index; // a double click resets the zoom, and undoes its first click
    clearTimeout(this.forgetting);
    this.forgetting = setTimeout(() => {
      this.before = null;
    }, 500);
    this.view.show(near);
  }
  /** @returns {MenuItem[]} @override */
  menu() {
    /** @type {MenuItem[]} */
    const groups = [];
    if (this.spec.quantities.length > 1) {
      groups.push({
        group: "Show",
        value: this.kept.chosen,
        options: this.spec.quantities.map((quantity, value) => ({ label: quantity.title, value })),
        choose: (value) => this.choose({ chosen: value, scale: null }),
      });
    }
    groups.push(...this.choices.menu(() => this.choose()), {
      group: "Scale",
      value: this.isLog ? "log" : "linear",
      options: [
        { label: "Logarithmic", value: "log" },
        { label: "Linear", value: "linear" },
      ],
      choose: (value) => this.choose({ scale: value }),
    });
    return groups;
  }
  /** @param {number} epoch */
  probe(epoch) {
    return {
      marker: new DOMMatrix(this.marker.style.transform).e,
      x: this.frame.px(epoch),
      values: this.lines.map((line) => (line.rowOf || line.long ? this.at(line, epoch)[0] : line.values[epoch])),
      labels: this.lines.map((line) => line.label),
      bands: this.bands,
      shown: this.shown.map(({ x, y }) => ({ x: Array.from(x), y: Array.from(y) })),
      range: this.frame.range,
      per: this.per,
      off: this.lines.map((line) => line.off.map((stretch) => stretchWords(stretch, line.xs))),
      dots: this.dots.map((dot) => dot.style.transform),
    };
  }
}
