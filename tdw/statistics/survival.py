"""Survival statistics for times that may be censored: Kaplan-Meier curves, quantiles, and the log-rank test.

A run that has not generalized is not a missing value: it is known that it takes longer than it was trained. Leaving such runs
out, or taking the end of training for the event, makes delays look shorter than they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from tdw import arguments
from tdw.errors import TdwError

PAIRS = "a list of groups, each (times, happened)"

Times = Float64[np.ndarray, " run"]
Steps = Float64[np.ndarray, " step"]


class Quantile(NamedTuple):
    """A quantile of a time and its confidence interval. None: not reached by the curve, so larger than all times."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Survival:
    """A Kaplan-Meier curve: the share of runs in which the event has not happened, S(t), after each time of an event.

    time: times of events, increasing. at_risk: runs that were followed until then and had no event before. events: how many had
    it then. share: S. low, high: pointwise confidence interval, NaN where S is 0. level: of the interval
    runs, censored: how many there are, and for how many of them the event was not seen
    """

    time: Steps
    at_risk: Int64[np.ndarray, " step"]
    events: Int64[np.ndarray, " step"]
    share: Steps
    low: Steps
    high: Steps
    level: float
    runs: int
    censored: int

    def quantile(self, q: float = 0.5) -> Quantile:
        """The time by which the event has happened in a share q of the runs: the first with S(t) <= 1 - q. Its interval has
        the times at which the limits of S get there (Brookmeyer and Crowley 1982). Raises TdwError.
        """
        q = arguments.share("q", q)
        value, low, high = (self._first(side, 1 - q) for side in (self.share, self.low, self.high))
        return Quantile(value, low, high)

    def _first(self, share: Steps, most: float) -> float | None:
        # Products such as 0.9 · 8/9 … differ from 0.5 by rounding; where S is 0, it has no limits.
        reached = np.flatnonzero(np.where(np.isnan(share), np.inf, share) <= most + 1e-12)
        return float(self.time[reached[0]]) if reached.size else None


@dataclass(frozen=True)
class LogRank:
    """A log-rank test of equal survival in groups. observed, expected: events in each group; chi2 has `df` degrees of freedom.

    p: None where the groups cannot be compared, because there is no event while two of them are at risk
    """

    chi2: float
    df: int
    p: float | None
    observed: list[int]
    expected: list[float]


def kaplan_meier(
    time: Sequence[float] | Times, happened: Sequence[bool] | Bool[np.ndarray, " run"], level: float = 0.95
) -> Survival:
    """The Kaplan-Meier curve of times (run) that are those of the event where it `happened` (run), else of the end of
    observation; a run whose observation ends at the time of an event is at risk of it.

    The interval is Greenwood's on the scale log(-log S) (Kalbfleisch and Prentice 1980), as in R's `conf.type="log-log"`: it lies
    between 0 and 1. Raises TdwError for times that are negative or not finite.

    >>> curve = kaplan_meier([1, 2, 3, 4], [True, True, False, True])
    >>> curve.time, curve.share, curve.quantile(0.5).value
    (array([1., 2., 4.]), array([0.75, 0.5 , 0.  ]), 2.0)
    """
    times, seen = _checked(time, happened)
    level = arguments.share("level", level)
    at, events = np.unique(times[seen], return_counts=True)
    at_risk = np.array([(times >= t).sum() for t in at], dtype=np.int64)
    share = np.cumprod(1 - events / at_risk) if at.size else np.empty(0)
    with np.errstate(divide="ignore", invalid="ignore"):  # at S = 0, which has no interval
        deviation = np.sqrt(np.cumsum(events / (at_risk * (at_risk - events)))) / np.abs(np.log(share))
        reach = NormalDist().inv_cdf((1 + level) / 2) * deviation
        low, high = share ** np.exp(reach), share ** np.exp(-reach)
    none = at_risk == events  # S is 0 from here on
    low[none], high[none] = np.nan, np.nan
    return Survival(at, at_risk, events.astype(np.int64), share, low, high, level, len(times), int((~seen).sum()))


