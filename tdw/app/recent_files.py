"""The list of recently opened project files, kept in the user's private folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tdw.app.job_records import is_number, is_path
from tdw.state_dir import (
    UnusableError,
    parsed,
    read_private,
    set_aside,
    state_folder,
    sweep,
    taking_turns,
    without_fail,
    write_private,
)

KEPT = 10_000  # entries, to bound the file: far more than are opened by hand
LIMIT = 32 << 20  # largest list, in bytes
REDIRECT_PREFIX = "tdw-open-"  # prefix of the redirect pages on disk


@dataclass(frozen=True)
class Entry:
    """A recent file: its path, one line about it, when it was last opened (Unix seconds)."""

    path: str
    about: str
    opened: float

    @classmethod
    def of(cls, stored: Any) -> Entry | None:
        """The entry in a stored JSON value; None if it is not one."""
        if not isinstance(stored, dict) or set(stored) != {"path", "about", "opened"}:
            return None
        path, about, opened = stored["path"], stored["about"], stored["opened"]
        if not is_path(path) or not isinstance(about, str) or not is_number(opened):
            return None
        return cls(path, about, float(opened))


class RecentFiles:
    """The list of recent files, last opened first. Several servers may share it.

    It is a convenience: if it cannot be read or written, a note is printed and work continues.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder or state_folder()
        sweep(self.folder, self.folder.glob(f"{REDIRECT_PREFIX}*.html"))
        self._file = self.folder / "library.json"

    def entries(self) -> list[Entry]:
        """All entries, last opened first, including files that no longer exist."""
        try:
            stored = parsed(read_private(self._file, LIMIT))
        except FileNotFoundError:
            return []
        except (UnusableError, IsADirectoryError):
            without_fail(self._file.name, partial(set_aside, self._file))
            return []
        except (OSError, ValueError):
            return []  # unreadable: start with an empty list
        items = stored.get("files") if isinstance(stored, dict) else None
        entries = map(Entry.of, items[: 2 * KEPT]) if isinstance(items, list) else ()
        return [entry for entry in entries if entry is not None]

    def remember(self, path: Path, about: str) -> None:
        """Put `path` first in the list, with one line about it."""
        new = Entry(str(path), about, time.time())
        self._change(lambda old: [new, *(item for item in old if item.path != new.path)])

    def keep(self, *paths: Path) -> None:
        """Put files that were not opened last in the list, unless they are in it."""
        new = [Entry(str(path), "", 0.0) for path in paths]

        def added(old: list[Entry]) -> list[Entry]:
            there = {item.path for item in old}
            return [*old, *(item for item in new if item.path not in there)]

        self._change(added)

    def move(self, old: Path, new: Path) -> None:
        """The file at `old` is at `new` now; its place in the list stays."""
        self._change(
            lambda entries: [
                replace(item, path=str(new)) if item.path == str(old) else item
                for item in entries
                if item.path != str(new)
            ]
        )

    def describe(self, path: Path, about: str) -> None:
        """Update the line about `path`; the order does not change."""
        self._change(lambda old: [Entry(e.path, about, e.opened) if e.path == str(path) else e for e in old])

    def forget(self, path: Path) -> None:
        """Remove `path` from the list; the file is not touched."""
        self._change(lambda old: [item for item in old if item.path != str(path)])

    def _change(self, change: Callable[[list[Entry]], list[Entry]]) -> None:
        def kept() -> None:
            with taking_turns(self.folder / "library.lock"):
                stored: dict[str, Any] = {"files": [asdict(item) for item in change(self.entries())[:KEPT]]}
                write_private(self._file, json.dumps(stored, indent=1).encode())

        without_fail("the list of recent files", kept)
