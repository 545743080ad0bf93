"""Fourier norms of the neuron-to-logit map."""

from __future__ import annotations

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(
    title="Unembedding frequencies",
    version=1,
    needs=("frequencies",),
    arrays={"norms": ArraySpec("<f4", ("component",)), "frequency_norms": ArraySpec("<f4", ("frequency",))},
)
def unembedding_frequencies(checkpoint: Checkpoint) -> Result:
    """Norms of the rows of F @ W_Lᵀ, (p,), and per frequency sqrt(cos² + sin²), (K,).

    W_L = W_out W_U, (d_mlp, p), is the contribution of each neuron to each answer's logit; F, the basis of
    `tdw.analyses.fourier`, acts on the answer axis. After Nanda et al., "Progress measures for grokking via mechanistic interpretability" (2023), section 4.
    """
    norms, frequency_norms = checkpoint.unembedding_norms
    return {"norms": norms, "frequency_norms": frequency_norms}
