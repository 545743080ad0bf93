"""The network's parts that exist once per token, and the activation of any neuron on all pairs made from them.

What an operand contributes reaches a neuron by routes r: the attention heads, and one that is always open. With A0[r]
and A1[r], (a, b), how far route r is open for a and for b,

    pre_n (a, b) = c_n + sum over r of  A0[r] (a, b) U0[n, r, a]  +  A1[r] (a, b) U1[n, r, b]

so a neuron's p x p map is exact from 1 + 2 * routes * p numbers and the scores that all neurons share:

    transformer   routes: heads.      t0 and t1, the scores of a and b relative to that of '=' (whose own is then 0):
                                      A0 = exp(t0[a]) / (exp(t0[a]) + exp(t1[b]) + 1), A1 alike
    two-token     routes: heads + 1.  t (a, b), the score of a relative to that of b: A0 = 1 / (1 + exp(-t)), A1 = 1 - A0;
                                      by the last route b itself arrives, without attention
    one-hot       routes: 1.          A0 = A1 = 1

Axes.  side: 0 for a, 1 for b · h: head · r: route · a, b: operand · d: d_model · n: neuron
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tdw.config import RunConfig
from tdw.network.parameters import network_of

Array = NDArray[np.float32]
Weights = Mapping[str, Array]


class Parts(NamedTuple):
    """scores: (side, operand, h) of a transformer; (a, b, h) of a two-token one; None of a one-hot MLP
    moved:  (side, r, operand, width), what each operand adds to the residual stream by each route
    base:   (width,), what is there for every pair
    """

    scores: Any
    moved: Any
    base: Any


def parts(weights: Mapping[str, Any], into: Any = None, xp: ModuleType = np) -> Parts:
    """The parts of these weights that exist once per token.

    Multiplied by `into`, (d, width), where it is given: early, while they are still narrow. `xp` is numpy or torch, so
    that training differentiates the very lines that the analyses and the viewer rest on. The one-hot MLP has no
    residual stream: its parts are inputs of neurons, and `into` chooses among them.
    """
    network = network_of(weights)
    if network == "one-hot":
        first = weights["mlp.W_in"] if into is None else weights["mlp.W_in"] @ into
        bias = weights.get("mlp.b_in")
        zero = first[0] * 0
        return Parts(
            None,
            first.reshape(2, 1, first.shape[0] // 2, first.shape[1]),
            zero if bias is None else bias if into is None else bias @ into,
        )
    embed, position = weights["embed.W_E"], weights["pos_embed.W_pos"]
    query, key, value, output = (weights[f"blocks.0.attn.W_{name}"] for name in "QKVO")
    d_head = query.shape[2]
    spread = output if into is None else output @ into  # (h, d_head, width)
    if network == "two-token":
        sides = xp.stack([embed + position[0], embed + position[1]])
        keys = sides[:, None] @ key  # (side, h, operand, d_head)
        asked = sides[1] @ query  # (h, b, d_head)
        to_b = (asked * keys[1]).sum(-1)  # (h, b)
        scores = (keys[0] @ asked.swapaxes(-1, -2) - to_b[:, None]) / d_head**0.5  # (h, a, b)
        itself = sides[1] if into is None else sides[1] @ into
        last = xp.stack([itself * 0, itself])[:, None]
        moved = xp.concatenate([(sides[:, None] @ value) @ spread, last], 1)
        return Parts(xp.moveaxis(scores, 0, -1), moved, itself[0] * 0)

    p = embed.shape[0] - 1
    equals = embed[p] + position[2]
    shifted = xp.stack([embed[:p] + position[0], embed[:p] + position[1]]) - equals
    direction = (key @ (equals @ query)[:, :, None])[:, :, 0] / d_head**0.5  # (h, d)
    scores = shifted @ direction.T
    moved = (shifted[:, None] @ value) @ spread
    base = ((equals @ value)[:, None, :] @ spread).sum((0, 1)) + (equals if into is None else equals @ into)
    return Parts(scores, moved, base)


def routes(config: RunConfig) -> int:
    """How many routes there are from an operand to a neuron."""
    return {"transformer": config.heads, "two-token": config.heads + 1, "one-hot": 1}[config.network]


def score_shape(config: RunConfig) -> tuple[int, ...]:
    """Shape of `attention_scores`."""
    heads, p = config.heads, config.p
    return {"transformer": (2, heads, p), "two-token": (heads, p, p), "one-hot": (0,)}[config.network]


def attention_scores(weights: Weights) -> Array:
    """What all neurons' maps share: t0 and t1, (side, h, operand); of a two-token network t, (h, a, b); else nothing."""
    scores = parts(weights).scores
    if scores is None:
        return np.zeros((0,), np.float32)
    axes = (2, 0, 1) if network_of(weights) == "two-token" else (0, 2, 1)
    return np.ascontiguousarray(scores.transpose(axes))


def attention_pattern(scores: Array) -> tuple[Array, Array]:
    """A0 and A1 of a transformer's heads, each (h, a, b), from scores (side, h, operand)."""
    to_a, to_b = scores[0][:, :, None], scores[1][:, None, :]
    top = np.maximum(np.maximum(to_a, to_b), 0)
    exp_a, exp_b = np.exp(to_a - top), np.exp(to_b - top)
    total = exp_a + exp_b + np.exp(-top)
    return exp_a / total, exp_b / total


