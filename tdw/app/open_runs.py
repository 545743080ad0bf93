"""Project files opened in the window: one thread-safe `OpenRun` per file, shared by all tabs.

Pages identify a run by its key, a hash of the file's path, so that the same file keeps its key across reloads and server
restarts. Only a few files are kept open at a time; others are reopened when needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdw import text_format
from tdw.analyses import ANALYSES
from tdw.analyses.engine.runner import inapplicable_reason, is_stale
from tdw.app.recent_files import RecentFiles
from tdw.app.run_arrays import RunArrays
from tdw.errors import AppError, NotAProjectError, ProjectError, TdwError
from tdw.run import Run

Array = NDArray[Any]

KEPT_OPEN = 6  # files kept open, not counting those with a running job
CLOCK_RESOLUTION = 2.0  # seconds, of the coarsest file system
BACKOFF = 4  # wait this many times as long as the last failed attempt took


def key_of(path: Path) -> str:
    """The key by which pages identify a file."""
    return hashlib.sha256(str(path).encode("utf-8", "surrogatepass")).hexdigest()[:20]


def typed_path(text: str) -> Path:
    """The absolute path in typed text: surrounding quotes and spaces are removed, `~` is expanded."""
    text = text.strip().strip("'\"").strip()
    if not text:
        raise NotAProjectError("no path given: enter the path of a file, such as NAME.tdw")
    if "\0" in text:
        raise NotAProjectError("a path cannot contain a null byte: enter the path of a file, such as NAME.tdw")
    try:
        path = Path(text).expanduser().resolve()
        path.exists()  # the file system itself refuses some names
    except (OSError, RuntimeError, ValueError) as error:  # ValueError: characters that file names cannot contain
        why = (getattr(error, "strerror", None) or str(error)).rstrip(".").lower()
        raise NotAProjectError(
            f"{text[:80]!r} is not a valid path ({why}): enter the path of a file, such as NAME.tdw"
        ) from error
    return path


def about(project: Run) -> str:
    """One line about a run, for lists."""
    config = project.config
    task = "task unknown" if "task" in project.unknown else config.task
    parts = [
        task if "p" in project.unknown else f"{task} mod {config.p}",
        text_format.count(len(project.checkpoints), "checkpoint"),
        text_format.size(project.size_bytes / 1e6),
    ]
    if project.state != "finished":
        done = max(len(project.epochs) - 1, 0)
        parts[1:2] = [f"{text_format.integer(done)} of {text_format.integer(project.planned_epochs)} epochs"]
    return " · ".join(parts)


class OpenRun(RunArrays):
    """One opened project file. Every method takes the lock.

    The file may be deleted, restored, overwritten or replaced at any time: `refresh` and every response check it again.
    While it cannot be read, all methods raise the reason. It stays open while it is held, even after `close`.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.key = key_of(path)
        self._run: Run | None = Run.open(path)
        self._why: TdwError | None = None  # why it cannot be read
        self._notice = self._run.first_word
        self._generation = 0
        self.moved = False  # the file was moved away from its path
        self._gone = False  # its path does not exist
        self._refused_as: tuple[int, ...] | None = None  # stat of the file when it was refused
        self._next = 0.0
        self.closed = False
        self._holders = 0

    @property
    def project(self) -> Run:
        """The run. Raises the reason while it cannot be read."""
        if self._run is None:
            assert self._why is not None
            raise self._why.with_traceback(None)
        return self._run

    def hold(self) -> None:
        """Keep it open until `release`."""
        with self.lock:
            self._holders += 1

    def release(self) -> None:
        """Undo one `hold`."""
        with self.lock:
            self._holders -= 1
            if self.closed and not self._holders:
                self._release()

    def take_notice(self) -> str | None:
        """The notice to show when the run is opened, such as that it was checked in a sandbox. Returned once."""
        with self.lock:
            notice, self._notice = self._notice, None
            return notice

    def set_notice(self, notice: str) -> None:
        """Set the notice to show at the next opening."""
        with self.lock:
            self._notice = notice

    def refresh(self, *, asked: bool = False) -> bool:
        """Read changes of the file; True if there were any. Raises ProjectError while it cannot be read.

        asked: a user is waiting, so a file that was refused is checked again in any case. Otherwise only if it has changed,
        with a backoff: checking a file from another computer starts a sandbox process.
        """
        with self.lock:
            there = self._there()
            if self._run is None:
                if asked or self._worth_a_look(there):
                    self._come_back(there)
                return self.project is not None
            try:
                changed = self._run.refresh()
            except (TdwError, OSError) as error:
                raise self._lose(_unreadable(error), there) from error
            if self._run.generation != self._generation:
                self._generation = self._run.generation
                self._notice = self._run.first_word or self._notice
                self._contents.settle(self._run)
            return changed

    def _there(self) -> os.stat_result:
        """The stat of the file. Raises NotAProjectError if it does not exist."""
        try:
            there = self.path.stat()
        except OSError as error:
            if self._run is not None or not self._gone:
                self.moved = self._run is not None and not self._run.deleted
                self._gone = True
                self._lose(_missing(self.path, error, moved=self.moved, deleted=self._run is not None), None)
            assert self._why is not None
            raise self._why.with_traceback(None) from error
        self._gone = self.moved = False
        return there

    def _lose(self, why: TdwError, there: os.stat_result | None) -> TdwError:
        """Close the unreadable file, keeping only the content names. Returns the reason."""
        self._why = why
        # A recent file may still be written to without a change of its time: always check it again.
        young = there is None or time.time() - max(there.st_mtime, there.st_ctime) < CLOCK_RESOLUTION
        self._refused_as = None if there is None or young else _marks(there)
        if self._run is not None:
            self._run.close()
            self._run = None
        return why

    def _worth_a_look(self, there: os.stat_result) -> bool:
        return _marks(there) != self._refused_as and time.monotonic() >= self._next

    def _come_back(self, there: os.stat_result) -> None:
        begun = time.monotonic()
        try:
            run = Run.open(self.path)
        except (TdwError, OSError) as error:
            self._lose(_unreadable(error), there)
            self._next = time.monotonic() + BACKOFF * (time.monotonic() - begun)
            return
        self._run, self._why, self._generation = run, None, 0
        self._notice = run.first_word or self._notice
        self._contents.settle(run)

    def progress(self) -> dict[str, Any]:
        """The state of the run, for the events route and for the progress of jobs."""
        with self.lock:
            project = self.project
            return {
                "revision": project.revision,
                "state": project.state,
                "epochs": len(project.epochs),
                "planned_epochs": project.planned_epochs,
                "checkpoints": len(project.checkpoints),
                **self._losses(),
                "analyzed": self._analyzed(),
                "about": about(project),
            }

    def _losses(self) -> dict[str, float | None]:
        """The last recorded losses. Reads only the tail: a run may have millions of epochs."""
        tail = max(len(self.project.epochs) - self.project.config.evaluate_every - 1, 0)
        return {f"{side}_loss": _last(self.project.series(f"losses/{side}", tail)) for side in ("train", "test")}

    def _analyzed(self) -> dict[str, int]:
        """The number of checkpoints with current results of all analyses, and the number of checkpoints."""
        stored = self.project.analyses()
        per_checkpoint = [
            analysis
            for analysis in ANALYSES.values()
            if analysis.per == "checkpoint"
            and not analysis.on_request
            and not inapplicable_reason(analysis, self.project)
        ]
        rows = [
            stored[analysis.name].rows
            if analysis.name in stored and not is_stale(analysis, stored[analysis.name])
            else 0
            for analysis in per_checkpoint
        ]
        return {"done": min(rows, default=0), "total": len(self.project.checkpoints)}

    def manifest(self) -> dict[str, Any]:
        """What the viewer needs before it requests arrays."""
        from tdw import panels

        with self.lock:
            self.refresh(asked=True)
            project = self.project
            config = project.config
            keys = project.keys
            described = panels.describe(project)
            arrays = panels.array_index(project, described)
            return {
                "name": self.path.stem,
                "file": self.path.name,
                "folder": _short(self.path.parent),
                "id": project.id,
                **project.notes.to_json(),
                "state": project.state,
                "branched": None if project.branched is None else project.branched.summary(config),
                "diverged": None if project.diverged is None else project.diverged.to_json(),
                "revision": project.revision,
                "settings": config.to_json(),
                "planned_epochs": project.planned_epochs,
                "epochs": len(project.epochs),
                "checkpoints": [int(epoch) for epoch in project.checkpoints],
                "parameters": {
                    "p": config.p,
                    "heads": config.heads,
                    "d_mlp": config.d_mlp,
                    "frequencies": config.frequencies,
                    "order": config.order,
                    "network": config.network,
                    "attention_rate": config.attention_rate,
                    "activation": config.activation,
                },
                "events": [event._asdict() for event in project.events()],
                "grokking": project.grokking()._asdict(),
                "key_frequencies": None if keys is None else keys._asdict(),
                "arrays": arrays,
                "contents": self._contents.names(arrays),
                "panels": [panel.to_json() for panel in described],
            }

    def close(self) -> None:
        """Close the file as soon as it is not held."""
        with self.lock:
            self.closed = True
            if not self._holders:
                self._release()

    def _release(self) -> None:
        if self._run is not None:
            self._run.close()


