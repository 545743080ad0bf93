// The columns of the table of runs: what each shows of a run, and what rows are sorted by.

import { formatDuration, formatInteger, formatInterval, formatShort, visibleText } from "../../viewer/format.js";
import { isActive } from "../job_text.js";

/** @import { Column, Line } from "./types.js" */

/** Settings whose differences say nothing about a run. */
const NEVER = new Set(["threads"]);
const SEEDS = ["model_seed", "data_seed"];

/** @param {unknown} value */
const finite = (value) => (typeof value === "number" ? value : null);

/** A setting, tag list or other plain value as text. @param {unknown} value */
export const plainText = (value) => {
  if (value === null || value === undefined) return "–";
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value !== "number") return visibleText(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return formatInteger(value);
  return String(value).replace("e+", "e").replace(/^-/, "−"); // every digit: rows must tell settings apart
};

/** 0.3 MB, 12 MB, 1.2 GB. @param {number | null} bytes */
export const sizeText = (bytes) => {
  if (bytes === null) return "–";
  const mb = bytes / 1e6;
  if (mb >= 1000) return `${(mb / 1000).toFixed(1)} GB`;
  return `${mb >= 10 ? formatInteger(mb) : mb.toFixed(1)} MB`;
};

/** How long ago. @param {number | null} seconds Unix time @param {number} [now] */
export const agoText = (seconds, now = Date.now() / 1000) => {
  if (seconds === null) return "–";
  const past = Math.max(0, now - seconds);
  if (past < 60) return "just now";
  if (past < 86400) return `${formatDuration(past - (past % (past < 3600 ? 60 : 3600)))} ago`;
  return new Date(seconds * 1000).toISOString().slice(0, 10);
};

/** A share of something in percent. @param {number} part @param {number} all */
const percent = (part, all) => (all > 0 ? `${Math.floor((100 * part) / all)} %` : "");

/** What a run is doing, in a word or two. @param {Line} line */
export const stateText = ({ gone, problem, row, job }) => {
  if (job && isActive(job)) {
    if (job.state !== "running") return `${job.state}…`;
    return `${job.kind === "train" ? "training" : "analyzing"} ${percent(job.done, job.total)}`;
  }
  if (gone) return "not found";
  if (problem) return "cannot be read";
  if (!row) return "…";
  if (row.state === "unfinished" && row.diverged_at === null)
    return `unfinished ${percent(row.recorded_epochs, row.epochs ?? 0)}`;
  return row.diverged_at !== null ? "diverged" : row.state;
};

/** One of the kinds of states, for the color. @param {Line} line */
export const stateKind = ({ gone, problem, row, job }) => {
  if (job?.state === "failed") return "bad";
  if (isActive(job)) return "active";
  if (gone || problem) return "bad";
  return row?.diverged_at != null ? "warn" : row?.state === "finished" ? "done" : "open";
};

/** @param {Line} line */
const nameOf = ({ name, row }) => row?.title || name;

/** The epochs of an event. @param {string} event @param {string} title @param {string} about @returns {Column} */
const eventColumn = (event, title, about) => ({
  name: event,
  title,
  about,
  width: 116,
  isNumber: true,
  value: ({ row }) => finite(row?.[event]),
  text: ({ row }) => (row?.[event] == null ? "–" : formatInterval([row[`${event}_after`] ?? row[event], row[event]])),
});

/** @param {string} name @param {string} title @param {string} about @param {number} [width] @returns {Column} */
const numberColumn = (name, title, about, width = 92) => ({
  name,
  title,
  about,
  width,
  isNumber: true,
  value: ({ row }) => finite(row?.[name]),
  text: ({ row }) => formatShort(finite(row?.[name])),
});

