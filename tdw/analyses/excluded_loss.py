"""The loss of a network from which the key frequencies are taken away."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tdw.analyses import key_parts
from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.cross_entropy import cross_entropy
from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.analyses.key_frequencies import RULES
from tdw.analyses.key_parts import Key

SETS_AT_ONCE = 64
FAINT = 1e-280


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


def without(view: View, keys: Key) -> NDArray[np.float64]:
    """Mean train loss without the frequencies of each key set, (sets,) from (sets, K).

    What is taken away depends on the sum s = a + b alone. With E = exp(L_c − L_y) of a pair and X = exp(−(P_sc − P_sy))
    of a set, both over their largest value, Σ_{c≠y} exp of the remaining logits is Σ_{c≠y} E_c X_c: for each s one
    product of matrices gives all pairs and all sets.
    """
    train, answers, logits = _train_logits(view)
    order = np.argsort(answers, kind="stable")
    relative = logits[order].astype(np.float64)
    of_pair = _over_largest(relative, answers[order])
    bounds = np.searchsorted(answers[order], np.arange(view.config.order + 1))
    each = np.einsum("fks,fkc->ksc", key_parts.sum_waves(view.config.order), view.sum_coefficients)
    found = np.empty(len(keys))
    for start in range(0, len(keys), SETS_AT_ONCE):
        some = slice(start, start + SETS_AT_ONCE)
        taken = -np.tensordot(keys[some].astype(np.float64), each, axes=1)  # (sets, s, c)
        flat = taken.reshape(-1, taken.shape[2])
        of_set = _over_largest(flat, np.tile(np.arange(view.config.order), len(taken))).reshape(taken.shape[:2])
        others = np.empty((len(train), len(taken)))
        for s in range(view.config.order):
            pairs = slice(bounds[s], bounds[s + 1])
            others[pairs] = relative[pairs] @ taken[:, s].T
        if others.min() < FAINT:  # logits so far apart that the products are out of the range of numbers
            found[some] = without_directly(view, keys[some])
        else:
            sizes = of_pair[:, None] + of_set.T[answers[order]]
            found[some] = np.logaddexp(0, sizes + np.log(others)).mean(axis=0)
    return found


def without_directly(view: View, keys: Key) -> NDArray[np.float64]:
    """The same by the definition, set by set."""
    _, answers, logits = _train_logits(view)
    return np.array([cross_entropy(logits - key_parts.sum_part(view, key)[answers], answers).mean() for key in keys])


def _train_logits(view: View) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Places in the grid, answers and logits of the train pairs."""
    assert view.grid_sides is not None
    train = np.flatnonzero(view.grid_sides[0])
    return train, view.grid_answers[train], view.logit_grid.reshape(-1, view.config.order)[train]


def _over_largest(logits: NDArray[np.float64], answers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Turns logits (rows, classes) into exp(L_c − max) over the wrong classes c, 0 for the right one y, in place; gives
    max − L_y, (rows,).
    """
    rows = np.arange(len(logits))
    right = logits[rows, answers].copy()
    logits[rows, answers] = -np.inf
    largest = logits.max(axis=1)
    logits -= largest[:, None]
    np.exp(logits, out=logits)
    return largest - right
