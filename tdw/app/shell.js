/* The window around the viewer: which run is shown, what runs, what is known, and what has to be said about it.

   News come over one event stream per browser, however many tabs are open: browsers keep six connections to a server,
   and a stream holds one for good. The tab that holds the lock listens and passes on; when it closes, the next takes over.
   Every text is set as text: nothing from a file or a path is ever read as HTML. */
import { visibleText } from "../viewer/format.js";
import { mount } from "../viewer/viewer.js";

const tdwShell = (() => {
  const known = { jobs: [], library: [], runs: new Map() };
  // line: "open", "lost" (the server does not answer), "locked" (it does, but not to this browser), "other" (another
  // server has taken the place of the one that this page is from)
  const shown = { key: null, mounted: null, refused: null, started: false, line: "open", server: null };
  const said = new Map(); // key -> what the last command on it was refused with
  const words = new Map(); // key -> what is said once, at the first opening of a run from elsewhere
  const paths = new Map(); // key -> path
  const parts = {}; // the elements Gradio hands over

  // ---- news ---------------------------------------------------------------------------------------------------

  /** What the viewer listens to: the same messages, as an EventSource would deliver them. */
  class News extends EventTarget {
    deliver(message) {
      this.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(message) }));
    }
  }
  const news = new News();

  function hear(message) {
    if (message.type === "jobs") known.jobs = message.jobs;
    else if (message.type === "library") known.library = message.entries;
    else if (message.type === "run") known.runs.set(message.key, message);
    else if (message.type === "server") {
      shown.server ??= message.id;
      if (message.id !== shown.server) shown.line = "other";
    } else if (message.type === "line" && shown.line !== "other") {
      shown.line = message.line;
      if (shown.line === "locked") mend();
      if (shown.line === "open" && parts.refusal?.dataset.of === "line") refuse(null); // it holds no more
    }
    if (message.type === "line") news.dispatchEvent(new Event(message.line === "open" ? "open" : "error"));
    else if (message.type !== "server") news.deliver(message);
    draw();
  }

  const AGAIN = 2000; // milliseconds until a server that refused is asked again
  let noticed = () => {}; // tells every tab of what this one found out about the line

  /** Whether the server answers this browser: "open", "locked" or "lost". */
  async function reached() {
    try {
      return (await plain("/now")).status === 401 ? "locked" : "open";
    } catch {
      return "lost";
    }
  }

  /** All news as of now; none where the server refuses or does not answer, which the line tells of. */
  async function now() {
    try {
      const answer = await window.fetch("/now");
      return answer.ok ? await answer.json() : [];
    } catch {
      return [];
    }
  }

  /** Ask until this browser has access again: a stream that was open all the time says nothing of it. */
  function mend() {
    clearTimeout(parts.mending);
    parts.mending = setTimeout(async () => hear({ type: "line", line: await reached() }), AGAIN);
  }

  // Whatever is asked from this page, by the viewer and by Gradio too, tells when the cookie is gone.
  const plain = window.fetch;
  window.fetch = async (...given) => {
    const answer = await plain(...given);
    if (answer.status === 401 && new URL(answer.url).origin === location.origin) noticed("locked");
    return answer;
  };

  async function listen() {
    const channel = new BroadcastChannel("tdw-news");
    const topic = ({ type, key }) => `${type} ${key}`;
    const heard = new Set(); // what the news have told of is newer than an answer that comes later
    const take = (message) => {
      heard.add(topic(message));
      hear(message);
    };
    channel.onmessage = (event) => take(event.data);
    const tell = (message) => {
      take(message);
      channel.postMessage(message);
    };
    // An EventSource gives up for good when it is refused: then the server is asked why, again and again, and whoever
    // opens a new address in another tab is back here as well.
    const follow = () =>
      new Promise(() => {
        const connect = () => {
          const source = new EventSource("/events");
          source.onmessage = (event) => tell(JSON.parse(event.data));
          source.onopen = () => tell({ type: "line", line: "open" });
          source.onerror = async () => {
            const refused = source.readyState === EventSource.CLOSED;
            tell({ type: "line", line: refused ? await reached() : "lost" });
            if (refused) setTimeout(connect, AGAIN);
          };
        };
        connect();
      });
    noticed = (line) => tell({ type: "line", line });
    navigator.locks.request("tdw-news", follow);
    for (const message of await now()) {
      if (!heard.has(topic(message))) hear(message);
      if (message.type === "library" && !shown.started) {
        shown.started = true;
        const wanted = new URLSearchParams(location.hash.slice(1)).get("run") || message.current;
        const { tdwView } = document.documentElement.dataset;
        if (wanted) show(wanted);
        else parts.instance.open(null);
        view(tdwView); // whoever has opened the form meanwhile stays there
      }
    }
  }

  // ---- commands -----------------------------------------------------------------------------------------------

  async function post(command, body) {
    let answer;
    try {
      answer = await fetch(`/do/${command}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
    } catch {
      return { error: "the server does not answer: start it again with tdw" };
    }
    if (answer.status === 401) return { error: "this browser lost its access: what to do is said below", of: "line" };
    if (answer.ok || [404, 409, 413, 422, 507].includes(answer.status)) return answer.json();
    return { error: `the server could not do this (status ${answer.status}); its terminal says why` };
  }

  async function act(command, key) {
    said.delete(key);
    const { error } = await post(command, { key });
    if (error) said.set(key, error);
    draw();
  }

  async function openPath(text) {
    const { key, path, error, word, of } = await post("open", { path: text || "" });
    if (word) words.set(key, word);
    refuse(error ? { error, path: text, of } : null);
    if (!key) return;
    paths.set(key, path);
    show(key);
  }

  /** Say why a file was refused: in the large where nothing else is shown, else beside the path field. */
  function refuse(refusal) {
    const large = refusal && !shown.key;
    text(parts.refusal, refusal && !large ? sentence(refusal.error) : "");
    parts.refusal.hidden = !parts.refusal.textContent;
    parts.refusal.dataset.of = refusal?.of ?? "";
    if (large || !refusal) shown.refused = refusal;
    draw();
  }

  /** Where a run is kept; remembered, because a job that failed early leaves no trace in the lists. */
  function pathOf(key) {
    const path = known.library.find((entry) => entry.key === key)?.path || jobOf(key)?.path;
    if (path) paths.set(key, path);
    return paths.get(key);
  }

  function show(key) {
    if (key !== shown.key || known.runs.get(key)?.state === "lost") shown.mounted = null;
    shown.key = key;
    shown.refused = null;
    history.replaceState(null, "", `#run=${key}`);
    view("run");
    draw();
  }

  /** Bring the viewer to the run that is chosen, once its file is there. */
  async function settle() {
    const { key } = shown;
    const job = jobOf(key);
    const run = known.runs.get(key);
    const waiting = !run && job && (job.state === "starting" || job.state === "failed");
    if (!key || shown.mounted === key || shown.refused || shown.opening || waiting) return;
    shown.opening = key;
    const path = pathOf(key);
    const { error, word } = path
      ? await post("open", { path })
      : { error: "this run is not known here: open its file by path" };
    if (word) words.set(key, word);
    shown.opening = null;
    if (shown.key === key) {
      if (error) {
        shown.refused = { error, path };
        parts.instance.open(null);
      } else {
        shown.mounted = key;
        parts.instance.open(`/runs/${key}`);
      }
    }
    draw();
  }

  // ---- what is shown ------------------------------------------------------------------------------------------

  const jobOf = (key) => known.jobs.find((job) => job.key === key) || null;
  const isActive = (job) => Boolean(job) && ["starting", "running", "stopping"].includes(job.state);

  function view(name) {
    document.documentElement.dataset.tdwView = name;
    const host = document.getElementById("tdw-viewer");
    if (host) host.inert = name !== "run";
  }

  function draw() {
    if (!parts.lists || !parts.state || !parts.instance) return;
    settle();
    drawLists();
    drawState();
  }

  const LINES = {
    lost: "The server does not answer. Jobs go on without it; start it again with tdw.",
    locked:
      "This browser lost its access: its cookie is gone, or tdw was restarted. Open the newest address that tdw printed " +
      "in its terminal; without that terminal, tdw open gives another. Jobs go on meanwhile.",
    other: "tdw was restarted since this page was loaded.",
  };

  function drawState() {
    const { key, refused, line } = shown;
    const job = jobOf(key);
    const run = known.runs.get(key);
    let state = null;
    if (refused) {
      state = { kind: "refused", title: "This file was not opened", text: sentence(refused.error), path: refused.path };
    } else if (key && shown.mounted !== key && job && job.state === "failed") {
      state = { kind: "failed", title: `${job.name} could not be started`, text: sentence(job.error), path: job.path };
    } else if (key && shown.mounted !== key && isActive(job)) {
      state = {
        kind: "starting",
        title: `Starting ${job.name}`,
        text: "The run appears here as soon as its file is made.",
      };
    } else if (run && run.state === "lost") {
      state = { kind: "refused", title: "This file can no longer be read", text: sentence(run.error) };
    }
    parts.state.replaceChildren();
    parts.state.dataset.kind = state ? state.kind : "";
    parts.offline.hidden = line === "open";
    text(parts.offlineText, LINES[line] || "");
    parts.reload.hidden = line !== "other";
    const name = jobOf(key)?.name || known.library.find((entry) => entry.key === key)?.name;
    const title = `${name ? `${visible(name)} – ` : ""}Training Dynamics Workbench`;
    if (document.title !== title) document.title = title;
    document.documentElement.dataset.tdwLine = line;
    if (state) {
      const card = make("div", "tdw-message", make("h2", "", state.title), make("p", "", state.text));
      if (state.path) card.append(make("p", "tdw-place", state.path));
      if (state.kind === "failed") card.append(action("Back to the form", () => view("new")));
      parts.state.append(card);
    }
  }

  // ---- the lists ----------------------------------------------------------------------------------------------

  const items = new Map(); // key -> drawn item, kept so that focus and hover survive the news

  function drawLists() {
    const wanted = { open: [], running: [], recent: [] };
    if (shown.key) wanted.open.push(shown.key);
    for (const job of known.jobs) if (job.key !== shown.key) wanted.running.push(job.key);
    for (const entry of known.library) {
      if (entry.key !== shown.key && !jobOf(entry.key)) wanted.recent.push(entry.key);
    }
    const alive = new Set();
    for (const [name, keys] of Object.entries(wanted)) {
      const section = parts.sections[name];
      section.root.hidden = keys.length === 0;
      keys.forEach((key, position) => {
        alive.add(key);
        const item = items.get(key) || newItem(key);
        if (section.list.children[position] !== item.root) {
          section.list.insertBefore(item.root, section.list.children[position] || null);
        }
        drawItem(item, key, name);
      });
    }
    for (const [key, item] of items) {
      if (!alive.has(key)) {
        item.root.remove();
        items.delete(key);
      }
    }
  }

  function newItem(key) {
    const item = {
      name: make("b"),
      about: make("span", "tdw-about"),
      word: make("span", "tdw-word"),
      pace: make("span", "tdw-pace"),
      losses: make("span", "tdw-losses"),
      train: make("span", "tdw-train"),
      test: make("span", "tdw-test"),
      bar: make("i"),
      error: make("p", "tdw-reason"),
      stop: action("Stop", () => act("stop", key)),
      resume: action("Resume", () => act("train", key)),
      analyze: action("Analyze", () => act("analyze", key)),
      dismiss: action("Dismiss", () => act("dismiss", key)),
      forget: action("×", () => {
        const entry = known.library.find((one) => one.key === key);
        if (entry) post("forget", { path: entry.path });
      }),
    };
    item.losses.append(item.train, item.test);
    item.track = make("span", "tdw-bar", item.bar);
    item.choose = make("button", "tdw-choose", item.name, item.about, item.word, item.pace, item.losses, item.track);
    item.choose.type = "button";
    item.choose.addEventListener("click", () => show(key));
    item.forget.className = "tdw-forget";
    item.forget.title = "Take off this list (the file stays)";
    item.forget.setAttribute("aria-label", "Take off this list");
    item.actions = make("div", "tdw-actions", item.stop, item.resume, item.analyze, item.dismiss);
    item.root = make("li", "tdw-item", item.choose, item.error, item.actions, item.forget);
    item.root.dataset.key = key;
    items.set(key, item);
    return item;
  }

  function drawItem(item, key, section) {
    const job = jobOf(key);
    const run = known.runs.get(key);
    const entry = known.library.find((one) => one.key === key);
    const active = isActive(job);
    const failed = Boolean(job) && job.state === "failed";
    const training = active && job.kind === "train";
    text(item.name, job ? job.name : entry ? entry.name : "");
    item.choose.title = visible(job ? job.path : entry ? entry.path : "");
    const gone = entry && !entry.there && !job;
    const about = gone ? "not there any more" : active ? "" : run && run.about ? run.about : entry ? entry.about : "";
    text(item.about, about.replaceAll(" · ", "\u00a0· ")); // no line begins with a dot
    text(item.word, section === "open" ? words.get(key) || "" : "");
    text(item.pace, active ? pace(job) : "");
    text(item.train, training && job.train_loss !== null ? `train ${loss(job.train_loss)}` : "");
    text(item.test, training && job.test_loss !== null ? `test ${loss(job.test_loss)}` : "");
    item.track.hidden = !active;
    item.bar.style.width = active && job.total ? `${(100 * job.done) / job.total}%` : "0";
    const trouble = said.get(key) || (failed ? job.error : "");
    text(item.error, trouble ? sentence(trouble) : "");
    const idle = !active && run && run.state !== "lost" && section !== "recent";
    item.stop.hidden = !active;
    item.stop.disabled = active && job.state === "stopping";
    item.resume.hidden = !(idle && run.state !== "finished");
    text(item.resume, run && run.state === "new" ? "Train" : "Resume");
    item.analyze.hidden = !(idle && run.checkpoints > 0 && run.analyzed.done < run.analyzed.total);
    item.dismiss.hidden = !failed;
    item.forget.hidden = section !== "recent";
    item.root.dataset.state = failed ? "failed" : active ? job.state : gone ? "gone" : "";
    item.root.dataset.section = section;
    item.choose.setAttribute("aria-current", section === "open" ? "true" : "false");
    for (const line of [item.about, item.word, item.pace, item.error]) line.hidden = !line.textContent;
    item.losses.hidden = !item.train.textContent;
    item.actions.hidden = [...item.actions.children].every((button) => button.hidden);
  }

  function pace(job) {
    if (job.state === "starting") return "starting…";
    if (job.state === "stopping") return "keeping what is done…";
    const unit = job.kind === "train" ? "ep/s" : "checkpoints/s";
    const doing = job.kind === "train" ? "" : "analyzing · ";
    const said = [`${doing}${whole(job.done)} / ${whole(job.total)}`];
    if (job.epochs_per_second) said.push(`${short(job.epochs_per_second)} ${unit}`);
    if (job.seconds_left !== null) said.push(`${duration(job.seconds_left)} left`);
    return said.map((piece) => piece.replaceAll(" ", "\u00a0")).join(" · "); // lines break between the pieces
  }

  // ---- words and elements -------------------------------------------------------------------------------------

  const visible = (said, lines) => visibleText(said, lines);
  const whole = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const short = (number) => (number >= 100 ? whole(Math.round(number)) : number.toPrecision(2).replace(/\.0$/, ""));
  const loss = (number) => (number >= 0.01 ? number.toPrecision(3) : number.toExponential(1));
  const sentence = (said) => said.charAt(0).toUpperCase() + said.slice(1) + (/[.!?]$/.test(said) ? "" : ".");

  function duration(seconds) {
    if (seconds < 90) return `${Math.max(Math.round(seconds), 1)} s`;
    if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
    return `${(seconds / 3600).toFixed(1)} h`;
  }

  function make(tag, name = "", ...children) {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...children.map((child) => (typeof child === "string" ? visible(child) : child)));
    return element;
  }

  function action(label, run) {
    const button = make("button", "tdw-action", label);
    button.type = "button";
    button.addEventListener("click", run);
    return button;
  }

  function text(element, wanted) {
    const shown = visible(wanted);
    if (element.textContent !== shown) element.textContent = shown;
  }

  // ---- light and dark -----------------------------------------------------------------------------------------

  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => localStorage.getItem("tdw-theme") || "system";

  function paint() {
    const dark = chosen() === "system" ? system.matches : chosen() === "dark";
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    if (document.body.classList.contains("dark") !== dark) document.body.classList.toggle("dark", dark);
    for (const button of parts.themes || []) {
      button.setAttribute("aria-pressed", String(button.dataset.name === chosen()));
    }
  }

  function themes() {
    const names = { system: "System", light: "Light", dark: "Dark" };
    parts.themes = Object.entries(names).map(([name, label]) => {
      const button = action(label, () => {
        if (name === "system") localStorage.removeItem("tdw-theme");
        else localStorage.setItem("tdw-theme", name);
        paint();
      });
      button.dataset.name = name;
      return button;
    });
    const group = make("div", "tdw-themes", ...parts.themes);
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", "Light or dark");
    return group;
  }

  // ---- what Gradio calls --------------------------------------------------------------------------------------

  /** Take over the three elements of the page. Gradio and this script may be there in either order. */
  function begin() {
    const { lists, viewer, state } = window.tdwParts || {};
    if (parts.lists || !lists || !viewer || !state) return;
    Object.assign(parts, { lists, state });
    fillSide(lists);
    paint();
    system.addEventListener("change", paint);
    new MutationObserver(paint).observe(document.body, { attributeFilter: ["class"] }); // Gradio sets its own
    parts.instance = mount(viewer, { events: news });
    document.addEventListener("tdw:action", (event) => {
      const key = event.detail.key || shown.key;
      if (event.detail.action === "new") newRun();
      else act(event.detail.action, key);
    });
    view("run");
    draw();
    listen();
  }

  function fillSide(element) {
    parts.refusal = make("p", "tdw-reason");
    parts.refusal.id = "tdw-refusal";
    parts.refusal.setAttribute("role", "alert");
    parts.refusal.hidden = true;
    parts.sections = {};
    const names = { open: "Open", running: "Jobs", recent: "Recent" };
    const drawn = Object.entries(names).map(([name, label]) => {
      const list = make("ul");
      const root = make("section", `tdw-section tdw-${name}`, make("h3", "", label), list);
      root.hidden = true;
      parts.sections[name] = { root, list };
      return root;
    });
    parts.offlineText = make("span");
    parts.reload = action("Reload", () => location.reload());
    parts.offline = make("p", "tdw-offline", parts.offlineText, " ", parts.reload);
    parts.offline.setAttribute("role", "status");
    parts.offline.hidden = true;
    element.append(parts.refusal, make("div", "tdw-scroll", ...drawn), parts.offline, themes());
  }

  function newRun() {
    view("new");
  }

  return {
    begin,
    /** What Python said to *Start training*: the job, or why there is none. */
    outcome(answer) {
      const { job, error } = JSON.parse(answer || "{}");
      const where = document.querySelector("#tdw-start-reason .html-container > div");
      if (where) text(where, error ? sentence(error) : "");
      if (!job) return;
      hear({ type: "jobs", jobs: [...known.jobs.filter((one) => one.key !== job.key), job] });
      paths.set(job.key, job.path);
      show(job.key);
    },
    newRun,
    cancelNew: () => view("run"),
    openPath,
  };
})();
window.tdwShell = tdwShell;
tdwShell.begin();
