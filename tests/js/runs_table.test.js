// The table of runs: search, sorting, groups, columns and what is remembered, without a browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as columns from "../../tdw/app/home/columns.js";
import { matches, parseQuery } from "../../tdw/app/home/query.js";
import { pythonLines } from "../../tdw/app/home/row_actions.js";
import { path } from "../../tdw/app/home/run_table.js";
import { readState, toggleColumn, usualState } from "../../tdw/app/home/state.js";

const NAMES = ["task", "p", "lr", "model_seed", "weight_decay", "tags", "title", "state", "grokking", "diverged_at"];
const SETTINGS = ["task", "p", "lr", "model_seed", "weight_decay", "threads"];

/** @param {string} name @param {object} row @param {object} [more] */
const line = (name, row, more = {}) => ({
  key: name,
  path: `/runs/${name}.tdw`,
  name,
  folder: "/runs",
  gone: false,
  problem: null,
  changed: 0,
  losses: {},
  job: null,
  row: {
    task: "add",
    p: 113,
    lr: 1e-3,
    model_seed: 0,
    weight_decay: 1,
    threads: 1,
    tags: [],
    title: "",
    state: "finished",
    grokking: "no",
    diverged_at: null,
    ...row,
  },
  ...more,
});

const LINES = [
  line("a", { p: 59, lr: 1e-4, tags: ["paper", "old"], grokking: "yes" }),
  line("b", { model_seed: 1, title: "My Best" }),
  line("c", { weight_decay: 0.3, model_seed: 10, state: "unfinished" }),
  line("d", { task: "multiply", diverged_at: 40 }),
  line("e", {}, { row: null, problem: "damaged" }),
];

/** @param {string} typed */
const found = (typed) => {
  const query = parseQuery(typed, ["path", ...NAMES]);
  return LINES.filter((one) => matches(query, one))
    .map(({ name }) => name)
    .join("");
};

test("words and conditions narrow the list", () => {
  for (const [typed, names] of [
    ["", "abcde"],
    ["p:59", "a"],
    ["p=113 lr<=1e-3", "bcd"],
    ["lr<1e-3", "a"],
    ["tag:paper", "a"],
    ["tag!=paper", "bcd"],
    ["-tag:paper", "bcde"],
    ["weight_decay:0.3,1 model_seed>0", "bc"],
    ["grokked", "a"],
    ["-grokked", "bcde"],
    ["finished", "abd"],
    ["unfinished", "c"],
    ["diverged", "d"],
    ["damaged", "e"],
    ['"my best"', "b"],
    ["multiply", "d"],
    ["runs/c", "c"],
    ["name:d.tdw", "d"],
    ["diverged_at:none task:add", "abc"],
    ["model_seed>=1 model_seed<5", "b"],
  ])
    assert.equal(found(typed), names, typed);
});

test("what cannot be understood is told, and the rest is used", () => {
  const query = parseQuery("foo:3 p:59", NAMES);
  assert.equal(query.error, "runs have no column foo");
  assert.equal(query.terms.length, 1);
  assert.equal(parseQuery("lr<", NAMES).error, "lr< needs a number");
  assert.equal(parseQuery("lr<x", NAMES).error, "lr< needs a number");
  assert.equal(parseQuery("lr<1", NAMES).error, "");
});

test("settings that differ get columns; seeds do not split groups", () => {
  assert.deepEqual(columns.differing(LINES, SETTINGS), ["lr", "model_seed", "weight_decay"]);
  assert.deepEqual(columns.differing(LINES.slice(0, 1), SETTINGS), []);
  const groups = columns.grouped(LINES, "settings", SETTINGS);
  assert.deepEqual(
    groups.map(({ label, lines }) => [label, lines.map(({ name }) => name).join("")]),
    [
      ["add mod 59 · lr 0.0001 · weight decay 1", "a"],
      ["add mod 113 · lr 0.001 · weight decay 0.3", "c"],
      ["add mod 113 · lr 0.001 · weight decay 1", "b"],
      ["multiply mod 113 · lr 0.001 · weight decay 1", "d"],
      ["not read", "e"],
    ],
  );
  assert.deepEqual(
    columns.grouped(LINES, "task", SETTINGS).map(({ label }) => label),
    ["not read", "task add", "task multiply"],
  );
});

