// Where data comes from. `Source` asks the server; a page that carries its own data offers the same methods.

/** @import { DataSource, Manifest, Numbers, Rows } from "./types.js" */

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

/** @param {string} name of an array */
const pathOf = (name) => name.split("/").map(encodeURIComponent).join("/");

/** Rows as a request names them. @param {Rows} rows */
const asked = ({ from = 0, to, step = 1 }) =>
  `${from ? `&from=${from}` : ""}${to === undefined ? "" : `&to=${to}`}${step === 1 ? "" : `&step=${step}`}`;

/** @implements {DataSource} */
export class Source {
  /** @param {string} base the run's address */
  constructor(base) {
    this.base = base;
    this.aborter = new AbortController();
  }
  /** @param {string} path @param {AbortSignal} [signal] cancels this request alone */
  async request(path, signal) {
    const signals = signal ? AbortSignal.any([signal, this.aborter.signal]) : this.aborter.signal;
    let response;
    try {
      response = await fetch(this.base + path, { signal: signals, credentials: "same-origin" });
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
  /** @param {string} path @param {AbortSignal} [signal] */
  async bytes(path, signal) {
    const response = await this.request(path, signal);
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
  /** Rows of one array, as bytes. @param {string} name @param {string} version @param {Rows} rows @param {AbortSignal} [signal] */
  array(name, version, rows, signal) {
    return this.bytes(`/array/${pathOf(name)}?version=${encodeURIComponent(version)}${asked(rows)}`, signal);
  }
  /** Tables of neurons at checkpoints, (checkpoint, neuron, 1 + 2·routes·p) float32. @param {number[]} ids @param {Rows} rows @param {AbortSignal} [signal] */
  neurons(ids, rows, signal) {
    return this.bytes(`/neurons?ids=${ids.join(",")}${asked(rows)}`, signal);
  }
  /** Attention scores at checkpoints, (checkpoint, …) float32. @param {Rows} rows @param {AbortSignal} [signal] */
  scores(rows, signal) {
    return this.bytes(`/scores${asked(rows).replace("&", "?")}`, signal);
  }
  /** (measure, …) float64: the least finite number over all rows, the greatest, the least above 0, how many are not NaN. @param {string} name @param {string} version */
  extremes(name, version) {
    return this.bytes(`/extremes/${pathOf(name)}?version=${encodeURIComponent(version)}`);
  }
  /** Points of a recorded curve: values (float64), then their epochs (uint32). @param {string} name @param {string} version @param {number} every epochs in a bucket @param {Rows} epochs @param {AbortSignal} [signal] */
  points(name, version, every, epochs, signal) {
    const of = `/points/${pathOf(name)}?version=${encodeURIComponent(version)}`;
    return this.bytes(`${of}&every=${every}${asked(epochs)}`, signal);
  }
  /** (checkpoint, [value, epoch]) float64: the last value of a recorded curve at or before each. @param {string} name @param {string} version @param {number} from index of a checkpoint */
  atCheckpoints(name, version, from) {
    return this.bytes(`/at_checkpoints/${pathOf(name)}?version=${encodeURIComponent(version)}${asked({ from })}`);
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

/** Bytes of a number as it is sent. @param {string} dtype */
export const bytesOf = (dtype) => Number(dtype.slice(2)) || 8;

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
