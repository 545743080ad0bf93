"""Events of a run, such as memorization and generalization, each as an interval between recorded epochs."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.analyses.engine.run_data import RunData

NOT_REACHED = -1

Series = Float64[np.ndarray, " recorded"]
Epochs = Int64[np.ndarray, " recorded"]
Interval = Int64[np.ndarray, " 2"]  # last recorded epoch before a crossing, first recorded epoch after it
Crossed = tuple[Int64[np.ndarray, "2 2"], bool]  # intervals of the first and last crossing, and whether it still holds


class Event(NamedTuple):
    """One event of a run.

    first, last: the first and the last crossing as (last recorded epoch before it, first recorded epoch after it); None
        if not reached
    held: whether the condition still holds at the last recorded epoch
    recorded: whether its curve was recorded at all; if not, it is unknown whether the event was reached
    """

    name: str
    label: str
    first: tuple[int, int] | None
    last: tuple[int, int] | None
    held: bool
    recorded: bool

    @property
    def missing(self) -> str:
        """Why there is no crossing: "not reached" or "not recorded"."""
        return "not reached" if self.recorded else "not recorded"


class Grokking(NamedTuple):
    """Whether a run grokked.

    verdict: "yes" if delay and ratio are large enough, "no" if either is not, or "unknown"
    delay: bounds on the number of epochs between memorization and generalization; None if either was not reached
    wanted: the smallest delay that counts as grokking
    ratio: bounds on the delay divided by the number of epochs that memorization took; None if either was not reached
    wanted_ratio: the smallest ratio that counts as grokking
    """

    verdict: str
    delay: tuple[int, int] | None
    wanted: int
    ratio: tuple[float, float] | None
    wanted_ratio: float


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
CURVE_OF = dict.fromkeys(LABELS, "test_loss") | {
    "memorized_0.1": "train_loss",
    "memorized_0.01": "train_loss",
    "memorized_0.0001": "train_loss",
    "generalized_accuracy": "test_accuracy",
}
MEMORIZED, GENERALIZED = "memorized_0.1", "generalized_0.1"  # the defaults where only one threshold is shown


GROKKING, NO_GROKKING, UNKNOWN = 1, 0, -1


@analysis(
    title="Events",
    version=3,
    per="run",
    arrays={
        "intervals": ArraySpec("<i8", (len(LABELS), 2, 2)),
        "held": ArraySpec("|u1", (len(LABELS),)),
        "delay": ArraySpec("<i8", (2,)),
        "ratio": ArraySpec("<f8", (2,), gaps=True),
        "grokking": ArraySpec("|i1", ()),
    },
    events=list(LABELS),
    delay=500,
    ratio=1.0,
)
def events(run: RunData, *, events: list[str], delay: int, ratio: float) -> Result:
    """Intervals (events, [first, last crossing], [last recorded epoch before, first after]); -1 where not reached.

    If a condition holds from the first recorded epoch, both ends of its interval are that epoch. The highest test loss lies after
    the recorded epoch before the highest recorded one, and before the one after it. Spikes make first and
    last crossing differ. `onset` is searched after the peak, `rebound` after the test loss first fell below 0.1.

    held      whether each condition still holds at the last recorded epoch, (events,); always 0 for `peak`
    delay     [minimum, maximum] number of epochs between the first crossings below 0.1 of train and test loss, as far as
              the recording determines it; -1 if either is not reached
    ratio     [minimum, maximum] of the delay divided by the epoch of the first of these crossings; NaN if either is not reached
    grokking  1 if the delay is at least `delay` and the ratio at least `ratio`; 0 if either is less; -1 if unknown, because
              an event is not reached or the recording is too coarse
    """
    curves = run.curves
    train, test = _recorded(curves.train_loss), _recorded(curves.test_loss)
    crossed = {f"memorized_{x:g}": _crossed(*train, below=x) for x in (0.1, 0.01, 1e-4)}
    crossed |= {f"generalized_{x:g}": _crossed(*test, below=x) for x in (0.1, 0.01, 1e-4)}
    at, accuracy = _recorded(curves.test_accuracy)
    crossed["generalized_accuracy"] = _crossed(at, -accuracy, below=np.nextafter(-0.99, 0))
    crossed |= _after(*test)
    memorized, generalized = crossed[MEMORIZED][0][0], crossed[GENERALIZED][0][0]
    between, times = delay_between(memorized, generalized), ratio_between(memorized, generalized)
    return {
        "intervals": np.stack([crossed[name][0] for name in events]),
        "held": np.array([crossed[name][1] for name in events]),
        "delay": between,
        "ratio": times,
        "grokking": np.int8(verdict(between, delay, times, ratio)),
    }


def delay_between(memorized: Interval, generalized: Interval) -> Interval:
    """Minimum and maximum number of epochs between two crossings, given their intervals; -1 if either was not reached.

    A crossing is after the first end of its interval (at it, if both ends are equal) and not after the second.
    Generalization before memorization counts as a delay of 0.

    >>> delay_between(np.array([126, 127]), np.array([130, 140])), delay_between(np.array([5, 6]), np.array([-1, -1]))
    (array([ 4, 13]), array([-1, -1]))
    """
    if NOT_REACHED in (memorized[1], generalized[1]):
        return np.full(2, NOT_REACHED)
    return np.array([max(_earliest(generalized) - memorized[1], 0), max(generalized[1] - _earliest(memorized), 0)])


def ratio_between(memorized: Interval, generalized: Interval) -> Float64[np.ndarray, " 2"]:
    """Minimum and maximum of the delay divided by the epoch of memorization, which counts as 1 if it is 0; NaN if either was not
    reached.

    >>> ratio_between(np.array([99, 100]), np.array([300, 400])), ratio_between(np.array([0, 0]), np.array([4, 5]))
    (array([2.01, 3.  ]), array([5., 5.]))
    """
    if NOT_REACHED in (memorized[1], generalized[1]):
        return np.full(2, np.nan)
    least, most = delay_between(memorized, generalized)
    return np.array([least / max(memorized[1], 1), most / max(_earliest(memorized), 1)])


def _earliest(interval: Interval) -> int:
    return int(interval[0]) + int(interval[0] < interval[1])


def verdict(between: Interval, delay: int, times: Float64[np.ndarray, " 2"], ratio: float) -> int:
    """GROKKING, NO_GROKKING or UNKNOWN, from [minimum, maximum] of delay and ratio.

    >>> verdict(np.array([600, 700]), 500, np.array([3.0, 4.0]), 1.0), verdict(np.array([400, 700]), 500, np.array([3.0, 4.0]), 1.0)
    (1, -1)
    """
    if between[1] == NOT_REACHED:
        return UNKNOWN
    if between[1] < delay or times[1] < ratio:
        return NO_GROKKING
    return GROKKING if between[0] >= delay and times[0] >= ratio else UNKNOWN


def _after(at: Epochs, loss: Series) -> dict[str, Crossed]:
    """Peak, onset and rebound of a test loss recorded at the epochs `at`."""
    missing = np.full((2, 2), NOT_REACHED), False
    crossed = {"peak": missing, "onset": missing, "rebound": missing}
    if loss.size:
        top = int(loss.argmax())
        after = at[top + 1] - 1 if top + 1 < len(at) else at[top]
        before = at[top - 1] if top else at[top] - (after > at[top])
        crossed["peak"] = np.array([[before, after]] * 2), False
        crossed["onset"] = _crossed(at[top:], loss[top:], below=0.2 * loss[top])
        fell = np.flatnonzero(loss < 0.1)
        if fell.size:
            crossed["rebound"] = _crossed(at[fell[0] :], -loss[fell[0] :], below=np.nextafter(-0.1, 0))
    return crossed


def _crossed(at: Epochs, values: Series, *, below: float) -> Crossed:
    return crossings(at, values, below=below), bool(values.size and values[-1] < below)


def crossings(at: Epochs, values: Series, *, below: float) -> Int64[np.ndarray, "2 2"]:
    """First and last interval in which the recorded values fall below a threshold; -1 if they never do.

    >>> crossings(np.array([0, 10, 20, 30, 40]), np.array([3.0, 0.5, 2.0, 0.1, 0.1]), below=1.0)
    array([[ 0, 10],
           [20, 30]])
    """
    under = values < below
    entered = np.flatnonzero(under & ~np.concatenate([[False], under[:-1]]))
    if not entered.size:
        return np.full((2, 2), NOT_REACHED)
    return np.array([[at[max(i - 1, 0)], at[i]] for i in (entered[0], entered[-1])])


def described(
    intervals: Int64[np.ndarray, "event 2 2"],
    held: Shaped[np.ndarray, " event"],
    names: list[str],
    recorded: Collection[str],
) -> list[Event]:
    """Stored intervals as events with their labels. recorded: names of the curves with at least one value."""

    def interval(pair: Interval) -> tuple[int, int] | None:
        return None if pair[1] == NOT_REACHED else (int(pair[0]), int(pair[1]))

    return [
        Event(name, LABELS[name], interval(row[0]), interval(row[1]), bool(still), CURVE_OF[name] in recorded)
        for name, row, still in zip(names, intervals, held, strict=True)
    ]


def judged(found: Result, *, delay: int, ratio: float, **_: object) -> Grokking:
    """The stored verdict, with the parameters it was made with, as a `Grokking`."""
    words = {GROKKING: "yes", NO_GROKKING: "no"}
    word = words.get(int(found["grokking"]), "unknown")
    least, most = (int(epochs) for epochs in np.asarray(found["delay"]))
    if most == NOT_REACHED:
        return Grokking(word, None, delay, None, ratio)
    low, high = (float(times) for times in np.asarray(found["ratio"]))
    return Grokking(word, (least, most), delay, (low, high), ratio)


def _recorded(values: Float64[np.ndarray, " epoch"]) -> tuple[Epochs, Series]:
    at = np.flatnonzero(~np.isnan(values))
    return at, values[at]
