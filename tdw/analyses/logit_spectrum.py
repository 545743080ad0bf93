"""Which products of waves in a and in b the logits are made of."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(
    title="Logit spectrum",
    version=1,
    needs=("frequencies",),
    arrays={"norm": ArraySpec("<f4", ("component", "component"))},
)
def logit_spectrum(view: View) -> Result:
    """Norm over the answers c of (F ⊗ F) L, (p, p): row i, column j is the product of component i of a and j of b.

    After Nanda et al., "Progress measures for grokking via mechanistic interpretability" (2023), section 4.1.
    """
    return {"norm": np.sqrt(np.einsum("ijc,ijc->ij", view.spectrum, view.spectrum))}
