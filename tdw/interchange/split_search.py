"""Find the train/test split of a run by comparing the losses stored in a file with those of its weights.

The loss of every pair is computed once for a few checkpoints. For a candidate split, the pairs are drawn in order by a
rule and a seed and cut after the train pairs, and the mean losses of both sides are compared with the stored ones. Because
many candidates are tried, some match by chance, the more easily the more similar the losses of the pairs are. A match is
therefore only accepted if it is much closer than chance matches among the other candidates would be.

Axes.  all_pairs: p * p, in the order of their indices · cut: candidate numbers of train pairs
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float64, Int64

from tdw.config import TaskConfig
from tdw.interchange.source_run import RULES, Rule
from tdw.network.correctness import is_correct
from tdw.network.kinds import Nonlinearity
from tdw.network.reference import plain_forward
from tdw.network.segment import Arrays, Series
from tdw.project.records import ImportedSplit
from tdw.tasks import Split, answers

if TYPE_CHECKING:
    from tdw.tasks import Indices

CHUNK = 4096  # pairs evaluated at a time
SEEDS = (*range(1001), 1234, 1337, 2022, 2023, 2024, 2025, 12345, 31337)
AT_FIRST = 40  # seeds tried first: enough to judge chance matches by, and often one of them is correct
FRACTIONS = tuple(sorted({*(k / 100 for k in range(1, 100)), 1 / 3, 2 / 3}))
EXACT = 2e-3  # tolerance of the logarithm of a loss of the same weights, computed in float32 by another program
FAR = 0.5  # extrapolated losses with a larger tolerance are not used
CHANCE = 1e-3  # a match is accepted if the expected number of chance matches is at most this
NAMED = 0.05  # the same for a split that the source names
NEIGHBORS = 10


@dataclass(frozen=True)
class Stored:
    """A stored loss of one side. tolerance: of its logarithm; exact: whether it is of exactly these weights."""

    value: float
    tolerance: float
    exact: bool


@dataclass(frozen=True)
class Anchor:
    """A checkpoint with the loss of every pair, (all_pairs,), and the stored losses by side."""

    epoch: int
    losses: Series
    sides: Mapping[str, Stored]


@dataclass(frozen=True)
class Match:
    """A split and how well it reproduces the stored losses.

    error:   the largest difference between the logarithms of a computed and a stored loss; None if not compared
    within:  whether every difference is within its tolerance
    chance:  the expected number of chance matches that are as close
    anchors: the epochs of the compared checkpoints
    """

    split: Split
    rule: Rule | None
    error: float | None
    within: bool
    chance: float | None
    anchors: tuple[int, ...]

    @property
    def verified(self) -> bool:
        """Whether losses were compared, and all are those of the weights."""
        return self.within and self.error is not None

    def record(self) -> ImportedSplit:
        """The description that is stored in the project file."""
        return ImportedSplit(
            rule="listed in the file" if self.rule is None else RULES[self.rule.name],
            seed=None if self.rule is None else self.rule.seed,
            fraction=len(self.split.train) / (len(self.split.train) + len(self.split.test)),
            train=len(self.split.train),
            test=len(self.split.test),
            error=self.error,
            chance=self.chance,
            compared_at=list(self.anchors),
        )


def pair_losses(
    weights: Arrays, nonlinearity: Nonlinearity, tasks: Sequence[TaskConfig]
) -> tuple[Indices, list[Float64[np.ndarray, " all_pairs"]]]:
    """For all pairs, the class with the highest logit (-1 where two are tied), and the loss for each task's answers, (all_pairs,)
    each.
    """
    p = tasks[0].p
    tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    correct = [torch.from_numpy(answers(np.arange(p * p), task)) for task in tasks]
    predicted = np.empty(p * p, np.int64)
    losses = [np.empty(p * p) for _ in tasks]
    with torch.inference_mode():
        for start in range(0, p * p, CHUNK):
            pairs = torch.arange(start, min(start + CHUNK, p * p))
            logits = plain_forward(tensors, pairs // p, pairs % p, nonlinearity).double()
            highest = logits.argmax(1)
            predicted[start : start + CHUNK] = torch.where(is_correct(logits, highest), highest, -1).numpy()
            log_probabilities = logits.log_softmax(1)
            for into, classes in zip(losses, correct, strict=True):
                into[start : start + CHUNK] = -log_probabilities.gather(1, classes[pairs][:, None])[:, 0].numpy()
    return predicted, losses


def stored_at(curve: Series | None, epoch: int, rounding: float = 0.0) -> Stored | None:
    """The value of a curve at an epoch, or its extrapolation from the last two or three values before it.

    rounding: by how much a stored value may differ from that of the weights
    """
    if curve is None or epoch < 0:
        return None
    at = np.flatnonzero(np.isfinite(curve[: epoch + 1]) & (curve[: epoch + 1] > 0))
    if not at.size:
        return None
    if at[-1] == epoch:
        value, tolerance = float(curve[epoch]), max(EXACT, rounding / float(curve[epoch]))
        return Stored(value, tolerance, exact=True) if tolerance < FAR else None
    if at.size < 2:
        return None
    last, step = int(at[-1]), int(at[-1] - at[-2])
    ahead = (epoch - last) / step
    logs = np.log(curve[at[-3:]])
    slope = float(logs[-1] - logs[-2])
    tolerance = 2 * abs(slope * ahead)
    bend = 0.0
    if at.size > 2 and at[-2] - at[-3] == step:  # the change of the slope is then known, too
        bend = float(logs[-1] - 2 * logs[-2] + logs[-3])
        tolerance = max(4 * abs(bend), abs(slope) / 2) * ahead
    tolerance = max(EXACT, tolerance)
    value = float(np.exp(logs[-1] + (slope + bend * (ahead + 1) / 2) * ahead))
    return Stored(value, tolerance, exact=False) if tolerance < FAR else None


def judge(anchors: Sequence[Anchor], split: Split, rule: Rule | None, chance: float | None = None) -> Match:
    """How well a given split reproduces the losses."""
    means = {
        name: [anchor.losses[side].mean() for anchor in anchors]
        for name, side in zip(("train", "test"), split, strict=True)
    }
    errors = [
        (abs(float(np.log(max(mean, 1e-300) / anchor.sides[name].value))), anchor.sides[name].tolerance)
        for name, side_means in means.items()
        for mean, anchor in zip(side_means, anchors, strict=True)
        if name in anchor.sides
    ]
    return Match(
        split,
        rule,
        max((error for error, _ in errors), default=None),
        all(error <= tolerance for error, tolerance in errors),
        chance,
        tuple(anchor.epoch for anchor in anchors if anchor.sides),
    )


def order(rule: str, seed: int, pairs: int) -> Indices:
    """The order in which a rule draws the pairs, (all_pairs,)."""
    if rule == "torch":
        return torch.randperm(pairs, generator=torch.Generator().manual_seed(seed)).numpy()
    drawn = list(range(pairs))
    random.Random(seed).shuffle(drawn)
    return np.array(drawn)


def draw(rule: Rule, pairs: int) -> Split:
    """The split drawn by a rule."""
    drawn = order(rule.name, rule.seed, pairs)
    cut = int(rule.fraction * pairs)
    return Split(drawn[:cut].copy(), drawn[cut:].copy())


def find(anchors: Sequence[Anchor], likely: str, named: Sequence[Rule] = (), *, thorough: bool = True) -> Match | None:
    """The split that reproduces the losses; None if none does, or if chance matches cannot be excluded.

    likely: the rule to try first; named: splits to try before all others; thorough: try all seeds, not only a few
    """
    anchors = [anchor for anchor in anchors if anchor.sides]
    if not anchors:
        return None
    pairs = anchors[0].losses.size
    grid = {rule.fraction for rule in named} | set(FRACTIONS)
    fractions = [share for share in sorted(grid) if 0 < int(share * pairs) < pairs and _adds_up(anchors, share)]
    if not fractions:
        return None
    cuts = np.array([int(share * pairs) for share in fractions])
    preferred = {rule.fraction for rule in named}
    tried: dict[tuple[str, int], tuple[float, int]] = {}  # distance from the losses at the best cut, and that cut

    def attempt(rule: str, seed: int) -> None:
        if (rule, seed) not in tried:
            far = _distance(anchors, order(rule, seed, pairs), cuts)
            # If neighboring fractions match as well, the named one is preferred, then the rounder one.
            fits = [at for at in range(len(cuts)) if far[at] <= 1] or [int(far.argmin())]
            tried[rule, seed] = (
                float(far.min()),
                min(fits, key=lambda at: (fractions[at] not in preferred, _digits(fractions[at]), far[at])),
            )

    def best() -> Match | None:
        accepted = [
            item
            for item in _expected(tried)
            if tried[item[1]][0] <= 1 and item[0] <= (NAMED if item[1] in by_name else CHANCE)
        ]
        if not accepted:
            return None
        chance, candidate = min(accepted, key=lambda item: item[0])
        rule = Rule(*candidate, fractions[tried[candidate][1]])
        return judge(anchors, draw(rule, pairs), rule, chance)

    by_name = {(rule.name, rule.seed) for rule in named}
    for rule in named:
        attempt(rule.name, rule.seed)
    rules = sorted(RULES, key=lambda name: name != likely)
    for seed in SEEDS[:AT_FIRST]:
        for name in rules:
            attempt(name, seed)
    match = best()
    if thorough and (match is None or (match.chance or 0) > CHANCE / 20):
        for seed in SEEDS[AT_FIRST:]:
            for name in rules:
                attempt(name, seed)
        match = best()
    return match


def _digits(share: float) -> int:
    """How far a fraction is from a round one: 0 for tenths, 1 for twentieths, 2 for hundredths and thirds, 3 for others.

    >>> [_digits(share) for share in (0.3, 0.35, 0.29, 1 / 3)]
    [0, 1, 2, 2]
    """
    if abs(share * 3 - round(share * 3)) < 1e-9:
        return 2
    return next(
        (level for level, parts in enumerate((10, 20, 100)) if abs(share * parts - round(share * parts)) < 1e-9), 3
    )


def _adds_up(anchors: Sequence[Anchor], share: float) -> bool:
    """Whether the stored losses of both sides, weighted by this training fraction, give the mean loss of all pairs, which
    does not depend on the split.
    """
    for anchor in anchors:
        if len(anchor.sides) == 2:
            train, test = anchor.sides["train"], anchor.sides["test"]
            total, whole = share * train.value + (1 - share) * test.value, float(anchor.losses.mean())
            slack = 3 * max(train.tolerance, test.tolerance) * max(total, whole)
            # The training fraction is rounded down to a number of pairs.
            if abs(total - whole) > slack + abs(train.value - test.value) / anchor.losses.size:
                return False
    return True


def _distance(
    anchors: Sequence[Anchor], drawn: Indices, cuts: Int64[np.ndarray, " cut"]
) -> Float64[np.ndarray, " cut"]:
    """The largest distance between the mean losses and the stored losses over anchors and sides, in tolerances, (cut,)."""
    worst = np.zeros(len(cuts))
    for anchor in anchors:
        sums = anchor.losses[drawn].cumsum()
        # Each side is summed from its own end, so that tiny losses are not lost to cancellation.
        rest = anchor.losses[drawn[::-1]].cumsum()[::-1]
        means = {"train": sums[cuts - 1] / cuts, "test": rest[cuts] / (drawn.size - cuts)}
        for side, stored in anchor.sides.items():
            off = np.abs(np.log(np.maximum(means[side], 1e-300) / stored.value)) / stored.tolerance
            worst = np.maximum(worst, off)
    return worst


def _expected(tried: Mapping[tuple[str, int], tuple[float, int]]) -> Iterator[tuple[float, tuple[str, int]]]:
    """For each candidate, the expected number of equally plausible candidates that are as close by chance.

    Estimated from the density of the other candidates near distance 0.
    """
    keys = list(tried)
    far = np.array([tried[key][0] for key in keys])
    ordered = np.sort(far)
    for rank, key in enumerate(keys, start=1):
        own = tried[key][0]
        others = ordered if ordered.size < 2 else np.delete(ordered, np.searchsorted(ordered, own))
        nearer = int(np.searchsorted(others, own, side="right"))
        nth = min(NEIGHBORS, others.size)
        dense = nearer if nearer >= nth else nth * own / others[nth - 1]
        yield float(rank * dense / others.size), key