/** The columns that are always there, in their order; `USUAL` of them are shown unless they were hidden. @type {Column[]} */
const FIXED = [
  {
    name: "name",
    title: "Run",
    about: "title, else the name of the file",
    width: 240,
    value: nameOf,
    text: nameOf,
  },
  { name: "state", title: "State", about: "what the run is doing", width: 124, value: stateText, text: stateText },
  {
    name: "losses",
    title: "Losses",
    about: "train and test loss over the epochs, on one logarithmic scale",
    width: 108,
    value: ({ row }) => finite(row?.test_loss),
    text: () => "",
  },
  {
    name: "task",
    title: "Task",
    about: "what the network learns",
    width: 108,
    value: ({ row }) => (row?.task ? `${row.task} ${String(row.p).padStart(6, "0")}` : null),
    text: ({ row }) => (row?.task ? `${row.task} mod ${row.p ?? "?"}` : "–"),
  },
];

/** @type {Column[]} */
const AFTER_SETTINGS = [
  eventColumn("memorized_0.1", "Memorized", "epochs at which the train loss fell below 0.1"),
  eventColumn("generalized_0.1", "Generalized", "epochs at which the test loss fell below 0.1"),
  numberColumn("delay_max", "Delay", "epochs from memorizing to generalizing, at most", 88),
  {
    name: "grokking",
    title: "Grokked",
    about: "whether generalizing came late enough, by the thresholds of `tdw info`",
    width: 88,
    value: ({ row }) => row?.grokking ?? null,
    text: ({ row }) => row?.grokking ?? "–",
  },
  numberColumn("train_loss", "Train loss", "last train loss, in nats"),
  numberColumn("test_loss", "Test loss", "last test loss, in nats"),
  {
    name: "test_accuracy",
    title: "Test acc.",
    about: "last test accuracy",
    width: 88,
    isNumber: true,
    value: ({ row }) => finite(row?.test_accuracy),
    text: ({ row }) => (row?.test_accuracy == null ? "–" : `${(100 * row.test_accuracy).toFixed(1)} %`),
  },
  {
    name: "key_frequencies",
    title: "Key frequencies",
    about: "key frequencies at the last analyzed checkpoint",
    width: 140,
    value: ({ row }) => row?.key_frequencies?.length ?? null,
    text: ({ row }) => (row?.key_frequencies?.length ? row.key_frequencies.join(", ") : "–"),
  },
  {
    name: "tags",
    title: "Tags",
    about: "tags of the run",
    width: 120,
    value: ({ row }) => row?.tags?.join(", ") || null,
    text: ({ row }) => row?.tags?.join(", ") ?? "",
  },
  {
    name: "size_bytes",
    title: "Size",
    about: "size of the file",
    width: 84,
    isNumber: true,
    value: ({ row }) => finite(row?.size_bytes),
    text: ({ row }) => sizeText(finite(row?.size_bytes)),
  },
  {
    name: "changed",
    title: "Changed",
    about: "when the file was changed",
    width: 112,
    isNumber: true,
    value: ({ changed }) => changed,
    text: ({ changed }) => agoText(changed),
  },
  {
    name: "stored_checkpoints",
    title: "Checkpoints",
    about: "stored checkpoints",
    width: 100,
    isNumber: true,
    value: ({ row }) => finite(row?.stored_checkpoints),
    text: ({ row }) => plainText(row?.stored_checkpoints),
  },
  {
    name: "path",
    title: "Path",
    about: "where the file is",
    width: 320,
    value: ({ path }) => path,
    text: ({ path }) => path,
  },
];
const NOT_USUAL = new Set(["stored_checkpoints", "path", "grokking"]);

/** @param {string} name a setting @returns {Column} */
const settingColumn = (name) => ({
  name,
  title: name.startsWith("d_") ? name : name.replaceAll("_", " "),
  about: `the setting ${name}`,
  width: 104,
  isNumber: true,
  value: ({ row }) => row?.[name] ?? null,
  text: ({ row }) => plainText(row?.[name]),
});

/** All columns: the fixed ones around those of all settings. @param {readonly string[]} settings @returns {Column[]} */
export const allColumns = (settings) => [
  ...FIXED,
  ...settings.filter((name) => name !== "task" && name !== "p").map(settingColumn),
  ...AFTER_SETTINGS,
];

/** Settings in which lines differ, apart from the task and its modulus. @param {Line[]} lines @param {readonly string[]} settings */
export const differing = (lines, settings) => {
  const rows = lines.flatMap(({ row }) => (row ? [row] : []));
  return settings.filter((name) => {
    if (name === "task" || name === "p" || NEVER.has(name) || rows.length < 2) return false;
    return rows.some((row) => row[name] !== rows[0][name]);
  });
};

