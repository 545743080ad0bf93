// Numbers, durations, intervals, sentences and foreign text as the page writes them.

/** @import { Interval } from "./types.js" */

const THIN = "\u202f"; // narrow no-break space: 12 500 must not break over two lines

/** 12500 -> "12 500". @param {number} n */
export const formatInteger = (n) => String(Math.round(n)).replace(/\B(?=(\d{3})+(?!\d))/g, THIN);

/** A short value for a reading: 3.1e-5, 0.412, 4.08. @param {number | null | undefined} v */
export const formatShort = (v) => {
  if (v === null || v === undefined || Number.isNaN(v)) return "–";
  if (!Number.isFinite(v)) return v > 0 ? "∞" : "−∞";
  const size = Math.abs(v);
  if (size === 0) return "0";
  if (Number.isInteger(v) && size < 1e5) return formatInteger(v);
  if (size < 0.01 || size >= 1e5)
    return v
      .toExponential(1)
      .replace("e+", "e")
      .replace("-", (_, at) => (at ? "-" : "−"));
  if (size >= 100) return String(Math.round(v));
  return v.toFixed(size >= 10 ? 1 : size >= 1 ? 2 : 3);
};

/** With a power of ten and so many digits, without trailing zeros: 1.72e6. @param {number} v @param {number} digits */
export const formatScientific = (v, digits) =>
  v === 0 ? "0" : Number(v.toPrecision(digits)).toExponential().replace("e+", "e").replace(/^-/, "−");

/** Three digits, without trailing zeros; fewer for very small numbers. @param {number} v */
export const formatBrief = (v) => {
  const size = Math.abs(v);
  return size >= 1e5
    ? formatScientific(v, 3)
    : v !== 0 && size < 1e-3
      ? formatShort(v)
      : String(Number(v.toPrecision(3)));
};

/** All the digits of a float32, for tooltips. @param {number | null | undefined} v */
export const formatExact = (v) => {
  if (v === undefined || v === null || Number.isNaN(v)) return "not evaluated";
  if (v === 0) return "0";
  if (!Number.isFinite(v)) return v > 0 ? "∞" : "−∞";
  const size = Math.abs(v);
  return size < 1e-4 || size >= 1e6 ? v.toExponential(5).replace("e+", "e") : String(Number(v.toPrecision(6)));
};

/** 95 -> "1 min 35 s"; 5400 -> "1 h 30 min". @param {number} seconds */
export const formatDuration = (seconds) => {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min${s < 600 && s % 60 ? ` ${s % 60} s` : ""}`;
  return `${Math.floor(s / 3600)} h${Math.floor((s % 3600) / 60) ? ` ${Math.floor((s % 3600) / 60)} min` : ""}`;
};

/** "300 to 309", or one number. @param {Interval} range both ends included */
export const formatRange = ([least, most]) =>
  least === most ? formatInteger(most) : `${formatInteger(least)} to ${formatInteger(most)}`;

/**
 * The epochs at which an event may have happened, from the recorded epochs around it: "591 to 600" of 590 and 600. The rule of
 * `between` in tdw/text_format.py.
 * @param {Interval} interval
 */
export const formatInterval = ([before, after]) => formatRange([Math.min(before + 1, after), after]);

/** "1 checkpoint", "3 checkpoints". @param {number} n @param {string} noun */
export const formatCount = (n, noun) => `${formatInteger(n)} ${noun}${n === 1 ? "" : "s"}`;

/** With a capital letter and a full stop. @param {string} text */
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

// Control characters, lone surrogates, line separators, and characters that only control their neighbors (bidirectional
// marks, invisible spaces); the two joiners are part of how some scripts are written.
const INVISIBLE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]|(?![\u200c\u200d])\p{Cf}/gu;

/**
 * Untrusted text with every character visible, by the rule of tdw/safe_text.py: ESC is ␛, an override is ‹U+202E›.
 * @param {unknown} text
 * @param {boolean} [keepLines] keep line breaks
 */
export const visibleText = (text, keepLines) =>
  String(text).replace(INVISIBLE, (char) => {
    const code = char.codePointAt(0) ?? 0;
    if (keepLines && char === "\n") return char;
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? "\u2421" : `‹U+${code.toString(16).toUpperCase().padStart(4, "0")}›`;
  });

/** @type {Record<string, string>} */
const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };

/** Text escaped for Plotly, which reads tags and entities in text. @param {unknown} text */
export const plotlyText = (text) => visibleText(text).replace(/[&<>]/g, (char) => ENTITIES[char]);
