// The order of neurons by cluster.

/** @import { Numbers } from "./types.js" */

/** Positions from…to of one cluster; frequency 0 or less: in none. @typedef {{frequency: number, from: number, to: number}} Group */

/**
 * Neurons by cluster, those in none last, the highest share first.
 * @param {Numbers} cluster frequency of each neuron
 * @param {Numbers} shares (frequency, neuron)
 * @param {number} rows frequencies
 * @returns {{order: Uint32Array<ArrayBuffer>, groups: Group[]}} `order`: position -> neuron
 */
export const clusterOrder = (cluster, shares, rows) => {
  const columns = shares.length / rows;
  const best = new Float64Array(columns);
  for (let n = 0; n < columns; n++) {
    for (let k = 0; k < rows; k++) best[n] = Math.max(best[n], shares[k * columns + n]);
  }
  const rank = (/** @type {number} */ n) => (cluster[n] > 0 ? cluster[n] : Number.POSITIVE_INFINITY);
  const order = Uint32Array.from({ length: columns }, (_, n) => n);
  order.sort((m, n) => (rank(m) === rank(n) ? best[n] - best[m] || m - n : rank(m) - rank(n)));
  /** @type {Group[]} */
  const groups = [];
  order.forEach((n, position) => {
    const current = groups.at(-1);
    if (current?.frequency === cluster[n]) current.to = position;
    else groups.push({ frequency: cluster[n], from: position, to: position });
  });
  return { order, groups };
};
