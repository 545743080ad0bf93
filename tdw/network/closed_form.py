"""One-layer networks in closed form: small per-token tables that determine every neuron's activation map exactly.

An operand contributes to a neuron's input along routes r: the attention heads, and the residual stream. With A0[r] and
A1[r], (a, b), the weights of route r for a and for b,

    pre_n (a, b) = c_n + sum over r of  A0[r] (a, b) U0[n, r, a]  +  A1[r] (a, b) U1[n, r, b]

so 1 + 2 * routes * p numbers per neuron, and the scores that all neurons share, give its p x p map exactly:

    transformer   routes: heads.      t0 and t1, the scores of a and b relative to that of '=', which is then 0:
                                      A0 = exp(t0[a]) / (exp(t0[a]) + exp(t1[b]) + 1), A1 with t1[b] in the numerator
    two-token     routes: heads + 1.  t (a, b), the score of a relative to that of b: A0 = 1 / (1 + exp(-t)), A1 = 1 - A0;
                                      the last route is the residual stream of b
    one-hot       routes: 1.          A0 = A1 = 1

An attention rate c below 1 (`kinds.Nonlinearity`) makes the attention c A + (1 - c). It is part of the tables: those of a
head are scaled by c, and 1 - c times their sum takes a route that is always open, which a transformer then has as well.

Axes.  numbers: 1 + 2 * routes * p · row: any rows of a matrix, in `factors` those of T · column: neuron + width
       side: 0 for a, 1 for b · h: head · r: route · a, b, operand: 0 .. p-1 · d: d_model · neuron · class: output class
       width: columns of `into`, or d_model
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from tdw.errors import SettingError
from tdw.network.computation import Computation, TransformerComputation, Weights
from tdw.network.kinds import Network, Nonlinearity, network_of

if TYPE_CHECKING:
    from torch import Tensor

    from tdw.config import RunConfig
else:  # tests evaluate the annotations; reading a run must not import torch
    RunConfig = Tensor = Any


OPERANDS_AT_ONCE = 8
VALUES_AT_ONCE = (
    1 << 18
)  # of a block of activations, which is in the processor's cache when the second operand is added


class Tables(NamedTuple):
    """Linear functions of the residual stream, such as the neurons' inputs, as one small product for each a and one for each b.

    to_a, from_a: (a, b, r) and (a, r, column), with a last route for the constant; to_b, from_b: (b, a, r) and (b, r, column)
    """

    to_a: Float[np.ndarray, "a b routes"]
    to_b: Float[np.ndarray, "b a r"]
    from_a: Float[np.ndarray, "a routes column"]
    from_b: Float[np.ndarray, "b r column"]

    @property
    def dtype(self) -> np.dtype[np.floating[Any]]:
        """Of all of them."""
        return self.from_a.dtype

    def activations(
        self,
        activation: str,
        operands: slice = slice(None),
        result: Float[np.ndarray, "some b column"] | None = None,
    ) -> Float[np.ndarray, "some b column"]:
        """Their values on the pairs with some a, after the activation function. result: where to put them"""
        if result is None:
            result = np.empty((*self.to_a[operands].shape[:2], self.from_a.shape[2]), self.dtype)
        for block, first, second in self._blocks(result, operands):
            np.add(first, second, out=block)
            activate(block, activation)
        return result

    def add_to(self, result: Float[np.ndarray, "some b column"], operands: slice = slice(None)) -> None:
        """Add their values on the pairs with some a."""
        for block, first, second in self._blocks(result, operands):
            np.add(block, first, out=block)
            np.add(block, second, out=block)

    def _blocks(
        self, result: Float[np.ndarray, "some b column"], operands: slice
    ) -> Iterator[tuple[Float[np.ndarray, "few some_b column"], ...]]:
        """Blocks of the result, and what a and what b adds to each of them, in memory that the next one overwrites."""
        to_a, from_a, to_b = self.to_a[operands], self.from_a[operands], self.to_b[:, operands]
        some, p, columns = result.shape
        at_once = min(max(VALUES_AT_ONCE // (OPERANDS_AT_ONCE * columns), 1), p)
        room = np.empty((2, OPERANDS_AT_ONCE * at_once * columns), from_a.dtype)
        for first, start in product(range(0, some, OPERANDS_AT_ONCE), range(0, p, at_once)):
            a, b = slice(first, min(first + OPERANDS_AT_ONCE, some)), slice(start, min(start + at_once, p))
            block = result[a, b]
            of_a, of_b = room[:, : block.size]
            of_a, of_b = of_a.reshape(block.shape), of_b.reshape(block.shape[1], block.shape[0], columns)
            np.matmul(to_a[a, b], from_a[a], out=of_a)
            np.matmul(to_b[b, a], self.from_b[b], out=of_b)
            yield block, of_a, of_b.transpose(1, 0, 2)


class Output(NamedTuple):
    """The logits as a linear function of the neurons and of the residual stream.

    matrix: (neuron, class) · direct: what does not pass through neurons, or a constant (class,)
    """

    matrix: Float[np.ndarray, "neuron class"]
    direct: Tables | Float[np.ndarray, " class"]

    def logits(
        self,
        neurons: Float[np.ndarray, "some b neuron"],
        operands: slice = slice(None),
        result: Float[np.ndarray, "some b class"] | None = None,
    ) -> Float[np.ndarray, "some b class"]:
        """Logits of the pairs with some a, given the activations of all neurons on them. result: where to put them"""
        if result is None:
            result = np.empty((*neurons.shape[:2], self.matrix.shape[1]), np.result_type(neurons, self.matrix))
        np.matmul(neurons.reshape(-1, neurons.shape[2]), self.matrix, out=result.reshape(-1, result.shape[2]))
        if isinstance(self.direct, Tables):
            self.direct.add_to(result, operands)
        else:
            result += self.direct
        return result


class Parts(NamedTuple):
    """The per-token tables of a network in closed form.

    scores: (side, operand, h) for a transformer; (a, b, h) for a two-token one; None for a one-hot MLP
    moved:  (side, r, operand, width), the contribution of each operand to the residual stream along each route
    base:   (width,), the constant contribution
    """

    scores: Any
    moved: Any
    base: Any


class ClosedForm(Computation):
    """A network with a closed form.

    scores: the argument of the attention scores: single tokens (relative to '='), pairs of tokens, or none
    """

    scores: ClassVar[Literal["tokens", "pairs", "none"]]

    @abstractmethod
    def routes(self, config: RunConfig) -> int:
        """Number of routes from an operand to a neuron."""

    @abstractmethod
    def score_shape(self, config: RunConfig) -> tuple[int, ...]:
        """Shape of `attention_scores`."""

    @abstractmethod
    def parts(self, weights: Mapping[str, Any], rate: float, into: Any = None, xp: ModuleType = np) -> Parts:
        """The per-token tables of these weights, arrays or tensors.

        rate: the attention rate
        into: (d, width), a matrix to multiply by. It is applied early, where the tables are smallest.
        xp:   numpy or torch, so that training differentiates the same code that the analyses and the viewer use.
        """

    @abstractmethod
    def attention_scores(self, weights: Weights) -> Float[np.ndarray, ...]:
        """The attention scores shared by all neurons' maps, of shape `score_shape`."""

    @abstractmethod
    def patterns(self, weights: Weights, rate: float) -> tuple[Float[np.ndarray, "r a b"], Float[np.ndarray, "r a b"]]:
        """A0 and A1 of every route, (r, a, b) each. The attention heads come first."""

    @abstractmethod
    def factors(
        self, weights: dict[str, Tensor], width: int, rate: float
    ) -> tuple[Float[Tensor, ...] | None, Float[Tensor, "row column"], Float[Tensor, "neuron width"]]:
        """Scores, T @ [W_in, W_U] and W_out @ W_U, with classes padded to `width`. See `tdw.network.factored`."""

    @abstractmethod
    def into_neurons(
        self, weights: Weights, neurons: Sequence[int] | slice = slice(None)
    ) -> tuple[Float[np.ndarray, "width neuron"], Float[np.ndarray, " neuron"] | float]:
        """The matrix from `Parts` to the inputs of these neurons, (width, neuron), and their biases, (neuron,) or 0."""

    def neuron_tables(
        self, weights: Weights, neurons: Sequence[int], rate: float
    ) -> Float[np.ndarray, "neuron numbers"]:
        """For each neuron [c, U0[r, a], U1[r, b]], with r the slower axis, (neuron, 1 + 2 * routes * p)."""
        into, bias = self.into_neurons(weights, list(neurons))
        _, moved, base = self.parts(weights, rate, into)
        tables = np.concatenate([(base + bias)[None], moved.reshape(-1, base.shape[0])])
        return np.ascontiguousarray(tables.T, dtype=np.float32)

    def neuron_map(self, weights: Weights, neuron: int, nonlinearity: Nonlinearity) -> Float[np.ndarray, "a b"]:
        """Activation of one neuron on every pair, (a, b)."""
        table = self.neuron_tables(weights, [neuron], nonlinearity.attention_rate)[0]
        to_a, to_b = self.patterns(weights, nonlinearity.attention_rate)
        from_a, from_b = table[1:].reshape(2, to_a.shape[0], -1)
        pre = table[0] + (to_a * from_a[:, :, None] + to_b * from_b[:, None, :]).sum(axis=0)
        return activate(pre, nonlinearity.activation)

    def inputs(self, weights: Weights, rate: float, neurons: slice = slice(None)) -> Tables:
        """The inputs of these neurons."""
        into, bias = self.into_neurons(weights, neurons)
        return self._tables(weights, rate, into, bias)

    @abstractmethod
    def output(self, weights: Weights, rate: float, classes: int) -> Output:
        """The logits of the first classes."""

    def activations(self, weights: Weights, nonlinearity: Nonlinearity) -> Float[np.ndarray, "a b neuron"]:
        """Activation of every neuron on every pair, (a, b, neuron)."""
        return self.inputs(weights, nonlinearity.attention_rate).activations(nonlinearity.activation)

    def logits(
        self, weights: Weights, neurons: Float[np.ndarray, "a b neuron"], nonlinearity: Nonlinearity
    ) -> Float[np.ndarray, "a b class"]:
        """See `Computation`."""
        return self.output(weights, nonlinearity.attention_rate, outputs(weights)).logits(neurons)

    def _tables(self, weights: Weights, rate: float, into: Any, bias: Any) -> Tables:
        """The linear functions of `Parts` that a matrix (width, column) and biases (column,) give."""
        _, moved, base = self.parts(weights, rate, into)
        to_a, to_b = self.patterns(weights, rate)
        dtype = np.result_type(to_a, moved)
        constant = np.broadcast_to(base + bias, (moved.shape[2], 1, base.shape[0]))
        from_a = np.concatenate([moved[0].transpose(1, 0, 2), constant], axis=1, dtype=dtype)
        always = np.ones((*to_a.shape[1:], 1), dtype)
        return Tables(
            np.concatenate([to_a.transpose(1, 2, 0), always], axis=2, dtype=dtype),
            np.ascontiguousarray(to_b.transpose(2, 1, 0), dtype),
            from_a,
            np.ascontiguousarray(moved[1].transpose(1, 0, 2), dtype),
        )


