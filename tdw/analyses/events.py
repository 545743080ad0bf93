"""When a run memorized, when it generalized, and what lies between: always as intervals, never invented."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tdw.analyses.engine.checkpoint import Whole
from tdw.analyses.engine.registry import ArraySpec, Result, analysis

NOT_REACHED = -1

Series = NDArray[np.float64]
Crossed = tuple[NDArray[np.int64], bool]  # intervals of the first and last crossing, and whether it still holds


class Event(NamedTuple):
    """One event of a run. Each crossing is (last recorded epoch before it, first after it), or None: not reached. held:
    whether the condition is still met where the recording ends; only then is the last crossing one for good. recorded:
    whether what it is about was ever recorded; without, nobody knows whether it was reached.
    """

    name: str
    label: str
    first: tuple[int, int] | None
    last: tuple[int, int] | None
    held: bool
    recorded: bool

    @property
    def missing(self) -> str:
        """Why there is no crossing, in words; for an event without one."""
        return "not reached" if self.recorded else "not recorded"


class Grokking(NamedTuple):
    """Whether a run is called grokking: `verdict` yes, no or unknown; `delay` the least and the greatest number of epochs
    between memorizing and generalizing, None where either was not reached; `wanted` the delay from which on it is.
    """

    verdict: str
    delay: tuple[int, int] | None
    wanted: int


LABELS = {
    "memorized_0.1": "train loss below 0.1",
    "memorized_0.01": "train loss below 0.01",
    "memorized_0.0001": "train loss below 0.0001",
    "generalized_0.1": "test loss below 0.1",
    "generalized_0.01": "test loss below 0.01",
    "generalized_0.0001": "test loss below 0.0001",
    "generalized_accuracy": "test accuracy at least 0.99",
    "peak": "test loss at its highest",
    "onset": "test loss 80 % below its peak",
    "rebound": "test loss above 0.1 again",
}
SERIES = dict.fromkeys(LABELS, "test_loss") | {
    "memorized_0.1": "train_loss",
    "memorized_0.01": "train_loss",
    "memorized_0.0001": "train_loss",
    "generalized_accuracy": "test_accuracy",
}
MEMORIZED, GENERALIZED = "memorized_0.1", "generalized_0.1"  # what is meant where only one of each is shown


GROKKING, NO_GROKKING, UNKNOWN = 1, 0, -1


@analysis(
    title="Events",
    version=2,
    per="run",
    arrays={
        "intervals": ArraySpec("<i8", (len(LABELS), 2, 2)),
        "held": ArraySpec("|u1", (len(LABELS),)),
        "delay": ArraySpec("<i8", (2,)),
        "grokking": ArraySpec("|i1", ()),
    },
    events=list(LABELS),
    delay=500,
)
def events(run: Whole, *, events: list[str], delay: int) -> Result:
    """Intervals (events, [first, last crossing], [last recorded epoch before, first after]); -1 where not reached.

    A condition that holds from the first recorded epoch on has both ends of its interval there. Spikes make first and
    last crossing differ. `onset` is looked for after the peak; `rebound` after the test loss was first below 0.1.

    held      whether each condition is still met at the last recorded epoch, (events,); of `peak` always 0
    delay     [at least, at most] so many epochs lie between the first crossings of train and test loss below 0.1: as
              sure as the recording allows; -1 where either is not reached
    grokking  1 where at least `delay` epochs lie between them; 0 where fewer do, and the test loss just follows the
              train loss; -1 where that cannot be said, because either is not reached or the recording is too coarse
    """
    curves = run.curves
    train, test = _recorded(curves.train_loss), _recorded(curves.test_loss)
    found = {f"memorized_{x:g}": _crossed(*train, below=x) for x in (0.1, 0.01, 1e-4)}
    found |= {f"generalized_{x:g}": _crossed(*test, below=x) for x in (0.1, 0.01, 1e-4)}
    at, accuracy = _recorded(curves.test_accuracy)
    found["generalized_accuracy"] = _crossed(at, -accuracy, below=np.nextafter(-0.99, 0))
    found |= _after(*test)
    between = delay_between(found[MEMORIZED][0][0], found[GENERALIZED][0][0])
    return {
        "intervals": np.stack([found[name][0] for name in events]),
        "held": np.array([found[name][1] for name in events]),
        "delay": between,
        "grokking": np.int8(verdict(between, delay)),
    }


def delay_between(memorized: NDArray[np.int64], generalized: NDArray[np.int64]) -> NDArray[np.int64]:
    """The least and the greatest number of epochs from one crossing to the other, (2,), given the intervals they lie in.

    Each happened after the first end of its interval (at it, where both ends are one) and not after the second.
    Generalizing before memorizing counts as no delay.

    >>> delay_between(np.array([126, 127]), np.array([130, 140])), delay_between(np.array([5, 6]), np.array([-1, -1]))
    (array([ 4, 13]), array([-1, -1]))
    """
    if NOT_REACHED in (memorized[1], generalized[1]):
        return np.full(2, NOT_REACHED)
    earliest = [int(pair[0]) + (pair[0] < pair[1]) for pair in (memorized, generalized)]
    return np.array([max(earliest[1] - memorized[1], 0), max(generalized[1] - earliest[0], 0)])


def verdict(between: NDArray[np.int64], delay: int) -> int:
    """Whether a delay, [at least, at most], is one of grokking; UNKNOWN where it might be either."""
    if between[1] == NOT_REACHED:
        return UNKNOWN
    return GROKKING if between[0] >= delay else NO_GROKKING if between[1] < delay else UNKNOWN


def _after(at: NDArray[np.int64], loss: Series) -> dict[str, Crossed]:
    """Peak, onset and rebound of a test loss recorded at the epochs `at`."""
    nothing = np.full((2, 2), NOT_REACHED), False
    found = {"peak": nothing, "onset": nothing, "rebound": nothing}
    if loss.size:
        top = int(loss.argmax())
        found["peak"] = np.full((2, 2), at[top]), False
        found["onset"] = _crossed(at[top:], loss[top:], below=0.2 * loss[top])
        fell = np.flatnonzero(loss < 0.1)
        if fell.size:
            found["rebound"] = _crossed(at[fell[0] :], -loss[fell[0] :], below=np.nextafter(-0.1, 0))
    return found


def _crossed(at: NDArray[np.int64], values: Series, *, below: float) -> Crossed:
    return crossings(at, values, below=below), bool(values.size and values[-1] < below)


def crossings(at: NDArray[np.int64], values: Series, *, below: float) -> NDArray[np.int64]:
    """First and last interval in which the recorded values come to lie below a threshold, (2, 2); -1 where they never do.

    >>> crossings(np.array([0, 10, 20, 30, 40]), np.array([3.0, 0.5, 2.0, 0.1, 0.1]), below=1)
    array([[ 0, 10],
           [20, 30]])
    """
    under = values < below
    entered = np.flatnonzero(under & ~np.concatenate([[False], under[:-1]]))
    if not entered.size:
        return np.full((2, 2), NOT_REACHED)
    return np.array([[at[max(i - 1, 0)], at[i]] for i in (entered[0], entered[-1])])


def described(
    intervals: NDArray[np.int64], held: NDArray[np.uint8], names: list[str], recorded: Collection[str]
) -> list[Event]:
    """The stored intervals as events with their labels; recorded: the series of SERIES that hold any number."""

    def interval(pair: NDArray[np.int64]) -> tuple[int, int] | None:
        return None if pair[1] == NOT_REACHED else (int(pair[0]), int(pair[1]))

    return [
        Event(name, LABELS[name], interval(row[0]), interval(row[1]), bool(still), SERIES[name] in recorded)
        for name, row, still in zip(names, intervals, held, strict=True)
    ]


def judged(grokking: NDArray[np.int8], delay: NDArray[np.int64], wanted: int) -> Grokking:
    """The stored verdict in words."""
    least, greatest = (int(epochs) for epochs in delay)
    words = {GROKKING: "yes", NO_GROKKING: "no"}
    return Grokking(words.get(int(grokking), "unknown"), None if greatest == NOT_REACHED else (least, greatest), wanted)


def _recorded(values: Series) -> tuple[NDArray[np.int64], Series]:
    at = np.flatnonzero(~np.isnan(values))
    return at, values[at]


def between(interval: tuple[int, int]) -> str:
    """An interval in which something was crossed, in words.

    >>> between((125, 126)), between((590, 600))
    ('126', '591 to 600')
    """
    low, high = interval
    return str(high) if high - low <= 1 else f"{low + 1} to {high}"
