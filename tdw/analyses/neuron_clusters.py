"""Assignment of neurons to frequencies."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ArraySpec, Result, analysis

UNASSIGNED = -1


@analysis(
    title="Neuron clusters",
    version=1,
    needs=("frequencies",),
    reads=("activations",),
    arrays={"frequency": ArraySpec("<i2", ("neuron",)), "count": ArraySpec("<i4", ("frequency",))},
    threshold=0.85,
)
def neuron_clusters(checkpoint: Checkpoint, *, threshold: float) -> Result:
    """The frequency with at least `threshold` of a neuron's variance, -1 if there is none or the neuron is dead, (d_mlp,);
    and the number of neurons per frequency, (K,).
    """
    frequency = clusters(checkpoint.share, threshold)
    count = np.bincount(frequency[frequency != UNASSIGNED], minlength=checkpoint.config.frequencies + 1)[1:]
    return {"frequency": frequency, "count": count}


def clusters(share: Float32[np.ndarray, "freq neuron"], threshold: float) -> Int64[np.ndarray, " neuron"]:
    """The frequency of each neuron, from its frequency shares; -1 below the threshold.

    >>> clusters(np.array([[0.9, 0.5], [0.1, 0.5]], dtype=np.float32), 0.85)
    array([ 1, -1])
    """
    return np.where(share.max(axis=0) >= threshold, share.argmax(axis=0) + 1, UNASSIGNED)
