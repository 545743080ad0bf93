// A Plotly frame (axes, zoom, lines) with a canvas for what moves. Plotly draws only when the axes change; a step of the
// slider touches the canvas alone. Margins are fixed, so that data <-> pixel needs nothing private of Plotly.

import { context2d, el } from "./dom.js";
import { plotlyText } from "./format.js";
import { clamp } from "./numbers.js";

/** @import { Axes, Palette, Range, Ticks, TooltipLine } from "./types.js" */
/** @import { Layout, PlotlyData, PlotlyNode, Relayout } from "./plotly.js" */
/** @import { Tooltip } from "./tooltip.js" */

const CONFIG = { displayModeBar: false, doubleClick: false, responsive: false, showTips: false, scrollZoom: false };
const CLICK = 4; // pixels that a click may move; Plotly zooms from 8 on
const LEAST = 20; // pixels of width and height, below which nothing is drawn

/**
 * @typedef {object} FrameOptions
 * @property {{l: number, r: number, t: number, b: number}} margin in pixels
 * @property {"under" | "over" | null} layer where the canvas is, relative to Plotly's drawing; null: it is not shown
 * @property {"x" | "xy"} [zoom]
 * @property {() => Range} full the range when not zoomed
 * @property {(range: Range, width: number, height: number) => Axes} axes
 * @property {() => PlotlyData[]} [traces]
 * @property {() => void} [painted] axes or size have changed
 * @property {(isZoomed: boolean) => void} [onZoom]
 * @property {(x: number, y: number) => TooltipLine[] | null} [hover]
 * @property {(x: number, y: number) => void} [click]
 * @property {() => void} [doubleClick]
 */