def patterns(weights: Weights) -> tuple[Array, Array]:
    """A0 and A1 of every route, each (r, a, b). The attention heads come first."""
    network, scores = network_of(weights), attention_scores(weights)
    if network == "transformer":
        return attention_pattern(scores)
    if network == "two-token":
        with np.errstate(over="ignore"):  # exp(-t) of a score far below is infinite, and the weight 0
            to_a = 1 / (1 + np.exp(-scores))
        always = np.ones((1, *scores.shape[1:]), scores.dtype)
        return np.concatenate([to_a, always]), np.concatenate([1 - to_a, always])
    p = weights["mlp.W_in"].shape[0] // 2
    return np.ones((1, p, p), np.float32), np.ones((1, p, p), np.float32)


def into_neurons(weights: Weights, neurons: Sequence[int] | slice = slice(None)) -> tuple[Array, Array | float]:
    """The matrix that leads from `Parts` to these neurons' inputs, and their biases."""
    if network_of(weights) == "one-hot":
        return np.eye(weights["mlp.W_in"].shape[1], dtype=np.float32)[:, neurons], 0.0
    bias = weights.get("blocks.0.mlp.b_in")
    return weights["blocks.0.mlp.W_in"][:, neurons], 0.0 if bias is None else bias[neurons]


def neuron_tables(weights: Weights, neurons: Sequence[int]) -> Array:
    """For each neuron [c, U0[r, a] with r slower, U1[r, b]], (neurons, 1 + 2 * routes * p)."""
    into, bias = into_neurons(weights, list(neurons))
    _, moved, base = parts(weights, into)
    tables = np.concatenate([(base + bias)[None], moved.reshape(-1, base.shape[0])])
    return np.ascontiguousarray(tables.T, dtype=np.float32)


def neuron_map(weights: Weights, neuron: int, activation: str) -> Array:
    """Activation of one neuron on every pair, (p, p): rows a, columns b."""
    table = neuron_tables(weights, [neuron])[0]
    to_a, to_b = patterns(weights)
    from_a, from_b = table[1:].reshape(2, to_a.shape[0], -1)
    pre = table[0] + (to_a * from_a[:, :, None] + to_b * from_b[:, None, :]).sum(axis=0)
    return activate(pre, activation)


def activations(weights: Weights, activation: str) -> Array:
    """Activation of every neuron on every pair, (a, b, n)."""
    _, moved, base = parts(weights)
    to_a, to_b = patterns(weights)
    residual = to_a.transpose(1, 2, 0) @ moved[0].transpose(1, 0, 2)  # (a, b, d), one small product for each a
    residual += (to_b.transpose(2, 1, 0) @ moved[1].transpose(1, 0, 2)).transpose(1, 0, 2)  # and one for each b
    residual += base
    if network_of(weights) == "one-hot":
        return activate(residual, activation)
    into, bias = into_neurons(weights)
    pre = residual @ into
    if np.any(bias):
        pre += bias
    return activate(pre, activation)


def activate(pre: Array, activation: str) -> Array:
    """What a neuron makes of its input. Overwrites it."""
    if activation == "relu":
        return np.maximum(pre, 0, out=pre)
    if activation == "quadratic":
        return np.square(pre, out=pre)
    pre *= 0.5 * (1 + erf(pre / np.float32(2**0.5)))
    return pre


def erf(x: Array) -> Array:
    """The error function, within 1.5e-7: formula 7.1.26 of Abramowitz and Stegun, which the viewer uses too."""
    size = np.minimum(np.abs(x), 9)  # from 6 on it is 1, and the squares of large numbers leave float32
    t = 1 / (1 + 0.3275911 * size)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.copysign(1 - series * np.exp(-size * size), x)


def neuron_to_logit(weights: Weights) -> Array:
    """What each neuron adds to each output class, (n, outputs)."""
    if network_of(weights) == "one-hot":
        return weights["mlp.W_out"]
    return weights["blocks.0.mlp.W_out"] @ weights["unembed.W_U"]


def logits(weights: Weights, neurons: Array) -> Array:
    """Logits over the output classes, (a, b, outputs), from the activations of all neurons, (a, b, n)."""
    p = neurons.shape[0]
    flat = neurons.reshape(p * p, -1)
    if network_of(weights) == "one-hot":
        out = flat @ neuron_to_logit(weights) + weights.get("mlp.b_out", np.float32(0))
        return out.reshape(p, p, -1)
    unembed = weights["unembed.W_U"]
    _, moved, base = parts(weights, unembed)
    to_a, to_b = patterns(weights)
    bias = weights.get("blocks.0.mlp.b_out")
    out = (flat @ neuron_to_logit(weights)).reshape(p, p, -1)
    out += to_a.transpose(1, 2, 0) @ moved[0].transpose(1, 0, 2)
    out += (to_b.transpose(2, 1, 0) @ moved[1].transpose(1, 0, 2)).transpose(1, 0, 2)
    out += base if bias is None else base + bias @ unembed
    return out