class ResidualForm(TransformerComputation, ClosedForm):
    """The closed form shared by one-layer transformers."""

    def into_neurons(
        self, weights: Weights, neurons: Sequence[int] | slice = slice(None)
    ) -> tuple[Float[np.ndarray, "width neuron"], Float[np.ndarray, " neuron"] | float]:
        """W_in and the biases of these neurons."""
        bias = weights.get("blocks.0.mlp.b_in")
        return weights["blocks.0.mlp.W_in"][:, neurons], 0.0 if bias is None else bias[neurons]

    def neuron_to_logit(self, weights: Weights) -> Float[np.ndarray, "neuron class"]:
        """W_out @ W_U, (neuron, class)."""
        return weights["blocks.0.mlp.W_out"] @ weights["unembed.W_U"]

    def output(self, weights: Weights, rate: float, classes: int) -> Output:
        """See `ClosedForm`."""
        unembed = weights["unembed.W_U"][:, :classes]
        bias = weights.get("blocks.0.mlp.b_out")
        direct = self._tables(weights, rate, unembed, 0.0 if bias is None else bias @ unembed)
        return Output(weights["blocks.0.mlp.W_out"] @ unembed, direct)

    def factors(
        self, weights: dict[str, Tensor], width: int, rate: float
    ) -> tuple[Float[Tensor, ...] | None, Float[Tensor, "row column"], Float[Tensor, "neuron width"]]:
        """See `ClosedForm`."""
        import torch

        unembed = widened(weights["unembed.W_U"], width)
        into = torch.cat([weights["blocks.0.mlp.W_in"], unembed], dim=1)
        scores, moved, base = self.parts(weights, rate, into, torch)
        if "blocks.0.mlp.b_in" in weights:
            base = base + torch.cat([weights["blocks.0.mlp.b_in"], weights["blocks.0.mlp.b_out"] @ unembed])
        # A split without pieces that are empty: their gradient would be zeros of the size of the whole.
        heads = scores.shape[-1]
        pieces = moved.split([heads, moved.shape[1] - heads], dim=1) if heads < moved.shape[1] else [moved]
        rows = [piece.reshape(-1, base.shape[0]) for piece in pieces]
        mixed = torch.cat([*rows, base[None]])
        return scores, mixed, weights["blocks.0.mlp.W_out"] @ unembed


