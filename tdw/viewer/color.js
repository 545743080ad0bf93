// Colors from the tokens: one palette per theme, with the tables that heat maps are painted with.

/** @import { Palette } from "./types.js" */

export const SERIES_COLORS = 10; // colors of lines without a meaning of their own

const NAMES = ["surface", "line", "line-strong", "ink", "muted", "accent", "train", "test", "mark", "bar", "good"];

/** Red, green and blue of "#rrggbb". @param {string} hex */
export const parseHex = (hex) => {
  const match = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(hex.trim());
  if (!match) throw new Error(`a color token must be six hex digits (got ${JSON.stringify(hex)})`);
  return match.slice(1).map((part) => Number.parseInt(part, 16));
};

/** 256 packed little-endian RGBA pixels that run through three colors. @param {number[][]} stops */
export const ramp = (stops) => {
  const lut = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const t = (i / 255) * 2;
    const [from, to, part] = t < 1 ? [stops[0], stops[1], t] : [stops[1], stops[2], t - 1];
    const [r, g, b] = from.map((v, c) => Math.round(v + (to[c] - v) * part));
    lut[i] = ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  }
  return lut;
};

/** The tokens at an element: `lut` runs from surface over accent to ink, `minus` does so for negative numbers. @param {Element} element @returns {Palette} */
export const palette = (element) => {
  const style = getComputedStyle(element);
  const token = (/** @type {string} */ name) => style.getPropertyValue(`--tdw-${name}`).trim();
  const through = (/** @type {string[]} */ ...names) => ramp(names.map((name) => parseHex(token(name))));
  const series = Array.from({ length: SERIES_COLORS }, (_, i) => `series-${i}`);
  const named = Object.fromEntries([...NAMES, ...series].map((name) => [name, token(name)]));
  return {
    lut: through("ramp-0", "ramp-1", "ramp-2"),
    minus: through("ramp-0", "minus-1", "minus-2"),
    font: style.getPropertyValue("--tdw-font").trim(),
    named,
    surface: named.surface,
    line: named.line,
    lineStrong: named["line-strong"],
    ink: named.ink,
    muted: named.muted,
    accent: named.accent,
    train: named.train,
    test: named.test,
    mark: named.mark,
    bar: named.bar,
    good: named.good,
  };
};

/** Call back when the theme may have changed: data-theme or class of <html> or <body>. @param {() => void} callback @returns {() => void} stops watching */
export const watchTheme = (callback) => {
  let isWaiting = false;
  const observer = new MutationObserver(() => {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => {
      isWaiting = false;
      callback();
    });
  });
  for (const node of [document.documentElement, document.body]) {
    observer.observe(node, { attributes: true, attributeFilter: ["class", "data-theme"] });
  }
  return () => observer.disconnect();
};