class OpenRuns:
    """The opened files by key. Beyond a few, the least recently used are closed."""

    def __init__(self, recent: RecentFiles, path_of: Callable[[str], Path | None] = lambda _key: None):
        self.recent_files = recent
        self._path_of = path_of  # where the file of a key is that was not opened yet
        self._lock = threading.RLock()
        self._open: OrderedDict[str, OpenRun] = OrderedDict()
        self._paths: dict[str, Path] = {}
        self.pinned: Callable[[str], bool] = lambda _key: False  # set by `Jobs`: files with a running job stay open
        self.current: str | None = None  # shown by a new tab: the run opened last

    def open(self, path: Path) -> OpenRun:
        """Open `path` unless it is open, and put it first in the list of recent files. Raises ProjectError."""
        with self.at(path) as run:
            self.current = run.key
            with contextlib.suppress(TdwError):  # its page shows why it cannot be read, and recovers when it can
                run.refresh(asked=True)
                self.recent_files.remember(path, run.progress()["about"])
        return run

    @contextlib.contextmanager
    def using(self, key: str) -> Iterator[OpenRun]:
        """The run with this key, open while the block runs. Raises AppError for an unknown key."""
        with self.at(self.path(key)) as run:
            yield run

    @contextlib.contextmanager
    def at(self, path: Path) -> Iterator[OpenRun]:
        """The run in this file, open while the block runs. Raises ProjectError."""
        run = self._held(path, hold=True)
        try:
            yield run
        finally:
            run.release()

    def path(self, key: str) -> Path:
        """The file with this key. Raises AppError for an unknown key."""
        with self._lock:
            path = self._paths.get(key)
        if path is None:
            recent = (Path(entry.path) for entry in self.recent_files.entries())
            path = next((one for one in recent if key_of(one) == key), None) or self._path_of(key)
        if path is None:
            raise AppError("this run is not open: open its file by path")
        return path

    def announce(self, path: Path) -> str:
        """Register a file that does not exist yet, and return its key."""
        key = key_of(path)
        with self._lock:
            self._paths[key] = path
            self.current = key
        return key

    @contextlib.contextmanager
    def held(self) -> Iterator[list[OpenRun]]:
        """All open runs, kept open while the block runs."""
        with self._lock:
            runs = list(self._open.values())
            for run in runs:
                run.hold()
        try:
            yield runs
        finally:
            for run in runs:
                run.release()

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            held, self._open = list(self._open.values()), OrderedDict()
        for run in held:
            run.close()

    def _held(self, path: Path, *, hold: bool = False) -> OpenRun:
        key = key_of(path)
        with self._lock:
            run = self._open.get(key)
            if run is None:
                run = self._open[key] = OpenRun(path)
                self._paths[key] = path
            if hold:
                run.hold()
            self._open.move_to_end(key)
            spare = [k for k in self._open if k != key and not self.pinned(k)]
            excess = [self._open.pop(k) for k in spare[: max(len(self._open) - KEPT_OPEN, 0)]]
        for old in excess:
            old.close()
        return run


