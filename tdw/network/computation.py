"""The computations of a network: the interface implemented by the modules that `tdw.network.kinds` names.

Axes.  pair: entries of a batch · a, b, operand: 0 .. p-1 · neuron: of the last MLP · class: output class, the p answers
       first · head · token: position in the sequence
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int64

from tdw.network.kinds import Nonlinearity

if TYPE_CHECKING:
    from torch import Tensor
else:  # tests evaluate the annotations; reading a run must not import torch
    Tensor = Any

Array = Float[np.ndarray, "..."]
Weights = Mapping[str, Array]


class Computation(ABC):
    """A kind of network as functions of its weights. All methods except `forward` take and return numpy arrays."""

    @abstractmethod
    def forward(
        self,
        weights: Mapping[str, Tensor],
        a: Int64[Tensor, " pair"],
        b: Int64[Tensor, " pair"],
        nonlinearity: Nonlinearity,
    ) -> Float[Tensor, "pair class"]:
        """Logits of the pairs (a, b), (pair, class): the reference implementation, also used by autograd."""

    @abstractmethod
    def embedding(self, weights: Weights, p: int) -> Float[np.ndarray, "operand width"]:
        """The embedding of each operand, (operand, width)."""

    @abstractmethod
    def renamed(
        self, weights: Weights, operands: Int64[np.ndarray, " operand"], classes: Int64[np.ndarray, " class"]
    ) -> dict[str, Array]:
        """The same network with operands and output classes permuted: operand i behaves like operands[i] before.

        operands: (operand,); classes: (class,)
        """

    @abstractmethod
    def neuron_to_logit(self, weights: Weights) -> Float[np.ndarray, "neuron class"]:
        """The direct effect of each neuron's activation on each logit, (neuron, class)."""

    @abstractmethod
    def activations(self, weights: Weights, nonlinearity: Nonlinearity) -> Float[np.ndarray, "a b neuron"]:
        """Activations of all neurons on all pairs, (a, b, neuron), at the position where the answer is read."""

    @abstractmethod
    def logits(
        self, weights: Weights, neurons: Float[np.ndarray, "a b neuron"], nonlinearity: Nonlinearity
    ) -> Float[np.ndarray, "a b class"]:
        """Logits, (a, b, class), given the activations of the neurons, (a, b, neuron)."""

    @abstractmethod
    def attention(self, weights: Weights, nonlinearity: Nonlinearity) -> Float[np.ndarray, "token head a b"]:
        """Attention pattern of the last token, (token, head, a, b). Only for networks with the capability."""

    def neuron_map(self, weights: Weights, neuron: int, nonlinearity: Nonlinearity) -> Float[np.ndarray, "a b"]:
        """Activation of one neuron on all pairs, (a, b)."""
        return self.activations(weights, nonlinearity)[:, :, neuron]


class TransformerComputation(Computation):
    """The parts shared by transformers of any depth: embedding, forward pass, unembedding."""

    def forward(
        self,
        weights: Mapping[str, Tensor],
        a: Int64[Tensor, " pair"],
        b: Int64[Tensor, " pair"],
        nonlinearity: Nonlinearity,
    ) -> Float[Tensor, "pair class"]:
        """See `Computation`."""
        from tdw.network.reference import transformer_logits

        return transformer_logits(weights, a, b, nonlinearity)

    def embedding(self, weights: Weights, p: int) -> Float[np.ndarray, "operand width"]:
        """The token embedding without '=', (operand, d)."""
        return weights["embed.W_E"][:p]

    def renamed(
        self, weights: Weights, operands: Int64[np.ndarray, " operand"], classes: Int64[np.ndarray, " class"]
    ) -> dict[str, Array]:
        """See `Computation`. The row of '=' is not permuted."""
        embed = weights["embed.W_E"]
        rows = np.concatenate([operands, np.arange(len(operands), len(embed))])
        return {**weights, "embed.W_E": embed[rows], "unembed.W_U": weights["unembed.W_U"][:, classes]}
