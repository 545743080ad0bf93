// Light, dark, or as the system is.

import { action, make } from "./elements.js";

const STORED = "tdw-theme"; // read before anything is drawn, too: see routes.py
const NAMES = { system: "System", light: "Light", dark: "Dark" };

export class ThemeChoice {
  constructor() {
    this.system = matchMedia("(prefers-color-scheme: dark)");
    this.buttons = Object.entries(NAMES).map(([name, label]) => {
      const button = action(label, () => this.choose(name));
      button.dataset.name = name;
      return button;
    });
    this.node = make("div", "tdw-themes", ...this.buttons);
    this.node.setAttribute("role", "group");
    this.node.setAttribute("aria-label", "Light or dark");
    this.system.addEventListener("change", () => this.paint());
    new MutationObserver(() => this.paint()).observe(document.body, { attributeFilter: ["class"] }); // Gradio sets its own
    this.paint();
  }
  get chosen() {
    return localStorage.getItem(STORED) ?? "system";
  }
  /** @param {string} name */
  choose(name) {
    if (name === "system") localStorage.removeItem(STORED);
    else localStorage.setItem(STORED, name);
    this.paint();
  }
  paint() {
    const isDark = this.chosen === "system" ? this.system.matches : this.chosen === "dark";
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
    if (document.body.classList.contains("dark") !== isDark) document.body.classList.toggle("dark", isDark);
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.dataset.name === this.chosen));
  }
}
