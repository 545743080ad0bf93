// Choosing a folder: a path field with completion, and a browser of folders that begins at home.

import { el } from "../../viewer/dom.js";
import { formatCount, sentence } from "../../viewer/format.js";
import { action, setVisible } from "../elements.js";

/** A folder's contents, see tdw/app/browse.py. @typedef {{path: string, parent: string | null, home: string, folders: string[], files: string[], more: boolean, error?: string}} Listing */

/** @param {string} folder @param {string} name */
const joined = (folder, name) => {
  const separator = folder.includes("\\") && !folder.includes("/") ? "\\" : "/";
  return folder.endsWith(separator) ? `${folder}${name}` : `${folder}${separator}${name}`;
};

export class FolderPicker {
  /** @param {(path: string) => Promise<string>} choose called with the folder; returns why it was refused, or "" */
  constructor(choose) {
    this.choose = choose;
    /** @type {Listing | null} */
    this.listing = null;
    this.asked = 0;
    this.node = el("dialog", "tdw-picker", null, { "aria-label": "Add a folder" });
    this.path = el("input", "tdw-search", null, {
      type: "text",
      "aria-label": "Folder",
      list: "tdw-folder-names",
      spellcheck: "false",
    });
    this.names = el("datalist", null, null, { id: "tdw-folder-names" });
    this.list = el("ul", "tdw-folder-list");
    this.about = el("p", "tdw-about");
    this.reason = el("p", "tdw-reason", "", { role: "alert" });
    const add = action("Add this folder", () => this.take());
    add.classList.add("tdw-primary");
    const buttons = el("div", "tdw-actions");
    buttons.append(
      add,
      action("Cancel", () => this.node.close()),
    );
    this.node.append(
      el("h2", null, "Add a folder"),
      this.path,
      this.names,
      this.list,
      this.about,
      this.reason,
      buttons,
    );
    this.path.addEventListener("input", () => this.typed());
    this.path.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      this.go(this.path.value);
    });
  }
  open() {
    this.node.showModal();
    this.go(this.listing?.path ?? "");
  }
  /** Show a folder. @param {string} path */
  async go(path) {
    const listing = await this.fetched(path);
    if (!listing) return;
    setVisible(this.reason, listing.error ? sentence(listing.error) : "");
    if (listing.error) return;
    this.listing = listing;
    this.path.value = listing.path;
    const up = listing.parent === null ? [] : [this.entry("..", listing.parent)];
    this.list.replaceChildren(...up, ...listing.folders.map((name) => this.entry(name, joined(listing.path, name))));
    const runs = listing.files.filter((name) => name.endsWith(".tdw")).length;
    setVisible(
      this.about,
      `${formatCount(runs, "run")} here${listing.more ? "; some names are left out" : ""}. Subfolders are listed too.`,
    );
    this.list.scrollTop = 0;
  }
  /** @param {string} label @param {string} path */
  entry(label, path) {
    const item = el("li");
    item.append(action(label, () => this.go(path)));
    return item;
  }
  /** Complete the last part of what is typed. */
  async typed() {
    const folder = this.path.value.replace(/[^\\/]*$/, "");
    const listing = folder ? await this.fetched(folder) : null;
    if (!listing || listing.error) return;
    this.names.replaceChildren(
      ...listing.folders.map((name) => el("option", null, null, { value: joined(listing.path, name) })),
    );
  }
  /** @param {string} path @returns {Promise<Listing | null>} null if another was asked for in the meantime */
  async fetched(path) {
    const asked = ++this.asked;
    try {
      const answer = await fetch(`folders?path=${encodeURIComponent(path)}`);
      const listing = await answer.json();
      return asked === this.asked ? listing : null;
    } catch {
      return null; // offline, which the side bar tells
    }
  }
  async take() {
    const error = await this.choose(this.path.value);
    setVisible(this.reason, error ? sentence(error) : "");
    if (!error) this.node.close();
  }
}
