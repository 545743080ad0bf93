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

from tdw import tasks
from tdw.analyses import fourier
from tdw.analyses.engine.cross_entropy import cross_entropy_and_margin
from tdw.config import RunConfig
from tdw.network.computation import Weights
from tdw.tasks import Split

# A neuron is dead where its activation hardly varies over the pairs: less than rounding makes of a constant one of the
# same mean, or less than this in absolute terms. It then has no frequency.
DEAD_VARIANCE = 1e-12
DEAD_VARIANCE_OF_MEAN_SQUARE = 1e-10
# Beyond this, and below one divided by it, squares and their sums leave what float32 holds.
MODERATE = 2.0**50
ROUNDING = 1e-6  # logits that differ by less than this of their size are equal but for rounding


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
    weights: Callable[[int], Weights] | None = None

    def stored(self, name: str) -> NDArray[Any]:
        """The stored rows of "analysis/array". Only an analysis that declares `after` may ask."""
        if self.result is None:
            raise LookupError(f"{name} was asked for, and no results were given")
        return self.result(name)

    def weights_of(self, index: int) -> Weights:
        """The weights of the index-th checkpoint. Only an analysis that declares `reads_weights` may ask."""
        if self.weights is None:
            raise LookupError(f"the weights of checkpoint {index} were asked for, and none were given")
        return self.weights(index)


