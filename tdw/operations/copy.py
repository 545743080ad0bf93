"""A copy of a run, whole and consistent, also while it is trained or analyzed."""

from __future__ import annotations

from pathlib import Path

from tdw.project.project import Project


def copy(path: str | Path, new: str | Path) -> None:
    """Make a copy of a run as of its newest commit; the run itself is only read.

    Every byte is compared with its checksum on the way. The copy is a file of its own, of the present format, with the
    same id. Raises AlreadyExistsError, CannotWriteError, DamagedFileError, and what opening a file raises.
    """
    with Project.open(path) as project:
        project.copy_to(Path(new))
