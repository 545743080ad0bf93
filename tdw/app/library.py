"""What the window remembers between starts: the project files it has seen, in the user's private folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import filelock

from tdw.private import state_folder, sweep, write_private

KEPT = 50  # files remembered; older ones drop off the list


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
        sweep(self.folder, self.folder.glob("open-*.html"))
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
