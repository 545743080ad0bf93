// Panel kind "spans": named intervals of epochs, one below the other (events; when each frequency had neurons), and the
// slider's place among them. What was not reached has a name and no interval.

import { el, placeMarker } from "./dom.js";
import { epochInputs, epochRange, tintShapes } from "./epochs.js";
import { formatInteger, formatInterval, formatRange, formatShort, formatSpan } from "./format.js";
import { FramedPanel } from "./framed_panel.js";
import { clamp, nearestIndex } from "./numbers.js";
import { linearTicks } from "./ticks.js";

/** @import { Axes, FrequencySpans, Interval, Kept, Manifest, Range, Run, RunEvent, SpansDescription, TooltipLine, ViewerHandle } from "./types.js" */
/** @import { Card } from "./card.js" */

/**
 * A row; `from` is null where it was not reached. `marks`: the recorded epochs between which it begins and ends.
 * @typedef {object} Span
 * @property {string} label
 * @property {string} name on hover
 * @property {number | null} from
 * @property {number} to
 * @property {string} text
 * @property {string[]} lines on hover
 * @property {string} color
 * @property {Interval[]} marks
 * @property {boolean} isTransient
 * @property {number} k frequency, 0 for events
 */

/** An event, from its first to its last crossing. @param {RunEvent} event @returns {Span} */
export const eventSpan = ({ name, label, first, last, held, recorded }) => {
  const span = { label, name: label, from: null, to: -1, marks: [], color: "accent", isTransient: false, k: 0 };
  if (!first) {
    const missing = recorded ? "not reached" : "not recorded";
    return { ...span, text: missing, lines: [missing] };
  }
  const end = last ?? first;
  const isOnce = end[1] === first[1];
  const lines = [`first ${formatInterval(first)}`];
  if (!isOnce) lines.push(`last ${formatInterval(end)}`);
  if (name !== "peak") lines.push(held ? "still true at the last epoch" : "no longer true at the last epoch");
  const color = /train/.test(label) ? "train" : /test/.test(label) ? "test" : "accent";
  const text = formatInterval(first) + (isOnce ? "" : ` … ${formatInteger(end[1])}`);
  return { ...span, from: first[1], to: end[1], marks: [first, end], color, lines, text };
};

/** "7.8", or "2.01–3". @param {[number, number]} ratio */
export const timesText = (ratio) => formatSpan(formatShort(ratio[0]), formatShort(ratio[1]));

/** When each frequency had neurons, those that lost them last. @param {FrequencySpans} spec @param {Run} run @returns {Span[]} */
const frequencySpans = (spec, run) => {
  const [first, last, transient] = [spec.first, spec.last, spec.transient].map((name) => run.array(name));
  if (!first?.rows || !last || !transient) return [];
  /** @type {(Span & {from: number})[]} */
  const rows = [];
  for (let k = 1; k <= first.stride; k++) {
    const from = first.data[k - 1];
    if (from < 0) continue;
    const to = last.data[k - 1];
    const isTransient = Boolean(transient.data[k - 1]);
    const end = isTransient ? `last at ${formatInteger(to)}` : "still has neurons at the last checkpoint";
    rows.push({
      label: `k ${k}`,
      name: `frequency ${k}`,
      k,
      from,
      to,
      isTransient,
      marks: [],
      color: isTransient ? "muted" : "accent",
      text: "",
      lines: [`from ${formatInteger(from)}`, end],
    });
  }
  return rows.sort((a, b) => Number(a.isTransient) - Number(b.isTransient) || a.from - b.from || b.to - a.to);
};

