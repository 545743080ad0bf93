"""What analyses of a whole run see: settings, recorded curves, and the weights and stored results of all checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from tdw.config import RunConfig
from tdw.network.computation import Weights


@dataclass(frozen=True)
class Curves:
    """The recorded curves of a run, one value per epoch; NaN at epochs that were not evaluated."""

    train_loss: Float64[np.ndarray, " epoch"]
    test_loss: Float64[np.ndarray, " epoch"]
    train_accuracy: Float64[np.ndarray, " epoch"]
    test_accuracy: Float64[np.ndarray, " epoch"]


@dataclass(frozen=True)
class RunData:
    """A whole run, read on demand.

    checkpoints: epochs of the stored checkpoints
    result: returns the stored rows of "analysis/array", one per checkpoint
    weights: returns the weights of the checkpoint at an index
    """

    config: RunConfig
    curves: Curves
    checkpoints: Sequence[int] = ()
    result: Callable[[str], NDArray[Any]] | None = None
    weights: Callable[[int], Weights] | None = None

    def stored(self, name: str) -> NDArray[Any]:
        """The stored rows of "analysis/array", (checkpoint, …). Only for analyses that declare `after`.

        Raises LookupError if this object was made without results.
        """
        if self.result is None:
            raise LookupError(f"{name} was requested, but this RunData has no stored results")
        return self.result(name)

    def weights_of(self, index: int) -> Weights:
        """The weights of the checkpoint at an index. Only for analyses that declare `reads_weights`.

        Raises LookupError if this object was made without weights.
        """
        if self.weights is None:
            raise LookupError(f"the weights of checkpoint {index} were requested, but this RunData has none")
        return self.weights(index)
