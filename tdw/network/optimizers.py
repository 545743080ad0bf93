"""Optimizers: their settings, the slots of their state, and the update step.

All weights are in one flat buffer (`tdw.network.training`). Each slot is a buffer of the same size that the optimizer
keeps between updates, initially zero.

Axes.  weight: entries of the flat buffer
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdw.registry import Registry
from tdw.setting import setting

if TYPE_CHECKING:
    from jaxtyping import Float32
    from torch import Tensor

    from tdw.config import RunConfig


@dataclass(frozen=True)
class Optimizer:
    """An optimizer.

    settings: a dataclass of the settings specific to it
    slots:    the names of the arrays in its state
    squares:  the slots that hold mean squares, so that negative values in them indicate damage
    update:   (weights, gradient, slots, step, lr, config): one update in place; step is the number of updates including
              this one, a float32 scalar on the device of the weights
    """

    name: str
    settings: type
    slots: tuple[str, ...]
    update: Callable[[Tensor, Tensor, dict[str, Tensor], Tensor, float, RunConfig], None]
    squares: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AdamWSettings:
    """The settings specific to AdamW."""

    betas: tuple[float, float] = setting((0.9, 0.98), "AdamW betas", within=(0, 1), below=True)


EPS = 1e-8  # PyTorch's default


def adamw(
    weights: Float32[Tensor, " weight"],
    gradient: Float32[Tensor, " weight"],
    slots: dict[str, Tensor],
    step: Float32[Tensor, ""],
    lr: float,
    config: RunConfig,
) -> None:
    """AdamW with decoupled weight decay (Loshchilov and Hutter 2019), by the kernel of `torch.optim.AdamW(fused=True)`.

    Calls the kernel directly, because importing `torch.optim.AdamW` imports the compiler, which takes longer than a short
    run.
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
    """The settings specific to SGD."""

    momentum: float = setting(0.9, "SGD momentum", within=(0, 1), below=True)


def sgd(
    weights: Float32[Tensor, " weight"],
    gradient: Float32[Tensor, " weight"],
    slots: dict[str, Tensor],
    _step: Float32[Tensor, ""],
    lr: float,
    config: RunConfig,
) -> None:
    """SGD with momentum and L2 weight decay, with the same operations as `torch.optim.SGD`. Overwrites `gradient`."""
    if config.weight_decay:
        gradient.add_(weights, alpha=config.weight_decay)
    velocity = slots["momentum_buffer"].mul_(config.momentum).add_(gradient)
    weights.add_(velocity, alpha=-lr)


@dataclass(frozen=True, kw_only=True)
class LionSettings:
    """The settings specific to Lion."""

    lion_betas: tuple[float, float] = setting((0.9, 0.99), "Lion betas", within=(0, 1), below=True)


def lion(
    weights: Float32[Tensor, " weight"],
    gradient: Float32[Tensor, " weight"],
    slots: dict[str, Tensor],
    _step: Float32[Tensor, ""],
    lr: float,
    config: RunConfig,
) -> None:
    """Lion with decoupled weight decay (Chen et al. 2023, algorithm 2): each weight moves by `lr`, in the direction of the
    sign of a mean of the gradient and its running mean.
    """
    beta1, beta2 = config.lion_betas
    mean = slots["exp_avg"]
    direction = mean.mul(beta1).add_(gradient, alpha=1 - beta1).sign_()
    weights.mul_(1 - lr * config.weight_decay).add_(direction, alpha=-lr)
    mean.mul_(beta2).add_(gradient, alpha=1 - beta2)


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings(LionSettings, SgdSettings, AdamWSettings):
    """The settings of all optimizers."""


OPTIMIZERS: Registry[Optimizer] = Registry("optimizer")
OPTIMIZERS.register(Optimizer("adamw", AdamWSettings, ("exp_avg", "exp_avg_sq"), adamw, squares=("exp_avg_sq",)))
OPTIMIZERS.register(Optimizer("sgd", SgdSettings, ("momentum_buffer",), sgd))
OPTIMIZERS.register(Optimizer("lion", LionSettings, ("exp_avg",), lion))
