// Colors from the tokens: one palette per theme, and the table that heat maps are painted with.

export const SERIES_COLORS = 10; // colors of lines that stand for nothing but themselves

const parse = (hex) => {
  const match = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(hex.trim());
  if (!match) throw new Error(`the color token must be six hex digits, got ${JSON.stringify(hex)}`);
  return match.slice(1).map((part) => parseInt(part, 16));
};

/** 256 packed little-endian RGBA pixels that run through three colors. */
const ramp = (stops) => {
  const lut = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const t = (i / 255) * 2;
    const [from, to, part] = t < 1 ? [stops[0], stops[1], t] : [stops[1], stops[2], t - 1];
    const [r, g, b] = from.map((v, c) => Math.round(v + (to[c] - v) * part));
    lut[i] = ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  }
  return lut;
};

/** Tokens as strings, and two ramps: `lut` from surface over accent to ink, `minus` the same for numbers below 0. */
export const palette = (element) => {
  const style = getComputedStyle(element);
  const token = (name) => style.getPropertyValue(`--tdw-${name}`).trim();
  const lut = ramp([0, 1, 2].map((i) => parse(token(`ramp-${i}`))));
  const minus = ramp(["ramp-0", "minus-1", "minus-2"].map((name) => parse(token(name))));
  const names = [
    "bg",
    "surface",
    "line",
    "line-strong",
    "ink",
    "muted",
    "accent",
    "train",
    "test",
    "mark",
    "bar",
    "good",
  ];
  for (let i = 0; i < SERIES_COLORS; i++) names.push(`series-${i}`);
  const colors = { lut, minus, font: style.getPropertyValue("--tdw-font").trim() };
  for (const name of names) colors[name] = token(name);
  return colors;
};

/** Call back when the theme may have changed: data-theme or class of <html> or <body>. Returns a function that stops. */
export const watchTheme = (callback) => {
  let waiting = false;
  const observer = new MutationObserver(() => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      callback();
    });
  });
  for (const node of [document.documentElement, document.body]) {
    observer.observe(node, { attributes: true, attributeFilter: ["class", "data-theme"] });
  }
  return () => observer.disconnect();
};
