// Why a card has nothing to draw, in words.
import { formatInteger } from "./format.js";

/** The server's sentence about the first array of a panel that it did not send; undefined where it sent all. */
export const refusalFor = ({ refused }, { arrays, analysis }) => {
  if (!refused.size) return undefined;
  return refused.get([...arrays, `analysis/${analysis}/epoch`].find((name) => refused.has(name)));
};

/** What a card says whose data were refused. */
const notLoaded = (view, text) =>
  view.isAsking
    ? { title: "Not loaded", text: "Asking again …" }
    : { title: "Not loaded", text, button: "Try again", act: () => view.again() };

/**
 * The state of a panel's card at checkpoint `index`: {title, text, progress, button, act}, or null where there is
 * something to draw. Also sets the card's flag (stale, partly analyzed).
 */
export const cardState = (view, { spec, card, panel }, index) => {
  const { run, count, job } = view;
  const { manifest } = run;
  const training = job?.kind === "train";
  if (!manifest.epochs && !manifest.checkpoints.length) {
    return training
      ? { title: "Training has started", text: "The first epochs arrive in a moment." }
      : { title: "Not trained yet", text: "This run has settings and no epochs so far: start it in the side bar." };
  }
  const refused = refusalFor(run, spec);
  if (refused && !spec.summary) return notLoaded(view, refused);
  if (!spec.weights) return null;
  if (!count && !training)
    return { title: "Losses only", text: "This run has kept no checkpoint, so there are no weights to look at." };
  if (spec.state.status === "unfit") return { title: "Not for this run", text: spec.state.reason };
  if (!count) return { title: "No checkpoint yet", text: "This panel appears with the first one." };
  const act = () => view.act("analyze");
  const analyzing = job?.kind === "analyze";
  const rows = run.rowsOf.get(spec.analysis);
  const covered = rows ? rows.reduce((sum, row) => sum + (row >= 0), 0) : 0;
  const row = run.row(spec.analysis, index);
  const { status, reason } = spec.state;
  const again = view.isAsking ? null : () => view.again();
  if (refused) card.warn("not loaded", `${refused} Press to try again.`, again);
  else if (status === "stale" && covered)
    card.warn("stale", `${reason} Press to analyze again.`, analyzing || training ? null : act);
  else if (covered && covered < count && !training) {
    card.warn(
      `${covered} of ${count}`,
      `Analyzed at ${covered} of ${count} checkpoints. Press to analyze the rest.`,
      analyzing ? null : act,
    );
  } else card.warn("");
  const missing = panel.refusedAt?.(index);
  if (missing) return notLoaded(view, missing);
  if (!spec.required) return null;
  if (row >= 0) return panel.absence?.(index) ?? null;
  if (view.isLoading)
    return view.isLost
      ? { title: "Not loaded", text: "The server does not answer. This view is filled when it does." }
      : {};
  const share = `${covered} of ${count} checkpoints are done.`;
  if (analyzing) return { title: "Analyzing", text: share, progress: covered / count };
  if (training)
    return {
      title: "Not analyzed yet",
      text: "Training is writing this file: analyze it when training has ended or was stopped.",
    };
  if (status === "outdated") return { title: "To be analyzed again", text: reason, button: "Analyze", act };
  if (!covered)
    return {
      title: "Not analyzed yet",
      text: `Computes what this panel shows at ${count} checkpoint${count > 1 ? "s" : ""}.`,
      button: "Analyze",
      act,
    };
  return {
    title: `Not analyzed at epoch ${formatInteger(run.checkpoints[index])}`,
    text: share,
    button: "Analyze the rest",
    act,
  };
};
