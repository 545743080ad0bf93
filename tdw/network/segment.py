"""The plain values that training and importers yield and a project file stores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

Arrays = dict[str, Float32[np.ndarray, "..."]]
Series = Float64[np.ndarray, " _"]  # by epoch; two of one function may cover different epochs


@dataclass(frozen=True)
class State:
    """The state from which training continues bit for bit: the weights, and the optimizer state.

    slots: by name, one array per weight (AdamW: exp_avg and exp_avg_sq). Empty if unknown, as in some imported runs;
           training cannot continue from such a state.

    Full-batch training does not draw random numbers, so there is no generator state.
    """

    epoch: int
    weights: Arrays
    slots: dict[str, Arrays]

    @classmethod
    def fresh(cls, epoch: int, weights: Arrays, slots: Iterable[str]) -> State:
        """The state in which an optimizer with these slots starts: all zero."""
        return cls(epoch, weights, {slot: {name: np.zeros_like(w) for name, w in weights.items()} for slot in slots})


@dataclass(frozen=True)
class Segment:
    """Consecutive epochs of training: the curves, and the state at the last epoch.

    epochs: the epochs, in order; each of the four curves has one value per epoch, NaN where not evaluated
    keep:   whether the last epoch is a checkpoint
    """

    epochs: range
    train_loss: Series
    test_loss: Series
    train_accuracy: Series
    test_accuracy: Series
    state: State
    keep: bool
