"""The loss of a network from which the key frequencies are taken away."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tdw.analyses import key_parts
from tdw.analyses.cross_entropy import cross_entropy
from tdw.analyses.key_frequencies import RULES
from tdw.analyses.registry import ArraySpec, Result, analysis
from tdw.analyses.view import View


@analysis(
    title="Excluded loss",
    version=1,
    needs=("sum",),
    final_keys=True,
    arrays={
        "together": ArraySpec("<f8", (len(key_parts.CHOICES), len(RULES)), gaps=True),
        "alone": ArraySpec("<f8", ("frequency",), gaps=True),
        "final_key": ArraySpec("|u1", (len(RULES), "frequency")),
    },
)
def excluded_loss(view: View) -> Result:
    """Cross-entropy on the train pairs of logits from which what lies along cos(w_k(a+b)) and sin(w_k(a+b)) is taken
    away, nothing added back: for all key frequencies together, (key set of the last checkpoint or of this one, rule of
    the key set), and for each frequency alone that is a key one by any of these, (K,), NaN for others. All are NaN
    where nobody knows the split.

    For differences a − b stands for a + b. For products modulo a prime everything is in the order of powers, and the
    loss is that of the train pairs without 0.
    After Nanda et al., "Progress measures for grokking via mechanistic interpretability" (2023), section 5.
    """
    chosen = key_parts.keys(view)
    together = np.full(chosen.shape[:2], np.nan)
    alone = np.full(chosen.shape[2], np.nan)
    if view.grid_sides is not None and view.grid_sides[0].any():
        sets = np.unique(chosen.reshape(-1, chosen.shape[2]), axis=0)
        single = np.flatnonzero(sets.any(axis=0))
        wanted = np.concatenate([sets, np.eye(len(alone), dtype=bool)[single]])
        losses = without(view, wanted)
        alone[single] = losses[len(sets) :]
        for index, key in enumerate(sets):
            together[(chosen == key).all(axis=2)] = losses[index]
    return {"together": together, "alone": alone, "final_key": chosen[0]}


def without(view: View, keys: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean train loss without the frequencies of each key set, (sets,) from (sets, K)."""
    assert view.grid_sides is not None
    train = np.flatnonzero(view.grid_sides[0])
    logits = view.logit_grid.reshape(-1, view.config.order)[train]
    answers = view.grid_answers[train]
    found = [cross_entropy(logits - key_parts.sum_part(view, key)[answers], answers).mean() for key in keys]
    return np.array(found)
