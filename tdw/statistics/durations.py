"""Times to an event over runs, from epoch 0 on, censored where the event was not reached."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from tdw.analyses.events import CURVE_OF, GENERALIZED, MEMORIZED
from tdw.errors import UnknownNameError
from tdw.statistics.outcomes import rows_of
from tdw.statistics.survival import Survival, kaplan_meier

DELAY = "delay"
FOLLOWED = tuple(name for name in CURVE_OF if name.startswith(("memorized", "generalized")))


@dataclass(frozen=True)
class Durations:
    """Times in epochs, (run), and whether the event happened then; else the run was followed until then without it.

    runs: all runs, also those without a time
    unknown: without a time, because the curve was not recorded
    not_at_risk: without a time of the delay, because they did not memorize
    diverged: of those without the event, how many ended because a loss was not finite
    """

    event: str
    time: Float64[np.ndarray, " run"]
    happened: Bool[np.ndarray, " run"]
    runs: int
    unknown: int
    not_at_risk: int
    diverged: int

    @property
    def censored(self) -> int:
        """How many runs have a time, but not the event."""
        return int((~self.happened).sum())

    def survival(self, level: float = 0.95) -> Survival:
        """Their Kaplan-Meier curve with its pointwise interval."""
        return kaplan_meier(self.time, self.happened, level)


def durations(rows: Iterable[dict[str, Any]], event: str = DELAY) -> Durations:
    """Times of an event over runs, given as rows of `tdw.runs`. Raises ArgumentError, UnknownNameError.

    event: a threshold of memorizing or generalizing, such as "generalized_0.1": the time is the first recorded epoch at which
        it holds, which is the end of the interval of the event (test losses are recorded at some epochs only). Without it,
        the run is censored at the last epoch at which the curve was recorded.
        "delay": epochs from memorized_0.1 to generalized_0.1, the largest that the recording allows (`delay_max`). A run that
        memorized only is censored at the delay it had reached when the test loss was recorded last.
    """
    if not isinstance(event, str) or event not in (*FOLLOWED, DELAY):
        raise UnknownNameError("time of an event", event, (*FOLLOWED, DELAY))
    times: list[float] = []
    happened: list[bool] = []
    count = unknown = not_at_risk = diverged = 0
    for row in rows_of(rows):
        count += 1
        time, seen = _delay(row) if event == DELAY else _time(row, event)
        if time is None:
            recorded = row["train_loss_at"] is not None and row["test_loss_at"] is not None
            unknown += event != DELAY or not recorded
            not_at_risk += event == DELAY and recorded
            continue
        diverged += not seen and row["diverged_at"] is not None
        times.append(time)
        happened.append(seen)
    return Durations(
        event, np.array(times, dtype=np.float64), np.array(happened, dtype=bool), count, unknown, not_at_risk, diverged
    )


def _time(row: dict[str, Any], event: str) -> tuple[float | None, bool]:
    if row[event] is not None:
        return row[event], True
    return row[f"{CURVE_OF[event]}_at"], False


def _delay(row: dict[str, Any]) -> tuple[float | None, bool]:
    if row["delay_max"] is not None:
        return row["delay_max"], True
    if row[MEMORIZED] is None or row["test_loss_at"] is None or row[GENERALIZED] is not None:
        return None, False
    earliest = row[f"{MEMORIZED}_after"] + (row[f"{MEMORIZED}_after"] < row[MEMORIZED])
    return max(row["test_loss_at"] - earliest, 0), False
