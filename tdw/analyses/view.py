"""What analyses look at: the network at one checkpoint, and the whole of a run.

For products modulo a prime, `p` of the order below is p - 1, and grids run over the powers of a primitive root instead of
over 0 .. p-1 (`tasks.powers`): products are then sums, and all that is said of sums holds for them. `grid` in a name
says that an array is in that order; 0, which is no power, is not among it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdw import closed_form, fourier, tasks
from tdw.config import RunConfig
from tdw.tasks import Split
from tdw.weights import network_of

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


@dataclass(frozen=True)
class Whole:
    """A run as a whole. `result` gives the stored rows of an array, one a checkpoint, by "analysis/array"; `weights` the
    weights of the index-th checkpoint.
    """

    config: RunConfig
    curves: Curves
    checkpoints: Sequence[int] = ()
    result: Callable[[str], NDArray[Any]] | None = None
    weights: Callable[[int], closed_form.Weights] | None = None


class View:
    """The network at one checkpoint. Whatever several analyses need is computed once, when first asked for.

    split: the train and test pairs; None where nobody knows them
    final_key: which frequencies are key ones at the last checkpoint, (rule, frequency), for analyses that ask for it
    """

    def __init__(
        self,
        config: RunConfig,
        weights: closed_form.Weights,
        split: Split | None = None,
        final_key: NDArray[np.uint8] | None = None,
    ):
        self.config = config
        self.weights = weights
        self.split = split
        self.final_key = final_key

    @cached_property
    def elements(self) -> NDArray[np.int64]:
        """The operands in the order of the task's group, (order,)."""
        found = tasks.powers(self.config)
        return np.arange(self.config.p) if found is None else found

    def in_order(self, array: NDArray[Any], axes: int) -> NDArray[Any]:
        """An array whose first `axes` axes are operands or answers, each put into the order of the task's group."""
        if self.config.task != "multiply":
            return array
        for axis in range(axes):
            array = np.take(array, self.elements, axis=axis)
        return array

    @cached_property
    def answers(self) -> NDArray[np.int64]:
        """The right answer of each pair, (p * p,)."""
        return tasks.answers(np.arange(self.config.p**2), self.config)

    @cached_property
    def embedding(self) -> NDArray[np.float32]:
        """What the network holds of each operand, in the order of the group, (order, width): the token embedding without
        '='; of a one-hot MLP the input weights of a and b side by side.
        """
        p = self.config.p
        if network_of(self.weights) == "one-hot":
            rows = np.concatenate(np.split(self.weights["mlp.W_in"], 2), axis=1)
        else:
            rows = self.weights["embed.W_E"][:p]
        return self.in_order(rows, 1)

    @cached_property
    def neuron_to_logit(self) -> NDArray[np.float32]:
        """W_L, what each neuron adds to each answer, answers in the order of the group, (order, neuron)."""
        if network_of(self.weights) == "one-hot":
            matrix = self.weights["mlp.W_out"]
        else:
            matrix = self.weights["blocks.0.mlp.W_out"] @ self.weights["unembed.W_U"]
        return self.in_order(matrix[:, : self.config.p].T, 1)

    @cached_property
    def activations(self) -> NDArray[np.float32]:
        """Every neuron on every pair after its activation function, (a, b, neuron), in natural order."""
        return closed_form.activations(self.weights, self.config.activation)

    @cached_property
    def logits(self) -> NDArray[np.float32]:
        """Logits over the p answers, without the class '=', (a, b, c), in natural order."""
        return np.ascontiguousarray(closed_form.logits(self.weights, self.activations)[:, :, : self.config.p])

    @cached_property
    def logit_grid(self) -> NDArray[np.float32]:
        """The logits in the order of the group, (order, order, order)."""
        return np.ascontiguousarray(self.in_order(self.logits, 3))

    @cached_property
    def attention(self) -> NDArray[np.float32]:
        """How much the last token of each pair attends to each token, (token, head, a, b)."""
        heads = self.config.heads
        to_a, to_b = (side[:heads] for side in closed_form.patterns(self.weights))
        if network_of(self.weights) == "two-token":
            return np.stack([to_a, to_b])
        return np.stack([to_a, to_b, 1 - to_a - to_b])

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """Mean activation over the pairs, (neuron,)."""
        return self.activations.mean(axis=(0, 1), dtype=np.float64)

    @cached_property
    def centred(self) -> NDArray[np.float32]:
        """Activations less their mean, (a, b, neuron)."""
        return self.activations - self.mean.astype(np.float32)

    @cached_property
    def centred_grid(self) -> NDArray[np.float32]:
        """Activations in the order of the group, less their mean there, (order, order, neuron)."""
        if self.config.task != "multiply":
            return self.centred
        grid = self.in_order(self.activations, 2)
        return grid - grid.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)

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
        flat = self.centred_grid.reshape(-1, self.centred_grid.shape[-1])
        total = np.einsum("ij,ij->j", flat, flat, dtype=np.float64)
        still = self.dead | (total <= DEAD_VARIANCE * flat.shape[0])
        share = np.where(still, 0, fourier.frequency_energy(self.centred_grid) / np.where(still, 1, total))
        return share.clip(0, 1).astype(np.float32)
