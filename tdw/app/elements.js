// Elements of the window around the viewer.

import { visibleText } from "../viewer/format.js";

/**
 * An element with children; texts are set as text.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} [className]
 * @param {...(Node | string)} children
 */
export const make = (tag, className = "", ...children) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.map((child) => (typeof child === "string" ? visibleText(child) : child)));
  return element;
};

/** A small button. @param {string} label @param {() => void} run */
export const action = (label, run) => {
  const button = make("button", "tdw-action", label);
  button.type = "button";
  button.addEventListener("click", run);
  return button;
};

/** Set the text of an element if it differs. @param {Element} element @param {string} wanted */
export const setVisible = (element, wanted) => {
  const text = visibleText(wanted);
  if (element.textContent !== text) element.textContent = text;
};
