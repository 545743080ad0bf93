"""Moves a run: its project file, and what belongs to it next to the file.

NAME.tdw                                the run
NAME.tdw.notes, NAME.tdw.notes-taken    notes that wait for a writer
sweep.failed/NAME.tdw.json              why it failed as part of a sweep
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from tdw.errors import AlreadyExistsError, AppError, CannotWriteError
from tdw.project import waiting_notes
from tdw.safe_text import typed
from tdw.store.atomic import explained
from tdw.store.filesystem import SYSTEM
from tdw.store.move import move
from tdw.store.open_file import real_path
from tdw.sweeps import manifest

SUFFIX = ".tdw"
LONGEST_SUFFIX = len(".notes-taken")  # of the files next to a project file
LONGEST = 255  # bytes of a name, where the file system does not say


def move_run(old: Path, new: Path, given: Path) -> None:
    """Rename a run that no other process writes to (`tdw.store.move.unwritten`), to a path on the same file system.

    given: the new path as the user wrote it. Raises AlreadyExistsError, CannotWriteError; nothing is changed then.
    """
    pairs = [(old, new), *zip(_beside(old), _beside(new), strict=True)]
    with _said(old, new, given), _no_notes(old):
        failures = [path.parent for path in (manifest.failure_path(old), manifest.failure_path(new))]
        if manifest.failure_path(old).exists():
            failures[1].mkdir(exist_ok=True)
        try:
            move([pair for pair in pairs if pair[1].parent.is_dir()], SYSTEM)
        finally:
            for folder in failures:
                with contextlib.suppress(OSError):  # it holds others
                    folder.rmdir()


def destination(old: Path, new: str | Path) -> Path:
    """The path that a run is to get: `new` is a path or a folder; a name alone stays in the folder of the run.

    Raises CannotWriteError for what cannot be the name of a file.
    """
    text = os.fspath(new)
    if not text or "\0" in text:
        what = "empty" if not text else "a name with a null byte"
        raise CannotWriteError(f"the new name of {old} is {what}: give a name, such as NAME.tdw, or a folder.")
    alone = not any(separator in text for separator in (os.sep, os.altsep or os.sep))
    if os.path.isdir(text):  # noqa: PTH112 - False where `Path.is_dir` raises
        path = Path(text) / old.name
    elif text.endswith((os.sep, os.altsep or os.sep)):
        raise CannotWriteError(f"{text} is not a folder: create it, or give the path of a file.")
    else:
        path = old.parent / text if alone else Path(text)
        if path.suffix != SUFFIX:
            path = path.with_name(path.name + SUFFIX)
    if not os.path.isdir(path.parent):  # noqa: PTH112
        raise CannotWriteError(f"{path} cannot be written: the folder {path.parent} does not exist. Create it first.")
    most = _longest(path.parent) - LONGEST_SUFFIX
    if len(os.fsencode(path.name)) > most:
        raise CannotWriteError(
            f"{path} cannot be written: its name has {len(os.fsencode(path.name))} bytes, and may have {most} here, with its suffix. "
            "Choose a shorter one."
        )
    return path


def _longest(folder: Path) -> int:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.pathconf(folder, "PC_NAME_MAX")
    return LONGEST


def _beside(path: Path) -> tuple[Path, ...]:
    return (*waiting_notes.files(path), manifest.failure_path(path))


@contextlib.contextmanager
def _no_notes(path: Path) -> Iterator[None]:
    """In this context, no notes are added next to a run. Without the private folder, none can be added anyway."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(AppError, OSError):
            stack.enter_context(waiting_notes.adding(path))
        yield


@contextlib.contextmanager
def _said(old: Path, new: Path, given: Path) -> Iterator[None]:
    """Turn the errors of moving into sentences."""
    try:
        with explained(given):
            yield
    except CannotWriteError as error:
        cause = error.__cause__
        number = cause.errno if isinstance(cause, OSError) else None
        if number == errno.EEXIST:
            taken = real_path(cause.filename2 or cause.filename or new) if isinstance(cause, OSError) else new
            if taken == real_path(new):
                raise AlreadyExistsError(given) from cause
            raise CannotWriteError(f"{given} cannot be used: {taken} is in the way. Move or rename that.") from cause
        if number == errno.EXDEV:
            raise CannotWriteError(
                f"{given} is on another disk than {old}: copy it with `tdw copy {typed(old)} {typed(given)}`, and then delete "
                f"{old.name}."
            ) from cause
        if number in {errno.EINVAL, errno.EILSEQ}:
            raise CannotWriteError(
                f"{given} cannot be written: the file system cannot hold this name. Choose a plainer one."
            ) from cause
        raise
