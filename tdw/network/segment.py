"""What training yields and a project file keeps: plain values that know neither.

An importer of somebody else's run is a training that has already happened, and yields the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.float32]]
Series = NDArray[np.float64]


@dataclass(frozen=True)
class State:
    """All that training needs to go on from an epoch, bit for bit: weights and AdamW's two moments of each.

    Full-batch training draws no random number, so there is no generator to keep. Without the moments, which an imported
    run may lack, training cannot go on from it.
    """

    epoch: int
    weights: Arrays
    exp_avg: Arrays
    exp_avg_sq: Arrays


@dataclass(frozen=True)
class Segment:
    """A stretch of training: what was measured at each epoch of it, and the state at its last epoch.

    epochs: the epochs measured, in order; the four series have one number for each, NaN where not evaluated
    keep:   the last epoch is one of the checkpoints
    """

    epochs: range
    train_loss: Series
    test_loss: Series
    train_accuracy: Series
    test_accuracy: Series
    state: State
    keep: bool
