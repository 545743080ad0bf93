// Where data comes from. `Source` speaks to the server; a page that carries its own data offers the same four methods.
import { formatInteger } from "./format.js";

const TYPES = {
  "<f8": Float64Array,
  "<f4": Float32Array,
  "<i8": BigInt64Array,
  "<i4": Int32Array,
  "<i2": Int16Array,
  "<u4": Uint32Array,
  "|u1": Uint8Array,
  "|i1": Int8Array,
};

/** The server answered, and said no: `message` is its sentence. */
export class RefusedError extends Error {}
/** The server did not answer. */
export class UnreachableError extends Error {}

export class Source {
  constructor(base) {
    this.base = base;
    this.aborter = new AbortController();
  }
  async request(path) {
    let response;
    try {
      response = await fetch(this.base + path, { signal: this.aborter.signal, credentials: "same-origin" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new UnreachableError("The server does not answer.");
    }
    if (!response.ok) {
      const body = await response.text();
      let sentence = body;
      try {
        const parsed = JSON.parse(body);
        sentence = parsed.error || parsed.detail || parsed.message || body;
      } catch {
        // not JSON: the text itself is the sentence
      }
      throw new RefusedError(String(sentence).slice(0, 600) || `The server answered ${response.status}.`);
    }
    return response;
  }
  async bytes(path) {
    const response = await this.request(path);
    try {
      return await response.arrayBuffer();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new UnreachableError("The server stopped in the middle of an answer.");
    }
  }
  async manifest() {
    return (await this.request("/manifest")).json();
  }
  /** Rows `from`… of one array, as bytes. */
  array(name, version, from) {
    const path = name.split("/").map(encodeURIComponent).join("/");
    return this.bytes(`/array/${path}?version=${encodeURIComponent(version)}${from ? `&from=${from}` : ""}`);
  }
  /** Tables of the given neurons from a checkpoint's index on, (checkpoint, neuron, 1 + 2·heads·p) float32. */
  neurons(ids, from) {
    return this.bytes(`/neurons?ids=${ids.join(",")}${from ? `&from=${from}` : ""}`);
  }
  /** Attention scores from a checkpoint's index on, (checkpoint, 2, heads, p) float32. */
  scores(from) {
    return this.bytes(`/scores${from ? `?from=${from}` : ""}`);
  }
  close() {
    this.aborter.abort();
  }
}

const typed = (buffer, dtype) => {
  const Type = TYPES[dtype];
  if (!Type) throw new RefusedError(`An array has the type ${dtype}, which this page cannot read.`);
  const values = new Type(buffer, 0, Math.floor(buffer.byteLength / Type.BYTES_PER_ELEMENT));
  return dtype === "<i8" ? Float64Array.from(values, Number) : values; // epochs: far below 2^53
};

/** `fresh` behind `old`: rows that were appended since. */
export const concatenate = (old, fresh) => {
  const all = new fresh.constructor(old.length + fresh.length);
  all.set(old);
  all.set(fresh, old.length);
  return all;
};

/** Whether two manifests are of different runs, so that nothing of the one is of use for the other. */
const isAnother = (before, now) =>
  before.id !== now.id || JSON.stringify(before.parameters) !== JSON.stringify(now.parameters);

/** Whether rows that were sent of an array are others by now; contents are named "ORIGIN.TIMES RENEWED" by the server. */
const isRenewed = (before, now, name) => {
  const [was, is] = [before.contents?.[name], now.contents?.[name]];
  return was !== undefined && is !== undefined && was !== is && was.split(".")[0] === is.split(".")[0];
};

/** What became of a run's file between two manifests, in a sentence; "" where the run only went on. */
export const replacementMessage = (before, now) => {
  const file = now.file;
  if (isAnother(before, now)) return `${file} was replaced by another run. This is the new one.`;
  const epochs = (manifest) => formatInteger(Math.max(0, manifest.epochs - 1));
  if (now.epochs < before.epochs)
    return `${file} was replaced by a copy that ends at epoch ${epochs(now)}, not ${epochs(before)}. This is the copy.`;
  const others = before.checkpoints.some((epoch, i) => epoch !== now.checkpoints[i]);
  if (others)
    return `${file} has other checkpoints now: ${now.checkpoints.length}, not ${before.checkpoints.length}. These are the new ones.`;
  const curves = ["losses/train", "losses/test", "accuracy/train", "accuracy/test"];
  if ([...curves, "weights"].some((name) => isRenewed(before, now, name)))
    return `${file} was replaced by another copy of this run. This is the new one.`;
  return "";
};

/** What the page knows of a run: the manifest and the arrays its panels name, kept up to date as rows are appended. */
export class RunData {
  /** wanted(manifest): names of the arrays that are drawn now; no others are fetched. */
  constructor(source, wanted) {
    this.source = source;
    this.wanted = wanted;
    this.manifest = null;
    this.another = false; // the file holds another run now: this one does not go on
    this.arrays = new Map(); // name -> {data, shape, stride, rows, version}
    this.refused = new Map(); // name of an array that was not sent -> the server's sentence
    this.rowsOf = new Map(); // analysis -> Int32Array: row of each checkpoint, -1 where there is none
    this.busy = null;
    this.again = false;
  }
  get checkpoints() {
    return this.manifest.checkpoints;
  }
  array(name) {
    return this.arrays.get(name) || null;
  }
  /** Row of `analysis` at checkpoint `index`, or -1. */
  row(analysis, index) {
    const rows = this.rowsOf.get(analysis);
    return rows && index >= 0 && index < rows.length ? rows[index] : -1;
  }
  /** Fetch the manifest and whatever of the named arrays is new. Calls that arrive meanwhile are answered by one more round. */
  refresh() {
    if (this.busy) {
      this.again = true;
      return this.busy;
    }
    this.busy = (async () => {
      try {
        do {
          this.again = false;
          await this.round();
        } while (this.again);
      } finally {
        this.busy = null;
      }
    })();
    return this.busy;
  }
  async round() {
    for (let tries = 1; ; tries++) {
      const manifest = await this.source.manifest();
      if (this.manifest && isAnother(this.manifest, manifest)) {
        this.another = true;
        return;
      }
      const arrays = new Map([...this.arrays].filter(([name]) => manifest.arrays[name]));
      const refused = new Map();
      const get = async (name) => {
        try {
          arrays.set(name, await this.fetchArray(name, manifest));
        } catch (error) {
          // One array that cannot be had does not take the others with it.
          if (!(error instanceof RefusedError)) throw error;
          arrays.delete(name);
          refused.set(name, error.message);
        }
      };
      await Promise.all(this.wanted(manifest).map(get));
      // What was asked for may be gone because the file was being changed: what is refused twice over in one that stays is.
      if (refused.size && (tries < 2 || (tries < 4 && (await this.source.manifest()).revision !== manifest.revision)))
        continue;
      // From here on nothing waits: the panels never see a manifest without its arrays.
      Object.assign(this, { manifest, arrays, refused });
      this.mapRows();
      return;
    }
  }
  /** Names what an array's rows are: rows that are added leave it as it is. */
  version(name, manifest) {
    return `${manifest.arrays[name].version}-${manifest.contents?.[name] ?? ""}`;
  }
  async fetchArray(name, manifest) {
    const entry = manifest.arrays[name];
    const version = this.version(name, manifest);
    const rows = entry.shape.length ? entry.shape[0] : 1;
    const stride = entry.shape.slice(1).reduce((a, b) => a * b, 1);
    const old = this.arrays.get(name);
    const same = old && old.version === version && old.stride === stride;
    if (same && old.rows === rows) return old;
    const keep = same && old.rows < rows ? old.rows : 0;
    const fresh =
      rows > keep
        ? typed(await this.source.array(name, version, keep), entry.dtype)
        : typed(new ArrayBuffer(0), entry.dtype);
    let data = keep ? concatenate(old.data.subarray(0, keep * stride), fresh) : fresh;
    // A row committed between manifest and array may come along: it is cut off until a manifest announces it.
    if (data.length > rows * stride) data = data.subarray(0, rows * stride);
    const complete = stride ? Math.floor(data.length / stride) : 0;
    return { data, shape: [complete, ...entry.shape.slice(1)], stride, rows: complete, version };
  }
  /** Whether what is drawn now has not all come yet. */
  lacks() {
    return this.wanted(this.manifest).some((name) => {
      const [entry, array] = [this.manifest.arrays[name], this.arrays.get(name)];
      return (
        !array ||
        array.version !== this.version(name, this.manifest) ||
        array.rows !== (entry.shape.length ? entry.shape[0] : 1)
      );
    });
  }
  mapRows() {
    this.rowsOf = new Map();
    for (const [name, array] of this.arrays) {
      const match = /^analysis\/([^/]+)\/epoch$/.exec(name);
      if (!match) continue;
      const byEpoch = new Map();
      array.data.forEach((epoch, row) => byEpoch.set(epoch, row));
      this.rowsOf.set(
        match[1],
        Int32Array.from(this.checkpoints, (epoch) => byEpoch.get(epoch) ?? -1),
      );
    }
    // What is measured of a run as a whole holds at every checkpoint.
    for (const { per, arrays, analysis } of this.manifest.panels) {
      const own = arrays.filter((name) => name.startsWith(`analysis/${analysis}/`));
      if (per === "run" && own.length && own.every((name) => this.arrays.get(name)?.rows))
        this.rowsOf.set(analysis, new Int32Array(this.checkpoints.length));
    }
  }
  close() {
    this.source.close();
  }
}
