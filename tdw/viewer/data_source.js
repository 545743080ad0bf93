// Where data comes from. `Source` asks the server; a page that carries its own data offers the same methods.

/** @import { DataSource, Manifest, Numbers } from "./types.js" */

/** The server refused: `message` is its sentence. */
export class RefusedError extends Error {}
/** The server did not answer. */
export class UnreachableError extends Error {}

/** @param {unknown} error */
export const isAborted = (error) => error instanceof Error && error.name === "AbortError";

/** The server's sentence in the body of a refusal. @param {string} body */
export const refusalIn = (body) => {
  try {
    const parsed = JSON.parse(body);
    return String(parsed.error || parsed.detail || parsed.message || body);
  } catch {
    return body; // not JSON: the text itself is the sentence
  }
};

/** Whether an answer is that of a proxy that does not reach the server; 599 is Jupyter's. @param {Response} response */
export const isOfProxy = (response) => [502, 503, 504, 599].includes(response.status);

/** @implements {DataSource} */
export class Source {
  /** @param {string} base the run's address */
  constructor(base) {
    this.base = base;
    this.aborter = new AbortController();
  }
  /** @param {string} path */
  async request(path) {
    let response;
    try {
      response = await fetch(this.base + path, { signal: this.aborter.signal, credentials: "same-origin" });
    } catch (error) {
      if (isAborted(error)) throw error;
      throw new UnreachableError("Server offline.");
    }
    if (isOfProxy(response)) throw new UnreachableError("Server offline.");
    if (!response.ok) {
      const refusal = refusalIn(await response.text());
      throw new RefusedError(refusal.slice(0, 600) || `The server answered with status ${response.status}.`);
    }
    return response;
  }
  /** @param {string} path */
  async bytes(path) {
    const response = await this.request(path);
    try {
      return await response.arrayBuffer();
    } catch (error) {
      if (isAborted(error)) throw error;
      throw new UnreachableError("The connection broke off during an answer.");
    }
  }
  /** @returns {Promise<Manifest>} */
  async manifest() {
    return (await this.request("/manifest")).json();
  }
  /** Rows of one array from row `from` on, as bytes. @param {string} name @param {string} version @param {number} from */
  array(name, version, from) {
    const path = name.split("/").map(encodeURIComponent).join("/");
    return this.bytes(`/array/${path}?version=${encodeURIComponent(version)}${from ? `&from=${from}` : ""}`);
  }
  /** Tables of neurons from a checkpoint's index on, (checkpoint, neuron, 1 + 2·routes·p) float32. @param {number[]} ids @param {number} from */
  neurons(ids, from) {
    return this.bytes(`/neurons?ids=${ids.join(",")}${from ? `&from=${from}` : ""}`);
  }
  /** Attention scores from a checkpoint's index on, (checkpoint, …) float32. @param {number} from */
  scores(from) {
    return this.bytes(`/scores${from ? `?from=${from}` : ""}`);
  }
  close() {
    this.aborter.abort();
  }
}

/** @type {Record<string, {new (buffer: ArrayBuffer, offset: number, length: number): Numbers, BYTES_PER_ELEMENT: number}>} */
const TYPES = {
  "<f8": Float64Array,
  "<f4": Float32Array,
  "<i4": Int32Array,
  "<i2": Int16Array,
  "<u4": Uint32Array,
  "|u1": Uint8Array,
  "|i1": Int8Array,
};

/**
 * Bytes as numbers; <i8 as float64, since epochs are far below 2^53.
 * @param {ArrayBuffer} buffer
 * @param {string} dtype
 * @returns {Numbers}
 */
export const typed = (buffer, dtype) => {
  if (dtype === "<i8") {
    const values = new BigInt64Array(buffer, 0, Math.floor(buffer.byteLength / 8));
    return Float64Array.from(values, Number);
  }
  const Type = TYPES[dtype];
  if (!Type) throw new RefusedError(`This page cannot read arrays of the type ${dtype}.`);
  return new Type(buffer, 0, Math.floor(buffer.byteLength / Type.BYTES_PER_ELEMENT));
};
