"""Fourier norms of the token embedding."""

from __future__ import annotations

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(
    title="Embedding frequencies",
    version=1,
    needs=("frequencies",),
    arrays={"norms": ArraySpec("<f4", ("component",)), "frequency_norms": ArraySpec("<f4", ("frequency",))},
)
def embedding_frequencies(checkpoint: Checkpoint) -> Result:
    """Norms of the rows of F @ W_E, (p,), and per frequency sqrt(cos² + sin²), (K,).

    F is the orthonormal real Fourier basis of `tdw.analyses.fourier`; W_E excludes the row of '='. For a one-hot MLP, which has
    no embedding, W_E is its input weights, those of a and b concatenated.
    After Nanda et al., "Progress measures for grokking via mechanistic interpretability" (2023), section 4.
    """
    norms, frequency_norms = checkpoint.embedding_norms
    return {"norms": norms, "frequency_norms": frequency_norms}
