// Panel kind "curve": quantities over epochs, a marker at the current one, click jumps, drag zooms.
import { Choices } from "./choices.js";
import { SERIES_COLORS } from "./color.js";
import {
  clamp,
  el,
  formatExact,
  formatInteger,
  formatShort,
  linearTicks,
  logTicks,
  nearestIndex,
  setText,
} from "./format.js";
import { FramedPanel } from "./framed_panel.js";
import { lineWithPoints, spreadApart } from "./lines.js";
import { tintedSpans } from "./transport.js";

/**
 * Points of (xs, ys) between x0 and x1 for `buckets` pixels: the first, smallest, largest and last of each, so that a spike
 * of one epoch stays visible. One point beyond each end is kept, so that the line leaves the picture. xs increases.
 */
export const thin = (xs, ys, x0, x1, buckets) => {
  let from = 0;
  let to = xs.length;
  while (from < to && xs[from] < x0) from++;
  while (to > from && xs[to - 1] > x1) to--;
  from = Math.max(0, from - 1);
  to = Math.min(xs.length, to + 1);
  const count = to - from;
  if (count <= 4 * buckets) return { x: xs.slice(from, to), y: ys.slice(from, to), per: 1 };
  const keep = [];
  for (let bucket = 0; bucket < buckets; bucket++) {
    const start = from + Math.floor((bucket * count) / buckets);
    const end = from + Math.floor(((bucket + 1) * count) / buckets);
    let low = start;
    let high = start;
    for (let i = start + 1; i < end; i++) {
      if (!(ys[i] >= ys[low])) low = i; // also where one of them is NaN: a gap is kept
      if (ys[i] > ys[high] || Number.isNaN(ys[high])) high = i;
    }
    const chosen = [start, Math.min(low, high), Math.max(low, high), end - 1];
    chosen.forEach((i, j) => (j && i === chosen[j - 1] ? null : keep.push(i)));
  }
  return { x: keep.map((i) => xs[i]), y: keep.map((i) => ys[i]), per: count / buckets };
};

/** While a run grows its axis grows in steps, so that the picture does not creep. */
const roomy = (last, planned) => {
  const power = 10 ** Math.floor(Math.log10(Math.max(last, 10)));
  const step = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((m) => m * power).find((v) => v >= last);
  return Math.min(step, Math.max(planned, last));
};

export const LEFT_MARGIN = 46; // margin of everything over epochs, so that epochs stand below each other

/** The epochs that an axis shows of a run. */
export const epochRange = (manifest) => {
  const last = Math.max(1, manifest.epochs - 1, manifest.checkpoints.at(-1) ?? 0);
  return [0, manifest.state === "finished" ? last : roomy(last, manifest.planned_epochs)];
};

/** The stretches of epochs worth a tint, as Plotly's shapes. */
export const tintShapes = (manifest, color, opacity = 0.09) =>
  tintedSpans(manifest).map((band) => ({
    type: "rect",
    layer: "below",
    xref: "x",
    yref: "paper",
    x0: band.from,
    x1: band.to,
    y0: 0,
    y1: 1,
    fillcolor: color,
    opacity,
    line: { width: 0 },
  }));

