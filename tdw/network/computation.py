"""The computations of a network: the interface implemented by the modules that `tdw.network.kinds` names.

Axes.  pair: entries of a batch · a, b, operand: 0 .. p-1 · neuron: of the last MLP · class: output class, the p answers
       first · head · token: position in the sequence
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float32]
Weights = Mapping[str, Array]


class Computation(ABC):
    """A kind of network as functions of its weights. All methods except `forward` take and return numpy arrays."""

    @abstractmethod
    def forward(self, weights: Mapping[str, Tensor], a: Tensor, b: Tensor, activation: str) -> Tensor:
        """Logits of the pairs (a, b), (pair, class): the reference implementation, also used by autograd."""

    @abstractmethod
    def embedding(self, weights: Weights, p: int) -> Array:
        """The embedding of each operand, (operand, width)."""

    @abstractmethod
    def renamed(self, weights: Weights, operands: NDArray[np.int64], classes: NDArray[np.int64]) -> dict[str, Array]:
        """The same network with operands and output classes permuted: operand i behaves like operands[i] before.

        operands: (operand,); classes: (class,)
        """

    @abstractmethod
    def neuron_to_logit(self, weights: Weights) -> Array:
        """The direct effect of each neuron's activation on each logit, (neuron, class)."""

    @abstractmethod
    def activations(self, weights: Weights, activation: str) -> Array:
        """Activations of all neurons on all pairs, (a, b, neuron), at the position where the answer is read."""

    @abstractmethod
    def logits(self, weights: Weights, neurons: Array, activation: str) -> Array:
        """Logits, (a, b, class), given the activations of the neurons, (a, b, neuron)."""

    @abstractmethod
    def attention(self, weights: Weights) -> Array:
        """Attention pattern of the last token, (token, head, a, b). Only for networks with the capability."""

    def neuron_map(self, weights: Weights, neuron: int, activation: str) -> Array:
        """Activation of one neuron on all pairs, (a, b)."""
        return self.activations(weights, activation)[:, :, neuron]


class TransformerComputation(Computation):
    """The parts shared by transformers of any depth: embedding, forward pass, unembedding."""

    def forward(self, weights: Mapping[str, Tensor], a: Tensor, b: Tensor, activation: str) -> Tensor:
        """See `Computation`."""
        from tdw.network.reference import transformer_logits

        return transformer_logits(weights, a, b, activation)

    def embedding(self, weights: Weights, p: int) -> Array:
        """The token embedding without '=', (operand, d)."""
        return weights["embed.W_E"][:p]

    def renamed(self, weights: Weights, operands: NDArray[np.int64], classes: NDArray[np.int64]) -> dict[str, Array]:
        """See `Computation`. The row of '=' is not permuted."""
        embed = weights["embed.W_E"]
        rows = np.concatenate([operands, np.arange(len(operands), len(embed))])
        return {**weights, "embed.W_E": embed[rows], "unembed.W_U": weights["unembed.W_U"][:, classes]}
