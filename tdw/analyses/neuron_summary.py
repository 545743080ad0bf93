"""A few numbers for each neuron, to browse by."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.registry import NEEDS, ArraySpec, Result, analysis

NONE = -1

PER_NEURON = ArraySpec("<f4", ("neuron",))


@analysis(
    title="Neuron summaries",
    version=1,
    arrays={
        "mean": PER_NEURON,
        "maximum": PER_NEURON,
        "variance": PER_NEURON,
        "active_share": PER_NEURON,
        "frequency": ArraySpec("<i2", ("neuron",)),
        "share": PER_NEURON,
        "dead": ArraySpec("|u1", ("neuron",)),
    },
)
def neuron_summary(view: View) -> Result:
    """Of each neuron's activation over all pairs: mean, maximum, variance, share of pairs where it is above 0, dominant
    frequency with its share of the variance (-1 and 0 where it is dead or the task has no frequencies), and whether it
    is dead.
    """
    flat = view.activations.reshape(-1, view.config.d_mlp)
    frequency, share = np.full(view.config.d_mlp, NONE), np.zeros(view.config.d_mlp)
    if NEEDS["frequencies"](view.config) is None:
        share = view.share.max(axis=0)
        frequency = np.where(share > 0, view.share.argmax(axis=0) + 1, NONE)
    return {
        "mean": view.mean,
        "maximum": flat.max(axis=0),
        "variance": view.variance,
        "active_share": np.count_nonzero(flat > 0, axis=0) / len(flat),
        "frequency": frequency,
        "share": share,
        "dead": view.dead,
    }
