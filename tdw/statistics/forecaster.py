"""From features at a landmark to a forecast: the cure model with ridge by cross-validation, and 80 % intervals by conformal prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from tdw.statistics import cure_model
from tdw.statistics.brier import followed

Matrix = Float64[np.ndarray, "run feature"]
Times = Float64[np.ndarray, " run"]
Happened = Bool[np.ndarray, " run"]

LEVEL = 0.8
RIDGES = (0.3, 0.1, 0.03, 0.01)
#: How much of the measures a model may use: they are multiplied by it after they are standardized, so that the ridge on their coefficients
#: is 1/share² as strong. 0: they are left out.
SHARES = (0.0, 0.3, 1.0)
FOLDS = 5
PRESENT = 0.9  # a feature is used if so many of the runs have it
FURTHEST = 3.0  # standard deviations; a feature that is further from the mean counts as this far


@dataclass(frozen=True)
class Scales:
    """Which features are used, how they are standardized, and which of those are the doubtful ones."""

    used: Bool[np.ndarray, " feature"]
    mean: Float64[np.ndarray, " used"]
    deviation: Float64[np.ndarray, " used"]
    doubtful: Bool[np.ndarray, " used"]

    @classmethod
    def of(cls, x: Matrix, doubtful: Bool[np.ndarray, " feature"]) -> Scales:
        """Those of these runs."""
        known = np.where(np.isfinite(x), x, np.nan)
        used = (~np.isnan(known)).mean(axis=0) >= PRESENT
        used[used] = np.nanstd(known[:, used], axis=0) > 1e-9
        return cls(used, np.nanmean(known[:, used], axis=0), np.nanstd(known[:, used], axis=0), doubtful[used])

    def applied(self, x: Matrix, share: float) -> Matrix:
        """Standardized features; a missing value is the mean, and doubtful features are multiplied by the share, or left out at 0."""
        z = np.nan_to_num((x[:, self.used] - self.mean) / self.deviation, nan=0.0)
        z = np.clip(z, -FURTHEST, FURTHEST)
        return z[:, ~self.doubtful] if share == 0 else np.where(self.doubtful, share * z, z)


@dataclass(frozen=True)
class Forecaster:
    """A trained forecast of times after a landmark, up to a horizon.

    share, ridge: those chosen. reach: half the width of the interval in probability, see `interval`
    """

    model: cure_model.CureModel
    scales: Scales
    share: float
    ridge: float
    horizon: float
    reach: float

    def survival(self, x: Matrix, t: Float64[np.ndarray, " time"]) -> Float64[np.ndarray, "run time"]:
        """The probability of no event up to t, in epochs after the landmark."""
        return self.model.survival(self._ready(x), t / self.horizon)

    def position(self, x: Matrix, t: Times) -> Times:
        """The probability that a run that has the event by the horizon has it by t, F(t)/F(horizon); one t for each run."""
        return _position(self.model, self._ready(x), t / self.horizon)

    def covers(self, x: Matrix, t: Times) -> Happened:
        """Whether t, one for each run, is in the interval."""
        return np.abs(self.position(x, t) - 0.5) <= self.reach

    def quantile(self, x: Matrix, share: float) -> Times:
        """The time by which a share of the runs that have the event by the horizon have had it."""
        ready = self._ready(x)
        most = np.maximum(self.model.reached(ready, np.ones(1))[:, 0], 1e-300)
        return self.horizon * np.clip(self.model.time_of(ready, share * most), 0, 1)

    def interval(self, x: Matrix) -> tuple[Times, Times]:
        """Ends of the interval that holds the time with a probability of 80 % if the event happens by the horizon."""
        return self.quantile(x, max(0.5 - self.reach, 0)), self.quantile(x, min(0.5 + self.reach, 1))

    def _ready(self, x: Matrix) -> Matrix:
        return self.scales.applied(x, self.share)


def train(
    x: Matrix,
    doubtful: Bool[np.ndarray, " feature"],
    time: Times,
    happened: Happened,
    unit: Sequence[Any],
    horizon: float,
) -> Forecaster:
    """A forecaster of times after a landmark, (run), censored where not `happened`, from features, which may be NaN.

    Ridge, and share of the `doubtful` features, are those with the highest likelihood in cross-validation; runs of one `unit` are always left out together, so unit is what new
    runs differ in. The interval is a distributional conformal one (Chernozhukov, Wüthrich and Zhu 2021): all times whose position, the
    conditional distribution function at the time, is as close to ½ as that of 80 % of the left-out runs was. It is calibrated among
    runs that had the event by the horizon (conditional on that class: Vovk 2012), each weighted by the inverse probability of
    having been followed until then (Tibshirani et al. 2019; Candès, Lei and Ren 2023). Left-out predictions are of models of the other folds
    (cross-conformal, Vovk 2015).
    """
    fold = _folds(unit)
    scaled = time / horizon
    shares = SHARES if doubtful.any() else (1.0,)
    choices = [(share, ridge) for share in shares for ridge in RIDGES]
    likelihood = dict.fromkeys(choices, 0.0)
    position = {choice: np.full(len(time), np.nan) for choice in choices}
    for left_out in np.unique(fold):
        out = fold == left_out
        scales = Scales.of(x[~out], doubtful)
        for share in shares:
            inside, outside = scales.applied(x[~out], share), scales.applied(x[out], share)
            model = None
            for ridge in RIDGES:
                model = cure_model.fit(inside, scaled[~out], happened[~out], ridge, model)
                value, _ = cure_model.log_likelihood(model.parameters, outside, scaled[out], happened[out])
                likelihood[share, ridge] += value * out.sum()
                position[share, ridge][out] = _position(model, outside, scaled[out])
    best = max(choices, key=lambda choice: likelihood[choice])
    share, ridge = best
    scales = Scales.of(x, doubtful)
    model = cure_model.fit(scales.applied(x, share), scaled, happened, ridge)
    distance = np.abs(position[best][happened] - 0.5)
    reach = _reach(distance, 1 / followed(time, happened, time[happened]))
    return Forecaster(model, scales, share, ridge, horizon, reach)


def _reach(distance: Times, weight: Times) -> float:
    """The weighted conformal quantile of the distances; ½, which is everything, where there are too few.

    >>> _reach(np.array([0.1, 0.2, 0.3, 0.4]), np.ones(4)), _reach(np.array([0.1]), np.ones(1))
    (0.4, 0.5)
    """
    if not distance.size:
        return 0.5
    order = np.argsort(distance)
    total = np.cumsum(weight[order])
    enough = np.flatnonzero(
        total >= LEVEL * (total[-1] + weight.mean()) - 1e-9
    )  # the new run weighs as much as the mean
    return float(distance[order][enough[0]]) if enough.size else 0.5


def _position(model: cure_model.CureModel, x: Matrix, t: Times) -> Times:
    _, mu, sigma = model.predictors(x)
    # Logarithms of 1/(1 + exp(−z)): both may underflow where the horizon is far below the median.
    return np.exp(np.logaddexp(0, mu / sigma) - np.logaddexp(0, (mu - np.log(t)) / sigma))


def _folds(unit: Sequence[Any]) -> Int64[np.ndarray, " run"]:
    """The fold of each run: units in order, one after the other."""
    ordered = sorted(set(unit), key=repr)
    index = {value: i % FOLDS for i, value in enumerate(ordered)}
    return np.array([index[value] for value in unit])
