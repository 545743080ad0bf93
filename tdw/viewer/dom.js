// Elements. Text is always set as text, never as HTML.

import { visibleText } from "./format.js";
import { clamp } from "./numbers.js";

const READ_BY_PEOPLE = new Set(["title", "aria-label", "placeholder", "alt"]);

/**
 * Create an element: el("span", "tdw-x", "text", {title: "…"}).
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string | null} [className]
 * @param {string | null} [text]
 * @param {Record<string, string | number | undefined>} [attributes]
 */
export const el = (tag, className, text, attributes = {}) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined && text !== null) node.textContent = visibleText(text);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined) node.setAttribute(key, READ_BY_PEOPLE.has(key) ? visibleText(value, true) : String(value));
  }
  return node;
};

/** @type {WeakMap<Node, string>} */
const written = new WeakMap();

/** Set the text of a node if it differs: an unchanged node costs no layout. @param {Node} node @param {string} text */
export const setText = (node, text) => {
  if (written.get(node) === text) return;
  written.set(node, text);
  node.textContent = visibleText(text);
};

/** A thin progress bar. @param {number} part 0…1 @param {string} label */
export const progressBar = (part, label) => {
  const bar = el("div", "tdw-progress", null, {
    role: "progressbar",
    "aria-label": label,
    "aria-valuemin": 0,
    "aria-valuemax": 100,
    "aria-valuenow": Math.round(part * 100),
  });
  const fill = el("i");
  fill.style.width = `${clamp(part, 0, 1) * 100}%`;
  bar.append(fill);
  return bar;
};

/** @param {HTMLCanvasElement} canvas */
export const context2d = (canvas) => {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser has no 2d canvas");
  return context;
};

/** A line across a picture moved to x, or out of sight. @param {HTMLElement} node @param {number} x @param {number} width */
export const placeMarker = (node, x, width) => {
  node.style.transform = `translateX(${x >= -0.5 && x <= width + 0.5 ? x : -9999}px)`;
};

/** The target of an event, if it is an element. @param {Event} event */
export const targetOf = (event) => (event.target instanceof Element ? event.target : document.body);
