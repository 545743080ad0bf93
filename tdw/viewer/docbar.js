// The document bar: the run's file, its notes, where it is kept, what was found in it, and what is being done with it.
import { progressBar } from "./card.js";
import { el, formatInteger, formatShort } from "./format.js";
import { formatInterval } from "./transport.js";

const TAGS = 3; // in the document bar; the others are told on hover

/**
 * The bar's nodes for a run's manifest. The rest of what there is to say: job, the one on it, or null; isLost, the server
 * does not answer; trouble, why the file cannot be read now; again, what pressing that does.
 */
export const documentBar = (manifest, { job, isLost, trouble, again }) => {
  const { title, tags, remark } = manifest;
  const noted = [title, tags.length ? `tags: ${tags.join(", ")}` : "", remark].filter(Boolean).join("\n\n");
  const nodes = [el("b", "tdw-file", manifest.file, { title: [manifest.file, noted].filter(Boolean).join("\n\n") })];
  // Of a long title the first words stay when the bar is narrow; a short one must not be stretched to them.
  if (title)
    nodes.push(
      el("span", "tdw-title", title, { title: noted, style: `min-width: ${0.6 * Math.min(title.length, 20)}ch` }),
    );
  if (remark) nodes.at(-1).classList.add("tdw-remarked");
  const saved = manifest.state === "finished" ? "saved" : job?.kind === "train" ? "saved as it trains" : "saved";
  const path = el("span", "tdw-path", null, { title: manifest.folder });
  path.append(el("bdi", null, manifest.folder), ` · ${saved}`);
  nodes.push(path);
  const chips = el("span", "tdw-chips tdw-found");
  nodes.push(chips);
  const chip = (kind, text, title) => chips.append(el("span", `tdw-chip ${kind}`, text, title ? { title } : {}));
  const found = (prefix) => (manifest.events || []).find((event) => event.name.startsWith(prefix) && event.first);
  const memorized = found("memorized");
  const generalized = found("generalized");
  const why = (event) =>
    `${event.label}: first between epochs ${formatInterval(event.first)}${event.last ? `, ${event.held ? "for good" : "last"} ${formatInterval(event.last)}` : ""}${event.held ? "" : "; not at the end"}`;
  if (memorized) chip("", `memorized ${formatInterval(memorized.first)}`, why(memorized));
  if (generalized) chip("tdw-good", `generalized ${formatInterval(generalized.first)}`, why(generalized));
  const keys = manifest.key_frequencies;
  if (keys?.frequencies.length) {
    const many = keys.frequencies.length;
    chip(
      "",
      `${many} key frequenc${many > 1 ? "ies" : "y"}`,
      `k = ${keys.frequencies.join(", ")} by the rule “${keys.rule}”`,
    );
  }
  const shown = tags.length > TAGS ? TAGS - 1 : TAGS; // a lone “+1” would take the place of the tag it stands for
  const marks = tags.slice(0, shown).map((tag) => el("span", "tdw-chip tdw-tag", tag, { title: tag }));
  if (tags.length > shown)
    marks.push(el("span", "tdw-chip tdw-tag", `+${tags.length - shown}`, { title: tags.join("\n") }));
  nodes.push(el("span", "tdw-chips tdw-tags"));
  nodes.at(-1).append(...marks);
  const recorded = Math.max(0, manifest.epochs - 1);
  const status = el("span", "tdw-status", null, { role: "status" });
  if (isLost)
    status.append(el("span", "tdw-chip tdw-warn", "server lost: what is loaded can still be explored; trying again"));
  else if (trouble) {
    const chip = el("button", "tdw-chip tdw-warn", "file cannot be read now: what is loaded can still be explored", {
      type: "button",
      title: `${trouble}\n\nPress to try again.`,
    });
    chip.addEventListener("click", again);
    status.append(chip);
  } else if (job) {
    const train = job.kind === "train";
    const words = [
      train
        ? `training ${formatInteger(recorded)} / ${formatInteger(manifest.planned_epochs)}`
        : `analyzing ${job.done ?? 0} / ${job.total ?? "?"}`,
    ];
    if (train && job.epochs_per_second) words.push(`${formatShort(job.epochs_per_second)} epochs/s`);
    if (job.seconds_left !== null && job.seconds_left !== undefined)
      words.push(`${formatDuration(job.seconds_left)} left`);
    const part = train
      ? recorded / Math.max(1, manifest.planned_epochs)
      : (job.done || 0) / Math.max(1, job.total || 1);
    status.append(el("span", null, words.join(" · ")), progressBar(part, words[0]));
  } else if (manifest.state === "unfinished") {
    status.append(
      el(
        "span",
        "tdw-chip",
        `unfinished: ${formatInteger(recorded)} of ${formatInteger(manifest.planned_epochs)} epochs`,
      ),
    );
  } else if (manifest.state === "new") status.append(el("span", "tdw-chip", "not started"));
  nodes.push(status);
  return nodes;
};

/** 95 -> "1 min 35 s". */
export const formatDuration = (seconds) => {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min${s < 600 && s % 60 ? ` ${s % 60} s` : ""}`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
};
