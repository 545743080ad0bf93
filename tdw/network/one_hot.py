"""The MLP on one-hot pairs in closed form: a neuron's input is the sum of one weight for a and one for b."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int64

from tdw.network.closed_form import ClosedForm, Output, Parts, Tables, widened
from tdw.network.computation import Array, Weights
from tdw.network.kinds import Nonlinearity

if TYPE_CHECKING:
    from torch import Tensor

    from tdw.config import RunConfig
else:  # tests evaluate the annotations; reading a run must not import torch
    RunConfig = Tensor = Any


class OneHotForm(ClosedForm):
    """Closed form of the MLP. It has no residual stream: its tables are the inputs of neurons, and `into` selects neurons."""

    scores = "none"

    def routes(self, config: RunConfig) -> int:  # noqa: ARG002 - the interface of all kinds
        """One, of constant weight 1."""
        return 1

    def score_shape(self, config: RunConfig) -> tuple[int, ...]:  # noqa: ARG002 - the interface of all kinds
        """(0,)."""
        return (0,)

    def parts(self, weights: Mapping[str, Any], rate: float, into: Any = None, xp: ModuleType = np) -> Parts:  # noqa: ARG002 - the interface of all kinds
        """See `ClosedForm`."""
        first = weights["mlp.W_in"] if into is None else weights["mlp.W_in"] @ into
        bias = weights.get("mlp.b_in")
        zero = first[0] * 0
        return Parts(
            None,
            first.reshape(2, 1, first.shape[0] // 2, first.shape[1]),
            zero if bias is None else bias if into is None else bias @ into,
        )

    def attention_scores(self, weights: Weights) -> Float[np.ndarray, " 0"]:  # noqa: ARG002 - the interface of all kinds
        """Empty, (0,): the network has no attention."""
        return np.zeros((0,), np.float32)

    def patterns(self, weights: Weights, rate: float) -> tuple[Float[np.ndarray, "r a b"], Float[np.ndarray, "r a b"]]:  # noqa: ARG002 - the interface of all kinds
        """See `ClosedForm`."""
        p = weights["mlp.W_in"].shape[0] // 2
        return np.ones((1, p, p), np.float32), np.ones((1, p, p), np.float32)

    def attention(self, weights: Weights, nonlinearity: Nonlinearity) -> Float[np.ndarray, "token head a b"]:
        """Not available: the network has no attention."""
        raise NotImplementedError("an MLP on one-hot pairs has no attention")

    def forward(
        self,
        weights: Mapping[str, Tensor],
        a: Int64[Tensor, " pair"],
        b: Int64[Tensor, " pair"],
        nonlinearity: Nonlinearity,
    ) -> Float[Tensor, "pair class"]:
        """See `Computation`."""
        import torch
        from torch.nn import functional

        from tdw.network.reference import plain_mlp

        p = weights["mlp.W_in"].shape[0] // 2
        both = torch.cat([functional.one_hot(a, p), functional.one_hot(b, p)], dim=1).to(weights["mlp.W_in"].dtype)
        return plain_mlp(weights, both, nonlinearity.activation, block="")

    def embedding(self, weights: Weights, p: int) -> Float[np.ndarray, "operand width"]:  # noqa: ARG002 - the interface of all kinds
        """The concatenated input weights of a and b, (operand, 2 * d_mlp)."""
        return np.concatenate(np.split(weights["mlp.W_in"], 2), axis=1)

    def renamed(
        self, weights: Weights, operands: Int64[np.ndarray, " operand"], classes: Int64[np.ndarray, " class"]
    ) -> dict[str, Array]:
        """See `Computation`."""
        changed = {
            "mlp.W_in": weights["mlp.W_in"][np.concatenate([operands, len(operands) + operands])],
            "mlp.W_out": weights["mlp.W_out"][:, classes],
        }
        if "mlp.b_out" in weights:
            changed["mlp.b_out"] = weights["mlp.b_out"][classes]
        return {**weights, **changed}

    def into_neurons(
        self, weights: Weights, neurons: Sequence[int] | slice = slice(None)
    ) -> tuple[Float[np.ndarray, "width neuron"], Float[np.ndarray, " neuron"] | float]:
        """The columns of the identity for these neurons, and 0 (biases are in `parts`)."""
        return np.eye(weights["mlp.W_in"].shape[1], dtype=np.float32)[:, neurons], 0.0

    def neuron_to_logit(self, weights: Weights) -> Float[np.ndarray, "neuron class"]:
        """W_out, (neuron, class)."""
        return weights["mlp.W_out"]

    def output(self, weights: Weights, rate: float, classes: int) -> Output:  # noqa: ARG002 - the interface of all kinds
        """See `ClosedForm`."""
        matrix = weights["mlp.W_out"][:, :classes]
        bias = weights.get("mlp.b_out")
        return Output(matrix, np.zeros_like(matrix[0]) if bias is None else bias[:classes])

    def inputs(self, weights: Weights, rate: float, neurons: slice = slice(None)) -> Tables:
        """See `ClosedForm`. The columns are those of `parts`, without a product."""
        some = {
            name: array[..., neurons] if name in ("mlp.W_in", "mlp.b_in") else array for name, array in weights.items()
        }
        return self._tables(some, rate, None, 0.0)

    def factors(
        self, weights: dict[str, Tensor], width: int, rate: float
    ) -> tuple[Float[Tensor, ...] | None, Float[Tensor, "row column"], Float[Tensor, "neuron width"]]:
        """See `ClosedForm`."""
        import torch

        direct = widened(weights["mlp.W_out"], width)
        _, moved, base = self.parts(weights, rate, None, torch)
        mixed = torch.cat([moved.reshape(-1, base.shape[0]), base[None]])
        unread = mixed.new_zeros(mixed.shape[0] - 1, direct.shape[1])
        bias = weights.get("mlp.b_out")
        last = direct.new_zeros(1, direct.shape[1]) if bias is None else widened(bias[None], width)
        return None, torch.cat([mixed, torch.cat([unread, last])], dim=1), direct


COMPUTATION = OneHotForm()
