"""Which neurons belong to which frequency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.registry import ArraySpec, Result, analysis

UNASSIGNED = -1


@analysis(
    title="Neuron clusters",
    version=1,
    needs=("frequencies",),
    arrays={"frequency": ArraySpec("<i2", ("neuron",)), "count": ArraySpec("<i4", ("frequency",))},
    threshold=0.85,
)
def neuron_clusters(view: View, *, threshold: float) -> Result:
    """The frequency that holds at least `threshold` of a neuron's variance, (d_mlp,), -1 where none does; and the
    number of neurons of each frequency, (K,). A dead neuron belongs to none.
    """
    frequency = clusters(view.share, threshold)
    count = np.bincount(frequency[frequency != UNASSIGNED], minlength=view.config.frequencies + 1)[1:]
    return {"frequency": frequency, "count": count}


def clusters(share: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    """Cluster of each neuron, (neurons,), from shares (K, neurons)."""
    return np.where(share.max(axis=0) >= threshold, share.argmax(axis=0) + 1, UNASSIGNED)
