// The synchronized page: one slider, every panel at the same checkpoint. `TdwViewer.mount(element, {base, events})`, where
// base is a run's address, null for none, or left out while it is not known; `open(base)` then says it.
import { Card, EmptyPanel } from "./card.js";
import { cardState } from "./card_state.js";
import { palette, watchTheme } from "./color.js";
import { RefusedError, RunData, replacementMessage, Source, UnreachableError } from "./data_source.js";
import { documentBar } from "./docbar.js";
import { clamp, el, visibleText } from "./format.js";
import { KINDS } from "./kinds.js";
import { MOST_PINS } from "./maps.js";
import { Notice } from "./notice.js";
import { Tabs } from "./tabs.js";
import { Tooltip } from "./tooltip.js";
import { Transport } from "./transport.js";

class Viewer {
  constructor(element, options) {
    this.element = element;
    this.events = options.events || null;
    this.makeSource = options.source || ((base) => new Source(base));
    this.index = -1;
    this.painted = -1;
    this.cost = 0; // milliseconds of script in the last step
    this.pins = [];
    this.jobs = [];
    this.kept = {};
    this.panels = [];
    this.places = new Map(); // run -> where the reader left it
    this.generation = 0;
    this.root = el("div", "tdw-viewer");
    this.doc = el("header", "tdw-doc");
    this.slot = el("div", "tdw-slot");
    this.cards = el("div", "tdw-cards");
    const main = el("main", "tdw-main");
    main.append(this.cards);
    this.tabs = new Tabs(this.cards, (group) => this.choose(group));
    this.toast = el("div", "tdw-toast", null, { role: "status" });
    this.notice = new Notice();
    this.root.append(this.doc, this.slot, this.tabs.list, main, this.notice.node, this.toast);
    element.replaceChildren(this.root);
    this.tooltip = new Tooltip(this.root);
    this.colors = palette(this.root);
    this.stopTheme = watchTheme(() => this.theme());
    this.onKey = (event) => this.key(event);
    document.addEventListener("keydown", this.onKey);
    this.resizes = new Map();
    this.observer = new ResizeObserver((entries) => {
      for (const entry of entries) this.resizes.get(entry.target)?.();
      this.repaint();
    });
    this.listen();
    this.publish();
    if (options.base !== undefined) this.open(options.base);
    // Nothing is said about the first run yet: whoever waits, waits until it is painted.
    else this.ready = new Promise((resolve) => (this.first = resolve));
  }
  // ---- the handle for tests and scripts -----------------------------------------------------------------------------
  publish() {
    const viewer = this;
    window.tdw = {
      get ready() {
        return viewer.ready;
      },
      get count() {
        return viewer.count;
      },
      get index() {
        return viewer.index;
      },
      get painted() {
        return viewer.painted;
      },
      get cost() {
        return viewer.cost;
      },
      get pins() {
        return [...viewer.pins];
      },
      get tab() {
        return viewer.group;
      },
      /** Show another view; resolves when it is painted. */
      choose: (group) => viewer.choose(group),
      get revision() {
        return viewer.run?.manifest?.revision ?? null;
      },
      show: (index) => viewer.show(index),
      pin: (...neurons) => viewer.setPins(neurons),
      /** What a panel shows: probe("neuron_activations", neuron, a, b) … see each kind's `probe`. */
      probe: (name, ...where) => viewer.panel(name).probe(...where),
      panel: (name) => viewer.panel(name),
      viewer,
    };
  }
  panel(name) {
    const found = this.panels.find((entry) => entry.spec.name === name);
    if (!found)
      throw new Error(
        `no panel of this view is named ${name}: there are ${this.panels.map((entry) => entry.spec.name).join(", ")}`,
      );
    return found.panel;
  }
  get count() {
    return this.run?.manifest ? this.run.checkpoints.length : 0;
  }
  // ---- opening ------------------------------------------------------------------------------------------------------
  /** Show the run at `base`, or the page of no run for null. Resolves when it is painted. */
  open(base) {
    this.ready = this.opening(base);
    if (this.first) this.ready.then(this.first, this.first);
    return this.ready;
  }
  async opening(base) {
    const generation = ++this.generation;
    this.leave();
    this.base = base;
    this.runKey = base === null ? null : decodeURIComponent(base.split("/").at(-1));
    this.job = this.jobOf(this.runKey);
    if (base === null)
      return this.blank("No run is open", "Open a project file (.tdw) or start a new run in the side bar.");
    this.run = new RunData(this.makeSource(base), (manifest) => this.wanted(manifest));
    const { run } = this;
    const patience = setTimeout(() => generation === this.generation && this.blank("Opening …", ""), 300);
    try {
      await run.refresh();
    } catch (error) {
      if (generation !== this.generation || error.name === "AbortError") return undefined;
      this.run = null;
      if (!(error instanceof RefusedError || error instanceof UnreachableError)) throw error;
      this.retry = error instanceof UnreachableError ? base : null;
      const title = error instanceof UnreachableError ? "The server does not answer" : "This file cannot be shown";
      return this.blank(title, error.message, () => this.open(base));
    } finally {
      clearTimeout(patience);
    }
    if (generation !== this.generation) return undefined;
    this.build();
    this.assemble();
    const place = this.places.get(base); // the file may be another one by now
    this.pins = (place?.pins || []).filter((neuron) => neuron < run.manifest.parameters.d_mlp);
    this.index = place ? Math.min(place.index, this.count - 1) : this.count - 1;
    this.update();
    await Promise.all(this.panels.map(({ panel }) => panel.loading));
    if (generation === this.generation) this.paint();
    return undefined;
  }
  leave() {
    if (this.run && this.base) this.places.set(this.base, { index: this.index, pins: this.pins });
    this.transport?.close();
    this.transport = null;
    this.dismantle();
    this.observer.disconnect();
    this.resizes.clear(); // it would keep the timeline, and with it every array of the run
    this.run?.close();
    this.run = null;
    this.retry = null;
    this.trouble = null;
    this.described = null;
    this.notice.say("");
    this.index = this.painted = -1;
    this.pins = [];
    this.tooltip.hide();
    this.slot.replaceChildren();
    this.cards.replaceChildren();
    this.doc.replaceChildren();
  }
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
    this.doc.replaceChildren();
    this.cards.replaceChildren(box);
    this.root.classList.add("tdw-bare");
    this.painted = this.index = -1;
  }
  build() {
    this.root.classList.remove("tdw-bare");
    this.cards.replaceChildren();
    this.slot.replaceChildren();
    this.transport = new Transport(this.slot, this);
    this.transport.theme(this.colors);
    this.watchSize(this.transport.timeline, () => this.transport?.resize());
    this.transport.resize();
  }
  // ---- views --------------------------------------------------------------------------------------------------------
  /** The groups that the panels of a manifest are in, in the order of their tabs. */
  groups(manifest) {
    return [...new Set(manifest.panels.map((spec) => spec.group))];
  }
  /** The panels of the view that is shown: the chosen one, or the first where this run has none of that name. */
  chosen(manifest) {
    const groups = this.groups(manifest);
    const group = groups.includes(this.group) ? this.group : groups[0];
    return manifest.panels.filter((spec) => spec.group === group);
  }
  /** The arrays that are drawn now, and with those of an analysis the epochs of its rows. */
  wanted(manifest) {
    const names = this.chosen(manifest).flatMap((spec) => spec.arrays);
    const epochs = names
      .filter((name) => name.startsWith("analysis/"))
      .map((name) => `analysis/${name.split("/")[1]}/epoch`);
    return [...new Set([...names, ...epochs])].filter((name) => manifest.arrays[name]);
  }
  /** Build the cards of the chosen view. */
  assemble() {
    const specs = this.chosen(this.run.manifest);
    this.group = specs[0]?.group ?? this.group;
    this.tabs.show(this.groups(this.run.manifest), this.group);
    for (const spec of specs) {
      const Kind = spec.state.status === "unfit" ? EmptyPanel : KINDS[spec.kind];
      if (!Kind) throw new Error(`the panel ${spec.name} is of the kind ${spec.kind}, which this viewer does not know`);
      const card = new Card(this.cards, spec.title, this.tooltip);
      const panel = new Kind(card, this, (this.kept[spec.name] ??= {})); // what was chosen in its menu outlives the run
      panel.theme(this.colors);
      this.panels.push({ spec, card, panel });
    }
    for (const entry of this.panels) this.watchSize(entry.card.body, () => entry.panel.resize());
  }
  dismantle() {
    for (const { panel, card } of this.panels) {
      this.observer.unobserve(card.body);
      this.resizes.delete(card.body);
      panel.close();
      card.close();
    }
    this.panels = [];
    this.tooltip.hide();
  }
  /** Show another view: its arrays are fetched when it is first looked at, and again when there are more of them. */
  choose(group) {
    if (group === this.group) return this.ready;
    this.group = group;
    if (!this.run?.manifest) return this.ready;
    this.dismantle();
    this.assemble();
    this.isLoading = this.run.lacks();
    this.update();
    this.ready = this.filled(this.generation);
    return this.ready;
  }
  async filled(generation) {
    if (this.isLoading) await this.refresh();
    await Promise.all(this.panels.map(({ panel }) => panel.loading));
    if (generation === this.generation) this.paint();
  }
  watchSize(node, resized) {
    let known = `${node.clientWidth} ${node.clientHeight}`;
    this.resizes.set(node, () => {
      const now = `${node.clientWidth} ${node.clientHeight}`;
      if (now === known) return;
      known = now;
      resized();
    });
    this.observer.observe(node);
  }
  /** The run has changed: hand it to everything that draws. */
  update() {
    const { manifest } = this.run;
    if (manifest.job) this.job = manifest.job;
    this.describe();
    this.transport.update(this.run);
    for (const entry of this.panels) {
      entry.spec = manifest.panels.find((spec) => spec.name === entry.spec.name) || entry.spec;
      // While a run grows, what has not changed for a panel is not drawn again: Plotly needs more than a frame for it.
      const inputs = [
        JSON.stringify(entry.spec),
        entry.panel.depends?.(manifest),
        ...entry.spec.arrays.map((name) => this.run.array(name)),
      ];
      if (entry.inputs?.length === inputs.length && inputs.every((input, i) => input === entry.inputs[i])) continue;
      entry.inputs = inputs;
      entry.panel.update(entry.spec, this.run);
    }
    this.repaint();
  }
  async refresh() {
    const { run, generation } = this;
    if (!run?.manifest) return;
    const before = run.manifest;
    const newest = this.count - 1;
    try {
      await run.refresh();
    } catch (error) {
      if (generation === this.generation) this.failed(error);
      return;
    }
    if (generation !== this.generation) return;
    this.isLoading = run.lacks();
    this.trouble = null;
    this.lost(false);
    if (run.another) {
      this.restart();
      return;
    }
    const became = replacementMessage(before, run.manifest);
    if (became) this.notice.say(became);
    // Whoever stands at the newest checkpoint by now stays with the newest; everyone else stays where they are.
    if (this.index >= Math.min(newest, this.count)) this.index = this.count - 1;
    this.update();
    for (const { panel } of this.panels) if (panel.refusal) panel.fetch();
  }
  /** The file holds another run: everything is built anew, in the same view. */
  async restart() {
    const before = this.run.manifest;
    const stays = this.index < this.count - 1; // who stood at the newest checkpoint is at that of the new run
    const opened = this.open(this.base);
    if (!stays) this.places.delete(this.base);
    const { generation } = this;
    await opened;
    if (generation === this.generation && this.run?.manifest)
      this.notice.say(replacementMessage(before, this.run.manifest));
  }
  /** Ask once more for what was refused. */
  async again() {
    if (this.isAsking) return;
    this.isAsking = true;
    this.describe();
    this.repaint();
    try {
      await this.refresh();
      await Promise.all(this.panels.map(({ panel }) => panel.loading));
    } finally {
      this.isAsking = false;
      this.describe();
      this.repaint();
    }
  }
  // ---- news from the server -----------------------------------------------------------------------------------------
  listen() {
    if (!this.events) return;
    this.onMessage = (event) => {
      const news = JSON.parse(event.data);
      if (news.type === "run" && news.key === this.runKey) {
        if (news.job !== undefined) this.setJob(news.job);
        if (news.state === "lost") this.troubled(news.error);
        else if (this.run?.manifest && (this.trouble || news.revision !== this.run.manifest.revision)) this.soon();
        else if (!this.run && this.base !== null) this.open(this.base);
      } else if (news.type === "jobs") {
        this.jobs = news.jobs;
        this.setJob(this.jobOf(this.runKey));
      } else if (news.type === "line") this.line(news.online);
    };
    this.onError = () => this.line(false);
    this.onOpen = () => this.line(true);
    this.events.addEventListener("message", this.onMessage);
    this.events.addEventListener("error", this.onError);
    this.events.addEventListener("open", this.onOpen);
  }
  /** The active job on a run, among those last told of. */
  jobOf(key) {
    return this.jobs.find((job) => job.key === key && ["starting", "running", "stopping"].includes(job.state)) || null;
  }
  line(online) {
    if (!online) this.lost(true);
    else if (this.retry) this.open(this.retry);
    else if (this.isLost) this.refresh();
  }
  /** Refresh, but not more than twice a second however fast a run commits. */
  soon() {
    if (this.waiting) return;
    this.waiting = setTimeout(
      () => {
        this.waiting = null;
        this.refresh();
      },
      Math.max(0, 500 - (performance.now() - (this.refreshed || 0))),
    );
    this.refreshed = performance.now();
  }
  setJob(job) {
    const kind = this.job?.kind;
    this.job = job;
    if (!this.run?.manifest) return;
    this.describe();
    if (kind !== job?.kind) this.soon();
    this.repaint();
  }
  failed(error) {
    if (error.name === "AbortError") return;
    if (error instanceof UnreachableError) this.lost(true);
    else if (error instanceof RefusedError) this.troubled(error.message);
    else throw error;
  }
  /** The file cannot be read now. What was loaded stays; the news tell when it can be, or it is found by asking, ever more rarely. */
  troubled(sentence) {
    clearTimeout(this.asking);
    this.patience = this.trouble ? Math.min(2 * this.patience, 60e3) : 2e3;
    this.asking = setTimeout(() => this.trouble && this.refresh(), this.patience);
    this.trouble = sentence;
    this.notice.say(""); // what it became is past
    this.describe();
  }
  lost(isLost) {
    if (this.isLost === isLost) return;
    this.isLost = isLost;
    this.describe();
    this.repaint();
    clearInterval(this.knocking);
    // An EventSource tries again by itself; without one, or when it has given up, knock now and then.
    if (isLost) this.knocking = setInterval(() => this.refresh(), 3000);
  }
  describe() {
    if (!this.run?.manifest) return;
    const { job, isLost, trouble } = this;
    const nodes = documentBar(this.run.manifest, { job, isLost, trouble, again: () => this.again() });
    const key = nodes.map((node) => node.outerHTML).join("");
    if (key === this.described) return;
    this.described = key;
    this.doc.replaceChildren(...nodes);
  }
  // ---- moving and drawing -------------------------------------------------------------------------------------------
  show(index, playing) {
    if (!this.count) return;
    if (!playing) this.transport.stop();
    const next = clamp(Math.round(index), 0, this.count - 1);
    if (!Number.isFinite(next))
      throw new Error(`the checkpoint's index must be a number from 0 to ${this.count - 1}, got ${index}`);
    this.index = next;
    this.repaint();
  }
  repaint() {
    this.request ??= requestAnimationFrame(() => this.paint());
  }
  paint() {
    if (this.request) cancelAnimationFrame(this.request);
    this.request = null;
    if (!this.run?.manifest || !this.transport) return;
    const start = performance.now();
    const { index } = this;
    this.transport.draw(index);
    for (const entry of this.panels) {
      const { panel, card } = entry;
      try {
        panel.draw(index);
        card.show(cardState(this, entry, index));
      } catch (error) {
        // A mistake in one panel must not take the other three, or the transport, with it; it is still reported.
        card.show({ title: "This panel has failed", text: error.message });
        reportError(error);
      }
    }
    this.painted = index;
    this.cost = performance.now() - start;
  }
  row(analysis, index) {
    return this.run.row(analysis, index);
  }
  /** Ask whoever owns the page for something the page cannot do itself. */
  act(action) {
    this.element.dispatchEvent(new CustomEvent("tdw:action", { detail: { action, key: this.runKey }, bubbles: true }));
  }
  say(text) {
    this.toast.textContent = visibleText(text);
    this.toast.classList.add("tdw-shown");
    clearTimeout(this.saying);
    this.saying = setTimeout(() => this.toast.classList.remove("tdw-shown"), 4000);
  }
  // ---- pinned neurons -----------------------------------------------------------------------------------------------
  setPins(neurons) {
    const count = this.run.manifest.parameters.d_mlp;
    this.pins = [...new Set(neurons)].filter((n) => Number.isInteger(n) && n >= 0 && n < count).slice(0, MOST_PINS);
    for (const { panel } of this.panels) panel.pinned?.();
    this.repaint();
  }
  togglePin(neuron) {
    if (this.pins.includes(neuron)) this.setPins(this.pins.filter((n) => n !== neuron));
    else if (this.pins.length >= MOST_PINS)
      this.say(`${MOST_PINS} neurons are pinned, the most that fit: unpin one first.`);
    else this.setPins([...this.pins, neuron]);
  }
  // ---- keyboard, theme ----------------------------------------------------------------------------------------------
  key(event) {
    if (!this.count || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = event.target instanceof Element ? event.target : document.body;
    const own = at === this.transport.range;
    const elsewhere =
      "input, textarea, select, [contenteditable], [role=menu], [role=tab], [role=radio], [role=listbox], [role=dialog], dialog";
    if (!own && at.closest(elsewhere)) return;
    const step = event.shiftKey ? 10 : 1;
    const last = this.count - 1;
    const to = { ArrowLeft: this.index - step, ArrowRight: this.index + step, Home: 0, End: last }[event.key];
    if (to !== undefined) this.show(to);
    else if (own && event.key.startsWith("Arrow")) this.show(this.index + (event.key === "ArrowUp" ? step : -step));
    else if (own && event.key.startsWith("Page")) this.show(this.index + (event.key === "PageUp" ? 10 : -10));
    else if (event.key === " " && !at.closest("button, a, summary")) this.transport.toggle();
    else return;
    event.preventDefault();
  }
  theme() {
    const colors = palette(this.root);
    if (JSON.stringify([...colors.lut, colors.ink]) === JSON.stringify([...this.colors.lut, this.colors.ink])) return;
    this.colors = colors;
    this.transport?.theme(colors);
    for (const { panel } of this.panels) panel.theme(colors);
    this.repaint();
  }
  close() {
    this.generation++;
    this.leave();
    this.stopTheme();
    this.observer.disconnect();
    document.removeEventListener("keydown", this.onKey);
    clearInterval(this.knocking);
    clearTimeout(this.waiting);
    clearTimeout(this.asking);
    if (this.events) {
      this.events.removeEventListener("message", this.onMessage);
      this.events.removeEventListener("error", this.onError);
      this.events.removeEventListener("open", this.onOpen);
    }
    this.root.remove();
  }
}

export const mount = (element, options) => {
  const viewer = new Viewer(element, options || {});
  return { open: (base) => viewer.open(base), close: () => viewer.close() };
};
