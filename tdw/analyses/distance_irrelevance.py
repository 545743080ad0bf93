"""Whether the right logit depends on the distance of the operands: clock or pizza."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(
    title="Distance irrelevance",
    version=1,
    needs=("odd_sum",),
    arrays={"value": ArraySpec("<f8", (), gaps=True)},
)
def distance_irrelevance(view: View) -> Result:
    """With o[s, d] = L[a, b, a+b] at s = a+b, d = a−b (mod p, p odd): mean_d std_s o[:, d] / std(o).

    Near 0 where the right logit depends on the distance d alone, as in a pizza, whose logits are those of a clock times
    |cos(w_k(a−b)/2)|; near 1 where it does not depend on it, as in a clock. NaN where the right logit is the same for
    all pairs. After Zhong et al., "The Clock and the Pizza" (2023), whose measure it is.
    """
    p = view.config.p
    a, b = np.indices((p, p))
    right = np.empty((p, p))
    right[(a + b) % p, (a - b) % p] = view.logits[a, b, (a + b) % p]
    spread = right.std()
    still = spread <= 1e-6 * np.abs(right).max()
    return {"value": np.float64(np.nan if still else right.std(axis=0).mean() / spread)}