def _marks(there: os.stat_result) -> tuple[int, ...]:
    """Values that change when a file is changed or replaced."""
    return (there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns, there.st_ctime_ns)


def _missing(path: Path, error: OSError, *, moved: bool, deleted: bool) -> TdwError:
    """moved: it has another name; deleted: it is known to have none."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        return ProjectError(
            f"{path} cannot be accessed: {error.strerror}. This page continues as soon as it can; or open another file"
        )
    how = "moved or renamed" if moved else "deleted" if deleted else "moved, renamed or deleted"
    back, elsewhere = (
        ("Restore it", "open another file") if how == "deleted" else ("Move it back", "open it at its new path")
    )
    return NotAProjectError(
        f"{path} does not exist anymore: it was {how}. {back} and this page continues, or {elsewhere}"
    )


def _unreadable(error: Exception) -> TdwError:
    return ProjectError(
        "the file has changed and cannot be read at the moment. If it is being copied or replaced, this page continues "
        f"when that is done. Reason: {error_text(error)}"
    )


def error_text(error: Exception) -> str:
    """An error as a message for the user of the window; errors of the operating system get a path and advice."""
    if isinstance(error, NotAProjectError) and error.fact != str(error):
        return f"{error.fact} Check the path, or start a new run."
    if not isinstance(error, OSError):
        return str(error)
    where = f"{os.fsdecode(error.filename)} " if isinstance(error.filename, str | bytes) else "this file "
    why = (error.strerror or str(error) or type(error).__name__).rstrip(".")
    return f"{where}cannot be read ({why.lower()}): check the disk and the file's permissions"


def _last(values: Any) -> float | None:
    """The last value that was evaluated."""
    measured = values[np.isfinite(values)]
    return float(measured[-1]) if len(measured) else None


def _short(folder: Path) -> str:
    try:
        return str(Path("~") / folder.relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(folder)
