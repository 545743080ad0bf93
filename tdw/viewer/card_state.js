// Why a card has nothing to draw, in words.

import { formatCount, formatInteger } from "./format.js";

/** @import { CardState, Job, PanelDescription, PanelView } from "./types.js" */
/** @import { Card } from "./card.js" */
/** @import { RunData } from "./run_data.js" */

/**
 * What a card's state depends on besides the panel.
 * @typedef {{run: RunData, count: number, job: Job | null, isAsking: boolean, isLoading: boolean, isLost: boolean, again: () => void, analyze: () => void}} Situation
 */

/** The server's sentence about the first array of a panel that it refused. @param {RunData} run @param {PanelDescription} spec */
export const refusalFor = ({ refused }, { arrays, analysis }) => {
  if (!refused.size) return undefined;
  const name = [...arrays, `analysis/${analysis}/epoch`].find((name) => refused.has(name));
  return name === undefined ? undefined : refused.get(name);
};

/** @param {Situation} situation @param {string} text @returns {CardState} */
const notLoaded = ({ isAsking, again }, text) =>
  isAsking
    ? { title: "Not loaded", text: "Retrying …" }
    : { title: "Not loaded", text, button: "Try again", act: again };

/**
 * The state of a panel's card at a checkpoint's index, or null where there is something to draw. Also sets the card's flag.
 * @param {Situation} situation
 * @param {{spec: PanelDescription, card: Card, panel: PanelView}} entry
 * @param {number} index
 * @returns {CardState | null}
 */
export const cardState = (situation, { spec, card, panel }, index) => {
  const { run, count, job } = situation;
  const { manifest } = run;
  const isTraining = job?.kind === "train";
  if (!manifest.epochs && !manifest.checkpoints.length) {
    return isTraining
      ? { title: "Training has started", text: "The first epochs arrive in a moment." }
      : { title: "Not trained yet", text: "This run has settings but no epochs. Start training in the sidebar." };
  }
  const refused = refusalFor(run, spec);
  if (refused && spec.kind !== "maps") return notLoaded(situation, refused); // maps need no stored results
  if (!spec.weights) return situation.isLoading ? null : (panel.absence?.(index) ?? null);
  if (!count && !isTraining)
    return { title: "Losses only", text: "This run has no checkpoints, so there are no weights to show." };
  if (spec.state.status === "inapplicable") return { title: "Not defined for this run", text: spec.state.reason };
  if (!count) return { title: "No checkpoint yet", text: "This panel appears with the first checkpoint." };
  const isAnalyzing = job?.kind === "analyze";
  const rows = spec.analysis === null ? undefined : run.rowsOf.get(spec.analysis);
  const covered = rows ? rows.reduce((sum, row) => sum + (row >= 0 ? 1 : 0), 0) : 0;
  flag(situation, spec, card, covered, refused);
  const missing = panel.refusedAt?.(index);
  if (missing) return notLoaded(situation, missing);
  if (!spec.required) return null;
  if (run.row(spec.analysis, index) >= 0) return panel.absence?.(index) ?? null;
  if (situation.isLoading)
    return situation.isLost
      ? { title: "Not loaded", text: "Server offline. This view loads when it is back." }
      : { keepsMenu: true };
  const { status, reason } = spec.state;
  const progress = `${formatInteger(covered)} of ${formatCount(count, "checkpoint")} analyzed.`;
  const act = situation.analyze;
  if (isAnalyzing) return { title: "Analyzing", text: progress, progress: covered / count };
  if (isTraining) return { title: "Not analyzed yet", text: "Analyze this run when training has finished or stopped." };
  if (status === "outdated") return { title: "Results are out of date", text: reason, button: "Analyze", act };
  if (!covered) {
    const text = `Computes what this panel shows at ${formatCount(count, "checkpoint")}.`;
    return { title: "Not analyzed yet", text, button: "Analyze", act };
  }
  const title = `Not analyzed at epoch ${formatInteger(run.checkpoints[index])}`;
  return { title, text: progress, button: "Analyze the rest", act };
};

/**
 * Set the small warning in the card's title line.
 * @param {Situation} situation
 * @param {PanelDescription} spec
 * @param {Card} card
 * @param {number} covered checkpoints that are analyzed
 * @param {string | undefined} refused
 */
const flag = ({ count, job, isAsking, again, analyze }, spec, card, covered, refused) => {
  const { status, reason } = spec.state;
  const [isTraining, isAnalyzing] = [job?.kind === "train", job?.kind === "analyze"];
  if (refused) card.warn("not loaded", `${refused} Click to try again.`, isAsking ? null : again);
  else if (status === "stale" && covered) {
    card.warn("stale", `${reason} Click to recompute.`, isAnalyzing || isTraining ? null : analyze);
  } else if (covered && covered < count && !isTraining) {
    const why = `Analyzed at ${covered} of ${count} checkpoints. Click to analyze the rest.`;
    card.warn(`${covered} of ${count}`, why, isAnalyzing ? null : analyze);
  } else card.warn("");
};
