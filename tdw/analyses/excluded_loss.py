"""Excluded loss: the loss without the key frequencies."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int64

from tdw.analyses import key_parts
from tdw.analyses.engine.checkpoint import BLOCK, Checkpoint
from tdw.analyses.engine.cross_entropy import FAINT, cross_entropy, over_largest, row_blocks
from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.analyses.key_frequencies import RULES

SETS_AT_ONCE = 64


@analysis(
    title="Excluded loss",
    version=1,
    needs=("sum",),
    final_keys=True,
    reads=("activations", "logits", "spectrum"),
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
    order = checkpoint.config.order
    ranked = _train_pairs(checkpoint)
    answers = checkpoint.grid_answers[ranked]
    bounds = np.searchsorted(answers, np.arange(order + 1))
    waves = key_parts.sum_waves(order)
    of_pair, of_set = np.empty(len(ranked)), np.empty((len(keys), order))
    others = np.empty((len(ranked), len(keys)))
    sets = [slice(first, first + SETS_AT_ONCE) for first in range(0, len(keys), SETS_AT_ONCE)]
    # per s: of the pairs with this sum, of the key sets, and of all frequencies
    bytes_of_each = 8 * order * (len(ranked) // order + min(len(keys), SETS_AT_ONCE) + len(waves[0]))
    at_once = max(BLOCK // bytes_of_each, 1)
    for first in range(0, order, at_once):
        sums = slice(first, min(first + at_once, order))
        pairs = slice(bounds[sums.start], bounds[sums.stop])
        relative = checkpoint.grid_rows(ranked[pairs]).astype(np.float64)
        of_pair[pairs] = over_largest(relative, answers[pairs])
        each = np.einsum("fks,fkc->ksc", waves[:, :, sums], checkpoint.sum_coefficients)
        for some in sets:
            removed = -np.tensordot(keys[some].astype(np.float64), each, axes=1)  # (sets, s, c)
            flat = removed.reshape(-1, order)
            correct = np.tile(np.arange(order)[sums], len(removed))
            of_set[some, sums] = over_largest(flat, correct).reshape(removed.shape[:2])
            for at, s in enumerate(range(sums.start, sums.stop)):
                rows = slice(bounds[s], bounds[s + 1])
                within = slice(bounds[s] - pairs.start, bounds[s + 1] - pairs.start)
                others[rows, some] = relative[within] @ removed[:, at].T
    losses = np.empty(len(keys))
    for some in sets:
        if others[:, some].min() < FAINT:  # the products may have underflowed
            losses[some] = without_directly(checkpoint, keys[some])
        else:
            sizes = of_pair[:, None] + of_set[some].T[answers]
            losses[some] = np.logaddexp(0, sizes + np.log(others[:, some])).mean(axis=0)
    return losses


def without_directly(checkpoint: Checkpoint, keys: Bool[np.ndarray, "set freq"]) -> Float64[np.ndarray, " set"]:
    """The same as `without`, computed from the definition one set at a time."""
    pairs = np.sort(_train_pairs(checkpoint))
    answers = checkpoint.grid_answers[pairs]
    losses = np.empty((len(keys), len(pairs)))
    for key, loss in zip(keys, losses, strict=True):
        removed = key_parts.sum_part(checkpoint, key)
        for rows in row_blocks(len(pairs), checkpoint.config.order):
            loss[rows] = cross_entropy(checkpoint.grid_rows(pairs[rows]) - removed[answers[rows]], answers[rows])
    return losses.mean(axis=1)


def _train_pairs(checkpoint: Checkpoint) -> Int64[np.ndarray, " train"]:
    """Grid indices of the train pairs, ordered by their answers."""
    assert checkpoint.grid_split_masks is not None
    train = np.flatnonzero(checkpoint.grid_split_masks[0])
    return train[np.argsort(checkpoint.grid_answers[train], kind="stable")]
