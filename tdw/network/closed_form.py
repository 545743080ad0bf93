"""One-layer networks in closed form: parts that exist once per token, from which any neuron's map follows exactly.

An operand's contribution reaches a neuron by routes r: the attention heads, and one that is always open. With A0[r] and
A1[r], (a, b), how far route r is open for a and for b,

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

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from tdw.errors import SettingError
from tdw.network.computation import Array, Computation, TransformerComputation, Weights
from tdw.network.kinds import Network, network_of

if TYPE_CHECKING:
    from torch import Tensor

    from tdw.config import RunConfig


class Parts(NamedTuple):
    """scores: (side, operand, h) of a transformer; (a, b, h) of a two-token one; None of a one-hot MLP
    moved:  (side, r, operand, width), what each operand adds to the residual stream by each route
    base:   (width,), the same for every pair
    """

    scores: Any
    moved: Any
    base: Any


class ClosedForm(Computation):
    """A network with a closed form.

    scores: what attention scores are functions of: single tokens (relative to '='), pairs of tokens, or nothing
    """

    scores: ClassVar[Literal["tokens", "pairs", "none"]]

    @abstractmethod
    def routes(self, config: RunConfig) -> int:
        """Number of routes from an operand to a neuron."""

    @abstractmethod
    def score_shape(self, config: RunConfig) -> tuple[int, ...]:
        """Shape of `attention_scores`."""

    @abstractmethod
    def parts(self, weights: Mapping[str, Any], into: Any = None, xp: ModuleType = np) -> Parts:
        """The parts of these weights that exist once per token.

        Multiplied by `into`, (d, width), where it is given: early, while they are still narrow. `xp` is numpy or torch,
        so that training differentiates the very lines that analyses and viewer rest on.
        """

    @abstractmethod
    def attention_scores(self, weights: Weights) -> Array:
        """What all neurons' maps share, see `score_shape`."""

    @abstractmethod
    def patterns(self, weights: Weights) -> tuple[Array, Array]:
        """A0 and A1 of every route, each (r, a, b). The attention heads come first."""

    @abstractmethod
    def factors(self, weights: dict[str, Tensor], width: int) -> tuple[Tensor | None, Tensor, Tensor]:
        """Scores, T @ [W_in, W_U] and W_out @ W_U with classes padded to `width`, see `tdw.network.factored`."""

    @abstractmethod
    def into_neurons(
        self, weights: Weights, neurons: Sequence[int] | slice = slice(None)
    ) -> tuple[Array, Array | float]:
        """The matrix from `Parts` to these neurons' inputs, (width, neuron), and their biases."""

    def neuron_tables(self, weights: Weights, neurons: Sequence[int]) -> Array:
        """For each neuron [c, U0[r, a] with r slower, U1[r, b]], (neuron, 1 + 2 * routes * p)."""
        into, bias = self.into_neurons(weights, list(neurons))
        _, moved, base = self.parts(weights, into)
        tables = np.concatenate([(base + bias)[None], moved.reshape(-1, base.shape[0])])
        return np.ascontiguousarray(tables.T, dtype=np.float32)

    def neuron_map(self, weights: Weights, neuron: int, activation: str) -> Array:
        """Activation of one neuron on every pair, (a, b)."""
        table = self.neuron_tables(weights, [neuron])[0]
        to_a, to_b = self.patterns(weights)
        from_a, from_b = table[1:].reshape(2, to_a.shape[0], -1)
        pre = table[0] + (to_a * from_a[:, :, None] + to_b * from_b[:, None, :]).sum(axis=0)
        return activate(pre, activation)

    def activations(self, weights: Weights, activation: str) -> Array:
        """Activation of every neuron on every pair, (a, b, neuron)."""
        _, moved, base = self.parts(weights)
        to_a, to_b = self.patterns(weights)
        residual = to_a.transpose(1, 2, 0) @ moved[0].transpose(1, 0, 2)  # (a, b, d), one small product for each a
        residual += (to_b.transpose(2, 1, 0) @ moved[1].transpose(1, 0, 2)).transpose(1, 0, 2)  # and one for each b
        residual += base
        return activate(self._read(weights, residual), activation)

    def _read(self, weights: Weights, residual: Array) -> Array:
        """The neurons' inputs, (a, b, neuron), from the residual stream, (a, b, d)."""
        into, bias = self.into_neurons(weights)
        pre = residual @ into
        if np.any(bias):
            pre += bias
        return pre


