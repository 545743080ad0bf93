// While a checkpoint of a long run is on its way, the nearest one that is there is drawn in its place, and said to be so.

import { formatInteger } from "./format.js";
import { nearestHeld } from "./row_window.js";

/** @import { PanelView } from "./types.js" */
/** @import { RunData } from "./run_data.js" */

/** The index of the nearest checkpoint of which a panel has everything. @param {RunData} run @param {PanelView} panel @param {number} index */
export const heldIndex = (run, panel, index) => {
  if (index < 0) return index;
  const names = panel.arraysAt?.() ?? [];
  const isHeld = (/** @type {number} */ at) => run.isHeld(names, at) && (panel.isHeld?.(at) ?? true);
  const nearest = nearestHeld(index, run.checkpoints.length, isHeld);
  return nearest < 0 ? index : nearest;
};

/** What a card says while it shows another checkpoint than the slider's. @param {number[]} checkpoints @param {number} shown @param {number} wanted indices */
export const standInText = (checkpoints, shown, wanted) =>
  shown === wanted ? "" : `epoch ${formatInteger(checkpoints[shown])}, loading ${formatInteger(checkpoints[wanted])}`;

/** Fetch what long runs lack of the slider's checkpoint and its neighbors. @param {RunData} run @param {{panel: PanelView}[]} entries @param {number} index */
export const followSlider = (run, entries, index) => {
  if (index < 0) return;
  run.follow(
    entries.flatMap(({ panel }) => panel.arraysAt?.() ?? []),
    index,
  );
  for (const { panel } of entries) panel.follow?.(index);
};
