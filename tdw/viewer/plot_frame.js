// A Plotly frame (axes, zoom, lines) with a canvas for what moves. Plotly is asked to draw only when the axes change;
// a step of the slider touches the canvas alone. Margins are fixed, so that data <-> pixel needs nothing private of Plotly.
import { clamp, el, plotlyText } from "./format.js";

const CONFIG = { displayModeBar: false, doubleClick: false, responsive: false, showTips: false, scrollZoom: false };

export class PlotFrame {
  /**
   * body: element to fill · margin: {l, r, t, b} in px · canvas: "under" or "over" Plotly's drawing, or null
   * hooks: axes(view, width, height) -> {x: ticks, y: ticks, xType, yType} · traces() · painted(): axes or size changed
   *        full() -> {x: [..], y: [..]} the range when not zoomed · hover(x, y, event) -> lines or null · click(x, y, event)
   * zoom: "x" or "xy"
   */
  constructor(body, tooltip, options) {
    Object.assign(this, { body, tooltip, margin: { l: 44, r: 12, t: 8, b: 24 }, zoom: "xy" }, options);
    this.plot = el("div", "tdw-plot");
    this.overlay = el("div", "tdw-overlay");
    this.canvas = null;
    if (this.layer) {
      this.canvas = el("canvas", `tdw-canvas tdw-${this.layer}`);
      this.context = this.canvas.getContext("2d");
    }
    body.append(
      ...[this.layer === "under" && this.canvas, this.plot, this.layer === "over" && this.canvas, this.overlay].filter(
        Boolean,
      ),
    );
    this.view = null; // {x, y} while zoomed
    this.ready = false;
    this.colors = null;
    this.listen();
    this.measure();
  }
  measure() {
    this.width = this.body.clientWidth;
    this.height = this.body.clientHeight;
    const { l, r, t, b } = this.margin;
    this.inner = {
      left: l,
      top: t,
      width: Math.max(10, this.width - l - r),
      height: Math.max(10, this.height - t - b),
    };
    Object.assign(this.overlay.style, {
      left: `${l}px`,
      top: `${t}px`,
      width: `${this.inner.width}px`,
      height: `${this.inner.height}px`,
    });
    if (this.canvas) {
      this.ratio = window.devicePixelRatio || 1;
      const w = Math.round(this.inner.width * this.ratio);
      const h = Math.round(this.inner.height * this.ratio);
      if (this.canvas.width !== w || this.canvas.height !== h) Object.assign(this.canvas, { width: w, height: h });
      Object.assign(this.canvas.style, {
        left: `${l}px`,
        top: `${t}px`,
        width: `${this.inner.width}px`,
        height: `${this.inner.height}px`,
      });
    }
  }
  get range() {
    return this.view || this.full();
  }
  get zoomed() {
    return this.view !== null;
  }
  /** Pixel within the plot area; on a log axis the range is in powers of ten. */
  px(x) {
    const [from, to] = this.range.x;
    return ((x - from) / (to - from)) * this.inner.width;
  }
  py(y) {
    const [from, to] = this.range.y;
    return ((to - y) / (to - from)) * this.inner.height;
  }
  /** Data coordinates of a mouse event, or null outside the plot area. */
  locate(event) {
    const box = this.overlay.getBoundingClientRect();
    const u = (event.clientX - box.left) / box.width;
    const v = (event.clientY - box.top) / box.height;
    if (!(u >= 0 && u <= 1 && v >= 0 && v <= 1)) return null;
    const { x, y } = this.range;
    return [x[0] + u * (x[1] - x[0]), y[1] - v * (y[1] - y[0])];
  }
  layout() {
    const { x, y } = this.range;
    const axes = this.axes(this.range, this.inner.width, this.inner.height);
    const { colors } = this;
    const font = { family: colors.font, size: 11, color: colors.muted };
    const common = {
      showline: false,
      zeroline: false,
      ticks: "",
      tickfont: font,
      automargin: false,
      tickmode: "array",
    };
    const axis = (range, ticks, type, extra) => ({
      ...common,
      type: type || "linear",
      range: [...range],
      autorange: false,
      tickvals: ticks.values,
      ticktext: ticks.text.map(plotlyText),
      ticklabelstandoff: 4,
      gridcolor: colors.line,
      gridwidth: 1,
      fixedrange: false,
      ...extra,
    });
    const { l, r, t, b } = this.margin;
    return {
      width: this.width,
      height: this.height,
      margin: { l, r, t, b, pad: 0 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font,
      showlegend: false,
      hovermode: false,
      dragmode: "zoom",
      xaxis: axis(x, axes.x, "linear", { showgrid: Boolean(axes.gridX), tickangle: 0 }),
      yaxis: axis(y, axes.y, axes.yType, { showgrid: axes.gridY !== false, fixedrange: this.zoom === "x" }),
      shapes: axes.shapes || [],
    };
  }
  /** Draw axes and traces anew: on data, zoom, resize, theme; never on a step. */
  redraw() {
    if (!this.colors || this.width < 20 || this.height < 20) return;
    Plotly.react(this.plot, this.traces(), this.layout(), CONFIG);
    if (!this.ready) {
      this.ready = true;
      this.plot.on("plotly_relayout", (change) => this.relayout(change));
    }
    this.painted?.();
  }
  relayout(change) {
    const bound = (axis, old, limit) => {
      const from = change[`${axis}.range[0]`] ?? change[`${axis}.range`]?.[0];
      const to = change[`${axis}.range[1]`] ?? change[`${axis}.range`]?.[1];
      if (from === undefined) return old;
      const [low, high] = [Math.min(...limit), Math.max(...limit)]; // an axis may run downwards
      return [clamp(from, low, high), clamp(to, low, high)];
    };
    const full = this.full();
    const { x, y } = this.range;
    const next = { x: bound("xaxis", x, full.x), y: bound("yaxis", y, full.y) };
    const along = (now, was) => (now[1] - now[0]) * (was[1] - was[0]) > 0;
    if (!(along(next.x, full.x) && along(next.y, full.y))) return this.redraw();
    if (next.x[0] === x[0] && next.x[1] === x[1] && next.y[0] === y[0] && next.y[1] === y[1]) return undefined;
    return this.setView(next);
  }
  /** Zoom to a range, or null for everything. */
  setView(view) {
    this.view = view;
    this.redraw();
    this.onZoom?.(this.zoomed);
  }
  resize() {
    this.measure();
    this.redraw();
  }
  theme(colors) {
    this.colors = colors;
    if (this.ready) this.redraw();
  }
  listen() {
    let down = null;
    this.onUp = (event) => {
      const start = down;
      down = null;
      if (!start || event.button !== 0) return;
      // Plotly zooms from 8 px on; below that it was a click
      if (Math.hypot(event.clientX - start.x, event.clientY - start.y) > 4) return;
      const at = this.locate(event);
      if (at) this.click?.(at[0], at[1], event);
    };
    this.plot.addEventListener("pointerdown", (event) => {
      down = event.button === 0 ? { x: event.clientX, y: event.clientY } : null;
      this.tooltip.hide();
    });
    window.addEventListener("pointerup", this.onUp, true);
    this.plot.addEventListener("pointermove", (event) => {
      const at = event.buttons ? null : this.locate(event);
      const lines = at && this.hover ? this.hover(at[0], at[1], event) : null;
      if (lines) this.tooltip.show(event.clientX, event.clientY, lines);
      else this.tooltip.hide();
    });
    this.plot.addEventListener("pointerleave", () => this.tooltip.hide());
    this.plot.addEventListener("dblclick", () => {
      this.doubleClick?.();
      if (this.zoomed) this.setView(null);
    });
  }
  close() {
    window.removeEventListener("pointerup", this.onUp, true);
    if (this.ready) Plotly.purge(this.plot);
  }
}