def log_rank(groups: Sequence[tuple[Sequence[float] | Times, Sequence[bool] | Bool[np.ndarray, " run"]]]) -> LogRank:
    """The log-rank test (Mantel 1966; Peto and Peto 1972) for two or more groups of (times, happened), ties as in
    hypergeometric sampling: chi2 = d' V⁻¹ d with the differences d of observed and expected events.

    Raises TdwError for fewer than two groups, and what `kaplan_meier` raises.
    """
    pairs = [arguments.several("groups", group, PAIRS) for group in arguments.several("groups", groups, PAIRS)]
    if len(pairs) < 2:
        raise TdwError(f"the log-rank test compares two or more groups (got {len(pairs)})")
    if wrong := [pair for pair in pairs if len(pair) != 2]:
        raise arguments.refused("groups", wrong[0], PAIRS)
    checked = [_checked(*pair) for pair in pairs]
    times = [t for t, _ in checked]
    observed, expected = np.zeros(len(groups)), np.zeros(len(groups))
    covariance = np.zeros((len(groups), len(groups)))
    for t in np.unique(np.concatenate([t[seen] for t, seen in checked])):
        at_risk = np.array([(one >= t).sum() for one in times], dtype=np.float64)
        events = np.array([((one == t) & seen).sum() for one, seen in checked], dtype=np.float64)
        n, d = at_risk.sum(), events.sum()
        share = at_risk / n
        observed += events
        expected += d * share
        if n > 1:
            covariance += d * (n - d) / (n - 1) * (np.diag(share) - np.outer(share, share))
    difference = observed - expected
    df = int(np.linalg.matrix_rank(covariance, hermitian=True))
    chi2 = float(difference @ np.linalg.pinv(covariance, hermitian=True) @ difference)
    p = chi2_tail(chi2, df) if df else None
    return LogRank(chi2, df, p, [int(n) for n in observed], [float(n) for n in expected])


def chi2_tail(x: float, df: int) -> float:
    """The probability that a chi-squared variable with `df` degrees of freedom exceeds x (Abramowitz and Stegun 26.4.4-5).

    >>> round(chi2_tail(3.841, 1), 4), round(chi2_tail(5.991, 2), 4), round(chi2_tail(7.815, 3), 4)
    (0.05, 0.05, 0.05)
    """
    if x <= 0:
        return 1.0
    half = x / 2
    if df % 2:
        total, term = math.erfc(math.sqrt(half)), math.sqrt(2 * x / math.pi) * math.exp(-half)
        for k in range(1, (df - 1) // 2 + 1):
            total += term
            term *= x / (2 * k + 1)
        return min(total, 1.0)
    term = total = math.exp(-half)
    for k in range(1, df // 2):
        term *= half / k
        total += term
    return min(total, 1.0)


def _array(name: str, given: object, kind: type[np.generic], allowed: str) -> Any:
    try:
        found = np.asarray(arguments.several(name, given, allowed))
    except ValueError:  # lists of several lengths
        raise arguments.refused(name, given, allowed) from None
    numbers = found.dtype.kind in "biuf"  # neither text nor objects, which NumPy would convert
    if found.size and (not numbers or (kind is np.bool_ and not np.isin(found, (0, 1)).all())):
        raise arguments.refused(name, given, allowed)
    return found.astype(kind)


def _checked(
    time: Sequence[float] | Times, happened: Sequence[bool] | Bool[np.ndarray, " run"]
) -> tuple[Times, Bool[np.ndarray, " run"]]:
    times = _array("time", time, np.float64, "a list of numbers, one for each run")
    seen = _array("happened", happened, np.bool_, "a list of True and False, one for each run")
    if times.shape != seen.shape or times.ndim != 1:
        raise TdwError(f"times and events must be two lists of one length (got shapes {times.shape} and {seen.shape})")
    if not np.isfinite(times).all() or (times < 0).any():
        raise TdwError(
            "times must be finite and at least 0: a run that is followed to no end is censored at its last epoch"
        )
    return times, seen
