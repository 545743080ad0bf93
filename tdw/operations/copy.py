"""Copies a run consistently, also while it is being trained or analyzed."""

from __future__ import annotations

from pathlib import Path

from tdw.errors import AlreadyExistsError
from tdw.project.project import Project
from tdw.store.atomic import unused_name


def copy(path: str | Path, new: str | Path | None = None) -> Path:
    """Copy a run as of its newest commit, verifying all checksums, and return the path of the copy; the run is only read.

    new: by default the first unused one of NAME-copy.tdw, NAME-copy-2.tdw, …
    The copy has the current format and the same id: it is the same run. Raises AlreadyExistsError, CannotWriteError, DamagedFileError, and what opening a file raises.
    """
    with Project.open(path) as project:
        while True:
            there = unused_name(Path(path), "copy") if new is None else Path(new)
            try:
                project.copy_to(there)
            except AlreadyExistsError:  # another process took the name meanwhile
                if new is not None:
                    raise
            else:
                return there
