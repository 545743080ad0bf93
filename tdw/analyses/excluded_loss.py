"""Excluded loss: the loss without the key frequencies."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from tdw.analyses import key_parts
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.cross_entropy import cross_entropy
from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.analyses.key_frequencies import RULES

SETS_AT_ONCE = 64
FAINT = 1e-280  # smaller sums have lost digits to underflow


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
def excluded_loss(checkpoint: Checkpoint) -> Result:
    """Cross-entropy on the train pairs after subtracting from the logits their projection on cos(w_k(a+b)) and
    sin(w_k(a+b)): `together` for all key frequencies, (key set of [the last, this] checkpoint, rule); `alone` for each
    frequency that is a key frequency by any of these, (K,), NaN for other frequencies. NaN if the split is unknown.

    For subtraction a + b is replaced by a − b. For multiplication modulo a prime everything is in group order, and pairs
    with 0 are left out.
    After Nanda et al., "Progress measures for grokking via mechanistic interpretability" (2023), section 5.
    """
    chosen = key_parts.keys(checkpoint)
    together = np.full(chosen.shape[:2], np.nan)
    alone = np.full(chosen.shape[2], np.nan)
    if checkpoint.grid_split_masks is not None and checkpoint.grid_split_masks[0].any():
        sets = np.unique(chosen.reshape(-1, chosen.shape[2]), axis=0)
        single = np.flatnonzero(sets.any(axis=0))
        wanted = np.concatenate([sets, np.eye(len(alone), dtype=bool)[single]])
        losses = without(checkpoint, wanted)
        alone[single] = losses[len(sets) :]
        for index, key in enumerate(sets):
            together[(chosen == key).all(axis=2)] = losses[index]
    return {"together": together, "alone": alone, "final_key": chosen[0]}


def without(checkpoint: Checkpoint, keys: Bool[np.ndarray, "set freq"]) -> Float64[np.ndarray, " set"]:
    """Mean train loss without the frequencies of each key set.

    The projection P depends only on the sum s = a + b. With E = exp(L_c − L_y) of a pair and X = exp(−(P_sc − P_sy)) of
    a key set, both divided by their maximum, Σ_{c≠y} exp of the remaining logits is Σ_{c≠y} E_c X_c: one matrix product
    per s covers all pairs and all sets.
    """
    train, answers, logits = _train_logits(checkpoint)
    order = np.argsort(answers, kind="stable")
    relative = logits[order].astype(np.float64)
    of_pair = _over_largest(relative, answers[order])
    bounds = np.searchsorted(answers[order], np.arange(checkpoint.config.order + 1))
    each = np.einsum("fks,fkc->ksc", key_parts.sum_waves(checkpoint.config.order), checkpoint.sum_coefficients)
    losses = np.empty(len(keys))
    for start in range(0, len(keys), SETS_AT_ONCE):
        some = slice(start, start + SETS_AT_ONCE)
        removed = -np.tensordot(keys[some].astype(np.float64), each, axes=1)  # (sets, s, c)
        flat = removed.reshape(-1, removed.shape[2])
        of_set = _over_largest(flat, np.tile(np.arange(checkpoint.config.order), len(removed))).reshape(
            removed.shape[:2]
        )
        others = np.empty((len(train), len(removed)))
        for s in range(checkpoint.config.order):
            pairs = slice(bounds[s], bounds[s + 1])
            others[pairs] = relative[pairs] @ removed[:, s].T
        if others.min() < FAINT:  # the products may have underflowed
            losses[some] = without_directly(checkpoint, keys[some])
        else:
            sizes = of_pair[:, None] + of_set.T[answers[order]]
            losses[some] = np.logaddexp(0, sizes + np.log(others)).mean(axis=0)
    return losses


def without_directly(checkpoint: Checkpoint, keys: Bool[np.ndarray, "set freq"]) -> Float64[np.ndarray, " set"]:
    """The same as `without`, computed from the definition one set at a time."""
    _, answers, logits = _train_logits(checkpoint)
    return np.array(
        [cross_entropy(logits - key_parts.sum_part(checkpoint, key)[answers], answers).mean() for key in keys]
    )


def _train_logits(
    checkpoint: Checkpoint,
) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " train"], Float[np.ndarray, "train order"]]:
    """Grid indices, answers and logits of the train pairs."""
    assert checkpoint.grid_split_masks is not None
    train = np.flatnonzero(checkpoint.grid_split_masks[0])
    return train, checkpoint.grid_answers[train], checkpoint.logit_grid.reshape(-1, checkpoint.config.order)[train]


def _over_largest(
    logits: Float64[np.ndarray, "row class"], answers: Int64[np.ndarray, " row"]
) -> Float64[np.ndarray, " row"]:
    """Replace the logits by exp(L_c − max over wrong classes), 0 for the correct class y, in place; returns max − L_y."""
    rows = np.arange(len(logits))
    correct = logits[rows, answers].copy()
    logits[rows, answers] = -np.inf
    largest = logits.max(axis=1)
    logits -= largest[:, None]
    np.exp(logits, out=logits)
    return largest - correct
