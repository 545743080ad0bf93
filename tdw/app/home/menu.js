// A menu at a point of the page: actions on rows, or choices that stay open.

import { el } from "../../viewer/dom.js";

/** @typedef {{label: string, run: () => void, isOff?: boolean, isBad?: boolean, hint?: string}} Item */
/** @typedef {{label: string, isOn: boolean, toggle: () => void}} Choice */

let close = () => {};

/** Close the menu that is open. */
export const closeMenu = () => close();

/**
 * Open a menu with its corner at (x, y); null separates items.
 * @param {number} x @param {number} y @param {(Item | Choice | null)[]} items @param {string} label for screen readers
 */
export const openMenu = (x, y, items, label) => {
  close();
  const before = document.activeElement;
  const node = el("div", "tdw-context-menu", null, { role: "menu", "aria-label": label, tabindex: -1 });
  for (const item of items) node.append(item ? built(item) : el("hr"));
  const host = document.querySelector(".gradio-container") ?? document.body;
  host.append(node);
  const { width, height } = node.getBoundingClientRect();
  node.style.left = `${Math.max(4, Math.min(x, innerWidth - width - 4))}px`;
  node.style.top = `${Math.max(4, Math.min(y, innerHeight - height - 4))}px`;
  const outside = (/** @type {Event} */ event) => {
    if (!(event.target instanceof Node && node.contains(event.target))) close();
  };
  close = () => {
    const had = node.contains(document.activeElement);
    node.remove();
    document.removeEventListener("pointerdown", outside, true);
    removeEventListener("blur", outside);
    if (had && before instanceof HTMLElement) before.focus();
    close = () => {};
  };
  document.addEventListener("pointerdown", outside, true);
  addEventListener("blur", outside);
  node.addEventListener("keydown", (event) => move(event, node));
  node.addEventListener("contextmenu", (event) => event.preventDefault());
  node.querySelector("button")?.focus();
};

/** @param {Item | Choice} item */
const built = (item) => {
  if ("toggle" in item) {
    const button = el("button", "tdw-context-item", item.label, {
      type: "button",
      role: "menuitemcheckbox",
      "aria-checked": String(item.isOn),
    });
    button.addEventListener("click", () => {
      item.toggle();
      button.setAttribute("aria-checked", String(button.getAttribute("aria-checked") !== "true"));
    });
    return button;
  }
  const button = el("button", `tdw-context-item${item.isBad ? " tdw-bad" : ""}`, item.label, {
    type: "button",
    role: "menuitem",
    title: item.hint,
  });
  button.disabled = item.isOff === true;
  button.addEventListener("click", () => {
    close();
    item.run();
  });
  return button;
};

/** @param {KeyboardEvent} event @param {HTMLElement} node */
const move = (event, node) => {
  const buttons = [...node.querySelectorAll("button")].filter((button) => !button.disabled);
  const at = buttons.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (to !== undefined) buttons[(to + buttons.length) % buttons.length]?.focus();
  else if (event.key === "Escape" || event.key === "Tab") close();
  else return;
  event.preventDefault();
  event.stopPropagation();
};
