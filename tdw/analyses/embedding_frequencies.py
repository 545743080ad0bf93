"""Which frequencies the token embedding is made of."""

from __future__ import annotations

import numpy as np

from tdw import fourier
from tdw.analyses.registry import ArraySpec, Result, analysis
from tdw.analyses.view import View


@analysis(
    title="Embedding frequencies",
    version=1,
    arrays={"norms": ArraySpec("<f4", ("component",)), "frequency_norms": ArraySpec("<f4", ("frequency",))},
)
def embedding_frequencies(view: View) -> Result:
    """Norms of the rows of F @ W_E, (p,), and per frequency sqrt(cos² + sin²), (K,).

    F is the orthonormal real Fourier basis of `tdw.fourier`; W_E is without the row of '='.
    After Nanda et al., "Progress measures for grokking via mechanistic interpretability" (2023), section 4.
    """
    norms = fourier.component_norms(view.weights["embed.W_E"][:-1].astype(np.float64))
    return {"norms": norms, "frequency_norms": fourier.frequency_norms(norms)}
