"""How much of the logits is a cosine of a + b − c."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.registry import ArraySpec, Result, analysis

OF_FREQUENCY = ArraySpec("<f8", ("frequency",))


@analysis(
    title="Logit frequencies",
    version=1,
    needs=("sum",),
    arrays={"coefficient": OF_FREQUENCY, "cosine": OF_FREQUENCY, "explained": ArraySpec("<f8", ())},
)
def logit_frequencies(view: View) -> Result:
    """With the templates T_k = cos(w_k(a+b−c)): coefficients ⟨T_k/‖T_k‖, L⟩ and cosine similarities of T_k with
    L − mean_c L, (K,) each; and the share of the variance of L − mean_c L that all templates explain, Σ_k similarity².

    For differences a − b stands for a + b; for products modulo a prime everything is in the order of powers, pairs and
    answers with 0 left out. Logits that do not differ between answers have similarity 0.
    After Nanda et al., "Progress measures for grokking via mechanistic interpretability" (2023), section 4.
    """
    return {
        "coefficient": view.template_coefficients,
        "cosine": view.logit_cosine,
        "explained": np.sum(view.logit_cosine**2),
    }
