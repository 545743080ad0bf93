"""What analyses of a checkpoint see: its network, with every intermediate result computed once and shared.

Axes, here and in all analyses:

    p          operands a and b, and answers c, in natural order 0 .. p-1
    order      the same in the order of the task's group (below); their number is `RunConfig.order`
    component  rows of the Fourier basis (`tdw.analyses.fourier`), the constant first; as many as `order`
    freq       frequencies 1 .. order // 2
    neuron · head · token
    pair       pairs (a, b) at index a * p + b; grid_pair: those of the group, at index i * order + j

For addition and subtraction the group order is the natural order. For multiplication and division modulo a prime it is
the powers of a primitive root (`tasks.elements`): the product of two powers is the sum of their exponents, so everything
that holds for addition modulo `order` = p - 1 holds for it. 0 is not a power and is left out. `grid` in a name means
group order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from numpy.typing import NDArray

from tdw import tasks
from tdw.analyses import fourier
from tdw.analyses.engine.cross_entropy import PairValues, pair_values, row_blocks
from tdw.config import RunConfig
from tdw.network.closed_form import ClosedForm
from tdw.network.computation import Weights
from tdw.tasks import Split

# A neuron is dead if its variance over the pairs is at most DEAD_VARIANCE, or at most what rounding adds to a constant
# activation of the same mean. A dead neuron has no frequency.
DEAD_VARIANCE = 1e-12
DEAD_VARIANCE_OF_MEAN_SQUARE = 1e-10

# Squares and sums of squares of values above this, or below its inverse, may overflow or underflow float32.
MODERATE = 2.0**50
ROUNDING = 1e-6  # logits whose relative difference is below this differ by rounding only

# What does not fit is computed in blocks. Small ones stay in the processor's cache, and the system need not clear new memory.
LARGEST_KEPT = 64 << 20  # bytes of the activations that are kept; larger ones are computed twice, block by block
NEURON_BLOCK = 4 << 20  # bytes of the maps of a block of neurons
FEWEST_NEURONS = 32  # of a block
ANSWER_BLOCK = 16 << 20  # bytes of the logits of some answers
BLOCK = 8 << 20  # bytes of other blocks
MOST_COUNTED = 255  # by a byte
ROWS_SUMMED = 8  # in float32


class Neurons(NamedTuple):
    """Statistics of each neuron's activation over the pairs. share: (freq, neuron), None if the task has no frequencies."""

    mean: Float64[np.ndarray, " neuron"]
    variance: Float64[np.ndarray, " neuron"]
    maximum: Float[np.ndarray, " neuron"]
    positive: Int64[np.ndarray, " neuron"]
    share: Float[np.ndarray, "freq neuron"] | None


