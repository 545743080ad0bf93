"""Squared norms of the weights."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.network.parameters import shapes


@analysis(
    title="Weight norms",
    version=1,
    arrays={"squares": ArraySpec("<f8", ("tensor",)), "total": ArraySpec("<f8", ())},
)
def weight_norms(checkpoint: Checkpoint) -> Result:
    """Σθ² of each tensor, in the order of `tdw.network.parameters.shapes`, (tensors,), and their total.

    The embedding and unembedding of '=' are included.
    """
    squares = np.array([np.sum(checkpoint.weights[name].astype(np.float64) ** 2) for name in shapes(checkpoint.config)])
    return {"squares": squares, "total": squares.sum()}
