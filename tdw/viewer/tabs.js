// The views: a row of tabs, one for each group of panels. Arrow keys move among them; the chosen one outlives a change of run.
import { el } from "./format.js";

let serial = 0;

export class Tabs {
  /** choose(group): called when another one is picked · panel: the node that shows it */
  constructor(panel, choose) {
    this.choose = choose;
    this.panel = panel;
    this.serial = ++serial;
    this.list = el("div", "tdw-tabs", null, { role: "tablist", "aria-label": "Views" });
    this.panel.id ||= `tdw-view-${this.serial}`;
    this.panel.setAttribute("role", "tabpanel");
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.groups = [];
  }
  /** The groups there are, in order, and the one that is shown. */
  show(groups, chosen) {
    if (groups.join("\n") !== this.groups.join("\n")) {
      this.groups = groups;
      this.list.replaceChildren(
        ...groups.map((group, i) => {
          const tab = el("button", "tdw-tab", group, {
            type: "button",
            role: "tab",
            id: `tdw-tab-${this.serial}-${i}`,
            "aria-controls": this.panel.id,
          });
          tab.addEventListener("click", () => this.choose(group));
          return tab;
        }),
      );
    }
    [...this.list.children].forEach((tab, i) => {
      const selected = groups[i] === chosen;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
      if (selected) this.panel.setAttribute("aria-labelledby", tab.id);
    });
  }
  key(event) {
    const tabs = [...this.list.children];
    const at = tabs.indexOf(event.target);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const next = (to + tabs.length) % tabs.length;
    tabs[next].focus();
    this.choose(this.groups[next]);
  }
}
