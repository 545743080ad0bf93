"""Distance irrelevance: how little the correct logit depends on a − b (clock or pizza)."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(
    title="Distance irrelevance",
    version=1,
    needs=("odd_sum",),
    reads=("activations", "logits"),
    arrays={"value": ArraySpec("<f8", (), gaps=True)},
)
def distance_irrelevance(checkpoint: Checkpoint) -> Result:
    """With o[s, d] = L[a, b, a+b] at s = a+b, d = a−b (mod p, p odd): mean_d std_s o[:, d] / std(o).

    Near 0 if the correct logit depends on the distance d only, as in a pizza, whose logits are those of a clock times
    |cos(w_k(a−b)/2)|; near 1 if it does not depend on d, as in a clock. NaN if the correct logit is the same for all
    pairs. Formula of Zhong et al., "The Clock and the Pizza" (2023).
    """
    p = checkpoint.config.p
    a, b = np.indices((p, p))
    correct = np.empty((p, p))
    correct[(a + b) % p, (a - b) % p] = checkpoint.logits[a, b, (a + b) % p]
    spread = correct.std()
    constant = spread <= 1e-6 * np.abs(correct).max()
    return {"value": np.float64(np.nan if constant else correct.std(axis=0).mean() / spread)}
