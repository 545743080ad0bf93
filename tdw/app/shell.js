// The window around the viewer: which run is shown, which jobs run, which files are listed, and what has to be said about it.
// Every text is set as text: nothing from a file or a path is ever read as HTML.

import { sentence, visibleText } from "../viewer/format.js";
import { mount } from "../viewer/viewer.js";
import { post } from "./commands.js";
import { action, make, setVisible } from "./elements.js";
import { Home } from "./home/home.js";
import { isActive } from "./job_text.js";
import { News } from "./news.js";
import { SideList } from "./side_list.js";
import { ThemeChoice } from "./theme_choice.js";

/** @import { Answer, Job, KnownRun, Message, Recent } from "./types.js" */
/** @import { Line } from "./news.js" */

/** Why a file was not opened. @typedef {{error: string, path?: string, of?: string}} Refusal */

const STOPPED_EARLY =
  "the run was stopped before its file was created: nothing is left of it, and it can be started again";
const RUNS = "#runs"; // the address of the table of runs

/** @type {Record<Line, string>} */
const LINES = {
  open: "",
  lost: "Server offline. Jobs keep running; restart with `tdw`.",
  locked:
    "This browser has lost access: its cookie is gone, or tdw was restarted. Open the newest address that tdw printed in " +
    "its terminal, or run `tdw open` for another one. Jobs keep running.",
  other: "tdw was restarted since this page was loaded.",
};

const PATIENCE = 300; // milliseconds until it is said that a file is being opened