class Checkpoint:
    """The network at one checkpoint. Shared intermediate results are computed on first use and kept.

    split: the train and test pairs; None if the split is unknown
    final_key: the key frequencies of the last checkpoint, for analyses that declare `final_keys`
    """

    def __init__(
        self,
        config: RunConfig,
        weights: Weights,
        split: Split | None = None,
        final_key: UInt8[np.ndarray, "rule freq"] | None = None,
    ):
        self.config = config
        self.computation = config.network_kind.computation
        self.weights = weights
        self.split = split
        self.final_key = final_key

    def without_overflow(self, compute: Callable[[Weights], NDArray[Any]]) -> NDArray[Any]:
        """`compute(weights)` in float32; again in float64 if the result is so large or small that its squares would
        overflow or underflow float32, as after training with a learning rate that is too high.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            result = compute(self.weights)
        if _is_moderate(float(max(result.max(), -result.min()))):
            return result
        return compute(_in_double_precision(self.weights))

    @cached_property
    def elements(self) -> Int64[np.ndarray, " order"]:
        """The operands in group order."""
        elements = tasks.elements(self.config)
        return np.arange(self.config.p) if elements is None else elements

    def in_group_order(self, array: NDArray[Any], axes: int) -> NDArray[Any]:
        """The array with its first `axes` axes, operands or answers, permuted into group order."""
        if self.config.task_kind.group.natural:
            return array
        for axis in range(axes):
            array = np.take(array, self.elements, axis=axis)
        return array

    @cached_property
    def answers(self) -> Int64[np.ndarray, " pair"]:
        """The correct answer to each pair."""
        return tasks.answers(np.arange(self.config.p**2), self.config)

    @cached_property
    def embedding(self) -> Float32[np.ndarray, "order width"]:
        """The token embedding of the operands, without '='; for a one-hot MLP the input weights of a and of b, concatenated
        along the second axis.
        """
        return self.in_group_order(self.computation.embedding(self.weights, self.config.p), 1)

    @cached_property
    def neuron_to_logit(self) -> Float[np.ndarray, "order neuron"]:
        """W_Lᵀ: the contribution of each neuron to the logit of each answer."""
        return self.in_group_order(self.without_overflow(self.computation.neuron_to_logit)[:, : self.config.p].T, 1)

    @cached_property
    def activations(self) -> Float[np.ndarray, "p p neuron"]:
        """Activations, after the activation function."""
        return self.without_overflow(lambda weights: self.computation.activations(weights, self.config.nonlinearity))

    @cached_property
    def has_activations(self) -> bool:
        """Whether the activations of all neurons are kept; otherwise they are computed block by block where they are needed."""
        size = 4 * self.config.p**2 * self.config.d_mlp
        return "activations" in vars(self) or size <= LARGEST_KEPT or not isinstance(self.computation, ClosedForm)

    def neuron_maps(self, weights: Weights) -> Iterator[Float[np.ndarray, "p p block"]]:
        """The activations of some neurons after others. Each array may be overwritten, and is by the next one."""
        p, neurons, nonlinearity = self.config.p, self.config.d_mlp, self.config.nonlinearity
        at_once = max(NEURON_BLOCK // (4 * p**2) // FEWEST_NEURONS, 1) * FEWEST_NEURONS
        buffer = np.empty(0)
        for first in range(0, neurons, at_once):
            some = slice(first, min(first + at_once, neurons))
            inputs = None
            if not self.has_activations:
                assert isinstance(self.computation, ClosedForm)
                inputs = self.computation.inputs(weights, nonlinearity.attention_rate, some)
            if not first:
                buffer = np.empty(p**2 * (some.stop - first), inputs.dtype if inputs else self.activations.dtype)
            maps = buffer[: p**2 * (some.stop - first)].reshape(p, p, -1)
            if inputs:
                inputs.activations(nonlinearity.activation, result=maps)
            else:
                np.copyto(maps, self.activations[:, :, some])
            yield maps

    @cached_property
    def logits(self) -> Float[np.ndarray, "p p p"]:
        """Logits of the p answers, without the class '=': (a, b, c)."""
        p, nonlinearity, form = self.config.p, self.config.nonlinearity, self.computation
        if not isinstance(form, ClosedForm):
            return np.ascontiguousarray(form.logits(self.weights, self.activations, nonlinearity)[:, :, :p])
        at_once = max(BLOCK // (4 * p * self.config.d_mlp), 1)

        def compute(weights: Weights) -> NDArray[Any]:
            output = form.output(weights, nonlinearity.attention_rate, p)
            inputs = None if self.has_activations else form.inputs(weights, nonlinearity.attention_rate)
            given = [] if inputs else [self.activations]
            logits = np.empty((p, p, p), np.result_type(*given, *weights.values()))
            for first in range(0, p, at_once):
                some = slice(first, min(first + at_once, p))
                neurons = inputs.activations(nonlinearity.activation, some) if inputs else self.activations[some]
                output.logits(neurons, some, logits[some])
            return logits

        return self.without_overflow(compute)

    def grid_rows(self, pairs: Int64[np.ndarray, " some"]) -> Float[np.ndarray, "some order"]:
        """The logits of some pairs of the grid, in group order; a copy."""
        rows = self.logits.reshape(-1, self.config.p)[self.grid_pairs[pairs]]
        return rows if self.config.task_kind.group.natural else np.take(rows, self.elements, axis=1)

    def grid_columns(self, answers: slice) -> Float[np.ndarray, "order order some"]:
        """The logits of some answers in group order, of all pairs of the grid."""
        if self.config.task_kind.group.natural:
            return self.logits[:, :, answers]
        columns = np.take(self.logits.reshape(-1, self.config.p), self.elements[answers], axis=1)
        return columns[self.grid_pairs].reshape(self.config.order, self.config.order, -1)

    @cached_property
    def split_masks(self) -> Bool[np.ndarray, "2 pair"] | None:
        """Masks of the train pairs and of the test pairs; None if the split is unknown."""
        if self.split is None:
            return None
        masks = np.zeros((2, self.config.p**2), dtype=bool)
        for mask, pairs in zip(masks, self.split, strict=True):
            mask[pairs] = True
        return masks

    @cached_property
    def of_pairs(self) -> PairValues:
        """Cross-entropy, margin and largest wrong logit of each pair."""
        logits, answers = self.logits.reshape(-1, self.config.p), self.answers
        values = np.empty((3, len(logits)))
        for rows in row_blocks(*logits.shape):
            values[:, rows] = pair_values(logits[rows].copy(), answers[rows])
        return PairValues(*values)

    @cached_property
    def embedding_norms(self) -> tuple[Float64[np.ndarray, " component"], Float64[np.ndarray, " freq"]]:
        """Norms of the Fourier components, and of the frequencies, of the embedding."""
        norms = fourier.component_norms(self.embedding.astype(np.float64))
        return norms, fourier.frequency_norms(norms)

    @cached_property
    def unembedding_norms(self) -> tuple[Float64[np.ndarray, " component"], Float64[np.ndarray, " freq"]]:
        """Norms of the Fourier components, and of the frequencies, of the neuron-to-logit map."""
        norms = fourier.component_norms(self.neuron_to_logit.astype(np.float64))
        return norms, fourier.frequency_norms(norms)

    @cached_property
    def spectrum(self) -> fourier.Spectrum:
        """(F ⊗ F) L: the logit of each answer in the basis of products of Fourier components of a and of b."""
        order = self.config.order
        at_once = max(ANSWER_BLOCK // (self.logits.itemsize * order**2), 1)
        return fourier.spectrum(self.grid_columns, order, at_once)

    @cached_property
    def grid_pairs(self) -> Int64[np.ndarray, " grid_pair"]:
        """The index a * p + b of each pair of the grid."""
        return (self.elements[:, None] * self.config.p + self.elements).ravel()

    @cached_property
    def grid_answers(self) -> Int64[np.ndarray, " grid_pair"]:
        """The group index of the correct answer to each pair of the grid: the sum of the operands' group indices modulo
        `order`; the difference for subtraction and division.
        """
        order = self.config.order
        index = np.arange(order)
        answer = index[:, None] + (self.config.task_kind.sign or 1) * index
        return (answer % order).ravel()

    @cached_property
    def grid_split_masks(self) -> Bool[np.ndarray, "2 grid_pair"] | None:
        """Masks of the train and of the test pairs among the pairs of the grid; None if the split is unknown."""
        return None if self.split_masks is None else self.split_masks[:, self.grid_pairs]

    @cached_property
    def sum_coefficients(self) -> Float64[np.ndarray, "2 freq order"]:
        """⟨u, L_c⟩ with the unit vectors u along cos(w_k(a+b)) and sin(w_k(a+b)), for each answer c.

        cos(x+y) = cos x cos y − sin x sin y, and sin(x+y) likewise: each coefficient is the sum of two entries of the
        spectrum. The sine of frequency p/2 is zero. Subtraction and division replace b by −b, which flips the sign of its sines.
        """
        sign, within = self.config.task_kind.sign or 1, self.spectrum.within.astype(np.float64)
        coefficients = np.stack([within[:, 0, 0] - sign * within[:, 1, 1], within[:, 1, 0] + sign * within[:, 0, 1]])
        coefficients[:, : (self.config.order - 1) // 2] /= 2**0.5
        return coefficients

    @cached_property
    def template_coefficients(self) -> Float64[np.ndarray, " freq"]:
        """⟨T_k/‖T_k‖, L⟩ with the templates T_k = cos(w_k(a+b−c))."""
        waves = fourier.basis(self.config.order)[1:]
        along = np.einsum("kc,kc->k", self.sum_coefficients[0], waves[::2])
        sines = waves[1::2]
        both = len(sines)
        along[:both] += np.einsum("kc,kc->k", self.sum_coefficients[1, :both], sines)
        along[:both] /= 2**0.5
        return along

    @cached_property
    def logit_cosine(self) -> Float64[np.ndarray, " freq"]:
        """Cosine similarity of T_k with L − mean_c L; 0 if the logits of all answers are equal."""
        norm, total = np.sqrt(self._pair_energies.sum(axis=1))
        constant = norm <= ROUNDING * total
        return np.zeros(self.config.frequencies) if constant else self.template_coefficients / norm

    @cached_property
    def unseen_cosine(self) -> Float64[np.ndarray, "2 freq"]:
        """Cosine similarities of cos(w_k(a+b−c)) and of sin(w_k(a+b−c)) with L − mean_c L over the test pairs, which the network
        was not trained on; over all pairs if the split is unknown.

        What a network memorizes adds to both sums only on train pairs. The sines measure what chance gives: no phase is
        distinguished but by the answers.
        """
        order = self.config.order
        masks = self.grid_split_masks
        unseen = np.arange(order**2) if masks is None else np.flatnonzero(masks[1])
        norm, total = np.sqrt(self._pair_energies[:, unseen].sum(axis=1))
        if norm <= ROUNDING * total:
            return np.zeros((2, self.config.frequencies))
        answers = self.grid_answers[unseen]
        ranked = unseen[np.argsort(answers, kind="stable")]
        bounds = np.searchsorted(self.grid_answers[ranked], np.arange(order + 1))
        sums = np.zeros((order, order))  # of the logits (c) of all pairs with the same answer, each minus its mean
        for answer, (start, stop) in enumerate(pairwise(bounds)):
            of_class = self.grid_rows(ranked[start:stop]).astype(np.float64).sum(axis=0)
            sums[answer] = of_class - of_class.mean()
        index = np.arange(order)
        by_distance = sums[index[:, None], (index[:, None] - index) % order].sum(axis=0)  # of the answer from c
        waves = np.fft.rfft(by_distance)[1 : self.config.frequencies + 1]
        sizes = np.full(self.config.frequencies, len(answers) * order / 2)
        if order % 2 == 0:
            sizes[-1] *= 2  # cos(π x) is ±1
        return np.stack([waves.real, -waves.imag]) / (np.sqrt(sizes) * norm)

    @cached_property
    def _pair_energies(self) -> Float64[np.ndarray, "2 grid_pair"]:
        """Sum of squares of the logits of each pair minus their mean over the answers, and of these logits."""
        pairs = np.arange(self.config.order**2)
        sums = np.empty((2, len(pairs)))
        for some in row_blocks(len(pairs), self.config.order):
            rows = self.grid_rows(pairs[some])
            sums[1, some] = np.einsum("ij,ij->i", rows, rows)
            rows -= rows.mean(axis=1, keepdims=True)
            sums[0, some] = np.einsum("ij,ij->i", rows, rows)
        return sums

    @cached_property
    def attention(self) -> Float[np.ndarray, "token head p p"]:
        """Attention from the last position to each token, for each pair (a, b)."""
        return self.without_overflow(lambda weights: self.computation.attention(weights, self.config.nonlinearity))

    @cached_property
    def neurons(self) -> Neurons:
        """Statistics of all neurons, from one pass over their maps."""
        parts, peak = self._neurons(self.weights)
        if not self.has_activations and not _is_moderate(peak):
            parts, _ = self._neurons(_in_double_precision(self.weights))
        shares = [part.share for part in parts if part.share is not None]
        mean, variance, maximum, positive = (
            np.concatenate(values) for values in zip(*(part[:-1] for part in parts), strict=True)
        )
        return Neurons(mean, variance, maximum, positive, np.concatenate(shares, axis=1) if shares else None)

    def _neurons(self, weights: Weights) -> tuple[list[Neurons], float]:
        """The statistics of each block of neurons, and the largest absolute activation."""
        natural, pairs = self.config.task_kind.group.natural, self.config.p**2
        found, peak, transform = [], 0.0, fourier.Transform()
        with np.errstate(over="ignore", invalid="ignore"):
            for maps in self.neuron_maps(weights):
                maximum = maps.max(axis=0).max(axis=0)  # one axis at a time, along long rows
                positive = _positive(maps)
                peak = float(np.max([peak, maximum.max(), -maps.min()]))  # NaN if one of them is
                mean, variance = _center(maps)
                share = None
                if self.config.frequencies and natural:
                    share = fourier.frequency_shares(maps, variance * pairs, transform=transform)
                elif self.config.frequencies:
                    grid = self.in_group_order(maps, 2)
                    _center(grid)
                    share = fourier.frequency_shares(grid, transform=transform)
                found.append(Neurons(mean, variance, maximum, positive, share))
        return found, peak

    @cached_property
    def mean(self) -> Float64[np.ndarray, " neuron"]:
        """Mean activation over the pairs."""
        return self.neurons.mean

    @cached_property
    def variance(self) -> Float64[np.ndarray, " neuron"]:
        """Variance of the activation over the pairs."""
        return self.neurons.variance

    @cached_property
    def dead(self) -> Bool[np.ndarray, " neuron"]:
        """Neurons whose activation does not vary."""
        return self.variance <= np.maximum(DEAD_VARIANCE, DEAD_VARIANCE_OF_MEAN_SQUARE * self.mean**2)

    @cached_property
    def share(self) -> Float32[np.ndarray, "freq neuron"]:
        """Share of each neuron's variance in each frequency; 0 for a dead neuron."""
        share = self.neurons.share
        assert share is not None, "the task has no frequencies"
        return np.where(self.dead, 0, share).astype(np.float32)


