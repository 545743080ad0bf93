"""Every error this package raises for a reason a user can act on.

    TdwError
    ├── SettingError                  a setting was refused (.setting names it)
    │   └── ScheduleError             a checkpoint schedule was refused
    ├── ProjectError                  something about a project file
    │   ├── NotAProjectError          the path is not a project file, or does not exist
    │   ├── NewerFormatError          written by a newer version of this program
    │   ├── DamagedFileError          checksums do not match, or bytes are missing
    │   ├── FileInUseError            another process has it open for writing
    │   ├── AlreadyExistsError        the file exists and may not be replaced
    │   ├── CannotWriteError          the operating system refused a write
    │   │   └── OverwrittenError      another program wrote to the file while it was open for writing here
    │   ├── CheckpointNotFoundError
    │   ├── AnalysisNotFoundError     the analysis exists, but this file has no results of it
    │   ├── NotApplicableError        an analysis or operation that is not defined for this run
    │   ├── NotImportableError        a file or folder of another program that cannot become a run
    │   ├── NotReproducibleError      replaying a run did not reproduce what it had stored
    │   ├── OutOfRangeError           weights or results that are not finite in float32
    │   └── DriftError                a resumed run does not reproduce what it had recorded
    ├── ArgumentError                 an argument of a function was refused (.argument names it)
    ├── UnknownNameError              there is no task, analysis or panel of that name
    ├── StoppedError                  an operation was interrupted before it was complete
    └── AppError                      the local server cannot do what was asked

A message says what was given, what is allowed and what to do, in one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tdw.safe_text import cut, shown, typed
from tdw.text_format import sentence


class TdwError(Exception):
    """The parent of every error a user can act on. All of them can be pickled, as pools of processes do."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[TdwError], arguments: tuple[Any, ...], state: dict[str, Any]) -> TdwError:
    """A pickled error: its message was made when it was raised, so `__init__` is left out."""
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class SettingError(TdwError):
    """A setting was refused; `setting` is its name as a field (`train_fraction`, not `--train-fraction`)."""

    def __init__(self, setting: str, message: str):
        super().__init__(message)
        self.setting = setting


class ArgumentError(TdwError):
    """An argument of a function is not of a kind that it takes; `argument` is its name."""

    def __init__(self, argument: str, message: str):
        super().__init__(message)
        self.argument = argument


class ScheduleError(SettingError):
    """A checkpoint schedule was refused."""

    def __init__(self, message: str):
        super().__init__("checkpoints", message)


class ProjectError(TdwError):
    """Something is wrong with a project file."""


class NotAProjectError(ProjectError):
    """The path is not a project file, or does not exist.

    fact: the message without `advice`, which names commands to type
    """

    def __init__(self, fact: str, advice: str = ""):
        super().__init__(f"{fact} {advice}".rstrip())
        self.fact = fact


class NewerFormatError(ProjectError):
    """The file was made by a newer version of this program."""


class DamagedFileError(ProjectError):
    """Committed bytes are missing, or do not match their checksum."""


class FileInUseError(ProjectError):
    """Another process has the file open for writing.

    Attributes:
        who: the other process, for messages
        exit_code: of a command that it ends: try again later (EX_TEMPFAIL of sysexits.h)
    """

    exit_code = 75

    def __init__(self, message: str, who: str = "another process"):
        super().__init__(message)
        self.who = who


class AlreadyExistsError(ProjectError):
    """The file exists, and replacing it was not requested.

    replaceable: whether the function that refused has `overwrite=True`
    """

    def __init__(self, path: str | Path, problem: str = "already exists", *, replaceable: bool = False):
        super().__init__(path, problem)
        self._refusal, self._replaceable = f"{path} {problem}: use another name", replaceable

    def __str__(self) -> str:
        return self.told("overwrite=True")

    def told(self, how: str | None) -> str:
        """The message. how: what the user adds to replace the file; None where nothing does that."""
        return self._refusal + (f", or {how} to replace it." if how and self._replaceable else ".")


class CannotWriteError(ProjectError):
    """The operating system refused a write: full disk, missing folder, no permission."""


class OverwrittenError(CannotWriteError):
    """Another program overwrote, replaced or deleted the file while it was open for writing here.

    Attributes:
        in_place: whether the bytes of the open file were changed, which destroys what it held
    """

    def __init__(self, message: str, *, in_place: bool = False):
        super().__init__(message)
        self.in_place = in_place


class CheckpointNotFoundError(ProjectError):
    """No checkpoint was stored at the requested epoch."""

    def __init__(self, path: Path, epoch: object, stored: Sequence[int], *, imported: bool = False):
        if not stored and imported:
            super().__init__(f"{path.name} has no weights: only its curves were imported.")
            return
        if stored:
            nearest = min(stored, key=lambda e: abs(e - epoch)) if isinstance(epoch, int) else stored[-1]
            hint = f"the nearest stored one is {nearest}. `tdw info {typed(path.name)}` lists all {len(stored)}."
        else:
            hint = f"no checkpoint is stored yet. `tdw train {typed(path.name)}` adds them."
        super().__init__(f"{path.name} has no checkpoint at epoch {epoch}: {hint}")


class AnalysisNotFoundError(ProjectError):
    """The analysis exists, but this file has no results of it."""

    def __init__(self, path: Path, name: str, stored: Iterable[str]):
        have = ", ".join(stored) or "none"
        super().__init__(
            f"{path.name} has no results of {name} (stored: {have}). Run `tdw analyze {typed(path.name)} --only {name}`."
        )


class NotApplicableError(ProjectError):
    """An analysis or operation is not defined for this run."""

    def __init__(self, path: Path, what: str, why: str):
        super().__init__(f"{what!r} does not apply to {path.name}. {sentence(why)}")


class NotImportableError(ProjectError):
    """A file or folder of another program cannot be imported; the message says what it looks like."""


class NotReproducibleError(ProjectError):
    """A run cannot be replayed exactly, or replaying it gave different values."""


class OutOfRangeError(ProjectError):
    """Weights, or results computed from them, are not finite in float32."""


class DriftError(ProjectError):
    """A resumed run did not reproduce the values that it had recorded; difference: a clause."""

    def __init__(self, path: Path, difference: str):
        super().__init__(
            f"{path.name} is not reproducible here: {difference}. A run is reproducible bit for bit on "
            f"the same machine, with the same software and number of threads: resume it there, or continue here with "
            f"`tdw train {typed(path.name)} --allow-drift`, which keeps what is stored and records the difference in the file"
        )


class UnknownNameError(TdwError):
    """There is no task, analysis or panel of that name."""

    def __init__(self, what: str, given: object, known: Iterable[str]):
        import difflib

        known = list(known)
        given = given if isinstance(given, str) else shown(given)
        close = difflib.get_close_matches(given, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known) or 'none'}."
        super().__init__(f"no {what} is named {cut(given)!r}: {hint}")


class StoppedError(TdwError):
    """An operation was interrupted before it was complete; nothing was changed."""


class AppError(TdwError):
    """The local server cannot do what was asked."""
