"""The network's parts that exist once per token, and the activation of any neuron on all pairs made from them.

For head h, with t0 and t1 the attention scores of a and b relative to that of '=' (whose own is then 0),

    A0[h] (a, b) = exp(t0[h, a]) / (exp(t0[h, a]) + exp(t1[h, b]) + 1)        A1[h] (a, b) alike
    pre_n (a, b) = c_n + sum over h of  A0[h] (a, b) U0[n, h, a]  +  A1[h] (a, b) U1[n, h, b]

so a neuron's p x p map is exact from 1 + 2 * heads * p numbers and the 2 * heads * p scores they all share.

Axes.  side: 0 for a, 1 for b · h: head · a, b: operand · d: d_model · n: neuron
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Weights = Mapping[str, Array]


def token_parts(weights: Mapping[str, Any], into: Any = None, xp: ModuleType = np) -> tuple[Any, Any, Any]:
    """Scores (side, operand, h), moved values (side, h, operand, width) and base (width,) of these weights.

    `moved` is what attending wholly to an operand instead of to '=' adds to the residual stream; `base` is the
    residual stream when all attention is on '='. Both are multiplied by `into`, (d, width), where it is given: early,
    while they are still narrow. `xp` is numpy or torch, so that training differentiates the very lines that the analyses
    and the viewer rest on.
    """
    embed, position = weights["embed.W_E"], weights["pos_embed.W_pos"]
    query, key, value, output = (weights[f"blocks.0.attn.W_{name}"] for name in "QKVO")
    p, d_head = embed.shape[0] - 1, query.shape[2]

    equals = embed[p] + position[2]
    shifted = xp.stack([embed[:p] + position[0], embed[:p] + position[1]]) - equals
    direction = (key @ (equals @ query)[:, :, None])[:, :, 0] / d_head**0.5  # (h, d)
    scores = shifted @ direction.T
    spread = output if into is None else output @ into  # (h, d_head, width)
    moved = (shifted[:, None] @ value) @ spread
    base = ((equals @ value)[:, None, :] @ spread).sum((0, 1)) + (equals if into is None else equals @ into)
    return scores, moved, base


def attention_scores(weights: Weights) -> Array:
    """t0 and t1, (side, h, operand)."""
    return np.ascontiguousarray(token_parts(weights)[0].transpose(0, 2, 1), dtype=np.float32)


def attention_pattern(scores: Array) -> tuple[Array, Array]:
    """A0 and A1, each (h, a, b), from scores (side, h, operand)."""
    to_a, to_b = scores[0][:, :, None], scores[1][:, None, :]
    top = np.maximum(np.maximum(to_a, to_b), 0)
    exp_a, exp_b = np.exp(to_a - top), np.exp(to_b - top)
    total = exp_a + exp_b + np.exp(-top)
    return exp_a / total, exp_b / total


def neuron_tables(weights: Weights, neurons: Sequence[int]) -> Array:
    """For each neuron [c, U0[h, a] with h slower, U1[h, b]], (neurons, 1 + 2 * heads * p)."""
    _, moved, base = token_parts(weights, weights["blocks.0.mlp.W_in"][:, list(neurons)])
    tables = np.concatenate([base[None], moved.reshape(-1, base.shape[0])])
    return np.ascontiguousarray(tables.T, dtype=np.float32)


def neuron_map(weights: Weights, neuron: int) -> Array:
    """Activation of one neuron after the ReLU on every pair, (p, p): rows a, columns b."""
    table = neuron_tables(weights, [neuron])[0]
    scores = attention_scores(weights)
    from_a, from_b = table[1:].reshape(scores.shape)
    to_a, to_b = attention_pattern(scores)
    pre = table[0] + (to_a * from_a[:, :, None] + to_b * from_b[:, None, :]).sum(axis=0)
    return np.maximum(pre, 0)


def activations(weights: Weights) -> Array:
    """Activation of every neuron after the ReLU on every pair, (a, b, n)."""
    scores, moved, base = token_parts(weights)
    to_a, to_b = attention_pattern(scores.transpose(0, 2, 1))
    residual = to_a.transpose(1, 2, 0) @ moved[0].transpose(1, 0, 2)  # (a, b, d), one small product for each a
    residual += (to_b.transpose(2, 1, 0) @ moved[1].transpose(1, 0, 2)).transpose(1, 0, 2)  # and one for each b
    residual += base
    pre = residual @ weights["blocks.0.mlp.W_in"]
    return np.maximum(pre, 0, out=pre)
