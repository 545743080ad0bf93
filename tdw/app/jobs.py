"""Jobs: training and analysis, each a separate `tdw …` process that outlives tab and server.

Progress is read from the project file, and whether a job is alive from the file's lock, so a server that starts later finds
the job. In addition there is one record per job in the private state folder (command, start time, log), which provides the
error message of a failed job; all servers of this user read it.

Processes are identified by a `Holder`: a process number alone may be reused, or belong to another computer.
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import tdw
from tdw import store
from tdw.app import job_records, stop_request
from tdw.app.job_records import ACTIVE, Kind, Record, State
from tdw.app.open_runs import OpenRuns, key_of
from tdw.errors import AppError, FileInUseError, TdwError
from tdw.state_dir import private_folder, read_private, set_aside, sweep, without_fail, write_private
from tdw.store import Holder

STARTUP = 120.0  # seconds until a process must hold the lock of its file
STOPPED = {129, 130, 143}  # exit codes after a closed terminal, Ctrl-C, SIGTERM
LOG_TAIL = 64 << 10  # bytes read from the end of a log
SPEED_WINDOW = 8.0  # seconds over which the speed is averaged
SEARCH_EVERY = 3.0  # seconds between searches for jobs that were started elsewhere
SEARCHED = 50  # recent files that are searched for jobs


@dataclass
class Job:
    """The last known state of a job. `total` and `done` count epochs for training, checkpoints for analyses."""

    path: Path
    kind: Kind
    holder: Holder
    started: float  # Unix seconds
    state: State = "starting"
    process: subprocess.Popen[bytes] | None = None  # None for a job of another server or terminal
    record: Path | None = None  # None for a job that was not started by a window
    was_done: bool = False  # whether there was nothing to do when it was started
    held: bool = False  # whether it has had the file's lock; from then on the lock shows whether it is alive
    error: str | None = None
    done: int = 0
    total: int = 0
    train_loss: float | None = None
    test_loss: float | None = None
    seen: deque[tuple[float, int]] = field(default_factory=deque)
    guessed: dict[Kind, int] | None = None  # for a job of unknown kind: progress of each kind when it was found

    @property
    def key(self) -> str:
        """The key of its file."""
        return key_of(self.path)

    @property
    def log(self) -> Path | None:
        """The log file."""
        return self.record.with_suffix(".log") if self.record is not None else None

    def does(self, kind: Kind) -> bool:
        """Whether the job is known to be of this kind."""
        return self.kind == kind and self.guessed is None

    @property
    def active(self) -> bool:
        """Whether its process may be alive."""
        return self.state in ACTIVE

    @property
    def speed(self) -> float | None:
        """Recent epochs (or checkpoints) per second; None before there are two measurements."""
        if len(self.seen) < 2:
            return None
        (first, before), (last, after) = self.seen[0], self.seen[-1]
        return (after - before) / (last - first) if last > first and after > before else None

    def note(self, done: int) -> None:
        """Record the present progress."""
        now = time.monotonic()
        if not self.seen or done > self.seen[-1][1]:
            self.seen.append((now, done))
        while len(self.seen) > 2 and now - self.seen[0][0] > SPEED_WINDOW:
            self.seen.popleft()
        self.done = done

    def to_json(self) -> dict[str, Any]:
        """The job as sent by the events route."""
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
    """All known jobs: started by this server, by another one, or from a terminal."""

    def __init__(self, runs: OpenRuns, busy: Callable[[], Sequence[Path]] = lambda: ()):
        self.runs = runs
        self._busy = busy  # files that were written to lately
        self.folder = private_folder(runs.recent_files.folder / "jobs")
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._searched = 0.0
        runs.pinned = self._pinned
        recorded = {place.stem for place in job_records.listed(self.folder)}
        others = (*job_records.listed(self.folder, ".log"), *job_records.listed(self.folder, ".stop"))
        sweep(self.folder, (file for file in others if file.stem not in recorded))
        for job in self._stored():
            before = self._jobs.get(job.key)
            if before is None or (job.active, job.started) > (before.active, before.started):
                self._jobs[job.key] = job

    def start(self, kind: Kind, path: Path, arguments: Sequence[str] = ()) -> Job:
        """Start `tdw KIND PATH ARGUMENTS…`. If another server has just started the same, its job is returned. Raises
        AppError if a job is running on the file, or the process cannot be started.
        """
        with self._lock:
            self.poll()
            job = self._jobs.get(key_of(path))
            if job is not None and job.active:
                activity = "trained" if job.kind == "train" else "analyzed"
                raise AppError(f"{path.name} is being {activity} already: wait until the job is done, or stop it")
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
        """Ask the job on this file to commit its work and exit. Raises AppError if there is none, or it cannot be reached."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None or not job.active:
                raise AppError("no job is running on this file")
            if job.process is None and job.state != "starting" and store.holder_of(job.path) != job.holder:
                return  # it has ended, and its number may be reused; the next poll shows how it ended
            self._ask_to_stop(job)
            job.state = "stopping"
            self._record(job)

    def _ask_to_stop(self, job: Job) -> None:
        if job.process is not None:
            if job.process.poll() is None:  # our child: its number is not reused before `poll` returns a code
                job.process.send_signal(_interrupt())
        elif sys.platform != "win32" and job.holder.send(signal.SIGINT):
            pass
        elif job.record is not None:  # in another container, or not identifiable: it polls for this file
            try:
                write_private(job.record.with_suffix(".stop"), job.holder.encode())
            except OSError as error:
                raise AppError(
                    f"cannot ask the job on {job.path.name} to stop ({error.strerror}): free some disk space"
                ) from error
        else:
            where = f"on {job.holder.host.split()[0]}" if job.holder.is_elsewhere and job.holder.host else "elsewhere"
            raise AppError(
                f"{job.path.name} is in use by process {job.holder.pid} {where}, which this window did not start and cannot "
                "signal: stop it there with Ctrl-C"
            )

    def dismiss(self, key: str) -> None:
        """Remove a job that has ended, with its record and log."""
        with self._lock:
            job = self._jobs.get(key)
            if job is not None and not job.active:
                self._jobs.pop(job.key)
                self._remove(job)

    def of(self, key: str) -> dict[str, Any] | None:
        """The active job on this file, as JSON."""
        with self._lock:
            job = self._jobs.get(key)
            return job.to_json() if job is not None and job.active else None

    def poll(self) -> list[dict[str, Any]]:
        """Update all jobs; returns those that are active or failed, oldest first, as JSON."""
        with self._lock:
            if time.monotonic() - self._searched > SEARCH_EVERY:
                self._searched = time.monotonic()
                self._search()
            for job in list(self._jobs.values()):
                if job.active:
                    self._look(job)
            return [job.to_json() for job in sorted(self._jobs.values(), key=lambda job: job.started)]

    def _look(self, job: Job) -> None:
        """Update one job."""
        code = job.process.poll() if job.process is not None else None
        # While it creates its file, it holds the lock of a file that does not exist yet: pages could not open it.
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
        """The progress of the run in a file; None if it cannot be read."""
        if not os.path.exists(path):  # noqa: PTH110 - a stored path may be one that `Path.exists` raises for
            return None
        try:
            with self.runs.at(path) as run:
                run.refresh()
                return run.progress()
        except (TdwError, OSError):
            return None  # being created, or damaged: the job reports the reason when it ends

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
        """Determine the kind of a job that was started elsewhere from what grows in its file."""
        now: dict[Kind, int] = {"train": progress["epochs"], "analyze": progress["analyzed"]["done"]}
        grown: list[Kind] = [kind for kind in now if job.guessed and now[kind] > job.guessed[kind]]
        # Until then assume that a finished run is being analyzed, and another one trained.
        kind: Kind = grown[0] if grown else "analyze" if progress["state"] == "finished" else "train"
        job.guessed = None if grown else job.guessed or now
        if kind != job.kind:
            job.kind = kind
            job.seen.clear()

    def _end(self, job: Job, code: int | None) -> None:
        """Determine how a job ended: from its exit code if it is our child, else from what it left."""
        if code == FileInUseError.exit_code and self._superseded(job):
            return
        message = _error_message(job.log)
        unseen = code is None  # not our child, or it ended while no server was running
        if message is None and unseen and _was_interrupted(job.path):
            job.state = "failed"
            job.error = (
                "the process exited without an error message; committed data is kept, and the job can be resumed"
            )
        elif message is None and (unseen or job.state == "stopping" or code in {0, *STOPPED}):
            job.state = "finished" if code == 0 else "stopped"
        elif code == 0:
            job.state = "finished"
        else:
            job.state = "failed"
            job.error = message or _unexplained(code, job.log)
        if job.state == "failed":
            self._record(job)
        else:
            self._jobs.pop(job.key, None)
            self._remove(job)
        self._keep_description(job)

    def _superseded(self, job: Job) -> bool:
        """Whether a job failed only because another process does the same work, which then takes its place, or has done it."""
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
            self.runs.recent_files.describe(job.path, progress["about"])

    def _at_work(self, path: Path, but: Holder | None = None) -> Job | None:
        """The job of another process that holds a file, or is about to."""
        holder = store.holder_of(path)
        for job in self._stored(key_of(path)):
            if job.holder in {but, Holder.current()}:
                continue
            young = time.time() - job.started < STARTUP
            if job.holder == holder or (job.active and young and _may_live(job.holder)):
                return job
        if holder is None or holder in {but, Holder.current()}:
            return None
        known = holder.kind in {"train", "analyze"}
        kind = cast(Kind, holder.kind) if known else "train"
        return Job(path, kind, holder, time.time(), state="running", held=True, guessed=None if known else {})

    def _search(self) -> None:
        """Find jobs that this server did not start: on files that were opened lately, or written to."""
        recent = [Path(entry.path) for entry in self.runs.recent_files.entries()[:SEARCHED]]
        for path in dict.fromkeys([*recent, *self._busy()]):
            last = self._jobs.get(key_of(path))
            if last is not None and last.active:
                continue
            holder = store.holder_of(path)
            if holder is None or (last is not None and holder == last.holder):
                continue
            job = self._at_work(path)
            if job is not None and self._progress(path) is not None:
                self._jobs[job.key] = job

    def _stored(self, key: str = "") -> Iterator[Job]:
        """The recorded jobs of all servers of this user, on one file or on all."""
        for place in job_records.listed(self.folder):
            if not place.name.startswith(key):
                continue
            try:
                stored = job_records.read(place)
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
    """Start a process that outlives terminal and server, with its output in a private log file."""
    flags = 0
    if sys.platform == "win32":
        flags = (
            subprocess.CREATE_NEW_PROCESS_GROUP
        )  # otherwise Ctrl-Break, which stops it, would also reach this server
    try:
        log = os.open(record.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(log, "wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "tdw.cli.worker", "tdw", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, stop_request.VARIABLE: str(record.with_suffix(".stop"))},
                # `-m` imports from the folder it starts in: ours, not the user's.
                cwd=Path(tdw.__file__).parents[1],
                start_new_session=sys.platform != "win32",
                creationflags=flags,
            )
    except OSError as error:
        why = error.strerror or error
        raise AppError(f"could not start the process ({why}); its log would be {record.with_suffix('.log')}") from error


def _interrupt() -> int:
    """The signal of Ctrl-C, which makes a job commit its work; Ctrl-Break on Windows."""
    if sys.platform == "win32":
        return signal.CTRL_BREAK_EVENT
    return signal.SIGINT


def _error_message(log: Path | None) -> str | None:
    """The last error message in a log, without the prefix "tdw: "."""
    if log is None:
        return None
    try:
        text = read_private(log, LOG_TAIL, tail=True)
    except OSError:
        return None  # missing, or not our file
    lines = text.decode("utf-8", "replace").splitlines()
    messages = [line.removeprefix("tdw: ") for line in lines if line.startswith("tdw: ")]
    return messages[-1] if messages else None


def _unexplained(code: int | None, log: Path | None) -> str:
    if code is not None and code < 0:
        return f"the process was killed by signal {-code}; committed data is kept, and the job can be resumed"
    return f"the process exited with status {code}; committed data is kept. Its output: {log}"


def _was_interrupted(path: Path) -> bool:
    """Whether the last writer of a file did not close it."""
    try:
        with store.open_reader(path) as reader:
            return not reader.commit.clean
    except (TdwError, OSError):
        return True  # missing or unreadable: the job did not end normally


def _may_live(holder: Holder) -> bool:
    """Whether a process may be alive, as far as this system can tell."""
    if holder.is_elsewhere or sys.platform == "win32":
        return True  # the lock shows it within STARTUP seconds
    if holder.started:
        return holder.is_alive_here()
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
