"""Brier scores of predicted survival for times that may be censored (Graf et al. 1999)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64

from tdw.statistics.survival import kaplan_meier

Times = Float64[np.ndarray, " run"]
Happened = Bool[np.ndarray, " run"]
Grid = Float64[np.ndarray, " time"]


def followed(time: Times, happened: Happened, at: Float64[np.ndarray, "*any"]) -> Float64[np.ndarray, "*any"]:
    """The probability that a run is followed up to `at`, P(C >= at): the Kaplan-Meier curve in which being censored is the event.

    An event comes before being censored at the same time: such a run was not seen to be censored.
    """
    curve = kaplan_meier(time, ~happened)
    share = np.concatenate([[1.0], curve.share])
    return share[np.searchsorted(curve.time, at, side="left")]


def brier_scores(
    survival: Float64[np.ndarray, "run time"],
    time: Times,
    happened: Happened,
    at: Grid,
    known: Float64[np.ndarray, "run time"] | None = None,
) -> Float64[np.ndarray, "run time"]:
    """Each run's part of the Brier score at each time: the squared difference between predicted survival and what happened, weighted by
    the inverse probability of still being followed when it became known; 0 where it is not known. The mean over
    runs is the score of Graf et al. 1999, here with P(C >= t) instead of P(C > t), so that a run that is followed up to t itself counts.

    known: those probabilities, where they come from other runs; see `known_until`
    """
    probability = known_until(time, happened, time, happened, at) if known is None else known
    event, free = _outcome(time, happened, at)
    weight = np.divide(event | free, probability, out=np.zeros(probability.shape), where=probability > 0)
    return weight * (free - survival) ** 2


def known_until(
    of: Times, of_happened: Happened, time: Times, happened: Happened, at: Grid
) -> Float64[np.ndarray, "run time"]:
    """The probability of being followed until the outcome at each time `at` is known, P(C >= min(T, t)), from the runs (of, of_happened)."""
    until = np.where(happened[:, None], np.minimum(time[:, None], at), np.broadcast_to(at, (len(time), len(at))))
    return followed(of, of_happened, until)


def _outcome(
    time: Times, happened: Happened, at: Grid
) -> tuple[Bool[np.ndarray, "run time"], Bool[np.ndarray, "run time"]]:
    """Whether the event had happened by each time, and whether it is known that it had not."""
    event = happened[:, None] & (time[:, None] <= at)
    return event, ~event & (time[:, None] >= at)
