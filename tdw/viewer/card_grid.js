// The cards of a view: a grid that scrolls, two rows of which fit. Panels are built, updated and drawn near the viewport only;
// a panel that is far away has an empty card, and its arrays are not fetched.

import { Card, EmptyPanel } from "./card.js";
import { KINDS } from "./kinds.js";

/** @import { Kept, Palette, PanelDescription, PanelView, Run, ViewerHandle } from "./types.js" */

const NARROW = "(max-width: 900px)"; // as in viewer.css: one column
const NARROW_ROW = 320; // pixels
const ROWS = 2; // that fit in a wide window

/** @typedef {{spec: PanelDescription, card: Card, panel: PanelView | null, isNear: boolean, inputs: unknown[]}} Entry */
/** @typedef {Entry & {panel: PanelView}} BuiltEntry */

/** How many cards of a view are near its top: those in sight, and a row more. @param {number} height of the grid, in pixels @param {boolean} isNarrow */
export const cardsNearTop = (height, isNarrow) => (isNarrow ? Math.ceil(height / NARROW_ROW) + 1 : 2 * (ROWS + 1));

export class CardGrid {
  /** @param {ViewerHandle} view @param {HTMLElement} node @param {(node: HTMLElement, resized: () => void) => void} watchSize @param {(node: HTMLElement) => void} unwatchSize */
  constructor(view, node, watchSize, unwatchSize) {
    this.view = view;
    this.node = node;
    this.watchSize = watchSize;
    this.unwatchSize = unwatchSize;
    /** @type {Entry[]} */
    this.entries = [];
    /** @type {Record<string, Kept>} what was chosen in the panels' menus, by panel; outlives views and runs */
    this.kept = {};
  }
  /** The panels that are drawn, or will be once the view is shown. @param {PanelDescription[]} specs of the view @returns {PanelDescription[]} */
  near(specs) {
    const isShown =
      this.entries.length === specs.length && specs.every(({ name }, i) => name === this.entries[i].spec.name);
    if (isShown) return specs.filter((_, i) => this.entries[i].isNear);
    return specs.slice(0, cardsNearTop(this.node.clientHeight, matchMedia(NARROW).matches));
  }
  /** Show empty cards for these panels. @param {PanelDescription[]} specs */
  assemble(specs) {
    this.dismantle();
    this.entries = specs.map((spec) => ({
      spec,
      card: new Card(this.node, spec.title),
      panel: null,
      isNear: false,
      inputs: [],
    }));
    this.node.scrollTop = 0;
    this.locate();
  }
  /** Find out which cards are near the viewport; whether one came near. */
  locate() {
    const { scrollTop, clientHeight } = this.node;
    let isChanged = false;
    for (const entry of this.entries) {
      const { offsetTop: top, offsetHeight: height } = entry.card.section;
      const isNear = top < scrollTop + clientHeight + height && top + height > scrollTop - height;
      if (isNear && !entry.isNear) isChanged = true;
      entry.isNear = isNear;
    }
    return isChanged;
  }
  /** Entries near the viewport, built if they were not. @param {Run} run @returns {BuiltEntry[]} */
  build(run) {
    for (const entry of this.entries) {
      if (!entry.isNear || entry.panel) continue;
      const { spec, card } = entry;
      const isApplicable = spec.state.status !== "inapplicable";
      this.kept[spec.name] ??= {};
      const panel = isApplicable
        ? new KINDS[spec.kind](card, this.view, this.kept[spec.name], spec, run)
        : new EmptyPanel();
      entry.panel = panel;
      this.watchSize(card.body, () => panel.resize());
    }
    return this.drawn;
  }
  /** @returns {BuiltEntry[]} */
  get drawn() {
    return this.entries
      .filter((entry) => entry.isNear && entry.panel !== null)
      .map((entry) => /** @type {BuiltEntry} */ (entry));
  }
  /** @returns {PanelView[]} */
  get panels() {
    return this.entries.flatMap(({ panel }) => panel ?? []);
  }
  /** Hand a run to the panels near the viewport. @param {Run} run */
  update(run) {
    const { manifest } = run;
    for (const entry of this.entries)
      entry.spec = manifest.panels.find(({ name }) => name === entry.spec.name) ?? entry.spec;
    for (const entry of this.build(run)) {
      const { spec, panel } = entry;
      // What has not changed for a panel is not drawn again while a run grows: Plotly needs more than a frame for it.
      const inputs = [
        JSON.stringify(spec),
        panel.depends?.(manifest),
        ...spec.arrays.map((name) => run.array(name) ?? run.curve(name)),
      ];
      const isSame = entry.inputs.length === inputs.length && inputs.every((input, i) => input === entry.inputs[i]);
      if (isSame) continue;
      entry.inputs = inputs;
      panel.update(spec, run);
    }
  }
  /** The panel of that name. Throws where it is not built. @param {string} name */
  panel(name) {
    const entry = this.entries.find(({ spec }) => spec.name === name);
    if (entry?.panel) return entry.panel;
    const names = this.entries.filter(({ panel }) => panel).map(({ spec }) => spec.name);
    throw new Error(`the panel ${name} is not drawn: there are ${names.join(", ")}`);
  }
  /** @param {Palette} colors */
  theme(colors) {
    for (const panel of this.panels) panel.theme(colors);
  }
  dismantle() {
    for (const { panel, card } of this.entries) {
      this.unwatchSize(card.body);
      panel?.close();
      card.close();
    }
    this.entries = [];
  }
}
