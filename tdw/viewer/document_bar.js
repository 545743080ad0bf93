// The document bar: the run's file, its notes, where it is saved, what was found in it, and the job on it.

import { el, progressBar } from "./dom.js";
import { reachedEvent } from "./epochs.js";
import { formatDuration, formatInteger, formatInterval, formatShort } from "./format.js";

/** @import { Job, Manifest, RunEvent } from "./types.js" */

const MOST_TAGS = 3; // in the bar; more are shown on hover

/**
 * @typedef {object} Status
 * @property {Job | null} job the active job on the run
 * @property {boolean} isLost the server does not answer
 * @property {string | null} trouble why the file cannot be read now
 * @property {() => void} again reads the file again
 */

/** The bar's nodes. @param {Manifest} manifest @param {Status} status @returns {HTMLElement[]} */
export const documentBar = (manifest, status) => [
  ...names(manifest),
  savedAt(manifest, status.job),
  findings(manifest),
  tags(manifest),
  jobStatus(manifest, status),
];

/** @param {string} kind @param {string} text @param {string} [title] */
const chip = (kind, text, title) => el("span", `tdw-chip ${kind}`, text, { title });

/** @param {Manifest} manifest */
const names = ({ file, title, tags, remark }) => {
  const notes = [title, tags.length ? `tags: ${tags.join(", ")}` : "", remark].filter(Boolean).join("\n\n");
  const nodes = [el("b", "tdw-file", file, { title: [file, notes].filter(Boolean).join("\n\n") })];
  if (title) {
    // The first words of a long title stay when the bar is narrow; a short one is not stretched to them.
    const style = `min-width: ${0.6 * Math.min(title.length, 20)}ch`;
    nodes.push(el("span", "tdw-title", title, { title: notes, style }));
  }
  if (remark) nodes[nodes.length - 1].classList.add("tdw-remarked");
  return nodes;
};

/** @param {Manifest} manifest @param {Job | null} job */
const savedAt = ({ folder, state }, job) => {
  const isGrowing = state !== "finished" && job?.kind === "train";
  const path = el("span", "tdw-path", null, { title: folder });
  path.append(el("bdi", null, folder), isGrowing ? " · saved during training" : " · saved");
  return path;
};

/** @param {Manifest} manifest */
const findings = (manifest) => {
  const chips = el("span", "tdw-chips tdw-found");
  const explain = (/** @type {RunEvent} */ { label, first, last, held }) => {
    const words = [`${label}: first at epoch ${first ? formatInterval(first) : "–"}`];
    if (last) words.push(`last at ${formatInterval(last)}`);
    return `${words.join(", ")}; ${held ? "still true" : "no longer true"} at the last epoch`;
  };
  if (manifest.branched) {
    const { at, is_edited: isEdited, sentences } = manifest.branched;
    chips.append(chip("", `${isEdited ? "edited" : "forked"} at epoch ${formatInteger(at)}`, sentences.join("\n")));
  }
  const memorized = reachedEvent(manifest, "memorized");
  const generalized = reachedEvent(manifest, "generalized");
  if (memorized?.first) chips.append(chip("", `memorized ${formatInterval(memorized.first)}`, explain(memorized)));
  if (generalized?.first)
    chips.append(chip("tdw-good", `generalized ${formatInterval(generalized.first)}`, explain(generalized)));
  const keys = manifest.key_frequencies;
  if (keys?.frequencies.length) {
    const many = keys.frequencies.length;
    const at = `epoch ${formatInteger(keys.epoch)}`;
    const text = `${many} key frequenc${many > 1 ? "ies" : "y"}${keys.is_stale ? ` at ${at}` : ""}`;
    const later = keys.is_stale ? "; later checkpoints are not analyzed yet" : "";
    chips.append(chip("", text, `k = ${keys.frequencies.join(", ")} by the rule “${keys.rule}” at ${at}${later}`));
  }
  return chips;
};

/** @param {Manifest} manifest */
const tags = ({ tags }) => {
  const chips = el("span", "tdw-chips tdw-tags");
  const shown = tags.length > MOST_TAGS ? MOST_TAGS - 1 : MOST_TAGS; // a lone “+1” would take the place of its tag
  chips.append(...tags.slice(0, shown).map((tag) => chip("tdw-tag", tag, tag)));
  if (tags.length > shown) chips.append(chip("tdw-tag", `+${tags.length - shown}`, tags.join("\n")));
  return chips;
};

/** @param {Manifest} manifest @param {Status} status */
const jobStatus = (manifest, { job, isLost, trouble, again }) => {
  const node = el("span", "tdw-status", null, { role: "status" });
  const recorded = Math.max(0, manifest.epochs - 1);
  if (isLost) node.append(chip("tdw-warn", "server offline: showing what is loaded; retrying"));
  else if (trouble) {
    const button = el("button", "tdw-chip tdw-warn", "file cannot be read now: showing what is loaded", {
      type: "button",
      title: `${trouble}\n\nClick to try again.`,
    });
    button.addEventListener("click", again);
    node.append(button);
  } else if (job) {
    const isTraining = job.kind === "train";
    const words = [
      isTraining
        ? `training ${formatInteger(recorded)} / ${formatInteger(manifest.planned_epochs)}`
        : `analyzing ${job.done ?? 0} / ${job.total ?? "?"}`,
    ];
    if (isTraining && job.epochs_per_second) words.push(`${formatShort(job.epochs_per_second)} epochs/s`);
    if (job.seconds_left !== null && job.seconds_left !== undefined)
      words.push(`${formatDuration(job.seconds_left)} left`);
    const part = isTraining
      ? recorded / Math.max(1, manifest.planned_epochs)
      : (job.done || 0) / Math.max(1, job.total || 1);
    node.append(el("span", null, words.join(" · ")), progressBar(part, words[0]));
  } else if (manifest.diverged) {
    const { epoch, side } = manifest.diverged;
    node.append(chip("tdw-warn", `training diverged at epoch ${formatInteger(epoch)}: ${side} loss is not finite`));
  } else if (manifest.state === "unfinished") {
    node.append(chip("", `unfinished: ${formatInteger(recorded)} of ${formatInteger(manifest.planned_epochs)} epochs`));
  } else if (manifest.state === "new") node.append(chip("", "not started"));
  return node;
};
