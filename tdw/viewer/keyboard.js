// Keys that move among the checkpoints.

import { targetOf } from "./dom.js";

/** Elements that use these keys themselves. */
const OWN_KEYS =
  "input, textarea, select, [contenteditable], [role=menu], [role=tab], [role=radio], [role=listbox], [role=dialog], dialog";

/**
 * The index that a key leads to, not yet limited to those that exist; undefined for other keys.
 * @param {{key: string, shiftKey: boolean}} event
 * @param {number} index
 * @param {number} last
 * @param {boolean} isOnSlider the slider has the focus: up, down and page keys belong to it too
 * @returns {number | undefined}
 */
export const indexAfterKey = ({ key, shiftKey }, index, last, isOnSlider) => {
  const step = shiftKey ? 10 : 1;
  switch (key) {
    case "ArrowLeft":
      return index - step;
    case "ArrowRight":
      return index + step;
    case "Home":
      return 0;
    case "End":
      return last;
  }
  if (!isOnSlider) return undefined;
  switch (key) {
    case "ArrowUp":
      return index + step;
    case "ArrowDown":
      return index - step;
    case "PageUp":
      return index + 10;
    case "PageDown":
      return index - 10;
  }
  return undefined;
};

/**
 * Handle a key of the page.
 * @param {KeyboardEvent} event
 * @param {{index: number, count: number, slider: Element, show: (index: number) => void, toggle: () => void}} view
 */
export const handleKey = (event, { index, count, slider, show, toggle }) => {
  if (!count || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  const at = targetOf(event);
  const isOnSlider = at === slider;
  if (!isOnSlider && at.closest(OWN_KEYS)) return;
  const to = indexAfterKey(event, index, count - 1, isOnSlider);
  if (to !== undefined) show(to);
  else if (event.key === " " && !at.closest("button, a, summary")) toggle();
  else return;
  event.preventDefault();
};
