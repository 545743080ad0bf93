// The synchronized page: one slider, every panel at the same checkpoint. `mount(element, {base, events})` shows the run at the
// address `base`; null shows that none is open, and undefined waits for `open(base)`.

import { CardGrid } from "./card_grid.js";
import { cardState } from "./card_state.js";
import { palette, watchTheme } from "./color.js";
import { isAborted, RefusedError, Source, UnreachableError } from "./data_source.js";
import { documentBar } from "./document_bar.js";
import { el } from "./dom.js";
import { visibleText } from "./format.js";
import { publish } from "./handle.js";
import { handleKey } from "./keyboard.js";
import { MOST_PINS } from "./maps.js";
import { Notice } from "./notice.js";
import { clamp } from "./numbers.js";
import { Places } from "./places.js";
import { replacementMessage } from "./replacement.js";
import { RunData } from "./run_data.js";
import { followSlider, heldIndex, standInText } from "./stand_in.js";
import { Tabs } from "./tabs.js";
import { Tooltip } from "./tooltip.js";
import { Transport } from "./transport.js";
import { Updates } from "./updates.js";
import { isLossesOnly, panelsOf, viewsOf } from "./views.js";

/** @import { CardState, DataSource, Manifest, ViewerHandle } from "./types.js" */
/** @import { Situation } from "./card_state.js" */

/** @typedef {{base?: string | null, events?: EventTarget | null, source?: (base: string) => DataSource}} Options */

const PATIENCE = 300; // milliseconds until a page says that it is opening a run
const TOAST = 4000; // milliseconds that a message is shown

