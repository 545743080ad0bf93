"""The one cross-entropy of all measures, and its means over all, train and test pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDES = ("all", "train", "test")


def cross_entropy(logits: NDArray[np.floating[Any]], answers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cross-entropy of each pair in nats, (pairs,), from logits (pairs, classes). Overwrites the logits.

    log1p(Σ_{c≠y} exp(L_c − L_y)): the right answer y is left out of the sum, so that a loss of 1e-12 keeps as many
    digits as one of 1. The largest wrong logit is taken out of the sum first, so that nothing overflows.

    >>> cross_entropy(np.array([[0.0, 0.0], [30.0, 0.0]]), np.array([0, 0]))
    array([6.93147181e-01, 9.35762297e-14])
    """
    return cross_entropy_and_margin(logits, answers)[0]


def cross_entropy_and_margin(
    logits: NDArray[np.floating[Any]], answers: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cross-entropy of each pair, and its right logit less the largest wrong one, (pairs,) each. Overwrites the logits.

    >>> cross_entropy_and_margin(np.array([[0.0, 3.0, 5.0]]), np.array([2]))[1]
    array([2.])
    """
    pairs = np.arange(len(logits))
    right = logits[pairs, answers].astype(np.float64)
    logits[pairs, answers] = -np.inf
    wrong = logits.max(axis=1)
    logits -= wrong[:, None]
    np.exp(logits, out=logits)
    others = np.einsum("ij->i", logits)  # of hundreds of numbers in 0 … 1: its rounding is that of the exponentials
    margin = right - wrong
    return np.logaddexp(0, np.log(others.astype(np.float64)) - margin), margin


def means(losses: NDArray[np.floating[Any]], sides: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Mean over all, train and test pairs, (…, 3), from values (…, pairs); NaN where there is no such pair, or nobody
    knows which they are. sides: which pairs are train and test ones, (2, pairs), or None.
    """
    found = np.full((*losses.shape[:-1], 3), np.nan)
    found[..., 0] = losses.mean(axis=-1)
    if sides is not None:
        for side in (0, 1):
            if sides[side].any():
                found[..., 1 + side] = losses[..., sides[side]].mean(axis=-1)
    return found
