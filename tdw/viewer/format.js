// Numbers, durations, intervals, sentences and foreign text as the page writes them: the style of tdw/text_format.py.

/** @import { Interval } from "./types.js" */

const THIN = "\u202f"; // narrow no-break space: 12 500 must not break over two lines

/** Digits in groups of three, and a true minus. @param {string} digits as `toFixed` writes them */
const grouped = (digits) => {
  const [whole, part] = digits.split(".");
  const text = whole.replace("-", "−").replace(/\B(?=(\d{3})+(?!\d))/g, THIN);
  return part === undefined ? text : `${text}.${part}`;
};

/** 12500 -> "12 500". @param {number} n */
export const formatInteger = (n) => grouped(n.toFixed(0));

/** With so many digits after the point: "−0.063". @param {number} v @param {number} digits */
export const formatFixed = (v, digits) => grouped(v.toFixed(digits));

/** A power of ten: "10⁻⁸". @param {number} exponent */
export const formatPower = (exponent) =>
  `10${String(exponent).replace(/./g, (char) => (char === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(char)]))}`;

/** With a power of ten and so many digits, without trailing zeros: 1.72·10⁶. @param {number} v @param {number} digits */
export const formatScientific = (v, digits) => {
  if (v === 0) return "0";
  const [written, exponent] = Math.abs(v)
    .toExponential(digits - 1)
    .split("e");
  const mantissa = String(Number(written)); // without zeros at its end
  return `${v < 0 ? "−" : ""}${mantissa === "1" ? "" : `${mantissa}·`}${formatPower(Number(exponent))}`;
};

/** A short value for a reading: 3.1·10⁻⁵, 0.412, 4.08. @param {number | null | undefined} v */
export const formatShort = (v) => {
  if (v === null || v === undefined || Number.isNaN(v)) return "–";
  if (!Number.isFinite(v)) return v > 0 ? "∞" : "−∞";
  const size = Math.abs(v);
  if (size === 0) return "0";
  if (Number.isInteger(v) && size < 1e5) return formatInteger(v);
  if (size < 0.01 || size >= 1e5) return formatScientific(v, 2);
  return formatFixed(v, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
};

/** The digits of a number with so many of them, without trailing zeros. @param {number} v @param {number} digits */
const significant = (v, digits) => grouped(String(Number(v.toPrecision(digits))));

/** Three digits, without trailing zeros; fewer for very small numbers. @param {number} v */
export const formatBrief = (v) => {
  const size = Math.abs(v);
  return size >= 1e5 ? formatScientific(v, 3) : v !== 0 && size < 1e-3 ? formatShort(v) : significant(v, 3);
};

/** All the digits of a float32, for tooltips. @param {number | null | undefined} v */
export const formatExact = (v) => {
  if (v === undefined || v === null || Number.isNaN(v)) return "not evaluated";
  if (v === 0) return "0";
  if (!Number.isFinite(v)) return v > 0 ? "∞" : "−∞";
  const size = Math.abs(v);
  return size < 1e-4 || size >= 1e6 ? formatScientific(v, 6) : significant(v, 6);
};

/** 95 -> "1 min 35 s"; 5400 -> "1 h 30 min". @param {number} seconds */
export const formatDuration = (seconds) => {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min${s < 600 && s % 60 ? ` ${s % 60} s` : ""}`;
  return `${Math.floor(s / 3600)} h${Math.floor((s % 3600) / 60) ? ` ${Math.floor((s % 3600) / 60)} min` : ""}`;
};

/** Two numbers as an interval: "0.75–2.49", "−3 to 2", or one of them where both are the same. @param {string} low @param {string} high */
export const formatSpan = (low, high) =>
  low === high ? low : low.startsWith("−") ? `${low} to ${high}` : `${low}–${high}`;

/** "300–309", or one number. @param {Interval} range both ends included */
export const formatRange = ([least, most]) => formatSpan(formatInteger(least), formatInteger(most));

/**
 * The epochs at which an event may have happened, from the recorded epochs around it: "591–600" of 590 and 600. The rule of
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
