"""`tdw.forecast`: at an epoch, will a run generalize and when, from what its measures show by then and from how other runs went on.

Landmarking (van Houwelingen 2007): runs that had not generalized by the epoch are compared at that epoch. A forecast is given only where
forecasts of the same kind were good on held-out runs; see `judgment`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from tdw import arguments, config
from tdw.analyses.events import GENERALIZED
from tdw.errors import TdwError
from tdw.run import Run
from tdw.setting import as_text
from tdw.statistics import forecaster, landmark
from tdw.statistics.collection import Row, Runs, runs
from tdw.statistics.judgment import HELD_OUT, HeldOut, Judgment, Landmark, indicators, judge
from tdw.statistics.rows import row_of

SEEDS = ("data_seed", "model_seed")
NOT_COMPARED = ("device", "threads", "checkpoints", "epochs")  # they change when a run is looked at, not what it does
COMMON = 0.9  # a checkpoint is used if so many of the runs at risk have it


@dataclass(frozen=True)
class Forecast:
    """What is known of one run, as of an epoch. Everything but `known` is None unless there is a forecast.

    known: "forecast"; "generalized": it had by that epoch; "nothing", and `why` as a sentence
    probability: of generalizing (test loss below 0.1) by the epoch `horizon`
    median, low, high: the epoch, if it does: its median, and the interval that holds it with a probability of 80 %
    held_out: which held-out runs the forecast was judged on: those that differ from the others as this one does
    """

    path: Path
    epoch: int
    known: str
    why: str | None = None
    horizon: int | None = None
    probability: float | None = None
    median: float | None = None
    low: float | None = None
    high: float | None = None
    held_out: HeldOut | None = None


class Forecasts:
    """Forecasts as of an epoch, from the runs of a folder. Nothing is read before it is needed.

    left_out: how many runs could not be used, by reason
    """

    def __init__(self, reference: Runs, epoch: int, *, with_settings: bool = True, leave_out: str | None = None):
        """leave_out: the id of a run that is not to be learned from, because it is forecast."""
        self.epoch = epoch
        self.with_settings = with_settings
        self.left_out: Counter[str] = Counter()
        self._rows = self._at_risk(row for row in reference.rows if row["id"] != leave_out)

    def _at_risk(self, rows: Iterable[Row]) -> list[Row]:
        found: dict[str, Row] = {}
        for row in rows:
            if row["id"] in found:
                self.left_out["held by another file too"] += 1
            elif row[GENERALIZED] is not None and row[GENERALIZED] <= self.epoch:
                self.left_out[f"that had generalized by epoch {self.epoch}"] += 1
            elif (row["test_loss_at"] or 0) <= self.epoch:
                self.left_out[f"without a test loss after epoch {self.epoch}"] += 1
            else:
                found[row["id"]] = row
        return list(found.values())

    @cached_property
    def _checkpoints(self) -> tuple[int | None, int | None]:
        """The last checkpoint by the epoch that runs have, and the last by half of its epoch: the same ones for all of them."""
        count: Counter[int] = Counter()
        for row in self._rows:
            with Run.open(row["path"]) as run:
                count.update(at for at in run.checkpoints if at <= self.epoch)
        common = [at for at, number in count.items() if number >= COMMON * len(self._rows)]
        now = max(common, default=None)
        return now, None if now is None else max((at for at in common if 0 < at <= landmark.SINCE * now), default=None)

    @cached_property
    def _seen(self) -> list[tuple[Row, landmark.Features, landmark.Features]]:
        """Each run at risk that can be used, with the features of its curves and measures."""
        seen = []
        for row in self._rows:
            with Run.open(row["path"]) as run:
                curves, measures = self._features(run)
            if measures:
                seen.append((row, curves, measures))
        if missing := len(self._rows) - len(seen):
            self.left_out[self._no_measures] += missing
        return seen

    @property
    def _no_measures(self) -> str:
        now, _ = self._checkpoints
        if now is None:
            return f"without a checkpoint by epoch {self.epoch} that most of them have"
        return f"without measures of epoch {now}, which `tdw analyze` computes"

    def _features(self, run: Run) -> tuple[landmark.Features, landmark.Features]:
        now, before = self._checkpoints
        measures = {} if now is None else landmark.measure_features(run, now, before)
        return landmark.curve_features(run, self.epoch), measures

    @cached_property
    def _columns(self) -> tuple[list[str], list[str]]:
        """Names of the features of curves and of measures that any run has."""
        curves = dict.fromkeys(name for _, found, _ in self._seen for name in found)
        measures = dict.fromkeys(name for _, _, found in self._seen for name in found)
        return list(curves), list(measures)

    @cached_property
    def _differing(self) -> list[str]:
        names = [item.name for item in config.settings() if item.name not in (*SEEDS, *NOT_COMPARED)]
        return [name for name in names if len({row[name] for row, _, _ in self._seen}) > 1]

    @property
    def settings(self) -> list[str]:
        """Names of the settings, without seeds, in which the runs that are learned from differ."""
        return self._differing

    @property
    def runs(self) -> int:
        """How many runs are learned from."""
        return len(self._seen)

    @property
    def why_none(self) -> str | None:
        """Why no run can be learned from; None if there are some."""
        if self._seen:
            return None
        reasons = "; ".join(f"{number} {reason}" for reason, number in self.left_out.items())
        return f"no run can be learned from at epoch {self.epoch} ({reasons or 'there is no other run'})"

    @cached_property
    def landmark(self) -> Landmark:
        """The runs that are learned from: features, times and labels. The horizon is the median of the epochs up to which they were
        followed, or would have been: a run that generalized counts with its last recorded test loss.

        Raises TdwError without runs to learn from.
        """
        rows = [row for row, _, _ in self._seen]
        if self.why_none is not None:
            raise TdwError(self.why_none)
        horizon = float(np.median([row["test_loss_at"] for row in rows])) - self.epoch
        event = np.array([np.inf if row[GENERALIZED] is None else row[GENERALIZED] - self.epoch for row in rows])
        end = np.array([row["test_loss_at"] - self.epoch for row in rows], dtype=np.float64)
        curves, measures = self._columns
        return Landmark(
            self.epoch,
            horizon,
            np.minimum(np.minimum(event, end), horizon),
            event <= horizon,
            _matrix([found for _, found, _ in self._seen], curves),
            _matrix([found for _, _, found in self._seen], measures),
            self._settings(rows),
            [_label(row, SEEDS) for row in rows],
            [_label(row, self._differing) for row in rows],
            self.with_settings,
        )

    def _settings(self, rows: Sequence[Row]) -> Float64[np.ndarray, "run setting"]:
        """The settings as numbers, of logarithms where all are positive; those that are text have no number."""
        if not self.with_settings:
            return np.empty((len(rows), 0))
        columns = []
        for name in self._differing:
            known = [row[name] for row, _, _ in self._seen]
            if not all(isinstance(value, (int, float)) for value in known):
                continue
            values = np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)
            columns.append(np.log10(np.maximum(values, 1e-300)) if min(known) > 0 else values)
        return np.array(columns).reshape(-1, len(rows)).T

    @cached_property
    def judgments(self) -> dict[HeldOut, Judgment]:
        """How good such forecasts were on held-out seeds, settings, and both; empty without runs to learn from."""
        if self.why_none is not None:
            return {}
        return {held_out: judge(self.landmark, held_out) for held_out in HELD_OUT}

    def of(self, run: Run) -> Forecast:
        """The forecast of a run that is not among those learned from, from what it shows by the epoch."""
        row = row_of(run)
        nothing = Forecast(run.path, self.epoch, "nothing")
        if row[GENERALIZED] is not None and row[GENERALIZED] <= self.epoch:
            return replace(nothing, known="generalized", why=f"its test loss was below 0.1 at epoch {row[GENERALIZED]}")
        if row["recorded_epochs"] < self.epoch:
            return replace(nothing, why=f"it is at epoch {row['recorded_epochs']}")
        if self.why_none is not None:
            return replace(nothing, why=self.why_none)
        at = self.landmark
        if other := self._differs_elsewhere(row):
            return replace(
                nothing, why=f"its {', '.join(other)} differs from that of all other runs, which have the same"
            )
        curves, measures = self._features(run)
        if not measures:
            return replace(nothing, why=f"it is {self._no_measures}")
        new = [name for name, labels, own in self._labels(row) if own not in labels]
        held_out: HeldOut = "both" if len(new) == 2 else "settings" if new == ["settings"] else "seeds"
        if not (judged := self.judgments[held_out]).knows:
            return replace(nothing, why=judged.why_not, held_out=held_out)
        trained = self._trained[held_out]
        names = self._columns
        own = self._settings([row])
        if held_out == "seeds" and self.with_settings:
            own = indicators([_label(row, self._differing)], at.setting)
        x = np.hstack([_matrix([curves], names[0]), own, _matrix([measures], names[1])])
        low, high = trained.interval(x)
        end = np.array([at.horizon])
        return Forecast(
            run.path,
            self.epoch,
            "forecast",
            None,
            int(self.epoch + at.horizon),
            float(1 - trained.survival(x, end)[0, 0]),
            self.epoch + float(trained.quantile(x, 0.5)[0]),
            self.epoch + float(low[0]),
            self.epoch + float(high[0]),
            held_out,
        )

    @cached_property
    def _trained(self) -> dict[HeldOut, forecaster.Forecaster]:
        return {h: self.landmark.trained(h) for h, judged in self.judgments.items() if judged.knows}

    def _labels(self, row: Row) -> Iterable[tuple[str, list[Any], Any]]:
        return (
            ("seeds", self.landmark.seed, _label(row, SEEDS)),
            ("settings", self.landmark.setting, _label(row, self._differing)),
        )

    def _differs_elsewhere(self, row: Row) -> list[str]:
        """Settings that are the same in all runs but this one, of whose effect nothing can be known."""
        first = self._seen[0][0]
        names = [item.name for item in config.settings() if item.name not in (*SEEDS, *NOT_COMPARED, *self._differing)]
        return [name for name in names if row[name] != first[name]]


def forecast(
    folder: str | Path, run: str | Path | None = None, *, at: int, with_settings: bool = True
) -> tuple[list[Forecast], Forecasts]:
    """Forecasts as of epoch `at`, learned from the runs in a folder that had not generalized by then, and how good they are.

    run: a project file, in the folder or elsewhere; nothing is learned from it. Default: all runs of the folder that have not
        generalized and whose recording ends before the horizon
    with_settings: whether the settings in which the runs differ are used too, by the forecast and by the losses alone

    >>> found, judged = forecast("study", "study/new.tdw", at=500)  # doctest: +SKIP
    >>> found[0].probability, found[0].low, found[0].high, judged.judgments["seeds"].brier  # doctest: +SKIP

    Raises ArgumentError, such as for an epoch below 1, TdwError for a folder that does not exist, and what opening a file raises.
    """
    at = arguments.integer("at", at, 1)  # at epoch 0 nothing was trained
    reference = runs(folder)
    if run is not None:
        with Run.open(run) as target:
            found = Forecasts(reference, at, with_settings=with_settings, leave_out=target.id)
            return [found.of(target)], found
    found = Forecasts(reference, at, with_settings=with_settings)
    end = np.inf if found.why_none is not None else found.epoch + found.landmark.horizon
    open_ones = [
        row
        for row in reference.rows
        if row[GENERALIZED] is None and row["recorded_epochs"] >= at and (row["test_loss_at"] or 0) < end
    ]
    forecasts = []
    for row in open_ones:
        with Run.open(row["path"]) as target:
            forecasts.append(found.of(target))
    return forecasts, found


def _matrix(found: Sequence[landmark.Features], names: Sequence[str]) -> Float64[np.ndarray, "run feature"]:
    rows = [[one.get(name, np.nan) for name in names] for one in found]
    return np.array(rows, dtype=np.float64).reshape(len(found), len(names))


def _label(row: Row, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(as_text(row[name]) if isinstance(row[name], tuple) else row[name] for name in names)
