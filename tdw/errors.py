"""Every error this package raises for a reason a user can act on.

    TdwError
    ├── SettingError                  a setting was refused (.setting names it)
    │   └── ScheduleError             a checkpoint schedule was refused
    ├── ProjectError                  something about a project file
    │   ├── NotAProjectError          the path is not a project file, or does not exist
    │   ├── NewerFormatError          written by a newer version of this program
    │   ├── DamagedFileError          checksums do not match, or bytes are missing
    │   ├── FileInUseError            another process has it open for writing
    │   ├── AlreadyExistsError        the file exists and was not to be replaced
    │   ├── CannotWriteError          the operating system refused a write
    │   │   └── OverwrittenError      another program wrote to the file while it was open for writing here
    │   ├── CheckpointNotFoundError
    │   ├── AnalysisNotFoundError     the analysis exists, but this file has no results of it
    │   ├── NotApplicableError        an analysis or operation that is not defined for this run
    │   ├── NotImportableError        a file or folder of another program that cannot become a run
    │   ├── NotReproducibleError      replaying a run did not reproduce what it had stored
    │   ├── OutOfRangeError           weights or results that are not finite in float32
    │   └── DriftError                a resumed run does not reproduce what it had recorded
    ├── UnknownNameError              there is no task, analysis or panel of that name
    ├── StoppedError                  an operation was interrupted before it was complete
    └── AppError                      the local server cannot do what was asked

A message says what was given, what is allowed and what to do, in one line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tdw.safe_text import cut, typed


class TdwError(Exception):
    """The parent of every error a user can act on."""


class SettingError(TdwError):
    """A setting was refused; `setting` is its name as a field (`train_fraction`, not `--train-fraction`)."""

    def __init__(self, setting: str, message: str):
        super().__init__(message)
        self.setting = setting


class ScheduleError(SettingError):
    """A checkpoint schedule was refused."""

    def __init__(self, message: str):
        super().__init__("checkpoints", message)


class ProjectError(TdwError):
    """Something is wrong with a project file."""


class NotAProjectError(ProjectError):
    """The path is no project file, or nothing is there."""


class NewerFormatError(ProjectError):
    """The file was made by a newer version of this program."""


class DamagedFileError(ProjectError):
    """Bytes that count are missing or changed."""


class FileInUseError(ProjectError):
    """Another process holds the file open for writing."""


class AlreadyExistsError(ProjectError):
    """A file is in the way and may not be replaced without being asked."""


class CannotWriteError(ProjectError):
    """The operating system refused a write: full disk, missing folder, no permission."""


class OverwrittenError(CannotWriteError):
    """Another program overwrote, replaced or deleted the file while it was open for writing here.

    Attributes:
        in_place: whether the bytes of the open file were changed, so that what it held is gone
    """

    def __init__(self, message: str, *, in_place: bool = False):
        super().__init__(message)
        self.in_place = in_place


class CheckpointNotFoundError(ProjectError):
    """No checkpoint was stored at the requested epoch."""

    def __init__(self, path: Path, epoch: object, stored: Sequence[int]):
        if stored:
            nearest = min(stored, key=lambda e: abs(e - epoch)) if isinstance(epoch, int) else stored[-1]
            hint = f"the nearest stored one is {nearest}. `tdw info {typed(path.name)}` lists all {len(stored)}."
        else:
            hint = f"it has none yet. `tdw train {typed(path.name)}` makes them."
        super().__init__(f"{path.name} has no checkpoint at epoch {epoch}: {hint}")


class AnalysisNotFoundError(ProjectError):
    """The analysis is known, but its results are not in this file."""

    def __init__(self, path: Path, name: str, stored: Iterable[str]):
        have = ", ".join(stored) or "none"
        super().__init__(
            f"{path.name} holds no results of {name} (stored: {have}). `tdw analyze {typed(path.name)} --only {name}` makes them."
        )


class NotApplicableError(ProjectError):
    """An analysis, or something else that was asked, makes no sense for this run."""

    def __init__(self, path: Path, what: str, why: str):
        super().__init__(f"{path.name} is no run for {what}: {why}")


class NotImportableError(ProjectError):
    """A file or folder of another program cannot become a run; the sentence says what it looks like."""


class NotReproducibleError(ProjectError):
    """What a run has done cannot be repeated exactly, or came out otherwise here."""


class OutOfRangeError(ProjectError):
    """Numbers of a network, or results measured of it, have outgrown what float32 holds."""


class DriftError(ProjectError):
    """A resumed run did not repeat what it had recorded.

    found: series, epoch, stored and recomputed value, as `ProjectWriter.drift` gives them
    then:  the environment that recorded the epoch; here: the one that recomputed it
    """

    def __init__(self, path: Path, found: Mapping[str, Any], then: Mapping[str, Any], here: Mapping[str, Any]):
        super().__init__(
            f"{path.name} does not repeat itself: {self.sentence(found, then, here)}. A run repeats bit for bit on the same "
            f"machine, with the same software and number of threads: resume it there, or `tdw train {typed(path.name)} "
            "--allow-drift` goes on here from what is stored, which stays as it is, and records the difference in the file"
        )

    @staticmethod
    def sentence(found: Mapping[str, Any], then: Mapping[str, Any], here: Mapping[str, Any]) -> str:
        """What differs, and those entries of the two environments that differ as well."""
        names = sorted(name for name in {**then, **here} if then.get(name) != here.get(name))
        before, now = (
            " under " + ", ".join(f"{name} {_short(side.get(name, 'unknown'))}" for name in names)
            for side in (then, here)
        )
        if not names:
            before, now = "", " in the same environment"
        more = found.get("epochs", 1)
        others = f" ({_short(more)} recomputed epochs differ)" if more != 1 else ""
        series, epoch, was, came = (_short(found.get(key)) for key in ("series", "epoch", "stored", "recomputed"))
        return f"{series} at epoch {epoch} was stored as {was}{before}, and recomputed as {came}{now}{others}"


class UnknownNameError(TdwError):
    """No task, analysis or panel has that name."""

    def __init__(self, what: str, given: str, known: Iterable[str]):
        known = list(known)
        close = difflib.get_close_matches(given, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known) or 'none'}."
        super().__init__(f"no {what} is named {cut(given)!r}: {hint}")


class StoppedError(TdwError):
    """An operation was interrupted; nothing was changed."""


class AppError(TdwError):
    """The local server cannot do what was asked."""


def _short(value: object) -> str:
    """A value in a sentence; None is what JSON has for one that is no number.

    >>> _short(0.5), _short(None)
    ('0.5', 'no number')
    """
    return "no number" if value is None else str(value)[:80]