export class PlotFrame {
  /** @param {HTMLElement} body the element to fill @param {Pick<Tooltip, "show" | "hide">} tooltip @param {Palette} colors @param {FrameOptions} options */
  constructor(body, tooltip, colors, options) {
    this.body = body;
    this.tooltip = tooltip;
    this.colors = colors;
    this.options = options;
    this.margin = { ...options.margin };
    this.plot = /** @type {PlotlyNode} */ (el("div", "tdw-plot"));
    this.overlay = el("div", "tdw-overlay");
    this.canvas = el("canvas", `tdw-canvas tdw-${options.layer}`);
    this.context = context2d(this.canvas);
    const under = options.layer === "under" ? [this.canvas] : [];
    const over = options.layer === "over" ? [this.canvas] : [];
    body.append(...under, this.plot, ...over, this.overlay);
    /** @type {Range | null} the zoomed range */
    this.view = null;
    this.isReady = false;
    this.ratio = 1;
    this.width = this.height = 0;
    this.inner = { left: 0, top: 0, width: 10, height: 10 };
    /** @type {{x: number, y: number} | null} */
    this.pressed = null;
    this.onUp = (/** @type {PointerEvent} */ event) => this.release(event);
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
    const box = { left: `${l}px`, top: `${t}px`, width: `${this.inner.width}px`, height: `${this.inner.height}px` };
    Object.assign(this.overlay.style, box);
    this.ratio = window.devicePixelRatio || 1;
    if (!this.options.layer) return;
    const w = Math.round(this.inner.width * this.ratio);
    const h = Math.round(this.inner.height * this.ratio);
    if (this.canvas.width !== w || this.canvas.height !== h) Object.assign(this.canvas, { width: w, height: h });
    Object.assign(this.canvas.style, box);
  }
  get range() {
    return this.view ?? this.options.full();
  }
  get isZoomed() {
    return this.view !== null;
  }
  /** Pixel within the plot area; on a log axis the range is in powers of ten. @param {number} x */
  px(x) {
    const [from, to] = this.range.x;
    return ((x - from) / (to - from)) * this.inner.width;
  }
  /** @param {number} y */
  py(y) {
    const [from, to] = this.range.y;
    return ((to - y) / (to - from)) * this.inner.height;
  }
  /** Data coordinates of a pointer, or null outside the plot area. @param {PointerEvent} event @returns {[number, number] | null} */
  locate(event) {
    const box = this.overlay.getBoundingClientRect();
    const u = (event.clientX - box.left) / box.width;
    const v = (event.clientY - box.top) / box.height;
    if (!(u >= 0 && u <= 1 && v >= 0 && v <= 1)) return null;
    const { x, y } = this.range;
    return [x[0] + u * (x[1] - x[0]), y[1] - v * (y[1] - y[0])];
  }
  /** @returns {Layout} */
  layout() {
    const { x, y } = this.range;
    const axes = this.options.axes(this.range, this.inner.width, this.inner.height);
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
    /** @param {number[]} range @param {Ticks} ticks @param {string} type @param {object} extra */
    const axis = (range, ticks, type, extra) => ({
      ...common,
      type,
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
      yaxis: axis(y, axes.y, axes.yType ?? "linear", {
        showgrid: axes.gridY !== false,
        fixedrange: this.options.zoom === "x",
      }),
      shapes: axes.shapes ?? [],
    };
  }
  /** Draw axes and traces: on data, zoom, resize, theme; never on a step. */
  redraw() {
    if (this.width < LEAST || this.height < LEAST) return;
    const traces = this.options.traces?.() ?? [{ type: "scatter", x: [], y: [], hoverinfo: "skip" }];
    Plotly.react(this.plot, traces, this.layout(), CONFIG);
    if (!this.isReady) {
      this.isReady = true;
      this.plot.on("plotly_relayout", (change) => this.relayout(change));
    }
    this.options.painted?.();
  }
  /** Plotly has zoomed. @param {Relayout} change */
  relayout(change) {
    const bound = (/** @type {string} */ axis, /** @type {number[]} */ old, /** @type {number[]} */ limit) => {
      const from = change[`${axis}.range[0]`] ?? change[`${axis}.range`]?.[0];
      const to = change[`${axis}.range[1]`] ?? change[`${axis}.range`]?.[1];
      if (from === undefined) return old;
      const [low, high] = [Math.min(...limit), Math.max(...limit)]; // an axis may run downwards
      return [clamp(from, low, high), clamp(to, low, high)];
    };
    const full = this.options.full();
    const { x, y } = this.range;
    const next = { x: bound("xaxis", x, full.x), y: bound("yaxis", y, full.y) };
    const keepsDirection = (/** @type {number[]} */ now, /** @type {number[]} */ was) =>
      (now[1] - now[0]) * (was[1] - was[0]) > 0;
    if (!(keepsDirection(next.x, full.x) && keepsDirection(next.y, full.y))) this.redraw();
    else if (next.x[0] !== x[0] || next.x[1] !== x[1] || next.y[0] !== y[0] || next.y[1] !== y[1]) this.setView(next);
  }
  /** Zoom to a range, or null for everything. @param {Range | null} view */
  setView(view) {
    this.view = view;
    this.redraw();
    this.options.onZoom?.(this.isZoomed);
  }
  resize() {
    this.measure();
    this.redraw();
  }
  /** @param {Palette} colors */
  theme(colors) {
    this.colors = colors;
    if (this.isReady) this.redraw();
  }
  listen() {
    this.plot.addEventListener("pointerdown", (event) => {
      this.pressed = event.button === 0 ? { x: event.clientX, y: event.clientY } : null;
      this.tooltip.hide();
    });
    window.addEventListener("pointerup", this.onUp, true);
    this.plot.addEventListener("pointermove", (event) => {
      const at = event.buttons ? null : this.locate(event);
      const lines = at && this.options.hover ? this.options.hover(...at) : null;
      if (lines) this.tooltip.show(event.clientX, event.clientY, lines);
      else this.tooltip.hide();
    });
    this.plot.addEventListener("pointerleave", () => this.tooltip.hide());
    this.plot.addEventListener("dblclick", () => {
      this.options.doubleClick?.();
      if (this.isZoomed) this.setView(null);
    });
  }
  /** @param {PointerEvent} event */
  release(event) {
    const start = this.pressed;
    this.pressed = null;
    if (!start || event.button !== 0) return;
    if (Math.hypot(event.clientX - start.x, event.clientY - start.y) > CLICK) return;
    const at = this.locate(event);
    if (at) this.options.click?.(...at);
  }
  close() {
    window.removeEventListener("pointerup", this.onUp, true);
    if (this.isReady) Plotly.purge(this.plot);
  }
}
