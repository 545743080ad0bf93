"""Multi-layer transformers, computed by the reference forward pass. Neurons are those of the last layer, at '='."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from tdw.network.computation import Array, TransformerComputation, Weights
from tdw.network.kinds import Nonlinearity

if TYPE_CHECKING:
    from torch import Tensor
else:  # tests evaluate the annotations; reading a run must not import torch
    Tensor = Any

PAIRS_AT_ONCE = 8_192  # batch size, which bounds the memory for the activations of all layers


class DeepTransformerComputation(TransformerComputation):
    """A transformer without a closed form."""

    def neuron_to_logit(self, weights: Weights) -> Float[np.ndarray, "neuron class"]:
        """W_out @ W_U of the last layer, (neuron, class)."""
        return weights[f"{_last(weights)}mlp.W_out"] @ weights["unembed.W_U"]

    def activations(self, weights: Weights, nonlinearity: Nonlinearity) -> Float[np.ndarray, "a b neuron"]:
        """See `Computation`."""
        from tdw.network.reference import plain_neurons

        block = _last(weights)
        return _of_pairs(
            weights, nonlinearity, lambda w, residual: plain_neurons(w, residual, nonlinearity.activation, block)
        )

    def logits(
        self, weights: Weights, neurons: Float[np.ndarray, "a b neuron"], nonlinearity: Nonlinearity
    ) -> Float[np.ndarray, "a b class"]:
        """See `Computation`."""
        unembed, block = weights["unembed.W_U"], _last(weights)
        out = _of_pairs(weights, nonlinearity, lambda w, residual: residual @ w["unembed.W_U"])
        out += neurons @ self.neuron_to_logit(weights)
        if f"{block}mlp.b_out" in weights:
            out += weights[f"{block}mlp.b_out"] @ unembed
        return out

    def attention(self, weights: Weights, nonlinearity: Nonlinearity) -> Float[np.ndarray, "token head a b"]:
        """Not available: attention patterns are defined for one-layer networks."""
        raise NotImplementedError("attention patterns are defined for one-layer networks")


def _last(weights: Weights) -> str:
    """The prefix of the names of the last layer's weights."""
    layers = {int(name.split(".")[1]) for name in weights if name.startswith("blocks.")}
    return f"blocks.{max(layers)}."


def _of_pairs(
    weights: Weights, nonlinearity: Nonlinearity, measure: Callable[[dict[str, Tensor], Tensor], Tensor]
) -> Array:
    """`measure` of the weights and the residual stream before the last MLP at '=', for all pairs, (a, b, …)."""
    import torch

    from tdw.network.reference import transformer_logits

    p = len(weights["embed.W_E"]) - 1
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in weights.items()}
    parts = []
    with torch.no_grad():
        for pairs in torch.arange(p * p).split(PAIRS_AT_ONCE):
            trace: dict[str, Tensor] = {}
            transformer_logits(tensors, pairs // p, pairs % p, nonlinearity, trace)
            parts.append(measure(tensors, trace["residual"]).numpy())
    flat = np.concatenate(parts)
    return flat.reshape(p, p, flat.shape[1])


COMPUTATION = DeepTransformerComputation()
