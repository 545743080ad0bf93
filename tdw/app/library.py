"""The library: every run that the window knows. These are the files that were opened before, and all project files in the
folders that the user has added.

A thread looks at the files while pages are open, about once a second, and reads the rows of those that have changed; see
`tdw.statistics.index` for what is kept from last time. A file that has vanished stays in the library until it is forgotten. If
its run appears under another path, that is the same run, moved.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tdw import config
from tdw.app.job_records import is_path
from tdw.app.open_runs import key_of
from tdw.app.recent_files import RecentFiles
from tdw.errors import AppError, NotAProjectError
from tdw.project.listing import project_files
from tdw.state_dir import parsed, read_private, taking_turns, write_private
from tdw.statistics import entries, index
from tdw.statistics.index import Entry, Identity

PERIOD = 0.8  # seconds between two looks at the files
SHARE = 0.1  # of the time that may go into looking
BATCH = 50  # files that are read before the page is told
SAVE_EVERY = 5.0  # seconds between two writes of an index
LIMIT = 1 << 20  # bytes of the list of folders
MOST_FOLDERS = 200
IDLE = 10.0  # seconds after the last question until the files are left alone
BUSY = 30.0  # seconds after its last change for which a file may belong to a running job
MOVING = 60.0  # seconds that moving a file to another disk may take, from its first appearance there
KNOWN = Path("known files")  # under which the index of single files is kept
CHANGED = 3  # place of the time of the last change in an identity

log = logging.getLogger(__name__)


@dataclass
class Shown:
    """A run in the library. seen: what the file was when its entry was read; number: of the last change of this line."""

    path: str
    entry: Entry = field(default_factory=dict)
    seen: Identity | None = None
    gone: bool = False
    number: int = 0
    cost: float = 0.0  # seconds that reading took
    read: float = -math.inf  # when it was read
    folder: str | None = None  # the added folder that it lies in
    since: float = -math.inf  # when it was first seen, unless it was known before


class Library:
    """The runs that the window knows, as lines that pages draw. Thread-safe."""

    def __init__(self, recent: RecentFiles):
        self.recent_files = recent
        self._file = recent.folder / "folders.json"
        self._lock = threading.RLock()
        self._shown: dict[str, Shown] = {}
        self._removed: dict[str, int] = {}  # key -> number of the change
        self._moved: dict[str, str] = {}  # old key -> new key
        self._number = 0
        self._complete = False  # every file was looked at once
        self._missing: set[str] = set()  # folders that are not there
        self._indexes: dict[Path, dict[str, Entry]] = {}
        self._saved: dict[Path, tuple[float, frozenset[tuple[str, str]]]] = {}
        self._asked = -math.inf
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.changed: Callable[[], None] = lambda: None  # called after changes

    # ---- folders ----------------------------------------------------------------------------------------------------

    def folders(self) -> list[str]:
        """The added folders, in the order in which they were added."""
        try:
            stored = parsed(read_private(self._file, LIMIT))
        except (OSError, ValueError):
            return []
        listed = stored.get("folders") if isinstance(stored, dict) else None
        return [path for path in listed if is_path(path)] if isinstance(listed, list) else []

    def add_folder(self, path: Path) -> None:
        """List the project files in a folder and its subfolders from now on. Raises NotAProjectError, AppError."""
        if not path.is_dir():
            raise NotAProjectError(f"{path} is not a folder: give a folder with project files (*.tdw)")
        if not os.access(path, os.R_OK | os.X_OK):
            raise AppError(f"folder {path} cannot be read: change its permissions, or choose another")
        old = self.folders()
        if str(path) not in old and len(old) >= MOST_FOLDERS:
            raise AppError(f"{MOST_FOLDERS} folders are listed already: remove one, or add a folder that holds several")
        self._change(lambda old: old if str(path) in old else [*old, str(path)])

    def remove_folder(self, path: Path) -> None:
        """Stop listing the project files in a folder, except those that were opened. The folder is not touched. Raises AppError."""
        self._change(lambda old: [item for item in old if item != str(path)])

    def _change(self, change: Callable[[list[str]], list[str]]) -> None:
        """Change the stored list. Raises AppError if it cannot be saved: unlike recent files, folders are added on purpose."""
        try:
            with taking_turns(self.recent_files.folder / "folders.lock"):
                write_private(self._file, json.dumps({"folders": change(self.folders())}, indent=1).encode())
        except OSError as error:
            raise AppError(
                f"the list of folders cannot be saved in {self._file.parent} ({(error.strerror or str(error)).lower()}): "
                "free some disk space, or check the folder's permissions"
            ) from error
        with self._lock:
            self._next()
            self._complete = False
        self.nudge()

    # ---- what pages are told ----------------------------------------------------------------------------------------

    def look(self) -> dict[str, Any]:
        """The state of the library in short, for the event stream; keeps the files watched."""
        self._asked = time.monotonic()
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._watch, name="tdw-library", daemon=True)
                self._thread.start()
            return {"type": "library", "number": self._number, "complete": self._complete}

    def changes(self, since: int = -1) -> dict[str, Any]:
        """The lines that changed after change number `since`: all of them for -1."""
        from tdw.statistics.rows import columns

        names = columns()
        with self._lock:
            lines = [self._line(one, names) for one in self._shown.values() if one.number > since]
            return {
                "number": self._number,
                "complete": self._complete,
                "columns": names,
                "settings": [item.name for item in config.settings()],
                "lines": lines,
                "removed": [key for key, number in self._removed.items() if number > since],
                "moved": dict(self._moved),
                "folders": [{"path": path, "there": path not in self._missing} for path in self.folders()],
            }

    def path_of(self, key: str) -> Path | None:
        """The file with this key."""
        with self._lock:
            return next((Path(path) for path in self._shown if key_of(Path(path)) == key), None)

    def busy(self) -> list[Path]:
        """Files that were changed lately, by a running job perhaps."""
        since = (time.time() - BUSY) * 1e9
        with self._lock:
            return [
                Path(p) for p, one in self._shown.items() if one.seen and not one.gone and one.seen[CHANGED] > since
            ]

    def forget(self, path: Path) -> None:
        """Remove a file from the library; the file is not touched. One in an added folder comes back when it is there."""
        with self._lock:  # a look that is under way may just be adding it to the recent files
            self.recent_files.forget(path)
            if str(path) in self._shown:
                self._drop(str(path))
        self.nudge()

    def renamed(self, old: Path, new: Path) -> None:
        """A file that was renamed here keeps its place."""
        with self._lock:
            self.recent_files.move(old, new)
            self._moved[key_of(old)] = key_of(new)
            if str(old) in self._shown:
                self._drop(str(old))
        self.nudge()

    def nudge(self) -> None:
        """Look at the files now, because something was just done."""
        self._wake.set()

    def close(self) -> None:
        """Stop looking."""
        self._closed = True
        self._wake.set()

    @staticmethod
    def _line(one: Shown, names: tuple[str, ...]) -> dict[str, Any]:
        path = Path(one.path)
        row = one.entry.get("row")
        return {
            "key": key_of(path),
            "path": one.path,
            "name": path.stem,
            "folder": one.folder,
            "gone": one.gone,
            "problem": one.entry.get("problem"),
            "changed": one.seen[CHANGED] / 1e9 if one.seen else None,
            "losses": one.entry.get("losses") or {},
            "values": None if row is None else [_plain(row[name]) for name in names],
        }

    # ---- looking at the files ---------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while True:
            self._wake.clear()
            begun = time.monotonic()
            try:
                self.scan()
            except Exception:
                log.exception("looking at the files of the library failed")
            spent = time.monotonic() - begun
            with self._lock:
                if self._closed or time.monotonic() - self._asked > IDLE + spent:
                    self._thread = None
                    return
            self._wake.wait(max(PERIOD, spent / SHARE - spent))

    def scan(self) -> None:
        """Look at all files once, and read the rows of those that have changed."""
        found, missing = self._files()
        with self._lock:
            self._missing = missing
            vanished = self._vanished(found, missing)
            unread = [path for path, (now, _) in found.items() if self._is_due(path, now)]
            for path, (_, folder) in found.items():
                if path in self._shown:
                    self._shown[path].folder = folder
        for start in range(0, len(unread), BATCH):
            if self._closed:
                return
            batch = {path: found[path][0] for path in unread[start : start + BATCH]}
            begun = time.perf_counter()
            kept = {path: entry for path, now in batch.items() if (entry := self._kept(path, found[path][1], now))}
            fresh = entries.fresh({path: now for path, now in batch.items() if path not in kept})
            cost = (time.perf_counter() - begun) / max(len(fresh), 1)
            with self._lock:
                for path, entry in {**kept, **fresh}.items():
                    self._settle(path, found[path], entry, cost)
            self.changed()
        self._recognize()
        with self._lock:
            first, self._complete = not self._complete, True
            if first:
                self._next()
        if first or vanished:
            self.changed()
        self._save()

    def _files(self) -> tuple[dict[str, tuple[Identity, str | None]], set[str]]:
        """All files of the library that are there, each with its identity and the folder that it was found in, and the
        folders that are not there. A file with several names has the first.
        """
        missing = set()
        found: dict[str, tuple[Identity, str | None]] = {}
        inodes = set()

        def take(path: str, folder: str | None) -> None:
            try:
                now = index.identity(Path(path))
            except OSError:
                return
            if tuple(now[:2]) not in inodes:
                inodes.add(tuple(now[:2]))
                found[path] = now, folder

        for entry in self.recent_files.entries():
            take(entry.path, None)
        for folder in self.folders():
            if not os.path.isdir(folder):  # noqa: PTH112 - a stored path
                missing.add(folder)
                continue
            for path in project_files(Path(folder))[0]:
                if path in found:
                    found[path] = found[path][0], folder
                else:
                    take(path, folder)
        return found, missing

    def _vanished(self, found: dict[str, Any], missing: set[str]) -> list[Shown]:
        """Mark the files that have vanished, and drop those of removed folders; returns those newly marked."""
        known = {entry.path for entry in self.recent_files.entries()}
        folders = set(self.folders())
        for path in known - self._shown.keys() - found.keys():
            old = self._remembered(path, folders) or {}
            self._shown[path] = Shown(path, {name: old[name] for name in ("row", "losses") if name in old})
        vanished = []
        for path, one in list(self._shown.items()):
            if path in found:
                continue
            listed = one.folder in folders
            if path not in known and not listed:
                self._drop(path)
            elif not one.gone:
                one.gone, one.number = True, self._next()
                vanished.append(one)
                if one.folder not in missing:
                    one.folder = None
        # So that none is forgotten silently. The files of a folder that is not there are listed again when it is.
        unkept = [Path(one.path) for one in vanished if one.folder is None and one.path not in known]
        if unkept:
            self.recent_files.keep(*unkept)
        return vanished

    def _recognize(self) -> None:
        """Give the place of files that have vanished to new ones that hold the same run. A copy that was there before is not
        the moved file.
        """
        with self._lock:
            gone = {
                one.entry["row"]["id"]: path for path, one in self._shown.items() if one.gone and "row" in one.entry
            }
            before = len(gone)
            for path, one in list(self._shown.items()):
                is_new = not one.gone and time.monotonic() - one.since < MOVING
                old = gone.get(one.entry.get("row", {}).get("id")) if is_new else None
                if old is None:
                    continue
                self.recent_files.move(Path(old), Path(path))
                self._moved[key_of(Path(old))] = key_of(Path(path))
                self._drop(old)
                del gone[one.entry["row"]["id"]]
        if len(gone) < before:
            self.changed()

    def _is_due(self, path: str, now: Identity) -> bool:
        """Whether a file is to be read: it is new, has changed, or could not be relied on when it was read last."""
        one = self._shown.get(path)
        if one is None or one.gone:
            return True
        since = time.monotonic() - one.read
        if one.seen != now:
            return since > one.cost / SHARE
        return "identity" not in one.entry and index.is_settled(now) and since > SAVE_EVERY + one.cost / SHARE

    def _kept(self, path: str, folder: str | None, now: Identity) -> Entry | None:
        """What the index has of a file, if that is still the same."""
        entry = self._remembered(path, [folder] if folder else [])
        return entry if entry is not None and entry.get("identity") == now else None

    def _remembered(self, path: str, folders: Iterable[str]) -> Entry | None:
        """What the indexes have of a file, that of the single files first."""
        entry = self._index(KNOWN).get(path)
        for folder in folders:
            if entry is None and Path(path).is_relative_to(folder):
                entry = self._index(Path(folder)).get(os.path.relpath(path, folder))
        return entry

    def _index(self, folder: Path) -> dict[str, Entry]:
        if folder not in self._indexes:
            self._indexes[folder] = index.load(folder)
        return self._indexes[folder]

    def _settle(self, path: str, found: tuple[Identity, str | None], entry: Entry, cost: float) -> None:
        if not os.path.lexists(path):
            return  # renamed or deleted since this look began: the next one sees what is there
        now, folder = found
        if path not in self._shown:
            is_known = self._remembered(path, [folder] if folder else []) is not None
            self._shown[path] = Shown(path, since=-math.inf if is_known else time.monotonic())
        one = self._shown[path]
        self._removed.pop(key_of(Path(path)), None)
        one.entry, one.seen, one.gone, one.folder = entry, now, False, folder
        one.cost, one.read, one.number = cost, time.monotonic(), self._next()

    def _drop(self, path: str) -> None:
        del self._shown[path]
        self._removed[key_of(Path(path))] = self._next()

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _save(self) -> None:
        """Write the indexes whose entries have changed. What may not be kept is read again next time."""
        for folder, kept in self._by_folder():
            marks = frozenset((name, str(entry["identity"])) for name, entry in kept.items())
            when, before = self._saved.get(folder, (-math.inf, frozenset()))
            if marks != before and (time.monotonic() - when > SAVE_EVERY or self._closed):
                index.save(folder, kept)
                self._saved[folder] = time.monotonic(), marks

    def _by_folder(self) -> Iterator[tuple[Path, dict[str, Entry]]]:
        with self._lock:
            shown = list(self._shown.values())
        known = {one.path: one.entry for one in shown if one.folder is None and "identity" in one.entry}
        yield KNOWN, known
        for folder in {one.folder for one in shown if one.folder}:
            own = (one for one in shown if one.folder == folder and not one.gone and "identity" in one.entry)
            yield Path(folder), {os.path.relpath(one.path, folder): one.entry for one in own}


def _plain(value: Any) -> Any:
    """A value as JSON has it, which knows no infinities."""
    if isinstance(value, float) and not math.isfinite(value):
        return "inf" if value > 0 else "-inf" if value < 0 else None
    return value
