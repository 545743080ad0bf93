"""What any kind of network computes: the interface of the modules that `tdw.network.kinds` names.

Axes.  a, b: operand, 0 .. p-1 · neuron: of the last MLP · class: output class, the p answers first · head · token
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
    """A kind of network as functions of its weights. All but `forward` take and give numpy arrays."""

    @abstractmethod
    def forward(self, weights: Mapping[str, Tensor], a: Tensor, b: Tensor, activation: str) -> Tensor:
        """Logits (pair, class) of the pairs (a, b), written plainly, for autograd and as a reference."""

    @abstractmethod
    def embedding(self, weights: Weights, p: int) -> Array:
        """What the network holds of each operand, (operand, width)."""

    @abstractmethod
    def renamed(self, weights: Weights, operands: NDArray[np.int64], classes: NDArray[np.int64]) -> dict[str, Array]:
        """The same network with operands and output classes permuted: operand i behaves as operands[i] did."""

    @abstractmethod
    def neuron_to_logit(self, weights: Weights) -> Array:
        """What one unit of each neuron's activation adds directly to each logit, (neuron, class)."""

    @abstractmethod
    def activations(self, weights: Weights, activation: str) -> Array:
        """Activation of every neuron on every pair, (a, b, neuron), at the position where the answer is read."""

    @abstractmethod
    def logits(self, weights: Weights, neurons: Array, activation: str) -> Array:
        """Logits (a, b, class) where the neurons have these activations, (a, b, neuron)."""

    @abstractmethod
    def attention(self, weights: Weights) -> Array:
        """How much the last token attends to each, (token, head, a, b). Only of networks with the capability."""

    def neuron_map(self, weights: Weights, neuron: int, activation: str) -> Array:
        """Activation of one neuron on every pair, (a, b)."""
        return self.activations(weights, activation)[:, :, neuron]


class TransformerComputation(Computation):
    """What transformers of any depth share: embedding, forward pass, unembedding."""

    def forward(self, weights: Mapping[str, Tensor], a: Tensor, b: Tensor, activation: str) -> Tensor:
        """See `Computation`."""
        from tdw.network.reference import transformer_logits

        return transformer_logits(weights, a, b, activation)

    def embedding(self, weights: Weights, p: int) -> Array:
        """The token embedding without '=', (operand, d)."""
        return weights["embed.W_E"][:p]

    def renamed(self, weights: Weights, operands: NDArray[np.int64], classes: NDArray[np.int64]) -> dict[str, Array]:
        """See `Computation`; '=' keeps its row."""
        embed = weights["embed.W_E"]
        rows = np.concatenate([operands, np.arange(len(operands), len(embed))])
        return {**weights, "embed.W_E": embed[rows], "unembed.W_U": weights["unembed.W_U"][:, classes]}
