// A threshold across bars, moved with the pointer or the keys.

import { el, setText } from "./dom.js";
import { formatBrief } from "./format.js";
import { clamp } from "./numbers.js";

/** @type {Record<string, number>} parts of the range */
const STEPS = { ArrowUp: 0.01, ArrowDown: -0.01, PageUp: 0.1, PageDown: -0.1 };

export class ThresholdHandle {
  /** @param {HTMLElement} overlay @param {{range: () => number[], value: () => number, move: (value: number) => void}} options */
  constructor(overlay, { range, value, move }) {
    this.overlay = overlay;
    this.range = range;
    this.move = (/** @type {number} */ to) => move(clamp(to, 0, range()[1]));
    this.node = el("div", "tdw-threshold", null, {
      role: "slider",
      tabindex: "0",
      "aria-label": "Threshold above which a frequency counts as dominant",
      "aria-orientation": "vertical",
    });
    this.text = el("span");
    this.node.append(el("i"), this.text);
    overlay.append(this.node);
    const { node } = this;
    node.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      node.setPointerCapture(event.pointerId);
      node.classList.add("tdw-dragged");
      event.preventDefault();
      node.focus({ preventScroll: true });
    });
    node.addEventListener("pointermove", (event) => {
      if (node.hasPointerCapture(event.pointerId)) this.drag(event);
    });
    node.addEventListener("lostpointercapture", () => node.classList.remove("tdw-dragged"));
    node.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (!step) return; // left and right move among checkpoints
      event.preventDefault();
      this.move(value() + step * range()[1]);
    });
  }
  /** @param {PointerEvent} event */
  drag(event) {
    const box = this.overlay.getBoundingClientRect();
    const [low, high] = this.range();
    this.move(high - ((event.clientY - box.top) / box.height) * (high - low));
  }
  /** @param {number} y pixels @param {number} value */
  place(y, value) {
    this.node.style.transform = `translateY(${y}px)`;
    setText(this.text, formatBrief(value));
    this.node.setAttribute("aria-valuemin", "0");
    this.node.setAttribute("aria-valuemax", this.range()[1].toFixed(3));
    this.node.setAttribute("aria-valuenow", value.toFixed(3));
  }
}
