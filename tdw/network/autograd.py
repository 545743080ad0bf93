"""Training by plain PyTorch: any network, any loss, by autograd on the forward pass as it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tdw.network.reference import Weights

if TYPE_CHECKING:
    from tdw import tasks
    from tdw.config import RunConfig


class AutogradEngine:
    """Loss, accuracy and gradients by autograd, see `tdw.network.training.Engine`."""

    def __init__(self, config: RunConfig, weights: Weights, sides: tuple[tasks.Operands, tasks.Operands]):
        self.config, self.weights = config, weights
        self.computation, self.loss = config.network_kind.computation, config.loss_kind
        self.train, self.test = sides
        self.reached: Tensor | None = None

    def measure_train(self) -> Tensor:
        """Loss and accuracy of the current weights on the train pairs, (2,) float64. Prepares `backward`."""
        self.reached, accuracy = self._measure(self.train)
        return torch.stack([self.reached.detach(), accuracy])

    def measure_test(self) -> Tensor:
        """The same on the test pairs."""
        with torch.no_grad():
            return torch.stack(self._measure(self.test))

    def backward(self) -> None:
        """Add the gradients of the train loss that `measure_train` found to those of the weights."""
        assert self.reached is not None, "measure_train comes first"
        torch.autograd.backward(self.reached)
        self.reached = None

    def _measure(self, side: tasks.Operands) -> tuple[Tensor, Tensor]:
        a, b, answers = side
        logits = self.computation.forward(self.weights, a, b, self.config.activation)
        accuracy = (logits.detach().argmax(dim=1) == answers).double().mean()
        return self.loss.mean(logits, answers), accuracy
