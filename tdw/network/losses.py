"""Loss functions for training. The recorded train and test losses use the same function.

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

    mean:     (logits (pair, class), answers (pair,)) -> mean over the pairs, a differentiable float64 scalar
    unit:     the unit of the recorded values
    factored: whether the factored engine implements it and its gradient
    """

    name: str
    mean: Callable[[Tensor, Tensor], Tensor]
    unit: str
    factored: bool = False


def cross_entropy(logits: Float[Tensor, "pair class"], answers: Int64[Tensor, " pair"]) -> Float64[Tensor, ""]:
    """Mean cross-entropy in nats, in float64."""
    from torch.nn import functional

    return functional.cross_entropy(logits.double(), answers)


LOSSES: Registry[Loss] = Registry("loss")
LOSSES.register(Loss("cross-entropy", cross_entropy, "nats", factored=True))
