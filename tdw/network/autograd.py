"""Training in plain PyTorch: any network and any loss, by autograd through the reference forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float64
from torch import Tensor

from tdw import tasks
from tdw.network.correctness import is_correct
from tdw.network.reference import Weights

if TYPE_CHECKING:
    from tdw.config import RunConfig
else:  # tests evaluate the annotations
    RunConfig = Any


class AutogradEngine:
    """Loss, accuracy and gradients by autograd. See `tdw.network.training.Engine`."""

    def __init__(
        self,
        config: RunConfig,
        weights: Weights,
        sides: tuple[tasks.Operands, tasks.Operands],
        at_once: int = 0,  # noqa: ARG002 - the interface of all engines: this one computes all pairs at once
    ):
        self.config, self.weights = config, weights
        self.computation, self.loss = config.network_kind.computation, config.loss_kind
        self.train, self.test = sides
        self.train_loss: Tensor | None = None

    def measure_train(self) -> Float64[Tensor, " 2"]:
        """Loss and accuracy of the current weights on the train pairs, (2,) float64. Prepares `backward`."""
        self.train_loss, accuracy = self._measure(self.train)
        return torch.stack([self.train_loss.detach(), accuracy])

    def measure_test(self) -> Float64[Tensor, " 2"]:
        """Loss and accuracy of the current weights on the test pairs, (2,) float64."""
        with torch.no_grad():
            return torch.stack(self._measure(self.test))

    def backward(self) -> None:
        """Accumulate the gradients of the train loss of the last `measure_train` into those of the weights."""
        assert self.train_loss is not None, "measure_train comes first"
        torch.autograd.backward(self.train_loss)
        self.train_loss = None

    def _measure(self, side: tasks.Operands) -> tuple[Float64[Tensor, ""], Float64[Tensor, ""]]:
        a, b, answers = side
        logits = self.computation.forward(self.weights, a, b, self.config.nonlinearity)
        accuracy = is_correct(logits.detach(), answers).double().mean()
        return self.loss.mean(logits, answers), accuracy
