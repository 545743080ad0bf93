"""The network as anyone would write it: the reference that the fast engine is tested against.

One transformer layer without normalisation and without biases, on the three tokens `a b =`; the answer is read at `=`.

    tensor                     shape                      TransformerLens' name
    token embedding            (p + 1, d_model)           embed.W_E          row p is the token '='
    position embedding         (3, d_model)               pos_embed.W_pos
    query, key, value          (heads, d_model, d_head)   blocks.0.attn.W_Q, W_K, W_V
    attention output           (heads, d_head, d_model)   blocks.0.attn.W_O
    MLP                        (d_model, d_mlp) and back  blocks.0.mlp.W_in, W_out
    unembedding                (d_model, p)               unembed.W_U
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
from tdw.weights import POSITIONS, shapes

Weights = dict[str, Tensor]

ATTENTION_ONLY_BUFFERS = ("blocks.0.attn.mask", "blocks.0.attn.IGNORE")  # of TransformerLens; no weights


def initial_weights(config: RunConfig) -> Weights:
    """Normal weights of standard deviation 0.8 / sqrt(d_model), drawn as TransformerLens 2.18 draws them.

    The same seed therefore gives the same untrained network there, bit for bit.
    """
    generator = torch.Generator().manual_seed(config.model_seed)
    deviation = 0.8 / config.d_model**0.5
    return {
        name: torch.empty(shape).normal_(0, deviation, generator=generator) for name, shape in shapes(config).items()
    }


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
            reason = "biases other than zero are not part of this network" if ".b_" in name else "this network has none"
            raise SettingError("weights", f"weight {name} is not known: {reason}; it has {', '.join(wanted)}")
    if missing := [name for name in wanted if name not in found]:
        raise SettingError("weights", f"weight {missing[0]} is missing: give {', '.join(wanted)}")
    return {name: found[name] for name in wanted}


def plain_forward(weights: Weights, a: Tensor, b: Tensor) -> Tensor:
    """Logits over the p answers, (pairs, p), of the pairs (a, b): every position, every token, nothing left out."""
    equals = weights["embed.W_E"].shape[0] - 1
    tokens = torch.stack([a, b, torch.full_like(a, equals)], dim=1)
    residual = weights["embed.W_E"][tokens] + weights["pos_embed.W_pos"]
    residual = residual + plain_attention(weights, residual)
    residual = residual + torch.relu(residual @ weights["blocks.0.mlp.W_in"]) @ weights["blocks.0.mlp.W_out"]
    return (residual @ weights["unembed.W_U"])[:, -1]


def plain_attention(weights: Weights, residual: Tensor) -> Tensor:
    """What causal self-attention adds to the residual stream (pairs, 3, d_model)."""
    query, key, value = (
        torch.einsum("nsd,hdk->nhsk", residual, weights[f"blocks.0.attn.W_{name}"]) for name in ("Q", "K", "V")
    )
    scores = query @ key.transpose(-1, -2) / key.shape[-1] ** 0.5
    future = torch.ones(POSITIONS, POSITIONS, dtype=torch.bool, device=residual.device).triu(1)
    pattern = scores.masked_fill(future, float("-inf")).softmax(dim=-1)
    return torch.einsum("nhsk,hkd->nsd", pattern @ value, weights["blocks.0.attn.W_O"])


def plain_loss(logits: Tensor, answers: Tensor) -> Tensor:
    """Mean cross-entropy in float64, the plain way."""
    return functional.cross_entropy(logits.double(), answers)
