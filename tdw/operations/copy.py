"""Copies a run consistently, also while it is being trained or analyzed."""

from __future__ import annotations

from pathlib import Path

from tdw.project.project import Project


def copy(path: str | Path, new: str | Path) -> None:
    """Copy a run as of its newest commit, verifying all checksums; the run itself is only read.

    The copy has the current format and the same id. Raises AlreadyExistsError, CannotWriteError, DamagedFileError, and what opening a file raises.
    """
    with Project.open(path) as project:
        project.copy_to(Path(new))
