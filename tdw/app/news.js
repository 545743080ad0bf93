// News from the server, over one event stream per browser, however many tabs are open: browsers keep six connections to a
// server, and a stream holds one for good. The tab that holds the lock listens and passes on; when it closes, the next does.

/** @import { Message } from "./types.js" */

const RETRY = 2000; // milliseconds until a server that refused is asked again

/** The state of the connection: the server answers; it does not; it refuses this browser; another server has taken its place. @typedef {"open" | "lost" | "locked" | "other"} Line */

const plainFetch = window.fetch;

/** Of all pages of this server and no others: a proxy may show several servers below paths of one origin. */
const NAME = `tdw-news ${new URL(".", document.baseURI).pathname}`;

/** Whether the server answers this browser; a proxy answers in its place when it does not. @returns {Promise<Line>} */
const reached = async () => {
  try {
    const answer = await plainFetch("now");
    if (answer.status === 401) return "locked";
    return answer.ok && !answer.redirected ? "open" : "lost";
  } catch {
    return "lost";
  }
};

/** All news as of now; none where the server refuses or does not answer, which the connection tells of. @returns {Promise<Message[]>} */
const now = async () => {
  try {
    const answer = await window.fetch("now");
    return answer.ok ? await answer.json() : [];
  } catch {
    return [];
  }
};

/** @param {any} message */
const topicOf = ({ type, key }) => `${type} ${key}`;

export class News {
  /** @param {(message: Message) => void} hear called with every message */
  constructor(hear) {
    this.hear = hear;
    this.channel = new BroadcastChannel(NAME);
    /** @type {Set<string>} topics that the stream has told of, which is newer than an answer that comes later */
    this.heard = new Set();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.retrying = undefined;
    this.channel.onmessage = (event) => this.take(event.data);
    this.watchRequests();
  }
  /** Whatever this page asks for, Gradio's requests included, tells when the cookie is gone. */
  watchRequests() {
    window.fetch = async (...request) => {
      const answer = await plainFetch(...request);
      if (answer.status === 401 && new URL(answer.url).origin === location.origin) this.line("locked");
      return answer;
    };
  }
  /** @param {Message} message */
  take(message) {
    this.heard.add(topicOf(message));
    this.hear(message);
  }
  /** Take a message, and pass it on to the other tabs. @param {Message} message */
  tell(message) {
    this.take(message);
    this.channel.postMessage(message);
  }
  /** @param {Line} line */
  line(line) {
    this.tell({ type: "line", line });
  }
  /** Listen, and hear all that is the case now. */
  async start() {
    const listen = () => {
      this.connect();
      return new Promise(() => {}); // the lock is held until the tab closes
    };
    // Browsers have locks only over https and on loopback names; over http through a proxy, every tab listens for itself.
    if (navigator.locks) navigator.locks.request(NAME, listen);
    else listen();
    for (const message of await now()) if (!this.heard.has(topicOf(message))) this.hear(message);
  }
  /** An EventSource gives up for good when it is refused: then the server is asked why, until it answers. */
  connect() {
    const source = new EventSource("events");
    source.onmessage = (event) => this.tell(JSON.parse(event.data));
    source.onopen = () => this.line("open");
    source.onerror = async () => {
      const isRefused = source.readyState === EventSource.CLOSED;
      this.line(isRefused ? await reached() : "lost");
      if (isRefused) setTimeout(() => this.connect(), RETRY);
    };
  }
  /** Ask until this browser has access again: a stream that stayed open does not tell. */
  retry() {
    clearTimeout(this.retrying);
    this.retrying = setTimeout(async () => this.hear({ type: "line", line: await reached() }), RETRY);
  }
}
