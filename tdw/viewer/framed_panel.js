// What all kinds of panel with one frame have in common: zoom and its button, size, colors, and redrawing after a choice.
// A kind defines range, axes, update and draw, and what else it wants of its frame.

import { el } from "./dom.js";
import { PlotFrame } from "./plot_frame.js";

/** @import { Axes, Kept, MenuItem, Palette, PanelDescription, PanelView, Range, Run, TooltipLine, ViewerHandle } from "./types.js" */
/** @import { Card } from "./card.js" */
/** @import { FrameOptions } from "./plot_frame.js" */

/**
 * @template {PanelDescription} Spec
 * @implements {PanelView}
 */
export class FramedPanel {
  /**
   * @param {Card} card
   * @param {ViewerHandle} view
   * @param {Kept} kept what was chosen before
   * @param {Spec} spec
   * @param {Run} run
   * @param {Kept} defaults of `kept`
   * @param {Omit<FrameOptions, "full" | "axes" | "hover">} options
   */
  constructor(card, view, kept, spec, run, defaults, options) {
    this.card = card;
    this.view = view;
    this.kept = Object.assign(kept, { ...defaults, ...kept });
    this.spec = spec;
    this.run = run;
    /** @type {Range} what is shown when not zoomed */
    this.full = { x: [0, 1], y: [0, 1] };
    this.frame = new PlotFrame(card.body, view.tooltip, view.colors, {
      full: () => this.full,
      axes: (range, width, height) => this.axes(range, width, height),
      hover: (x, y) => this.hover(x, y),
      onZoom: (isZoomed) => {
        card.reset.hidden = !isZoomed;
        view.repaint();
      },
      ...options,
    });
    card.reset.addEventListener("click", () => this.frame.setView(null));
    card.items = () => this.menu();
  }
  /** @param {Spec} spec @param {Run} run */
  update(spec, run) {
    this.spec = spec;
    this.run = run;
  }
  /** @param {number} _index */
  draw(_index) {}
  /** @param {Range} _range @param {number} _width @param {number} _height @returns {Axes} */
  axes(_range, _width, _height) {
    return { x: { values: [], text: [] }, y: { values: [], text: [] } };
  }
  /** @param {number} _x @param {number} _y @returns {TooltipLine[] | null} */
  hover(_x, _y) {
    return null;
  }
  /** The vertical line at the slider's checkpoint. */
  addMarker() {
    const marker = el("div", "tdw-marker");
    this.frame.overlay.append(marker);
    return marker;
  }
  /** Draw the same run with what is chosen now. @param {Kept} [change] */
  choose(change = {}) {
    Object.assign(this.kept, change);
    this.frame.view = null;
    this.card.reset.hidden = true;
    this.update(this.spec, this.run);
    this.view.repaint();
  }
  /** @returns {MenuItem[]} */
  menu() {
    return [];
  }
  resize() {
    this.frame.resize();
  }
  /** @param {Palette} colors */
  theme(colors) {
    this.frame.theme(colors);
  }
  close() {
    this.frame.close();
  }
}
