"""When each frequency had neurons, and which frequencies lost them again."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.analyses.engine.run_data import RunData

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
def frequency_lottery(run: RunData, *, neurons: int) -> Result:
    """Epochs of the first and last checkpoint at which at least `neurons` neurons belong to a frequency, (K,), -1 if never;
    and which frequencies had neurons but have none at the last checkpoint.

    A neuron belongs to the frequency that `neuron_clusters` assigns; its `count`, (E, K), is the history.
    """
    held = run.stored("neuron_clusters/count") >= neurons
    epochs = np.asarray(run.checkpoints, dtype=np.int64)

    def at(index: Int64[np.ndarray, " freq"]) -> Int64[np.ndarray, " freq"]:
        return np.where(held.any(axis=0), epochs[index], NEVER)

    return {
        "first_held": at(held.argmax(axis=0)),
        "last_held": at(len(held) - 1 - held[::-1].argmax(axis=0)),
        "came_and_went": held.any(axis=0) & ~held[-1],
    }