class Shell {
  /** @param {{lists: HTMLElement, viewer: HTMLElement, state: HTMLElement, home: HTMLElement}} parts the elements that Gradio hands over */
  constructor({ lists, viewer, state, home }) {
    /** @type {Job[]} */
    this.jobs = [];
    /** @type {Recent[]} */
    this.recent = [];
    /** @type {Map<string, KnownRun>} */
    this.runs = new Map();
    /** @type {Map<string, string>} key -> why the last command on it was refused */
    this.refusals = new Map();
    /** @type {Map<string, string>} key -> what is said when a run from elsewhere is first opened */
    this.words = new Map();
    /** @type {Map<string, string>} key -> path, remembered because a job that failed early is in none of the lists */
    this.paths = new Map();
    /** @type {Set<string>} keys of jobs that were stopped from this page */
    this.stopped = new Set();
    /** @type {string | null} the run that is chosen */
    this.key = null;
    /** @type {string | null} the run that the viewer shows */
    this.mounted = null;
    /** @type {string | null} the run that is being opened */
    this.opening = null;
    this.wishes = 0; // times that something was asked for; what an earlier one leads to is not shown anymore
    /** @type {Set<{name: string}>} files that take long to open, such as those that are imported */
    this.slow = new Set();
    /** @type {Refusal | null} */
    this.refused = null;
    /** @type {string | null | undefined} the run that the server suggests; undefined until the list of files has come */
    this.current = undefined;
    this.isPrimed = false; // everything that is the case now was heard
    this.isStarted = false;
    /** @type {Line} */
    this.line = "open";
    /** @type {string | null} the server that this page is from */
    this.server = null;
    this.state = state;
    this.refusal = make("p", "tdw-reason");
    this.refusal.id = "tdw-refusal";
    this.refusal.setAttribute("role", "alert");
    this.refusal.hidden = true;
    this.waiting = make("p", "tdw-about");
    this.waiting.id = "tdw-opening";
    this.waiting.setAttribute("role", "status");
    this.waiting.hidden = true;
    this.list = new SideList({
      show: (key) => this.show(key),
      act: (command, key) => this.act(command, key),
      forget: (key) => this.forget(key),
    });
    this.offlineText = make("span");
    this.reload = action("Reload", () => location.reload());
    this.offline = make("p", "tdw-offline", this.offlineText, " ", this.reload);
    this.offline.setAttribute("role", "status");
    this.offline.hidden = true;
    this.allRuns = make("button", "tdw-all-runs", "All runs");
    this.allRuns.type = "button";
    this.allRuns.addEventListener("click", () => this.goHome());
    lists.append(this.allRuns, this.waiting, this.refusal, this.list.node, this.offline, new ThemeChoice().node);
    this.events = new EventTarget(); // what the viewer listens to, as an EventSource would deliver it
    this.instance = mount(viewer, { events: this.events });
    this.home = new Home(home, {
      show: (key, path) => {
        this.paths.set(key, path);
        this.show(key);
      },
      started: (job) => this.started(job),
      post,
      newRun: () => handle.newRun(),
      moved: (keys) => this.followFile(keys),
    });
    addEventListener("popstate", () => this.follow());
    document.addEventListener("tdw:action", (event) => {
      const { action, key } = /** @type {CustomEvent<{action: string, key: string | null}>} */ (event).detail;
      this.act(action, key ?? this.key ?? "");
    });
    this.setView("home");
    this.draw();
    this.news = new News((message) => this.hear(message));
    this.news.start().then(() => {
      this.isPrimed = true;
      this.start();
    });
  }
  // ---- news -----------------------------------------------------------------------------------------------------
  /** @param {Message} message */
  hear(message) {
    switch (message.type) {
      case "jobs":
        this.jobs = message.jobs;
        break;
      case "recent":
        this.recent = message.entries;
        this.current = message.current;
        break;
      case "run":
        this.runs.set(message.key, message);
        break;
      case "server":
        this.server ??= message.id;
        if (message.id !== this.server) this.line = "other";
        break;
      case "line":
        if (this.line !== "other") this.connected(message.line);
        this.events.dispatchEvent(new Event(message.line === "open" ? "open" : "error"));
        break;
    }
    this.home.hear(message);
    if (message.type !== "line" && message.type !== "server")
      this.events.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(message) }));
    this.draw();
    if (this.isPrimed) this.start();
  }
  /** @param {Line} line */
  connected(line) {
    this.line = line;
    if (line === "locked") this.news.retry();
    if (line === "open" && this.refusal.dataset.of === "line") this.refuse(null); // it is over
  }
  /** Show what the address names, else the server's run, else all runs; once. */
  start() {
    if (this.isStarted || this.current === undefined) return;
    this.isStarted = true;
    const isFormOpen = document.documentElement.dataset.tdwView === "new";
    const wanted = runInAddress() ?? (location.hash === RUNS ? null : this.current);
    if (wanted) this.show(wanted, true);
    else this.goHome(true);
    if (isFormOpen) this.setView("new"); // it was opened in the meantime
  }
  /** Show the table of runs. @param {boolean} [isFirst] whether the page has just been loaded */
  goHome(isFirst = false) {
    this.key = this.mounted = this.refused = null;
    this.wishes++;
    this.say(null);
    this.visit(RUNS, isFirst);
    this.instance.open(null);
    this.setView("home");
    this.draw();
  }
  /** Show the run that is open at its new path, if its file was moved. @param {Record<string, string>} keys new keys by old */
  followFile(keys) {
    const key = this.key === null ? undefined : keys[this.key];
    const path = key && this.home.library.lines.get(key)?.path;
    if (!key || !path) return;
    this.paths.set(key, path);
    this.show(key, true);
  }
  /** Show what the address names, after Back and Forward. */
  follow() {
    const wanted = runInAddress();
    if (wanted) this.show(wanted, true);
    else this.goHome(true);
  }
  /** Write an address; Back leads to the one before. @param {string} hash @param {boolean} replaces */
  visit(hash, replaces) {
    if (location.hash === hash) return;
    if (replaces) history.replaceState(null, "", hash);
    else history.pushState(null, "", hash);
  }
  /** Show the viewer ("run"), the table of runs ("home") or the form ("new"). @param {string} name */
  setView(name) {
    document.documentElement.dataset.tdwView = name;
    for (const [id, view] of [
      ["tdw-viewer", "run"],
      ["tdw-home", "home"],
    ]) {
      const host = document.getElementById(id);
      if (host) host.inert = name !== view;
    }
    this.home.setVisible(name === "home");
    this.allRuns.setAttribute("aria-current", name === "home" ? "page" : "false");
  }
  // ---- commands -------------------------------------------------------------------------------------------------
  /** @param {string} command @param {string} key */
  async act(command, key) {
    this.refusals.delete(key);
    const { error } = await post(command, { key });
    if (error) this.refusals.set(key, error);
    else if (command === "stop") this.stopped.add(key);
    this.draw();
  }
  /** @param {string} key */
  forget(key) {
    const entry = this.entryOf(key);
    if (entry) post("forget", { path: entry.path });
  }
  /** Open a file by its path. @param {string} text */
  async openPath(text) {
    const wish = ++this.wishes;
    this.say(null);
    if (this.key === null) this.refuse(null);
    const { key, path, error, word, of } = await this.ask(text || "");
    if (key && word) this.words.set(key, word);
    if (key && path) this.paths.set(key, path);
    if (error) this.refuse({ error, path: text, of });
    if (wish !== this.wishes) return; // it is in the list
    if (!error && !key) this.goHome(); // a folder
    if (!key) return;
    this.refuse(null);
    this.show(key);
  }
  /** Have the server open a file, and say so while it takes long. @param {string} path @returns {Promise<Answer>} */
  async ask(path) {
    const file = { name: /([^\\/'"]+)[\\/'"\s]*$/.exec(path)?.[1] ?? path };
    const saying = setTimeout(() => {
      this.slow.add(file);
      this.drawWaiting();
    }, PATIENCE);
    const answer = await post("open", { path });
    clearTimeout(saying);
    this.slow.delete(file);
    this.drawWaiting();
    return answer;
  }
  /** Say why a file was not opened: in place of the viewer where nothing is shown, else next to the path field. @param {Refusal | null} refusal */
  refuse(refusal) {
    const isLarge = refusal !== null && this.key === null && document.documentElement.dataset.tdwView === "run";
    this.say(isLarge ? null : refusal);
    if (isLarge || !refusal) this.refused = refusal;
    this.draw();
  }
  /** What is said next to the path field. @param {Refusal | null} refusal */
  say(refusal) {
    setVisible(this.refusal, refusal ? sentence(refusal.error) : "");
    this.refusal.hidden = !refusal;
    this.refusal.dataset.of = refusal?.of ?? "";
  }
  /** The job that Python started, or why it did not. @param {string} answer JSON */
  outcome(answer) {
    /** @type {{job?: Job, error?: string}} */
    const { job, error } = JSON.parse(answer || "{}");
    const reason = document.querySelector("#tdw-start-reason .html-container > div");
    if (reason) setVisible(reason, error ? sentence(error) : "");
    if (job) this.started(job);
  }
  /** Show a run whose job was just started. @param {Job} job */
  started(job) {
    this.hear({ type: "jobs", jobs: [...this.jobs.filter(({ key }) => key !== job.key), job] });
    this.paths.set(job.key, job.path);
    this.show(job.key);
  }
  // ---- what is shown --------------------------------------------------------------------------------------------
  /** @param {string | null} key */
  jobOf(key) {
    return this.jobs.find((job) => job.key === key) ?? null;
  }
  /** @param {string | null} key */
  entryOf(key) {
    return this.recent.find((entry) => entry.key === key);
  }
  /** @param {string} key */
  pathOf(key) {
    const path = this.entryOf(key)?.path ?? this.jobOf(key)?.path;
    if (path) this.paths.set(key, path);
    return this.paths.get(key);
  }
  /** Choose a run. @param {string} key @param {boolean} [replaces] whether the address is replaced */
  show(key, replaces = false) {
    if (key !== this.key || this.runs.get(key)?.state === "lost") this.mounted = null;
    this.key = key;
    this.refused = null;
    this.wishes++;
    this.visit(`#run=${key}`, replaces);
    this.setView("run");
    this.draw();
  }
  /** Bring the viewer to the chosen run, once its file is there. */
  async settle() {
    const { key } = this;
    if (!key || this.mounted === key || this.refused || this.opening) return;
    const job = this.jobOf(key);
    if (!this.runs.get(key) && (job?.state === "starting" || job?.state === "failed")) return;
    this.opening = key;
    const path = this.pathOf(key);
    /** @type {Answer} */
    const unknown = { error: "this run is not in the lists: open its file by path" };
    const { error, word } = path ? await this.ask(path) : unknown;
    if (word) this.words.set(key, word);
    this.opening = null;
    if (this.key === key) {
      if (error) this.refused = { error: this.stopped.has(key) && !this.runs.has(key) ? STOPPED_EARLY : error, path };
      else this.mounted = key;
      this.instance.open(error ? null : `runs/${key}`);
    }
    this.draw();
  }
  draw() {
    this.settle();
    this.list.draw(this.files());
    this.drawConnection();
    this.drawState();
  }
  /** The files in the lists, each in one section. */
  files() {
    const keys = new Set([this.key, ...this.jobs.map((job) => job.key), ...this.recent.map((entry) => entry.key)]);
    return [...keys].flatMap((key) => {
      if (key === null) return [];
      const job = this.jobOf(key);
      /** @type {import("./side_list.js").Section} */
      const section = key === this.key ? "open" : job ? "running" : "recent";
      const refusal = this.refusals.get(key) ?? "";
      const word = this.words.get(key) ?? "";
      const name = (this.pathOf(key) ?? "").replace(/^.*[\\/]|\.tdw$/g, "");
      return [{ key, section, name, job, run: this.runs.get(key), entry: this.entryOf(key), refusal, word }];
    });
  }
  drawWaiting() {
    const names = [...this.slow].map(({ name }) => name);
    setVisible(this.waiting, names.length ? `Opening ${names.join(", ")} …` : "");
    this.waiting.hidden = !names.length;
  }
  drawConnection() {
    this.offline.hidden = this.line === "open";
    setVisible(this.offlineText, LINES[this.line]);
    this.reload.hidden = this.line !== "other";
    document.documentElement.dataset.tdwLine = this.line;
    const name = this.jobOf(this.key)?.name ?? this.entryOf(this.key)?.name;
    const title = `${name ? `${visibleText(name)} – ` : ""}Training Dynamics Workbench`;
    if (document.title !== title) document.title = title;
  }
  /** What is said in place of the viewer. */
  message() {
    const { key, refused } = this;
    const job = this.jobOf(key);
    const run = key ? this.runs.get(key) : undefined;
    const isMounted = this.mounted === key;
    if (refused)
      return { kind: "refused", title: "This file was not opened", text: sentence(refused.error), path: refused.path };
    if (key && !isMounted && job?.state === "failed")
      return { kind: "failed", title: `${job.name} could not be started`, text: sentence(job.error), path: job.path };
    if (key && !isMounted && isActive(job))
      return {
        kind: "starting",
        title: `Starting ${job.name}`,
        text: "The run appears here when its file is created.",
      };
    if (run?.state === "lost")
      return { kind: "refused", title: "This file can no longer be read", text: sentence(run.error) };
    return null;
  }
  drawState() {
    const message = this.message();
    this.state.replaceChildren();
    this.state.dataset.kind = message?.kind ?? "";
    if (!message) return;
    const card = make("div", "tdw-message", make("h2", "", message.title), make("p", "", message.text));
    if (message.path) card.append(make("p", "tdw-place", message.path));
    if (message.kind === "failed") card.append(action("Back to the form", () => this.setView("new")));
    this.state.append(card);
  }
}

/** The key of the run that the address names. */
const runInAddress = () => new URLSearchParams(location.hash.slice(1)).get("run");

/** @type {Shell | null} */
let shell = null;

/** What Gradio calls, see gradio_shell.py. */
const handle = {
  /** Take over the elements of the page. Gradio and this script may be there in either order. */
  begin() {
    const { lists, viewer, state, home } = window.tdwParts ?? {};
    if (!shell && lists && viewer && state && home) shell = new Shell({ lists, viewer, state, home });
  },
  outcome: (/** @type {string} */ answer) => shell?.outcome(answer),
  newRun() {
    if (!shell) return;
    shell.wishes++; // a file that is still being opened does not take the form away
    shell.setView("new");
  },
  cancelNew: () => shell?.setView(shell.key ? "run" : "home"),
  openPath: (/** @type {string} */ text) => shell?.openPath(text),
};
window.tdwShell = handle;
handle.begin();
