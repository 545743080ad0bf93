"""The cross-entropy that all analyses share, and means over all, train and test pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

VALUES_AT_ONCE = 1 << 18
FAINT = 1e-280  # smaller sums of products of exponentials have lost digits to underflow
SIDES = ("all", "train", "test")


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of rows that fit into the processor's cache.

    >>> list(row_blocks(300, 1000))
    [slice(0, 262, None), slice(262, 300, None)]
    """
    at_once = max(VALUES_AT_ONCE // max(columns, 1), 1)
    return (slice(first, min(first + at_once, rows)) for first in range(0, rows, at_once))


def cross_entropy(
    logits: Float[np.ndarray, "pair class"], answers: Int64[np.ndarray, " pair"]
) -> Float64[np.ndarray, " pair"]:
    """Cross-entropy of each pair in nats. Overwrites the logits.

    log1p(Σ_{c≠y} exp(L_c − L_y)): the correct answer y is left out of the sum, so that a loss of 1e-12 is as precise as a
    loss of 1. The largest wrong logit is factored out of the sum, so that it cannot overflow.

    >>> cross_entropy(np.array([[0.0, 0.0], [30.0, 0.0]]), np.array([0, 0]))
    array([6.93147181e-01, 9.35762297e-14])
    """
    return pair_values(logits, answers).loss


class PairValues(NamedTuple):
    """Of each pair: its cross-entropy in nats, its margin, which is the correct logit minus the largest wrong one, and that."""

    loss: Float64[np.ndarray, " pair"]
    margin: Float64[np.ndarray, " pair"]
    largest_wrong: Float64[np.ndarray, " pair"]


def pair_values(logits: Float[np.ndarray, "pair class"], answers: Int64[np.ndarray, " pair"]) -> PairValues:
    """The values of each pair, as in `cross_entropy`. Overwrites the logits.

    >>> pair_values(np.array([[0.0, 3.0, 5.0]]), np.array([2]))[1:]
    (array([2.]), array([3.]))
    """
    pairs = np.arange(len(logits))
    correct = logits[pairs, answers].astype(np.float64)
    logits[pairs, answers] = -np.inf
    wrong = logits.max(axis=1)
    logits -= wrong[:, None]
    np.exp(logits, out=logits)
    others = np.einsum("ij->i", logits)  # a few hundred values in [0, 1]: rounding is that of the exponentials
    margin = correct - wrong
    return PairValues(log1p_exp(np.log(others.astype(np.float64)) - margin), margin, wrong.astype(np.float64))


def log1p_exp(x: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """log(1 + exp(x)), without overflow and with all digits where it is small; a loop in C, unlike `numpy.logaddexp`.

    >>> log1p_exp(np.array([-800.0, -40.0, 0.0, 800.0])).tolist()
    [0.0, 4.248354255291589e-18, 0.6931471805599453, 800.0]
    """
    result = np.log1p(np.exp(-np.abs(x)))
    result += np.maximum(x, 0)
    return result


def over_largest(
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


def means(
    values: Float[np.ndarray, "*batch pair"], split_masks: Bool[np.ndarray, "2 pair"] | None
) -> Float64[np.ndarray, "*batch 3"]:
    """Means over all, train and test pairs; NaN for an empty set, or if the split is unknown (None).

    >>> means(np.array([1.0, 2.0, 6.0]), np.array([[True, True, False], [False, False, True]]))
    array([3. , 1.5, 6. ])
    """
    result = np.full((*values.shape[:-1], 3), np.nan)
    result[..., 0] = values.mean(axis=-1)
    if split_masks is not None:
        for side in (0, 1):
            if split_masks[side].any():
                result[..., 1 + side] = np.take(values, np.flatnonzero(split_masks[side]), axis=-1).mean(axis=-1)
    return result
