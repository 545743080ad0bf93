"""Copy a run consistently, even while it is being trained or analyzed."""

from __future__ import annotations

from pathlib import Path

from tdw.project.project import Project


def copy(path: str | Path, new: str | Path) -> None:
    """Copy a run as of its latest commit. The original is not modified.

    All checksums are verified. The copy has the same id and the current file format.
    Raises AlreadyExistsError, CannotWriteError, DamagedFileError, and what opening a file raises.
    """
    with Project.open(path) as project:
        project.copy_to(Path(new))
