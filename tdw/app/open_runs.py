"""Project files opened in the window: one `OpenRun` per file, shared by every tab, safe between threads.

A run is known to pages by its key, an opaque name made from the file's path, so that a page that is reloaded, or a
server started again, means the same file by it. Few files are held open at a time; the others open again when needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdw.analyses import ANALYSES
from tdw.analyses.engine.runner import is_stale, unfit
from tdw.app.contents import Contents
from tdw.app.recent_files import Library
from tdw.app.rows import Rows
from tdw.errors import AppError, NotAProjectError, ProjectError, SettingError, TdwError, UnknownNameError
from tdw.network import closed_form
from tdw.panels import reductions
from tdw.run import Run

Array = NDArray[Any]

MOST_NEURONS = 1024  # whose tables one answer brings; the page asks for those in view
HELD = 6  # files held open at a time, those with a job not counted
YOUNG = 2.0  # seconds, the coarsest clock of a file system
PATIENCE = 4  # times as long as it took to find a file unreadable is waited before it is looked at again


def key_of(path: Path) -> str:
    """The name pages know a file by."""
    return hashlib.sha256(str(path).encode("utf-8", "surrogatepass")).hexdigest()[:20]


def typed_path(text: str) -> Path:
    """The absolute path someone meant by `text`: quotes and spaces around it are dropped, `~` is home."""
    text = text.strip().strip("'\"").strip()
    if not text:
        raise NotAProjectError("no path was given: type or paste the path of a project file (NAME.tdw)")
    if "\0" in text:
        raise NotAProjectError("a path cannot contain a zero byte: type or paste the path of a project file (NAME.tdw)")
    try:
        path = Path(text).expanduser().resolve()
        path.exists()  # some names are refused by the file system alone
    except (OSError, RuntimeError, ValueError) as error:  # ValueError: characters that no name of a file can have
        why = (getattr(error, "strerror", None) or str(error)).rstrip(".").lower()
        raise NotAProjectError(
            f"{text[:80]!r} is not a usable path ({why}): give that of a project file (NAME.tdw)"
        ) from error
    return path


def about(project: Run) -> str:
    """One line about a run, for lists."""
    config = project.config
    size, kept = project.size_bytes / 1e6, len(project.checkpoints)
    unknown = (project.imported or {}).get("unknown", [])
    learnt = "task not known" if "task" in unknown else config.task
    parts = [
        learnt if "p" in unknown else f"{learnt} mod {config.p}",
        f"{kept} checkpoint{'s' if kept != 1 else ''}",
        f"{size:.0f} MB",
    ]
    if project.state != "finished":
        done = max(len(project.epochs) - 1, 0)
        parts[1:2] = [f"{done:,} of {project.planned_epochs:,} epochs".replace(",", "\u202f")]
    return " · ".join(parts)


class OpenRun:
    """One opened project file. Every method takes the lock, so threads take turns.

    The file may go, come back, be written over or be another one: it is looked at again by `refresh` and before every
    answer. While it cannot be read all of them raise why.
    It stays open while somebody holds it, also when it was closed meanwhile.
    """

    def __init__(self, path: Path):
        self.path = path
        self.key = key_of(path)
        self.lock = threading.RLock()
        self._run: Run | None = Run.open(path)
        self._why: TdwError | None = None  # it cannot be read
        self._word = self._run.first_word
        self._contents = Contents()
        self._generation = 0
        self.moved = False  # the file is not at its path, but has another name
        self._gone = False  # nothing is at its path
        self._refused_as: tuple[int, ...] | None = None  # what the file was like when it was refused
        self._next = 0.0
        self.closed = False
        self._holders = 0

    @property
    def project(self) -> Run:
        """The run. Raises why it cannot be read at the moment."""
        if self._run is None:
            assert self._why is not None
            raise self._why.with_traceback(None)
        return self._run

    def hold(self) -> None:
        """Keep it open until `release`."""
        with self.lock:
            self._holders += 1

    def release(self) -> None:
        """Let it be closed."""
        with self.lock:
            self._holders -= 1
            if self.closed and not self._holders:
                self._let_go()

    def first_word(self) -> str | None:
        """What is to be said at the first opening of a run from elsewhere: once, then never again."""
        with self.lock:
            word, self._word = self._word, None
            return word

    def say(self, word: str) -> None:
        """Have this said at the next opening, once."""
        with self.lock:
            self._word = word

    def refresh(self, *, asked: bool = False) -> bool:
        """Take in what became of the file since; True when anything did. Raises ProjectError while it cannot be read.

        asked: someone waits for the answer, so that a file that was refused is looked at again in any case. Else that is
        done when it has changed, and not all the time: examining a file of somebody else takes a process of its own.
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
                self._word = self._run.first_word or self._word
                self._contents.settle(self._run)
            return changed

    def _there(self) -> os.stat_result:
        """The file as the system describes it. Raises NotAProjectError where there is none."""
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
        """The file cannot be read: of it nothing is kept but what pages were sent. Returns why."""
        self._why = why
        # Bytes may still be written with the same time on them: a file that is so young is looked at again in any case.
        young = there is None or time.time() - max(there.st_mtime, there.st_ctime) < YOUNG
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
            self._next = time.monotonic() + PATIENCE * (time.monotonic() - begun)
            return
        self._run, self._why, self._generation = run, None, 0
        self._word = run.first_word or self._word
        self._contents.settle(run)

    def progress(self) -> dict[str, Any]:
        """Where the run stands: what the events route sends, and what a job's progress is read from."""
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
        """The losses measured last. Only the tail is read: a run may have millions of epochs."""
        tail = max(len(self.project.epochs) - self.project.config.evaluate_every - 1, 0)
        return {f"{side}_loss": _last(self.project.series(f"losses/{side}", tail)) for side in ("train", "test")}

    def _analyzed(self) -> dict[str, int]:
        """How many checkpoints every analysis has current results of, and how many there are."""
        stored = self.project.analyses()
        per_checkpoint = [
            item for item in ANALYSES.values() if item.per == "checkpoint" and not unfit(item, self.project)
        ]
        rows = [
            stored[item.name].rows if item.name in stored and not is_stale(item, stored[item.name]) else 0
            for item in per_checkpoint
        ]
        return {"done": min(rows, default=0), "total": len(self.project.checkpoints)}

    def manifest(self) -> dict[str, Any]:
        """What the viewer needs to know before it fetches arrays."""
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
                **project.notes,
                "state": project.state,
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
                    "activation": config.activation,
                },
                "events": [event._asdict() for event in project.events()],
                "grokking": project.grokking()._asdict(),
                "key_frequencies": None if keys is None else keys._asdict(),
                "arrays": arrays,
                "contents": self._contents.names(arrays),
                "panels": [panel.to_json() for panel in described],
            }

    def array(self, name: str, start: int) -> Rows:
        """The committed rows of an array from `start` on, little-endian. Raises UnknownNameError, AppError for too much."""
        with self.lock:
            self.refresh()
            entry = reductions.entry(self.project, name)
            if entry is None:
                raise UnknownNameError("stored array", name, self.project.array_index())
            rows, *shape = entry["shape"]
            dtype = np.dtype(entry["dtype"])
            same = self._unchanged(name)

        def read(begin: int, end: int) -> Array:
            with self.lock:
                same()
                found = reductions.series(self.project, name, begin, end)
                self._contents.sent(name, begin, found)
                return np.ascontiguousarray(found, dtype=dtype)

        return Rows(name, min(start, rows), rows, math.prod(shape) * dtype.itemsize, read)

    def neurons(self, ids: Sequence[int], start: int = 0) -> Rows:
        """Float32 (checkpoint, neuron, 1 + 2 routes p): the closed form of the chosen neurons' maps. Raises AppError,
        SettingError.
        """
        with self.lock:
            self.refresh()
            config, kept = self.project.config, len(self.project.checkpoints)
        if len(ids) > MOST_NEURONS or len(set(ids)) < len(ids):
            raise AppError(f"ids names {len(ids)} neurons: give up to {MOST_NEURONS}, each once")
        for neuron in ids:
            if not 0 <= neuron < config.d_mlp:
                raise SettingError("neuron", f"neuron {neuron} does not exist: give 0 to {config.d_mlp - 1}")
        width = 1 + 2 * closed_form.routes(config) * config.p
        read = self._of_checkpoints(lambda weights: closed_form.neuron_tables(weights, ids))
        return Rows("what these neurons' maps are made of", min(start, kept), kept, len(ids) * width * 4, read)

    def scores(self, start: int = 0) -> Rows:
        """Float32 (checkpoint, …): the scores that all neurons share, see `Project.attention_scores`. Raises AppError."""
        with self.lock:
            self.refresh()
            config, kept = self.project.config, len(self.project.checkpoints)
        width = math.prod(closed_form.score_shape(config))
        read = self._of_checkpoints(closed_form.attention_scores)
        return Rows("the attention scores", min(start, kept), kept, width * 4, read)

    def _of_checkpoints(self, measure: Callable[[closed_form.Weights], Array]) -> Callable[[int, int], Array]:
        """What reads a measure of checkpoints begin to end."""
        same = self._unchanged()

        def read(begin: int, end: int) -> Array:
            with self.lock:
                same()
                found = [measure(self.project.weights_at(row)) for row in range(begin, end)]
                self._contents.sent_weights(self.project)
            return np.ascontiguousarray(found, dtype="<f4")

        return read

    def _unchanged(self, name: str = "checkpoints/epoch") -> Callable[[], None]:
        """What raises AppError once an array has other content than now: the file was exchanged, or computed again."""
        with self.lock:
            generation, entry = self.project.generation, reductions.entry(self.project, name)

        def check() -> None:
            now = reductions.entry(self.project, name)
            same = now is not None and entry is not None and now["version"] == entry["version"]
            if self.project.generation != generation or not same:
                raise AppError(f"{self.path.name} changed while it was being read: reload the page")

        return check

    def close(self) -> None:
        """Let go of the file, as soon as nobody holds it."""
        with self.lock:
            self.closed = True
            if not self._holders:
                self._let_go()

    def _let_go(self) -> None:
        if self._run is not None:
            self._run.close()


