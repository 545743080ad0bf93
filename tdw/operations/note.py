"""`tdw note`: title, tags and remark of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tdw.errors import FileInUseError
from tdw.project import waiting_notes
from tdw.project.notes import changed
from tdw.project.project import Project
from tdw.project.records import Notes
from tdw.project.writer import ProjectWriter
from tdw.store.atomic import explained


def note(
    path: str | Path,
    *,
    title: str | None = None,
    tags: Sequence[str] | None = None,
    remark: str | None = None,
    beside: bool = True,
) -> Notes:
    """Set the given ones and return all three. Empty values ("", []) remove them.

    While another process writes to the file, they wait next to it, and that process stores them at its next commit; without `beside`,
    FileInUseError is raised instead. Raises SettingError for a text that is too long, CannotWriteError, and what opening a file raises.
    """
    given = {"title": title, "tags": None if tags is None else list(tags), "remark": remark}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if changes:
        try:
            with ProjectWriter.open(path) as writer:
                writer.set_notes(**changes)
        except FileInUseError:
            if not beside:
                raise
            with Project.open(path) as project:
                changed(project.raw_notes(), **changes)  # raises SettingError
                with explained(project.path):
                    waiting_notes.add(project.path, changes)
    with Project.open(path) as project:
        return project.notes
