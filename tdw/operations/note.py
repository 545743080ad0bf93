"""`tdw note`: title, tags and remark of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tdw.project.project import Project
from tdw.project.records import Notes
from tdw.project.writer import ProjectWriter


def note(
    path: str | Path, *, title: str | None = None, tags: Sequence[str] | None = None, remark: str | None = None
) -> Notes:
    """Set the given ones and return all three. Empty values ("", []) remove them.

    Raises FileInUseError if a job is writing to the file, SettingError for a text that is too long, and what opening a
    file raises.
    """
    if (title, tags, remark) != (None, None, None):
        with ProjectWriter.open(path) as writer:
            writer.set_notes(title, None if tags is None else list(tags), remark)
    with Project.open(path) as project:
        return project.notes
