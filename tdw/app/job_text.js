// What the lists say about jobs and files.

import { formatDuration, formatInteger, formatShort } from "../viewer/format.js";

/** @import { Job, KnownRun, Recent } from "./types.js" */

/** @param {Job | null} job @returns {job is Job} */
export const isActive = (job) => job !== null && ["starting", "running", "stopping"].includes(job.state);

/** How far a job is and how fast. Lines break between the pieces only. @param {Job} job */
export const pace = (job) => {
  if (job.state === "starting") return "starting…";
  if (job.state === "stopping") return "stopping…";
  const isTraining = job.kind === "train";
  const pieces = [`${isTraining ? "" : "analyzing · "}${formatInteger(job.done)} / ${formatInteger(job.total)}`];
  if (job.epochs_per_second)
    pieces.push(`${formatShort(job.epochs_per_second)} ${isTraining ? "epochs/s" : "checkpoints/s"}`);
  if (job.seconds_left !== null) pieces.push(`${formatDuration(job.seconds_left)} left`);
  return pieces.map((piece) => piece.replaceAll(" ", "\u00a0")).join(" · ");
};

/** What a list says about a file below its name. @param {Job | null} job @param {KnownRun | undefined} run @param {Recent | undefined} entry */
export const about = (job, run, entry) => {
  if (isMissing(job, entry)) return "file not found";
  if (isActive(job)) return "";
  return (run?.about || entry?.about || "").replaceAll(" · ", "\u00a0· "); // no line begins with a dot
};

/** @param {Job | null} job @param {Recent | undefined} entry */
export const isMissing = (job, entry) => entry !== undefined && !entry.there && job === null;
