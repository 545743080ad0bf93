// The table of runs: only the rows in sight are in the page, so that thousands scroll as fast as ten.

import { el, setText } from "../../viewer/dom.js";
import { formatCount } from "../../viewer/format.js";
import { stateKind, stateText } from "./columns.js";

/** @import { Column, Group, Line } from "./types.js" */

/** What the table asks for. @typedef {{open: (line: Line) => void, sort: (name: string) => void, menu: (lines: Line[], x: number, y: number) => void, remove: (lines: Line[]) => void, selected: (lines: Line[]) => void}} Actions */

/** A row: a group's heading or a run. @typedef {{group: Group, line: Line | null}} Item */

export const ROW = 34; // pixels
const SPARE = 8; // rows above and below those in sight
const SPARKLINE = { width: 88, height: 22 };
const STEPS = 60; // see tdw/statistics/sparkline.py
const SVG = "http://www.w3.org/2000/svg";

/** A line through heights, over the gaps. @param {number[] | undefined} heights */
export const path = (heights) => {
  const { width, height } = SPARKLINE;
  const points = (heights ?? []).flatMap((y, i, { length }) =>
    y < 0 ? [] : [`${((width * i) / (length - 1)).toFixed(1)},${(height - 1 - ((height - 2) * y) / STEPS).toFixed(1)}`],
  );
  return points.length === 1 ? `M${points[0]}h1` : points.length ? `M${points.join("L")}` : "";
};

class RowNode {
  /** @param {number} number for the ids of rows */
  constructor(number) {
    this.node = el("div", "tdw-row", null, { role: "row", id: `tdw-row-${number}` });
    /** @type {HTMLElement[]} */
    this.cells = [];
    /** @type {Item | null} */
    this.item = null;
    this.drawn = "";
  }
  /** @param {Item} item @param {Column[]} columns @param {string} names */
  draw(item, columns, names) {
    const kind = item.line ? names : "group";
    if (this.drawn !== kind) {
      this.cells = item.line
        ? columns.map((column) => this.cell(column))
        : [el("div", "tdw-cell", "", { role: "gridcell" })];
      this.node.replaceChildren(...this.cells);
      this.node.classList.toggle("tdw-group", !item.line);
      this.drawn = kind;
    }
    this.item = item;
    if (!item.line) {
      setText(this.cells[0], `${item.group.label}  ·  ${formatCount(item.group.lines.length, "run")}`);
      return;
    }
    const { line } = item;
    this.node.dataset.key = line.key;
    this.node.classList.toggle("tdw-gone", line.gone || line.problem !== null);
    for (const [i, column] of columns.entries()) this.fill(this.cells[i], column, line);
  }
  /** @param {Column} column */
  cell({ name, isNumber }) {
    const cell = el("div", `tdw-cell${isNumber ? " tdw-number" : ""}`, null, { role: "gridcell" });
    cell.dataset.column = name;
    if (name === "losses") {
      const svg = document.createElementNS(SVG, "svg");
      svg.setAttribute("aria-hidden", "true");
      for (const side of ["train", "test"]) {
        const line = document.createElementNS(SVG, "path");
        line.setAttribute("class", `tdw-spark-${side}`);
        svg.append(line);
      }
      cell.append(svg);
    }
    if (name === "state") cell.append(el("span", "tdw-chip"));
    return cell;
  }
  /** @param {HTMLElement} cell @param {Column} column @param {Line} line */
  fill(cell, column, line) {
    if (column.name === "losses") {
      const [train, test] = cell.querySelectorAll("path");
      train.setAttribute("d", path(line.losses.train));
      test.setAttribute("d", path(line.losses.test));
    } else if (column.name === "state") {
      const chip = /** @type {HTMLElement} */ (cell.firstElementChild);
      setText(chip, stateText(line));
      chip.dataset.kind = stateKind(line);
      cell.title = line.job?.error ?? line.problem ?? "";
    } else {
      setText(cell, column.text(line));
      if (column.name === "name") cell.title = line.path;
    }
  }
}