/** @extends {FramedPanel<SpansDescription>} */
export class SpansPanel extends FramedPanel {
  /** @param {Card} card @param {ViewerHandle} view @param {Kept} kept @param {SpansDescription} spec @param {Run} run */
  constructor(card, view, kept, spec, run) {
    super(
      card,
      view,
      kept,
      spec,
      run,
      {},
      {
        margin: { l: spec.left, r: spec.right, t: 4, b: 22 },
        layer: "over",
        zoom: "x",
        painted: () => this.paint(),
        click: (x) => {
          if (view.count) view.show(nearestIndex(this.run.checkpoints, x));
        },
      },
    );
    this.marker = this.addMarker();
    /** @type {Span[]} */
    this.rows = [];
    /** @type {HTMLElement[]} */
    this.texts = [];
    card.menu.button.hidden = true;
  }
  /** @param {Manifest} manifest */
  depends(manifest) {
    return epochInputs(manifest);
  }
  /** @param {SpansDescription} spec @param {Run} run @override */
  update(spec, run) {
    super.update(spec, run);
    this.rows = spec.frequencies ? frequencySpans(spec.frequencies, run) : run.manifest.events.map(eventSpan);
    this.full = { x: epochRange(run.manifest), y: [this.rows.length - 0.5, -0.5] };
    this.frame.redraw();
  }
  /** @param {Range} range @param {number} width @param {number} height @returns {Axes} @override */
  axes(range, width, height) {
    const every = Math.max(1, Math.ceil(12 / (height / Math.max(1, this.rows.length))));
    const values = this.rows.map((_, i) => i).filter((i) => i % every === 0);
    const y = { values, text: values.map((i) => this.rows[i].label) };
    const x = linearTicks(range.x[0], range.x[1], Math.max(2, Math.floor(width / 80)), true);
    const shapes = tintShapes(this.run.manifest, this.frame.colors.test);
    return { x, y, gridY: false, gridX: true, shapes };
  }
  /** What does not move: it changes with the run, the zoom and the theme. */
  paint() {
    const { context: g, canvas, ratio, inner, colors } = this.frame;
    g.clearRect(0, 0, canvas.width, canvas.height);
    for (const node of this.texts) node.remove();
    this.texts = [];
    const high = inner.height / Math.max(1, this.rows.length);
    const thick = clamp(high * 0.5, 2, 9);
    /** @param {number} x0 @param {number} x1 @param {number} y @param {number} height @param {number} alpha */
    const rect = (x0, x1, y, height, alpha) => {
      g.globalAlpha = alpha;
      const left = Math.round(this.frame.px(x0) * ratio);
      const width = Math.max(2 * ratio, Math.round(this.frame.px(x1) * ratio) - left);
      g.fillRect(left, Math.round((y - height / 2) * ratio), width, Math.round(height * ratio));
    };
    this.rows.forEach((row, i) => {
      const y = (i + 0.5) * high;
      if (row.from !== null) {
        g.fillStyle = colors.named[row.color];
        if (!row.marks.length) rect(row.from, row.to, y, thick, row.isTransient ? 0.55 : 0.9);
        else {
          rect(row.from, row.to, y, 2, 0.45);
          for (const [before, after] of row.marks) rect(Math.max(0, before), after, y, thick, 0.95);
        }
      }
      if (!row.text || high < 13) return;
      const node = el("span", "tdw-span-text", row.text);
      node.style.transform = `translateY(${y - 8}px)`;
      this.texts.push(node);
    });
    g.globalAlpha = 1;
    this.frame.overlay.append(...this.texts);
  }
  /** @param {number} index @override */
  draw(index) {
    const epoch = index < 0 ? null : this.run.checkpoints[index];
    placeMarker(this.marker, epoch === null ? -1 : this.frame.px(epoch), this.frame.inner.width);
    this.card.read(this.spec.frequencies ? this.frequencyReading(epoch ?? 0) : this.eventReading(epoch));
  }
  /** @param {number | null} epoch */
  eventReading(epoch) {
    const reached = this.rows.filter(({ from }) => from !== null && (epoch === null || from <= epoch));
    return `${reached.length} of ${this.rows.length} reached · ${this.verdict()}`;
  }
  /** @param {number} epoch */
  frequencyReading(epoch) {
    const isAlive = (/** @type {Span} */ { from, to, isTransient }) =>
      from !== null && from <= epoch && (!isTransient || to >= epoch);
    const alive = this.rows.filter(isAlive).length;
    const transient = this.rows.filter((row) => row.isTransient).length;
    return `${alive} of ${this.rows.length} have neurons · ${transient || "none"} transient`;
  }
  /** Whether the run grokked, and after how many epochs it generalized. */
  verdict() {
    const { verdict, delay, ratio } = this.run.manifest.grokking;
    const late = delay && ratio ? ` (${formatRange(delay)} epochs between, ${timesText(ratio)} × memorizing)` : "";
    return { yes: `grokking${late}`, no: `not grokking${late}`, unknown: `grokking: unknown${late}` }[verdict];
  }
  /** @param {number} _x @param {number} y @returns {TooltipLine[] | null} @override */
  hover(_x, y) {
    const row = this.rows[Math.round(y)];
    return row ? [[row.name, ""], ...row.lines] : null;
  }
  /** A row as it is drawn, and where the marker is. @param {number} i */
  probe(i) {
    const row = this.rows[i];
    const x = row && row.from !== null ? [this.frame.px(row.from), this.frame.px(row.to)] : null;
    return { ...row, rows: this.rows.length, x, marker: new DOMMatrix(this.marker.style.transform).e };
  }
}
