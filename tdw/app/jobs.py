"""Jobs: training and analyzing, each a `tdw …` process of its own that outlives tab and server.

What a job has done is read from its project file, and whether it still runs from that file's lock, so a server that
starts later finds it again. Beside that there is one small record per job in the private state folder (what was
started, when, its log), from which a failed job's sentence is taken; other servers of this user read it as well.

A job is a process, and a process is a `Holder`: its number alone may be another's by now, or of another computer.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import tdw
from tdw import store
from tdw.app import records, stop_request
from tdw.app.open_runs import Runs, key_of
from tdw.app.records import ACTIVE, Kind, Record, State
from tdw.errors import AppError, TdwError
from tdw.state_dir import private_folder, read_private, set_aside, sweep, without_fail, write_private
from tdw.store import Holder

STARTUP = 120.0  # seconds a process may take before it holds its file
STOPPED = {129, 130, 143}  # the exit status after a closed terminal, Ctrl-C, SIGTERM
REFUSED = 2  # the exit status after a sentence
LOG_TAIL = 64 << 10  # bytes of a log that are read
SPEED_WINDOW = 8.0  # seconds over which the speed is measured
SEARCH_EVERY = 3.0  # seconds between looks for jobs that were started elsewhere


@dataclass
class Job:
    """One job, as last seen. `total` and `done` count epochs for training, checkpoints for analyses."""

    path: Path
    kind: Kind
    holder: Holder
    started: float  # Unix seconds
    state: State = "starting"
    process: subprocess.Popen[bytes] | None = None  # None for a job found again
    record: Path | None = None  # None for one that no window started
    was_done: bool = False  # whether there was nothing left to do when it was started
    held: bool = False  # whether it has had its file's lock: from then on the lock tells whether it lives
    error: str | None = None
    done: int = 0
    total: int = 0
    train_loss: float | None = None
    test_loss: float | None = None
    seen: deque[tuple[float, int]] = field(default_factory=deque)
    guessed: dict[Kind, int] | None = None  # found elsewhere: how far each kind of work was then; None when it is known

    @property
    def key(self) -> str:
        """What pages know its file by."""
        return key_of(self.path)

    @property
    def log(self) -> Path | None:
        """Where its output goes."""
        return self.record.with_suffix(".log") if self.record is not None else None

    def does(self, kind: Kind) -> bool:
        """Whether it is known to be work of this kind."""
        return self.kind == kind and self.guessed is None

    @property
    def active(self) -> bool:
        """Whether its process is, or may be, alive."""
        return self.state in ACTIVE

    @property
    def speed(self) -> float | None:
        """Epochs (or checkpoints) per second of late; None before two are known."""
        if len(self.seen) < 2:
            return None
        (first, before), (last, after) = self.seen[0], self.seen[-1]
        return (after - before) / (last - first) if last > first and after > before else None

    def note(self, done: int) -> None:
        """Take in how far the job is now."""
        now = time.monotonic()
        if not self.seen or done > self.seen[-1][1]:
            self.seen.append((now, done))
        while len(self.seen) > 2 and now - self.seen[0][0] > SPEED_WINDOW:
            self.seen.popleft()
        self.done = done

    def to_json(self) -> dict[str, Any]:
        """The job as the events route sends it."""
        speed = self.speed if self.active else None
        return {
            "key": self.key,
            "path": str(self.path),
            "name": self.path.stem,
            "kind": self.kind,
            "state": self.state,
            "done": self.done,
            "total": self.total,
            "epochs_per_second": speed,
            "seconds_left": (self.total - self.done) / speed if speed else None,
            "train_loss": self.train_loss,
            "test_loss": self.test_loss,
            "error": self.error,
        }


class Jobs:
    """Every job the window knows of: started here, started by another server, or from a terminal."""

    def __init__(self, runs: Runs):
        self.runs = runs
        self.folder = private_folder(runs.library.folder / "jobs")
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._searched = 0.0
        runs.pinned = self._pinned
        known = {place.stem for place in records.listed(self.folder)}
        others = (*records.listed(self.folder, ".log"), *records.listed(self.folder, ".stop"))
        sweep(self.folder, (file for file in others if file.stem not in known))
        for job in self._stored():
            before = self._jobs.get(job.key)
            if before is None or (job.active, job.started) > (before.active, before.started):
                self._jobs[job.key] = job

    def start(self, kind: Kind, path: Path, arguments: Sequence[str] = ()) -> Job:
        """Start `tdw KIND PATH ARGUMENTS…`, unless another server did a moment ago: then that job is the answer. Raises
        AppError when a job is at work on the file, or the process cannot be started.
        """
        with self._lock:
            self.poll()
            job = self._jobs.get(key_of(path))
            if job is not None and job.active:
                doing = "trained" if job.kind == "train" else "analyzed"
                raise AppError(f"{path.name} is being {doing} already: wait until it is done, or stop it")
            started_elsewhere = self._at_work(path)
            if started_elsewhere is not None and not arguments and started_elsewhere.does(kind):
                self._jobs[started_elsewhere.key] = started_elsewhere
                return started_elsewhere
            record = self.folder / f"{key_of(path)}-{secrets.token_hex(4)}.json"
            process = _spawn([kind, str(path), *arguments], record)
            job = Job(path, kind, Holder.of(process.pid, kind), time.time(), process=process, record=record)
            job.was_done = self._is_done(job)
            if before := self._jobs.pop(job.key, None):
                self._remove(before)
            self._jobs[job.key] = job
            self._record(job)
            return job

    def stop(self, key: str) -> None:
        """Ask the job on `key` to commit what is done and end. Raises AppError when there is none, or it cannot be asked."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None or not job.active:
                raise AppError("nothing runs on this file: there is nothing to stop")
            if job.process is None and job.state != "starting" and store.holder_of(job.path) != job.holder:
                return  # ended meanwhile, and its number may be another program's by now: the next look says how
            self._ask_to_stop(job)
            job.state = "stopping"
            self._record(job)

    def _ask_to_stop(self, job: Job) -> None:
        if job.process is not None:
            if job.process.poll() is None:  # our child, which keeps its number until it is waited for
                job.process.send_signal(_interrupt())
        elif sys.platform != "win32" and job.holder.send(signal.SIGINT):
            pass
        elif job.record is not None:  # in another container, or not to be told from others: it looks for this file
            try:
                write_private(job.record.with_suffix(".stop"), job.holder.encode())
            except OSError as error:
                raise AppError(
                    f"{job.path.name} could not be asked to stop ({error.strerror}): make room first"
                ) from error
        else:
            where = f"on {job.holder.host.split()[0]}" if job.holder.is_elsewhere and job.holder.host else "elsewhere"
            raise AppError(
                f"{job.path.name} is written to by process {job.holder.pid} {where}, which this window did not start and "
                "cannot tell from others: stop it there, with Ctrl-C"
            )

    def dismiss(self, key: str) -> None:
        """Drop a job that has ended, with its record and log."""
        with self._lock:
            job = self._jobs.get(key)
            if job is not None and not job.active:
                self._jobs.pop(job.key)
                self._remove(job)

    def of(self, key: str) -> dict[str, Any] | None:
        """The active job on `key`, as JSON."""
        with self._lock:
            job = self._jobs.get(key)
            return job.to_json() if job is not None and job.active else None

    def poll(self) -> list[dict[str, Any]]:
        """Look at every job once; those at work or failed, oldest first, as JSON."""
        with self._lock:
            if time.monotonic() - self._searched > SEARCH_EVERY:
                self._searched = time.monotonic()
                self._search()
            for job in list(self._jobs.values()):
                if job.active:
                    self._look(job)
            return [job.to_json() for job in sorted(self._jobs.values(), key=lambda job: job.started)]

    def _look(self, job: Job) -> None:
        """Bring one job up to date."""
        code = job.process.poll() if job.process is not None else None
        # While it makes its file it holds the lock of a name that nothing has yet: pages could not open it.
        holder = store.holder_of(job.path) if os.path.exists(job.path) else None  # noqa: PTH110 - a stored path
        alive = code is None if job.process is not None else holder == job.holder
        if holder == job.holder:
            job.held = True
            job.state = "running" if job.state == "starting" else job.state
        elif job.process is None and not job.held:
            alive = time.time() - job.started < STARTUP and _may_live(job.holder)
        progress = self._progress(job.path)
        if progress is not None:
            self._measure(job, progress)
        if not alive:
            self._end(job, code)

    def _progress(self, path: Path) -> dict[str, Any] | None:
        """How far the run in a file is, once it is there."""
        if not os.path.exists(path):  # noqa: PTH110 - a stored path may be one that `Path.exists` raises for
            return None
        try:
            with self.runs.at(path) as run:
                run.refresh()
                return run.progress()
        except (TdwError, OSError):
            return None  # being made, or refused: the job itself says why when it ends

    def _measure(self, job: Job, progress: dict[str, Any]) -> None:
        job.train_loss, job.test_loss = progress["train_loss"], progress["test_loss"]
        if job.guessed is not None:
            self._watch(job, progress)
        if job.kind == "train":
            job.total = progress["planned_epochs"]
            job.note(max(progress["epochs"] - 1, 0))
        else:
            job.total = progress["analyzed"]["total"]
            job.note(progress["analyzed"]["done"])

    def _watch(self, job: Job, progress: dict[str, Any]) -> None:
        """See from what grows what a process does that somebody else started."""
        now: dict[Kind, int] = {"train": progress["epochs"], "analyze": progress["analyzed"]["done"]}
        grown: list[Kind] = [kind for kind in now if job.guessed and now[kind] > job.guessed[kind]]
        # Until then: whatever writes to a finished run analyzes it, and most of what writes to another trains it.
        kind: Kind = grown[0] if grown else "analyze" if progress["state"] == "finished" else "train"
        job.guessed = None if grown else job.guessed or now
        if kind != job.kind:
            job.kind = kind
            job.seen.clear()

    def _end(self, job: Job, code: int | None) -> None:
        """Say how a job ended: by its exit status where we are its parent, else by what it left."""
        if code == REFUSED and self._give_way(job):
            return
        sentence = _sentence(job.log)
        unseen = code is None  # it is nobody's child here, or ended while no server was there
        if sentence is None and unseen and _broke_off(job.path):
            job.state = "failed"
            job.error = "the process ended without a word; what it had committed is kept, and it can go on from there"
        elif sentence is None and (unseen or job.state == "stopping" or code in {0, *STOPPED}):
            job.state = "finished" if code == 0 else "stopped"
        elif code == 0:
            job.state = "finished"
        else:
            job.state = "failed"
            job.error = sentence or _unexplained(code, job.log)
        if job.state == "failed":
            self._record(job)
        else:
            self._jobs.pop(job.key, None)
            self._remove(job)
        self._keep_description(job)

    def _give_way(self, job: Job) -> bool:
        """Whether a job that was refused lost a race against the same work, which is shown in its place; or that work is
        done by now.
        """
        winner = self._at_work(job.path, but=job.holder)
        winner = winner if winner is not None and winner.does(job.kind) else None
        if winner is None and (job.was_done or not self._is_done(job)):
            return False
        self._jobs.pop(job.key, None)
        self._remove(job)
        if winner is not None:
            self._jobs[winner.key] = winner
        return True

    def _is_done(self, job: Job) -> bool:
        progress = self._progress(job.path)
        if progress is None:
            return False
        analyzed = progress["analyzed"]
        return progress["state"] == "finished" if job.kind == "train" else analyzed["done"] == analyzed["total"] > 0

    def _keep_description(self, job: Job) -> None:
        progress = self._progress(job.path)
        if progress is not None:
            self.runs.library.describe(job.path, progress["about"])

    def _at_work(self, path: Path, but: Holder | None = None) -> Job | None:
        """The job that somebody else has on a file: whoever holds it, or is about to."""
        holder = store.holder_of(path)
        for job in self._stored(key_of(path)):
            if job.holder in {but, Holder.current()}:
                continue
            young = time.time() - job.started < STARTUP
            if job.holder == holder or (job.active and young and _may_live(job.holder)):
                return job
        if holder is None or holder in {but, Holder.current()}:
            return None
        told = holder.kind in {"train", "analyze"}
        kind = cast(Kind, holder.kind) if told else "train"
        return Job(path, kind, holder, time.time(), state="running", held=True, guessed=None if told else {})

    def _search(self) -> None:
        """Find jobs on known files that this server did not start."""
        for entry in self.runs.library.entries():
            path = Path(entry.path)
            known = self._jobs.get(key_of(path))
            if known is not None and known.active:
                continue
            holder = store.holder_of(path)
            if holder is None or (known is not None and holder == known.holder):
                continue
            job = self._at_work(path)
            if job is not None and self._progress(path) is not None:
                self._jobs[job.key] = job

    def _stored(self, key: str = "") -> Iterator[Job]:
        """The jobs that servers of this user have recorded, on one file or on all."""
        for place in records.listed(self.folder):
            if not place.name.startswith(key):
                continue
            try:
                stored = records.read(place)
            except FileNotFoundError:
                continue
            except (OSError, ValueError):
                without_fail(place.name, partial(set_aside, place))
                continue
            job = Job(stored.path, stored.kind, stored.holder, stored.started, stored.state, record=place)
            job.error = stored.error
            job.held = job.state == "running"
            yield job

    def _record(self, job: Job) -> None:
        if job.record is None:
            return
        record = Record(job.path, job.kind, job.holder, job.started, job.state, job.error)
        without_fail("the record of a job", partial(write_private, job.record, record.encode()))

    def _remove(self, job: Job) -> None:
        if job.record is None:
            return
        for suffix in (".json", ".log", ".stop"):
            file = job.record.with_suffix(suffix)
            without_fail(file.name, partial(file.unlink, missing_ok=True))

    def _pinned(self, key: str) -> bool:
        job = self._jobs.get(key)
        return job is not None and job.active


