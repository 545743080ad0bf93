"""Which frequencies the map from neurons to logits is made of."""

from __future__ import annotations

from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(
    title="Unembedding frequencies",
    version=1,
    needs=("frequencies",),
    arrays={"norms": ArraySpec("<f4", ("component",)), "frequency_norms": ArraySpec("<f4", ("frequency",))},
)
def unembedding_frequencies(view: View) -> Result:
    """Norms of the rows of F @ W_Lᵀ, (p,), and per frequency sqrt(cos² + sin²), (K,).

    W_L = W_out W_U, (d_mlp, p), is what each neuron adds to each answer; F, the basis of `tdw.analyses.fourier`, acts on the
    answers. After Nanda et al., "Progress measures for grokking via mechanistic interpretability" (2023), section 4.
    """
    norms, frequency_norms = view.unembedding_norms
    return {"norms": norms, "frequency_norms": frequency_norms}
