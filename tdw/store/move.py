"""Gives a file another name, with the files that belong to it, without ever replacing a file: a kill at any moment loses nothing.

All get their new names as hard links, the file itself last; these are made durable; then the old names are removed, that of
the file first. So what belongs to a file is found next to each of its names at any moment. Moved again, files that a killed process left with
two names get one. Where a file system has no hard links, they are renamed one after another.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tdw import interrupts
from tdw.errors import NotAProjectError
from tdw.store import filesystem, lease
from tdw.store.atomic import explained, name_locked
from tdw.store.filesystem import System
from tdw.store.open_file import real_path
from tdw.store.validate import SIGNATURE


@contextlib.contextmanager
def unwritten(given: Path) -> Iterator[Path]:
    """The real path of a project file, whole or damaged, to which no other process writes in this context.

    Raises NotAProjectError for anything else, FileInUseError, CannotWriteError.
    """
    real = _checked(given)
    with name_locked(given, real) as lock:
        try:
            with explained(given):
                fd = filesystem.open_to_read(real)
                try:  # a writer that opened it by another name
                    written = filesystem.is_locked_for_writing(fd)
                finally:
                    os.close(fd)
            if written:
                raise lease.in_use(given, "another process")
            yield real
        finally:
            with explained(given):
                lock.release()


def _checked(given: Path) -> Path:
    """The real path of a regular file that looks like a project file. Raises NotAProjectError."""
    if given.is_symlink():
        raise NotAProjectError(f"{given} is a link to {real_path(given)}: give that file.")
    real = real_path(given)
    if not os.path.lexists(real):
        raise NotAProjectError(f"{given} does not exist: give a project file (NAME.tdw).")
    if not real.is_file():
        kind = "a folder" if real.is_dir() else "not a file"
        raise NotAProjectError(f"{given} is {kind}: give a project file (NAME.tdw).")
    if real.suffix != ".tdw":
        with explained(given), real.open("rb") as file:
            if file.read(len(SIGNATURE)) != SIGNATURE:
                raise NotAProjectError(f"{given} is not a project file: give one (NAME.tdw).")
    return real


def move(pairs: Sequence[tuple[Path, Path]], system: System) -> None:
    """Rename a file, (old, new), and then those that belong to it, which may be missing.

    Where an earlier attempt was killed, it is finished. Raises FileExistsError for a new name that is taken, and OSError; nothing
    is changed then, unless an old name cannot be removed.
    """
    if not any(_same(old, new) for old, new in pairs):
        for _, new in pairs:
            _refuse_taken(new)
    file = pairs[0]
    pairs = [(old, new) for old, new in pairs if os.path.lexists(old)]
    with interrupts.Whole():
        if _same(*file) and file[0].stat().st_nlink == 1:  # one name in two cases, on a file system that ignores case
            for old, new in pairs:
                old.rename(new)
            return
        linked = _link(pairs[::-1], system)
        for old, new in pairs[::-1]:
            if new not in linked:
                _refuse_taken(new)
                system.replace(old, new)
        for old, new in pairs:
            if new in linked:
                old.unlink()
        for folder in {path.parent for pair in pairs for path in pair}:
            system.sync_folder(folder)


def _link(pairs: Sequence[tuple[Path, Path]], system: System) -> set[Path]:
    """Make the new names; returns those that are there, durably. After an error those that were made are removed."""
    there: set[Path] = set()
    made: list[Path] = []
    try:
        for old, new in pairs:
            if _same(old, new):
                there.add(new)
            elif system.link(old, new):
                made.append(new)
        for folder in {new.parent for new in made}:
            system.sync_folder(folder)
    except BaseException:
        for new in reversed(made):
            with contextlib.suppress(OSError):
                new.unlink()
        raise
    return there.union(made)


def _same(one: Path, other: Path) -> bool:
    """Whether both are names of one file."""
    try:
        return filesystem.same_file(one.lstat(), other.lstat())
    except OSError:
        return False


def _refuse_taken(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
