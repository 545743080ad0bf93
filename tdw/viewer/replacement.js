// Whether a file was replaced between two manifests, and what to say about it.

import { formatInteger } from "./format.js";

/** @import { Manifest } from "./types.js" */

/** Whether two manifests are of different runs, so that nothing of one can be used for the other. @param {Manifest} before @param {Manifest} now */
export const isOtherRun = (before, now) =>
  before.id !== now.id || JSON.stringify(before.parameters) !== JSON.stringify(now.parameters);

/** Whether rows that were sent have changed; the server names contents "ORIGIN.TIMES RENEWED". @param {Manifest} before @param {Manifest} now @param {string} name */
const isRenewed = (before, now, name) => {
  const [was, is] = [before.contents?.[name], now.contents?.[name]];
  return was !== undefined && is !== undefined && was !== is && was.split(".")[0] === is.split(".")[0];
};

/** What became of a run's file, in a sentence; "" if the run only grew. @param {Manifest} before @param {Manifest} now */
export const replacementMessage = (before, now) => {
  const file = now.file;
  if (isOtherRun(before, now)) return `${file} was replaced by another run, shown now.`;
  const lastEpoch = (/** @type {Manifest} */ manifest) => formatInteger(Math.max(0, manifest.epochs - 1));
  if (now.epochs < before.epochs)
    return `${file} was replaced by a copy that ends at epoch ${lastEpoch(now)} instead of ${lastEpoch(before)}.`;
  if (before.checkpoints.some((epoch, i) => epoch !== now.checkpoints[i]))
    return `${file} now has other checkpoints: ${now.checkpoints.length} instead of ${before.checkpoints.length}.`;
  const series = ["losses/train", "losses/test", "accuracy/train", "accuracy/test", "weights"];
  if (series.some((name) => isRenewed(before, now, name))) return `${file} was replaced by another copy of this run.`;
  return "";
};
