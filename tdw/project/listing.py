"""Which project files are in a folder, for everything that works on many runs."""

from __future__ import annotations

import os
from pathlib import Path


def project_files(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Paths of the files `*.tdw` in a folder and its subfolders, in order, and those that are links to files outside of it, by path with the
    reason why they are left out.

    Names that begin with a dot are left out, and links to folders are not followed, so that nothing outside of the folder is read or trained.
    """
    found: list[str] = []
    outside: dict[str, str] = {}
    real = os.path.realpath(folder)
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = os.path.join(root, name)  # noqa: PTH118
            if not name.endswith(".tdw") or name[0] == ".":
                continue
            if (there := leads_outside(path, real)) is None:
                found.append(path)
            else:
                outside[path] = f"{path} is a link to {there}, which is outside of the folder: it is left out."
    return sorted(found, key=_order), {path: outside[path] for path in sorted(outside, key=_order)}


def leads_outside(path: str, folder: str) -> str | None:
    """Where a file really is, if it is a link to one outside of this folder, given by its real path; else None."""
    if not os.path.islink(path):  # noqa: PTH114
        return None
    there = os.path.realpath(path)
    return None if there.startswith(os.path.join(folder, "")) else there  # noqa: PTH118


def _order(path: str) -> list[str]:
    return path.split(os.sep)  # noqa: PTH206 - a folder before its neighbors "FOLDER-2"
