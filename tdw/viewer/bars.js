// Panel kind "bars": one value per Fourier component (or frequency) at a checkpoint. Where the view has a threshold, it is
// dragged here and marks the large ones; where it has a `reference`, a line says what the bars are to be compared with.
import { axisOf } from "./choices.js";
import { clamp, el, formatBrief, formatExact, formatShort, linearTicks, logTicks, setText } from "./format.js";
import { FramedPanel } from "./framed_panel.js";

export class BarsPanel extends FramedPanel {
  constructor(card, view, kept) {
    super(
      card,
      view,
      kept,
      { chosen: 0 },
      {
        margin: { l: 34, r: 40, t: 8, b: 22 }, // the right margin holds the threshold's value, so that it covers no bar
        layer: "over",
        zoom: "x",
        painted: () => this.placeThreshold(),
      },
    );
    this.threshold = null;
    this.handle = el("div", "tdw-threshold", null, {
      role: "slider",
      tabindex: "0",
      "aria-label": "Threshold above which a frequency counts as dominant",
      "aria-orientation": "vertical",
    });
    this.handle.append(el("i"), (this.handleText = el("span")));
    this.frame.overlay.append(this.handle);
    this.dragging();
    this.reference = el("div", "tdw-reference");
    this.reference.append((this.referenceText = el("span")));
    this.frame.overlay.append(this.reference);
  }
  /** The view that is shown, with the names of its bars: labels, and the frequency each is of (0: the constant). */
  get shape() {
    return this.shown;
  }
  reshape() {
    const shape = this.spec.views[this.kept.chosen] || this.spec.views[0];
    const { count, name } = axisOf(shape.axis, this.run.manifest.parameters);
    const labels = Array.from({ length: count }, (_, i) => name(i));
    const frequency = labels.map((_, i) => (shape.axis === "component" ? (i + 1) >> 1 : i + 1));
    this.shown = { ...shape, labels, frequency, frequencies: this.run.manifest.parameters.frequencies };
    this.log = shape.scale === "log";
  }
  /** Where a value stands on the axis. */
  height(value) {
    return this.log ? Math.log10(value) : value;
  }
  update(spec, run) {
    this.spec = spec;
    this.run = run;
    this.reshape();
    const shape = this.shape;
    const array = run.array(shape.array);
    this.values = array?.rows ? array : null;
    let low = this.log ? Infinity : 0;
    let top = this.log ? -Infinity : 0;
    const reach = (v) => {
      if (!Number.isFinite(v) || (this.log && v <= 0)) return;
      low = Math.min(low, v);
      top = Math.max(top, v);
    };
    if (this.values) for (const v of this.values.data) reach(v);
    const beside = shape.reference && run.array(shape.reference.array);
    if (beside)
      for (let row = 0; row < beside.rows; row++) reach(beside.data[row * beside.stride + shape.reference.at]);
    const count = shape.frequency.length;
    let y;
    if (this.log)
      y = low <= top ? [Math.log10(low) - 0.5, Math.log10(top) + 0.08 * (Math.log10(top / low) + 2)] : [-1, 1];
    else y = [low < 0 ? low * 1.16 : 0, (top || 1) * 1.16]; // room for a label above the tallest bar
    this.full = { x: [-0.8, count - 0.2], y };
    const { threshold } = shape;
    this.handle.hidden = !threshold;
    this.reference.hidden = !shape.reference;
    if (this.threshold === null && this.values && threshold) {
      // Where a rule draws its line: at a value, or at a part of the largest at the last analyzed checkpoint.
      const last = this.values.data.subarray((this.values.rows - 1) * this.values.stride);
      let largest = 0;
      for (let i = 0; i < count; i++) if (shape.frequency[i] && last[i] > largest) largest = last[i];
      this.threshold = threshold.value ?? largest * threshold.of_largest;
    }
    if (threshold && this.threshold !== null) this.threshold = Math.min(this.threshold, this.full.y[1]);
    this.frame.redraw();
  }
  /** "const" and every so many frequencies; each component by name when there is room. */
  axes(range, width, height) {
    const { frequency, labels } = this.shape;
    const [x0, x1] = range.x;
    const each = width / (x1 - x0);
    const values = [];
    const text = [];
    if (each > 44) {
      labels.forEach((label, i) => i >= x0 && i <= x1 && (values.push(i), text.push(label)));
    } else {
      const middle = new Map(); // frequency -> center of its bars
      frequency.forEach((k, i) => middle.set(k, middle.has(k) ? (middle.get(k) + i) / 2 : i));
      const perFrequency = each * (frequency.length / middle.size);
      const step = [1, 2, 5, 10, 20, 25, 50, 100, 200, 500].find((s) => s * perFrequency > 42) || 1000;
      for (const [k, x] of middle) {
        if (x < x0 || x > x1) continue;
        if (k === 0 || k % step === 0) {
          values.push(x);
          text.push(k === 0 ? "const" : `k=${k}`);
        }
      }
    }
    const most = Math.max(2, Math.floor(height / 40));
    const y = this.log ? logTicks(range.y[0], range.y[1], most) : linearTicks(range.y[0], range.y[1], most, false);
    return { x: { values, text }, y, yType: this.log ? "log" : "linear" };
  }
  row(index) {
    return this.values ? this.view.row(this.spec.analysis, index) : -1;
  }
  draw(index) {
    const row = this.row(index);
    this.drawn = row;
    const { context: g, canvas, ratio, inner, colors } = this.frame;
    g.clearRect(0, 0, canvas.width, canvas.height);
    if (row < 0 || row >= this.values.rows) return this.card.read(this.shape?.quantity || "");
    const { data, stride } = this.values;
    const { frequency } = this.shape;
    const [x0, x1] = this.frame.range.x;
    const up = (v) => this.frame.py(this.height(v)) * ratio;
    const each = (inner.width * ratio) / (x1 - x0);
    const gap = each > 3 * ratio ? Math.max(1, Math.round(each * 0.2)) : 0;
    const height = canvas.height;
    const from = row * stride;
    const first = Math.max(0, Math.floor(x0));
    const last = Math.min(frequency.length - 1, Math.ceil(x1));
    // On a log axis bars have no zero to begin at: they begin at what they are compared with, else at the bottom.
    const beside = this.beside(index);
    const base = this.log ? (beside > 0 ? Math.round(up(beside)) : height) : Math.round(up(0));
    const dominant = new Set();
    const tall = new Map(); // frequency above the threshold -> [x of its middle, value of its tallest bar]
    for (let pass = 0; pass < 2; pass++) {
      // one color after the other: a change of fillStyle costs more than a rectangle
      g.fillStyle = pass ? colors.accent : colors.bar;
      for (let i = first; i <= last; i++) {
        const value = data[from + i];
        const above = this.isDominant(i, value);
        if (above !== Boolean(pass) || Number.isNaN(value) || (this.log && value <= 0)) continue;
        const left = Math.round((i - 0.5 - x0) * each);
        const right = Math.round((i + 0.5 - x0) * each) - gap;
        const y = Math.round(up(value));
        g.fillRect(left, Math.min(y, base), Math.max(1, right - left), Math.max(this.log ? 2 : 0, Math.abs(base - y)));
      }
    }
    for (let i = 0; i < frequency.length; i++) {
      const k = frequency[i];
      const value = data[from + i];
      if (!this.isDominant(i, value)) continue;
      dominant.add(k);
      if (i < first || i > last) continue;
      const known = tall.get(k);
      if (!known) tall.set(k, [i, value]);
      else tall.set(k, [(known[0] + i) / 2, Math.max(known[1], value)]);
    }
    this.dominant = [...dominant];
    this.label(g, tall, x0, each, up, ratio, colors);
    this.card.read([this.shape.quantity, this.besides(index), this.sentence()].filter(Boolean).join(" · "));
    return undefined;
  }
  /** Without a threshold, every bar of a frequency that has a value stands out. */
  isDominant(i, value) {
    return this.shape.frequency[i] > 0 && (this.shape.threshold ? value >= this.threshold : !Number.isNaN(value));
  }
  /** Places the line that the bars are compared with; what it says. */
  besides(index) {
    const { reference } = this.shape;
    if (!reference) return "";
    const value = this.beside(index);
    const y = this.frame.py(this.height(value));
    this.reference.style.transform = `translateY(${y >= 0 && y <= this.frame.inner.height ? y : -9999}px)`;
    setText(this.referenceText, reference.label);
    return Number.isNaN(value) ? "" : `${reference.label} ${formatShort(value)}`;
  }
  /** What the bars are compared with at a checkpoint, NaN where nothing is known of it. */
  beside(index) {
    const { reference } = this.shape;
    const array = reference && this.run.array(reference.array);
    const row = array ? this.view.row(reference.array.split("/")[1], index) : -1;
    return row >= 0 && row < array.rows ? array.data[row * array.stride + reference.at] : NaN;
  }
  absence() {
    const nothing = this.values && this.spec.without && this.values.data.every(Number.isNaN);
    return nothing ? { title: "Nothing to show", text: this.spec.without } : null;
  }
  sentence() {
    const count = this.dominant.length;
    if (!this.shape.threshold)
      return count > 9 ? `${count} frequencies` : count ? `k = ${this.dominant.join(", ")}` : "none";
    const total = this.shape.frequencies;
    if (!count) return `none above ${formatBrief(this.threshold)}`;
    if (count === total && count > 3) return `all ${total} above ${formatBrief(this.threshold)}`;
    if (count > 9) return `${count} of ${total} above ${formatBrief(this.threshold)}`;
    return `k = ${this.dominant.join(", ")} above ${formatBrief(this.threshold)}`;
  }
  /** Numbers over dominant bars, tallest first; one that would touch another, or a bar, or the edge, gives way. */
  label(g, tall, x0, each, up, ratio, colors) {
    g.font = `${11 * ratio}px ${colors.font}`;
    g.textAlign = "center";
    g.textBaseline = "alphabetic";
    g.fillStyle = colors.ink;
    const taken = [];
    const limit = this.frame.canvas.width;
    this.labeled = [];
    const order = [...tall].sort((a, b) => b[1][1] - a[1][1]);
    for (const [k, [i, value]] of order) {
      const width = g.measureText(String(k)).width;
      const x = clamp((i - x0) * each - each * 0.1, width / 2, limit - width / 2);
      const y = up(value) - 4 * ratio;
      const box = [x - width / 2 - 2 * ratio, y - 9 * ratio, x + width / 2 + 2 * ratio, y + ratio];
      if (taken.some((o) => box[0] < o[2] && box[2] > o[0] && box[1] < o[3] && box[3] > o[1])) continue;
      if (this.coversBar(box, x0, each, up)) continue;
      taken.push(box);
      this.labeled.push({ k, box: box.map((v) => v / ratio) });
      g.fillText(String(k), x, y);
    }
  }
  coversBar(box, x0, each, up) {
    const { data, stride } = this.values;
    const first = Math.max(0, Math.floor(box[0] / each + x0 + 0.5));
    const last = Math.min(stride - 1, Math.floor(box[2] / each + x0 + 0.5));
    for (let i = first; i <= last; i++) if (up(data[this.drawn * stride + i]) < box[3] - 1) return true;
    return false;
  }
  placeThreshold() {
    if (!this.shape?.threshold || this.threshold === null) return;
    const y = this.frame.py(this.threshold);
    this.handle.style.transform = `translateY(${y}px)`;
    setText(this.handleText, formatBrief(this.threshold));
    this.handle.setAttribute("aria-valuemin", "0");
    this.handle.setAttribute("aria-valuemax", this.full.y[1].toFixed(3));
    this.handle.setAttribute("aria-valuenow", this.threshold.toFixed(3));
  }
  move(value) {
    this.threshold = clamp(value, 0, this.full.y[1]);
    this.placeThreshold();
    this.view.repaint();
  }
  dragging() {
    const { handle } = this;
    const at = (event) => {
      const box = this.frame.overlay.getBoundingClientRect();
      const [low, high] = this.full.y;
      this.move(high - ((event.clientY - box.top) / box.height) * (high - low));
    };
    handle.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      handle.setPointerCapture(event.pointerId);
      handle.classList.add("tdw-dragged");
      event.preventDefault();
      handle.focus({ preventScroll: true });
    });
    handle.addEventListener("pointermove", (event) => handle.hasPointerCapture(event.pointerId) && at(event));
    handle.addEventListener("lostpointercapture", () => handle.classList.remove("tdw-dragged"));
    handle.addEventListener("keydown", (event) => {
      const step = { ArrowUp: 0.01, ArrowDown: -0.01, PageUp: 0.1, PageDown: -0.1 }[event.key];
      if (!step) return; // left and right stay with the checkpoints
      event.preventDefault();
      this.move(this.threshold + step * this.full.y[1]);
    });
  }
  hover(x) {
    const i = Math.round(x);
    const { labels, frequency } = this.shape;
    if (this.drawn < 0 || this.drawn === undefined || i < 0 || i >= labels.length) return null;
    const value = this.values.data[this.drawn * this.values.stride + i];
    const { threshold, gap, of } = this.shape;
    if (Number.isNaN(value)) return [[labels[i], ""], gap || "not measured"];
    const note = threshold && frequency[i] && value >= this.threshold ? "above the threshold" : "";
    return [[labels[i], ""], `${of} ${formatExact(value)}`, note].filter((line) => line.length);
  }
  menu() {
    const items = [];
    if (this.spec.views.length > 1) {
      items.push({
        group: "Bars",
        value: this.kept.chosen,
        options: this.spec.views.map((shape, value) => ({ label: shape.title, value })),
        choose: (value) => {
          this.threshold = null;
          this.choose({ chosen: value });
        },
      });
    }
    if (this.shape.threshold) {
      items.push({
        label: "Threshold as at the start",
        run: () => {
          this.threshold = null;
          this.update(this.spec, this.run);
          this.view.repaint();
        },
      });
    }
    return items;
  }
  /** For tests: where bar `i` is painted (CSS pixels of the window), its value, and the pixel's color there. */
  probe(i) {
    const { canvas, ratio } = this.frame;
    const x =
      (i - this.frame.range.x[0] - 0.1) *
      ((this.frame.inner.width * ratio) / (this.frame.range.x[1] - this.frame.range.x[0]));
    const value = this.values.data[this.drawn * this.values.stride + i];
    const pixel = this.frame.context.getImageData(Math.round(x), canvas.height - 1, 1, 1).data;
    const column = this.frame.context.getImageData(Math.round(x), 0, 1, canvas.height).data;
    let top = canvas.height;
    while (top > 0 && column[4 * (top - 1) + 3] > 0) top--;
    return {
      value,
      pixel: [...pixel],
      height: (canvas.height - top) / ratio,
      expected: this.frame.inner.height - this.frame.py(this.height(value)),
    };
  }
}
