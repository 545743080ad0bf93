// Numbers and foreign text as the page writes them, and the ticks of axes.

const THIN = "\u202f"; // narrow no-break space: 12 500 must not break over two lines

/** 12500 -> "12 500". */
export const formatInteger = (n) => String(Math.round(n)).replace(/\B(?=(\d{3})+(?!\d))/g, THIN);

/** A short value for a reading: 3.1e-5, 0.412, 4.08. */
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

/** With a power of ten, so many digits, and no zero at their end: 1.72e6. */
const scientific = (v, digits) =>
  v === 0 ? "0" : Number(v.toPrecision(digits)).toExponential().replace("e+", "e").replace(/^-/, "−");

/** Three digits, without zeros at the end; fewer where they would be many places behind the point. */
export const formatBrief = (v) => {
  const size = Math.abs(v);
  return size >= 1e5 ? scientific(v, 3) : v !== 0 && size < 1e-3 ? formatShort(v) : String(Number(v.toPrecision(3)));
};

/** All the digits a float32 has, for tooltips. */
export const formatExact = (v) => {
  if (v === undefined || v === null || Number.isNaN(v)) return "not evaluated";
  if (v === 0) return "0";
  const size = Math.abs(v);
  return size < 1e-4 || size >= 1e6 ? v.toExponential(5).replace("e+", "e") : String(Number(v.toPrecision(6)));
};

export const clamp = (v, low, high) => (v < low ? low : v > high ? high : v);

/** Index of the entry of the increasing `list` that is nearest to `x` (-1 when empty). */
export const nearestIndex = (list, x) => {
  if (!list.length) return -1;
  let low = 0;
  let high = list.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (list[middle] <= x) low = middle;
    else high = middle;
  }
  return x - list[low] <= list[high] - x ? low : high;
};

const niceStep = (rough) => {
  const power = 10 ** Math.floor(Math.log10(rough));
  const digit = rough / power;
  return (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10) * power;
};

/** Round values between low and high, at most `most` of them; whole numbers only where `whole`. */
export const linearTicks = (low, high, most, whole) => {
  let step = niceStep((high - low) / Math.max(1, most));
  if (whole) step = Math.max(1, Math.round(step));
  const values = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) values.push(i * step);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const size = Math.max(Math.abs(low), Math.abs(high));
  const short = digits <= 4 && size < 1e5; // what is longer finds no room beside the axis
  const text = values.map((v) =>
    whole || short ? (Math.abs(v) >= 1000 ? formatInteger(v) : v.toFixed(digits)) : scientific(v, 9),
  );
  return { values, text };
};

/** Ticks of a log axis whose range is given as exponents: powers of ten, thinned; 2 and 5 between them when few. */
export const logTicks = (low, high, most) => {
  const name = (v) => (v >= 0.1 && v < 1e4 ? String(Number(v.toPrecision(3))) : v.toExponential(0).replace("e+", "e"));
  const first = Math.ceil(low - 1e-9);
  const last = Math.floor(high + 1e-9);
  if (last - first < 1) {
    const ticks = linearTicks(10 ** low, 10 ** high, most, false);
    return { values: ticks.values, text: ticks.values.map((v) => String(Number(v.toPrecision(4)))) };
  }
  const every = Math.max(1, Math.ceil((last - first + 1) / Math.max(2, most)));
  const values = [];
  for (let e = first; e <= last; e++) {
    if (((e % every) + every) % every === 0) values.push(10 ** e);
    if (last - first < 2 && every === 1)
      for (const m of [2, 5]) if (Math.log10(m) + e <= high) values.push(m * 10 ** e);
  }
  if (last - first < 2)
    for (const m of [2, 5]) if (Math.log10(m) + first - 1 >= low) values.unshift(m * 10 ** (first - 1));
  values.sort((a, b) => a - b);
  return { values, text: values.map(name) };
};

// Control characters, lone surrogates, separators of lines, and whatever only steers what stands beside it (bidirectional
// marks, invisible spaces); the two joiners are how some scripts are written.
const UNSHOWN = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]|(?![\u200c\u200d])\p{Cf}/gu;

/** Text from anywhere with every character shown, by the rule of tdw/safe_text.py: ESC is ␛, an override is ‹U+202E›. */
export const visibleText = (text, lines) =>
  String(text).replace(UNSHOWN, (char) => {
    const code = char.codePointAt(0);
    if (lines && char === "\n") return char;
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? "\u2421" : `‹U+${code.toString(16).toUpperCase().padStart(4, "0")}›`;
  });

/** Text as Plotly shows it as it stands: Plotly reads tags and entities in text. */
export const plotlyText = (text) =>
  visibleText(text).replace(/[&<>]/g, (char) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[char]);

// Attributes that people read.
const READ = new Set(["title", "aria-label", "placeholder", "alt"]);

/** Create an element: el("span", "tdw-x", "text", {title: "…"}); text is always text, never HTML, and all of it shows. */
export const el = (tag, className, text, attributes) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined && text !== null) node.textContent = visibleText(text);
  for (const [key, value] of Object.entries(attributes || {})) {
    node.setAttribute(key, READ.has(key) ? visibleText(value, true) : value);
  }
  return node;
};

/** Set the text of a node only where it differs: an unchanged node costs no layout. */
export const setText = (node, text) => {
  if (node.tdwText !== text) {
    node.tdwText = text;
    node.textContent = visibleText(text);
  }
};
