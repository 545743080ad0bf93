// Panel kind "table": measures at a checkpoint next to their baselines.

import { Choices } from "./choices.js";
import { el, setText } from "./dom.js";
import { formatExact, formatShort } from "./format.js";
import { valueAtEpoch } from "./lines.js";

/** @import { PanelView, Run, TableDescription, TableRow, ViewerHandle } from "./types.js" */
/** @import { Card } from "./card.js" */

/** Low, median and high of a baseline; NaN where it is missing. @typedef {number[]} Limits */

/** Where a number is relative to its baselines. @param {number} value @param {Limits[]} bands */
export const verdict = (value, bands) => {
  const stored = bands.filter(([low]) => !Number.isNaN(low));
  if (Number.isNaN(value) || !stored.length) return "";
  if (stored.every(([, , high]) => value > high)) return "above both";
  if (stored.every(([low]) => value < low)) return "below both";
  return stored.some(([low, , high]) => value >= low && value <= high) ? "within" : "between";
};

/** @param {number} low @param {number} high */
const rangeText = (low, high) => {
  const [from, to] = [formatShort(low), formatShort(high)];
  return from === to ? from : `${from} – ${to}`;
};

/** @implements {PanelView} */
export class TablePanel {
  /** @param {Card} card @param {ViewerHandle} _view @param {object} _kept @param {TableDescription} spec @param {Run} run */
  constructor(card, _view, _kept, spec, run) {
    this.card = card;
    this.spec = spec;
    this.run = run;
    this.choices = new Choices({});
    this.table = el("table", "tdw-table");
    /** @type {{row: TableRow, at: (epoch: number) => number, bands: Limits[], now: HTMLElement, verdict: HTMLElement, value: number, judged: string}[]} */
    this.rows = [];
    card.body.append(this.table);
    card.menu.button.hidden = true;
  }
  /** @param {TableDescription} spec @param {Run} run */
  update(spec, run) {
    this.spec = spec;
    this.run = run;
    const head = el("tr");
    const titles = ["", "now", ...spec.bands.map(({ label }) => label), ""];
    head.append(...titles.map((text) => el("th", null, text, { scope: "col" })));
    const top = el("thead");
    top.append(head);
    const body = el("tbody");
    this.rows = spec.rows.map((row) => {
      const bands = spec.bands.map(({ array }) => {
        const stored = run.array(array);
        return [0, 1, 2].map((i) => (stored?.rows ? stored.data[3 * row.row + i] : Number.NaN));
      });
      const now = el("td", "tdw-now");
      const verdict = el("td", "tdw-verdict");
      const ranges = bands.map(([low, middle, high]) =>
        el("td", null, Number.isNaN(low) ? "–" : rangeText(low, high), { title: `median ${formatExact(middle)}` }),
      );
      const node = el("tr");
      node.append(el("th", null, row.label, { scope: "row", title: row.about }), now, ...ranges, verdict);
      body.append(node);
      return { row, at: valueAtEpoch(row, run, this.choices), bands, now, verdict, value: Number.NaN, judged: "" };
    });
    this.table.replaceChildren(top, body);
  }
  /** @param {number} index */
  draw(index) {
    let outside = 0;
    for (const row of this.rows) {
      row.value = index < 0 ? Number.NaN : row.at(this.run.checkpoints[index]);
      row.judged = verdict(row.value, row.bands);
      setText(row.now, formatShort(row.value));
      setText(row.verdict, row.judged);
      const isOutside = row.judged.endsWith("both");
      row.verdict.classList.toggle("tdw-stands-out", isOutside);
      if (isOutside) outside++;
    }
    this.card.read(`${outside} of ${this.rows.length} outside both baselines`);
  }
  /** A row as it is shown. @param {number} i */
  probe(i) {
    const { row, value, bands, judged, now } = this.rows[i];
    return { label: row.label, value, bands, judged, text: now.textContent };
  }
  resize() {}
  theme() {}
  close() {}
}