def outputs(weights: Weights) -> int:
    """The number of output classes."""
    name = "unembed.W_U" if "unembed.W_U" in weights else "mlp.W_out"
    return int(weights[name].shape[1])


def rated(softmax: Float[np.ndarray, "*axes"], rate: float) -> Float[np.ndarray, "*axes"]:
    """The attention with a rate, from that without."""
    return softmax if rate == 1 else rate * softmax + np.float32(1 - rate)


def widened(matrix: Float[Tensor, "row class"], width: int) -> Float[Tensor, "row {width}"]:
    """A matrix, padded with zero columns to `width`."""
    import torch

    return torch.nn.functional.pad(matrix, (0, width - matrix.shape[1]))


def closed_form(network: Network) -> ClosedForm:
    """The closed form of a kind of network. Raises SettingError if it has none."""
    computation = network.computation
    if not isinstance(computation, ClosedForm):
        raise SettingError(
            "network", f"neuron tables and attention scores need a one-layer --network (got {network.name})"
        )
    return computation


def routes(config: RunConfig) -> int:
    """Number of routes from an operand to a neuron. Raises SettingError if the network has no closed form."""
    return closed_form(config.network_kind).routes(config)


def score_shape(config: RunConfig) -> tuple[int, ...]:
    """Shape of `attention_scores`. Raises SettingError if the network has no closed form."""
    return closed_form(config.network_kind).score_shape(config)


