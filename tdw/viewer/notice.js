// What is to be read once, and stays until it was: what became of the file that is shown.
import { el } from "./format.js";

export class Notice {
  constructor() {
    this.node = el("div", "tdw-notice", null, { role: "status" });
    this.say("");
  }
  /** Say something; "" for nothing. */
  say(text) {
    this.node.hidden = !text;
    const close = el("button", null, "×", { type: "button", "aria-label": "Dismiss", title: "Dismiss" });
    close.addEventListener("click", () => this.say(""));
    this.node.replaceChildren(...(text ? [el("span", null, text), close] : []));
  }
}
