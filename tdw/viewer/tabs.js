// The views: a row of tabs. Arrow keys move among them; a click leads into the view.

import { el } from "./dom.js";

let serial = 0;

export class Tabs {
  /** @param {HTMLElement} panel the node that shows the chosen view @param {(view: string) => void} choose called when another one is picked */
  constructor(panel, choose) {
    this.choose = choose;
    this.panel = panel;
    this.serial = ++serial;
    this.list = el("div", "tdw-tabs", null, { role: "tablist", "aria-label": "Views" });
    this.panel.id ||= `tdw-view-${this.serial}`;
    this.panel.setAttribute("role", "tabpanel");
    this.panel.tabIndex = -1;
    this.list.addEventListener("keydown", (event) => this.key(event));
    /** @type {string[]} */
    this.views = [];
    /** @type {HTMLButtonElement[]} */
    this.tabs = [];
  }
  /** @param {string[]} views in order @param {string} chosen the one that is shown */
  show(views, chosen) {
    if (views.join("\n") !== this.views.join("\n")) {
      this.views = views;
      this.tabs = views.map((view, i) => {
        const tab = el("button", "tdw-tab", view, {
          type: "button",
          role: "tab",
          id: `tdw-tab-${this.serial}-${i}`,
          "aria-controls": this.panel.id,
        });
        tab.addEventListener("click", ({ detail }) => {
          this.choose(view);
          if (detail) this.panel.focus({ preventScroll: true }); // of a mouse: arrow keys are to move the checkpoints next
        });
        return tab;
      });
      this.list.replaceChildren(...this.tabs);
    }
    this.tabs.forEach((tab, i) => {
      const isSelected = views[i] === chosen;
      tab.setAttribute("aria-selected", String(isSelected));
      tab.tabIndex = isSelected ? 0 : -1;
      if (isSelected) this.panel.setAttribute("aria-labelledby", tab.id);
    });
  }
  /** @param {KeyboardEvent} event */
  key(event) {
    const at = this.tabs.indexOf(/** @type {HTMLButtonElement} */ (event.target));
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: this.tabs.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const next = (to + this.tabs.length) % this.tabs.length;
    this.tabs[next].focus();
    this.choose(this.views[next]);
  }
}
