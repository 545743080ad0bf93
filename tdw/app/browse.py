"""What the folder browser and the completion of the path field show: the folders and runs in one folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tdw.app import auto_import
from tdw.app.open_runs import typed_path
from tdw.errors import AppError, NotAProjectError

MOST = 500  # names of each kind


def listing(text: str) -> dict[str, Any]:
    """The contents of a folder, the home folder for "".

    Returns {"path", "parent", "home", "folders": names, "files": names of files that can be opened, "more": whether some were
    left out}. Hidden names are left out. Raises NotAProjectError or AppError if it is not a folder that can be read.
    """
    path = typed_path(text or "~")
    folders, files = [], []
    try:
        with os.scandir(path) as found:
            for item in found:
                if item.name.startswith("."):
                    continue
                if _is_folder(item):
                    folders.append(item.name)
                elif item.name.endswith(".tdw") or auto_import.is_foreign(Path(item.name)):
                    files.append(item.name)
    except NotADirectoryError:
        raise NotAProjectError(f"{path} is a file: choose a folder") from None
    except FileNotFoundError:
        raise NotAProjectError(f"folder {path} does not exist: choose another") from None
    except OSError as error:
        raise AppError(f"folder {path} cannot be read ({(error.strerror or 'unknown error').lower()})") from error
    return {
        "path": str(path),
        "parent": None if path.parent == path else str(path.parent),
        "home": str(Path.home()),
        "folders": sorted(folders, key=str.casefold)[:MOST],
        "files": sorted(files, key=str.casefold)[:MOST],
        "more": max(len(folders), len(files)) > MOST,
    }


def _is_folder(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_dir()
    except OSError:
        return False