def attention_scores(weights: Weights) -> Float[np.ndarray, ...]:
    """The scores shared by all neurons' maps: t0 and t1, (side, h, operand); for a two-token network t, (h, a, b); else (0,)."""
    return closed_form(network_of(weights)).attention_scores(weights)


def neuron_tables(weights: Weights, neurons: Sequence[int], rate: float) -> Float[np.ndarray, "neuron numbers"]:
    """See `ClosedForm.neuron_tables`."""
    return closed_form(network_of(weights)).neuron_tables(weights, neurons, rate)


def activate(pre: Float[np.ndarray, "*axes"], activation: str) -> Float[np.ndarray, "*axes"]:
    """Apply the activation function in place; returns `pre`."""
    if activation == "relu":
        return np.maximum(pre, 0, out=pre)
    if activation == "quadratic":
        return np.square(pre, out=pre)
    pre *= 0.5 * (1 + erf(pre / np.float32(2**0.5)))
    return pre


def erf(x: Float[np.ndarray, "*axes"]) -> Float[np.ndarray, "*axes"]:
    """The error function, accurate to 1.5e-7: Abramowitz and Stegun, formula 7.1.26, also used by the viewer."""
    size = np.minimum(np.abs(x), 9)  # it is 1 from 6 on, and squares of large numbers overflow float32
    t = 1 / (1 + 0.3275911 * size)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.copysign(1 - series * np.exp(-size * size), x)
