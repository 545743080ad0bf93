"""Sparsity of the embedding and unembedding in frequency space."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ArraySpec, Result, analysis

SCALAR = ArraySpec("<f8", ())


@analysis(
    title="Sparsity",
    version=1,
    needs=("frequencies",),
    arrays={
        "embedding_gini": SCALAR,
        "embedding_participation": SCALAR,
        "unembedding_gini": SCALAR,
        "unembedding_participation": SCALAR,
    },
)
def sparsity(checkpoint: Checkpoint) -> Result:
    """Gini coefficient and inverse participation ratio of the frequency norms of W_E and of W_L, without the constant.

    Gini coefficient as in Nanda et al., "Progress measures for grokking via mechanistic interpretability" (2023),
    section 5: 0 if all K norms are equal, 1 − 1/K if only one is nonzero.
    """
    embedding, unembedding = checkpoint.embedding_norms[1], checkpoint.unembedding_norms[1]
    return {
        "embedding_gini": np.float64(gini(embedding)),
        "embedding_participation": np.float64(participation(embedding)),
        "unembedding_gini": np.float64(gini(unembedding)),
        "unembedding_participation": np.float64(participation(unembedding)),
    }


def gini(norms: Float[np.ndarray, " freq"]) -> float:
    """Σ_ij |x_i − x_j| / (2 n Σ x), computed as Σ_i (2i − n − 1) x_(i) / (n Σ x) over the sorted values; 0 if all are 0.

    >>> gini(np.ones(4)), gini(np.array([0, 0, 0, 2.0]))
    (0.0, 0.75)
    """
    x = np.sort(norms.astype(np.float64))
    n, total = len(x), x.sum()
    return float((2 * np.arange(1, n + 1) - n - 1) @ x / (n * total)) if total > 0 else 0.0


def participation(norms: Float[np.ndarray, " freq"]) -> float:
    """Inverse participation ratio Σ x⁴ / (Σ x²)²: 1/K if all are equal, 1 if one is nonzero, 0 if all are 0.

    >>> participation(np.ones(4)), participation(np.array([0, 0, 0, 2.0]))
    (0.25, 1.0)
    """
    energy = norms.astype(np.float64) ** 2
    total = energy.sum()
    return float((energy @ energy) / total**2) if total > 0 else 0.0
