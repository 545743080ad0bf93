// The start page: the table of all runs that the window knows, with search, groups, columns, folders and actions on rows.

import { context2d, el, setText } from "../../viewer/dom.js";
import { formatInteger, sentence } from "../../viewer/format.js";
import { action } from "../elements.js";
import { allColumns, chosenColumns, differing, fitted, grouped, sorted } from "./columns.js";
import { FolderPicker } from "./folder_picker.js";
import { Library } from "./library.js";
import { openMenu } from "./menu.js";
import { matches, parseQuery } from "./query.js";
import { QuestionDialog } from "./question.js";
import { rowActions } from "./row_actions.js";
import { RunTable } from "./run_table.js";
import { loadState, saveState, toggleColumn, usualState } from "./state.js";

/** @import { Column, Line, TableState } from "./types.js" */
/** @import { Message } from "../types.js" */

/** What the page asks of the window. @typedef {{show: (key: string, path: string) => void, started: (job: import("./types.js").Job) => void, post: (command: string, body: object) => Promise<import("../types.js").Answer>, newRun: () => void, moved: (keys: Record<string, string>) => void}} Asks */

const GROUPS = [
  ["", "not grouped"],
  ["settings", "settings, without seeds"],
  ["folder", "folder"],
  ["task", "task"],
  ["state", "state"],
  ["outcome", "outcome"],
];
const HINT = "Search: words, p:113, lr<1e-3, tag:paper, grokked, -old";

const ruler = context2d(document.createElement("canvas"));

/** The width of a text of the table in pixels. @param {string} text @param {boolean} isBold */
const textWidth = (text, isBold) => {
  ruler.font = `${isBold ? 600 : 400} 13px ${getComputedStyle(document.body).fontFamily}`;
  return ruler.measureText(text).width;
};

