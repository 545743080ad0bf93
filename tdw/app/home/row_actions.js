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
    { label: lines.length > 1 ? "Copy paths" : "Copy path", run: () => copy(lines.map(({ path }) => path).join("\n")) },
    { label: "Copy Python", run: () => copy(pythonLines(lines)), isOff: !there.length },
    null,
    {
      label: "Remove from list",
      run: () => home.forAll("forget", lines, "path"),
      isOff: !lines.some(({ gone, folder }) => gone || folder === null),
      hint: "The file is kept. Files in listed folders stay in the list",
    },
  ];
  return items;
};
