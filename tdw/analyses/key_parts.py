"""Projections of the logits on a set of frequencies, by each of the published definitions."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64

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


def sum_waves(order: int) -> Float64[np.ndarray, "2 freq order"]:
    """Unit vectors along cos(w_k(a+b)) and sin(w_k(a+b)) as functions of a + b; the sine of frequency order/2 is zero."""
    rows = fourier.basis(order)[1:] / order**0.5
    waves = np.zeros((2, order // 2, order))
    waves[0], waves[1, : len(rows[1::2])] = rows[::2], rows[1::2]
    return waves


def sum_part(checkpoint: Checkpoint, key: Key) -> Float64[np.ndarray, "order order"]:
    """Projection of L on cos(w_k(a+b)) and sin(w_k(a+b)) for all k in the key set. It depends on a + b only: (a + b, c)."""
    return np.einsum(
        "fks,fkc->sc", sum_waves(checkpoint.config.order)[:, key], checkpoint.sum_coefficients[:, key], optimize=True
    )


def template_part(checkpoint: Checkpoint, key: Key) -> Float64[np.ndarray, "order order"]:
    """Least-squares fit of L by Σ_k α_k cos(w_k(a+b−c)) over the key set: (a + b, c)."""
    order = checkpoint.config.order
    rows = fourier.basis(order)[1:]
    k = np.arange(order - 1) // 2  # zero-based frequency of each row
    share = np.where(2 * (k + 1) < order, 0.5**0.5, 1.0)  # cos p/2 has no sine
    weight = np.where(key, checkpoint.template_coefficients, 0)[k] * share / order**0.5
    return (rows.T * weight) @ rows


def block(
    checkpoint: Checkpoint, key: Key, *, with_constant: bool
) -> tuple[Float[np.ndarray, "order kept"], Float[np.ndarray, "order kept order"]]:
    """Projection of L on the products of {cos k a, sin k a} and {cos k b, sin k b} for all k in the key set, and with
    `with_constant` on the products of either with the constant, plus the mean of L over the pairs.

    Returned as two factors: waves (b, component) and coefficients (a, component, c); `waves @ coefficients[a]` is the
    projection for one a, (b, c).
    """
    order = checkpoint.config.order
    group = np.concatenate([[0], np.arange(order - 1) // 2 + 1])  # frequency of each row, 0 for the constant
    kept = np.flatnonzero(np.concatenate([[True], key])[group])
    first, second = group[kept][:, None], group[kept][None, :]
    mask = first == second
    if with_constant:
        mask |= (first == 0) | (second == 0)
    rows = fourier.basis(order)[kept].astype(np.float32)
    coefficients = checkpoint.spectrum[np.ix_(kept, kept)] * mask[:, :, None]
    return rows.T.copy(), (rows.T @ coefficients.reshape(len(kept), -1)).reshape(order, len(kept), order)
