"""Mean and quantiles of a curve over runs, aligned by epoch or by an event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int64

from tdw import arguments
from tdw.analyses.events import LABELS
from tdw.analyses.summary import CURVES
from tdw.errors import TdwError, UnknownNameError
from tdw.statistics.collection import checked

if TYPE_CHECKING:
    from tdw.run import Run
    from tdw.statistics.collection import Runs

EPOCH = "epoch"
MOST_POINTS = 2000

Points = Float64[np.ndarray, " point"]


@dataclass(frozen=True)
class Band:
    """A curve over runs. All arrays have an entry for each of `epoch`, (point).

    epoch: epochs, or epochs after the event (negative before it). runs: how many runs reach there
    mean: arithmetic, or of the logarithms (geometric) if `log`. median, low, high: quantiles 1/2, (1 - share)/2, (1 + share)/2
    used, left_out: runs with the curve and the event, and the others
    """

    curve: str
    align: str
    share: float
    log: bool
    epoch: Int64[np.ndarray, " point"]
    runs: Int64[np.ndarray, " point"]
    mean: Points
    median: Points
    low: Points
    high: Points
    used: int
    left_out: int


def band(runs: Runs, curve: str = "test_loss", *, align: str = EPOCH, share: float = 0.8, log: bool = False) -> Band:
    """The mean of a curve over runs and the band that holds a share of them at each point.

    curve: "train_loss", "test_loss", "train_accuracy", "test_accuracy", another curve of the files ("curves/NAME"), or stored
        results with a number per checkpoint ("analysis/weight_norms/total")
    align: "epoch", or the name of an event, such as "generalized_0.1": epoch 0 is then the end of its interval in each run, and
        runs without it are left out

    Points have the largest distance that any of the runs has between most of its recorded values; in between, a run's values
    are interpolated linearly in the epoch, never beyond its first and last one. Where runs end at different epochs, `runs`
    falls, and the mean is of those that went on. Raises ArgumentError, UnknownNameError, TdwError.
    """
    runs, curve = checked(runs), arguments.text("curve", curve, "the name of a curve, such as test_loss")
    share = arguments.share("share", share)
    if not isinstance(align, str) or align not in (EPOCH, *LABELS):
        raise UnknownNameError("alignment", align, (EPOCH, *LABELS))
    offsets = [0 if align == EPOCH else row[align] for row in runs]
    found = []
    for run, offset in zip(runs.opened(), offsets, strict=True):
        at, values = _recorded(run, curve)
        if offset is not None and at.size:
            found.append((at - offset, values))
    if not found:
        raise TdwError(f"none of {len(runs)} runs has {curve}" + ("" if align == EPOCH else f" and the event {align}"))
    if log and any((values <= 0).any() for _, values in found):
        raise TdwError(f"{curve} has values that are not positive: use log=False")
    epochs = _points(found)
    grid = np.full((len(found), len(epochs)), np.nan)
    for row, (at, values) in zip(grid, found, strict=True):
        row[:] = np.interp(epochs, at, np.log(values) if log else values, left=np.nan, right=np.nan)
    covered = ~np.isnan(grid).all(axis=0)
    epochs, grid = epochs[covered], grid[:, covered]
    mean, median = np.nanmean(grid, axis=0), np.nanmedian(grid, axis=0)
    low, high = np.nanquantile(grid, [(1 - share) / 2, (1 + share) / 2], axis=0)
    mean, median, low, high = (np.exp(side) if log else side for side in (mean, median, low, high))
    counts = (~np.isnan(grid)).sum(axis=0)
    return Band(curve, align, share, log, epochs, counts, mean, median, low, high, len(found), len(runs) - len(found))


def _recorded(run: Run, curve: str) -> tuple[Int64[np.ndarray, " value"], Float64[np.ndarray, " value"]]:
    """Epochs and values of a curve where it was recorded; none if the run does not have it. Raises TdwError."""
    none = np.empty(0, np.int64), np.empty(0)
    if curve.startswith("analysis/"):
        if curve not in run.array_index():
            return none
        values = run.series(curve)
        epochs = f"{curve.rpartition('/')[0]}/epoch"
        if values.ndim != 1 or epochs not in run.array_index():
            raise TdwError(f"{curve} is not a number for each checkpoint: choose other results")
        at = run.series(epochs)
    elif curve in CURVES:
        values = getattr(run, curve)
        at = run.epochs
    elif curve in run.curves:
        values = run.curve(curve)
        at = run.epochs
    else:
        return none
    values = np.asarray(values, dtype=np.float64)
    there = np.isfinite(values)
    return np.asarray(at, dtype=np.int64)[there], values[there]


def _points(
    found: list[tuple[Int64[np.ndarray, " value"], Float64[np.ndarray, " value"]]],
) -> Int64[np.ndarray, " point"]:
    low, high = min(int(at[0]) for at, _ in found), max(int(at[-1]) for at, _ in found)
    step = max((int(np.median(np.diff(at))) for at, _ in found if at.size > 1), default=1)
    step = max(step, -(-(high - low) // MOST_POINTS), 1)
    # Through 0: an epoch that all runs recorded, or the event.
    return np.arange(-(-low // step) * step, high + 1, step)
