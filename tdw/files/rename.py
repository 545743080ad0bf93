"""`tdw rename`: another name or folder for a run."""

from __future__ import annotations

import os
from pathlib import Path

from tdw.errors import AlreadyExistsError, TdwError
from tdw.files.moving import destination, move_run
from tdw.store.filesystem import same_file
from tdw.store.move import unwritten
from tdw.store.open_file import real_path
from tdw.sweeps import manifest


def rename(path: str | Path, new: str | Path) -> Path:
    """Rename a run, and return its new path. Notes that wait for a writer move with it; a sweep knows it by its new name.

    new: a name, with or without .tdw, which stays in the folder of the run; a path on the same file system; or a folder
    A file is never replaced. Raises NotAProjectError, FileInUseError while another process writes to it,
    AlreadyExistsError, and CannotWriteError for a name that cannot be used and for another file system.
    """
    old = Path(path)
    with unwritten(old) as real:
        given = destination(old, new)
        target = real_path(given.parent) / given.name
        if target == real:
            return given
        if os.path.lexists(target) and not same_file(target.lstat(), real.lstat()):
            raise AlreadyExistsError(given)
        manifest.renames(real, target)
        try:
            move_run(real, target, given)
        except TdwError:
            if real.exists() and not target.exists():
                manifest.renames(target, real) if target.parent == real.parent else manifest.arrives(
                    real, restored=real.name
                )
            raise
    return given
