"""Loss functions for training. The recorded train and test losses use the same function.

The three are one function, cross-entropy, in different arithmetic, which is part of the experiment. In float32, the loss of
an example whose answer is about 17 nats ahead is exactly 0, and so is the gradient of its logit: it no longer pulls the
answer up ("softmax collapse", Prieto et al. 2025). `stable` and `float64` keep both.

Axes.  pair: entries of a set of pairs · class: output class
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdw.registry import Registry

if TYPE_CHECKING:
    from jaxtyping import Float, Float64, Int64
    from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """A loss function.

    mean:  (logits (pair, class), answers (pair,)) -> mean over the pairs, a differentiable float64 scalar
    unit:  the unit of the recorded values
    dtype: in which the factored engine computes `log_softmax`, as PyTorch does; None for its own formula, which keeps the
           relative precision of a small loss in float32 (`tdw.network.factored`)
    factored: whether the factored engine implements it and its gradient
    """

    name: str
    mean: Callable[[Tensor, Tensor], Tensor]
    unit: str
    dtype: str | None = None
    factored: bool = False


def cross_entropy(logits: Float[Tensor, "pair class"], answers: Int64[Tensor, " pair"]) -> Float64[Tensor, ""]:
    """Mean cross-entropy in nats, in float64."""
    from torch.nn import functional

    return functional.cross_entropy(logits.double(), answers)


def float32_cross_entropy(logits: Float[Tensor, "pair class"], answers: Int64[Tensor, " pair"]) -> Float64[Tensor, ""]:
    """Mean cross-entropy in nats, in float32: `torch.nn.functional.cross_entropy` on float32 logits."""
    from torch.nn import functional

    return functional.cross_entropy(logits.float(), answers).double()


LOSSES: Registry[Loss] = Registry("loss")
LOSSES.register(Loss("stable", cross_entropy, "nats", factored=True))
LOSSES.register(Loss("float32", float32_cross_entropy, "nats", dtype="float32", factored=True))
LOSSES.register(Loss("float64", cross_entropy, "nats", dtype="float64", factored=True))
