"""Optimizers: their settings, the slots of their state, and one update of all weights at once.

All weights lie in one flat buffer (`tdw.network.training`), and so does each slot: an array as large as the weights that
the optimizer carries from update to update, zero at first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdw.registry import Registry
from tdw.setting import setting

if TYPE_CHECKING:
    from torch import Tensor

    from tdw.config import RunConfig


@dataclass(frozen=True)
class Optimizer:
    """An optimizer.

    settings: a dataclass of the settings that belong to it alone
    slots:    the names of the arrays in its state
    squares:  those slots that hold means of squares, so that a negative number in one is damage
    update:   (weights, gradient, slots, step, lr, config): one update in place; step counts the updates, this one
              included, as a float32 scalar on the weights' device
    """

    name: str
    settings: type
    slots: tuple[str, ...]
    update: Callable[[Tensor, Tensor, dict[str, Tensor], Tensor, float, RunConfig], None]
    squares: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AdamWSettings:
    """The settings of AdamW alone."""

    betas: tuple[float, float] = setting((0.9, 0.98), "AdamW betas", within=(0, 1), below=True)


EPS = 1e-8  # PyTorch's default


def adamw(
    weights: Tensor, gradient: Tensor, slots: dict[str, Tensor], step: Tensor, lr: float, config: RunConfig
) -> None:
    """AdamW, decoupled weight decay (Loshchilov and Hutter 2019), by the kernel under `torch.optim.AdamW(fused=True)`.

    The kernel is called by itself because `torch.optim.AdamW` imports the compiler, which takes longer than a short run.
    """
    import torch

    torch._fused_adamw_(
        [weights],
        [gradient],
        [slots["exp_avg"]],
        [slots["exp_avg_sq"]],
        [],
        [step],
        lr=lr,
        beta1=config.betas[0],
        beta2=config.betas[1],
        weight_decay=config.weight_decay,
        eps=EPS,
        amsgrad=False,
        maximize=False,
    )


@dataclass(frozen=True, kw_only=True)
class SgdSettings:
    """The settings of SGD alone."""

    momentum: float = setting(0.9, "SGD momentum", within=(0, 1), below=True)


def sgd(
    weights: Tensor, gradient: Tensor, slots: dict[str, Tensor], _step: Tensor, lr: float, config: RunConfig
) -> None:
    """SGD with momentum and L2 weight decay, in the operations of `torch.optim.SGD`."""
    if config.weight_decay:
        gradient.add_(weights, alpha=config.weight_decay)
    velocity = slots["momentum_buffer"].mul_(config.momentum).add_(gradient)
    weights.add_(velocity, alpha=-lr)


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings(SgdSettings, AdamWSettings):
    """The settings of all optimizers."""


OPTIMIZERS: Registry[Optimizer] = Registry("optimizer")
OPTIMIZERS.register(Optimizer("adamw", AdamWSettings, ("exp_avg", "exp_avg_sq"), adamw, squares=("exp_avg_sq",)))
OPTIMIZERS.register(Optimizer("sgd", SgdSettings, ("momentum_buffer",), sgd))
