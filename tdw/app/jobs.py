"""Jobs: training and analysing, each a `tdw …` process of its own that outlives tab and server.

What a job has done is read from its project file, and whether it still runs from that file's lock, so a server that
starts later finds it again. Beside that there is one small record per job in the private state folder (what was
started, when, its log), from which a failed job's sentence is taken.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tdw
from tdw import store
from tdw.app.runs import OpenRun, Runs, key_of
from tdw.errors import AppError, TdwError
from tdw.private import private_folder, sweep, write_private

Kind = Literal["train", "analyze"]
State = Literal["starting", "running", "stopping", "finished", "stopped", "failed"]
ACTIVE: tuple[State, ...] = ("starting", "running", "stopping")
STARTUP = 120.0  # seconds a process may take before it holds its file
STOPPED = 130  # the exit status after Ctrl-C
SPEED_WINDOW = 8.0  # seconds over which the speed is measured
SEARCH_EVERY = 3.0  # seconds between looks for jobs that were started elsewhere


@dataclass
class Job:
    """One job, as last seen. `total` and `done` count epochs for training, checkpoints for analyses."""

    path: Path
    kind: Kind
    pid: int
    started: float  # Unix seconds
    state: State = "starting"
    process: subprocess.Popen[bytes] | None = None  # None for a job found again
    log: Path | None = None
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
    """Every job the window knows of: started here, started by an earlier server, or from a terminal."""

    def __init__(self, runs: Runs):
        self.runs = runs
        self.folder = private_folder(runs.library.folder / "jobs")
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._searched = 0.0
        runs.pinned = self._pinned
        records = sorted(self.folder.glob("*.json"))
        sweep(self.folder, (log for log in self.folder.glob("*.log") if log.with_suffix(".json") not in records))
        for record in records:
            self._find_again(record)

    def start(self, kind: Kind, path: Path, arguments: Sequence[str] = ()) -> Job:
        """Start `tdw KIND PATH ARGUMENTS…`. Raises AppError when a job is at work on the file."""
        with self._lock:
            self.poll()
            job = self._jobs.get(key_of(path))
            if job is not None and job.active:
                doing = "trained" if job.kind == "train" else "analysed"
                raise AppError(f"{path.name} is being {doing} already: wait until it is done, or stop it")
            log = self.folder / f"{key_of(path)}.log"
            command = [sys.executable, "-m", "tdw", kind, str(path), *arguments]
            process = _spawn(command, log)
            job = Job(path, kind, process.pid, time.time(), process=process, log=log)
            self._jobs[job.key] = job
            self._record(job)
            return job

    def stop(self, key: str) -> None:
        """Ask the job on `key` to commit what is done and end. Raises AppError when there is none."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None or not job.active:
                raise AppError("nothing runs on this file: there is nothing to stop")
            if job.process is None and store.locked_by(job.path) != job.pid:
                return  # ended meanwhile: its number may be another program's by now
            job.state = "stopping"
            self._record(job)
            if job.process is not None and job.process.poll() is not None:
                return
            os.kill(job.pid, _interrupt())

    def dismiss(self, key: str) -> None:
        """Drop a job that has ended, with its record and log."""
        with self._lock:
            job = self._jobs.get(key)
            if job is not None and not job.active:
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
        holder = store.locked_by(job.path) if job.path.exists() else None
        alive = code is None if job.process is not None else holder == job.pid
        if job.process is None and job.state == "starting":
            alive = alive or (time.time() - job.started < STARTUP and _exists(job.pid))
        if holder == job.pid and job.state == "starting":
            job.state = "running"
        run = self._run(job)
        if run is not None:
            self._measure(job, run)
        if not alive:
            self._end(job, code)

    def _run(self, job: Job) -> OpenRun | None:
        """The job's file, once it is there."""
        if not job.path.exists():
            return None
        try:
            run = self.runs.open(job.path, remember=False)
            run.refresh()
        except TdwError:
            return None  # being made, or refused: the job itself says why when it ends
        return run

    def _measure(self, job: Job, run: OpenRun) -> None:
        progress = run.progress()
        job.train_loss, job.test_loss = progress["train_loss"], progress["test_loss"]
        if job.guessed is not None:
            self._watch(job, progress)
        if job.kind == "train":
            job.total = progress["planned_epochs"]
            job.note(max(progress["epochs"] - 1, 0))
        else:
            job.total = progress["analysed"]["total"]
            job.note(progress["analysed"]["done"])

    def _watch(self, job: Job, progress: dict[str, Any]) -> None:
        """See from what grows what a process does that somebody else started."""
        now: dict[Kind, int] = {"train": progress["epochs"], "analyze": progress["analysed"]["done"]}
        grown: list[Kind] = [kind for kind in now if job.guessed and now[kind] > job.guessed[kind]]
        # Until then: whatever writes to a finished run analyses it, and most of what writes to another trains it.
        kind: Kind = grown[0] if grown else "analyze" if progress["state"] == "finished" else "train"
        job.guessed = None if grown else job.guessed or now
        if kind != job.kind:
            job.kind = kind
            job.seen.clear()

    def _end(self, job: Job, code: int | None) -> None:
        """Say how a job ended: by its exit status where we are its parent, else by what it left."""
        sentence = _sentence(job.log)
        unseen = code is None  # it is nobody's child here, or ended while no server was there
        if sentence is None and unseen and _broke_off(job.path):
            job.state = "failed"
            job.error = "the process ended without a word; what it had committed is kept, and it can go on from there"
        elif sentence is None and (unseen or job.state == "stopping" or code in {0, STOPPED}):
            job.state = "finished" if code == 0 else "stopped"
        elif code == 0:
            job.state = "finished"
        else:
            job.state = "failed"
            job.error = sentence or _unexplained(code, job.log)
        if job.state == "failed":
            self._record(job)
        else:
            self._remove(job)
        self._keep_description(job)

    def _keep_description(self, job: Job) -> None:
        run = self._run(job)
        if run is not None:
            self.runs.library.describe(job.path, run.progress()["about"])

    def _search(self) -> None:
        """Find jobs on known files that this server did not start."""
        for entry in self.runs.library.entries():
            path = Path(entry.path)
            known = self._jobs.get(key_of(path))
            if (known is not None and known.active) or not path.exists():
                continue
            pid = store.locked_by(path)
            if pid is None or pid == os.getpid():
                continue
            job = Job(path, "train", pid, time.time(), state="running", guessed={})
            run = self._run(job)
            if run is not None:
                self._jobs[job.key] = job

    def _find_again(self, record: Path) -> None:
        """Take up a job that an earlier server started."""
        try:
            stored = json.loads(record.read_bytes())
            job = Job(Path(stored["path"]), stored["kind"], stored["pid"], stored["started"], state=stored["state"])
            job.error = stored["error"]
        except (OSError, ValueError, KeyError, TypeError):
            record.unlink(missing_ok=True)  # cut off or not ours; the file's lock still tells of a live job
            return
        job.log = record.with_suffix(".log")
        self._jobs[job.key] = job

    def _record(self, job: Job) -> None:
        stored = {
            "path": str(job.path),
            "kind": job.kind,
            "pid": job.pid,
            "started": job.started,
            "state": job.state,
            "error": job.error,
        }
        write_private(self.folder / f"{job.key}.json", json.dumps(stored).encode())

    def _remove(self, job: Job) -> None:
        self._jobs.pop(job.key, None)
        for suffix in (".json", ".log"):
            (self.folder / f"{job.key}{suffix}").unlink(missing_ok=True)

    def _pinned(self, key: str) -> bool:
        job = self._jobs.get(key)
        return job is not None and job.active


def _spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that no terminal or server takes down with it, its output going to a private file."""
    log.unlink(missing_ok=True)
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP  # else Ctrl-Break, which stops it, would reach this server too
    # `-m` looks for modules in the folder it starts in: ours, not whichever the user stands in.
    home = Path(tdw.__file__).parents[1]
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home,
            start_new_session=sys.platform != "win32",
            creationflags=flags,
        )


def _interrupt() -> int:
    """The signal of Ctrl-C, which commits what is done; for a process group of Windows, Ctrl-Break."""
    if sys.platform == "win32":
        return signal.CTRL_BREAK_EVENT
    return signal.SIGINT


def _sentence(log: Path | None) -> str | None:
    """The last thing the command line said to its user, without its name before it."""
    if log is None or not log.exists():
        return None
    lines = log.read_text("utf-8", "replace").splitlines()
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
    except TdwError:
        return True  # there is none, or it cannot be read: that is not how a job ends


def _exists(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # the lock tells within STARTUP seconds
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
