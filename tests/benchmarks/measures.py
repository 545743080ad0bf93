"""Seconds, memory and bytes of the analyses at the published run's sizes: `python -m tests.benchmarks.measures [P] [ROUNDS]`.

Nothing here is a test. Seconds are those of the processor on one thread, which other programs disturb less. The network is untrained and its key sets are as many and as different as possible, which is
the most work: a trained network has fewer key frequencies, and its rules agree.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import threadpoolctl

import tdw
from tdw import tasks
from tdw.analyses.engine import memory, registry
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.network import reference

SHARED = (
    "logits",
    "neurons",
    "share",
    "of_pairs",
    "spectrum",
    "logit_cosine",
    "embedding_norms",
    "unembedding_norms",
    "attention",
)
ROUNDS = 15
OUTSIDE = "baselines"  # measured once for all runs of a size: left out


def timed(work):
    """Processor milliseconds of a call of `work`."""
    started = time.process_time()
    work()
    return 1000 * (time.process_time() - started)


def different_keys(frequencies):
    """Four different key sets, three to twelve frequencies each."""
    keys = np.zeros((4, frequencies), np.uint8)
    random = np.random.default_rng(0)
    for row, size in zip(keys, (3, 4, 5, 12), strict=True):
        row[random.choice(frequencies, size, replace=False)] = 1
    return keys


def peak_megabytes():
    """Peak memory of this process."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def forget_peak():
    """Let the peak begin now."""
    Path("/proc/self/clear_refs").write_text("5")


@threadpoolctl.threadpool_limits.wrap(limits=1)
def main():
    """Print the table."""
    p, rounds = [*map(int, sys.argv[1:]), *(113, ROUNDS)[len(sys.argv) - 1 :]]
    config = tdw.configure(p=p)
    weights = {name: w.numpy() for name, w in reference.initial_weights(config).items()}
    split, keys = tasks.draw_split(config), different_keys(config.frequencies)
    items = [item for item in registry.usual(config) if item.per == "checkpoint" and item.name != OUTSIDE]
    forget_peak()
    before, peak = peak_megabytes(), 0.0
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        fresh = Checkpoint(config, weights, split, keys)
        together = timed(lambda fresh=fresh: [registry.evaluate(item, fresh, config) for item in items])
        seconds.setdefault("all of a checkpoint together", []).append(together)
        peak = peak or peak_megabytes()
        del fresh
        view = Checkpoint(config, weights, split, keys)
        for name in SHARED:
            seconds.setdefault(f"(shared) {name}", []).append(timed(lambda name=name, view=view: getattr(view, name)))
        for item in items:
            work = timed(lambda item=item, view=view: registry.evaluate(item, view, config))
            seconds.setdefault(item.name, []).append(work)
        del view
    print("| measure | median ms | least ms | bytes a checkpoint |\n|---|---|---|---|")
    total = 0
    for name, found in seconds.items():
        size = 0
        if name in registry.ANALYSES:
            item = registry.ANALYSES[name]
            size = sum(
                np.dtype(spec.dtype).itemsize * int(np.prod(spec.shape(config))) for spec in item.arrays.values()
            )
            total += size
        print(f"| {name} | {statistics.median(found):.1f} | {min(found):.1f} | {size or ''} |")
    said = memory.needed(config, items) / 2**20
    print(f"\n{total / 1e6:.3f} MB of results a checkpoint")
    print(
        f"peak of a checkpoint: {peak - before:.0f} MB above the {before:.0f} MB before; said before it starts: {said:.0f} MB"
    )


if __name__ == "__main__":
    main()
