"""Gradient symmetricity: whether both operands change a logit in the same direction."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Integer

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.network.closed_form import erf
from tdw.network.computation import Weights
from tdw.network.kinds import Nonlinearity

BATCH = 512  # triples at a time


@analysis(
    title="Gradient symmetricity",
    version=2,
    needs=("embedding", "closed_form"),
    per_neuron=5 * 8 * BATCH,
    arrays={"value": ArraySpec("<f8", (), gaps=True), "error": ArraySpec("<f8", (), gaps=True)},
    error=0.01,
    all_up_to=4096,
    seed=0,
)
def gradient_symmetricity(checkpoint: Checkpoint, *, error: float, all_up_to: int, seed: int) -> Result:
    """Mean over triples (a, b, c) of the cosine between ∂L_abc/∂E_a and ∂L_abc/∂E_b, and its standard error.

    Over all p³ triples if these are at most `all_up_to`, which leaves no error; else over seeded random ones, as many as a
    standard error of at most `error` takes. E_a and E_b are the embeddings at the two positions, distinct even if a = b.
    Triples with a zero gradient are left out; NaN if all are zero.
    After Zhong et al., "The Clock and the Pizza" (2023), who take 100 triples.
    """
    p = checkpoint.config.p
    weights = {name: weight.astype(np.float64) for name, weight in checkpoint.weights.items()}  # once for all batches
    if p**3 <= all_up_to:
        found = np.concatenate(
            [_cosines(checkpoint, weights, batch) for batch in np.array_split(np.arange(p**3), 1 + p**3 // BATCH)]
        )
        return {
            "value": np.float64(found.mean() if found.size else np.nan),
            "error": np.float64(0 if found.size else np.nan),
        }
    random = np.random.RandomState(seed)
    found = np.zeros(0)
    for drawn in range(BATCH, p**3 + BATCH, BATCH):
        found = np.concatenate([found, _cosines(checkpoint, weights, random.randint(0, p**3, BATCH))])
        if not found.size:  # at most all of them are zero
            if drawn >= all_up_to:
                return {"value": np.float64(np.nan), "error": np.float64(np.nan)}
        elif found.std() / found.size**0.5 <= error:
            break
    return {"value": found.mean(), "error": np.float64(found.std() / found.size**0.5)}


def _cosines(
    checkpoint: Checkpoint, weights: Weights, triples: Integer[np.ndarray, " triple"]
) -> Float64[np.ndarray, " nonzero"]:
    """The cosines of triples by their index (a p + b) p + c, without those with a zero gradient."""
    p = checkpoint.config.p
    a, b, c = triples // p**2, triples // p % p, triples % p
    gradients = logit_gradients(weights, checkpoint.config.nonlinearity, a, b, c)
    lengths = np.linalg.norm(gradients, axis=-1)
    nonzero = lengths.all(axis=0)
    cosines: Float64[np.ndarray, " nonzero"] = (gradients[0] * gradients[1]).sum(axis=-1)[nonzero]
    return cosines / lengths.prod(axis=0)[nonzero]


def logit_gradients(
    weights: Weights,
    nonlinearity: Nonlinearity,
    a: Integer[np.ndarray, " triple"],
    b: Integer[np.ndarray, " triple"],
    c: Integer[np.ndarray, " triple"],
) -> Float64[np.ndarray, "2 triple d_model"]:
    """∂L_abc/∂E_a and ∂L_abc/∂E_b for each triple: one forward and one backward pass, written out.

    n: triple · t, last: token · h: head · d: d_model · k: d_head
    """
    w = {name.rsplit(".", 1)[-1]: np.asarray(weight, np.float64) for name, weight in weights.items()}
    tokens, (heads, _, size) = len(w["W_pos"]), w["W_Q"].shape
    last = tokens - 1
    out_of = w["W_O"].reshape(heads * size, -1)
    read = [a, b, np.zeros_like(a)][:tokens]  # '=' is the only token in its place
    x = [w["W_E"] + w["W_pos"][0], w["W_E"] + w["W_pos"][1], w["W_E"][-1:] + w["W_pos"][-1]][:tokens]
    # once for each token in each place; taken for each triple
    query = (x[last] @ w["W_Q"] / size**0.5)[:, read[last]]  # (h, n, k)
    key = np.stack([(x[t] @ w["W_K"])[:, read[t]] for t in range(tokens)])  # (t, h, n, k)
    value = np.stack([(x[t] @ w["W_V"])[:, read[t]] for t in range(tokens)])
    scores = np.einsum("hnk,thnk->thn", query, key)
    softmax = np.exp(scores - scores.max(axis=0))
    softmax /= softmax.sum(axis=0)
    rate = nonlinearity.attention_rate
    pattern = rate * softmax + (1 - rate)
    mixed = np.einsum("thn,thnk->nhk", pattern, value).reshape(len(a), -1)
    pre = (x[last][read[last]] + mixed @ out_of) @ w["W_in"] + w.get("b_in", 0.0)

    of_neurons = (w["W_out"] @ w["W_U"]).T[c]
    of_residual = w["W_U"].T[c] + (slope(pre, nonlinearity.activation) * of_neurons) @ w["W_in"].T
    of_mixed = (of_residual @ out_of.T).reshape(len(a), heads, size).transpose(1, 0, 2)  # (h, n, k)
    of_pattern = np.einsum("hnk,thnk->thn", of_mixed, value)
    of_scores = rate * softmax * (of_pattern - (softmax * of_pattern).sum(axis=0))

    def back(
        of_heads: Float64[np.ndarray, "n h k"], matrix: Float64[np.ndarray, "h d k"]
    ) -> Float64[np.ndarray, "n d"]:
        return of_heads.reshape(len(a), -1) @ matrix.transpose(0, 2, 1).reshape(heads * size, -1)

    of_input = np.stack(
        [
            back(np.einsum("hn,hnk->nhk", pattern[t], of_mixed), w["W_V"])
            + back(np.einsum("hn,hnk->nhk", of_scores[t], query), w["W_K"])
            for t in (0, 1)
        ]
    )
    if tokens == 2:  # the query is b, which also enters through the residual stream
        of_input[1] += of_residual + back(np.einsum("thn,thnk->nhk", of_scores, key) / size**0.5, w["W_Q"])
    return of_input


def slope(pre: Float64[np.ndarray, "*shape"], activation: str) -> Float64[np.ndarray, "*shape"]:
    """Derivative of the activation function; for relu it is 0 at 0.

    >>> slope(np.array([-1.0, 0.0, 2.0]), "relu"), slope(np.array([3.0]), "quadratic")
    (array([0., 0., 1.]), array([6.]))
    """
    if activation == "relu":
        return (pre > 0).astype(np.float64)
    if activation == "quadratic":
        return 2 * pre
    bell = np.exp(-(pre**2) / 2) / (2 * np.pi) ** 0.5
    return 0.5 * (1 + erf((pre / 2**0.5).astype(np.float32))) + pre * bell
