"""How many epochs lie between two recorded losses, where a source does not give their epochs.

A number of losses and a number of epochs admit some strides. One of them is taken if it is the only one, or the only one that
divides the epochs or is round; else the user is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tdw.errors import NotImportableError, SettingError
from tdw.interchange.source_run import SourceRun
from tdw.network.segment import Series
from tdw.recorded import is_recorded

STRIDES = (
    10,
    100,
    5,
    50,
    20,
    25,
    1000,
    500,
    200,
    250,
    2,
)  # round numbers of epochs between two losses, usual ones first
SHOWN = 4


def strides(losses: int, epochs: int) -> list[int]:
    """All numbers of epochs k, from 2 on, that give so many losses in so many epochs: epochs / k, rounded up or down.

    >>> strides(10, 105), strides(50, 5000), strides(60, 100)
    ([10, 11], [99, 100, 101, 102], [])
    """
    if not 1 < losses < epochs:
        return []
    return list(range(max(2, epochs // (losses + 1) + 1), (epochs - 1) // (losses - 1) + 1))


def sensible(losses: int, epochs: int) -> list[int]:
    """Of all strides those that divide the epochs into so many parts or are round; the only one if there is only one.

    >>> sensible(10, 105), sensible(18, 120), sensible(2, 30), sensible(3, 100)
    ([10], [7], [20, 25, 15], [])
    """
    fits = strides(losses, epochs)
    if len(fits) < 2:
        return fits
    found = [every for every in STRIDES if every in fits]
    return found + [every for every in fits if every * losses == epochs and every not in found]


def stride_of(losses: int, totals: Sequence[int], requested: int | None, source: str) -> tuple[int, int] | None:
    """The number of epochs between two train losses, and the number of epochs; None if every epoch has a loss.

    totals: possible numbers of epochs, most likely first. requested: the stride that a hint gives.
    Raises NotImportableError where the numbers do not tell, SettingError for a hint that contradicts them.
    """
    if not totals or requested == 1 or any(total <= losses for total in totals):
        return None
    if requested is not None:
        fitting = [total for total in totals if (losses - 1) * requested < total]
        if not fitting:
            raise SettingError(
                "train_stride",
                f"--train-stride must be at most {(totals[0] - 1) // (losses - 1)} for {losses} train losses in {totals[0]} "
                f"epochs (got {requested})",
            )
        return requested, next((total for total in fitting if requested in strides(losses, total)), fitting[0])
    readings = [(every, total) for total in totals for every in sensible(losses, total)]
    found = list(dict.fromkeys(every for every, _ in readings))
    if len(found) == 1:
        return readings[0]
    if all(2 * losses > total + 1 for total in totals):
        return (
            None  # at least every second epoch: no constant stride but 1 has so many, and the last losses are missing
        )
    raise ask("train", losses, totals[0], found or strides(losses, totals[0]), source)


def ask(side: str, losses: int, epochs: int, fits: Sequence[int], source: str) -> NotImportableError:
    """The error where a number of losses has several readings, or none."""
    flag = f"--{side}-stride"
    counted = f"{source} cannot be imported: its {losses} {side} losses for {epochs} epochs"
    if not fits:
        return NotImportableError(
            f"{counted} do not fit a constant stride: give {flag}, the number of epochs between two of them."
        )
    shown = " or ".join(f"{flag} {every}" for every in fits[:SHOWN])
    more = " or another one" if len(fits) > SHOWN else ""
    nth = " or ".join(f"{every}th" for every in fits[:SHOWN])
    return NotImportableError(f"{counted} may be those of every {nth}{more} epoch: say which with {shown}{more}.")


def spread(run: SourceRun, every: int, epochs: int) -> None:
    """Put the train losses at every `every`-th of these epochs."""
    assert run.train is not None, "there are losses to spread"
    run.train, run.train_stride = _spread(run.train, every, epochs), every
    run.converted.append(f"the source has train losses for every {every}th epoch, starting with epoch 0")


def _spread(curve: Series, every: int, epochs: int) -> Series:
    out = np.full(epochs, np.nan)
    out[: len(curve) * every : every] = curve
    return out


def between(curve: Series | None) -> int:
    """The number of epochs between two values of a curve that is in place."""
    at = np.flatnonzero(is_recorded(curve)) if curve is not None else np.zeros(0, np.int64)
    return max(1, int(np.gcd.reduce(np.diff(at)))) if at.size > 1 else 1


def place_train(run: SourceRun, hints: dict[str, Any], source: Path) -> None:
    """Put the train losses at the epochs that a hint or the planned number of epochs gives, and with them all curves that have
    as many values. Raises NotImportableError where nothing tells the epochs, and SettingError.
    """
    requested = hints.get("train_stride")
    first = _first(run)
    if first is None or run.stepped:
        if requested is not None:
            why = "gives the epochs of its losses" if run.stepped else "has no train losses"
            raise SettingError(
                "train_stride",
                f"--train-stride does not apply to {source.name}, which {why} (got {requested}): leave it out",
            )
        if first is None and not run.stepped and _count(run) and "test_stride" not in hints:
            raise _unknown("test", _count(run), run, source)
        return
    if run.placed:
        if run.train_stride == 1 and requested is None and not run.checkpoints:
            run.assumed.append(
                f"a train loss for every epoch, {len(first)} in all, as the program records them; --train-stride states "
                "another number of epochs between two"
            )
        if run.train_stride != 1 or requested is None or run.checkpoints:
            return
    count = len(first)
    if requested is None:
        if run.planned in {count, count - 1}:
            run.inferred.append(f"{count} train losses are those of every epoch: {run.planned} epochs were planned")
            return
        if run.planned is None or run.planned < count:
            raise _unknown("train", count, run, source)
        found = stride_of(count, [run.planned, run.planned + 1], None, str(source))
        if found is None:  # a run that was interrupted has fewer losses than planned at any stride
            raise _unknown("train", count, run, source)
        requested = found[0]
        run.inferred.append(f"{count} losses in {run.planned} planned epochs are those of every {requested}th epoch")
    _place_all(run, count, requested, "test_stride" in hints)


def _first(run: SourceRun) -> Series | None:
    """The curve of the train pairs that says how many rows there are."""
    return run.train if run.train is not None else run.accuracy.get("train")


def _count(run: SourceRun) -> int:
    """The number of values of the test pairs."""
    curve = run.test if run.test is not None else run.accuracy.get("test")
    return 0 if curve is None else len(curve)


def _place_all(run: SourceRun, count: int, every: int, other_test: bool) -> None:
    """Put all curves with this many values at every `every`-th epoch. other_test: the test losses have a stride of their own."""
    if every == 1:
        return
    epochs = (count - 1) * every + 1
    if run.train is not None:
        spread(run, every, epochs)
    if run.test is not None and len(run.test) == count and not other_test:
        run.test = _spread(run.test, every, epochs)
    for curves in (run.accuracy, run.curves):
        for name, curve in curves.items():
            if len(curve) == count and not (other_test and name == "test"):
                curves[name] = _spread(curve, every, epochs)


def _unknown(side: str, count: int, run: SourceRun, source: Path) -> NotImportableError:
    why = f"{run.unplaced}, so nothing" if run.unplaced else "nothing in it"
    return NotImportableError(
        f"{source} cannot be imported: {why} tells the epochs of its {count} {side} losses or accuracies. State the number "
        f"of epochs between two: --{side}-stride 1 if each epoch has one, --{side}-stride 100 for every 100th; or add a column "
        "`step` of whole numbers, the updates before each row."
    )


def possible_strides(run: SourceRun, hints: dict[str, Any], source: Path) -> list[int]:
    """Possible numbers of epochs between two test losses, most likely first. Raises NotImportableError, SettingError."""
    requested = hints.get("test_stride")
    if run.stepped:
        if requested is not None:
            raise SettingError(
                "test_stride",
                f"--test-stride does not apply to {source.name}, which gives the epochs of its losses (got {requested}): "
                "leave it out",
            )
        return [1]
    if run.train is None or run.test is None or len(run.test) >= len(run.train):
        if requested not in {None, 1} and (run.test is None or run.train is not None):
            raise SettingError(
                "test_stride",
                f"--test-stride does not apply to {source.name}, which has a test loss for every epoch or none "
                f"(got {requested}): leave it out",
            )
        return [requested or 1]
    epochs, count = len(run.train), len(run.test)
    if not count:
        run.test = None
        return [1]
    if requested is not None:
        if (count - 1) * requested > epochs:
            raise SettingError(
                "test_stride",
                f"--test-stride must be at most {epochs // (count - 1)} for {count} test losses in {epochs} epochs "
                f"(got {requested})",
            )
        return [requested]
    if run.train_stride > 1 and count == np.count_nonzero(is_recorded(run.train)):
        return [run.train_stride]
    if not (fits := sensible(count, epochs) or strides(count, epochs)):
        raise ask("test", count, epochs, [], str(source))
    return fits
