"""The part of the logits that lies in given frequencies, by each of the definitions that have been published."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tdw.analyses import fourier
from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.registry import find
from tdw.analyses.key_frequencies import key_frequencies

CHOICES = ("final", "each")
Key = NDArray[np.bool_]


def keys(view: View) -> Key:
    """Key frequencies of the last checkpoint and of this one, by each rule, (2, rules, K)."""
    if view.final_key is None:
        raise LookupError("the key frequencies of the last checkpoint were asked for, and not given")
    own = key_frequencies(view, **find("key_frequencies").parameters)["key"]
    return np.stack([view.final_key, own]).astype(bool)


def sum_waves(order: int) -> NDArray[np.float64]:
    """Unit vectors along cos(w_k(a+b)) and sin(w_k(a+b)) as functions of a + b, (2, K, order); sin p/2 is zero."""
    rows = fourier.basis(order)[1:] / order**0.5
    waves = np.zeros((2, order // 2, order))
    waves[0], waves[1, : len(rows[1::2])] = rows[::2], rows[1::2]
    return waves


def sum_part(view: View, key: Key) -> NDArray[np.float64]:
    """Projection of L on cos(w_k(a+b)) and sin(w_k(a+b)) for all k in the key set, which depends on a + b alone:
    (a + b, c).
    """
    return np.einsum("fks,fkc->sc", sum_waves(view.config.order)[:, key], view.sum_coefficients[:, key], optimize=True)


def template_part(view: View, key: Key) -> NDArray[np.float64]:
    """Least-squares fit of L by Σ_k α_k cos(w_k(a+b−c)) over the key set: (a + b, c)."""
    order = view.config.order
    rows = fourier.basis(order)[1:]
    k = np.arange(order - 1) // 2  # which frequency, counted from 0, each row is a wave of
    share = np.where(2 * (k + 1) < order, 0.5**0.5, 1.0)  # cos p/2 has no sine beside it
    weight = np.where(key, view.template_coefficients, 0)[k] * share / order**0.5
    return (rows.T * weight) @ rows


def block(view: View, key: Key, *, with_constant: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Projection of L on the products of {cos k a, sin k a} with {cos k b, sin k b} for all k in the key set, and
    (`with_constant`) those of either with the constant; the mean of L over the pairs added. As two factors that are
    yet to be multiplied: (order, component), and for each a (a, component, c).
    """
    order = view.config.order
    group = np.concatenate([[0], np.arange(order - 1) // 2 + 1])  # 0: the constant, then the frequency of each row
    kept = np.flatnonzero(np.concatenate([[True], key])[group])
    first, second = group[kept][:, None], group[kept][None, :]
    mask = first == second
    if with_constant:
        mask |= (first == 0) | (second == 0)
    rows = fourier.basis(order)[kept].astype(np.float32)
    coefficients = view.spectrum[np.ix_(kept, kept)] * mask[:, :, None]
    return rows.T.copy(), (rows.T @ coefficients.reshape(len(kept), -1)).reshape(order, len(kept), order)
