"""Whether a forecast knows anything: judged on held-out seeds and settings, against the base rate and the losses alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from tdw.statistics import forecaster
from tdw.statistics.brier import brier_scores
from tdw.statistics.survival import kaplan_meier

Matrix = Float64[np.ndarray, "run feature"]
Times = Float64[np.ndarray, " run"]
Mask = Bool[np.ndarray, " run"]
HeldOut = Literal["seeds", "settings", "both"]

HELD_OUT: tuple[HeldOut, ...] = ("seeds", "settings", "both")
BAND = (0.75, 0.85)  # of the coverage of 80 % intervals
FEWEST = 30  # held-out runs that generalized, to judge coverage by
FEWEST_TRAINED = 10  # runs that generalized, to train on
GRID = 20  # times at which the Brier score is averaged, from the landmark to the horizon
FEWEST_SAME = 5  # training runs of the same settings, for their own base rate; else it is that of all
DRAWS = 2000
REFERENCES = {
    "losses": "the losses alone",
    "base_rate": "the base rate",
    "same_settings": "the base rate of the same settings",
}


class Estimate(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Landmark:
    """Runs at risk at an epoch: they were followed beyond it, and had not generalized by it.

    time: epochs from there to the event, or to the end of observation, (run); at most `horizon`. happened: which of them it is
    curves, measures: features of the losses and accuracies, and of the measures, NaN where unknown
    settings: numbers to use as features too, by the forecast and by the losses alone; (run, 0) for none. with_settings: whether they are
        used; forecasts for new seeds of known settings then have one feature for each combination of settings instead
    seed, setting: what each run's seeds are, and its other settings, as labels
    """

    epoch: int
    horizon: float
    time: Times
    happened: Mask
    curves: Matrix
    measures: Matrix
    settings: Matrix
    seed: list[Any]
    setting: list[Any]
    with_settings: bool = False

    def losses_alone(self, held_out: HeldOut) -> Matrix:
        """Features of the reference that knows the curves only (and the settings, where they are used)."""
        if held_out == "seeds" and self.with_settings:
            return np.hstack([self.curves, indicators(self.setting, self.setting)])
        return np.hstack([self.curves, self.settings])

    def everything(self, held_out: HeldOut) -> Matrix:
        """Features of the forecast."""
        return np.hstack([self.losses_alone(held_out), self.measures])

    def trained(self, held_out: HeldOut, inside: Mask | None = None, *, measures: bool = True) -> forecaster.Forecaster:
        """A forecaster of these runs (default: of all), with the measures or of the losses alone."""
        inside = np.ones(len(self.time), dtype=bool) if inside is None else inside
        plain = self.losses_alone(held_out)
        x = np.hstack([plain, self.measures]) if measures else plain
        doubtful = np.arange(x.shape[1]) >= plain.shape[1]
        of = self.time[inside], self.happened[inside]
        return forecaster.train(x[inside], doubtful, *of, self._units(held_out, inside), self.horizon)

    def _units(self, held_out: HeldOut, inside: Mask) -> list[Any]:
        """What is left out together in cross-validation: settings where those are held out, else seeds; runs, if that is one unit."""
        for labels in (self.seed if held_out == "seeds" else self.setting, self.seed):
            units = [label for label, used in zip(labels, inside, strict=True) if used]
            if len(set(units)) > 1:
                return units
        return list(range(int(inside.sum())))


@dataclass(frozen=True)
class Judgment:
    """How good a forecast was on runs that were held out. Times are up to the horizon.

    held_out: "seeds": of known settings; "settings": of known seeds; "both"
    runs, generalized: held-out runs, and how many of them generalized by the horizon
    brier: integrated Brier score of the forecast
    references: the scores of the losses alone ("losses"), of the Kaplan-Meier curve of the training runs ("base_rate"), and, for held-out seeds,
        of that of the training runs of the same settings where there are 5 or more ("same_settings")
    gains: by how much the forecast is better (smaller) than each
    coverage: share of the held-out runs that generalized by the horizon whose time was in the 80 % interval
    why_not: why it knows nothing, as a sentence; None if it does
    """

    held_out: HeldOut
    runs: int
    generalized: int
    brier: Estimate | None = None
    references: Mapping[str, Estimate] = field(default_factory=dict)
    gains: Mapping[str, Estimate] = field(default_factory=dict)
    coverage: Estimate | None = None
    why_not: str | None = None

    @property
    def knows(self) -> bool:
        """Whether it was better than both references, and its intervals covered what they say."""
        return self.why_not is None


def judge(at: Landmark, held_out: HeldOut, seed: int = 0) -> Judgment:
    """Train on one half, predict the other, and the other way round; for "both" on one quarter, predicting the opposite one.

    It knows something if the lower 95 % limits of all gains are above 0 and coverage is between 75 and 85 %, give or take one standard error
    of a true 80 % at this number of runs. Limits are of a bootstrap over runs in which all runs of one seed are drawn together.
    """
    n = len(at.time)
    times = at.horizon * np.arange(1, GRID + 1) / GRID
    predicted = {name: np.full((n, GRID), np.nan) for name in ("brier", "losses", "base_rate", "same_settings")}
    covered, tested = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    for trained, test in folds(at, held_out):
        if at.happened[trained].sum() < FEWEST_TRAINED or not test.any():
            continue
        of = at.time[trained], at.happened[trained]
        full = at.trained(held_out, trained)
        plain = at.trained(held_out, trained, measures=False)
        predicted["brier"][test] = full.survival(at.everything(held_out)[test], times)
        predicted["losses"][test] = plain.survival(at.losses_alone(held_out)[test], times)
        predicted["base_rate"][test] = predicted["same_settings"][test] = _share(*of, times)
        for run in np.flatnonzero(test) if held_out == "seeds" else ():
            same = trained & [label == at.setting[run] for label in at.setting]
            if same.sum() >= FEWEST_SAME:
                predicted["same_settings"][run] = _share(at.time[same], at.happened[same], times)
        covered[test] = full.covers(at.everything(held_out)[test], at.time[test])
        tested |= test
    events = int((tested & at.happened).sum())
    if events < FEWEST:
        return Judgment(held_out, int(tested.sum()), events, why_not=_too_few(at, held_out, events))
    known = at.time[tested], at.happened[tested]
    if held_out != "seeds":
        del predicted["same_settings"]
    score = {name: brier_scores(s[tested], *known, times).mean(axis=1) for name, s in predicted.items()}
    draws = resampled([label for label, used in zip(at.seed, tested, strict=True) if used], seed)
    gains = {name: estimate(score[name] - score["brier"], draws) for name in REFERENCES if name in score}
    coverage = wilson(int((covered & tested & at.happened).sum()), events)
    return Judgment(
        held_out,
        int(tested.sum()),
        events,
        brier=estimate(score["brier"], draws),
        references={name: estimate(score[name], draws) for name in gains},
        gains=gains,
        coverage=coverage,
        why_not=why_not(gains, coverage, events),
    )


def indicators(setting: Sequence[Any], known: Sequence[Any]) -> Float64[np.ndarray, "run combination"]:
    """1 where a run has a combination of settings, one column for each of those that are known; (run, 0) if there is one."""
    labels = sorted(set(known), key=_order)
    return np.array([[float(own == label) for label in labels] for own in setting])[
        :, : len(labels) if len(labels) > 1 else 0
    ]


def wilson(hits: int, n: int) -> Estimate:
    """A share and its 95 % interval (Wilson 1927).

    >>> [round(x, 3) for x in wilson(8, 10)]
    [0.8, 0.49, 0.943]
    """
    z = 1.959964
    share = hits / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return Estimate(share, float(middle - half), float(middle + half))


def why_not(gains: Mapping[str, Estimate], coverage: Estimate, events: int) -> str | None:
    """Why a forecast knows nothing; None if it does. events: held-out runs that the coverage is of."""
    slack = float(np.sqrt(0.8 * 0.2 / events))
    if worse := [REFERENCES[name] for name, gain in gains.items() if not gain.low > 0]:
        return f"on held-out runs it is not clearly better than {' and '.join(worse)}"
    if not BAND[0] - slack <= coverage.value <= BAND[1] + slack:
        return f"its 80 % intervals covered {coverage.value:.0%} of {events} held-out runs that generalized"
    return None


def _too_few(at: Landmark, held_out: HeldOut, events: int) -> str:
    few = [
        name
        for name, labels in (("seeds", at.seed), ("settings", at.setting))
        if held_out in {name, "both"} and len(set(labels)) < 2
    ]
    if few:
        return f"the runs do not differ in their {' and '.join(few)}"
    return (
        f"there are {events} held-out runs that generalized later than epoch {at.epoch}, with {FEWEST_TRAINED} or more to train "
        f"on; it takes {FEWEST}"
    )


def folds(at: Landmark, held_out: HeldOut) -> Iterator[tuple[Mask, Mask]]:
    """Runs to train on and runs to predict. Halves take seeds, or settings, in turn in their order."""
    odd_seed, odd_setting = _odd(at.seed), _odd(at.setting)
    if held_out == "seeds":
        halves = [odd_seed, ~odd_seed]
    elif held_out == "settings":
        halves = [odd_setting, ~odd_setting]
    else:
        halves = [a & b for a in (odd_seed, ~odd_seed) for b in (odd_setting, ~odd_setting)]
    yield from zip(halves, halves[::-1], strict=True)


def _odd(labels: Sequence[Any]) -> Mask:
    odd = {label: bool(i % 2) for i, label in enumerate(sorted(set(labels), key=_order))}
    return np.array([odd[label] for label in labels], dtype=bool)


def _order(label: Any) -> Any:
    return [(isinstance(value, str), str(value) if not isinstance(value, (int, float)) else value) for value in label]


def _share(time: Times, happened: Mask, at: Times) -> Times:
    curve = kaplan_meier(time, happened)
    return np.concatenate([[1.0], curve.share])[np.searchsorted(curve.time, at, side="right")]


def resampled(seeds: Sequence[Any], seed: int) -> Float64[np.ndarray, "draw run"]:
    """How often each run is in each sample of the bootstrap."""
    index = {label: i for i, label in enumerate(dict.fromkeys(seeds))}
    if len(index) < 2:  # one seed: the runs are drawn
        index, seeds = {i: i for i in range(len(seeds))}, range(len(seeds))
    count = np.random.default_rng(seed).multinomial(len(index), np.full(len(index), 1 / len(index)), size=DRAWS)
    return count[:, [index[label] for label in seeds]].astype(np.float64)


def estimate(score: Times, draws: Float64[np.ndarray, "draw run"]) -> Estimate:
    """The mean over runs, with the percentile interval of the samples."""
    means = draws @ score / draws.sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(score.mean()), float(low), float(high))
