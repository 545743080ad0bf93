"""What `tdw open` was given: files, patterns in quotes, folders."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from tdw.app import auto_import
from tdw.errors import NotAProjectError
from tdw.project.listing import project_files


def files_and_folders(given: Iterable[str | Path]) -> tuple[list[Path], list[Path]]:
    """The files and the folders of runs in what was given, each once, in order.

    A path that does not exist may be a pattern, such as `runs/*.tdw` or `**/*seed=3*`. A folder without project files may be a run of
    another program, which counts as a file. Raises NotAProjectError for a pattern without matches, and for a folder without runs.
    """
    files: dict[Path, None] = {}
    folders: dict[Path, None] = {}
    for item in given:
        for path in _matches(os.fspath(item)):
            if not path.is_dir():
                files[path] = None
            elif project_files(path)[0]:
                folders[path] = None
            elif auto_import.is_foreign(path):
                files[path] = None
            else:
                raise NotAProjectError(
                    f"{path} is a folder without project files (*.tdw): give one that has some, or a project file."
                )
    return list(files), list(folders)


def _matches(text: str) -> list[Path]:
    if os.path.lexists(text) or not glob.has_magic(text):
        return [Path(text)]
    found = sorted(Path(name) for name in glob.glob(text, recursive=True))  # noqa: PTH207 - it leaves hidden ones out
    # Of what a wide pattern finds, only what can be a run: its other files were not meant.
    runs = [path for path in found if path.suffix == ".tdw"] or found
    if not runs:
        raise NotAProjectError(f"no file matches {text}: give a project file, a folder, or another pattern in quotes.")
    return runs
