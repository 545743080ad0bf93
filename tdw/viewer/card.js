// A card: title, the reading at this checkpoint, one menu, the body, and the states in which there is nothing to draw.
import { clamp, el, setText, visibleText } from "./format.js";

let serial = 0;

export class Card {
  constructor(parent, title, tooltip) {
    const id = `tdw-card-${++serial}`;
    this.tooltip = tooltip;
    this.section = el("section", "tdw-card", null, { "aria-labelledby": id });
    const head = el("header", "tdw-card-head");
    this.title = el("h3", null, title, { id });
    this.reading = el("span", "tdw-reading");
    this.flag = el("button", "tdw-flag", null, { type: "button" });
    this.flag.hidden = true;
    this.tools = el("span", "tdw-tools");
    this.reset = el("button", "tdw-text-button", "reset zoom", {
      type: "button",
      title: "Show everything again (double click)",
    });
    this.reset.hidden = true;
    this.menuButton = el("button", "tdw-menu-button", "⋯", {
      type: "button",
      "aria-haspopup": "menu",
      "aria-expanded": "false",
    });
    this.menuButton.setAttribute("aria-label", `${title}: options`);
    head.append(this.title, this.reading, this.flag, this.tools, this.reset, this.menuButton);
    this.body = el("div", "tdw-card-body");
    this.state = el("div", "tdw-state");
    this.state.hidden = true;
    this.wrap = el("div", "tdw-card-wrap");
    this.wrap.append(this.body, this.state);
    this.section.append(head, this.wrap);
    parent.append(this.section);
    this.stateKey = "";
    this.items = () => [];
    this.menuButton.addEventListener("click", () => (this.menu ? this.closeMenu() : this.openMenu()));
    this.onOutside = (event) => {
      if (this.menu && !this.menu.contains(event.target) && event.target !== this.menuButton) this.closeMenu();
    };
    document.addEventListener("pointerdown", this.onOutside, true);
  }
  read(text) {
    if (this.reading.tdwText === text) return;
    setText(this.reading, text);
    this.reading.title = visibleText(text); // the line may be cut by an ellipsis
  }
  /** Show a state instead of the body: {title, text, progress, button, act}; null for none. Repeated calls with the same content do nothing. */
  show(state) {
    const key = state ? JSON.stringify([state.title, state.text, state.progress, state.button, state.chosen]) : "";
    if (key === this.stateKey) return;
    this.stateKey = key;
    this.state.hidden = !state;
    this.section.classList.toggle("tdw-nothing", Boolean(state));
    this.section.classList.toggle("tdw-nothing-chosen", Boolean(state?.chosen)); // the menu is the way out
    if (state) this.closeMenu();
    if (!state) return;
    const nodes = state.title ? [el("strong", null, state.title)] : [];
    if (state.text) nodes.push(el("p", null, state.text));
    if (state.progress !== undefined) nodes.push(progressBar(state.progress, state.title));
    if (state.button) {
      const button = el("button", "tdw-button tdw-primary", state.button, { type: "button" });
      button.addEventListener("click", () => state.act());
      nodes.push(button);
    }
    this.state.replaceChildren(...nodes);
  }
  /** A small warning in the title line (stale, partial); pressing it acts. */
  warn(text, why, act) {
    this.flag.hidden = !text;
    if (!text) return;
    setText(this.flag, text);
    this.flag.title = visibleText(why);
    this.flag.disabled = !act;
    this.flag.onclick = act || null;
  }
  openMenu() {
    const menu = el("div", "tdw-menu", null, { role: "menu" });
    for (const item of this.items()) {
      if (item.run) {
        const button = el("button", "tdw-menu-item", item.label, { type: "button", role: "menuitem" });
        button.addEventListener("click", () => {
          this.closeMenu(true);
          item.run();
        });
        menu.append(button);
        continue;
      }
      const group = el("div", "tdw-menu-group", null, { role: "group", "aria-label": item.group });
      group.append(el("div", "tdw-menu-title", item.group, { "aria-hidden": "true" }));
      for (const option of item.options) {
        const button = el("button", "tdw-menu-item", option.label, { type: "button", role: "menuitemradio" });
        button.setAttribute("aria-checked", String(option.value === item.value));
        button.addEventListener("click", () => {
          this.closeMenu(true);
          item.choose(option.value);
        });
        group.append(button);
      }
      menu.append(group);
    }
    menu.addEventListener("keydown", (event) => {
      const buttons = [...menu.querySelectorAll("button")];
      const at = buttons.indexOf(document.activeElement);
      const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
      if (to !== undefined) buttons[(to + buttons.length) % buttons.length]?.focus();
      else if (event.key === "Escape") this.closeMenu(true);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    const many = menu.querySelectorAll("button").length > 9;
    menu.classList.toggle("tdw-wide", many);
    this.section.append(menu);
    this.menu = menu;
    // A menu taller than what is below it begins further up; the window's lower edge is nothing to scroll to.
    const over = menu.getBoundingClientRect().bottom + 8 - innerHeight;
    if (over > 0) menu.style.top = `${34 - over}px`;
    this.menuButton.setAttribute("aria-expanded", "true");
    (menu.querySelector('[aria-checked="true"]') || menu.querySelector("button"))?.focus();
  }
  closeMenu(giveFocusBack) {
    this.menu?.remove();
    this.menu = null;
    this.menuButton.setAttribute("aria-expanded", "false");
    if (giveFocusBack) this.menuButton.focus();
  }
  close() {
    document.removeEventListener("pointerdown", this.onOutside, true);
    this.section.remove();
  }
}

/** In place of a panel that makes no sense for this run: its card says why. */
export class EmptyPanel {
  update() {}
  draw() {}
  resize() {}
  theme() {}
  close() {}
}

/** A thin progress bar, 0…1. */
export const progressBar = (part, label) => {
  const bar = el("div", "tdw-progress", null, {
    role: "progressbar",
    "aria-label": label,
    "aria-valuemin": 0,
    "aria-valuemax": 100,
  });
  bar.setAttribute("aria-valuenow", String(Math.round(part * 100)));
  const fill = el("i");
  fill.style.width = `${clamp(part, 0, 1) * 100}%`;
  bar.append(fill);
  return bar;
};