export class CurvePanel extends FramedPanel {
  constructor(card, view, kept) {
    // scale: "log" or "linear"; null: what the quantity prefers
    super(
      card,
      view,
      kept,
      { scale: null, chosen: 0 },
      {
        margin: { l: LEFT_MARGIN, r: 38, t: 6, b: 22 }, // the right margin holds the lines' names
        layer: null,
        traces: () => this.traces(),
        painted: () => this.placeLabels(),
        click: (x) => this.jump(x),
        doubleClick: () => this.before !== undefined && view.show(this.before),
      },
    );
    this.choices = new Choices(kept);
    this.addMarker();
    this.dots = [];
    this.labels = [];
  }
  get quantity() {
    return this.spec.quantities[this.kept.chosen] || this.spec.quantities[0];
  }
  get log() {
    return (this.kept.scale || this.quantity.scale) === "log";
  }
  /** What of the manifest is drawn here besides arrays. */
  depends({ epochs, planned_epochs: planned, state, events }) {
    return JSON.stringify([epochs, planned, state, events]);
  }
  update(spec, run) {
    this.spec = spec;
    this.run = run;
    this.choices.update(spec);
    this.lines = this.quantity.lines
      .flatMap((line) => this.sideBySide(line))
      .map((line) => lineWithPoints(line, run, this.choices, this.log));
    this.bands = (this.quantity.bands || []).map((band) => this.band(band)).filter(({ low }) => Number.isFinite(low));
    this.full = { x: epochRange(run.manifest), y: this.extent() };
    for (const node of [...this.dots, ...this.labels]) node.remove();
    const colored = (node, { color }, property) => (node.style.setProperty(property, `var(--tdw-${color})`), node);
    this.dots = this.lines.map((line) => colored(el("i", "tdw-dot"), line, "background"));
    this.labels = [
      ...this.lines.map((line) => colored(el("span", "tdw-line-label", line.label), line, "color")),
      ...this.bands.map((band) => el("span", "tdw-line-label tdw-band-label", band.label)),
    ];
    this.frame.overlay.append(...this.labels, ...this.dots);
    if (spec.quantities.length > 1) setText(this.card.title, this.quantity.title);
    const right = spec.right ?? 38;
    if (this.frame.margin.r !== right) {
      this.frame.margin.r = right;
      this.frame.measure();
    }
    this.frame.redraw();
  }
  /** From the least to the greatest of what a quantity comes to by chance; of several quantities, all of it. */
  band({ label, value, array, rows }) {
    if (value !== undefined) return { label, low: value, middle: value, high: value };
    const { data, rows: stored } = this.run.array(array) ?? {};
    if (!stored) return {};
    const at = (i) => rows.map((row) => data[3 * row + i]);
    return { label, low: Math.min(...at(0)), middle: rows.length > 1 ? NaN : at(1)[0], high: Math.max(...at(2)) };
  }
  /** The lines that stand for one of the description: one for each option of the choice that is compared. */
  sideBySide(line) {
    const { compared } = this.choices;
    if (!compared || !(line.axes || []).includes(compared)) return [line];
    return this.choices.all[compared].options.map((label, i) => ({
      ...line,
      label,
      color: `series-${i % SERIES_COLORS}`,
      picks: { [compared]: i },
    }));
  }
  extent() {
    let low = Infinity;
    let high = -Infinity;
    for (const { ys } of this.lines) {
      for (const y of ys) {
        if (y < low) low = y;
        if (y > high) high = y;
      }
    }
    for (const band of this.bands) {
      low = Math.min(low, band.low);
      high = Math.max(high, band.high);
    }
    if (low > high) [low, high] = [0.1, 1];
    if (this.log) {
      const [a, b] = [Math.log10(low), Math.log10(high)];
      const room = Math.max(0.05, (b - a) * 0.07);
      return [a - room, b + room];
    }
    const [least, most] = this.quantity.range || [null, null]; // null: as far as the numbers go
    const room = ((most ?? high) - Math.min(low, 0)) * 0.06 || 1;
    return [least === null ? (low < 0 ? low - room : 0) : least * 1.04, most === null ? high + room : most * 1.04];
  }
  axes(range, width, height) {
    const x = linearTicks(range.x[0], range.x[1], Math.max(2, Math.floor(width / 80)), true);
    const most = Math.max(2, Math.floor(height / 34));
    const y = this.log ? logTicks(range.y[0], range.y[1], most) : linearTicks(range.y[0], range.y[1], most, false);
    const shapes = tintShapes(this.run.manifest, this.frame.colors.test);
    const { muted } = this.frame.colors;
    for (const { low, middle, high } of this.bands) {
      const across = { layer: "below", xref: "paper", yref: "y", x0: 0, x1: 1 };
      shapes.push({ ...across, type: "rect", y0: low, y1: high, fillcolor: muted, opacity: 0.13, line: { width: 0 } });
      if (!Number.isNaN(middle))
        shapes.push({
          ...across,
          type: "line",
          y0: middle,
          y1: middle,
          opacity: 0.7,
          line: { width: 1, color: muted, dash: "dot" },
        });
    }
    return { x, y, yType: this.log ? "log" : "linear", shapes };
  }
  traces() {
    const [x0, x1] = this.frame.range.x;
    const buckets = Math.max(50, Math.round(this.frame.inner.width));
    this.per = 1;
    this.shown = this.lines.map((line) => {
      const points = thin(line.xs, line.ys, x0, x1, buckets);
      this.per = Math.max(this.per, points.per);
      return points;
    });
    return this.lines.map((line, i) => ({
      type: "scatter",
      mode: this.shown[i].x.length < this.frame.inner.width / 10 ? "lines+markers" : "lines",
      marker: { size: 4, color: this.frame.colors[line.color] },
      x: this.shown[i].x,
      y: this.shown[i].y,
      line: { color: this.frame.colors[line.color], width: 1.5, simplify: false },
      hoverinfo: "skip",
    }));
  }
  /** Names beside the right ends of lines and bands, pushed apart where the ends are close. */
  placeLabels() {
    const { frame } = this;
    const [x0, x1] = frame.range.x;
    const HEIGHT = 15;
    const ends = [];
    this.lines.forEach((line, i) => {
      let at = line.xs.length - 1;
      while (at > 0 && (line.xs[at] > x1 || Number.isNaN(line.ys[at]))) at--;
      const gone = at < 0 || line.xs[at] < x0 || Number.isNaN(line.ys[at]);
      this.labels[i].hidden = gone;
      if (gone) return;
      const y = frame.py(this.log ? Math.log10(line.ys[at]) : line.ys[at]);
      ends.push({ label: this.labels[i], x: frame.px(line.xs[at]), y: clamp(y, 0, frame.inner.height) });
    });
    this.bands.forEach((band, i) => {
      const y = frame.py((band.low + band.high) / 2);
      const label = this.labels[this.lines.length + i];
      label.hidden = y < 0 || y > frame.inner.height;
      if (!label.hidden) ends.push({ label, x: frame.inner.width, y });
    });
    ends.sort((a, b) => a.y - b.y);
    const placed = spreadApart(
      ends.map(({ y }) => y),
      HEIGHT,
      frame.inner.height,
    );
    ends.forEach(({ label, x }, i) => (label.style.transform = `translate(${x + 7}px, ${placed[i] - HEIGHT / 2}px)`));
  }
  /** Value of a line at an epoch, or the last one evaluated before it: [value, epoch]. */
  at(line, epoch) {
    if (line.rowOf) return [line.values[line.rowOf.get(epoch)] ?? NaN, epoch];
    let e = Math.min(epoch, line.values.length - 1);
    while (e > 0 && Number.isNaN(line.values[e])) e--;
    return [e >= 0 ? line.values[e] : NaN, e];
  }
  draw(index) {
    const { frame } = this;
    const epoch = index < 0 ? this.run.manifest.epochs - 1 : this.run.checkpoints[index];
    const x = index < 0 ? -1 : frame.px(epoch);
    const inside = x >= -0.5 && x <= frame.inner.width + 0.5;
    this.marker.style.transform = `translateX(${inside ? x : -9999}px)`;
    const values = [];
    this.lines.forEach((line, i) => {
      const [value] = this.at(line, epoch);
      const y = frame.py(this.log ? Math.log10(value) : value);
      const seen = inside && y >= 0 && y <= frame.inner.height;
      this.dots[i].style.transform = seen ? `translate(${x}px, ${y}px)` : "translate(-9999px, 0)";
      values.push(`${line.label ? `${line.label} ` : ""}${formatShort(value)}`);
    });
    const chosen = this.choices.words(this.quantity.choices);
    const unit = this.quantity.unit ?? (this.log ? "log" : "linear");
    const words = chosen.length ? [...chosen, ...values] : [unit, ...values];
    if (this.per > 1) words.push(`thinned 1 : ${Math.round(this.per)}`);
    this.card.read(words.filter(Boolean).join(" · "));
    if (this.per > 1) {
      this.card.reading.title = `Each pixel stands for about ${Math.round(this.per)} epochs and keeps the smallest and the largest of them; zoom in to see every one.`;
    }
  }
  /** Nothing was measured at any checkpoint. */
  absence() {
    const nothing = this.lines.every(({ ys }) => ys.every(Number.isNaN));
    return nothing && this.spec.without ? { title: "Nothing to show", text: this.spec.without, chosen: true } : null;
  }
  hover(x) {
    const { manifest, checkpoints } = this.run;
    if (!manifest.epochs) return null;
    let epoch = clamp(Math.round(x), 0, manifest.epochs - 1);
    if (this.lines.some((line) => line.rowOf) && checkpoints.length)
      epoch = checkpoints[nearestIndex(checkpoints, epoch)];
    const lines = [[`epoch ${formatInteger(epoch)}`, ""]];
    for (const line of this.lines) {
      const [value, e] = this.at(line, epoch);
      lines.push(
        `${line.label || this.quantity.title} ${formatExact(value)}${e === epoch ? "" : ` at ${formatInteger(e)}`}`,
      );
    }
    for (const { label, low, high } of this.bands) lines.push(`${label}: ${formatShort(low)} to ${formatShort(high)}`);
    const near = nearestIndex(checkpoints, epoch);
    if (near >= 0) lines.push(`click: checkpoint ${formatInteger(checkpoints[near])}`);
    return lines;
  }
  jump(x) {
    const near = nearestIndex(this.run.checkpoints, x);
    if (near < 0) return;
    this.before = this.view.index; // a double click resets the zoom and must not leave its first click behind
    clearTimeout(this.forget);
    this.forget = setTimeout(() => (this.before = undefined), 500);
    this.view.show(near);
  }
  menu() {
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
      value: this.log ? "log" : "linear",
      options: [
        { label: "Logarithmic", value: "log" },
        { label: "Linear", value: "linear" },
      ],
      choose: (value) => this.choose({ scale: value }),
    });
    return groups;
  }
  probe(epoch) {
    return {
      marker: new DOMMatrix(this.marker.style.transform).e,
      x: this.frame.px(epoch),
      values: this.lines.map((line) => (line.rowOf ? this.at(line, epoch)[0] : line.values[epoch])),
      labels: this.lines.map((line) => line.label),
      bands: this.bands,
      shown: this.shown.map(({ x, y }) => ({ x: Array.from(x), y: Array.from(y) })),
      range: this.frame.range,
      per: this.per,
    };
  }
}
