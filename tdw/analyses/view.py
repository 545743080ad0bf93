"""What analyses look at: the network at one checkpoint, and the recorded curves of a run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tdw import closed_form, fourier
from tdw.config import RunConfig

# A neuron is dead where its activation hardly varies over the pairs: less than rounding makes of a constant one of the
# same mean, or less than this in absolute terms. It then has no frequency.
DEAD_VARIANCE = 1e-12
DEAD_VARIANCE_OF_MEAN_SQUARE = 1e-10


@dataclass(frozen=True)
class Curves:
    """The recorded series of a run, (epochs,) each; NaN where a series was not evaluated."""

    train_loss: NDArray[np.float64]
    test_loss: NDArray[np.float64]
    train_accuracy: NDArray[np.float64]
    test_accuracy: NDArray[np.float64]


class View:
    """The network at one checkpoint. Whatever several analyses need is computed once, when first asked for."""

    def __init__(self, config: RunConfig, weights: closed_form.Weights):
        self.config = config
        self.weights = weights

    @cached_property
    def activations(self) -> NDArray[np.float32]:
        """Every neuron on every pair after the ReLU, (a, b, neuron)."""
        return closed_form.activations(self.weights)

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """Mean activation over the pairs, (neuron,)."""
        return self.activations.mean(axis=(0, 1), dtype=np.float64)

    @cached_property
    def centred(self) -> NDArray[np.float32]:
        """Activations less their mean, (a, b, neuron)."""
        return self.activations - self.mean.astype(np.float32)

    @cached_property
    def variance(self) -> NDArray[np.float64]:
        """Variance of the activation over the pairs, (neuron,)."""
        flat = self.centred.reshape(-1, self.centred.shape[-1])
        return np.einsum("ij,ij->j", flat, flat, dtype=np.float64) / flat.shape[0]

    @cached_property
    def dead(self) -> NDArray[np.bool_]:
        """Neurons without variance, (neuron,)."""
        return self.variance <= np.maximum(DEAD_VARIANCE, DEAD_VARIANCE_OF_MEAN_SQUARE * self.mean**2)

    @cached_property
    def share(self) -> NDArray[np.float32]:
        """Share of each neuron's variance that lies in each frequency, (frequency, neuron); 0 for a dead neuron."""
        total = np.where(self.dead, 1, self.variance) * self.config.p**2
        share = np.where(self.dead, 0, fourier.frequency_energy(self.centred) / total)
        return share.clip(0, 1).astype(np.float32)