export class Home {
  /** @param {HTMLElement} host @param {Asks} asks */
  constructor(host, asks) {
    this.asks = asks;
    this.library = new Library(() => this.changed());
    /** @type {TableState} */
    this.state = loadState();
    this.isVisible = false;
    this.isStale = true; // drawn before the last change
    this.search = el("input", "tdw-search", null, {
      type: "search",
      placeholder: HINT,
      "aria-label": "Search runs",
      spellcheck: "false",
    });
    this.search.value = this.state.search;
    this.search.addEventListener("input", () => this.set({ search: this.search.value }));
    this.search.addEventListener("keydown", (event) => this.searchKey(event));
    this.group = el("select", "tdw-select", null, { "aria-label": "Group runs by" });
    for (const [value, label] of GROUPS)
      this.group.append(el("option", null, value ? `by ${label}` : label, { value }));
    this.group.value = GROUPS.some(([value]) => value === this.state.group) ? this.state.group : "";
    this.group.addEventListener("change", () => this.set({ group: this.group.value }));
    this.columnsButton = action("Columns", () => this.columnsMenu());
    this.columnsButton.setAttribute("aria-haspopup", "menu");
    this.count = el("span", "tdw-count", "", { role: "status" });
    this.problem = el("p", "tdw-reason", "", { role: "alert" });
    this.problem.hidden = true;
    this.refusal = ""; // of the last command
    this.queryError = "";
    this.folders = el("div", "tdw-folders");
    this.picker = new FolderPicker((path) => this.addFolder(path));
    this.question = new QuestionDialog();
    this.undo = el("div", "tdw-undo", null, { role: "status" });
    this.undo.hidden = true;
    this.actionBar = el("div", "tdw-action-bar", null, { role: "toolbar", "aria-label": "Selected runs" });
    this.table = new RunTable({
      open: (line) => this.open(line),
      sort: (name) => this.sort(name),
      menu: (lines, x, y) => openMenu(x, y, rowActions(lines, this), "Runs"),
      remove: (lines) => this.remove(lines),
      selected: (lines) => this.drawActions(lines),
    });
    this.empty = el("div", "tdw-empty");
    const tools = el("div", "tdw-tools");
    tools.append(this.search, this.group, this.columnsButton, this.count);
    const head = el("header", "tdw-home-head");
    head.append(el("h1", null, "Runs"), this.folders);
    this.node = el("div", "tdw-home");
    this.node.append(
      head,
      tools,
      this.problem,
      this.actionBar,
      this.table.node,
      this.empty,
      this.undo,
      this.picker.node,
      this.question.node,
    );
    host.append(this.node);
    this.drawActions([]);
    document.addEventListener("keydown", (event) => this.pageKey(event));
    // "2 min ago" grows old
    setInterval(() => this.changed(), 30_000);
  }
  /** @param {Message} message */
  hear(message) {
    if (message.type === "library") this.library.hear(message);
    if (message.type === "jobs") this.library.hearJobs(message.jobs);
  }
  /** @param {boolean} isVisible */
  setVisible(isVisible) {
    this.isVisible = isVisible;
    if (isVisible && this.isStale) this.draw();
  }
  changed() {
    this.isStale = true;
    this.asks.moved(this.library.moved);
    if (this.isVisible) this.draw();
  }
  /** @param {Partial<TableState>} part */
  set(part) {
    this.refusal = "";
    this.state = { ...this.state, ...part };
    saveState(this.state);
    this.draw();
  }
  /** @param {string} name */
  sort(name) {
    const { sort, descending } = this.state;
    const column = this.all().find((one) => one.name === name);
    this.set({ sort: name, descending: sort === name ? !descending : column?.isNumber === true });
  }
  /** @returns {Column[]} */
  all() {
    return allColumns(this.library.settings);
  }
  // ---- drawing --------------------------------------------------------------------------------------------------
  draw() {
    this.isStale = false;
    const { library, state } = this;
    const lines = [...library.lines.values()];
    const query = parseQuery(state.search, ["path", ...library.columns]);
    const found = query.terms.length ? lines.filter((line) => matches(query, line)) : lines;
    const all = this.all();
    const differ = differing(found, library.settings);
    const columns = fitted(chosenColumns(all, differ, state), found, textWidth);
    const by = all.find(({ name }) => name === state.sort) ?? all[0];
    const groups = grouped(sorted(found, by, state.descending), state.group, library.settings);
    this.table.draw(columns, groups, state);
    this.queryError = query.error ? `${query.error}: choose one of the columns, or put the word in quotes` : "";
    this.drawProblem();
    const total = formatInteger(lines.length);
    const some = found.length === lines.length ? total : `${formatInteger(found.length)} of ${total}`;
    setText(this.count, `${some} ${lines.length === 1 ? "run" : "runs"}${library.isComplete ? "" : " · reading …"}`);
    this.drawFolders();
    this.drawEmpty(lines.length, found.length);
  }
  /** Tell why the last command was refused; "" if it was not. @param {string} error */
  say(error) {
    this.refusal = error;
    this.drawProblem();
  }
  drawProblem() {
    const error = this.refusal || this.queryError;
    setText(this.problem, error ? sentence(error) : "");
    this.problem.hidden = !error;
  }
  drawFolders() {
    const add = action("Add folder", () => this.picker.open());
    add.classList.add("tdw-add-folder");
    const chips = this.library.folders.map(({ path, there }) => {
      const chip = el("span", `tdw-folder${there ? "" : " tdw-gone"}`, null, {
        title: there ? path : `${path} is not there`,
      });
      const drop = action("×", () => this.asks.post("remove_folder", { path }).then(() => this.library.ask()));
      drop.className = "tdw-drop";
      drop.setAttribute("aria-label", `Do not list ${path}`);
      chip.append(el("span", null, path.replace(/^.*[\\/](?=[^\\/]+$)/, "")), drop);
      return chip;
    });
    const shown = this.library.folders.map(({ path, there }) => `${path} ${there}`).join("\n");
    if (this.folders.dataset.shown === shown && this.folders.children.length) return;
    this.folders.dataset.shown = shown;
    this.folders.replaceChildren(...chips, add);
  }
  /** @param {number} total @param {number} found */
  drawEmpty(total, found) {
    const isEmpty = total === 0 && this.library.isComplete;
    const kind = isEmpty ? "empty" : total > 0 && found === 0 ? "none" : "";
    this.table.node.hidden = isEmpty;
    this.empty.hidden = !kind;
    if (this.empty.dataset.kind === kind) return;
    this.empty.dataset.kind = kind;
    if (kind === "empty") {
      const buttons = el("div", "tdw-actions");
      const demo = action("Train the demo", () => this.demo());
      demo.classList.add("tdw-primary");
      buttons.append(
        demo,
        action("New run", this.asks.newRun),
        action("Add folder", () => this.picker.open()),
      );
      this.empty.replaceChildren(
        el("h2", null, "No runs yet"),
        el(
          "p",
          null,
          "Train the demo, which groks within a few minutes, start a run of your own, or list the runs in a folder.",
        ),
        buttons,
      );
    } else if (kind === "none") {
      this.empty.replaceChildren(
        el("h2", null, "No run matches the search"),
        action("Show all runs", () => this.clearSearch()),
      );
    } else this.empty.replaceChildren();
  }
  /** @param {Line[]} lines */
  drawActions(lines) {
    this.actionBar.hidden = lines.length < 2;
    if (lines.length < 2) return;
    this.actionBar.replaceChildren(
      el("span", "tdw-chosen", `${formatInteger(lines.length)} runs selected`),
      ...rowActions(lines, this).flatMap((item) => {
        if (!item || item.isOff || item.label === "Open") return [];
        const button = action(item.label, item.run);
        if (item.isBad) button.classList.add("tdw-bad");
        return [button];
      }),
      action("Select none", () => this.table.selectNone()),
    );
  }
  columnsMenu() {
    const { library } = this;
    const box = this.columnsButton.getBoundingClientRect();
    const differ = differing([...library.lines.values()], library.settings);
    const usual = new Set(chosenColumns(this.all(), differ, { shown: [], hidden: [] }).map(({ name }) => name));
    const shown = new Set(chosenColumns(this.all(), differ, this.state).map(({ name }) => name));
    const choices = this.all()
      .filter(({ name }) => name !== "name")
      .map(({ name, title }) => ({
        label: title,
        isOn: shown.has(name),
        toggle: () => {
          const isOn = !chosenColumns(this.all(), differ, this.state).some((one) => one.name === name);
          this.set(toggleColumn(this.state, name, isOn, usual.has(name)));
        },
      }));
    const reset = {
      label: "As usual",
      run: () => this.set({ shown: [], hidden: [], sort: usualState().sort, descending: usualState().descending }),
    };
    openMenu(box.left, box.bottom + 4, [...choices, null, reset], "Columns");
  }
  // ---- actions --------------------------------------------------------------------------------------------------
  /** @param {Line} line */
  open(line) {
    if (line.gone) this.say(`${line.path} is not there: move it back, or open it at its new path`);
    else if (line.problem) this.say(line.problem);
    else this.asks.show(line.key, line.path);
  }
  /** Give a command for each of these runs, and tell the first refusal. @param {string} command @param {Line[]} lines @param {"key" | "path"} by */
  async forAll(command, lines, by) {
    const refused = [];
    for (const line of lines) {
      const { error } = await this.asks.post(command, { [by]: line[by] });
      if (error) refused.push(`${line.name}: ${error}`);
    }
    this.library.ask();
    const more = refused.length > 1 ? ` (and ${formatInteger(refused.length - 1)} more)` : "";
    this.say(refused.length ? `${refused[0]}${more}` : "");
  }
  /** Give a command; returns why it was refused, or "". @param {string} command @param {object} body */
  async command(command, body) {
    const { error } = await this.asks.post(command, body);
    this.library.ask();
    return error ?? "";
  }
  /** @param {import("./question.js").Question} question */
  ask(question) {
    this.question.open(question);
  }
  /** Move runs to the trash, and offer to undo that. @param {Line[]} lines */
  async remove(lines) {
    const there = lines.filter(({ gone }) => !gone);
    const { error, paths } = await this.asks.post("delete", { keys: there.map(({ key }) => key) });
    this.library.ask();
    this.say(error ?? "");
    if (!paths) return;
    this.table.selectNone();
    const what = there.length === 1 ? there[0].name : `${formatInteger(there.length)} runs`;
    const undo = action("Undo", async () => {
      this.undo.hidden = true;
      this.say(await this.command("restore", { paths }));
    });
    const close = action("×", () => {
      this.undo.hidden = true;
    });
    close.className = "tdw-drop";
    close.setAttribute("aria-label", "Close");
    this.undo.replaceChildren(el("span", null, `${what} moved to the trash`), undo, close);
    this.undo.hidden = false;
  }
  /** @param {string} path */
  async addFolder(path) {
    const { error } = await this.asks.post("add_folder", { path });
    if (!error) this.library.ask();
    return error ?? "";
  }
  async demo() {
    const { error, job } = await this.asks.post("demo", { path: "" });
    if (error) this.say(error);
    else if (job) this.asks.started(job);
  }
  clearSearch() {
    this.search.value = "";
    this.set({ search: "" });
  }
  /** @param {KeyboardEvent} event */
  searchKey(event) {
    if (event.key === "Escape" && this.search.value) this.clearSearch();
    else if (event.key === "ArrowDown" || event.key === "Enter") this.table.node.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
  /** @param {KeyboardEvent} event */
  pageKey(event) {
    const isTyping =
      event.target instanceof HTMLElement && event.target.matches("input, textarea, select, [contenteditable]");
    if (!this.isVisible || isTyping || event.key !== "/" || event.ctrlKey || event.metaKey) return;
    this.search.focus();
    event.preventDefault();
  }
}