class Runs:
    """The opened files by key; the least recently used beyond a few are closed."""

    def __init__(self, library: Library):
        self.library = library
        self._lock = threading.RLock()
        self._open: OrderedDict[str, OpenRun] = OrderedDict()
        self._paths: dict[str, Path] = {}
        self.pinned: Callable[[str], bool] = lambda _key: False  # set by the jobs: files with one stay open
        self.current: str | None = None  # what a new tab shows: the run opened last

    def open(self, path: Path) -> OpenRun:
        """Open `path`, or find it open, and put it first in the library. Raises ProjectError for a file that never was."""
        with self.at(path) as run:
            self.current = run.key
            with contextlib.suppress(TdwError):  # it cannot be read now: its page says so, and goes on when it can be
                run.refresh(asked=True)
                self.library.remember(path, run.progress()["about"])
        return run

    @contextlib.contextmanager
    def using(self, key: str) -> Iterator[OpenRun]:
        """The run of `key`, opened again where needed, and open as long as the block lasts. Raises AppError for a key
        nobody was given.
        """
        with self.at(self.path(key)) as run:
            yield run

    @contextlib.contextmanager
    def at(self, path: Path) -> Iterator[OpenRun]:
        """The run in a file, likewise. Raises ProjectError."""
        run = self._held(path, hold=True)
        try:
            yield run
        finally:
            run.release()

    def path(self, key: str) -> Path:
        """The file behind `key`."""
        with self._lock:
            found = self._paths.get(key)
        if found is None:
            found = next((Path(e.path) for e in self.library.entries() if key_of(Path(e.path)) == key), None)
        if found is None:
            raise AppError("this run is not open: open its file by path")
        return found

    def announce(self, path: Path) -> str:
        """Give out the key of a file that is not there yet, and return it."""
        key = key_of(path)
        with self._lock:
            self._paths[key] = path
            self.current = key
        return key

    @contextlib.contextmanager
    def held(self) -> Iterator[list[OpenRun]]:
        """The runs open at the moment, and open as long as the block lasts."""
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
        """Let go of every file."""
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
            excess = [self._open.pop(k) for k in spare[: max(len(self._open) - HELD, 0)]]
        for old in excess:
            old.close()
        return run


