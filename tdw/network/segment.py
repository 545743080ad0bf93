"""What training yields and a project file stores: plain values. Importers of other programs' runs yield the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.float32]]
Series = NDArray[np.float64]


@dataclass(frozen=True)
class State:
    """All that training needs to continue from an epoch, bit for bit: the weights, and the optimizer's slots.

    slots: by name, an array for each weight (AdamW: exp_avg and exp_avg_sq). Empty where they are unknown, as for an
           imported run: training cannot continue from such a state.

    Full-batch training draws no random numbers, so there is no generator to keep.
    """

    epoch: int
    weights: Arrays
    slots: dict[str, Arrays]

    @classmethod
    def fresh(cls, epoch: int, weights: Arrays, slots: Iterable[str]) -> State:
        """The state in which an optimizer with these slots begins: all zero."""
        return cls(epoch, weights, {slot: {name: np.zeros_like(w) for name, w in weights.items()} for slot in slots})


@dataclass(frozen=True)
class Segment:
    """A stretch of training: what was measured at each epoch of it, and the state at its last epoch.

    epochs: the epochs measured, in order; each of the four series has one number per epoch, NaN where not evaluated
    keep:   the last epoch is a checkpoint
    """

    epochs: range
    train_loss: Series
    test_loss: Series
    train_accuracy: Series
    test_accuracy: Series
    state: State
    keep: bool
