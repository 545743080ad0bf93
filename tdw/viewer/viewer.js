// The synchronised page: one slider, every panel at the same checkpoint. `TdwViewer.mount(element, {base, events})`, where
// base is a run's address, null for none, or left out while it is not known; `open(base)` then says it.
(function (T) {
  "use strict";
  const TAGS = 3; // in the document bar; the others are told on hover

  class Viewer {
    constructor(element, options) {
      this.element = element;
      this.events = options.events || null;
      this.makeSource = options.source || ((base) => new T.Source(base));
      this.index = -1;
      this.painted = -1;
      this.cost = 0; // milliseconds of script in the last step
      this.pins = [];
      this.jobs = [];
      this.kept = {};
      this.panels = [];
      this.places = new Map(); // run -> where the reader left it
      this.generation = 0;
      this.root = T.el("div", "tdw-viewer");
      this.doc = T.el("header", "tdw-doc");
      this.slot = T.el("div", "tdw-slot");
      this.cards = T.el("main", "tdw-cards");
      this.toast = T.el("div", "tdw-toast", null, { role: "status" });
      this.root.append(this.doc, this.slot, this.cards, this.toast);
      element.replaceChildren(this.root);
      this.tooltip = new T.Tooltip(this.root);
      this.colours = T.palette(this.root);
      this.stopTheme = T.watchTheme(() => this.theme());
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
      if (!found) throw new Error(`no panel is named ${name}: there are ${this.panels.map((entry) => entry.spec.name).join(", ")}`);
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
      if (base === null) return this.blank("No run is open", "Open a project file (.tdw) or start a new run in the side bar.");
      this.run = new T.Run(this.makeSource(base));
      const { run } = this;
      const patience = setTimeout(() => generation === this.generation && this.blank("Opening …", ""), 300);
      try {
        await run.refresh();
      } catch (error) {
        if (generation !== this.generation || error.name === "AbortError") return undefined;
        this.run = null;
        if (!(error instanceof T.Refused || error instanceof T.Unreachable)) throw error;
        this.retry = error instanceof T.Unreachable ? base : null;
        return this.blank(error instanceof T.Unreachable ? "The server does not answer" : "This file cannot be shown", error.message);
      } finally {
        clearTimeout(patience);
      }
      if (generation !== this.generation) return undefined;
      this.build();
      const place = this.places.get(base);
      this.pins = place?.pins || [];
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
      this.observer.disconnect();
      this.resizes.clear(); // it would keep the timeline, and with it every array of the run
      for (const { panel, card } of this.panels) {
        panel.close();
        card.close();
      }
      this.panels = [];
      this.run?.close();
      this.run = null;
      this.retry = null;
      this.index = this.painted = -1;
      this.pins = [];
      this.tooltip.hide();
      this.slot.replaceChildren();
      this.cards.replaceChildren();
      this.doc.replaceChildren();
    }
    blank(title, text) {
      const box = T.el("div", "tdw-blank");
      box.append(T.el("strong", null, title));
      if (text) box.append(T.el("p", null, text));
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
      this.transport = new T.Transport(this.slot, this);
      this.transport.theme(this.colours);
      this.watchSize(this.transport.timeline, () => this.transport?.resize());
      this.transport.resize();
      for (const spec of this.run.manifest.panels) {
        const Kind = T.kinds[spec.kind];
        if (!Kind) throw new Error(`the panel ${spec.name} is of the kind ${spec.kind}, which this viewer does not know`);
        const card = new T.Card(this.cards, spec.title, this.tooltip);
        const panel = new Kind(card, this, (this.kept[spec.name] ??= {})); // what was chosen in its menu outlives the run
        panel.theme(this.colours);
        this.panels.push({ spec, card, panel });
      }
      for (const entry of this.panels) this.watchSize(entry.card.body, () => entry.panel.resize());
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
        const inputs = [JSON.stringify(entry.spec), entry.panel.depends?.(manifest), ...entry.spec.arrays.map((name) => this.run.array(name))];
        if (entry.inputs?.length === inputs.length && inputs.every((input, i) => input === entry.inputs[i])) continue;
        entry.inputs = inputs;
        entry.panel.update(entry.spec, this.run);
      }
      this.repaint();
    }
    async refresh() {
      const { run, generation } = this;
      if (!run) return;
      const newest = this.count - 1;
      try {
        await run.refresh();
        this.refusals = 0;
      } catch (error) {
        // An analysis that is being replaced may be gone between manifest and array: that passes.
        this.refusals = error instanceof T.Refused ? (this.refusals || 0) + 1 : 0;
        if (this.refusals && this.refusals < 4) this.soon();
        else this.failed(error);
        return;
      }
      if (generation !== this.generation) return;
      this.lost(false);
      // Whoever stands at the newest checkpoint by now stays with the newest; everyone else stays where they are.
      if (this.index >= Math.min(newest, this.count)) this.index = this.count - 1;
      this.update();
    }
    // ---- news from the server -----------------------------------------------------------------------------------------
    listen() {
      if (!this.events) return;
      this.onMessage = (event) => {
        const news = JSON.parse(event.data);
        if (news.type === "run" && news.key === this.runKey) {
          if (news.job !== undefined) this.setJob(news.job);
          if (this.run?.manifest && news.revision !== this.run.manifest.revision) this.soon();
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
      this.waiting = setTimeout(() => {
        this.waiting = null;
        this.refresh();
      }, Math.max(0, 500 - (performance.now() - (this.refreshed || 0))));
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
      if (error instanceof T.Unreachable) this.lost(true);
      else if (error instanceof T.Refused) this.say(error.message);
      else throw error;
    }
    lost(isLost) {
      if (this.isLost === isLost) return;
      this.isLost = isLost;
      this.describe();
      clearInterval(this.knocking);
      // An EventSource tries again by itself; without one, or when it has given up, knock now and then.
      if (isLost) this.knocking = setInterval(() => this.refresh(), 3000);
    }
    // ---- the document bar ---------------------------------------------------------------------------------------------
    describe() {
      if (!this.run?.manifest) return;
      const { manifest } = this.run;
      const { title, tags, remark } = manifest;
      const noted = [title, tags.length ? `tags: ${tags.join(", ")}` : "", remark].filter(Boolean).join("\n\n");
      const nodes = [T.el("b", "tdw-file", manifest.file, { title: [manifest.file, noted].filter(Boolean).join("\n\n") })];
      // Of a long title the first words stay when the bar is narrow; a short one must not be stretched to them.
      if (title) nodes.push(T.el("span", "tdw-title", title, { title: noted, style: `min-width: ${0.6 * Math.min(title.length, 20)}ch` }));
      if (remark) nodes.at(-1).classList.add("tdw-remarked");
      const saved = manifest.state === "finished" ? "saved" : this.job?.kind === "train" ? "saved as it trains" : "saved";
      const path = T.el("span", "tdw-path", null, { title: manifest.folder });
      path.append(T.el("bdi", null, manifest.folder), ` · ${saved}`);
      nodes.push(path);
      const chips = T.el("span", "tdw-chips tdw-found");
      nodes.push(chips);
      const chip = (kind, text, title) => chips.append(T.el("span", `tdw-chip ${kind}`, text, title ? { title } : {}));
      const found = (prefix) => (manifest.events || []).find((event) => event.name.startsWith(prefix) && event.first);
      const memorised = found("memorised");
      const generalised = found("generalised");
      const why = (event) => `${event.label}: first between epochs ${T.span(event.first)}${event.last ? `, for good ${T.span(event.last)}` : ""}`;
      if (memorised) chip("", `memorised ${T.span(memorised.first)}`, why(memorised));
      if (generalised) chip("tdw-good", `generalised ${T.span(generalised.first)}`, why(generalised));
      const keys = manifest.key_frequencies;
      if (keys?.frequencies.length) {
        const many = keys.frequencies.length;
        chip("", `${many} key frequenc${many > 1 ? "ies" : "y"}`, `k = ${keys.frequencies.join(", ")} by the rule “${keys.rule}”`);
      }
      const shown = tags.length > TAGS ? TAGS - 1 : TAGS; // a lone “+1” would take the place of the tag it stands for
      const marks = tags.slice(0, shown).map((tag) => T.el("span", "tdw-chip tdw-tag", tag, { title: tag }));
      if (tags.length > shown) marks.push(T.el("span", "tdw-chip tdw-tag", `+${tags.length - shown}`, { title: tags.join("\n") }));
      nodes.push(T.el("span", "tdw-chips tdw-tags"));
      nodes.at(-1).append(...marks);
      const { job } = this;
      const recorded = Math.max(0, manifest.epochs - 1);
      const status = T.el("span", "tdw-status", null, { role: "status" });
      if (this.isLost) status.append(T.el("span", "tdw-chip tdw-warn", "server lost: what is loaded can still be explored; trying again"));
      else if (job) {
        const train = job.kind === "train";
        const words = [train ? `training ${T.integer(recorded)} / ${T.integer(manifest.planned_epochs)}` : `analysing ${job.done ?? 0} / ${job.total ?? "?"}`];
        if (train && job.epochs_per_second) words.push(`${T.short(job.epochs_per_second)} epochs/s`);
        if (job.seconds_left !== null && job.seconds_left !== undefined) words.push(`${T.duration(job.seconds_left)} left`);
        const part = train ? recorded / Math.max(1, manifest.planned_epochs) : (job.done || 0) / Math.max(1, job.total || 1);
        status.append(T.el("span", null, words.join(" · ")), T.progress(part, words[0]));
      } else if (manifest.state === "unfinished") {
        status.append(T.el("span", "tdw-chip", `unfinished: ${T.integer(recorded)} of ${T.integer(manifest.planned_epochs)} epochs`));
      } else if (manifest.state === "new") status.append(T.el("span", "tdw-chip", "not started"));
      nodes.push(status);
      const key = nodes.map((node) => node.outerHTML).join("");
      if (key === this.described) return;
      this.described = key;
      this.doc.replaceChildren(...nodes);
    }
    // ---- moving and drawing -------------------------------------------------------------------------------------------
    show(index, playing) {
      if (!this.count) return;
      if (!playing) this.transport.stop();
      const next = T.clamp(Math.round(index), 0, this.count - 1);
      if (!Number.isFinite(next)) throw new Error(`the checkpoint's index must be a number from 0 to ${this.count - 1}, got ${index}`);
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
      for (const { panel, card, spec } of this.panels) {
        const state = this.stateOf(spec, index);
        try {
          panel.draw(index);
          card.show(state);
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
    /** Why a panel has nothing to draw at this checkpoint, in words; null when it has. Also sets the card's flag. */
    stateOf(spec, index) {
      const { manifest } = this.run;
      const { card } = this.panels.find((entry) => entry.spec === spec);
      const training = this.job?.kind === "train";
      if (!manifest.epochs && !manifest.checkpoints.length) {
        return training
          ? { title: "Training has started", text: "The first epochs arrive in a moment." }
          : { title: "Not trained yet", text: "This run has settings and no epochs so far: start it in the side bar." };
      }
      if (spec.kind === "curve") return null;
      if (!this.count) {
        return training
          ? { title: "No checkpoint yet", text: "This panel appears with the first one." }
          : { title: "Losses only", text: "This run has kept no checkpoint, so there are no weights to look at." };
      }
      const act = () => this.act("analyze");
      const analysing = this.job?.kind === "analyze";
      const rows = this.run.rowsOf.get(spec.analysis);
      const covered = rows ? rows.reduce((sum, row) => sum + (row >= 0), 0) : 0;
      const row = this.run.row(spec.analysis, index);
      const stale = spec.state?.status === "stale" && covered;
      if (stale) card.warn("stale", `${spec.state.reason} Press to analyse again.`, analysing || training ? null : act);
      else if (covered && covered < this.count && !training) {
        card.warn(`${covered} of ${this.count}`, `Analysed at ${covered} of ${this.count} checkpoints. Press to analyse the rest.`, analysing ? null : act);
      } else card.warn("");
      if (!spec.required || row >= 0) return null;
      const share = `${covered} of ${this.count} checkpoints are done.`;
      if (analysing) return { title: "Analysing", text: share, progress: covered / this.count };
      if (training) return { title: "Not analysed yet", text: "Training is writing this file: analyse it when training has ended or was stopped." };
      if (!covered) return { title: "Not analysed yet", text: `Computes what this panel shows at ${this.count} checkpoint${this.count > 1 ? "s" : ""}.`, button: "Analyse", act };
      return { title: `Not analysed at epoch ${T.integer(this.run.checkpoints[index])}`, text: share, button: "Analyse the rest", act };
    }
    /** Ask whoever owns the page for something the page cannot do itself. */
    act(action) {
      this.element.dispatchEvent(new CustomEvent("tdw:action", { detail: { action, key: this.runKey }, bubbles: true }));
    }
    say(text) {
      this.toast.textContent = T.visible(text);
      this.toast.classList.add("tdw-shown");
      clearTimeout(this.saying);
      this.saying = setTimeout(() => this.toast.classList.remove("tdw-shown"), 4000);
    }
    // ---- pinned neurons -----------------------------------------------------------------------------------------------
    setPins(neurons) {
      const count = this.run.manifest.parameters.d_mlp;
      this.pins = [...new Set(neurons)].filter((n) => Number.isInteger(n) && n >= 0 && n < count).slice(0, T.kinds.maps.MOST);
      for (const { panel } of this.panels) panel.pinned?.();
      this.repaint();
    }
    togglePin(neuron) {
      if (this.pins.includes(neuron)) this.setPins(this.pins.filter((n) => n !== neuron));
      else if (this.pins.length >= T.kinds.maps.MOST) this.say(`${T.kinds.maps.MOST} neurons are pinned, the most that fit: unpin one first.`);
      else this.setPins([...this.pins, neuron]);
    }
    // ---- keyboard, theme ----------------------------------------------------------------------------------------------
    key(event) {
      if (!this.count || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      const at = event.target instanceof Element ? event.target : document.body;
      const own = at === this.transport.range;
      const elsewhere = "input, textarea, select, [contenteditable], [role=menu], [role=tab], [role=radio], [role=listbox], [role=dialog], dialog";
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
      const colours = T.palette(this.root);
      if (JSON.stringify([...colours.lut, colours.ink]) === JSON.stringify([...this.colours.lut, this.colours.ink])) return;
      this.colours = colours;
      this.transport?.theme(colours);
      for (const { panel } of this.panels) panel.theme(colours);
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
      if (this.events) {
        this.events.removeEventListener("message", this.onMessage);
        this.events.removeEventListener("error", this.onError);
        this.events.removeEventListener("open", this.onOpen);
      }
      this.root.remove();
    }
  }

  /** 95 -> "1 min 35 s". */
  T.duration = (seconds) => {
    const s = Math.max(0, Math.round(seconds));
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min${s < 600 && s % 60 ? ` ${s % 60} s` : ""}`;
    return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  };

  T.mount = (element, options) => {
    const viewer = new Viewer(element, options || {});
    return { open: (base) => viewer.open(base), close: () => viewer.close() };
  };
})((window.TdwViewer = window.TdwViewer || {}));
