// Panel kind "maps": activation of neurons on every pair (a, b). First all neurons as thumbnails, then the pinned ones, large.
// Maps are computed here from the neurons' tables; a step of the slider asks the server for nothing.

import { isAborted, RefusedError } from "./data_source.js";
import { el } from "./dom.js";
import { formatExact, formatInteger } from "./format.js";
import { NeuronMaps } from "./neuron_maps.js";
import { PinnedMaps } from "./pinned_maps.js";
import { Thumbnails } from "./thumbnails.js";

/** @import { Kept, Manifest, MapsDescription, MenuItem, NeuronSummary, Palette, PanelView, Run, TooltipLine, ViewerHandle } from "./types.js" */
/** @import { Card } from "./card.js" */

export const MOST_PINS = 5;
const SETTLED = 60; // milliseconds after scrolling until tables are fetched

/** @type {Record<string, string>} */
const SORTS = { index: "neuron", frequency: "frequency", share: "share", variance: "variance" };

/** @implements {PanelView} */
export class MapsPanel {
  /** @param {Card} card @param {ViewerHandle} view @param {Kept} kept @param {MapsDescription} spec @param {Run} run */
  constructor(card, view, kept, spec, run) {
    this.card = card;
    this.view = view;
    this.kept = Object.assign(kept, { sort: "index", fixed: true, ...kept }); // fixed: colors are the same at every checkpoint
    this.spec = spec;
    this.run = run;
    this.colors = view.colors;
    this.changes = {
      changed: () => this.came(),
      failed: (/** @type {Error} */ error) => this.failed(error),
    };
    this.maps = new NeuronMaps(run, this.changes);
    this.index = -1; // of the checkpoint that is drawn
    this.sort = "index";
    this.sortedAt = 0;
    /** @type {"all" | "pinned"} */
    this.stage = "all";
    this.width = this.height = 0;
    this.drawnAt = -1;
    this.isUpdated = false;
    /** @type {string | null} why tables were refused */
    this.refusal = null;
    this.loading = Promise.resolve();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.settling = undefined;
    this.thumbs = new Thumbnails({
      toggle: (neuron) => view.togglePin(neuron),
      scrolled: () => {
        view.tooltip.hide();
        this.lay();
        view.repaint();
      },
    });
    this.pinnedMaps = new PinnedMaps((neuron) => view.togglePin(neuron));
    card.body.append(this.thumbs.node, this.pinnedMaps.node);
    this.sortBox = el("select", "tdw-select", null, { "aria-label": "Sort neurons by" });
    for (const [value, label] of Object.entries(SORTS))
      this.sortBox.append(el("option", null, `by ${label}`, { value }));
    const title = "Sort again by the values at this checkpoint";
    this.sortHere = el("button", "tdw-text-button", "sort here", { type: "button", title });
    this.sortHere.hidden = true;
    this.toggle = el("button", "tdw-text-button", null, { type: "button" });
    card.tools.append(this.sortHere, this.sortBox, this.toggle);
    card.items = () => this.menu();
    this.listen();
    this.measure();
  }
  listen() {
    this.sortBox.addEventListener("change", () => this.sortBy(this.sortBox.value));
    this.sortHere.addEventListener("click", () => this.sortBy(this.sort));
    this.toggle.addEventListener("click", () => this.setStage(this.stage === "all" ? "pinned" : "all"));
    this.thumbs.node.addEventListener("pointermove", (event) => this.hoverThumb(event));
    this.pinnedMaps.node.addEventListener("pointermove", (event) => this.hoverMap(event));
    for (const { node } of [this.thumbs, this.pinnedMaps])
      node.addEventListener("pointerleave", () => this.view.tooltip.hide());
  }
  get p() {
    return this.maps.p;
  }
  get order() {
    return this.thumbs.order;
  }
  get slots() {
    return this.thumbs.slots;
  }
  /** New checkpoints mean new tables. @param {Manifest} manifest */
  depends({ checkpoints, contents }) {
    return `${checkpoints.length} ${contents?.weights}`;
  }
  /** @param {MapsDescription} spec @param {Run} run */
  update(spec, run) {
    this.spec = spec;
    this.run = run;
    const isFirst = !this.isUpdated;
    this.isUpdated = true;
    if (isFirst || this.maps.isStale(run)) {
      this.maps.close();
      this.maps = new NeuronMaps(run, this.changes);
      this.refusal = null;
      this.thumbs.reset(this.maps.p, this.maps.count);
    }
    this.maps.summarize(spec.summary);
    const { isSummarized } = this.maps;
    for (const option of this.sortBox.options) option.disabled = option.value !== "index" && !isSummarized;
    this.drawnAt = -1;
    this.measure();
    if (isFirst && isSummarized && this.kept.sort !== "index") this.sortBy(this.kept.sort);
    this.setStage(this.stage);
  }
  /** Arrays of which the row of one checkpoint is drawn. */
  arraysAt() {
    return Object.values(this.spec.summary);
  }
  /** Whether what is shown of a checkpoint is here. @param {number} index */
  isHeld(index) {
    return this.maps.tables.isHeld(index, this.shownNeurons());
  }
  /** @param {number} index */
  follow(index) {
    this.maps.tables.follow(index, this.shownNeurons());
  }
  /** Tables have come. */
  came() {
    this.drawnAt = -1;
    this.view.repaint();
  }
  /** @param {Error} error */
  failed(error) {
    if (this.refusal !== error.message) this.view.soon(); // the file may have been changing
    this.refusal = error.message; // frames that stay empty would not say so
    this.view.repaint();
    if (!(error instanceof RefusedError)) this.view.failed(error);
  }
  /** Row of the summary. @param {number} index */
  row(index) {
    return this.view.row(this.spec.analysis, index);
  }
  // ---- which neurons, where -----------------------------------------------------------------------------------
  measure() {
    this.width = this.card.body.clientWidth;
    this.height = this.card.body.clientHeight;
  }
  /** @param {"all" | "pinned"} stage */
  setStage(stage) {
    const { pins } = this.view;
    this.stage = stage === "pinned" && pins.length ? "pinned" : "all";
    const isAll = this.stage === "all";
    this.thumbs.node.hidden = !isAll;
    this.pinnedMaps.node.hidden = isAll;
    this.sortBox.hidden = !isAll;
    this.toggle.hidden = isAll && !pins.length;
    this.toggle.textContent = isAll ? `pinned (${pins.length})` : "all neurons";
    this.lay();
    this.fetch();
    this.view.repaint();
  }
  pinned() {
    this.thumbs.markPins(this.view.pins);
    this.setStage(this.stage);
  }
  /** @param {string} key */
  sortBy(key) {
    const { maps } = this;
    this.sort = maps.isSummarized ? key : "index";
    this.sortBox.value = this.sort;
    this.kept.sort = this.sort;
    this.sortedAt = this.index < 0 ? this.view.index : this.index;
    const row = this.row(this.sortedAt);
    const get = (/** @type {keyof NeuronSummary} */ name, /** @type {number} */ n) => maps.value(name, row, n) ?? 0;
    /** @type {Record<string, (m: number, n: number) => number>} ascending, neurons by their index where equal */
    const by = {
      index: () => 0,
      frequency: (m, n) =>
        get("dead", m) - get("dead", n) ||
        get("frequency", m) - get("frequency", n) ||
        get("share", n) - get("share", m),
      share: (m, n) => get("dead", m) - get("dead", n) || get("share", n) - get("share", m),
      variance: (m, n) => get("variance", n) - get("variance", m),
    };
    const compare = by[this.sort];
    this.thumbs.order.sort((m, n) => compare(m, n) || m - n);
    this.thumbs.node.scrollTop = 0;
    this.lay();
    this.fetch();
    this.view.repaint();
  }
  lay() {
    if (!this.isUpdated) return;
    const { pins } = this.view;
    if (this.stage === "pinned") {
      this.pinnedMaps.lay(pins, this.p, this.width, this.height);
      return;
    }
    if (this.width < 20) return;
    this.thumbs.lay(this.width, this.height, pins);
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.fetch(), SETTLED);
  }
  // ---- data ---------------------------------------------------------------------------------------------------
  shownNeurons() {
    return this.stage === "pinned" ? [...this.view.pins] : this.thumbs.neurons;
  }
  /** Fetch the tables of what is in view; resolves when they are here. */
  fetch() {
    const wanted = this.shownNeurons();
    if (!this.run.checkpoints.length || !wanted.length) return Promise.resolve();
    const { maps } = this;
    this.loading = maps.tables.need(wanted).then(
      (isFresh) => {
        if (this.maps !== maps) return;
        const isChanged = isFresh || this.refusal;
        this.refusal = null;
        if (isChanged) this.came();
      },
      (error) => {
        if (this.maps === maps && !isAborted(error)) this.failed(error);
      },
    );
    return this.loading;
  }
  /** Why nothing of this checkpoint can be drawn, or null. @param {number} index */
  refusedAt(index) {
    if (this.refusal === null || index < 0) return null;
    return this.shownNeurons().some((neuron) => this.maps.isLoaded(neuron, index)) ? null : this.refusal;
  }
  // ---- drawing ------------------------------------------------------------------------------------------------
  /** @param {number} index */
  draw(index) {
    this.index = index;
    if (this.drawnAt !== index) {
      this.thumbs.invalidate();
      this.pinnedMaps.invalidate();
      this.drawnAt = index;
    }
    if (index < 0) {
      this.card.read("");
      return;
    }
    const row = this.row(index);
    const isAll = this.stage === "all";
    (isAll ? this.thumbs : this.pinnedMaps).draw(this.maps, index, row, this.kept.fixed, this.colors);
    this.sortHere.hidden = !isAll || this.sort === "index" || this.sortedAt === index;
    this.card.read(isAll ? this.reading(row) : this.pinnedReading());
  }
  /** @param {number} row */
  reading(row) {
    const { maps } = this;
    const words = [this.sort === "index" ? `${maps.count} neurons` : `${maps.count}`];
    let dead = 0;
    for (let n = 0; n < maps.count; n++) if (maps.value("dead", row, n)) dead++;
    if (dead) words.push(`${dead} dead`);
    if (this.sort !== "index") words.push(`sorted at ${formatInteger(this.run.checkpoints[this.sortedAt] ?? 0)}`);
    else if (!maps.isSummarized) words.push("not analyzed");
    return words.join(" · ");
  }
  pinnedReading() {
    const isPartial = this.maps.isScaleOfSome; // those that are here
    const scale = this.kept.fixed ? (isPartial ? " · colors of some checkpoints" : "") : " · colors per checkpoint";
    return `${this.view.pins.length} pinned · activation over a ↓ b →${scale}`;
  }
  // ---- pointer ------------------------------------------------------------------------------------------------
  /** @param {PointerEvent} event */
  hoverThumb(event) {
    const neuron = this.thumbs.at(event)?.neuron;
    if (neuron === undefined || event.buttons) {
      this.view.tooltip.hide();
      return;
    }
    const { maps } = this;
    const row = this.row(this.index);
    /** @type {TooltipLine[]} */
    const lines = [[`neuron ${neuron}`, ""]];
    if (maps.value("dead", row, neuron)) lines.push("dead: constant activation");
    else if (maps.isSummarized && row >= 0) {
      const share = formatExact(maps.value("share", row, neuron));
      lines.push(`frequency ${maps.value("frequency", row, neuron)} · share ${share}`);
      if (maps.summary.variance) lines.push(`variance ${formatExact(maps.value("variance", row, neuron))}`);
    }
    lines.push(this.view.pins.includes(neuron) ? "click: unpin" : "click: pin");
    this.view.tooltip.show(event.clientX, event.clientY, lines);
  }
  /** @param {PointerEvent} event */
  hoverMap(event) {
    const at = this.pinnedMaps.at(event, this.p);
    if (!at || this.compute(at.neuron) < 0) {
      this.view.tooltip.hide();
      return;
    }
    const { neuron, a, b } = at;
    const activation = formatExact(this.maps.scratch[a * this.p + b]);
    const lines = [`a = ${a}, b = ${b}`, `activation ${activation}`];
    this.view.tooltip.show(event.clientX, event.clientY, [[`neuron ${neuron}`, ""], ...lines]);
  }
  /** Compute a map at the checkpoint that is shown; the top of its color scale, or -1. @param {number} neuron */
  compute(neuron) {
    const scale = { isFixed: this.kept.fixed, isExact: this.stage === "pinned" };
    return this.maps.compute(neuron, this.index, scale);
  }
  /** @returns {MenuItem[]} */
  menu() {
    /** @type {MenuItem[]} */
    const items = [
      {
        group: "Colors",
        value: this.kept.fixed,
        options: [
          { label: "Same at every checkpoint", value: true },
          { label: "Full range at each checkpoint", value: false },
        ],
        choose: (value) => {
          this.kept.fixed = value;
          this.drawnAt = -1;
          this.view.repaint();
        },
      },
    ];
    if (this.view.pins.length) items.push({ label: "Unpin all", run: () => this.view.setPins([]) });
    return items;
  }
  /** A value of a neuron's map at the painted checkpoint, its color scale's top and the pixel painted for it. @param {number} neuron @param {number} a @param {number} b */
  probe(neuron, a, b) {
    const shown = this.stage === "all" ? this.thumbs.slots : this.pinnedMaps.figures;
    const item = shown.find((candidate) => candidate.neuron === neuron);
    const largest = this.compute(neuron);
    const pixel = item ? [...item.map.context.getImageData(b, a, 1, 1).data] : null;
    const value = this.maps.scratch[a * this.p + b];
    return { value, largest, pixel, drawn: item?.drawn, caption: item?.caption.textContent };
  }
  /** The whole map at the painted checkpoint, row by row. @param {number} neuron */
  map(neuron) {
    return this.compute(neuron) < 0 ? null : Array.from(this.maps.scratch);
  }
  resize() {
    this.measure();
    this.lay();
    this.view.repaint();
  }
  /** @param {Palette} colors */
  theme(colors) {
    this.colors = colors;
    this.drawnAt = -1;
  }
  close() {
    clearTimeout(this.settling);
    this.maps.close();
  }
}
