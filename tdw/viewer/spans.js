// Panel kind "spans": named stretches of epochs below each other (events; how long each frequency was held), and where the
// slider stands among them. What was never reached has its name and no stretch.
import { epochRange, LEFT_MARGIN, tintShapes } from "./curve.js";
import { clamp, el, formatInteger, linearTicks, nearestIndex } from "./format.js";
import { FramedPanel } from "./framed_panel.js";
import { formatInterval } from "./transport.js";

export class SpansPanel extends FramedPanel {
  constructor(card, view, kept) {
    super(
      card,
      view,
      kept,
      {},
      {
        margin: { l: LEFT_MARGIN, r: 64, t: 4, b: 22 },
        layer: "over",
        zoom: "x",
        painted: () => this.paint(),
        click: (x) => view.count && view.show(nearestIndex(this.run.checkpoints, x)),
      },
    );
    this.addMarker();
    this.texts = [];
    card.menuButton.hidden = true;
  }
  depends({ epochs, planned_epochs: planned, state, events, grokking }) {
    return JSON.stringify([epochs, planned, state, events, grokking]);
  }
  update(spec, run) {
    this.spec = spec;
    this.run = run;
    this.rows = spec.first ? this.held() : run.manifest.events.map((event) => this.event(event));
    this.full = { x: epochRange(run.manifest), y: [this.rows.length - 0.5, -0.5] };
    Object.assign(this.frame.margin, { l: spec.left ?? LEFT_MARGIN, r: spec.right ?? 64 });
    this.frame.measure();
    this.frame.redraw();
  }
  /** An event: from its first to its last crossing; each is the interval between two recorded epochs. */
  event({ name, label, first, last, held, recorded }) {
    const missing = recorded ? "not reached" : "not recorded";
    if (!first) return { label, from: null, text: missing, lines: [missing] };
    const lines = [`first ${formatInterval(first)}`];
    if (last && last[1] !== first[1]) lines.push(`last ${formatInterval(last)}`);
    if (name !== "peak") lines.push(held ? "still so at the last epoch" : "no longer so at the last epoch");
    const color = /train/.test(label) ? "train" : /test/.test(label) ? "test" : "accent";
    const text = formatInterval(first) + (last && last[1] !== first[1] ? ` … ${formatInterval(last)}` : "");
    return { label, from: first[1], to: (last ?? first)[1], marks: [first, last ?? first], color, lines, text };
  }
  /** How long each frequency held neurons; those that never did are left out. */
  held() {
    const { first, last, gone } = this.spec;
    const [from, to, went] = [first, last, gone].map((name) => this.run.array(name));
    if (!from?.rows) return [];
    const rows = [];
    for (let k = 1; k <= from.stride; k++) {
      const start = from.data[k - 1];
      if (start < 0) continue;
      const end = to.data[k - 1];
      const lost = Boolean(went.data[k - 1]);
      rows.push({
        label: `k ${k}`,
        k,
        from: start,
        to: end,
        lost,
        color: lost ? "muted" : "accent",
        text: "",
        lines: [
          `held from ${formatInteger(start)}`,
          lost ? `last at ${formatInteger(end)}` : "held at the last checkpoint",
        ],
      });
    }
    return rows.sort((a, b) => a.lost - b.lost || a.from - b.from || b.to - a.to);
  }
  axes(range, width, height) {
    const every = Math.max(1, Math.ceil(12 / (height / Math.max(1, this.rows.length))));
    const values = this.rows.map((_, i) => i).filter((i) => i % every === 0);
    const y = { values, text: values.map((i) => this.rows[i].label) };
    const x = linearTicks(range.x[0], range.x[1], Math.max(2, Math.floor(width / 80)), true);
    return { x, y, gridY: false, gridX: true, shapes: tintShapes(this.run.manifest, this.frame.colors.test) };
  }
  /** What stands still: it changes with the run, the zoom and the theme. */
  paint() {
    const { context: g, canvas, ratio, inner, colors } = this.frame;
    g.clearRect(0, 0, canvas.width, canvas.height);
    for (const node of this.texts) node.remove();
    this.texts = [];
    const high = inner.height / Math.max(1, this.rows.length);
    const thick = clamp(high * 0.5, 2, 9);
    const rect = (x0, x1, y, height, color, alpha) => {
      g.globalAlpha = alpha;
      g.fillStyle = color;
      const left = Math.round(this.frame.px(x0) * ratio);
      g.fillRect(
        left,
        Math.round((y - height / 2) * ratio),
        Math.max(2 * ratio, Math.round(this.frame.px(x1) * ratio) - left),
        Math.round(height * ratio),
      );
    };
    this.rows.forEach((row, i) => {
      const y = (i + 0.5) * high;
      if (row.from !== null) {
        const color = colors[row.color];
        if (!row.marks) rect(row.from, row.to, y, thick, color, row.lost ? 0.55 : 0.9);
        else {
          rect(row.from, row.to, y, 2, color, 0.45);
          for (const [before, after] of row.marks) rect(Math.max(0, before), after, y, thick, color, 0.95);
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
  draw(index) {
    const epoch = index < 0 ? null : this.run.checkpoints[index];
    const x = epoch === null ? -1 : this.frame.px(epoch);
    this.marker.style.transform = `translateX(${x >= -0.5 && x <= this.frame.inner.width + 0.5 ? x : -9999}px)`;
    if (!this.spec.first) {
      const reached = this.rows.filter((row) => row.from !== null);
      const by = epoch === null ? reached : reached.filter((row) => row.from <= epoch);
      return this.card.read(
        [`${by.length} of ${this.rows.length} reached by now`, this.verdict()].filter(Boolean).join(" · "),
      );
    }
    const now = this.rows.filter((row) => row.from <= epoch && (!row.lost || row.to >= epoch)).length;
    return this.card.read(
      `${now} of ${this.rows.length} within their span · ${this.rows.filter((row) => row.lost).length || "none"} came and went`,
    );
  }
  /** Whether the run is called grokking, and after how many epochs it generalized. */
  verdict() {
    const { verdict, delay } = this.run.manifest.grokking;
    const late = delay ? ` (${formatInterval(delay)} epochs between)` : "";
    return { yes: `grokking${late}`, no: `not grokking${late}` }[verdict] ?? `grokking: cannot be said${late}`;
  }
  hover(x, y) {
    const row = this.rows[Math.round(y)];
    return row ? [[row.k ? `frequency ${row.k}` : row.label, ""], ...row.lines] : null;
  }
  /** For tests: the rows as they are drawn, and where the marker stands. */
  probe(i) {
    const row = this.rows[i];
    const known = row && row.from !== null;
    return {
      ...row,
      rows: this.rows.length,
      x: known ? [this.frame.px(row.from), this.frame.px(row.to)] : null,
      marker: new DOMMatrix(this.marker.style.transform).e,
    };
  }
}