def _spawn(command: list[str], record: Path) -> subprocess.Popen[bytes]:
    """Start a process that no terminal or server takes down with it, its output going to a private file."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP  # else Ctrl-Break, which stops it, would reach this server too
    try:
        log = os.open(record.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(log, "wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "tdw.cli.worker", "tdw", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, stop_request.VARIABLE: str(record.with_suffix(".stop"))},
                # `-m` looks for modules in the folder it starts in: ours, not whichever the user stands in.
                cwd=Path(tdw.__file__).parents[1],
                start_new_session=sys.platform != "win32",
                creationflags=flags,
            )
    except OSError as error:
        why = error.strerror or error
        raise AppError(
            f"the process could not be started ({why}); its log would be {record.with_suffix('.log')}"
        ) from error


def _interrupt() -> int:
    """The signal of Ctrl-C, which commits what is done; for a process group of Windows, Ctrl-Break."""
    if sys.platform == "win32":
        return signal.CTRL_BREAK_EVENT
    return signal.SIGINT


def _sentence(log: Path | None) -> str | None:
    """The last thing the command line said to its user, without its name before it."""
    if log is None:
        return None
    try:
        text = read_private(log, LOG_TAIL, tail=True)
    except OSError:
        return None  # gone, or something else by its name
    lines = text.decode("utf-8", "replace").splitlines()
    said = [line.removeprefix("tdw: ") for line in lines if line.startswith("tdw: ")]
    return said[-1] if said else None


def _unexplained(code: int | None, log: Path | None) -> str:
    if code is not None and code < 0:
        return f"the process was ended by signal {-code}; what it had committed is kept, and it can go on from there"
    return f"the process ended unexpectedly with status {code}; what it had committed is kept. Its output: {log}"


def _broke_off(path: Path) -> bool:
    """Whether whoever wrote to a file last did not get to close it."""
    try:
        with store.open_reader(path) as reader:
            return not reader.commit.clean
    except (TdwError, OSError):
        return True  # there is none, or it cannot be read: that is not how a job ends


def _may_live(holder: Holder) -> bool:
    """Whether a process may be alive, as far as can be told from here."""
    if holder.is_elsewhere or sys.platform == "win32":
        return True  # the lock tells within STARTUP seconds
    if holder.started:
        return holder.is_alive_here()
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
