"""Which project files are in a folder."""

from __future__ import annotations

import os
from pathlib import Path


def project_files(folder: Path) -> list[str]:
    """Paths of the files `*.tdw` in a folder and its subfolders, in order.

    Hidden files and folders, whose names begin with a dot, are left out, the trash among them. Links to folders are not followed.
    """
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(root, name) for name in names if name.endswith(".tdw") and name[0] != "."]  # noqa: PTH118
    return sorted(found, key=lambda path: path.split(os.sep))  # noqa: PTH206 - a folder before its neighbors "FOLDER-2"
