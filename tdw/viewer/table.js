// Panel kind "table": what measures come to at a checkpoint, beside what they come to where nothing was learnt.
import { Choices } from "./choices.js";
import { el, formatExact, formatShort, setText } from "./format.js";
import { lineWithPoints } from "./lines.js";

export class TablePanel {
  constructor(card, view) {
    this.card = card;
    this.view = view;
    this.choices = new Choices({});
    this.table = el("table", "tdw-table");
    card.body.append(this.table);
    card.menuButton.hidden = true;
  }
  update(spec, run) {
    this.spec = spec;
    this.run = run;
    const head = el("tr");
    head.append(
      ...["", "now", ...spec.bands.map(({ label }) => label), ""].map((text) => el("th", null, text, { scope: "col" })),
    );
    const top = el("thead");
    top.append(head);
    const body = el("tbody");
    this.rows = spec.rows.map((row) => {
      const line = lineWithPoints(row, run, this.choices, false);
      const bands = spec.bands.map(({ array }) => {
        const stored = run.array(array);
        return stored?.rows ? [0, 1, 2].map((i) => stored.data[3 * row.row + i]) : [NaN, NaN, NaN];
      });
      const node = el("tr");
      const now = el("td", "tdw-now");
      const verdict = el("td", "tdw-verdict");
      const ranges = bands.map(([low, middle, high]) =>
        el("td", null, Number.isNaN(low) ? "–" : this.range(low, high), { title: `median ${formatExact(middle)}` }),
      );
      node.append(el("th", null, row.label, { scope: "row", title: row.about }), now, ...ranges, verdict);
      body.append(node);
      return { ...row, line, bands, now, verdict };
    });
    this.table.replaceChildren(top, body);
  }
  range(low, high) {
    const [from, to] = [formatShort(low), formatShort(high)];
    return from === to ? from : `${from} – ${to}`;
  }
  /** Where a number lies: above, below or within all that chance gives. */
  judge(value, bands) {
    const known = bands.filter(([low]) => !Number.isNaN(low));
    if (Number.isNaN(value) || !known.length) return "";
    if (known.every(([, , high]) => value > high)) return "above both";
    if (known.every(([low]) => value < low)) return "below both";
    return known.some(([low, , high]) => value >= low && value <= high) ? "within" : "between";
  }
  draw(index) {
    const epoch = this.run.checkpoints[index];
    let beyond = 0;
    for (const row of this.rows) {
      row.value = index < 0 ? NaN : (row.line.values[row.line.rowOf.get(epoch)] ?? NaN);
      row.judged = this.judge(row.value, row.bands);
      setText(row.now, formatShort(row.value));
      setText(row.verdict, row.judged);
      const out = row.judged.endsWith("both");
      row.verdict.classList.toggle("tdw-stands-out", out);
      beyond += out;
    }
    this.card.read(`${beyond} of ${this.rows.length} beyond what chance gives`);
  }
  /** For tests: a row as it stands. */
  probe(i) {
    const { label, value, bands, judged, now } = this.rows[i];
    return { label, value, bands, judged, text: now.textContent };
  }
  resize() {}
  theme() {}
  close() {}
}
