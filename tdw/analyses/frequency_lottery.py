"""Which frequencies won neurons, and which lost them again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tdw.analyses.engine.checkpoint import Whole
from tdw.analyses.engine.registry import ArraySpec, Result, analysis

NEVER = -1


@analysis(
    title="Frequency lottery",
    version=1,
    per="run",
    needs=("frequencies",),
    after=("neuron_clusters",),
    arrays={
        "first_held": ArraySpec("<i8", ("frequency",)),
        "last_held": ArraySpec("<i8", ("frequency",)),
        "came_and_went": ArraySpec("|u1", ("frequency",)),
    },
    neurons=1,
)
def frequency_lottery(run: Whole, *, neurons: int) -> Result:
    """Epochs of the first and last checkpoint at which at least `neurons` neurons belong to a frequency, (K,), -1 where
    none ever does; and which frequencies had neurons and have none at the last checkpoint.

    Which neurons belong to a frequency is `neuron_clusters`, whose `count`, (E, K), is the lottery itself.
    """
    held = run.stored("neuron_clusters/count") >= neurons
    epochs = np.asarray(run.checkpoints, dtype=np.int64)

    def at(index: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(held.any(axis=0), epochs[index], NEVER)

    return {
        "first_held": at(held.argmax(axis=0)),
        "last_held": at(len(held) - 1 - held[::-1].argmax(axis=0)),
        "came_and_went": held.any(axis=0) & ~held[-1],
    }
