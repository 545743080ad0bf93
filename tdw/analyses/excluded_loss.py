"""Excluded loss: the loss without the key frequencies."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int64

from tdw.analyses import key_parts
from tdw.analyses.engine.checkpoint import BLOCK, Checkpoint
from tdw.analyses.engine.cross_entropy import FAINT, cross_entropy, log1p_exp, over_largest, row_blocks
from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.analyses.key_frequencies import RULES


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
    order, ranked = checkpoint.config.order, _train_pairs(checkpoint)
    answers = checkpoint.grid_answers[ranked]
    bounds = np.searchsorted(answers, np.arange(order + 1))
    largest = checkpoint.of_pairs.largest_wrong[checkpoint.grid_pairs[ranked]]  # or of 0, where that is left out
    waves = key_parts.sum_waves(order)
    total, least = np.zeros(len(keys)), np.full(len(keys), np.inf)
    bytes_of_each = 8 * (order * len(keys) + len(ranked) // order * (order + len(keys)))  # of a sum
    at_once = max(BLOCK // bytes_of_each, 1)
    for first in range(0, order, at_once):
        sums = np.arange(first, min(first + at_once, order))
        removed = np.empty((len(keys), len(sums), order))
        of_set = np.empty((len(keys), len(sums)))
        for index, key in enumerate(keys):
            np.negative(key_parts.along(waves[:, :, sums], checkpoint.sum_coefficients, key), out=removed[index])
            of_set[index] = over_largest(removed[index], sums)
        start = bounds[first]
        some = slice(start, bounds[first + len(sums)])
        each, answer = np.arange(some.stop - start), answers[some]
        logits = checkpoint.grid_rows(ranked[some]).astype(np.float64)
        ahead = largest[some] - logits[each, answer]  # of the correct one
        logits -= largest[some, None]
        logits[each, answer] = -np.inf
        np.exp(logits, out=logits)
        others = np.empty((len(logits), len(keys)))
        for s in sums:
            rows = slice(bounds[s] - start, bounds[s + 1] - start)
            np.matmul(logits[rows], removed[:, s - first].T, out=others[rows])
        least = np.minimum(least, others.min(axis=0, initial=np.inf))
        with np.errstate(divide="ignore"):  # told by `least`
            np.log(others, out=others)
        others += of_set.T[answer - first] + ahead[:, None]
        total += log1p_exp(others).sum(axis=0)
    losses = total / len(ranked)
    faint = least < FAINT  # the products may have underflowed
    losses[faint] = without_directly(checkpoint, keys[faint])
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
