// Which panels the page has for a run, and the views they are in.

/** @import { Manifest, PanelDescription } from "./types.js" */

/** Whether a run has recorded losses and will never have weights, as one that was imported without them. @param {Manifest} manifest */
export const isLossesOnly = ({ state, epochs, checkpoints }) =>
  state === "finished" && epochs > 0 && !checkpoints.length;

/** The panels that the page shows: of a run without weights, those that need none. @param {Manifest} manifest @returns {PanelDescription[]} */
export const panelsOf = (manifest) =>
  isLossesOnly(manifest) ? manifest.panels.filter(({ weights }) => !weights) : manifest.panels;

/** The views that have panels, in the order of their tabs. @param {Manifest} manifest */
export const viewsOf = (manifest) => [...new Set(panelsOf(manifest).map(({ view }) => view))];