def _marks(there: os.stat_result) -> tuple[int, ...]:
    """What differs when a file does."""
    return (there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns, there.st_ctime_ns)


def _missing(path: Path, error: OSError, *, moved: bool, deleted: bool) -> TdwError:
    """moved: it has another name now; deleted: else it is known to have none."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        return ProjectError(
            f"{path} cannot be reached: {error.strerror}. This page goes on as soon as it can be; or open another file"
        )
    how = "moved or renamed" if moved else "deleted" if deleted else "moved, renamed or deleted"
    back, elsewhere = (
        ("Put a copy in its place", "open another file")
        if how == "deleted"
        else ("Put it back", "open it where it is now")
    )
    return NotAProjectError(f"{path} is not there any more: it was {how}. {back} and this page goes on, or {elsewhere}")


def _unreadable(error: Exception) -> TdwError:
    return ProjectError(
        "the file has changed and cannot be read at the moment. If it is being copied or replaced, this page goes on "
        f"when that is done. What is wrong with it now: {said(error)}"
    )


def said(error: Exception) -> str:
    """An error as a sentence: what the system calls it, where it is one of the system's."""
    if not isinstance(error, OSError):
        return str(error)
    where = f"{os.fsdecode(error.filename)} " if isinstance(error.filename, str | bytes) else "this file "
    why = (error.strerror or str(error) or type(error).__name__).rstrip(".")
    return f"{where}cannot be read: the system says {why.lower()!r}. Check the disk, and who may read it"


def _last(values: Any) -> float | None:
    """The last value that was measured."""
    measured = values[np.isfinite(values)]
    return float(measured[-1]) if len(measured) else None


def _short(folder: Path) -> str:
    try:
        return str(Path("~") / folder.relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(folder)
