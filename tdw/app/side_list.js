// The lists in the sidebar: the open run, jobs, recent files. Items are kept, so that focus and hover survive the news.

import { formatShort, sentence, visibleText } from "../viewer/format.js";
import { action, make, setVisible } from "./elements.js";
import { about, isActive, isMissing, pace } from "./job_text.js";

/** @import { Job, KnownRun, Recent } from "./types.js" */

/** @typedef {"open" | "running" | "recent"} Section */

/** What is drawn of one file. @typedef {{key: string, section: Section, name: string, job: Job | null, run: KnownRun | undefined, entry: Recent | undefined, refusal: string, word: string}} File */

/** What the buttons do. @typedef {{show: (key: string) => void, act: (command: string, key: string) => void, forget: (key: string) => void}} Actions */

/** @type {Record<Section, string>} */
const TITLES = { open: "Open", running: "Jobs", recent: "Recent" };

class Item {
  /** @param {string} key @param {Actions} actions */
  constructor(key, { show, act, forget }) {
    this.name = make("b");
    this.about = make("span", "tdw-about");
    this.word = make("span", "tdw-word");
    this.pace = make("span", "tdw-pace");
    this.train = make("span", "tdw-train");
    this.test = make("span", "tdw-test");
    this.losses = make("span", "tdw-losses", this.train, this.test);
    this.bar = make("i");
    this.track = make("span", "tdw-bar", this.bar);
    this.error = make("p", "tdw-reason");
    this.stop = action("Stop", () => act("stop", key));
    this.resume = action("Resume", () => act("train", key));
    this.analyze = action("Analyze", () => act("analyze", key));
    this.dismiss = action("Dismiss", () => act("dismiss", key));
    this.forget = action("×", () => forget(key));
    this.forget.className = "tdw-forget";
    this.forget.title = "Remove from list (keeps the file)";
    this.forget.setAttribute("aria-label", "Remove from list");
    const lines = [this.name, this.about, this.word, this.pace, this.losses, this.track];
    this.choose = make("button", "tdw-choose", ...lines);
    this.choose.type = "button";
    this.choose.addEventListener("click", () => show(key));
    this.actions = make("div", "tdw-actions", this.stop, this.resume, this.analyze, this.dismiss);
    this.root = make("li", "tdw-item", this.choose, this.error, this.actions, this.forget);
    this.root.dataset.key = key;
  }
  /** @param {File} file */
  draw({ section, name, job, run, entry, refusal, word }) {
    const active = isActive(job) ? job : null;
    const failed = job?.state === "failed" ? job : null;
    const training = active?.kind === "train" ? active : null;
    setVisible(this.name, job?.name ?? entry?.name ?? name);
    this.choose.title = visibleText(job?.path ?? entry?.path ?? "");
    setVisible(this.about, about(job, run, entry));
    setVisible(this.word, section === "open" ? word : "");
    setVisible(this.pace, active ? pace(active) : "");
    setVisible(this.train, training?.train_loss != null ? `train ${formatShort(training.train_loss)}` : "");
    setVisible(this.test, training?.test_loss != null ? `test ${formatShort(training.test_loss)}` : "");
    this.track.hidden = !active;
    this.bar.style.width = active?.total ? `${(100 * active.done) / active.total}%` : "0";
    const trouble = refusal || failed?.error || "";
    setVisible(this.error, trouble ? sentence(trouble) : "");
    const idle = !active && run && run.state !== "lost" && section !== "recent" ? run : null;
    this.stop.hidden = !active;
    this.stop.disabled = active?.state === "stopping";
    this.resume.hidden = !idle || idle.state === "finished";
    setVisible(this.resume, run?.state === "new" ? "Train" : "Resume");
    this.analyze.hidden = !idle?.checkpoints || idle.analyzed.done >= idle.analyzed.total;
    this.dismiss.hidden = !failed;
    this.forget.hidden = section !== "recent";
    this.root.dataset.state = failed ? "failed" : (active?.state ?? (isMissing(job, entry) ? "gone" : ""));
    this.root.dataset.section = section;
    this.choose.setAttribute("aria-current", String(section === "open"));
    for (const line of [this.about, this.word, this.pace, this.error]) line.hidden = !line.textContent;
    this.losses.hidden = !this.train.textContent;
    this.actions.hidden = [this.stop, this.resume, this.analyze, this.dismiss].every((button) => button.hidden);
  }
}

export class SideList {
  /** @param {Actions} actions */
  constructor(actions) {
    this.actions = actions;
    /** @type {Map<string, Item>} */
    this.items = new Map();
    this.sections = new Map(
      Object.entries(TITLES).map(([name, title]) => {
        const list = make("ul");
        const root = make("section", `tdw-section tdw-${name}`, make("h3", "", title), list);
        root.hidden = true;
        return [/** @type {Section} */ (name), { root, list }];
      }),
    );
    this.node = make("div", "tdw-scroll", ...[...this.sections.values()].map(({ root }) => root));
  }
  /** Draw these files, in order. @param {File[]} files */
  draw(files) {
    for (const [name, { root, list }] of this.sections) {
      const own = files.filter(({ section }) => section === name);
      root.hidden = own.length === 0;
      own.forEach((file, position) => {
        const item = this.itemOf(file.key);
        if (list.children[position] !== item.root) list.insertBefore(item.root, list.children[position] ?? null);
        item.draw(file);
      });
    }
    const keys = new Set(files.map(({ key }) => key));
    for (const [key, item] of this.items) {
      if (keys.has(key)) continue;
      item.root.remove();
      this.items.delete(key);
    }
  }
  /** @param {string} key */
  itemOf(key) {
    const item = this.items.get(key) ?? new Item(key, this.actions);
    this.items.set(key, item);
    return item;
  }
}
