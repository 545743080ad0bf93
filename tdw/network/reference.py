"""The reference implementation in plain PyTorch: initial weights, and the forward pass that faster engines are tested on.

network       description
transformer   one layer without normalization on the three tokens `a b =`; the answer is read at `=`
two-token     one layer without normalization on the two tokens `a b`; the answer is read at `b`
one-hot       an MLP with one hidden layer on the concatenated one-hot vectors of a and b

tensor                     shape                      TransformerLens' name
token embedding            (p + 1, d_model)           embed.W_E          row p is '='; (p, d_model) without '='
position embedding         (tokens, d_model)          pos_embed.W_pos
query, key, value          (heads, d_model, d_head)   blocks.0.attn.W_Q, W_K, W_V
attention output           (heads, d_head, d_model)   blocks.0.attn.W_O
MLP                        (d_model, d_mlp) and back  blocks.0.mlp.W_in, W_out; biases b_in, b_out if trained
unembedding                (d_model, outputs)         unembed.W_U        p answers, or p + 1 with '='
one-hot MLP                (2 p, d_mlp), (d_mlp, p)   mlp.W_in, W_out    specific to this program

Axes.  pair: entries of a batch · class: output class · head · token, to, source: position in the sequence · d_model
       neuron: of one MLP · width, output: input and output of an MLP
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from tdw.errors import SettingError
from tdw.network.kinds import Nonlinearity, network_of
from tdw.network.parameters import shapes

if TYPE_CHECKING:
    from tdw.config import RunConfig
else:  # tests evaluate the annotations
    RunConfig = Any

Weights = dict[str, Tensor]

BUFFERS = ("mask", "IGNORE")  # of TransformerLens' attention, not weights


def initial_weights(config: RunConfig) -> Weights:
    """Initial weights: normal, in the order and with the standard deviations declared by the kind of network; biases 0.

    Transformers use 0.8 / sqrt(d_model) and the order of TransformerLens 2.18, so the same seed gives the same untrained
    network there, bit for bit.
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
    """The given weights as float32 tensors. Zero biases, which TransformerLens stores, are dropped.

    Raises SettingError if a name is missing or unknown, a shape differs, or a value is not finite.
    """
    wanted = shapes(config)
    accepted: Weights = {}
    for name, value in given.items():
        plain = value.detach().cpu().float().numpy() if isinstance(value, Tensor) else value
        array = np.array(plain, dtype=np.float32, order="C")
        if name in wanted:
            if array.shape != wanted[name]:
                raise SettingError(
                    "weights", f"weight {name} must have shape {wanted[name]} with these settings (got {array.shape})"
                )
            if not np.isfinite(array).all():
                raise SettingError("weights", f"weight {name} holds NaN or infinite values")
            accepted[name] = torch.from_numpy(array)
        elif name.rsplit(".", 1)[-1].startswith("b_") and not array.any():
            continue
        elif name.rsplit(".", 1)[-1] not in BUFFERS:
            kind = "nonzero bias" if ".b_" in name else "weight"
            raise SettingError("weights", f"this network has no {kind} {name}: it has {', '.join(wanted)}")
    if missing := [name for name in wanted if name not in accepted]:
        raise SettingError("weights", f"weight {missing[0]} is missing: required are {', '.join(wanted)}")
    return {name: accepted[name] for name in wanted}


def plain_forward(
    weights: Weights, a: Int64[Tensor, " pair"], b: Int64[Tensor, " pair"], nonlinearity: Nonlinearity
) -> Float[Tensor, "pair class"]:
    """Logits of the pairs (a, b), (pair, class), by the reference forward pass."""
    return network_of(weights).computation.forward(weights, a, b, nonlinearity)


def transformer_logits(
    weights: Mapping[str, Tensor],
    a: Int64[Tensor, " pair"],
    b: Int64[Tensor, " pair"],
    nonlinearity: Nonlinearity,
    trace: dict[str, Tensor] | None = None,
) -> Float[Tensor, "pair class"]:
    """Logits of a transformer of any depth, read at the last position, (pair, class).

    trace: a dict that receives intermediate values of the last layer at the last position: `pattern`
           (pair, head, token), and `residual` (pair, d_model) before its MLP
    """
    # `embedding`, because its gradient adds up rows in a fixed order; that of indexing does not.
    tokens = torch.stack([a, b, torch.full_like(a, weights["embed.W_E"].shape[0] - 1)], dim=1)
    positions = weights["pos_embed.W_pos"]
    residual = functional.embedding(tokens[:, : positions.shape[0]], weights["embed.W_E"]) + positions
    layer = 0
    while f"blocks.{layer}.attn.W_Q" in weights:
        added, pattern = plain_attention(weights, residual, nonlinearity.attention_rate, f"blocks.{layer}.")
        residual = residual + added
        if trace is not None:
            trace |= {"pattern": pattern[:, :, -1], "residual": residual[:, -1]}
        residual = residual + plain_mlp(weights, residual, nonlinearity.activation, f"blocks.{layer}.")
        layer += 1
    return (residual @ weights["unembed.W_U"])[:, -1]


def plain_attention(
    weights: Mapping[str, Tensor],
    residual: Float[Tensor, "pair token d_model"],
    rate: float = 1.0,
    block: str = "blocks.0.",
) -> tuple[Float[Tensor, "pair token d_model"], Float[Tensor, "pair head to source"]]:
    """Output of causal self-attention, (pair, token, d_model), and its pattern, (pair, head, to, source).

    rate: the attention rate, see `Nonlinearity`. Tokens after the one that attends keep the weight 0.
    """
    query, key, value = (
        torch.einsum("nsd,hdk->nhsk", residual, weights[f"{block}attn.W_{name}"]) for name in ("Q", "K", "V")
    )
    scores = query @ key.transpose(-1, -2) / key.shape[-1] ** 0.5
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=residual.device).triu(1)
    pattern = scores.masked_fill(future, float("-inf")).softmax(dim=-1)
    if rate != 1:
        pattern = (rate * pattern + (1 - rate)).masked_fill(future, 0)
    return torch.einsum("nhsk,hkd->nsd", pattern @ value, weights[f"{block}attn.W_O"]), pattern


def plain_neurons(
    weights: Mapping[str, Tensor], stream: Float[Tensor, "*axes width"], activation: str, block: str = "blocks.0."
) -> Float[Tensor, "*axes neuron"]:
    """Activations of an MLP's neurons, (…, neuron), on its input, (…, width)."""
    pre = stream @ weights[f"{block}mlp.W_in"] + weights.get(f"{block}mlp.b_in", 0)
    return {"relu": torch.relu, "gelu": functional.gelu, "quadratic": torch.square}[activation](pre)


def plain_mlp(
    weights: Mapping[str, Tensor], stream: Float[Tensor, "*axes width"], activation: str, block: str = "blocks.0."
) -> Float[Tensor, "*axes output"]:
    """Output of an MLP, (…, output), on its input, (…, width)."""
    neurons = plain_neurons(weights, stream, activation, block)
    return neurons @ weights[f"{block}mlp.W_out"] + weights.get(f"{block}mlp.b_out", 0)
