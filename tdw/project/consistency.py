"""Check that the settings, split, checkpoints and arrays of a file are consistent with each other.

Files written by this program are. In a file from another source, each part can be intact and still contradict the
others: settings of a larger network than the weights, pairs that do not exist, checkpoints out of order. The check runs
before anything is computed from a file.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from tdw import store, tasks
from tdw.config import RunConfig
from tdw.errors import NotAProjectError, SettingError, UnknownNameError
from tdw.network.parameters import mismatch
from tdw.project import serialization
from tdw.project.records import Description, NewerRecordError, RecordError


def check(stored: store.Reader) -> None:
    """Raise NotAProjectError if the parts of a file contradict each other, DamagedFileError for damaged bytes, and
    NewerFormatError for a kind of run that this version does not know.
    """
    try:
        description = Description.of(stored.config)
    except NewerRecordError as error:
        raise error.told(stored.path) from error
    except RecordError as error:
        raise refusal(stored.path, str(error)) from error
    problem = _branched(description) or _parts(stored, description.settings)
    if problem is not None:
        raise refusal(stored.path, problem)


def refusal(path: Path, problem: str) -> NotAProjectError:
    """The error for a file whose parts contradict each other."""
    return NotAProjectError(f"{path} is not a valid project file: {problem}. Get another copy of the file.")


def _branched(description: Description) -> str | None:
    """A problem with the epochs of the run's origin and of the origins of that; None if there is none."""
    epochs, optimizer_from, branched = description.settings.epochs, description.optimizer_from, description.branched
    while branched is not None:
        try:
            before = branched.config.epochs
        except (SettingError, UnknownNameError, TypeError):
            before = -1
        if not 0 <= optimizer_from <= branched.at <= min(epochs, before):
            return "the description of the run it was branched from is invalid"
        epochs, optimizer_from, branched = before, branched.optimizer_from, branched.branched
    return None if optimizer_from == 0 else "its optimizer starts at an impossible epoch"


def _parts(stored: store.Reader, settings: RunConfig) -> str | None:
    """A contradiction between the arrays and the settings; None if there is none."""
    if stored.planned_epochs != settings.epochs:
        return f"it has space for {stored.planned_epochs} epochs, but its settings plan {settings.epochs}"
    sides = [stored.read(f"split/{side}") for side in ("train", "test")]
    try:
        tasks.check_split(sides[0], sides[1], settings.p)
    except SettingError as error:
        return f"its split is invalid ({error})"
    if sum(map(len, sides)) != settings.p**2:
        return f"its split has {sum(map(len, sides))} pairs instead of {settings.p**2} for p = {settings.p}"
    epochs = [int(epoch) for epoch in stored.checkpoint_epochs()]
    if not all(one < next_one for one, next_one in pairwise([-1, *epochs, stored.n_epochs])):
        return "its checkpoints are out of order or at unrecorded epochs"
    if epochs:
        differs = mismatch(serialization.unpack(stored.checkpoint(0)), settings)
        if differs:
            return f"its first checkpoint does not match its settings: {differs}"
    if not -1 <= stored.commit.resume_epoch < max(stored.n_epochs, 1):
        return "its resume state is at an unrecorded epoch"
    return None
