"""The network as anyone would write it: the reference that the fast engine is tested against.

network       what it is
transformer   one layer without normalization on the three tokens `a b =`; the answer is read at `=`
two-token     the same on the two tokens `a b`; the answer is read at `b`
one-hot       an MLP with one hidden layer on the one-hot vectors of a and b, one after the other

tensor                     shape                      TransformerLens' name
token embedding            (p + 1, d_model)           embed.W_E          row p is the token '=', where there is one
position embedding         (tokens, d_model)          pos_embed.W_pos
query, key, value          (heads, d_model, d_head)   blocks.0.attn.W_Q, W_K, W_V
attention output           (heads, d_head, d_model)   blocks.0.attn.W_O
MLP                        (d_model, d_mlp) and back  blocks.0.mlp.W_in, W_out; biases b_in, b_out if trained
unembedding                (d_model, outputs)         unembed.W_U        p answers, or p + 1 with '='
one-hot MLP                (2 p, d_mlp), (d_mlp, p)   mlp.W_in, W_out    (ours: TransformerLens has no such network)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tdw.config import RunConfig
from tdw.errors import SettingError
from tdw.network.parameters import network_of, shapes

Weights = dict[str, Tensor]

ATTENTION_ONLY_BUFFERS = ("blocks.0.attn.mask", "blocks.0.attn.IGNORE")  # of TransformerLens; no weights


def initial_weights(config: RunConfig) -> Weights:
    """Normal weights of standard deviation 0.8 / sqrt(d_model), drawn as TransformerLens 2.18 draws them; biases 0.

    The same seed therefore gives the same untrained network there, bit for bit. Those of the one-hot MLP have 1 over
    the square root of what a layer takes in, which is 2 for the first.
    """
    generator = torch.Generator().manual_seed(config.model_seed)
    weights: Weights = {}
    for name, shape in shapes(config).items():
        if len(shape) == 1:
            weights[name] = torch.zeros(shape)
            continue
        deviation = 0.8 / config.d_model**0.5
        if config.network == "one-hot":
            deviation = (2 if name == "mlp.W_in" else config.d_mlp) ** -0.5
        weights[name] = torch.empty(shape).normal_(0, deviation, generator=generator)
    return weights


def check_weights(given: Mapping[str, Any], config: RunConfig) -> Weights:
    """Weights that somebody gives, as float32 tensors. Zero biases (TransformerLens stores them) are dropped.

    Raises SettingError where a name is missing or unknown, a shape differs, or a number is not finite.
    """
    wanted = shapes(config)
    found: Weights = {}
    for name, value in given.items():
        array = np.array(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=np.float32)
        if name in wanted:
            if array.shape != wanted[name]:
                raise SettingError(
                    "weights", f"weight {name} has shape {array.shape}, but these settings make it {wanted[name]}"
                )
            if not np.isfinite(array).all():
                raise SettingError("weights", f"weight {name} holds numbers that are not finite")
            found[name] = torch.from_numpy(array)
        elif name.rsplit(".", 1)[-1].startswith("b_") and not array.any():
            continue
        elif name not in ATTENTION_ONLY_BUFFERS:
            reason = (
                "it is a bias other than zero, which this network lacks" if ".b_" in name else "no such part is in it"
            )
            raise SettingError("weights", f"weight {name} is not known: {reason}; it has {', '.join(wanted)}")
    if missing := [name for name in wanted if name not in found]:
        raise SettingError("weights", f"weight {missing[0]} is missing: give {', '.join(wanted)}")
    return {name: found[name] for name in wanted}


def plain_forward(weights: Weights, a: Tensor, b: Tensor, activation: str) -> Tensor:
    """Logits over the output classes, (pairs, outputs), of the pairs (a, b): every position, nothing left out."""
    if network_of(weights) == "one-hot":
        p = weights["mlp.W_in"].shape[0] // 2
        both = torch.cat([functional.one_hot(a, p), functional.one_hot(b, p)], dim=1).to(weights["mlp.W_in"].dtype)
        return plain_mlp({f"blocks.0.{name}": weight for name, weight in weights.items()}, both, activation)
    tokens = torch.stack([a, b], dim=1)
    if network_of(weights) == "transformer":
        equals = torch.full_like(a, weights["embed.W_E"].shape[0] - 1)
        tokens = torch.cat([tokens, equals[:, None]], dim=1)
    residual = weights["embed.W_E"][tokens] + weights["pos_embed.W_pos"]
    residual = residual + plain_attention(weights, residual)
    residual = residual + plain_mlp(weights, residual, activation)
    return (residual @ weights["unembed.W_U"])[:, -1]


def plain_attention(weights: Weights, residual: Tensor) -> Tensor:
    """What causal self-attention adds to the residual stream (pairs, tokens, d_model)."""
    query, key, value = (
        torch.einsum("nsd,hdk->nhsk", residual, weights[f"blocks.0.attn.W_{name}"]) for name in ("Q", "K", "V")
    )
    scores = query @ key.transpose(-1, -2) / key.shape[-1] ** 0.5
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=residual.device).triu(1)
    pattern = scores.masked_fill(future, float("-inf")).softmax(dim=-1)
    return torch.einsum("nhsk,hkd->nsd", pattern @ value, weights["blocks.0.attn.W_O"])


def plain_mlp(weights: Weights, stream: Tensor, activation: str) -> Tensor:
    """What the MLP makes of its input (…, width)."""
    pre = stream @ weights["blocks.0.mlp.W_in"] + weights.get("blocks.0.mlp.b_in", 0)
    neurons = {"relu": torch.relu, "gelu": functional.gelu, "quadratic": torch.square}[activation](pre)
    return neurons @ weights["blocks.0.mlp.W_out"] + weights.get("blocks.0.mlp.b_out", 0)


def plain_loss(logits: Tensor, answers: Tensor) -> Tensor:
    """Mean cross-entropy in float64, the plain way."""
    return functional.cross_entropy(logits.double(), answers)
