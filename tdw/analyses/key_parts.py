"""Projections of the logits on a set of frequencies, by each of the published definitions."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from tdw.analyses import fourier
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import find
from tdw.analyses.key_frequencies import key_frequencies

CHOICES = ("final", "each")
Key = Bool[np.ndarray, " freq"]


def keys(checkpoint: Checkpoint) -> Bool[np.ndarray, "2 rule freq"]:
    """Key frequencies of the last checkpoint and of this one, by each rule."""
    if checkpoint.final_key is None:
        raise LookupError("this Checkpoint was made without the key frequencies of the last checkpoint")
    own = key_frequencies(checkpoint, **find("key_frequencies").parameters)["key"]
    return np.stack([checkpoint.final_key, own]).astype(bool)


@cache
def sum_waves(order: int) -> Float64[np.ndarray, "2 freq order"]:
    """Unit vectors along cos(w_k(a+b)) and sin(w_k(a+b)) as functions of a + b; the sine of frequency order/2 is zero. Read-only."""
    rows = fourier.basis(order)[1:] / order**0.5
    waves = np.zeros((2, order // 2, order))
    waves[0], waves[1, : len(rows[1::2])] = rows[::2], rows[1::2]
    waves.setflags(write=False)
    return waves


def sum_part(checkpoint: Checkpoint, key: Key) -> Float64[np.ndarray, "order order"]:
    """Projection of L on cos(w_k(a+b)) and sin(w_k(a+b)) for all k in the key set. It depends on a + b only: (a + b, c)."""
    return along(sum_waves(checkpoint.config.order), checkpoint.sum_coefficients, key)


def along(
    waves: Float64[np.ndarray, "2 freq some"], coefficients: Float64[np.ndarray, "2 freq order"], key: Key
) -> Float64[np.ndarray, "some order"]:
    """The sum of the cosines and sines of the key set with these coefficients."""
    return waves[0, key].T @ coefficients[0, key] + waves[1, key].T @ coefficients[1, key]


def template_part(checkpoint: Checkpoint, key: Key) -> Float64[np.ndarray, "order order"]:
    """Least-squares fit of L by Σ_k α_k cos(w_k(a+b−c)) over the key set: (a + b, c)."""
    order = checkpoint.config.order
    rows = fourier.basis(order)[1:]
    k = np.arange(order - 1) // 2  # zero-based frequency of each row
    share = np.where(2 * (k + 1) < order, 0.5**0.5, 1.0)  # cos p/2 has no sine
    weight = np.where(key, checkpoint.template_coefficients, 0)[k] * share / order**0.5
    return (rows.T * weight) @ rows


class Factors(NamedTuple):
    """A projection of the logits, as the sum of functions of a + b, of a − b, of a and of b, for each answer c.

    of_both: functions of a + b and of a − b modulo the order, (2, order, c) · of_each: of a and of b, (2, order, c), or None
    For subtraction, a + b and a − b change places, so that the first is always the sum that gives the answer.
    """

    of_both: Float64[np.ndarray, "2 order order"]
    of_each: Float64[np.ndarray, "2 order order"] | None


def block(checkpoint: Checkpoint, key: Key, *, with_constant: bool) -> Factors:
    """Projection of L on the products of {cos k a, sin k a} and {cos k b, sin k b} for all k in the key set, and with
    `with_constant` on the products of either with the constant, plus the mean of L over the pairs.

    cos x cos y and sin x sin y are half the sum and half the difference of cos(x − y) and cos(x + y), and likewise for
    sin x cos y and cos x sin y. So the products of two waves of frequency k are the waves of a + b and of a − b.
    """
    order, spectrum = checkpoint.config.order, checkpoint.spectrum
    sign = checkpoint.config.task_kind.sign or 1
    waves = sum_waves(order)[:, key]
    within = spectrum.within[key].astype(np.float64)
    paired = 2 * (np.flatnonzero(key) + 1) < order  # cos p/2 has no sine, and is the same wave of a + b and of a − b
    within[paired] /= 2**0.5
    both = np.empty((2, order, order))
    for index, of in enumerate((sign, -sign)):  # of (a + of · b): the sines of b change their sign with it
        cosines = within[:, 0, 0] - of * within[:, 1, 1]
        sines = within[:, 1, 0] + of * within[:, 0, 1]
        if index == 1:
            cosines[~paired] = 0
        both[index] = waves[0].T @ cosines + waves[1].T @ sines
    both[0] += spectrum.of_a[0].astype(np.float64) / order
    if not with_constant:
        return Factors(both, None)
    rows = 1 + np.flatnonzero(np.repeat(key, 2)[: order - 1])
    basis = fourier.basis(order)[rows].T / order**0.5
    return Factors(both, np.stack([basis @ part[rows].astype(np.float64) for part in (spectrum.of_a, spectrum.of_b)]))
