// What can be done with one or several rows of the table.

import { isActive } from "../job_text.js";

/** @import { Line } from "./types.js" */
/** @import { Item } from "./menu.js" */
/** @import { Home } from "./home.js" */

/** @param {string} text a path @returns {string} as a Python string */
const pythonText = (text) => `"${text.replace(/[\\"]/g, "\\$&").replace(/\n/g, "\\n")}"`;

/** The Python lines that open these runs. @param {Line[]} lines */
export const pythonLines = (lines) =>
  ["import tdw", ...lines.map(({ path }) => `run = tdw.open(${pythonText(path)})`)].join("\n");

/** @param {string} text */
const copy = (text) => navigator.clipboard.writeText(text);

/** Ask for another name of a run. @param {Line} line @param {Home} home */
const rename = (line, home) =>
  home.ask({
    title: `Rename ${line.name}`,
    fields: [{ name: "new", label: "Name of the file", value: line.name }],
    done: "Rename",
    take: ({ new: name }) => home.command("rename", { key: line.key, new: name }),
  });

/** Ask for title, tags and remark. @param {Line[]} lines @param {Home} home */
const note = (lines, home) => {
  const [{ name, row }] = lines;
  const isOne = lines.length === 1;
  home.ask({
    title: isOne ? `Title and tags of ${name}` : `Tags of ${lines.length} runs`,
    fields: [
      ...(isOne ? [{ name: "title", label: "Title", value: row?.title ?? "" }] : []),
      {
        name: "tags",
        label: isOne ? "Tags, separated by commas" : "Tags to add, separated by commas",
        value: isOne ? (row?.tags ?? []).join(", ") : "",
      },
    ],
    done: "Save",
    take: async ({ title, tags }) => {
      const given = tags
        .split(",")
        .map((tag) => tag.trim())
        .filter(Boolean);
      for (const line of lines) {
        const all = isOne ? given : [...new Set([...(line.row?.tags ?? []), ...given])];
        const error = await home.command("note", { key: line.key, tags: all, ...(isOne ? { title } : {}) });
        if (error) return error;
      }
      return "";
    },
  });
};

/**
 * The items of a menu; null separates them.
 * @param {Line[]} lines @param {Home} home @returns {(Item | null)[]}
 */
export const rowActions = (lines, home) => {
  const there = lines.filter(({ gone, problem }) => !gone && !problem);
  const idle = there.filter(({ job }) => !isActive(job));
  const untrained = idle.filter(({ row }) => row?.state !== "finished" && row?.diverged_at == null);
  const active = lines.filter(({ job }) => isActive(job));
  const trained = idle.filter(({ row }) => row?.stored_checkpoints > 0);
  const removable = lines.filter(({ gone, job }) => !gone && !isActive(job));
  const isNew = untrained.every(({ row }) => row?.state === "new");
  /** @type {(Item | null)[]} */
  const items = [
    { label: "Open", run: () => home.open(lines[0]), isOff: lines.length !== 1 || !there.length },
    null,
    {
      label: isNew && untrained.length ? "Train" : "Resume training",
      run: () => home.forAll("train", untrained, "key"),
      isOff: !untrained.length,
    },
    { label: "Stop", run: () => home.forAll("stop", active, "key"), isOff: !active.length },
    { label: "Analyze", run: () => home.forAll("analyze", trained, "key"), isOff: !trained.length },
    null,
    { label: "Rename …", run: () => rename(lines[0], home), isOff: lines.length !== 1 || idle.length !== 1 },
    { label: lines.length > 1 ? "Add tags …" : "Title and tags …", run: () => note(there, home), isOff: !there.length },
    { label: "Duplicate", run: () => home.forAll("duplicate", there, "key"), isOff: !there.length },
    { label: "Show in folder", run: () => home.forAll("reveal", there, "key"), isOff: there.length !== 1 },
    null,
    { label: lines.length > 1 ? "Copy paths" : "Copy path", run: () => copy(lines.map(({ path }) => path).join("\n")) },
    { label: "Copy Python", run: () => copy(pythonLines(lines)), isOff: !there.length },
    null,
    {
      label: "Remove from list",
      run: () => home.forAll("forget", lines, "path"),
      isOff: !lines.some(({ gone, folder }) => gone || folder === null),
      hint: "The file is kept. Files in listed folders stay in the list",
    },
    { label: "Move to trash", run: () => home.remove(lines), isOff: !removable.length, isBad: true },
  ];
  return items;
};
