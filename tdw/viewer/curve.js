// Panel kind "curve": quantities over epochs, a marker at the current one, click jumps, drag zooms.
(function (T) {
  "use strict";
  T.kinds ??= {};

  /**
   * Points of (xs, ys) between x0 and x1 for `buckets` pixels: the first, smallest, largest and last of each, so that a spike
   * of one epoch stays visible. One point beyond each end is kept, so that the line leaves the picture. xs increases.
   */
  T.thin = (xs, ys, x0, x1, buckets) => {
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
        if (ys[i] < ys[low]) low = i;
        if (ys[i] > ys[high]) high = i;
      }
      const chosen = [start, Math.min(low, high), Math.max(low, high), end - 1];
      chosen.forEach((i, j) => j && i === chosen[j - 1] ? null : keep.push(i));
    }
    return { x: keep.map((i) => xs[i]), y: keep.map((i) => ys[i]), per: count / buckets };
  };

  /** While a run grows its axis grows in steps, so that the picture does not creep. */
  const roomy = (last, planned) => {
    const power = 10 ** Math.floor(Math.log10(Math.max(last, 10)));
    const step = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((m) => m * power).find((v) => v >= last);
    return Math.min(step, Math.max(planned, last));
  };

  T.kinds.curve = class {
    constructor(card, view, kept) {
      this.card = card;
      this.view = view;
      this.kept = Object.assign(kept, { scale: null, chosen: 0, ...kept }); // scale: "log" or "linear"; null: what the quantity prefers
      this.frame = new T.Frame(card.body, view.tooltip, {
        margin: { l: 46, r: 38, t: 6, b: 22 }, // the right margin holds the lines' names
        layer: null,
        full: () => this.full,
        axes: (range, width, height) => this.axes(range, width, height),
        traces: () => this.traces(),
        painted: () => this.placeLabels(),
        hover: (x) => this.hover(x),
        click: (x) => this.jump(x),
        doubleClick: () => this.before !== undefined && view.show(this.before),
        onZoom: (zoomed) => (card.reset.hidden = !zoomed),
      });
      this.marker = T.el("div", "tdw-marker");
      this.frame.overlay.append(this.marker);
      this.dots = [];
      this.labels = [];
      card.reset.addEventListener("click", () => this.frame.setView(null));
      card.items = () => this.menu();
    }
    get quantity() {
      return this.spec.quantities[this.kept.chosen];
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
      const { manifest } = run;
      this.lines = this.quantity.lines.map((line) => {
        const { data } = run.array(line.array) || { data: [] };
        const xs = [];
        const ys = [];
        // Losses not evaluated at an epoch are NaN: leaving them out connects their neighbours.
        for (let i = 0; i < data.length; i++) {
          if (!Number.isFinite(data[i]) || (this.log && data[i] <= 0)) continue;
          xs.push(i);
          ys.push(data[i]);
        }
        return { ...line, data, xs, ys };
      });
      const last = Math.max(1, manifest.epochs - 1);
      const finished = manifest.state === "finished";
      const end = finished ? last : roomy(last, manifest.planned_epochs);
      let low = Infinity;
      let high = -Infinity;
      for (const { ys } of this.lines) {
        for (const y of ys) {
          if (y < low) low = y;
          if (y > high) high = y;
        }
      }
      if (low > high) [low, high] = [0.1, 1];
      let y;
      if (this.log) {
        const [a, b] = [Math.log10(low), Math.log10(high)];
        const room = Math.max(0.05, (b - a) * 0.07);
        y = [a - room, b + room];
      } else y = this.quantity.range ? [this.quantity.range[0], this.quantity.range[1] * 1.04] : [0, high * 1.06];
      this.full = { x: [0, end], y };
      for (const node of [...this.dots, ...this.labels]) node.remove();
      this.dots = this.lines.map((line) => T.el("i", `tdw-dot tdw-is-${line.colour}`));
      this.labels = this.lines.map((line) => T.el("span", `tdw-line-label tdw-is-${line.colour}`, line.label));
      this.frame.overlay.append(...this.labels, ...this.dots);
      T.setText(this.card.title, this.quantity.title);
      this.frame.redraw();
    }
    axes(range, width, height) {
      const x = T.linearTicks(range.x[0], range.x[1], Math.max(2, Math.floor(width / 80)), true);
      const most = Math.max(2, Math.floor(height / 34));
      const y = this.log ? T.logTicks(range.y[0], range.y[1], most) : T.linearTicks(range.y[0], range.y[1], most, false);
      const shapes = T.bands(this.run.manifest).map((band) => ({
        type: "rect",
        layer: "below",
        xref: "x",
        yref: "paper",
        x0: band.from,
        x1: band.to,
        y0: 0,
        y1: 1,
        fillcolor: this.frame.colours.test,
        opacity: 0.09,
        line: { width: 0 },
      }));
      return { x, y, yType: this.log ? "log" : "linear", shapes };
    }
    traces() {
      const [x0, x1] = this.frame.range.x;
      const buckets = Math.max(50, Math.round(this.frame.inner.width));
      this.per = 1;
      this.shown = this.lines.map((line) => {
        const points = T.thin(line.xs, line.ys, x0, x1, buckets);
        this.per = Math.max(this.per, points.per);
        return points;
      });
      return this.lines.map((line, i) => ({
        type: "scatter",
        mode: this.shown[i].x.length < this.frame.inner.width / 10 ? "lines+markers" : "lines",
        marker: { size: 4, color: this.frame.colours[line.colour] },
        x: this.shown[i].x,
        y: this.shown[i].y,
        line: { color: this.frame.colours[line.colour], width: 1.5, simplify: false },
        hoverinfo: "skip",
      }));
    }
    /** Names beside the right ends of the lines, pushed apart where the ends are close. */
    placeLabels() {
      const { frame } = this;
      const [x0, x1] = frame.range.x;
      const HEIGHT = 15;
      const ends = [];
      this.lines.forEach((line, i) => {
        let at = line.xs.length - 1;
        while (at > 0 && line.xs[at] > x1) at--;
        const gone = at < 0 || line.xs[at] < x0;
        this.labels[i].hidden = gone;
        if (gone) return;
        const y = frame.py(this.log ? Math.log10(line.ys[at]) : line.ys[at]);
        ends.push({ label: this.labels[i], x: frame.px(line.xs[at]), y: T.clamp(y, 0, frame.inner.height) });
      });
      ends.sort((a, b) => a.y - b.y);
      for (let i = 1; i < ends.length; i++) {
        const short = HEIGHT - (ends[i].y - ends[i - 1].y);
        if (short <= 0) continue;
        ends[i - 1].y -= short / 2;
        ends[i].y += short / 2;
      }
      const below = ends.length ? ends.at(-1).y + HEIGHT / 2 - frame.inner.height : 0;
      for (const end of ends) {
        const y = below > 0 ? end.y - below : end.y;
        end.label.style.transform = `translate(${end.x + 7}px, ${y - HEIGHT / 2}px)`;
      }
    }
    /** Value of a line at an epoch, or the last one evaluated before it: [value, epoch]. */
    at(line, epoch) {
      let e = Math.min(epoch, line.data.length - 1);
      while (e > 0 && Number.isNaN(line.data[e])) e--;
      return [e >= 0 ? line.data[e] : NaN, e];
    }
    draw(index) {
      const { frame } = this;
      const words = [this.quantity.short || (this.log ? "log" : "linear")];
      const epoch = index < 0 ? this.run.manifest.epochs - 1 : this.run.checkpoints[index];
      const x = index < 0 ? -1 : frame.px(epoch);
      const inside = x >= -0.5 && x <= frame.inner.width + 0.5;
      this.marker.style.transform = `translateX(${inside ? x : -9999}px)`;
      this.lines.forEach((line, i) => {
        const [value] = this.at(line, epoch);
        const y = frame.py(this.log ? Math.log10(value) : value);
        const seen = inside && y >= 0 && y <= frame.inner.height;
        this.dots[i].style.transform = seen ? `translate(${x}px, ${y}px)` : "translate(-9999px, 0)";
        words.push(`${line.label} ${T.short(value)}`);
      });
      if (this.per > 1) words.push(`thinned 1 : ${Math.round(this.per)}`);
      this.card.read(words.join(" · "));
      if (this.per > 1) {
        this.card.reading.title = `Each pixel stands for about ${Math.round(this.per)} epochs and keeps the smallest and the largest of them; zoom in to see every one.`;
      }
    }
    hover(x) {
      const { manifest, checkpoints } = this.run;
      if (!manifest.epochs) return null;
      const epoch = T.clamp(Math.round(x), 0, manifest.epochs - 1);
      const lines = [[`epoch ${T.integer(epoch)}`, ""]];
      for (const line of this.lines) {
        const [value, e] = this.at(line, epoch);
        lines.push(`${line.label} ${T.exact(value)}${e === epoch ? "" : ` at ${T.integer(e)}`}`);
      }
      const near = T.nearest(checkpoints, epoch);
      if (near >= 0) lines.push(`click: checkpoint ${T.integer(checkpoints[near])}`);
      return lines;
    }
    jump(x) {
      const near = T.nearest(this.run.checkpoints, x);
      if (near < 0) return;
      this.before = this.view.index; // a double click resets the zoom and must not leave its first click behind
      clearTimeout(this.forget);
      this.forget = setTimeout(() => (this.before = undefined), 500);
      this.view.show(near);
    }
    menu() {
      const choose = (change) => {
        Object.assign(this.kept, change);
        this.frame.view = null;
        this.card.reset.hidden = true;
        this.update(this.spec, this.run);
        this.view.repaint();
      };
      return [
        {
          group: "Show",
          value: this.kept.chosen,
          options: this.spec.quantities.map((quantity, value) => ({ label: quantity.title, value })),
          choose: (value) => choose({ chosen: value, scale: null }),
        },
        {
          group: "Scale",
          value: this.log ? "log" : "linear",
          options: [
            { label: "Logarithmic", value: "log" },
            { label: "Linear", value: "linear" },
          ],
          choose: (value) => choose({ scale: value }),
        },
      ];
    }
    probe(epoch) {
      return {
        marker: new DOMMatrix(this.marker.style.transform).e,
        x: this.frame.px(epoch),
        values: this.lines.map((line) => line.data[epoch]),
        shown: this.shown.map(({ x, y }) => ({ x: Array.from(x), y: Array.from(y) })),
        range: this.frame.range,
        per: this.per,
      };
    }
    resize() {
      this.frame.resize();
    }
    theme(colours) {
      this.frame.theme(colours);
    }
    close() {
      this.frame.close();
    }
  };
})((window.TdwViewer = window.TdwViewer || {}));
