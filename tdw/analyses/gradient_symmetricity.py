"""Whether both operands push a logit in the same direction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.network.closed_form import erf
from tdw.network.computation import Weights


@analysis(
    title="Gradient symmetricity",
    version=1,
    needs=("embedding",),
    arrays={"value": ArraySpec("<f8", (), gaps=True)},
    triples=100,
    seed=0,
)
def gradient_symmetricity(view: View, *, triples: int, seed: int) -> Result:
    """Mean over `triples` seeded triples (a, b, c) of the cosine between ∂L_abc/∂E_a and ∂L_abc/∂E_b.

    E_a and E_b are the embeddings as they enter at the two places, so that those of a = b are two, not one. A triple
    with a gradient of zero has no cosine and is left out; NaN where all are.
    After Zhong et al., "The Clock and the Pizza" (2023).
    """
    a, b, c = np.random.RandomState(seed).randint(0, view.config.p, (3, triples))
    gradients = logit_gradients(view.weights, view.config.activation, a, b, c)
    lengths = np.linalg.norm(gradients, axis=-1)
    found = lengths.all(axis=0)
    cosines = (gradients[0] * gradients[1]).sum(axis=-1)[found] / lengths.prod(axis=0)[found]
    return {"value": np.float64(cosines.mean() if found.any() else np.nan)}


def logit_gradients(
    weights: Weights,
    activation: str,
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    c: NDArray[np.int64],
) -> NDArray[np.float64]:
    """∂L_abc/∂E_a and ∂L_abc/∂E_b for each triple, (2, triples, d_model), by hand, forwards and backwards once.

    n: triple · t, last: token · h: head · d: d_model · k: d_head
    """
    w = {name.rsplit(".", 1)[-1]: weight.astype(np.float64) for name, weight in weights.items()}
    tokens = len(w["W_pos"])
    read = [a, b, np.full_like(a, len(w["W_E"]) - 1)][:tokens]
    x = np.stack([w["W_E"][token] for token in read]) + w["W_pos"][:, None]  # (t, n, d)
    query = np.einsum("nd,hdk->hnk", x[-1], w["W_Q"]) / w["W_Q"].shape[2] ** 0.5
    key, value = (np.einsum("tnd,hdk->thnk", x, w[name]) for name in ("W_K", "W_V"))
    scores = np.einsum("hnk,thnk->thn", query, key)
    pattern = np.exp(scores - scores.max(axis=0))
    pattern /= pattern.sum(axis=0)
    residual = x[-1] + np.einsum("thn,thnk,hkd->nd", pattern, value, w["W_O"], optimize=True)
    pre = residual @ w["W_in"] + w.get("b_in", 0.0)

    of_output = w["W_U"][:, c].T
    of_residual = of_output + (slope(pre, activation) * (of_output @ w["W_out"].T)) @ w["W_in"].T
    of_mixed = np.einsum("nd,hkd->hnk", of_residual, w["W_O"])
    of_pattern = np.einsum("hnk,thnk->thn", of_mixed, value)
    of_scores = pattern * (of_pattern - (pattern * of_pattern).sum(axis=0))
    found = np.einsum("thn,hnk,hdk->tnd", pattern, of_mixed, w["W_V"], optimize=True)
    found += np.einsum("thn,hnk,hdk->tnd", of_scores, query, w["W_K"], optimize=True)
    if tokens == 2:  # b itself asks, and arrives without attention
        of_query = np.einsum("thn,thnk->hnk", of_scores, key) / w["W_Q"].shape[2] ** 0.5
        found[1] += of_residual + np.einsum("hnk,hdk->nd", of_query, w["W_Q"])
    return found[:2]


def slope(pre: NDArray[np.float64], activation: str) -> NDArray[np.float64]:
    """The derivative of the activation function; that of relu at 0 is 0."""
    if activation == "relu":
        return (pre > 0).astype(np.float64)
    if activation == "quadratic":
        return 2 * pre
    bell = np.exp(-(pre**2) / 2) / (2 * np.pi) ** 0.5
    return 0.5 * (1 + erf((pre / 2**0.5).astype(np.float32))) + pre * bell