/**
 * The columns to show: the usual ones and the settings in which the lines differ, changed by what the user chose.
 * @param {Column[]} all @param {string[]} differ @param {{shown: string[], hidden: string[]}} choice
 */
export const chosenColumns = (all, differ, { shown, hidden }) => {
  const usual = new Set([...FIXED, ...AFTER_SETTINGS].map(({ name }) => name).filter((name) => !NOT_USUAL.has(name)));
  for (const name of differ) usual.add(name);
  for (const name of shown) usual.add(name);
  for (const name of hidden) usual.delete(name);
  return all.filter(({ name }) => name === "name" || usual.has(name));
};

/** @param {string} a @param {string} b */
const longer = (a, b) => (b.length > a.length ? b : a);

const ROOM = 22; // pixels around a text

/**
 * Columns as wide as their texts need, within limits.
 * @param {Column[]} columns @param {Line[]} lines
 * @param {(text: string, isBold: boolean) => number} measure the width of a text in pixels
 */
export const fitted = (columns, lines, measure) =>
  columns.map((column) => {
    if (column.name === "losses" || column.name === "state") return column;
    const longest = lines.reduce((most, line) => longer(most, column.text(line)), "");
    const isName = column.name === "name";
    const needed = Math.max(measure(longest, isName), measure(`${column.title} ↓`, true) + 4) + ROOM;
    const most = isName || column.name === "path" ? 420 : 180;
    return { ...column, width: Math.round(Math.min(most, Math.max(60, needed))) };
  });

const collator = new Intl.Collator("en", { numeric: true });

/** Lines in order; those without a value come last either way. @param {Line[]} lines @param {Column} column @param {boolean} descending */
export const sorted = (lines, column, descending) => {
  const sign = descending ? -1 : 1;
  const keyed = lines.map((line) => ({ line, value: column.value(line) }));
  keyed.sort((a, b) => {
    if (a.value === null || b.value === null) {
      if (a.value === b.value) return collator.compare(a.line.path, b.line.path);
      return a.value === null ? 1 : -1;
    }
    const order =
      typeof a.value === "number" && typeof b.value === "number"
        ? a.value - b.value
        : collator.compare(String(a.value), String(b.value));
    return order ? sign * order : collator.compare(a.line.path, b.line.path);
  });
  return keyed.map(({ line }) => line);
};

/**
 * Lines in groups. "settings" groups runs that differ in their seeds only, by the settings in which the groups differ.
 * @param {Line[]} lines in order @param {string} by "", "settings", "folder", or a column @param {readonly string[]} settings
 * @returns {import("./types.js").Group[]}
 */
export const grouped = (lines, by, settings) => {
  if (!by) return [{ label: "", lines }];
  const differ =
    by === "settings"
      ? ["task", "p", ...settings].filter(
          (name) => !SEEDS.includes(name) && (name === "task" || name === "p" || differing(lines, [name]).length),
        )
      : [];
  /** @type {Map<string, Line[]>} */
  const groups = new Map();
  for (const line of lines) {
    const label = labelOf(line, by, differ);
    const group = groups.get(label);
    if (group) group.push(line);
    else groups.set(label, [line]);
  }
  return [...groups].map(([label, own]) => ({ label, lines: own })).sort((a, b) => collator.compare(a.label, b.label));
};

/** @param {Line} line @param {string} by @param {string[]} differ */
const labelOf = (line, by, differ) => {
  const { row } = line;
  if (by === "folder") return line.folder ?? line.path.replace(/[\\/][^\\/]*$/, "");
  if (!row) return "not read";
  if (by === "settings")
    return [
      `${row.task ?? "task unknown"} mod ${row.p ?? "?"}`,
      ...differ
        .filter((name) => name !== "task" && name !== "p")
        .map((name) => `${name.replaceAll("_", " ")} ${plainText(row[name])}`),
    ].join(" · ");
  return `${by.replaceAll("_", " ")} ${plainText(row[by])}`;
};
