"""How many epochs lie between two recorded losses, where a source does not give their epochs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tdw.errors import NotImportableError, SettingError
from tdw.interchange.source_run import SourceRun
from tdw.network.segment import Series

STRIDES = (10, 100, 5, 50, 20, 25, 1000, 500, 200, 250, 2)  # epochs between two losses, most likely first


def stride_of(losses: int, totals: Iterable[int | None]) -> tuple[int, int] | None:
    """The number of epochs between two train losses, and the number of epochs; None if every epoch has a loss, or if no
    constant stride fits.

    totals: possible numbers of epochs, most likely first; None for an unknown one
    """
    for total in totals:
        if total is not None and total > losses:
            for every in STRIDES:
                if -(-total // every) == losses:
                    return every, total
    return None


def spread(run: SourceRun, every: int, epochs: int) -> None:
    """Put the train losses at every `every`-th of these epochs."""
    assert run.train is not None, "there are losses to spread"
    run.train, run.train_stride = _spread(run.train, every, epochs), every
    run.converted.append(f"the source has train losses for every {every}th epoch, starting with epoch 0")


def _spread(curve: Series, every: int, epochs: int) -> Series:
    out = np.full(epochs, np.nan)
    out[::every] = curve
    return out


def between(curve: Series | None) -> int:
    """The number of epochs between two values of a curve that is in place."""
    at = np.flatnonzero(~np.isnan(curve)) if curve is not None else np.zeros(0, np.int64)
    return max(1, int(np.gcd.reduce(np.diff(at)))) if at.size > 1 else 1


def place_train(run: SourceRun, hints: dict[str, Any], source: Path) -> None:
    """Put the train losses at the epochs that a hint gives, and equally many test losses too, unless a hint says otherwise;
    without a hint, say what is assumed if nothing in the source tells the epochs. Raises SettingError.
    """
    requested = hints.get("train_stride")
    if requested is None:
        if run.train is not None and not run.stepped and run.train_stride == 1 and not run.checkpoints:
            run.assumed.append(
                f"a train loss for every epoch, {len(run.train)} in all: the source does not give their epochs; --train-stride "
                "states the number of epochs between two"
            )
        return
    if run.train is None or run.stepped:
        why = "has no train losses" if run.train is None else "gives the epochs of its losses"
        raise SettingError(
            "train_stride",
            f"--train-stride does not apply to {source.name}, which {why} (got {requested}): leave it out",
        )
    if run.train_stride != 1:
        if requested != run.train_stride:
            raise SettingError(
                "train_stride",
                f"--train-stride must be {run.train_stride} for {source.name}, by the epoch of its weights (got {requested})",
            )
        return
    count = len(run.train)
    spread(run, requested, (count - 1) * requested + 1)
    if run.test is not None and len(run.test) == count and "test_stride" not in hints:
        run.test = _spread(run.test, requested, (count - 1) * requested + 1)


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
    fits = [k for k in range(1, epochs + 1) if count in {epochs // k, -(-epochs // k)}] if count > 1 else []
    fits.sort(key=lambda k: STRIDES.index(k) if k in STRIDES else len(STRIDES) + k)
    if not fits:
        raise NotImportableError(
            f"{source} cannot be imported: its {count} test losses for {epochs} epochs do not fit a constant stride: give "
            "--test-stride."
        )
    return fits[:3]