class View:
    """The network at one checkpoint. Whatever several analyses need is computed once, when first asked for.

    split: the train and test pairs; None where nobody knows them
    final_key: which frequencies are key ones at the last checkpoint, (rule, frequency), for analyses that ask for it
    """

    def __init__(
        self,
        config: RunConfig,
        weights: Weights,
        split: Split | None = None,
        final_key: NDArray[np.uint8] | None = None,
    ):
        self.config = config
        self.computation = config.network_kind.computation
        self.weights = weights
        self.split = split
        self.final_key = final_key

    def held(self, compute: Callable[[Weights], NDArray[Any]]) -> NDArray[Any]:
        """What `compute` makes of the weights: as they are, in float32; in float64 where the result is so large or small
        (a run whose learning rate was too high, say) that float32 could not hold its squares.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            found = compute(self.weights)
        peak = max(found.max(), -found.min())
        if peak == 0 or 1 / MODERATE <= peak <= MODERATE:  # neither holds where there is a NaN
            return found
        return compute({name: array.astype(np.float64) for name, array in self.weights.items()})

    @cached_property
    def elements(self) -> NDArray[np.int64]:
        """The operands in the order of the task's group, (order,)."""
        found = tasks.elements(self.config)
        return np.arange(self.config.p) if found is None else found

    def in_order(self, array: NDArray[Any], axes: int) -> NDArray[Any]:
        """An array whose first `axes` axes are operands or answers, each put into the order of the task's group."""
        if self.config.task_kind.group.natural:
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
        return self.in_order(self.computation.embedding(self.weights, p), 1)

    @cached_property
    def neuron_to_logit(self) -> NDArray[np.floating]:
        """W_L, what each neuron adds to each answer, answers in the order of the group, (order, neuron)."""
        return self.in_order(self.held(self.computation.neuron_to_logit)[:, : self.config.p].T, 1)

    @cached_property
    def activations(self) -> NDArray[np.floating]:
        """Every neuron on every pair after its activation function, (a, b, neuron), in natural order."""
        return self.held(lambda weights: self.computation.activations(weights, self.config.activation))

    @cached_property
    def logits(self) -> NDArray[np.floating]:
        """Logits over the p answers, without the class '=', (a, b, c), in natural order."""
        found = self.held(lambda weights: self.computation.logits(weights, self.activations, self.config.activation))
        return np.ascontiguousarray(found[:, :, : self.config.p])

    @cached_property
    def logit_grid(self) -> NDArray[np.floating]:
        """The logits in the order of the group, (order, order, order)."""
        return np.ascontiguousarray(self.in_order(self.logits, 3))

    @cached_property
    def sides(self) -> NDArray[np.bool_] | None:
        """Which pairs are train and test ones, (2, p * p); None where nobody knows."""
        if self.split is None:
            return None
        sides = np.zeros((2, self.config.p**2), dtype=bool)
        for side, pairs in zip(sides, self.split, strict=True):
            side[pairs] = True
        return sides

    @cached_property
    def answered(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Cross-entropy of each pair, and its right logit less the largest wrong one, (p * p,) each."""
        return cross_entropy_and_margin(self.logits.reshape(-1, self.config.p).copy(), self.answers)

    @cached_property
    def embedding_norms(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Norms of the Fourier components of the embedding, (order,), and of its frequencies, (frequency,)."""
        norms = fourier.component_norms(self.embedding.astype(np.float64))
        return norms, fourier.frequency_norms(norms)

    @cached_property
    def unembedding_norms(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Norms of the Fourier components of the neuron-to-logit map, (order,), and of its frequencies, (frequency,)."""
        norms = fourier.component_norms(self.neuron_to_logit.astype(np.float64))
        return norms, fourier.frequency_norms(norms)

    @cached_property
    def spectrum(self) -> NDArray[np.floating]:
        """(F ⊗ F) L: the logit of each answer in products of Fourier components of a and of b, (component, component,
        c), everything in the order of the group.
        """
        order = self.config.order
        turn = fourier.basis(order).astype(self.logit_grid.dtype)
        half = (turn @ self.logit_grid.reshape(order, -1)).reshape(order, order, order)
        return turn @ half

    @cached_property
    def grid_pairs(self) -> NDArray[np.int64]:
        """The index a·p + b of each pair of the grid, (order * order,)."""
        return (self.elements[:, None] * self.config.p + self.elements).ravel()

    @cached_property
    def grid_answers(self) -> NDArray[np.int64]:
        """The place of the right answer of each pair of the grid, where it is the sum (for differences, difference) of
        those of the operands, (order * order,).
        """
        order = self.config.order
        place = np.arange(order)
        found = place[:, None] + (self.config.task_kind.sign or 1) * place
        return (found % order).ravel()

    @cached_property
    def grid_sides(self) -> NDArray[np.bool_] | None:
        """Which pairs of the grid are train and test ones, (2, order * order); None where nobody knows."""
        return None if self.sides is None else self.sides[:, self.grid_pairs]

    @cached_property
    def sum_coefficients(self) -> NDArray[np.float64]:
        """⟨u, L_c⟩ with the unit vectors u along cos(w_k(a+b)) and sin(w_k(a+b)), (2, frequency, c), group order.

        cos(x+y) = cos x cos y − sin x sin y, and so on: each is two entries of the spectrum. The sine of p/2 is zero.
        For differences b counts backwards, which turns the sign of its sines.
        """
        order = self.config.order
        cos = np.arange(1, order, 2)
        paired = cos[cos + 1 < order]
        sign = self.config.task_kind.sign or 1
        spectrum, found = self.spectrum, np.zeros((2, len(cos), order))
        found[0] = spectrum[cos, cos]
        both = len(paired)
        found[0, :both] = (spectrum[paired, paired] - sign * spectrum[paired + 1, paired + 1]) / 2**0.5
        found[1, :both] = (spectrum[paired + 1, paired] + sign * spectrum[paired, paired + 1]) / 2**0.5
        return found

    @cached_property
    def template_coefficients(self) -> NDArray[np.float64]:
        """⟨T_k/‖T_k‖, L⟩ with T_k = cos(w_k(a+b−c)), (frequency,)."""
        waves = fourier.basis(self.config.order)[1:]
        along = np.einsum("kc,kc->k", self.sum_coefficients[0], waves[::2])
        sines = waves[1::2]
        both = len(sines)
        along[:both] += np.einsum("kc,kc->k", self.sum_coefficients[1, :both], sines)
        along[:both] /= 2**0.5
        return along

    @cached_property
    def logit_cosine(self) -> NDArray[np.float64]:
        """Cosine similarity of T_k with L − mean_c L, (frequency,); 0 where the logits do not differ between answers."""
        flat = self.logit_grid.reshape(-1, self.config.order)
        differing = flat - flat.mean(axis=1, keepdims=True)
        norm, whole = (np.sqrt(np.einsum("ij,ij->i", x, x).sum(dtype=np.float64)) for x in (differing, flat))
        alike = norm <= ROUNDING * whole
        return np.zeros(self.config.frequencies) if alike else self.template_coefficients / norm

    @cached_property
    def attention(self) -> NDArray[np.floating]:
        """How much the last token of each pair attends to each token, (token, head, a, b)."""
        return self.held(self.computation.attention)

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """Mean activation over the pairs, (neuron,)."""
        return self.activations.mean(axis=(0, 1), dtype=np.float64)

    @cached_property
    def centered(self) -> NDArray[np.floating]:
        """Activations less their mean, (a, b, neuron)."""
        return self.activations - self.mean.astype(self.activations.dtype)

    @cached_property
    def centered_grid(self) -> NDArray[np.floating]:
        """Activations in the order of the group, less their mean there, (order, order, neuron)."""
        if self.config.task_kind.group.natural:
            return self.centered
        grid = self.in_order(self.activations, 2)
        return grid - grid.mean(axis=(0, 1), dtype=np.float64).astype(grid.dtype)

    @cached_property
    def variance(self) -> NDArray[np.float64]:
        """Variance of the activation over the pairs, (neuron,)."""
        return fourier.energy(self.centered) / self.config.p**2

    @cached_property
    def dead(self) -> NDArray[np.bool_]:
        """Neurons without variance, (neuron,)."""
        return self.variance <= np.maximum(DEAD_VARIANCE, DEAD_VARIANCE_OF_MEAN_SQUARE * self.mean**2)

    @cached_property
    def share(self) -> NDArray[np.float32]:
        """Share of each neuron's variance that lies in each frequency, (frequency, neuron); 0 for a dead neuron."""
        as_it_is = self.config.task_kind.group.natural
        total = self.variance * self.config.p**2 if as_it_is else fourier.energy(self.centered_grid)
        share = fourier.frequency_shares(self.centered_grid, total)
        return np.where(self.dead, 0, share).astype(np.float32)