test("sorting is numeric, and runs without a value come last either way", () => {
  const column = columns.allColumns(SETTINGS).find(({ name }) => name === "model_seed");
  assert.ok(column);
  const names = (/** @type {boolean} */ down) =>
    columns
      .sorted(LINES, column, down)
      .map(({ name }) => name)
      .join("");
  assert.equal(names(false), "adbce");
  assert.equal(names(true), "cbade");
});

test("columns: usual ones, those that differ, and what was chosen", () => {
  const all = columns.allColumns(SETTINGS);
  const names = (/** @type {{shown: string[], hidden: string[]}} */ choice) =>
    columns.chosenColumns(all, ["lr"], choice).map(({ name }) => name);
  const usual = names({ shown: [], hidden: [] });
  assert.ok(usual.includes("lr") && !usual.includes("weight_decay") && !usual.includes("path"));
  assert.ok(names({ shown: ["path"], hidden: [] }).includes("path"));
  assert.equal(names({ shown: [], hidden: ["lr", "name"] })[0], "name"); // what opens a run stays
  assert.ok(!names({ shown: [], hidden: ["lr"] }).includes("lr"));
});

test("a column is as wide as its longest text, within limits", () => {
  const [name] = columns.fitted(
    columns.allColumns([]).slice(0, 1),
    [line("x".repeat(30), {})],
    (text) => 10 * text.length,
  );
  assert.equal(name.width, 322);
  const [wide] = columns.fitted(
    columns.allColumns([]).slice(0, 1),
    [line("x".repeat(99), {})],
    (text) => 10 * text.length,
  );
  assert.equal(wide.width, 420);
});

test("what a run is doing", () => {
  const job = { state: "running", kind: "train", done: 25, total: 200, error: null };
  assert.equal(columns.stateText(line("a", {}, { job })), "training 12 %");
  assert.equal(
    columns.stateText(line("a", { state: "unfinished", recorded_epochs: 7, epochs: 10 })),
    "unfinished 70 %",
  );
  assert.equal(columns.stateText(line("a", {}, { gone: true })), "not found");
  assert.equal(columns.stateText(line("a", { diverged_at: 4, state: "unfinished" })), "diverged");
});

test("sizes and ages", () => {
  assert.deepEqual([310_000, 12_345_678, 1.25e9].map(columns.sizeText), ["0.3 MB", "12 MB", "1.3 GB"]);
  const ages = [5, 300, 7300].map((past) => columns.agoText(1e9 - past, 1e9));
  assert.deepEqual(ages, ["just now", "5 min ago", "2 h ago"]);
  assert.equal(columns.agoText(0, 1e9), "1970-01-01");
});

test("a sparkline passes over gaps", () => {
  assert.equal(path([-1, 0, 60]), "M44.0,21.0L88.0,1.0");
  assert.equal(path([-1, -1]), "");
  assert.equal(path(undefined), "");
});

test("paths in Python lines are quoted", () => {
  assert.equal(
    pythonLines([line("a", {}, { path: 'C:\\runs\\"a".tdw' })]),
    'import tdw\nrun = tdw.open("C:\\\\runs\\\\\\"a\\".tdw")',
  );
});

test("what is remembered and cannot be read is as usual", () => {
  assert.deepEqual(readState(null), usualState());
  assert.deepEqual(readState("{"), usualState());
  assert.deepEqual(readState('{"search": 3, "shown": "x", "sort": "lr"}'), { ...usualState(), sort: "lr" });
  const hidden = toggleColumn(usualState(), "tags", false, true);
  assert.deepEqual([hidden.shown, hidden.hidden], [[], ["tags"]]);
  assert.deepEqual(toggleColumn(hidden, "tags", true, true).hidden, []);
  assert.deepEqual(toggleColumn(hidden, "path", true, false).shown, ["path"]);
});