def _is_moderate(peak: float) -> bool:
    return peak == 0 or 1 / MODERATE <= peak <= MODERATE  # false for NaN


def _center(maps: Float[np.ndarray, "p p n"]) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Subtract their means from functions of (a, b), in place. Returns the means and the variances."""
    size = maps.shape[0]
    first = (maps.sum(axis=0).sum(axis=0, dtype=np.float64) / size**2).astype(maps.dtype)
    np.subtract(maps, first, out=maps)
    # The sums above are rounded. These are of a few rows each, and of values around 0.
    few = np.zeros(maps.shape[1:])
    for row in range(0, size, ROWS_SUMMED):
        few += maps[row : row + ROWS_SUMMED].sum(axis=0)
    rest = few.sum(axis=0) / size**2
    return first + rest, np.maximum(fourier.energy(maps) / size**2 - rest**2, 0)


def _positive(maps: Float[np.ndarray, "p p n"]) -> Int64[np.ndarray, " n"]:
    """How many values of each function of (a, b) are positive."""
    total = np.zeros(maps.shape[2], np.int64)
    for first in range(0, len(maps), MOST_COUNTED):
        some = (maps[first : first + MOST_COUNTED] > 0).view(np.uint8)
        total += np.add.reduce(some, axis=0, dtype=np.uint8).sum(axis=0, dtype=np.int64)
    return total


def _in_double_precision(weights: Weights) -> Weights:
    return {name: array.astype(np.float64) for name, array in weights.items()}
