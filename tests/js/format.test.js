import assert from "node:assert/strict";
import { test } from "node:test";
import {
  formatBrief,
  formatCount,
  formatDuration,
  formatExact,
  formatInteger,
  formatInterval,
  formatRange,
  formatShort,
  plotlyText,
  sentence,
  visibleText,
} from "../../tdw/viewer/format.js";

/** One assertion per [input, expected]. */
const table = (format, rows) => {
  for (const [input, expected] of rows) assert.equal(format(input), expected, `of ${String(input)}`);
};

test("integers are grouped by narrow no-break spaces", () => {
  table(formatInteger, [
    [0, "0"],
    [999, "999"],
    [1000, "1\u202f000"],
    [12500, "12\u202f500"],
    [1234567, "1\u202f234\u202f567"],
    [-12500, "-12\u202f500"],
    [99.6, "100"],
  ]);
});

test("readings are short at every size", () => {
  table(formatShort, [
    [Number.NaN, "–"],
    [null, "–"],
    [undefined, "–"],
    [Number.POSITIVE_INFINITY, "∞"],
    [Number.NEGATIVE_INFINITY, "−∞"],
    [0, "0"],
    [41, "41"],
    [12500, "12\u202f500"],
    [0.4118, "0.412"],
    [4.0812, "4.08"],
    [40.812, "40.8"],
    [408.12, "408"],
    [0.00512, "5.1e-3"],
    [3.14e-5, "3.1e-5"],
    [-3.14e-5, "−3.1e-5"],
    [1.5e7, "1.5e7"],
  ]);
});

test("brief and exact numbers keep their digits and no zeros at their end", () => {
  table(formatBrief, [
    [0, "0"],
    [0.5, "0.5"],
    [0.12345, "0.123"],
    [1720000, "1.72e6"],
    [0.00012345, "1.2e-4"],
  ]);
  table(formatExact, [
    [Number.NaN, "not evaluated"],
    [undefined, "not evaluated"],
    [0, "0"],
    [0.12345678, "0.123457"],
    [123456.7, "123457"],
    [1234567, "1.23457e6"],
    [0.00001234567, "1.23457e-5"],
  ]);
});

test("durations and intervals", () => {
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
  table(formatInterval, [
    [[750, 775], "751 to 775"],
    [[125, 126], "126"],
    [[775, 775], "775"],
    [[-1, 0], "0"],
    [[11000, 12500], "11\u202f001 to 12\u202f500"],
  ]);
  table(formatRange, [
    [[300, 309], "300 to 309"],
    [[0, 0], "0"],
  ]);
});

test("counts and sentences", () => {
  assert.equal(formatCount(1, "checkpoint"), "1 checkpoint");
  assert.equal(formatCount(0, "checkpoint"), "0 checkpoints");
  assert.equal(formatCount(1200, "pair"), "1\u202f200 pairs");
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
