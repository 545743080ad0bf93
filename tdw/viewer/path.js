// Panel kind "path": the checkpoints as points in a plane, joined in order; up to the slider's checkpoint in color.

import { Choices } from "./choices.js";
import { el, setText } from "./dom.js";
import { LEFT_MARGIN } from "./epochs.js";
import { formatExact, formatInteger } from "./format.js";
import { FramedPanel } from "./framed_panel.js";
import { linearTicks } from "./ticks.js";

/** @import { Axes, CardState, Kept, MenuItem, PathDescription, Range, Run, TooltipLine, ViewerHandle } from "./types.js" */
/** @import { Card } from "./card.js" */

const NEAR = 14; // pixels between the pointer and a point that it means

/** @param {number} share */
const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;

/** @extends {FramedPanel<PathDescription>} */
export class PathPanel extends FramedPanel {
  /** @param {Card} card @param {ViewerHandle} view @param {Kept} kept @param {PathDescription} spec @param {Run} run */
  constructor(card, view, kept, spec, run) {
    super(
      card,
      view,
      kept,
      spec,
      run,
      {},
      {
        margin: { l: LEFT_MARGIN, r: 16, t: 8, b: 34 },
        layer: "over",
        click: (x, y) => this.jump(x, y),
      },
    );
    this.choices = new Choices(kept);
    /** @type {[number, number][]} */
    this.points = [];
    this.shares = [0, 0];
    this.across = el("span", "tdw-axis-name");
    this.upward = el("span", "tdw-axis-name tdw-upward");
    card.body.append(this.across, this.upward);
  }
  /** @param {PathDescription} spec @param {Run} run @override */
  update(spec, run) {
    super.update(spec, run);
    this.choices.update(spec);
    const array = run.array(spec.position);
    const explained = run.array(spec.explained);
    this.points = [];
    if (array?.rows && explained) {
      const group = this.choices.pick("group");
      const [, , count, parts] = array.shape;
      const [u, v] = spec.planes[this.choices.pick("plane")];
      const at = (/** @type {number} */ i, /** @type {number} */ part) =>
        array.data[(group * count + i) * parts + part];
      this.points = Array.from({ length: count }, (_, i) => [at(i, u), at(i, v)]);
      this.shares = [u, v].map((part) => explained.data[group * parts + part]);
      setText(this.across, `component ${u + 1} · ${percent(this.shares[0])}`);
      setText(this.upward, `component ${v + 1} · ${percent(this.shares[1])}`);
    }
    this.fit();
    this.frame.redraw();
  }
  /** Both axes in the same units, so that a step in any direction looks as long as it is. */
  fit() {
    const range = (/** @type {0 | 1} */ axis) => {
      const values = this.points.map((point) => point[axis]).filter(Number.isFinite);
      return values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
    };
    const [x, y] = [range(0), range(1)];
    const { width, height } = this.frame.inner;
    const unit = Math.max((x[1] - x[0]) / width, (y[1] - y[0]) / height, 1e-9) * 1.12;
    const around = (/** @type {number[]} */ [low, high], /** @type {number} */ pixels) => [
      (low + high - unit * pixels) / 2,
      (low + high + unit * pixels) / 2,
    ];
    this.full = { x: around(x, width), y: around(y, height) };
  }
  /** @param {Range} range @param {number} width @param {number} height @returns {Axes} @override */
  axes(range, width, height) {
    return {
      x: linearTicks(range.x[0], range.x[1], Math.max(2, Math.floor(width / 70)), false),
      y: linearTicks(range.y[0], range.y[1], Math.max(2, Math.floor(height / 40)), false),
      gridX: true,
    };
  }
  /** @param {number} index @override */
  draw(index) {
    const { context: g, canvas, ratio, colors } = this.frame;
    g.clearRect(0, 0, canvas.width, canvas.height);
    const { points } = this;
    if (!points.length) {
      this.card.read("");
      return;
    }
    const at = (/** @type {number} */ i) => ({
      x: this.frame.px(points[i][0]) * ratio,
      y: this.frame.py(points[i][1]) * ratio,
    });
    const line = (/** @type {number} */ from, /** @type {number} */ to, /** @type {string} */ color) => {
      g.strokeStyle = color;
      g.lineWidth = 1.5 * ratio;
      g.lineJoin = "round";
      g.beginPath();
      for (let i = from; i <= to; i++) g.lineTo(at(i).x, at(i).y);
      g.stroke();
    };
    const here = Math.min(index, points.length - 1);
    line(here, points.length - 1, colors.lineStrong);
    line(0, here, colors.accent);
    points.forEach((_, i) => {
      g.fillStyle = i <= here ? colors.accent : colors.lineStrong;
      const { x, y } = at(i);
      g.fillRect(x - 1.5 * ratio, y - 1.5 * ratio, 3 * ratio, 3 * ratio);
    });
    const { x, y } = at(here);
    g.fillStyle = colors.mark;
    g.beginPath();
    g.arc(x, y, 4.5 * ratio, 0, 7);
    g.fill();
    const together = (100 * (this.shares[0] + this.shares[1])).toFixed(0);
    this.card.read(`${this.choices.words(["group"])[0]} · ${together} % of the variance in this plane`);
  }
  /** @returns {CardState | null} */
  absence() {
    if (this.points.length === 1)
      return { title: "One point only", text: "A path needs two checkpoints; this run has only one." };
    if (!this.points.length || !this.points.every(([x]) => Number.isNaN(x))) return null;
    const text = `This network has no weights in the group “${this.choices.nameOf("group")}”. Choose another in the menu.`;
    return { title: "Nothing to show", text, keepsMenu: true };
  }
  /** The point that a place means. @param {number} x @param {number} y */
  near(x, y) {
    let best = { i: -1, away: NEAR };
    this.points.forEach(([u, v], i) => {
      const away = Math.hypot(this.frame.px(u) - this.frame.px(x), this.frame.py(v) - this.frame.py(y));
      if (away < best.away) best = { i, away };
    });
    return best.i;
  }
  /** @param {number} x @param {number} y @returns {TooltipLine[] | null} @override */
  hover(x, y) {
    const i = this.near(x, y);
    if (i < 0) return null;
    const place = this.points[i].map(formatExact).join(", ");
    return [[`epoch ${formatInteger(this.run.checkpoints[i])}`, ""], place, "click: this checkpoint"];
  }
  /** @param {number} x @param {number} y */
  jump(x, y) {
    const i = this.near(x, y);
    if (i >= 0) this.view.show(i);
  }
  /** @returns {MenuItem[]} @override */
  menu() {
    return this.choices.menu(() => this.choose());
  }
  /** A checkpoint's point and the pixel painted there. @param {number} i */
  probe(i) {
    const { ratio, context } = this.frame;
    const [x, y] = [this.frame.px(this.points[i][0]), this.frame.py(this.points[i][1])];
    const pixel = context.getImageData(Math.round(x * ratio), Math.round(y * ratio), 1, 1).data;
    return { point: this.points[i], shares: this.shares, pixel: [...pixel] };
  }
  /** @override */
  resize() {
    this.frame.measure();
    this.fit();
    this.frame.redraw();
  }
}
