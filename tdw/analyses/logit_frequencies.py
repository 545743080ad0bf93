"""How much of the logits is cos(w_k(a + b − c))."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ArraySpec, Result, analysis

PER_FREQUENCY = ArraySpec("<f8", ("frequency",))


@analysis(
    title="Logit frequencies",
    version=1,
    needs=("sum",),
    reads=("activations", "logits", "spectrum"),
    arrays={"coefficient": PER_FREQUENCY, "cosine": PER_FREQUENCY, "explained": ArraySpec("<f8", ())},
)
def logit_frequencies(checkpoint: Checkpoint) -> Result:
    """Coefficients ⟨T_k/‖T_k‖, L⟩ of the templates T_k = cos(w_k(a+b−c)) and their cosine similarities with L − mean_c L,
    (K,) each; and the share of the variance of L − mean_c L that all templates explain, Σ_k similarity².

    For subtraction a + b is replaced by a − b. For multiplication modulo a prime everything is in group order, and pairs
    and answers with 0 are left out. The similarity is 0 if the logits of all answers are equal.
    After Nanda et al., "Progress measures for grokking via mechanistic interpretability" (2023), section 4.
    """
    return {
        "coefficient": checkpoint.template_coefficients,
        "cosine": checkpoint.logit_cosine,
        "explained": np.sum(checkpoint.logit_cosine**2),
    }
