// Panel kind "table": measures at a checkpoint next to their baselines.

import { el, setText } from "./dom.js";
import { formatExact, formatShort, formatSpan } from "./format.js";

/** @import { PanelView, Run, RunArray, TableBaseline, TableDescription, TableRow, ViewerHandle } from "./types.js" */
/** @import { Card } from "./card.js" */

/** A baseline at a checkpoint: range, and corrected p-value; NaN where it is missing. @typedef {{low: number, middle: number, high: number, p: number}} Compared */

/**
 * Where a number is relative to its baselines: "above" or "below" where it is so in all of them with a p-value of at most
 * `level`; "" where it is not, or where a baseline is missing.
 * @param {number} value @param {Compared[]} baselines @param {number} level
 */
export const verdict = (value, baselines, level) => {
  if (!baselines.length || !baselines.every(({ p }) => p <= level)) return "";
  if (baselines.every(({ middle }) => value > middle)) return "above";
  if (baselines.every(({ middle }) => value < middle)) return "below";
  return "";
};

/** @param {Compared} compared */
const rangeText = ({ low, middle, high }) =>
  Number.isNaN(low) ? "" : `${formatSpan(formatShort(low), formatShort(high))}, median ${formatExact(middle)}`;

/** How to get the columns that are empty. @param {TableBaseline[]} missing */
const noteText = (missing) =>
  `Computed on request, since they take long: tdw analyze FILE --only ${missing.map(({ analysis }) => analysis).join(" ")}`;

/** A number of a checkpoint's row, NaN where there is none. @param {RunArray | null} array @param {number} row @param {number} at */
const number = (array, row, at) => {
  const from = array ? array.offset(row) : -1;
  return array && from >= 0 ? array.data[from + at] : Number.NaN;
};

/** @implements {PanelView} */
export class TablePanel {
  /** @param {Card} card @param {ViewerHandle} _view @param {object} _kept @param {TableDescription} spec @param {Run} run */
  constructor(card, _view, _kept, spec, run) {
    this.card = card;
    this.spec = spec;
    this.run = run;
    this.table = el("table", "tdw-table");
    /** @type {{row: TableRow, now: HTMLElement, cells: HTMLElement[], verdict: HTMLElement, value: number, compared: Compared[], judged: string}[]} */
    this.rows = [];
    this.note = el("p", "tdw-note");
    card.body.append(this.table, this.note);
    card.menu.button.hidden = true;
  }
  /** Arrays of which the row of one checkpoint is shown. */
  arraysAt() {
    return [this.spec.value, ...this.spec.baselines.flatMap(({ band, p }) => [band, p])];
  }
  /** @param {TableDescription} spec @param {Run} run */
  update(spec, run) {
    this.spec = spec;
    this.run = run;
    const head = el("tr");
    head.append(el("th", null, "", { scope: "col" }), el("th", null, "now", { scope: "col" }));
    const corrected = `p-value, corrected for ${spec.rows.length} measures, against`;
    for (const { label, about } of spec.baselines)
      head.append(el("th", null, `p, ${label}`, { scope: "col", title: `${corrected} ${about}` }));
    head.append(el("th", null, "", { scope: "col" }));
    const top = el("thead");
    top.append(head);
    const body = el("tbody");
    this.rows = spec.rows.map((row) => {
      const now = el("td", "tdw-now");
      const verdict = el("td", "tdw-verdict");
      const cells = spec.baselines.map(() => el("td"));
      const node = el("tr");
      node.append(el("th", null, row.label, { scope: "row", title: row.about }), now, ...cells, verdict);
      body.append(node);
      return { row, now, cells, verdict, value: Number.NaN, compared: [], judged: "" };
    });
    this.table.replaceChildren(top, body);
  }
  /** A measure under a baseline. @param {TableBaseline} baseline @param {number} row @param {number} index @returns {Compared} */
  compared({ analysis, band, p }, row, index) {
    const at = this.run.row(analysis, index);
    const ranges = this.run.array(band);
    const [low, middle, high] = [0, 1, 2].map((i) => number(ranges, at, 3 * row + i));
    return { low, middle, high, p: number(this.run.array(p), at, row) };
  }
  /** @param {number} index */
  draw(index) {
    const { baselines, value, level } = this.spec;
    const values = this.run.array(value);
    const at = this.run.row(this.spec.analysis, index);
    for (const entry of this.rows) {
      const { row } = entry.row;
      entry.value = number(values, at, row);
      entry.compared = baselines.map((baseline) => this.compared(baseline, row, index));
      entry.judged = verdict(entry.value, entry.compared, level);
      setText(entry.now, formatShort(entry.value));
      entry.compared.forEach((compared, i) => {
        const cell = entry.cells[i];
        setText(cell, Number.isNaN(compared.p) ? "–" : formatShort(compared.p));
        cell.title = rangeText(compared);
        cell.classList.toggle("tdw-stands-out", compared.p <= level);
      });
      setText(entry.verdict, entry.judged);
      entry.verdict.classList.toggle("tdw-stands-out", entry.judged !== "");
    }
    this.card.read(this.reading(index));
  }
  /** @param {number} index */
  reading(index) {
    const { baselines, level } = this.spec;
    const missing = baselines.filter(({ analysis }) => this.run.row(analysis, index) < 0);
    setText(this.note, missing.length ? noteText(missing) : "");
    if (this.run.row(this.spec.analysis, index) < 0) return "";
    if (missing.length) return `without ${missing.map(({ label }) => label).join(" and ")} networks`;
    const outside = this.rows.filter(({ judged }) => judged).length;
    return `${outside} of ${this.rows.length} outside all baselines (p ≤ ${formatShort(level)}, corrected)`;
  }
  /** A row as it is shown. @param {number} i */
  probe(i) {
    const { row, value, compared, judged, now } = this.rows[i];
    return { label: row.label, value, compared, judged, text: now.textContent };
  }
  resize() {}
  theme() {}
  close() {}
}
