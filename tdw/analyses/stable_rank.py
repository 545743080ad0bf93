"""Stable rank of each weight matrix."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tdw.analyses.effective_dimension import gram, matrices
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(title="Stable rank", version=1, arrays={"rank": ArraySpec("<f8", ("matrix",))})
def stable_rank(checkpoint: Checkpoint) -> Result:
    """‖W‖_F² / ‖W‖₂² = Σs² / max s² with the singular values s of each weight matrix, in the order of
    `tdw.network.parameters.shapes` without biases, (matrices,): from 1 to the rank. 0 for a zero matrix.

    Also called numerical rank: Rudelson and Vershynin (2007), "Sampling from large matrices", section 1. Of a weight with
    three axes it is that of all heads together, joined as in `effective_dimension`, and not that of each head.
    """
    return {"rank": np.array([stable_rank_of(matrix) for matrix in matrices(checkpoint)])}


def stable_rank_of(matrix: Float[np.ndarray, "rows columns"]) -> float:
    """Σs² / max s² = tr G / λ with the largest eigenvalue λ of the Gram matrix G.

    >>> stable_rank_of(np.diag([2.0, 1.0, 1.0])), stable_rank_of(np.eye(3))
    (1.5, 3.0)
    """
    products = gram(matrix)
    total = np.trace(products)
    return float(total / np.linalg.eigvalsh(products)[-1]) if total > 0 else 0.0
