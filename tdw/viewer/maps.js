// Panel kind "maps": activation of neurons over all (a, b). First all neurons as thumbnails, then one to five pinned, large.
// Every map is computed here from the neuron's tables (neuron_map.js); moving the slider asks the server for nothing.
import { RefusedError } from "./data_source.js";
import { clamp, el, formatExact, formatInteger, formatShort, setText } from "./format.js";
import { GELU_DEPTH, NeuronTables, neuronMap } from "./neuron_map.js";

export const MOST_PINS = 5; // pinned neurons
const CELL = 48; // smallest thumbnail, CSS px
const GAP = 6;
const CAPTION = 15;
const SORTS = { index: "neuron", frequency: "frequency", share: "share", variance: "variance" };

/** A canvas of p × p pixels and what is needed to paint it. */
class Map2D {
  constructor(p) {
    this.canvas = el("canvas", null, null, { width: p, height: p });
    this.context = this.canvas.getContext("2d");
    this.image = new ImageData(p, p);
    this.pixels = new Uint32Array(this.image.data.buffer);
  }
  paint(values, largest, { lut, minus }) {
    const { pixels } = this;
    const scale = largest > 0 ? 255 / largest : 0;
    for (let i = 0; i < pixels.length; i++) {
      const value = values[i];
      const level = ((value < 0 ? -value : value) * scale + 0.5) | 0;
      pixels[i] = (value < 0 ? minus : lut)[level > 255 ? 255 : level];
    }
    this.context.putImageData(this.image, 0, 0);
  }
  clear() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }
}

