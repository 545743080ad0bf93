"""What the window remembers between starts: the project files it has seen, in a private folder.

The folder is platformdirs' state folder of this user, or `$TDW_STATE_DIR`. It and everything in it is readable by its
owner alone (0700, 0600), and files are replaced whole, so that a crash leaves the old one or the new one.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from tdw.errors import AppError

KEPT = 50  # files remembered; older ones drop off the list


def state_folder() -> Path:
    """The private folder, made when it is not there. Raises AppError when it cannot be made private."""
    given = os.environ.get("TDW_STATE_DIR")
    folder = Path(given) if given else Path(platformdirs.user_state_dir("tdw", appauthor=False))
    return private_folder(folder)


def private_folder(folder: Path) -> Path:
    """`folder`, made where needed, open to its owner only."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except OSError as error:
        raise AppError(
            f"the folder for private state, {folder}, cannot be used ({error.strerror}): "
            "make it yours, or name another in TDW_STATE_DIR"
        ) from error
    return folder


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step, readable by its owner only."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made 0600
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@dataclass(frozen=True)
class Entry:
    """A project file the window has seen: where it is, one line about it, when it was last opened (Unix seconds)."""

    path: str
    about: str
    opened: float


class Library:
    """The list of known project files, newest first. Several servers may share it."""

    def __init__(self, folder: Path | None = None):
        self.folder = folder or state_folder()
        self._file = self.folder / "library.json"
        self._lock = filelock.FileLock(self.folder / "library.lock", mode=0o600)

    def entries(self) -> list[Entry]:
        """Every remembered file, last opened first, whether it is still there or not."""
        try:
            stored = json.loads(self._file.read_bytes())
        except (FileNotFoundError, ValueError):
            return []  # none yet, or not ours: a list of names is not worth refusing to start for
        names = {item.name for item in fields(Entry)}
        items = stored.get("files") if isinstance(stored, dict) else None
        if not isinstance(items, list):
            return []
        return [Entry(**item) for item in items if isinstance(item, dict) and set(item) == names]

    def remember(self, path: Path, about: str) -> None:
        """Put `path` first in the list, with one line about it."""
        new = Entry(str(path), about, time.time())
        self._change(lambda old: [new, *(item for item in old if item.path != new.path)])

    def describe(self, path: Path, about: str) -> None:
        """Change the line about `path`, leaving its place in the list."""
        self._change(lambda old: [Entry(e.path, about, e.opened) if e.path == str(path) else e for e in old])

    def forget(self, path: Path) -> None:
        """Drop `path` from the list; the file itself is not touched."""
        self._change(lambda old: [item for item in old if item.path != str(path)])

    def _change(self, change: Callable[[list[Entry]], list[Entry]]) -> None:
        with self._lock:
            stored: dict[str, Any] = {"files": [asdict(item) for item in change(self.entries())[:KEPT]]}
            write_private(self._file, json.dumps(stored, indent=1).encode())
