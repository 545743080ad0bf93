// The transport: play, a timeline with a tick per checkpoint at its epoch and bands for events, the epoch that can be typed.
import { el, formatInteger, nearestIndex, setText } from "./format.js";

const PAD = 8; // half of the thumb: the native range keeps it within its track
const PER_SECOND = 12; // checkpoints while playing

const icon = (path) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
};

/**
 * Stretches of epochs worth a tint: from the first time the training loss was small to the first time the test loss was
 * (the delay that makes a run grok), as {from, to, label}. None unless both were reached, in that order.
 */
export const tintedSpans = (manifest) => {
  const first = (prefix) => (manifest.events || []).find((event) => event.name.startsWith(prefix) && event.first);
  const memorized = first("memorized");
  const generalized = first("generalized");
  if (!memorized || !generalized || generalized.first[1] <= memorized.first[1]) return [];
  return [{ from: memorized.first[1], to: generalized.first[1], label: "memorized, not yet generalized" }];
};

export class Transport {
  constructor(parent, view) {
    this.view = view;
    const bar = el("div", "tdw-transport", null, { role: "group", "aria-label": "Checkpoint" });
    this.play = el("button", "tdw-button tdw-play", null, {
      type: "button",
      "aria-label": "Play",
      title: "Play (space)",
    });
    this.icons = { play: icon("M4 2.5v11l9.5-5.5z"), pause: icon("M4 3h3v10H4zM9 3h3v10H9z") };
    this.play.append(this.icons.play);
    this.timeline = el("div", "tdw-timeline");
    this.canvas = el("canvas", null, null, { "aria-hidden": "true" });
    this.elapsed = el("div", "tdw-elapsed");
    this.range = el("input", "tdw-range", null, {
      type: "range",
      min: "0",
      max: "1",
      step: "any",
      "aria-label": "Epoch of the checkpoint shown",
    });
    this.timeline.append(this.canvas, this.elapsed, this.range);
    this.epoch = el("input", "tdw-epoch", null, {
      type: "text",
      inputmode: "numeric",
      autocomplete: "off",
      spellcheck: "false",
      "aria-label": "Epoch: type one to go to the nearest checkpoint",
      title: "Type an epoch: the nearest checkpoint is shown",
    });
    const words = el("div", "tdw-where");
    this.where = el("div", null, "");
    words.append(el("div", null, "epoch"), this.where);
    bar.append(this.play, this.timeline, this.epoch, words);
    parent.append(bar);
    this.bar = bar;
    this.play.addEventListener("click", () => this.toggle());
    this.range.addEventListener("input", () =>
      this.view.show(nearestIndex(this.checkpoints, Number(this.range.value)), true),
    );
    this.range.addEventListener("pointermove", (event) => this.hover(event));
    this.range.addEventListener("pointerleave", () => view.tooltip.hide());
    this.epoch.addEventListener("focus", () => this.epoch.select());
    this.epoch.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.typed();
      else if (event.key === "Escape") this.restore();
      else return;
      event.stopPropagation();
    });
    this.epoch.addEventListener("blur", () => this.restore());
    this.checkpoints = [];
    this.end = 1;
  }
  update(run) {
    this.run = run;
    const { manifest } = run;
    this.checkpoints = manifest.checkpoints;
    const recorded = Math.max(0, manifest.epochs - 1);
    this.end = Math.max(
      1,
      manifest.state === "finished" ? recorded : Math.max(recorded, manifest.planned_epochs),
      this.checkpoints.at(-1) ?? 0,
    );
    this.recorded = recorded;
    this.spoken = null;
    this.range.max = String(this.end);
    const nothing = !this.checkpoints.length;
    for (const node of [this.range, this.play, this.epoch]) node.disabled = nothing;
    this.bar.classList.toggle("tdw-idle", nothing);
    this.paint();
  }
  x(epoch) {
    return PAD + (epoch / this.end) * (this.width - 2 * PAD);
  }
  resize() {
    this.width = this.timeline.clientWidth;
    this.height = this.timeline.clientHeight;
    this.paint();
  }
  theme(colors) {
    this.colors = colors;
    this.paint();
  }
  /** What stands still: track, ticks, bands. */
  paint() {
    if (!this.colors || !this.run || !this.width) return;
    const ratio = window.devicePixelRatio || 1;
    const { canvas, colors, height } = this;
    Object.assign(canvas, { width: Math.round(this.width * ratio), height: Math.round(height * ratio) });
    const g = canvas.getContext("2d");
    const middle = Math.round(height / 2);
    const rect = (from, to, y, h, color, alpha) => {
      g.globalAlpha = alpha;
      g.fillStyle = color;
      const left = Math.round(this.x(from) * ratio);
      g.fillRect(left, y * ratio, Math.max(ratio, Math.round(this.x(to) * ratio) - left), h * ratio);
    };
    rect(0, this.end, middle - 1, 2, colors.line, 1);
    rect(0, this.recorded, middle - 1, 2, colors["line-strong"], 1);
    for (const band of tintedSpans(this.run.manifest)) rect(band.from, band.to, middle - 8, 16, colors.test, 0.16);
    for (const event of this.run.manifest.events || []) {
      if (!event.first) continue;
      const color = event.name.startsWith("memorized")
        ? colors.train
        : event.name.startsWith("generalized")
          ? colors.good
          : colors.muted;
      rect(event.first[0] < 0 ? event.first[1] : event.first[0], event.first[1], 1, 4, color, 0.9);
    }
    g.globalAlpha = 0.6;
    g.fillStyle = colors.muted;
    let last = -9;
    for (const epoch of this.checkpoints) {
      const x = Math.round(this.x(epoch) * ratio);
      if (x === last) continue;
      g.fillRect(x - Math.floor(ratio / 2), (middle - 5) * ratio, Math.max(1, Math.floor(ratio)), 10 * ratio);
      last = x;
    }
    g.globalAlpha = 1;
  }
  draw(index) {
    const epoch = index < 0 ? 0 : this.checkpoints[index];
    this.elapsed.style.transform = `scaleX(${index < 0 ? 0 : (this.x(epoch) - PAD) / (this.width - 2 * PAD)})`;
    if (Number(this.range.value) !== epoch) this.range.value = String(epoch);
    const text = index < 0 ? "–" : formatInteger(epoch);
    if (document.activeElement !== this.epoch || this.epoch.dataset.shown === this.epoch.value) this.epoch.value = text;
    this.epoch.dataset.shown = text;
    setText(this.where, index < 0 ? "no checkpoint" : `checkpoint ${index + 1} / ${this.checkpoints.length}`);
    if (this.spoken !== index) {
      this.range.setAttribute(
        "aria-valuetext",
        index < 0 ? "no checkpoint" : `epoch ${epoch}, checkpoint ${index + 1} of ${this.checkpoints.length}`,
      );
      this.spoken = index;
    }
  }
  hover(event) {
    if (event.buttons || !this.checkpoints.length) return this.view.tooltip.hide();
    const box = this.range.getBoundingClientRect();
    const epoch = ((event.clientX - box.left - PAD) / (box.width - 2 * PAD)) * this.end;
    const near = this.checkpoints[nearestIndex(this.checkpoints, epoch)];
    const lines = [[`epoch ${formatInteger(near)}`, ""]];
    const slack = (4 / (box.width - 2 * PAD)) * this.end;
    for (const { label, first } of this.run.manifest.events || []) {
      if (first && epoch >= first[0] - slack && epoch <= first[1] + slack)
        lines.push(`${label} ${formatInterval(first)}`);
    }
    for (const band of tintedSpans(this.run.manifest)) if (epoch > band.from && epoch < band.to) lines.push(band.label);
    return this.view.tooltip.show(event.clientX, box.bottom - 8, lines);
  }
  typed() {
    const text = this.epoch.value.replace(/[\s\u202f,_']/g, "");
    const epoch = Number(text);
    if (text === "" || !Number.isFinite(epoch)) {
      this.epoch.setAttribute("aria-invalid", "true");
      this.view.say(`“${this.epoch.value.slice(0, 20)}” is not an epoch: type a number from 0 to ${this.end}.`);
      return;
    }
    const index = nearestIndex(this.checkpoints, epoch);
    this.epoch.removeAttribute("aria-invalid");
    this.epoch.value = this.epoch.dataset.shown = formatInteger(this.checkpoints[index]);
    this.view.show(index);
    this.epoch.select();
  }
  restore() {
    this.epoch.removeAttribute("aria-invalid");
    this.epoch.value = this.epoch.dataset.shown || "";
  }
  get playing() {
    return Boolean(this.player);
  }
  toggle() {
    if (this.playing) return this.stop();
    if (!this.checkpoints.length) return undefined;
    if (this.view.index >= this.checkpoints.length - 1) this.view.show(0, true);
    let due = performance.now() + 1000 / PER_SECOND;
    const step = (now) => {
      if (now >= due) {
        if (this.view.index >= this.checkpoints.length - 1) return this.stop();
        this.view.show(this.view.index + 1, true);
        due = Math.max(due + 1000 / PER_SECOND, now);
      }
      this.player = requestAnimationFrame(step);
      return undefined;
    };
    this.player = requestAnimationFrame(step);
    this.face("pause", "Pause");
    return undefined;
  }
  stop() {
    if (!this.player) return;
    cancelAnimationFrame(this.player);
    this.player = null;
    this.face("play", "Play");
  }
  face(name, label) {
    this.play.replaceChildren(this.icons[name]);
    this.play.setAttribute("aria-label", label);
    this.play.title = `${label} (space)`;
  }
  close() {
    this.stop();
    this.bar.remove();
  }
}

/** An event's interval in words: "750–775", or one epoch. */
export const formatInterval = ([from, to]) =>
  from < 0 || from === to ? formatInteger(to) : `${formatInteger(from)}–${formatInteger(to)}`;
