"""What the heads attend to."""

from __future__ import annotations

import numpy as np

from tdw.analyses import fourier
from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.registry import ArraySpec, Result, analysis

OF_A_HEAD = ArraySpec("<f4", ("head", "token"))


@analysis(
    title="Attention",
    version=1,
    needs=("attention", "frequencies"),
    arrays={"mean": OF_A_HEAD, "variance": OF_A_HEAD, "share": ArraySpec("<f4", ("frequency", "head"))},
)
def attention(view: View) -> Result:
    """Of each head's pattern from the last token: mean and variance over all pairs of the weight on each token, (heads,
    tokens); and of the weight on a, the share of its variance in each frequency, (K, heads), as for neurons.

    A head whose weight on a hardly varies has share 0 everywhere.
    """
    pattern = view.attention
    on_a = view.in_order(pattern[0].transpose(1, 2, 0), 2).astype(np.float64)
    on_a = on_a - on_a.mean(axis=(0, 1))
    return {
        "mean": pattern.mean(axis=(2, 3), dtype=np.float64).T,
        "variance": pattern.var(axis=(2, 3), dtype=np.float64).T,
        "share": fourier.frequency_shares(on_a),
    }
