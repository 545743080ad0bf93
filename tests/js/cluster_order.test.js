import assert from "node:assert/strict";
import { test } from "node:test";
import { clusterOrder } from "../../tdw/viewer/cluster_order.js";

test("neurons are in the order of their clusters, the highest share first, those in none last", () => {
  const cluster = Int16Array.of(2, 0, 1, 2, 0, 1);
  const shares = Float32Array.of(0.1, 0.3, 0.5, 0.2, 0.4, 0.9, 0.8, 0.2, 0.1, 0.9, 0.1, 0.0); // 2 frequencies, 6 neurons
  const { order, groups } = clusterOrder(cluster, shares, 2);
  assert.deepEqual([...order], [5, 2, 3, 0, 4, 1]);
  assert.deepEqual(groups, [
    { frequency: 1, from: 0, to: 1 },
    { frequency: 2, from: 2, to: 3 },
    { frequency: 0, from: 4, to: 5 },
  ]);
});

test("neurons with equal shares are in the order of their index", () => {
  const { order } = clusterOrder(Int16Array.of(0, 0, 0), Float32Array.of(0.5, 0.5, 0.5), 1);
  assert.deepEqual([...order], [0, 1, 2]);
});
