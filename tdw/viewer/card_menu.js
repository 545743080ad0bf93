// A card's menu: a button, and the choices and actions that it opens.

import { el } from "./dom.js";

/** @import { MenuItem } from "./types.js" */

const ONE_COLUMN = 9; // items; more are set in two columns

export class CardMenu {
  /** @param {HTMLElement} card @param {string} title */
  constructor(card, title) {
    this.card = card;
    this.button = el("button", "tdw-menu-button", "⋯", {
      type: "button",
      "aria-haspopup": "menu",
      "aria-expanded": "false",
      "aria-label": `${title}: options`,
    });
    /** @type {() => MenuItem[]} */
    this.items = () => [];
    /** @type {HTMLElement | null} */
    this.node = null;
    this.button.addEventListener("click", () => (this.node ? this.close() : this.open()));
    this.onOutside = (/** @type {Event} */ event) => {
      const at = event.target instanceof Node ? event.target : null;
      if (this.node && !this.node.contains(at) && at !== this.button) this.close();
    };
    document.addEventListener("pointerdown", this.onOutside, true);
  }
  open() {
    const menu = el("div", "tdw-menu", null, { role: "menu" });
    menu.append(...this.items().map((item) => this.built(item)));
    menu.addEventListener("keydown", (event) => this.key(event, menu));
    menu.classList.toggle("tdw-wide", menu.querySelectorAll("button").length > ONE_COLUMN);
    this.card.append(menu);
    this.node = menu;
    // A menu taller than the room below it begins further up.
    const over = menu.getBoundingClientRect().bottom + 8 - innerHeight;
    if (over > 0) menu.style.top = `${34 - over}px`;
    this.button.setAttribute("aria-expanded", "true");
    const first = menu.querySelector('[aria-checked="true"]') ?? menu.querySelector("button");
    if (first instanceof HTMLElement) first.focus();
  }
  /** @param {MenuItem} item */
  built(item) {
    if ("run" in item) {
      const button = el("button", "tdw-menu-item", item.label, { type: "button", role: "menuitem" });
      button.addEventListener("click", () => {
        this.close(true);
        item.run();
      });
      return button;
    }
    const group = el("div", "tdw-menu-group", null, { role: "group", "aria-label": item.group });
    group.append(el("div", "tdw-menu-title", item.group, { "aria-hidden": "true" }));
    for (const option of item.options) {
      const button = el("button", "tdw-menu-item", option.label, {
        type: "button",
        role: "menuitemradio",
        "aria-checked": String(option.value === item.value),
      });
      button.addEventListener("click", () => {
        this.close(true);
        item.choose(option.value);
      });
      group.append(button);
    }
    return group;
  }
  /** @param {KeyboardEvent} event @param {HTMLElement} menu */
  key(event, menu) {
    const buttons = [...menu.querySelectorAll("button")];
    const at = buttons.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to !== undefined) buttons[(to + buttons.length) % buttons.length]?.focus();
    else if (event.key === "Escape") this.close(true);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
  /** @param {boolean} [givesFocusBack] */
  close(givesFocusBack) {
    this.node?.remove();
    this.node = null;
    this.button.setAttribute("aria-expanded", "false");
    if (givesFocusBack) this.button.focus();
  }
  dispose() {
    document.removeEventListener("pointerdown", this.onOutside, true);
  }
}
