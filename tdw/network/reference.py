"""The networks written plainly in PyTorch: initial weights, and the forward pass that faster engines are tested against.

network       what it is
transformer   one layer without normalization on the three tokens `a b =`; the answer is read at `=`
two-token     the same on the two tokens `a b`; the answer is read at `b`
one-hot       an MLP with one hidden layer on the concatenated one-hot vectors of a and b

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
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tdw.errors import SettingError
from tdw.network.kinds import network_of
from tdw.network.parameters import shapes

if TYPE_CHECKING:
    from tdw.config import RunConfig

Weights = dict[str, Tensor]

BUFFERS = ("mask", "IGNORE")  # of TransformerLens' attention; they are not weights


def initial_weights(config: RunConfig) -> Weights:
    """Normal weights, drawn in the order and with the standard deviations that the kind of network declares; biases 0.

    Those of transformers are 0.8 / sqrt(d_model), drawn as TransformerLens 2.18 draws them: the same seed gives the same
    untrained network there, bit for bit.
    """
    generator = torch.Generator().manual_seed(config.model_seed)
    network = config.network_kind
    weights: Weights = {}
    for name, weight in network.weights(config).items():
        if len(weight.shape) == 1:
            weights[name] = torch.zeros(weight.shape)
        else:
            deviation = network.deviation(name, config)
            weights[name] = torch.empty(weight.shape).normal_(0, deviation, generator=generator)
    return weights


def check_weights(given: Mapping[str, Any], config: RunConfig) -> Weights:
    """Given weights as float32 tensors. Zero biases (TransformerLens stores them) are dropped.

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
        elif name.rsplit(".", 1)[-1] not in BUFFERS:
            reason = (
                "it is a bias other than zero, which this network lacks" if ".b_" in name else "no such part is in it"
            )
            raise SettingError("weights", f"weight {name} is not known: {reason}; it has {', '.join(wanted)}")
    if missing := [name for name in wanted if name not in found]:
        raise SettingError("weights", f"weight {missing[0]} is missing: give {', '.join(wanted)}")
    return {name: found[name] for name in wanted}


def plain_forward(weights: Weights, a: Tensor, b: Tensor, activation: str) -> Tensor:
    """Logits (pair, class) of the pairs (a, b): every position, nothing left out."""
    return network_of(weights).computation.forward(weights, a, b, activation)


def transformer_logits(
    weights: Mapping[str, Tensor], a: Tensor, b: Tensor, activation: str, trace: dict[str, Tensor] | None = None
) -> Tensor:
    """Logits (pair, class) of a transformer of any depth, read at the last position.

    trace: takes what was computed of the last layer at the last position: `pattern` (pair, head, token), `residual`
           (pair, d_model) before its MLP
    """
    # Embedding rows are added up in a fixed order by this function's gradient, and not by that of indexing.
    tokens = torch.stack([a, b, torch.full_like(a, weights["embed.W_E"].shape[0] - 1)], dim=1)
    positions = weights["pos_embed.W_pos"]
    residual = functional.embedding(tokens[:, : positions.shape[0]], weights["embed.W_E"]) + positions
    layer = 0
    while f"blocks.{layer}.attn.W_Q" in weights:
        added, pattern = plain_attention(weights, residual, f"blocks.{layer}.")
        residual = residual + added
        if trace is not None:
            trace |= {"pattern": pattern[:, :, -1], "residual": residual[:, -1]}
        residual = residual + plain_mlp(weights, residual, activation, f"blocks.{layer}.")
        layer += 1
    return (residual @ weights["unembed.W_U"])[:, -1]


def plain_attention(weights: Mapping[str, Tensor], residual: Tensor, block: str = "blocks.0.") -> tuple[Tensor, Tensor]:
    """What causal self-attention adds to the residual stream (pair, token, d_model), and its pattern (pair, head, to, from)."""
    query, key, value = (
        torch.einsum("nsd,hdk->nhsk", residual, weights[f"{block}attn.W_{name}"]) for name in ("Q", "K", "V")
    )
    scores = query @ key.transpose(-1, -2) / key.shape[-1] ** 0.5
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=residual.device).triu(1)
    pattern = scores.masked_fill(future, float("-inf")).softmax(dim=-1)
    return torch.einsum("nhsk,hkd->nsd", pattern @ value, weights[f"{block}attn.W_O"]), pattern


def plain_neurons(weights: Mapping[str, Tensor], stream: Tensor, activation: str, block: str = "blocks.0.") -> Tensor:
    """Activations of an MLP's neurons (…, neuron) on its input (…, width)."""
    pre = stream @ weights[f"{block}mlp.W_in"] + weights.get(f"{block}mlp.b_in", 0)
    return {"relu": torch.relu, "gelu": functional.gelu, "quadratic": torch.square}[activation](pre)


def plain_mlp(weights: Mapping[str, Tensor], stream: Tensor, activation: str, block: str = "blocks.0.") -> Tensor:
    """Output of an MLP on its input (…, width)."""
    neurons = plain_neurons(weights, stream, activation, block)
    return neurons @ weights[f"{block}mlp.W_out"] + weights.get(f"{block}mlp.b_out", 0)
