"""A name for a new file: locked while the file is built, and never taken from a file that is there without being asked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tdw.errors import AlreadyExistsError, CannotWriteError, ProjectError
from tdw.store.build import explained
from tdw.store.lock import Lock
from tdw.store.temporary import sweep


@contextlib.contextmanager
def name_locked(given: Path, real: Path) -> Iterator[Lock]:
    """The lock on a name, with what killed processes left of building a file there removed; let go after an error.

    Raises FileInUseError, CannotWriteError.
    """
    with explained(given):
        lock = Lock(real)
    try:
        sweep(real)
        yield lock
    except BaseException:
        lock.release()
        raise


def tidy(path: Path) -> None:
    """Remove what a process that was killed left of building a file, unless another one builds it now."""
    with contextlib.suppress(ProjectError), name_locked(path, path) as lock:
        lock.release()


def refuse_existing(given: Path, real: Path, *, overwrite: bool) -> None:
    """Raise AlreadyExistsError for a name that is taken, unless it may be, and CannotWriteError for a folder."""
    if real.is_dir():
        raise CannotWriteError(f"{given} cannot be written: it is a folder. Give the name of a file in it.")
    if not overwrite and os.path.lexists(real):
        raise AlreadyExistsError(
            f"{given} is there already and was left as it is: choose another name, or --force to replace it."
        )


def unused_name(path: Path, word: str) -> Path:
    """A name beside a file that nothing has, told by a word: `run-rescued.tdw`, `run-rescued-2.tdw`."""
    number = 1
    while True:
        new = path.with_name(f"{path.stem}-{word}{'' if number == 1 else f'-{number}'}{path.suffix}")
        if not os.path.lexists(new):
            return new
        number += 1