class ResidualForm(TransformerComputation, ClosedForm):
    """What one-layer transformers share."""

    def into_neurons(
        self, weights: Weights, neurons: Sequence[int] | slice = slice(None)
    ) -> tuple[Array, Array | float]:
        """W_in and its biases."""
        bias = weights.get("blocks.0.mlp.b_in")
        return weights["blocks.0.mlp.W_in"][:, neurons], 0.0 if bias is None else bias[neurons]

    def neuron_to_logit(self, weights: Weights) -> Array:
        """W_out @ W_U, (neuron, class)."""
        return weights["blocks.0.mlp.W_out"] @ weights["unembed.W_U"]

    def logits(self, weights: Weights, neurons: Array, activation: str = "") -> Array:  # noqa: ARG002 - all but the neurons is linear
        """See `Computation`."""
        p = neurons.shape[0]
        flat = neurons.reshape(p * p, -1)
        unembed = weights["unembed.W_U"]
        _, moved, base = self.parts(weights, unembed)
        to_a, to_b = self.patterns(weights)
        bias = weights.get("blocks.0.mlp.b_out")
        out = (flat @ self.neuron_to_logit(weights)).reshape(p, p, -1)
        out += to_a.transpose(1, 2, 0) @ moved[0].transpose(1, 0, 2)
        out += (to_b.transpose(2, 1, 0) @ moved[1].transpose(1, 0, 2)).transpose(1, 0, 2)
        out += base if bias is None else base + bias @ unembed
        return out

    def factors(self, weights: dict[str, Tensor], width: int) -> tuple[Tensor | None, Tensor, Tensor]:
        """See `ClosedForm`."""
        import torch

        unembed = widened(weights["unembed.W_U"], width)
        into = torch.cat([weights["blocks.0.mlp.W_in"], unembed], dim=1)
        scores, moved, base = self.parts(weights, into, torch)
        if "blocks.0.mlp.b_in" in weights:
            base = base + torch.cat([weights["blocks.0.mlp.b_in"], weights["blocks.0.mlp.b_out"] @ unembed])
        mixed = torch.cat([moved.reshape(-1, base.shape[0]), base[None]])
        return scores, mixed, weights["blocks.0.mlp.W_out"] @ unembed


def widened(matrix: Tensor, width: int) -> Tensor:
    """A matrix with columns of zeros up to `width`."""
    import torch

    return torch.nn.functional.pad(matrix, (0, width - matrix.shape[1]))


def closed_form(network: Network) -> ClosedForm:
    """The closed form of a kind of network. Raises SettingError where it has none."""
    computation = network.computation
    if not isinstance(computation, ClosedForm):
        raise SettingError(
            "network", f"--network {network.name} has no closed form: its neurons have no tables or scores"
        )
    return computation


def routes(config: RunConfig) -> int:
    """Number of routes from an operand to a neuron. Raises SettingError, see `closed_form`."""
    return closed_form(config.network_kind).routes(config)


def score_shape(config: RunConfig) -> tuple[int, ...]:
    """Shape of `attention_scores`. Raises SettingError, see `closed_form`."""
    return closed_form(config.network_kind).score_shape(config)


def attention_scores(weights: Weights) -> Array:
    """What all neurons' maps share: t0 and t1, (side, h, operand); of a two-token network t, (h, a, b); else (0,)."""
    return closed_form(network_of(weights)).attention_scores(weights)


def neuron_tables(weights: Weights, neurons: Sequence[int]) -> Array:
    """See `ClosedForm.neuron_tables`."""
    return closed_form(network_of(weights)).neuron_tables(weights, neurons)


def activate(pre: Array, activation: str) -> Array:
    """The activation function, in place."""
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
