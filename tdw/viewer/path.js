// Panel kind "path": the checkpoints as points in a plane, joined in their order; what lies behind the slider is in color.
import { Choices } from "./choices.js";
import { LEFT_MARGIN } from "./curve.js";
import { el, formatExact, formatInteger, linearTicks, setText } from "./format.js";
import { FramedPanel } from "./framed_panel.js";

export class PathPanel extends FramedPanel {
  constructor(card, view, kept) {
    super(
      card,
      view,
      kept,
      {},
      {
        margin: { l: LEFT_MARGIN, r: 16, t: 8, b: 34 },
        layer: "over",
        click: (x, y) => this.jump(x, y),
      },
    );
    this.choices = new Choices(kept);
    this.across = el("span", "tdw-axis-name");
    this.upward = el("span", "tdw-axis-name tdw-upward");
    card.body.append(this.across, this.upward);
  }
  update(spec, run) {
    this.spec = spec;
    this.run = run;
    this.choices.update(spec);
    const array = run.array(spec.position);
    const explained = run.array(spec.explained);
    this.points = [];
    if (array?.rows) {
      const group = this.choices.pick("group");
      const [, , count, parts] = array.shape;
      const [u, v] = spec.planes[this.choices.pick("plane")];
      const at = (i, part) => array.data[(group * count + i) * parts + part];
      this.points = Array.from({ length: count }, (_, i) => [at(i, u), at(i, v)]);
      const share = (part) => explained.data[group * parts + part];
      this.shares = [share(u), share(v)];
      setText(this.across, `component ${u + 1} · ${this.percent(0)}`);
      setText(this.upward, `component ${v + 1} · ${this.percent(1)}`);
    }
    this.fit();
    this.frame.redraw();
  }
  percent(i) {
    return `${(100 * this.shares[i]).toFixed(this.shares[i] < 0.1 ? 1 : 0)} %`;
  }
  /** Both axes in the same units, so that a step in any direction looks as long as it is. */
  fit() {
    const range = (axis) => {
      const values = this.points.map((point) => point[axis]).filter(Number.isFinite);
      return values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
    };
    const [x, y] = [range(0), range(1)];
    const { width, height } = this.frame.inner;
    const unit = Math.max((x[1] - x[0]) / width, (y[1] - y[0]) / height, 1e-9) * 1.12;
    const around = ([low, high], pixels) => [(low + high - unit * pixels) / 2, (low + high + unit * pixels) / 2];
    this.full = { x: around(x, width), y: around(y, height) };
  }
  axes(range, width, height) {
    return {
      x: linearTicks(range.x[0], range.x[1], Math.max(2, Math.floor(width / 70)), false),
      y: linearTicks(range.y[0], range.y[1], Math.max(2, Math.floor(height / 40)), false),
      gridX: true,
    };
  }
  draw(index) {
    const { context: g, canvas, ratio, colors } = this.frame;
    g.clearRect(0, 0, canvas.width, canvas.height);
    const { points } = this;
    if (!points.length) return this.card.read("");
    const at = (i) => [this.frame.px(points[i][0]) * ratio, this.frame.py(points[i][1]) * ratio];
    const line = (from, to, color, width) => {
      g.strokeStyle = color;
      g.lineWidth = width * ratio;
      g.lineJoin = "round";
      g.beginPath();
      for (let i = from; i <= to; i++) g.lineTo(...at(i));
      g.stroke();
    };
    const here = Math.min(index, points.length - 1);
    line(here, points.length - 1, colors["line-strong"], 1.5);
    line(0, here, colors.accent, 1.5);
    points.forEach((_, i) => {
      g.fillStyle = i <= here ? colors.accent : colors["line-strong"];
      const [x, y] = at(i);
      g.fillRect(x - 1.5 * ratio, y - 1.5 * ratio, 3 * ratio, 3 * ratio);
    });
    const [x, y] = at(here);
    g.fillStyle = colors.mark;
    g.beginPath();
    g.arc(x, y, 4.5 * ratio, 0, 7);
    g.fill();
    const together = this.shares[0] + this.shares[1];
    return this.card.read(
      `${this.choices.words(["group"])[0]} · ${(100 * together).toFixed(0)} % of the variance in this plane`,
    );
  }
  absence() {
    if (this.points.length === 1)
      return { title: "One point only", text: "A path needs two checkpoints; this run has kept one." };
    const nothing = this.points.length && this.points.every(([x]) => Number.isNaN(x));
    return nothing
      ? {
          title: "Nothing to show",
          text: `This network has no weights of the group “${this.choices.name("group")}”: choose another in the menu.`,
          chosen: true,
        }
      : null;
  }
  near(x, y) {
    let best = null;
    this.points.forEach((point, i) => {
      const away = Math.hypot(this.frame.px(point[0]) - this.frame.px(x), this.frame.py(point[1]) - this.frame.py(y));
      if (away < 14 && (!best || away < best.away)) best = { i, away };
    });
    return best;
  }
  hover(x, y) {
    const found = this.near(x, y);
    if (!found) return null;
    const [u, v] = this.points[found.i];
    return [
      [`epoch ${formatInteger(this.run.checkpoints[found.i])}`, ""],
      `${formatExact(u)}, ${formatExact(v)}`,
      "click: this checkpoint",
    ];
  }
  jump(x, y) {
    const found = this.near(x, y);
    if (found) this.view.show(found.i);
  }
  menu() {
    return this.choices.menu(() => this.choose());
  }
  /** For tests: a checkpoint's point, where it is painted, and the pixel there. */
  probe(i) {
    const { ratio, context } = this.frame;
    const [x, y] = [this.frame.px(this.points[i][0]), this.frame.py(this.points[i][1])];
    return {
      point: this.points[i],
      shares: this.shares,
      pixel: [...context.getImageData(Math.round(x * ratio), Math.round(y * ratio), 1, 1).data],
    };
  }
  resize() {
    this.frame.measure();
    this.fit();
    this.frame.redraw();
  }
}
