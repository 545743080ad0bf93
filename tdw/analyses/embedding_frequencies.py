"""Which frequencies the token embedding is made of."""

from __future__ import annotations

from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(
    title="Embedding frequencies",
    version=1,
    needs=("frequencies",),
    arrays={"norms": ArraySpec("<f4", ("component",)), "frequency_norms": ArraySpec("<f4", ("frequency",))},
)
def embedding_frequencies(view: View) -> Result:
    """Norms of the rows of F @ W_E, (p,), and per frequency sqrt(cos² + sin²), (K,).

    F is the orthonormal real Fourier basis of `tdw.analyses.fourier`; W_E is without the row of '='. An MLP on one-hot pairs has
    no embedding: there W_E is its input weights, those of a and of b side by side.
    After Nanda et al., "Progress measures for grokking via mechanistic interpretability" (2023), section 4.
    """
    norms, frequency_norms = view.embedding_norms
    return {"norms": norms, "frequency_norms": frequency_norms}