/** @implements {ViewerHandle} */
export class Viewer {
  /** @param {Element} element @param {Options} options */
  constructor(element, options) {
    this.element = element;
    this.makeSource = options.source ?? ((/** @type {string} */ base) => new Source(base));
    this.index = -1;
    this.painted = -1;
    this.cost = 0; // milliseconds of script in the last step
    /** @type {number[]} */
    this.pins = [];
    this.places = new Places();
    this.generation = 0; // of what is open; answers for an earlier one are dropped
    /** @type {RunData | null} */
    this.run = null;
    /** @type {string | null | undefined} */
    this.base = undefined;
    /** @type {string | null} */
    this.runKey = null;
    this.view = this.places.view;
    this.isLoading = false;
    this.described = "";
    /** @type {number | null} */
    this.request = null;
    /** @type {Transport | null} */
    this.transport = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.saying = undefined;
    this.root = el("div", "tdw-viewer");
    this.bar = el("header", "tdw-doc");
    this.slot = el("div", "tdw-slot");
    this.cards = el("div", "tdw-cards");
    const main = el("main", "tdw-main");
    main.append(this.cards);
    this.tabs = new Tabs(this.cards, (view) => this.choose(view));
    this.toast = el("div", "tdw-toast", null, { role: "status" });
    this.notice = new Notice();
    this.root.append(this.bar, this.slot, this.tabs.list, main, this.notice.node, this.toast);
    element.replaceChildren(this.root);
    this.tooltip = new Tooltip(this.root);
    this.colors = palette(this.root);
    this.stopWatchingTheme = watchTheme(() => this.theme());
    /** @type {Map<Element, () => void>} */
    this.resizes = new Map();
    this.observer = new ResizeObserver((entries) => {
      for (const { target } of entries) this.resizes.get(target)?.();
      this.repaint();
    });
    this.grid = new CardGrid(
      this,
      this.cards,
      (node, resized) => this.watchSize(node, resized),
      (node) => this.unwatchSize(node),
    );
    this.cards.addEventListener("scroll", () => this.scrolled());
    this.updates = new Updates(this.pageForUpdates(), options.events ?? null);
    this.onKey = (/** @type {KeyboardEvent} */ event) => this.key(event);
    document.addEventListener("keydown", this.onKey);
    this.onHide = () => {
      this.remember();
      this.places.store(this.view);
    };
    window.addEventListener("pagehide", this.onHide);
    publish(this);
    /** @type {(done: Promise<void>) => void} */
    this.firstOpened = () => {};
    /** @type {Promise<void>} resolves when what is open is painted */
    this.ready = new Promise((resolve) => {
      this.firstOpened = resolve;
    });
    if (options.base !== undefined) this.open(options.base);
  }
  pageForUpdates() {
    const viewer = this;
    return {
      get runKey() {
        return viewer.runKey;
      },
      revision: () => this.run?.loaded?.revision ?? null,
      canReopen: () => this.run === null && typeof this.base === "string",
      refresh: () => this.refresh(),
      reopen: () => {
        if (this.base !== undefined) this.open(this.base);
      },
      hideNotice: () => this.notice.show(""),
      changed: () => {
        this.describe();
        this.repaint();
      },
    };
  }
  get count() {
    return this.run?.loaded?.checkpoints.length ?? 0;
  }
  get isAsking() {
    return this.updates.isAsking;
  }
  // ---- opening --------------------------------------------------------------------------------------------------
  /** Show the run at an address, or that none is open. Resolves when it is painted. @param {string | null} base */
  open(base) {
    this.ready = this.opening(base);
    this.firstOpened(this.ready);
    return this.ready;
  }
  /** @param {string | null} base */
  async opening(base) {
    const generation = ++this.generation;
    this.leave();
    this.base = base;
    this.runKey = base === null ? null : decodeURIComponent(base.split("/").at(-1) ?? "");
    this.updates.reset();
    if (base === null) {
      this.blank("No run is open", "Open a project file (.tdw) or start a new run in the sidebar.");
      return;
    }
    const run = new RunData(this.makeSource(base), (manifest) => this.wanted(manifest));
    this.run = run;
    run.changed = () => this.repaint();
    run.failed = (error) => this.missed(error);
    const isCurrent = () => generation === this.generation;
    const waiting = setTimeout(() => isCurrent() && this.blank("Opening …", ""), PATIENCE);
    try {
      await run.refresh();
    } catch (error) {
      if (!isCurrent() || isAborted(error)) return;
      this.run = null;
      this.notOpened(error, base);
      return;
    } finally {
      clearTimeout(waiting);
    }
    if (!isCurrent()) return;
    this.root.classList.remove("tdw-bare");
    this.cards.replaceChildren();
    this.addTransport(run);
    this.assemble(run);
    const { index, pins } = this.places.runs.get(base) ?? { index: null, pins: [] }; // the file may hold another run now
    this.pins = pins.filter((neuron) => neuron < run.manifest.parameters.d_mlp);
    this.index = Math.min(index ?? this.count - 1, this.count - 1);
    this.isLoading = run.isUnasked();
    this.update(run);
    await this.filled(generation);
  }
  /** @param {unknown} error @param {string} base */
  notOpened(error, base) {
    if (!(error instanceof RefusedError || error instanceof UnreachableError)) throw error;
    this.updates.mustReopen = error instanceof UnreachableError;
    const title = error instanceof UnreachableError ? "Server offline" : "This file cannot be shown";
    this.blank(title, error.message, () => this.open(base));
  }
  /** Keep the place in the run that is shown. */
  remember() {
    if (!this.run?.loaded || !this.base) return;
    const index = this.index >= this.count - 1 ? null : this.index;
    this.places.runs.set(this.base, { index, pins: this.pins });
  }
  leave() {
    this.remember();
    this.transport?.close();
    this.transport = null;
    this.grid.dismantle();
    this.observer.disconnect();
    this.resizes.clear(); // it would keep the timeline, and with it every array of the run
    this.run?.close();
    this.run = null;
    this.described = "";
    this.notice.show("");
    this.index = this.painted = -1;
    this.pins = [];
    this.tooltip.hide();
    this.slot.replaceChildren();
    this.cards.replaceChildren();
    this.bar.replaceChildren();
  }
  /** A page without a run. @param {string} title @param {string} text @param {() => void} [again] */
  blank(title, text, again) {
    const box = el("div", "tdw-blank");
    box.append(el("strong", null, title));
    if (text) box.append(el("p", null, text));
    if (again) {
      const button = el("button", "tdw-button tdw-primary", "Try again", { type: "button" });
      button.addEventListener("click", again);
      box.append(button);
    }
    this.slot.replaceChildren();
    this.bar.replaceChildren();
    this.cards.replaceChildren(box);
    this.root.classList.add("tdw-bare");
    this.painted = this.index = -1;
  }
  /** @param {RunData} run */
  addTransport(run) {
    this.slot.replaceChildren();
    const transport = new Transport(this.slot, this, this.colors, run.manifest);
    this.transport = transport;
    this.watchSize(transport.timeline, () => transport.resize());
    transport.resize();
  }
  // ---- views ----------------------------------------------------------------------------------------------------
  /** The panels of the view that is shown: the chosen one, or the first if this run has none of that name. @param {Manifest} manifest */
  chosen(manifest) {
    const views = viewsOf(manifest);
    const view = views.includes(this.view) ? this.view : views[0];
    return panelsOf(manifest).filter((spec) => spec.view === view);
  }
  /** The arrays that are drawn now, with the epochs of their rows. @param {Manifest} manifest */
  wanted(manifest) {
    const names = this.grid.near(this.chosen(manifest)).flatMap((spec) => spec.arrays);
    const epochs = names.flatMap((name) => {
      const [kind, first, second] = name.split("/");
      return kind === "analysis" ? [`analysis/${first}/epoch`] : kind === "reduced" ? [`analysis/${second}/epoch`] : [];
    });
    return [...new Set([...names, ...epochs])].filter((name) => manifest.arrays[name]);
  }
  /** Show the cards of the chosen view. @param {RunData} run */
  assemble(run) {
    const specs = this.chosen(run.manifest);
    this.view = specs[0]?.view ?? this.view;
    this.tabs.show(viewsOf(run.manifest), this.view);
    this.cards.classList.toggle("tdw-losses-only", isLossesOnly(run.manifest));
    this.grid.assemble(specs);
    this.watchSize(this.cards, () => this.scrolled());
  }
  /** Show another view. Resolves when it is painted; its arrays are fetched when it is first shown. @param {string} view */
  choose(view) {
    if (view === this.view) return this.ready;
    this.view = view;
    const { run } = this;
    if (!run?.loaded) return this.ready;
    this.tooltip.hide();
    this.assemble(run);
    this.isLoading = run.isIncomplete();
    this.update(run);
    this.ready = this.filled(this.generation);
    return this.ready;
  }
  /** Cards have come near the viewport. */
  scrolled() {
    const { run } = this;
    if (!run?.loaded) return;
    if (this.grid.locate()) {
      this.isLoading = run.isIncomplete();
      this.update(run);
      this.ready = this.filled(this.generation);
    }
    this.repaint();
  }
  /** Fetch what is missing of what is drawn, and paint. @param {number} generation */
  async filled(generation) {
    if (this.isLoading) await this.refresh();
    await this.loading();
    if (generation === this.generation) this.paint();
  }
  /** Resolves when the panels have what they fetch themselves. */
  async loading() {
    await Promise.all(this.grid.panels.map(({ loading }) => loading));
  }
  /** @param {Element} node @param {() => void} resized called when it has another size */
  watchSize(node, resized) {
    const size = () => `${node.clientWidth} ${node.clientHeight}`;
    let last = size();
    this.resizes.set(node, () => {
      if (size() === last) return;
      last = size();
      resized();
    });
    this.observer.observe(node);
  }
  /** @param {Element} node */
  unwatchSize(node) {
    this.observer.unobserve(node);
    this.resizes.delete(node);
  }
  // ---- keeping up -----------------------------------------------------------------------------------------------
  /** The run has changed: hand it to everything that draws. @param {RunData} run */
  update(run) {
    if (run.manifest.job) this.updates.job = run.manifest.job;
    this.describe();
    this.transport?.update(run.manifest);
    this.grid.update(run);
    this.repaint();
  }
  async refresh() {
    const { run, generation } = this;
    const before = run?.loaded;
    if (!run || !before) return;
    const newest = this.count - 1;
    try {
      await run.refresh();
    } catch (error) {
      if (generation === this.generation) this.updates.failed(error);
      return;
    }
    if (generation !== this.generation) return;
    this.isLoading = run.isIncomplete();
    this.updates.succeeded();
    if (run.isReplaced) {
      this.restart(before);
      return;
    }
    const message = replacementMessage(before, run.manifest);
    if (message) this.notice.show(message);
    // The newest checkpoint stays the newest; any other stays where it is.
    if (this.index >= Math.min(newest, this.count)) this.index = this.count - 1;
    this.update(run);
    for (const panel of this.grid.panels) if (panel.refusal) panel.fetch?.();
  }
  /** The file holds another run: show it, in the same view. @param {Manifest} before */
  async restart(before) {
    const { base } = this;
    if (typeof base !== "string") return;
    const isNewest = this.index >= this.count - 1;
    const opened = this.open(base);
    if (isNewest) this.places.runs.delete(base);
    const { generation } = this;
    await opened;
    if (generation === this.generation && this.run?.loaded)
      this.notice.show(replacementMessage(before, this.run.loaded));
  }
  /** Read again what was refused. */
  again() {
    return this.updates.again(() => this.loading());
  }
  soon() {
    this.updates.soon();
  }
  /** @param {Error} error */
  failed(error) {
    this.updates.failed(error);
  }
  /** Rows around the slider did not come. @param {Error} error */
  missed(error) {
    // The file has changed: reading it again tells how.
    if (error instanceof RefusedError) this.soon();
    else this.failed(error);
  }
  describe() {
    const manifest = this.run?.loaded;
    if (!manifest) return;
    const { job, isLost, trouble } = this.updates;
    const nodes = documentBar(manifest, { job, isLost, trouble, again: () => this.again() });
    const key = nodes.map((node) => node.outerHTML).join("");
    if (key === this.described) return;
    this.described = key;
    this.bar.replaceChildren(...nodes);
  }
  // ---- moving and drawing ---------------------------------------------------------------------------------------
  /** Show a checkpoint by its index. @param {number} index @param {boolean} [isPlaying] */
  show(index, isPlaying) {
    if (!this.count) return;
    if (!isPlaying) this.transport?.stop();
    const next = clamp(Math.round(index), 0, this.count - 1);
    if (!Number.isFinite(next))
      throw new Error(`the index must be a number from 0 to ${this.count - 1} (got ${index})`);
    this.index = next;
    this.repaint();
  }
  repaint() {
    this.request ??= requestAnimationFrame(() => this.paint());
  }
  paint() {
    if (this.request !== null) cancelAnimationFrame(this.request);
    this.request = null;
    if (!this.run?.loaded || !this.transport) return;
    const start = performance.now();
    const { index } = this;
    const situation = this.situation(this.run);
    this.transport.draw(index);
    for (const entry of this.grid.drawn) {
      try {
        const at = heldIndex(this.run, entry.panel, index);
        entry.panel.draw(at);
        entry.card.wait(standInText(this.run.checkpoints, at, index));
        entry.card.show(cardState(situation, entry, index));
      } catch (error) {
        // An error in one panel must not take the others, or the slider, with it; it is still reported.
        entry.card.show(failure(error));
        reportError(error);
      }
    }
    this.painted = index;
    this.cost = performance.now() - start;
    if (!this.isLoading) followSlider(this.run, this.grid.drawn, index);
  }
  /** @param {RunData} run @returns {Situation} */
  situation(run) {
    const { job, isAsking, isLost } = this.updates;
    return {
      run,
      count: this.count,
      job,
      isAsking,
      isLost,
      isLoading: this.isLoading,
      again: () => this.again(),
      analyze: () => this.act("analyze"),
    };
  }
  /** @param {string | null} analysis @param {number} index */
  row(analysis, index) {
    return this.run ? this.run.row(analysis, index) : -1;
  }
  /** Ask the page around the viewer for something. @param {string} action */
  act(action) {
    const detail = { action, key: this.runKey };
    this.element.dispatchEvent(new CustomEvent("tdw:action", { detail, bubbles: true }));
  }
  /** Show a message for a moment. @param {string} text */
  say(text) {
    this.toast.textContent = visibleText(text);
    this.toast.classList.add("tdw-shown");
    clearTimeout(this.saying);
    this.saying = setTimeout(() => this.toast.classList.remove("tdw-shown"), TOAST);
  }
  // ---- pinned neurons -------------------------------------------------------------------------------------------
  /** @param {number[]} neurons */
  setPins(neurons) {
    const count = this.run?.loaded?.parameters.d_mlp ?? 0;
    const isNeuron = (/** @type {number} */ n) => Number.isInteger(n) && n >= 0 && n < count;
    this.pins = [...new Set(neurons)].filter(isNeuron).slice(0, MOST_PINS);
    for (const panel of this.grid.panels) panel.pinned?.();
    this.repaint();
  }
  /** @param {number} neuron */
  togglePin(neuron) {
    if (this.pins.includes(neuron)) this.setPins(this.pins.filter((n) => n !== neuron));
    else if (this.pins.length < MOST_PINS) this.setPins([...this.pins, neuron]);
    else this.say(`At most ${MOST_PINS} neurons can be pinned: unpin one first.`);
  }
  // ---- keyboard, theme ------------------------------------------------------------------------------------------
  /** @param {KeyboardEvent} event */
  key(event) {
    const { transport } = this;
    if (!transport) return;
    handleKey(event, {
      index: this.index,
      count: this.count,
      slider: transport.range,
      show: (index) => this.show(index),
      toggle: () => transport.toggle(),
    });
  }
  theme() {
    const colors = palette(this.root);
    const key = (/** @type {typeof colors} */ { lut, ink }) => JSON.stringify([...lut, ink]);
    if (key(colors) === key(this.colors)) return;
    this.colors = colors;
    this.transport?.theme(colors);
    this.grid.theme(colors);
    this.repaint();
  }
  close() {
    this.generation++;
    this.leave();
    this.updates.close();
    this.stopWatchingTheme();
    document.removeEventListener("keydown", this.onKey);
    window.removeEventListener("pagehide", this.onHide);
    clearTimeout(this.saying);
    this.root.remove();
  }
}

/** @param {unknown} error @returns {CardState} */
const failure = (error) => ({
  title: "This panel failed",
  text: error instanceof Error ? error.message : String(error),
});

/** @param {Element} element @param {Options} [options] */
export const mount = (element, options = {}) => {
  const viewer = new Viewer(element, options);
  return { open: (/** @type {string | null} */ base) => viewer.open(base), close: () => viewer.close() };
};
