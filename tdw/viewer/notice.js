// A message about the file that stays until it is dismissed.

import { el } from "./dom.js";

export class Notice {
  constructor() {
    this.node = el("div", "tdw-notice", null, { role: "status" });
    this.show("");
  }
  /** @param {string} text "" hides it */
  show(text) {
    this.node.hidden = !text;
    const close = el("button", null, "×", { type: "button", "aria-label": "Dismiss", title: "Dismiss" });
    close.addEventListener("click", () => this.show(""));
    this.node.replaceChildren(...(text ? [el("span", null, text), close] : []));
  }
}
