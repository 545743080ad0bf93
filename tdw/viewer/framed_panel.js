// What all kinds of panel with one frame have in common: zooming and its button, size, colors, and drawing anew once
// something was chosen in the menu. A kind gives full, axes,
// hover and draw, and what else it wants to be asked of a frame.
import { el } from "./format.js";
import { PlotFrame } from "./plot_frame.js";

export class FramedPanel {
  /** options: what differs for its PlotFrame; kept: what the panel remembers, `defaults` where it is new. */
  constructor(card, view, kept, defaults, options) {
    this.card = card;
    this.view = view;
    this.kept = Object.assign(kept, { ...defaults, ...kept });
    this.frame = new PlotFrame(card.body, view.tooltip, {
      full: () => this.full,
      axes: (range, width, height) => this.axes(range, width, height),
      traces: () => [{ type: "scatter", x: [], y: [], hoverinfo: "skip" }],
      hover: (x, y) => this.hover(x, y),
      onZoom: (zoomed) => {
        card.reset.hidden = !zoomed;
        view.repaint();
      },
      ...options,
    });
    card.reset.addEventListener("click", () => this.frame.setView(null));
    card.items = () => this.menu();
  }
  /** The vertical line at the slider's checkpoint, and its place in pixels. */
  addMarker() {
    this.marker = el("div", "tdw-marker");
    this.frame.overlay.append(this.marker);
  }
  /** Draw the same run with what was chosen now. */
  choose(change = {}) {
    Object.assign(this.kept, change);
    this.frame.view = null;
    this.card.reset.hidden = true;
    this.update(this.spec, this.run);
    this.view.repaint();
  }
  menu() {
    return [];
  }
  resize() {
    this.frame.resize();
  }
  theme(colors) {
    this.frame.theme(colors);
  }
  close() {
    this.frame.close();
  }
}
