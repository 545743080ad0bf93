"""`tdw verify`: verify all checksums of a project file."""

from __future__ import annotations

from pathlib import Path

from tdw.operations.recover import damage


def verify(path: str | Path) -> list[str]:
    """The damage as sentences; empty if all checksums match. Also works for files that cannot be opened.

    Raises NotAProjectError if the path is not a project file, DamagedFileError if nothing in it can be read.
    """
    return damage(path)
