"""A new file comes into being beside its place, and gets its name when it is whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tdw.errors import AlreadyExistsError, FileInUseError
from tdw.store import filesystem
from tdw.store.build import explained
from tdw.store.claim import name_locked, refuse_existing
from tdw.store.filesystem import SYSTEM
from tdw.store.open_file import real_path
from tdw.store.temporary import room_for


@contextlib.contextmanager
def built_beside(new: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A path beside `new` at which to build a file; `new` is its name when the block ends without an error.

    Never in the place of a file that is there, even of one that appeared meanwhile, unless it may be replaced; and not
    of one that another process writes to, or is building. Nothing is left after an error.
    Raises AlreadyExistsError, FileInUseError, CannotWriteError.
    """
    real = real_path(new)
    refuse_existing(new, real, overwrite=overwrite)
    with explained(new), name_locked(new, real) as lock, room_for(real) as beside:
        try:
            refuse_existing(new, real, overwrite=overwrite)
            yield beside
            if overwrite and real.exists():
                _take_place(new, real, beside)
            else:
                SYSTEM.name(beside, real)
            SYSTEM.sync_folder(real.parent)
        except FileExistsError:
            raise AlreadyExistsError(f"{new} is there already and was left as it is: give another name.") from None
        finally:
            lock.release()


def _take_place(new: Path, real: Path, beside: Path) -> None:
    old, fd = filesystem.open_to_read(real), filesystem.open_to_read(beside)
    try:
        if filesystem.is_locked_for_writing(old):
            raise FileInUseError(f"{new} is being written to by another process: wait, or give another name.")
        filesystem.keep_attributes(old, fd)
        SYSTEM.replace(beside, real)
    finally:
        SYSTEM.close(old)
        SYSTEM.close(fd)
