"""Loss functions that training may minimize. The accuracy and the losses that are recorded are of the same kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdw.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """A loss function.

    mean:     (logits (pair, class), answers (pair,)) -> mean over the pairs, a float64 scalar that autograd differentiates
    unit:     of the recorded numbers
    factored: the factored engine computes it, with its gradient, itself
    """

    name: str
    mean: Callable[[Tensor, Tensor], Tensor]
    unit: str
    factored: bool = False


def cross_entropy(logits: Tensor, answers: Tensor) -> Tensor:
    """Mean cross-entropy in nats, in float64."""
    from torch.nn import functional

    return functional.cross_entropy(logits.double(), answers)


LOSSES: Registry[Loss] = Registry("loss")
LOSSES.register(Loss("cross-entropy", cross_entropy, "nats", factored=True))
