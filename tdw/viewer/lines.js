// Lines of curves: from stored arrays to points, and names that do not cover each other.
import { clamp } from "./format.js";

const REDUCE = {
  sum: (values) => values.reduce((a, b) => a + b, 0),
  mean: (values) => (values.length ? REDUCE.sum(values) / values.length : NaN),
  median: (values) => {
    const sorted = Float64Array.from(values).sort();
    const middle = sorted.length >> 1;
    return sorted.length ? (sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2) : NaN;
  },
};

/**
 * A line with its points: values as stored, xs and ys as drawn. Of a recorded series every epoch has one, and those that
 * were not evaluated are left out; of an analysis every row has one (`rowOf`: epoch -> its place), and NaN is a gap.
 * line: {array, axes, picks, reduce, unless, whole}, see tdw/panels/spec.py
 */
export const lineWithPoints = (line, run, choices, log) => {
  const array = run.array(line.array);
  const drawable = (v) => Number.isFinite(v) && !(log && v <= 0);
  if (!line.array.startsWith("analysis/")) {
    const values = array?.data ?? new Float64Array(0);
    const xs = [];
    const ys = [];
    for (let i = 0; i < values.length; i++) {
      if (!drawable(values[i])) continue;
      xs.push(i);
      ys.push(values[i]);
    }
    return { ...line, values, xs, ys };
  }
  const epochs =
    run.array(`analysis/${line.array.split("/")[1]}/epoch`)?.data ?? (line.whole && array?.rows ? run.checkpoints : []);
  const rows = Math.min(epochs.length, line.whole ? (array?.stride ?? 0) : (array?.rows ?? 0));
  const xs = Array.from(epochs).slice(0, rows);
  const values = rows ? valuesOf(line, array, run, choices, rows) : [];
  return {
    ...line,
    values,
    xs,
    ys: values.map((v) => (drawable(v) ? v : NaN)),
    rowOf: new Map(xs.map((epoch, row) => [epoch, row])),
  };
};

const valuesOf = (line, array, run, choices, rows) => {
  const { data, stride } = array;
  if (line.whole) return Array.from(data).slice(0, rows); // one row, of all checkpoints
  const { from, step } = choices.place(array, line.axes || [], line.picks);
  if (!line.reduce) return Array.from({ length: rows }, (_, row) => data[row * stride + from]);
  const count = array.shape[1 + line.axes.indexOf("*")];
  const leave = line.unless ? run.array(line.unless) : null;
  return Array.from({ length: rows }, (_, row) => {
    const values = [];
    for (let i = 0; i < count; i++) {
      const value = data[row * stride + from + i * step["*"]];
      if (!Number.isNaN(value) && (!leave || (row < leave.rows && !leave.data[row * count + i]))) values.push(value);
    }
    return REDUCE[line.reduce](values) / (line.over ?? 1);
  });
};

/** Increasing places, at least `gap` apart and within 0 … `end`, each as near as can be to where it wants to be. */
export const spreadApart = (wanted, gap, end) => {
  const groups = []; // of places that touch: {sum: of what they want, less their offset in the group, count, start}
  wanted.forEach((y) => {
    groups.push({ sum: y, count: 1, start: y });
    while (groups.length > 1 && groups.at(-2).start + groups.at(-2).count * gap > groups.at(-1).start) {
      const last = groups.pop();
      const before = groups.at(-1);
      before.sum += last.sum - last.count * before.count * gap;
      before.count += last.count;
      before.start = clamp(before.sum / before.count, 0, Math.max(0, end - (before.count - 1) * gap));
    }
  });
  return groups.flatMap(({ start, count }) => Array.from({ length: count }, (_, i) => start + i * gap));
};
