"""Attention patterns of the heads."""

from __future__ import annotations

import numpy as np

from tdw.analyses import fourier
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ArraySpec, Result, analysis

PER_HEAD_AND_TOKEN = ArraySpec("<f4", ("head", "token"))


@analysis(
    title="Attention",
    version=1,
    needs=("attention", "frequencies"),
    arrays={
        "mean": PER_HEAD_AND_TOKEN,
        "variance": PER_HEAD_AND_TOKEN,
        "share": ArraySpec("<f4", ("frequency", "head")),
    },
)
def attention(checkpoint: Checkpoint) -> Result:
    """Attention of each head from the last position: mean and variance over all pairs of the attention to each token,
    (heads, tokens); and for the attention to a, the share of its variance in each frequency, (K, heads), defined as for
    neurons.

    A head whose attention to a does not vary has share 0.
    """
    pattern = checkpoint.attention
    to_a = checkpoint.in_group_order(pattern[0].transpose(1, 2, 0), 2).astype(np.float64)
    to_a = to_a - to_a.mean(axis=(0, 1))
    return {
        "mean": pattern.mean(axis=(2, 3), dtype=np.float64).T,
        "variance": pattern.var(axis=(2, 3), dtype=np.float64).T,
        "share": fourier.frequency_shares(to_a),
    }
