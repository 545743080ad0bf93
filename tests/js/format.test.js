import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  formatBrief,
  formatCount,
  formatDuration,
  formatExact,
  formatFixed,
  formatInteger,
  formatInterval,
  formatRange,
  formatScientific,
  formatShort,
  plotlyText,
  sentence,
  visibleText,
} from "../../tdw/viewer/format.js";

/** One assertion per [input, expected]. */
const table = (format, rows) => {
  for (const [input, expected] of rows) assert.equal(format(input), expected, `of ${String(input)}`);
};

test("numbers and intervals are written as tdw/text_format.py writes them", () => {
  const cases = JSON.parse(readFileSync(new URL("./format.cases.json", import.meta.url), "utf8"));
  const spread = (format) => (given) => format(...given);
  table((n) => formatInteger(n), cases.integer);
  table((v) => formatShort(Number(v)), cases.short);
  table(spread(formatScientific), cases.scientific);
  table(spread(formatFixed), cases.fixed);
  table(formatRange, cases.integers);
  table(formatInterval, cases.between);
  table(spread(formatCount), cases.count);
  table(formatShort, [
    [null, "–"],
    [undefined, "–"],
  ]);
  assert.equal(formatInteger(99.6), "100");
});

test("brief and exact numbers keep their digits and no zeros at their end", () => {
  table(formatBrief, [
    [0, "0"],
    [0.5, "0.5"],
    [0.12345, "0.123"],
    [1720000, "1.72·10⁶"],
    [0.00012345, "1.2·10⁻⁴"],
  ]);
  table(formatExact, [
    [Number.NaN, "not evaluated"],
    [undefined, "not evaluated"],
    [0, "0"],
    [0.12345678, "0.123457"],
    [123456.7, "123\u202f457"],
    [1234567, "1.23457·10⁶"],
    [0.00001234567, "1.23457·10⁻⁵"],
    [-0.5, "−0.5"],
  ]);
});

test("durations", () => {
  table(formatDuration, [
    [-3, "0 s"],
    [0.4, "0 s"],
    [59.4, "59 s"],
    [60, "1 min"],
    [95, "1 min 35 s"],
    [601, "10 min"],
    [3600, "1 h"],
    [5400, "1 h 30 min"],
  ]);
});

test("sentences", () => {
  table(sentence, [
    ["no job is running", "No job is running."],
    ["Is it?", "Is it?"],
    ["Done.", "Done."],
  ]);
});

test("untrusted text is visible as tdw/safe_text.py makes it", () => {
  table(visibleText, [
    ["plain ü 日本 🙂", "plain ü 日本 🙂"],
    ["\u001b[31m", "␛[31m"],
    ["a\u007fb", "a␡b"],
    ["a\u202eb", "a‹U+202E›b"],
    ["a\u2028b", "a‹U+2028›b"],
    ["\ud800", "‹U+D800›"],
    ["a\u200db", "a\u200db"],
    ["a\u200bb", "a‹U+200B›b"],
    ["a\nb", "a␊b"],
    [12, "12"],
  ]);
  assert.equal(visibleText("a\nb\tc", true), "a\nb␉c");
  assert.equal(plotlyText("<b>x</b> & \u202e"), "&lt;b&gt;x&lt;/b&gt; &amp; ‹U+202E›");
});
