"""Summary statistics of each neuron."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import NEEDS, ArraySpec, Result, analysis

NONE = -1

PER_NEURON = ArraySpec("<f4", ("neuron",))


@analysis(
    title="Neuron summaries",
    version=1,
    reads=("activations",),
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
def neuron_summary(checkpoint: Checkpoint) -> Result:
    """Statistics of each neuron's activation over all pairs, (d_mlp,) each: mean, maximum, variance, share of pairs with
    a positive activation, dominant frequency and its share of the variance (-1 and 0 if the neuron is dead or the task
    has no frequencies), and whether the neuron is dead.
    """
    frequency, share = np.full(checkpoint.config.d_mlp, NONE), np.zeros(checkpoint.config.d_mlp)
    if NEEDS["frequencies"](checkpoint.config) is None:
        share = checkpoint.share.max(axis=0)
        frequency = np.where(share > 0, checkpoint.share.argmax(axis=0) + 1, NONE)
    return {
        "mean": checkpoint.mean,
        "maximum": checkpoint.neurons.maximum,
        "variance": checkpoint.variance,
        "active_share": checkpoint.neurons.positive / checkpoint.config.p**2,
        "frequency": frequency,
        "share": share,
        "dead": checkpoint.dead,
    }
