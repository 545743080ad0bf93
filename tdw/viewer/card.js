// A card: title, the reading at this checkpoint, one menu, the body, and the states in which there is nothing to draw.

import { CardMenu } from "./card_menu.js";
import { el, progressBar, setText } from "./dom.js";
import { visibleText } from "./format.js";

/** @import { CardState, MenuItem, PanelView } from "./types.js" */

let serial = 0;

export class Card {
  /** @param {Element} parent @param {string} title */
  constructor(parent, title) {
    const id = `tdw-card-${++serial}`;
    this.section = el("section", "tdw-card", null, { "aria-labelledby": id });
    const head = el("header", "tdw-card-head");
    this.title = el("h3", null, title, { id });
    this.reading = el("span", "tdw-reading");
    this.waiting = el("span", "tdw-waiting-for", null, { role: "status" });
    this.waiting.hidden = true;
    this.flag = el("button", "tdw-flag", null, { type: "button" });
    this.flag.hidden = true;
    this.tools = el("span", "tdw-tools");
    this.reset = el("button", "tdw-text-button", "reset zoom", {
      type: "button",
      title: "Show everything (double click)",
    });
    this.reset.hidden = true;
    this.menu = new CardMenu(this.section, title);
    head.append(this.title, this.waiting, this.reading, this.flag, this.tools, this.reset, this.menu.button);
    this.body = el("div", "tdw-card-body");
    this.state = el("div", "tdw-state");
    this.state.hidden = true;
    this.wrap = el("div", "tdw-card-wrap");
    this.wrap.append(this.body, this.state);
    this.section.append(head, this.wrap);
    parent.append(this.section);
    this.stateKey = "";
    this.lastReading = "";
  }
  /** What the menu offers. @param {() => MenuItem[]} items */
  set items(items) {
    this.menu.items = items;
  }
  /** @param {string} text */
  read(text) {
    if (this.lastReading === text) return;
    this.lastReading = text;
    setText(this.reading, text);
    this.reading.title = visibleText(text); // the line may be cut by an ellipsis
  }
  /** Say that what is drawn is of another checkpoint than the slider's ("" where it is not). @param {string} text */
  wait(text) {
    this.waiting.hidden = !text;
    if (text) setText(this.waiting, text);
  }
  /** Show a state instead of the body, or null for the body. @param {CardState | null} state */
  show(state) {
    const key = state ? JSON.stringify([state.title, state.text, state.progress, state.button, state.keepsMenu]) : "";
    if (key === this.stateKey) return;
    this.stateKey = key;
    this.state.hidden = !state;
    this.section.classList.toggle("tdw-nothing", Boolean(state));
    this.section.classList.toggle("tdw-nothing-chosen", Boolean(state?.keepsMenu)); // another choice may have something
    if (!state) return;
    this.menu.close();
    /** @type {HTMLElement[]} */
    const nodes = state.title ? [el("strong", null, state.title)] : [];
    if (state.text) nodes.push(el("p", null, state.text));
    if (state.progress !== undefined) nodes.push(progressBar(state.progress, state.title ?? ""));
    if (state.button) {
      const button = el("button", "tdw-button tdw-primary", state.button, { type: "button" });
      button.addEventListener("click", () => state.act?.());
      nodes.push(button);
    }
    this.state.replaceChildren(...nodes);
  }
  /** A small warning in the title line ("" for none), and what a click does. @param {string} text @param {string} [why] @param {(() => void) | null} [act] */
  warn(text, why = "", act = null) {
    this.flag.hidden = !text;
    if (!text) return;
    setText(this.flag, text);
    this.flag.title = visibleText(why);
    this.flag.disabled = !act;
    this.flag.onclick = act;
  }
  close() {
    this.menu.dispose();
    this.section.remove();
  }
}

/**
 * In place of a panel that does not apply to the run: its card says why.
 * @implements {PanelView}
 */
export class EmptyPanel {
  update() {}
  draw() {}
  resize() {}
  theme() {}
  close() {}
}