export class RunTable {
  /** @param {Actions} actions */
  constructor(actions) {
    this.actions = actions;
    /** @type {Item[]} */
    this.items = [];
    /** @type {Column[]} */
    this.columns = [];
    this.names = "";
    /** @type {Set<string>} keys of the selected runs */
    this.selection = new Set();
    /** @type {string | null} key of the run that the keyboard is on */
    this.active = null;
    /** @type {string | null} where a range begins */
    this.anchor = null;
    /** @type {Map<number, RowNode>} by the number of the item */
    this.rows = new Map();
    /** @type {RowNode[]} */
    this.spare = [];
    this.made = 0;
    this.head = el("div", "tdw-row tdw-head", null, { role: "row" });
    this.body = el("div", "tdw-rows", null, { role: "rowgroup" });
    this.node = el("div", "tdw-run-table", null, {
      role: "grid",
      "aria-label": "Runs",
      "aria-multiselectable": "true",
      tabindex: 0,
    });
    this.node.append(this.head, this.body);
    this.node.addEventListener("scroll", () => this.drawRows());
    this.node.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("click", (event) => this.click(event));
    this.body.addEventListener("dblclick", (event) => this.openAt(event));
    this.body.addEventListener("contextmenu", (event) => this.contextMenu(event));
    new ResizeObserver(() => this.drawRows()).observe(this.node);
  }
  /** @param {Column[]} columns @param {Group[]} groups @param {{sort: string, descending: boolean}} order */
  draw(columns, groups, { sort, descending }) {
    this.columns = columns;
    const names = columns.map(({ name }) => name).join(" ");
    if (names !== this.names || !this.head.children.length) this.drawHead();
    this.names = names;
    for (const cell of this.head.children) {
      const isSorted = cell instanceof HTMLElement && cell.dataset.column === sort;
      cell.setAttribute("aria-sort", isSorted ? (descending ? "descending" : "ascending") : "none");
    }
    this.node.style.setProperty("--tdw-columns", columns.map(({ width }) => `${width}px`).join(" "));
    this.items = groups.flatMap((group) => [
      ...(group.label ? [{ group, line: null }] : []),
      ...group.lines.map((line) => ({ group, line })),
    ]);
    const keys = new Set(this.items.flatMap(({ line }) => (line ? [line.key] : [])));
    let changed = false;
    for (const key of this.selection) if (!keys.has(key)) changed = this.selection.delete(key) || changed;
    if (this.active !== null && !keys.has(this.active)) this.active = null;
    this.node.setAttribute("aria-rowcount", String(this.items.length + 1));
    this.body.style.height = `${this.items.length * ROW}px`;
    this.drawRows();
    if (changed) this.actions.selected(this.selected());
  }
  drawHead() {
    this.head.replaceChildren(
      ...this.columns.map(({ name, title, about, isNumber }) => {
        const cell = el("div", `tdw-cell${isNumber ? " tdw-number" : ""}`, null, {
          role: "columnheader",
          title: about,
        });
        const button = el("button", "tdw-sort", title, { type: "button", tabindex: -1 });
        button.addEventListener("click", () => this.actions.sort(name));
        cell.append(button);
        cell.dataset.column = name;
        return cell;
      }),
    );
  }
  drawRows() {
    const { scrollTop, clientHeight } = this.node;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - SPARE);
    const end = Math.min(this.items.length, Math.ceil((scrollTop + clientHeight) / ROW) + SPARE);
    for (const [i, row] of this.rows) {
      if (i >= first && i < end) continue;
      this.rows.delete(i);
      this.spare.push(row);
    }
    for (let i = first; i < end; i++) this.drawRow(i);
    for (const row of this.spare) row.node.remove();
    const at = this.items.findIndex(({ line }) => line !== null && line.key === this.active);
    const active = this.rows.get(at);
    if (active) this.node.setAttribute("aria-activedescendant", active.node.id);
    else this.node.removeAttribute("aria-activedescendant");
  }
  /** @param {number} i */
  drawRow(i) {
    let row = this.rows.get(i);
    if (!row) {
      row = this.spare.pop() ?? new RowNode(this.made++);
      this.rows.set(i, row);
      row.node.style.transform = `translateY(${i * ROW}px)`;
      row.node.setAttribute("aria-rowindex", String(i + 2));
    }
    if (!row.node.isConnected) this.body.append(row.node);
    const item = this.items[i];
    row.draw(item, this.columns, this.names);
    const key = item.line?.key;
    const isSelected = key !== undefined && this.selection.has(key);
    row.node.setAttribute("aria-selected", String(isSelected));
    row.node.classList.toggle("tdw-active", key !== undefined && key === this.active);
  }
  // ---- selection ------------------------------------------------------------------------------------------------
  /** The selected lines, in the order of the table. */
  selected() {
    return this.items.flatMap(({ line }) => (line && this.selection.has(line.key) ? [line] : []));
  }
  /** What an action is about: the selected lines if this is one of them, else it alone. @param {Line} line */
  about(line) {
    return this.selection.has(line.key) ? this.selected() : [line];
  }
  /** @param {Event} event @returns {Line | null} */
  lineAt(event) {
    const node = event.target instanceof Element ? event.target.closest(".tdw-row") : null;
    for (const row of this.rows.values()) if (row.node === node) return row.item?.line ?? null;
    return null;
  }
  /** @param {MouseEvent} event */
  click(event) {
    const line = this.lineAt(event);
    if (!line) return;
    this.select(line, { adds: event.ctrlKey || event.metaKey, extends: event.shiftKey });
    const isName = event.target instanceof Element && event.target.closest('[data-column="name"]') !== null;
    if (isName && !event.ctrlKey && !event.metaKey && !event.shiftKey) this.actions.open(line);
  }
  /** @param {Event} event */
  openAt(event) {
    const line = this.lineAt(event);
    if (line) this.actions.open(line);
  }
  /** @param {MouseEvent} event */
  contextMenu(event) {
    const line = this.lineAt(event);
    if (!line) return;
    event.preventDefault();
    if (!this.selection.has(line.key)) this.select(line, {});
    this.actions.menu(this.selected(), event.clientX, event.clientY);
  }
  /** @param {Line} line @param {{adds?: boolean, extends?: boolean}} how */
  select(line, { adds = false, extends: isRange = false }) {
    const lines = this.items.flatMap((item) => (item.line ? [item.line] : []));
    const from = lines.findIndex(({ key }) => key === this.anchor);
    const to = lines.indexOf(line);
    if (isRange && from >= 0) {
      if (!adds) this.selection.clear();
      for (const { key } of lines.slice(Math.min(from, to), Math.max(from, to) + 1)) this.selection.add(key);
    } else if (adds) {
      if (!this.selection.delete(line.key)) this.selection.add(line.key);
      this.anchor = line.key;
    } else {
      this.selection = new Set([line.key]);
      this.anchor = line.key;
    }
    this.active = line.key;
    this.drawRows();
    this.actions.selected(this.selected());
  }
  selectNone() {
    this.selection.clear();
    this.drawRows();
    this.actions.selected([]);
  }
  // ---- keyboard -------------------------------------------------------------------------------------------------
  /** @param {KeyboardEvent} event */
  key(event) {
    const lines = this.items.flatMap((item) => (item.line ? [item.line] : []));
    const at = lines.findIndex(({ key }) => key === this.active);
    const line = lines[at];
    const page = Math.max(1, Math.floor(this.node.clientHeight / ROW) - 2);
    const end = lines.length - 1;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: end }[
      event.key
    ];
    if (to !== undefined && lines.length) {
      const next = lines[Math.max(0, Math.min(end, to))];
      if (event.ctrlKey) this.active = next.key;
      else this.select(next, { extends: event.shiftKey });
      this.reveal(next.key);
    } else if (event.key === "Enter" && line) this.actions.open(line);
    else if (event.key === " " && line) this.select(line, { adds: true });
    else if (event.key === "a" && (event.ctrlKey || event.metaKey)) {
      for (const { key } of lines) this.selection.add(key);
      this.drawRows();
      this.actions.selected(this.selected());
    } else if (event.key === "Escape" && this.selection.size) this.selectNone();
    else if (event.key === "Delete" && this.selection.size) this.actions.remove(this.selected());
    else if ((event.key === "ContextMenu" || (event.key === "F10" && event.shiftKey)) && line) {
      const row = [...this.rows.values()].find(({ item }) => item?.line === line);
      const box = (row?.node ?? this.node).getBoundingClientRect();
      if (!this.selection.has(line.key)) this.select(line, {});
      this.actions.menu(this.selected(), box.left + 40, box.top + ROW);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
  /** Scroll to a run. @param {string} key */
  reveal(key) {
    const top = ROW * this.items.findIndex(({ line }) => line !== null && line.key === key);
    const head = this.head.offsetHeight;
    if (top < this.node.scrollTop) this.node.scrollTop = top;
    else if (top + ROW + head > this.node.scrollTop + this.node.clientHeight)
      this.node.scrollTop = top + ROW + head - this.node.clientHeight;
    this.drawRows();
  }
}