export class MapsPanel {
  constructor(card, view, kept) {
    this.card = card;
    this.view = view;
    this.kept = Object.assign(kept, { sort: "index", fixed: true, ...kept }); // fixed: colors are the same at every checkpoint
    this.sort = "index";
    this.stage = "all";
    this.slots = [];
    this.figures = [];
    this.scroller = el("div", "tdw-thumbs");
    this.inner = el("div", "tdw-thumbs-inner");
    this.scroller.append(this.inner);
    this.pinnedBox = el("div", "tdw-pinned");
    card.body.append(this.scroller, this.pinnedBox);
    this.sortBox = el("select", "tdw-select", null, { "aria-label": "Sort neurons by" });
    for (const [value, label] of Object.entries(SORTS))
      this.sortBox.append(el("option", null, `by ${label}`, { value }));
    this.sortBox.addEventListener("change", () => this.sortBy(this.sortBox.value));
    this.sortHere = el("button", "tdw-text-button", "sort here", {
      type: "button",
      title: "Sort again by the values at this checkpoint",
    });
    this.sortHere.hidden = true;
    this.sortHere.addEventListener("click", () => this.sortBy(this.sort));
    this.toggle = el("button", "tdw-text-button", null, { type: "button" });
    this.toggle.addEventListener("click", () => this.setStage(this.stage === "all" ? "pinned" : "all"));
    card.tools.append(this.sortHere, this.sortBox, this.toggle);
    card.items = () => this.menu();
    this.scroller.addEventListener("scroll", () => {
      view.tooltip.hide();
      this.lay();
      view.repaint();
    });
    this.scroller.addEventListener("pointermove", (event) => this.hoverThumb(event));
    for (const box of [this.scroller, this.pinnedBox]) box.addEventListener("pointerleave", () => view.tooltip.hide());
    this.pinnedBox.addEventListener("pointermove", (event) => this.hoverMap(event));
    this.measure();
  }
  /** New checkpoints mean new tables. */
  depends({ checkpoints, contents }) {
    return `${checkpoints.length} ${contents?.weights}`;
  }
  update(spec, run) {
    const first = this.run !== run;
    this.spec = spec;
    this.run = run;
    const { p, d_mlp: count } = run.manifest.parameters;
    if (first || this.tables.content !== run.manifest.contents?.weights) {
      this.tables = new NeuronTables(run);
      this.refusal = null;
      this.attention = null;
      this.scratch = new Float32Array(p * p);
      this.order = Uint32Array.from({ length: count }, (_, n) => n);
      for (const slot of this.slots) slot.button.remove();
      this.slots = [];
    }
    Object.assign(this, { p, count, shape: this.tables.shape });
    this.summary = {};
    for (const [key, name] of Object.entries(spec.summary)) {
      const array = run.array(name);
      if (array?.rows) this.summary[key] = array;
    }
    this.known = Boolean(this.summary.frequency && this.summary.share && this.summary.dead);
    for (const option of this.sortBox.options) option.disabled = option.value !== "index" && !this.known;
    this.largestEver = null;
    if (this.summary.maximum) {
      const { data, rows } = this.summary.maximum;
      this.complete = rows >= run.checkpoints.length; // else a checkpoint not yet analyzed may go beyond it
      this.largestEver = new Float32Array(count);
      for (let row = 0; row < rows; row++) {
        for (let n = 0; n < count; n++) this.largestEver[n] = Math.max(this.largestEver[n], data[row * count + n]);
      }
    }
    this.drawnAt = -1;
    this.measure();
    if (first && this.known && this.kept.sort !== "index") this.sortBy(this.kept.sort);
    this.setStage(this.stage);
  }
  row(index) {
    return this.view.row(this.spec.analysis, index);
  }
  value(key, row, neuron) {
    const array = this.summary[key];
    return array && row >= 0 && row < array.rows ? array.data[row * this.count + neuron] : undefined;
  }
  // ---- which neurons, where --------------------------------------------------------------------------------------
  measure() {
    this.width = this.card.body.clientWidth;
    this.height = this.card.body.clientHeight;
  }
  setStage(stage) {
    this.stage = stage === "pinned" && this.view.pins.length ? "pinned" : "all";
    const all = this.stage === "all";
    this.scroller.hidden = !all;
    this.pinnedBox.hidden = all;
    this.sortBox.hidden = !all;
    this.toggle.hidden = all && !this.view.pins.length;
    this.toggle.textContent = all ? `pinned (${this.view.pins.length})` : "all neurons";
    if (all) this.lay();
    else this.layPinned();
    this.fetch();
    this.view.repaint();
  }
  pinned() {
    if (!this.run) return;
    for (const slot of this.slots)
      slot.button.setAttribute("aria-pressed", String(this.view.pins.includes(slot.neuron)));
    this.setStage(this.stage);
  }
  sortBy(key) {
    this.sort = this.known ? key : "index";
    this.sortBox.value = this.sort;
    this.kept.sort = this.sort;
    this.sortedAt = this.view.index;
    const row = this.row(this.view.index);
    const get = (name, n) => this.value(name, row, n) ?? 0;
    const dead = (n) => (this.value("dead", row, n) ? 1 : 0);
    const by = {
      index: (m, n) => m - n,
      frequency: (m, n) =>
        dead(m) - dead(n) || get("frequency", m) - get("frequency", n) || get("share", n) - get("share", m) || m - n,
      share: (m, n) => dead(m) - dead(n) || get("share", n) - get("share", m) || m - n,
      variance: (m, n) => get("variance", n) - get("variance", m) || m - n,
    }[this.sort];
    this.order = Uint32Array.from({ length: this.count }, (_, n) => n).sort(by);
    this.scroller.scrollTop = 0;
    this.lay();
    this.fetch();
    this.view.repaint();
  }
  /** Put a button with a canvas where each visible thumbnail belongs; there are only as many as fit, and one row more at each end. */
  lay() {
    if (!this.run || this.stage !== "all" || this.width < 20) return;
    const width = this.width - 12; // the scroll bar's place
    const columns = Math.max(1, Math.floor((width + GAP) / (CELL + GAP)));
    let size = Math.floor((width - GAP * (columns - 1)) / columns);
    // A little smaller, if then no line of thumbnails is cut at the bottom.
    const whole = Math.round((this.height + GAP) / (size + CAPTION + GAP));
    const fitting = Math.floor((this.height + GAP) / Math.max(1, whole)) - CAPTION - GAP;
    if (fitting <= size && fitting > size * 0.85) size = fitting;
    const line = size + CAPTION + GAP;
    const stride = (width - size) / Math.max(1, columns - 1);
    this.inner.style.height = `${Math.ceil(this.count / columns) * line - GAP}px`;
    const lines = Math.ceil(this.height / line) + 2;
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / line));
    const room = Math.min(lines * columns, Math.ceil(this.count / columns) * columns);
    while (this.slots.length < room) this.slots.push(this.newSlot());
    while (this.slots.length > room) this.slots.pop().button.remove();
    const start = Math.max(0, Math.min(first, Math.ceil(this.count / columns) - lines)) * columns;
    const key = `${size} ${columns} ${width}`;
    for (let i = 0; i < room; i++) {
      const position = start + i;
      const slot = this.slots[position % room]; // a thumbnail that stays in view keeps its button
      const neuron = position < this.count ? this.order[position] : -1;
      if (slot.position !== position || slot.key !== key) {
        slot.position = position;
        slot.key = key;
        const x = Math.round((position % columns) * stride);
        const y = Math.floor(position / columns) * line;
        slot.button.style.transform = `translate(${x}px, ${y}px)`;
        slot.button.style.width = `${size}px`;
        slot.button.style.height = `${size + CAPTION}px`;
        slot.map.canvas.style.height = `${size}px`;
        slot.map.canvas.style.imageRendering = size * devicePixelRatio >= this.p ? "pixelated" : "auto";
      }
      slot.button.hidden = neuron < 0; // the last line may be shorter
      if (slot.neuron !== neuron) {
        slot.neuron = neuron;
        slot.drawn = -1;
        slot.button.setAttribute("aria-pressed", String(this.view.pins.includes(neuron)));
      }
      const top = Math.floor(position / columns) * line - this.scroller.scrollTop;
      slot.visible = top < this.height && top + line - GAP > 0;
    }
    clearTimeout(this.settled);
    this.settled = setTimeout(() => this.fetch(), 60);
  }
  newSlot() {
    const button = el("button", "tdw-thumb", null, { type: "button" });
    const map = new Map2D(this.p);
    const caption = el("span");
    button.append(map.canvas, caption);
    this.inner.append(button);
    const slot = { button, map, caption, neuron: -1, position: -1, drawn: -1, visible: false };
    button.addEventListener("click", () => this.view.togglePin(slot.neuron));
    return slot;
  }
  /** The largest squares that hold all pinned maps: one to three columns beside or above each other. */
  layPinned() {
    const { pins } = this.view;
    const caption = 20;
    let best = { size: 0 };
    for (let columns = 1; columns <= pins.length; columns++) {
      const lines = Math.ceil(pins.length / columns);
      const size = Math.floor(
        Math.min(
          (this.width - (columns - 1) * 12) / columns,
          (this.height - lines * caption - (lines - 1) * 8) / lines,
        ),
      );
      if (size > best.size) best = { size, columns };
    }
    const { size, columns } = best;
    if (!size) return;
    this.pinnedBox.style.gridTemplateColumns = `repeat(${columns}, ${size}px)`;
    const old = new Map(this.figures.map((figure) => [figure.neuron, figure]));
    this.figures = pins.map((neuron) => old.get(neuron) || this.newFigure(neuron));
    for (const figure of this.figures) {
      const { canvas } = figure.map;
      canvas.style.width = canvas.style.height = `${size}px`;
      canvas.style.imageRendering = size * devicePixelRatio >= this.p ? "pixelated" : "auto";
      figure.wide = size >= 170;
      figure.drawn = -1;
    }
    this.pinnedBox.replaceChildren(...this.figures.map((figure) => figure.node));
  }
  newFigure(neuron) {
    const node = el("figure");
    const map = new Map2D(this.p);
    map.canvas.setAttribute("role", "img");
    const caption = el("figcaption");
    const unpin = el("button", "tdw-unpin", "×", {
      type: "button",
      "aria-label": `Unpin neuron ${neuron}`,
      title: "Unpin",
    });
    unpin.addEventListener("click", () => this.view.togglePin(neuron));
    node.append(map.canvas, caption, unpin);
    return { node, map, caption, neuron, drawn: -1 };
  }
  // ---- data ------------------------------------------------------------------------------------------------------
  shownNeurons() {
    if (this.stage === "pinned") return [...this.view.pins];
    return this.slots.filter((slot) => slot.neuron >= 0).map((slot) => slot.neuron);
  }
  /** Ask for the tables of what is in view, once; resolves when they are here. */
  fetch() {
    if (!this.run?.checkpoints.length) return Promise.resolve();
    const wanted = this.shownNeurons();
    if (!wanted.length) return Promise.resolve();
    const { tables } = this;
    const promise = tables.need(wanted).then(
      (fresh) => {
        if (this.tables !== tables) return;
        const again = fresh || this.refusal;
        this.refusal = null;
        if (!again) return;
        this.drawnAt = -1;
        this.view.repaint();
      },
      (error) => {
        if (this.tables !== tables || error.name === "AbortError") return;
        if (this.refusal !== error.message) this.view.soon(); // it may have been asked while the file was being changed
        this.refusal = error.message; // frames that stay empty would not say so
        this.view.repaint();
        if (!(error instanceof RefusedError)) this.view.failed(error);
      },
    );
    this.loading = promise;
    return promise;
  }
  /** Why nothing of this checkpoint can be drawn: the server's sentence, or null. */
  refusedAt(index) {
    if (!this.refusal || index < 0) return null;
    const tables = this.shownNeurons().map((neuron) => this.tables.kept.get(neuron));
    const some =
      this.tables.scoresOffset(index) >= 0 && tables.some((table) => table && this.tables.offset(table, index) >= 0);
    return some ? null : this.refusal;
  }
  attentionAt(index) {
    const offset = this.tables.scoresOffset(index);
    if (offset < 0) return null;
    if (this.attentionIndex !== index || !this.attention || this.attentionOf !== this.tables.scores) {
      this.attention = this.shape.open(this.tables.scores, offset, this.shape.gated, this.p, this.attention);
      this.attentionIndex = index;
      this.attentionOf = this.tables.scores;
    }
    return this.attention;
  }
  /** Compute a neuron's map into the scratch array; returns its color scale's top, or -1 while the numbers are on their way. */
  compute(neuron, index) {
    const table = this.tables.get(neuron);
    const offset = table ? this.tables.offset(table, index) : -1;
    const attention = offset < 0 ? null : this.attentionAt(index);
    if (!attention) return -1;
    const here = this.top(neuronMap(table, offset, attention, this.shape, this.scratch));
    if (!this.kept.fixed) return here;
    if (this.largestEver?.[neuron])
      return this.complete ? this.top(this.largestEver[neuron]) : Math.max(this.largestEver[neuron], here);
    if (this.stage === "all") return here; // without a summary the scale over all checkpoints is computed for pinned ones only
    const largest = this.tables.largest(neuron, table, (row) => this.attentionAt(row), this.scratch);
    neuronMap(table, offset, this.attentionAt(index), this.shape, this.scratch);
    return this.top(largest);
  }
  /** How far a color scale reaches. */
  top(largest) {
    return this.shape.activation === "gelu" ? Math.max(largest, GELU_DEPTH) : largest;
  }
  // ---- drawing ---------------------------------------------------------------------------------------------------
  draw(index) {
    if (this.drawnAt !== index) {
      for (const slot of this.slots) slot.drawn = -1;
      for (const figure of this.figures) figure.drawn = -1;
      this.drawnAt = index;
    }
    if (index < 0) return this.card.read("");
    const row = this.row(index);
    if (this.stage === "all") this.drawThumbs(index, row);
    else this.drawPinned(index, row);
    return undefined;
  }
  drawThumbs(index, row) {
    for (const slot of this.slots) {
      if (slot.neuron < 0 || !slot.visible || slot.drawn === index) continue;
      const largest = this.compute(slot.neuron, index);
      const waiting = largest < 0;
      if (waiting) slot.map.clear();
      else {
        slot.map.paint(this.scratch, largest, this.colors);
        slot.drawn = index;
      }
      const dead = Boolean(this.value("dead", row, slot.neuron));
      if (slot.waiting !== waiting) slot.button.classList.toggle("tdw-waiting", (slot.waiting = waiting));
      if (slot.dead !== dead) slot.button.classList.toggle("tdw-dead", (slot.dead = dead));
      const k = this.value("frequency", row, slot.neuron);
      setText(slot.caption, dead ? `${slot.neuron} dead` : k > 0 ? `${slot.neuron} · k${k}` : String(slot.neuron));
    }
    const words = [this.sort === "index" ? `${this.count} neurons` : `${this.count}`];
    if (row >= 0 && this.summary.dead) {
      let dead = 0;
      for (let n = 0; n < this.count; n++) if (this.value("dead", row, n)) dead++;
      if (dead) words.push(`${dead} dead`);
    }
    if (this.sort !== "index") words.push(`sorted at ${formatInteger(this.run.checkpoints[this.sortedAt] ?? 0)}`);
    else if (!this.known) words.push("not analyzed");
    this.sortHere.hidden = this.sort === "index" || this.sortedAt === index;
    this.card.read(words.join(" · "));
  }
  drawPinned(index, row) {
    this.sortHere.hidden = true;
    for (const figure of this.figures) {
      if (figure.drawn === index) continue;
      const { neuron } = figure;
      const largest = this.compute(neuron, index);
      if (largest < 0) figure.map.clear();
      else {
        figure.map.paint(this.scratch, largest, this.colors);
        figure.drawn = index;
      }
      const k = this.value("frequency", row, neuron);
      const words = [`n ${neuron}`];
      if (this.value("dead", row, neuron)) words.push("dead");
      else if (k > 0) words.push(`k ${k}`, this.value("share", row, neuron).toFixed(2));
      if (figure.wide && largest > 0)
        words.push(`${this.shape.activation === "gelu" ? `−${GELU_DEPTH}` : "0"}–${formatShort(largest)}`);
      const text = words.join(" · ");
      setText(figure.caption, text);
      if (figure.label !== text)
        figure.map.canvas.setAttribute("aria-label", `Activation over a and b: ${(figure.label = text)}`);
    }
    const scale = this.kept.fixed ? "" : " · colors per checkpoint";
    this.card.read(`${this.view.pins.length} pinned · activation over a ↓ b →${scale}`);
  }
  // ---- pointer ---------------------------------------------------------------------------------------------------
  hoverThumb(event) {
    const slot = this.slots.find((candidate) => candidate.button.contains(event.target));
    if (!slot || slot.neuron < 0 || event.buttons) return this.view.tooltip.hide();
    const row = this.row(this.view.index);
    const lines = [[`neuron ${slot.neuron}`, ""]];
    if (this.value("dead", row, slot.neuron)) lines.push("dead: its activation does not vary");
    else if (this.known && row >= 0) {
      lines.push(
        `frequency ${this.value("frequency", row, slot.neuron)} · share ${formatExact(this.value("share", row, slot.neuron))}`,
      );
      if (this.summary.variance) lines.push(`variance ${formatExact(this.value("variance", row, slot.neuron))}`);
    }
    lines.push(this.view.pins.includes(slot.neuron) ? "click: unpin" : "click: pin");
    return this.view.tooltip.show(event.clientX, event.clientY, lines);
  }
  hoverMap(event) {
    const figure = this.figures.find((candidate) => candidate.map.canvas === event.target);
    if (!figure) return this.view.tooltip.hide();
    const box = event.target.getBoundingClientRect();
    const b = clamp(Math.floor(((event.clientX - box.left) / box.width) * this.p), 0, this.p - 1);
    const a = clamp(Math.floor(((event.clientY - box.top) / box.height) * this.p), 0, this.p - 1);
    if (this.compute(figure.neuron, this.view.index) < 0) return this.view.tooltip.hide();
    return this.view.tooltip.show(event.clientX, event.clientY, [
      [`neuron ${figure.neuron}`, ""],
      `a = ${a}, b = ${b}`,
      `activation ${formatExact(this.scratch[a * this.p + b])}`,
    ]);
  }
  menu() {
    const scale = {
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
    };
    const items = [scale];
    if (this.view.pins.length) items.push({ label: "Unpin all", run: () => this.view.setPins([]) });
    return items;
  }
  /** For tests: one value of a neuron's map at the painted checkpoint, its color scale's top and the pixel painted for it. */
  probe(neuron, a, b) {
    const shown = this.stage === "all" ? this.slots : this.figures;
    const item = shown.find((candidate) => candidate.neuron === neuron);
    const largest = this.compute(neuron, this.view.index);
    const pixel = item ? [...item.map.context.getImageData(b, a, 1, 1).data] : null;
    return {
      value: this.scratch[a * this.p + b],
      largest,
      pixel,
      drawn: item?.drawn,
      caption: item?.caption.textContent,
    };
  }
  /** For tests: the whole map, row by row. */
  map(neuron) {
    return this.compute(neuron, this.view.index) < 0 ? null : Array.from(this.scratch);
  }
  resize() {
    this.measure();
    if (!this.run) return;
    if (this.stage === "all") this.lay();
    else this.layPinned();
    this.view.repaint();
  }
  theme(colors) {
    this.colors = colors;
    this.drawnAt = -1;
  }
  close() {
    clearTimeout(this.settled);
  }
}
