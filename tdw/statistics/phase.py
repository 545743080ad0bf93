"""Phase diagrams: how runs end, over two settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, Int64

from tdw.statistics import collection, where
from tdw.statistics.collection import order_of
from tdw.statistics.durations import DELAY, durations
from tdw.statistics.outcomes import outcomes

if TYPE_CHECKING:
    from tdw.statistics.collection import Runs

Counts = Int64[np.ndarray, "y x"]
Delays = Float64[np.ndarray, "y x"]


@dataclass(frozen=True)
class PhaseDiagram:
    """Outcomes of runs over two settings. All arrays have a row for each value of y and a column for each value of x.

    runs: how many there are; 0 where there is none. memorized, generalized: how many of them reached these events
    diverged: how many ended because a loss was not finite. censored: runs that memorized and had not generalized at the end
    delay, delay_low, delay_high: median delay in epochs with its 95 % interval (Kaplan-Meier); NaN where it is not reached
    """

    x_name: str
    y_name: str
    x: list[Any]
    y: list[Any]
    runs: Counts
    memorized: Counts
    generalized: Counts
    diverged: Counts
    censored: Counts
    delay: Delays
    delay_low: Delays
    delay_high: Delays


def phase_diagram(runs: Runs, x: str = "weight_decay", y: str = "train_fraction") -> PhaseDiagram:
    """The phase diagram of runs over two columns, such as weight decay and training fraction. Raises TdwError."""
    runs = collection.checked(runs)
    x, y = where.known(x, runs.columns), where.known(y, runs.columns)
    cells = {(group.key[y], group.key[x]): group.runs for group in runs.group(y, x)}
    ys, xs = (sorted({key[side] for key in cells}, key=order_of) for side in (0, 1))
    shape = len(ys), len(xs)
    counts = {name: np.zeros(shape, np.int64) for name in ("runs", "memorized", "generalized", "diverged", "censored")}
    delays = {name: np.full(shape, np.nan) for name in ("delay", "delay_low", "delay_high")}
    for (value_y, value_x), some in cells.items():
        at = ys.index(value_y), xs.index(value_x)
        times = durations(some, DELAY)
        for name, number in (outcomes(some)._asdict() | {"censored": times.censored}).items():
            counts[name][at] = number
        for name, value in zip(delays, times.survival().quantile(), strict=True):
            delays[name][at] = np.nan if value is None else value
    return PhaseDiagram(x, y, xs, ys, **counts, **delays)
