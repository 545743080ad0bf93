// What panels over epochs have in common: the range of the axis, its margin, the tint between memorization and generalization.

/** @import { Manifest } from "./types.js" */

export const LEFT_MARGIN = 46; // of everything over epochs, so that equal epochs are aligned

/** While a run grows its axis grows in steps, so that the picture does not creep. @param {number} last @param {number} planned */
const roomy = (last, planned) => {
  const power = 10 ** Math.floor(Math.log10(Math.max(last, 10)));
  const step = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((m) => m * power).find((v) => v >= last) ?? last;
  return Math.min(step, Math.max(planned, last));
};

/** The epochs that an axis shows of a run. @param {Manifest} manifest @returns {[number, number]} */
export const epochRange = (manifest) => {
  const last = Math.max(1, manifest.epochs - 1, manifest.checkpoints.at(-1) ?? 0);
  return [0, manifest.state === "finished" ? last : roomy(last, manifest.planned_epochs)];
};

/** What of a manifest decides how a panel over epochs looks. @param {Manifest} manifest */
export const epochInputs = ({ epochs, planned_epochs: planned, state, events, grokking }) =>
  JSON.stringify([epochs, planned, state, events, grokking]);

/** The first event whose name starts so and that was reached. @param {Manifest} manifest @param {string} prefix */
export const reachedEvent = (manifest, prefix) =>
  manifest.events.find((event) => event.name.startsWith(prefix) && event.first);

/**
 * The epochs between the first memorization and the first generalization, if there are any.
 * @param {Manifest} manifest
 * @returns {{from: number, to: number, label: string}[]}
 */
export const tintedSpans = (manifest) => {
  const memorized = reachedEvent(manifest, "memorized")?.first;
  const generalized = reachedEvent(manifest, "generalized")?.first;
  if (!memorized || !generalized || generalized[1] <= memorized[1]) return [];
  return [{ from: memorized[1], to: generalized[1], label: "memorized, not yet generalized" }];
};

/** The same as Plotly's shapes. @param {Manifest} manifest @param {string} color */
export const tintShapes = (manifest, color) =>
  tintedSpans(manifest).map(({ from, to }) => ({
    type: "rect",
    layer: "below",
    xref: "x",
    yref: "paper",
    x0: from,
    x1: to,
    y0: 0,
    y1: 1,
    fillcolor: color,
    opacity: 0.09,
    line: { width: 0 },
  }));
