"""Finish whatever is unfinished in a folder, many runs in one pool of workers.

Any number of processes on any computers that see the folder may do this at the same time: each run is locked by the process that is
on it, and the others go on to the next one. Killed at any moment, nothing that was reported is lost, and the next process
continues.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tdw import arguments
from tdw.config import RunConfig
from tdw.errors import AppError
from tdw.machine import cores
from tdw.project.listing import project_files
from tdw.sweeps import manifest, plan
from tdw.sweeps.workers import Message, Workers

#: What may become of a run. current: it was finished before; busy: another process is on it; gone: its file was moved or
#: deleted; given up: it failed before; outside: a link to a file outside of the folder.
STATES = ("created", "finished", "current", "diverged", "stopped", "busy", "gone", "failed", "given up", "outside")

SECONDS_A_LOOK = 0.2
SECONDS_BETWEEN_REPORTS = 0.25
DEATHS = 2  # of workers on one run, after which the run has failed


@dataclass
class Running:
    """A run that a worker is on: epochs so far and planned, the losses there, and epochs a second."""

    path: Path
    since: float
    epoch: int = 0
    epochs: int = 0
    train_loss: float = float("nan")
    test_loss: float = float("nan")
    epochs_per_second: float = 0.0


@dataclass
class Work:
    """How far a folder is.

    outcomes: of runs that are done for now, by path: one of `STATES`, and a message where there is one
    running: what is in work; left: how many wait; seconds: since the beginning
    """

    folder: Path
    outcomes: dict[Path, tuple[str, str]] = field(default_factory=dict)
    running: list[Running] = field(default_factory=list)
    left: int = 0
    seconds: float = 0.0

    def paths(self, *states: str) -> list[Path]:
        """The runs in one of these states, sorted."""
        return sorted(path for path, (state, _) in self.outcomes.items() if state in states)

    @property
    def counts(self) -> dict[str, int]:
        """How many runs are in each state."""
        found = [state for state, _ in self.outcomes.values()]
        return {state: found.count(state) for state in STATES if state in found}

    @property
    def stopped(self) -> bool:
        """Whether it was stopped before everything was tried."""
        return self.left > 0 or any(state == "stopped" for state, _ in self.outcomes.values())


def work(
    folder: str | Path,
    *,
    only: Iterable[Path] | None = None,
    jobs: int | None = None,
    analyze: bool = False,
    retry: bool = False,
    progress: Callable[[Work], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Work:
    """Finish all unfinished runs in a folder and its subfolders that no other process is on.

    only:     these files of the folder
    jobs:     worker processes, each of which trains one run at a time with one thread; default: one for each core
    analyze:  also compute missing and outdated analyses, of finished runs too
    retry:    also try runs again that failed before
    progress: called with the Work, from time to time
    stop:     called from time to time; once it returns True, the runs in work are stored and nothing else is begun
    Raises ArgumentError, SettingError, NotAProjectError for anything but a folder, AppError if no worker can start. A run that fails is in the result, and its failure is
    recorded next to it.
    """
    folder, jobs = arguments.path("folder", folder), arguments.jobs(jobs)
    _check_functions(progress, stop)
    files = None
    if only is not None:
        files = [arguments.path("only", path) for path in arguments.several("only", only, "a list of paths, or None")]
    plan.check_folder(folder)
    return _Manager(folder, jobs, progress, stop).manage({}, files=files, analyze=analyze, retry=retry)


def sweep(
    folder: str | Path,
    *,
    file: str | Path | None = None,
    jobs: int | None = None,
    analyze: bool = False,
    retry: bool = False,
    remake: bool = False,
    progress: Callable[[Work], None] | None = None,
    stop: Callable[[], bool] | None = None,
    **settings: Any,
) -> Work:
    """Create the project files of a sweep that are missing in a folder, and finish all that are unfinished there.

    file, settings, remake: what is made, see `plan_sweep`. jobs: see `work`; 0 creates the files and trains none.
    Raises what `plan_sweep` and `work` raise, CannotWriteError if the disk has no room, FileInUseError while another process
    plans a sweep in the folder.
    """
    jobs = arguments.jobs(jobs, 0)
    _check_functions(progress, stop)
    planned = plan.plan_sweep(folder, file=file, analyze=analyze, remake=remake, **settings)
    return carry_out(planned, jobs=jobs, analyze=analyze, retry=retry, progress=progress, stop=stop)


def carry_out(
    planned: plan.SweepPlan,
    *,
    jobs: int | None = None,
    analyze: bool = False,
    retry: bool = False,
    progress: Callable[[Work], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Work:
    """Carry out a plan, as `sweep` does."""
    arguments.instance("planned", planned, plan.SweepPlan, "what plan_sweep(FOLDER, …) returns")
    jobs = arguments.jobs(jobs, 0)
    _check_functions(progress, stop)
    plan.check_room(planned)
    plan.record(planned)
    manager = _Manager(planned.folder, jobs or None, progress, stop)
    return manager.manage(planned.new, train=jobs != 0, analyze=analyze, retry=retry)


def _check_functions(progress: Callable[[Work], None] | None, stop: Callable[[], bool] | None) -> None:
    arguments.function("progress", progress)
    arguments.function("stop", stop)


def to_work_on(at: Work) -> list[Path]:
    """The project files in the folder and its subfolders, in order. Links to files outside of it get their outcome."""
    files, outside = project_files(at.folder)
    at.outcomes |= {Path(path): ("outside", why) for path, why in outside.items()}
    return [path for path in map(Path, files) if path.is_file()]


class _Manager:
    """Gives the runs of a folder to workers, and keeps account of what becomes of them."""

    def __init__(
        self,
        folder: Path,
        jobs: int | None,
        progress: Callable[[Work], None] | None,
        stop: Callable[[], bool] | None,
    ):
        self._jobs, self._progress, self._asked = jobs or cores(), progress, stop
        self._at = Work(folder)
        self._stopping = False
        self._deaths: Counter[Path] = Counter()
        self._began = self._reported = time.monotonic()

    def manage(
        self,
        create: Mapping[Path, RunConfig],
        *,
        files: Iterable[Path] | None = None,
        train: bool = True,
        analyze: bool = False,
        retry: bool = False,
    ) -> Work:
        """Create these files, and then finish the given ones, by default everything in the folder."""
        at = self._at
        chosen = None if files is None else list(files)
        there = [] if not train else to_work_on(at) if chosen is None else chosen
        most = max(len(create), len(there), 1)
        with Workers(min(self._jobs, most)) as pool:
            creation = {path: {"do": "create", "settings": config.to_json()} for path, config in create.items()}
            self._do(pool, creation)
            if train and not at.stopped:
                command = {"do": "work", "analyze": analyze, "retry": retry}
                self._do(pool, dict.fromkeys(to_work_on(at) if chosen is None else chosen, command))
                # What others were on may be free again: their process may have stopped in between.
                while not at.stopped and (busy := at.paths("busy")):
                    self._do(pool, dict.fromkeys(busy, command))
                    if len(at.paths("busy")) == len(busy):
                        break
        at.running = []
        self._report(at_once=True)
        return at

    def _do(self, pool: Workers, tasks: Mapping[Path, Mapping[str, Any]]) -> None:
        """Give these tasks to the workers, until all are done or this process is asked to stop."""
        waiting = deque(tasks)
        at = self._at
        for path in tasks:
            at.outcomes.pop(path, None)  # of an earlier task
        while True:
            if not self._stopping and self._asked is not None and self._asked():
                self._stopping = True
                pool.stop()
            for worker in pool.workers:
                if worker.job is None and waiting and not self._stopping:
                    worker.job = Running(waiting.popleft(), time.monotonic())
                    worker.send(path=str(worker.job.path), **tasks[worker.job.path])
            at.running = [worker.job for worker in pool.workers if worker.job is not None]
            at.left = len(waiting)
            if not at.running:
                return
            message = pool.next_message(SECONDS_A_LOOK)
            if message is not None:
                self._hear(message, pool, waiting)
                at.running, at.left = [worker.job for worker in pool.workers if worker.job is not None], len(waiting)
            self._report()

    def _hear(self, message: Message, pool: Workers, waiting: deque[Path]) -> None:
        worker, job = message.worker, message.worker.job
        if message.said == "progress":
            shown = message.content["progress"]
            job.epoch, job.epochs = shown["epoch"], shown["epochs"]
            job.train_loss, job.test_loss = shown["train_loss"], shown["test_loss"]
            job.epochs_per_second = shown["epochs_per_second"]
        elif message.said == "done":
            self._at.outcomes[job.path] = (message.content["state"], message.content["message"])
            worker.job = None
        elif message.said == "ended":
            if (
                not worker.is_ready and (worker.ended or 0) >= 0
            ):  # it was not killed: the next one would end the same way
                last = (message.content["words"].strip().splitlines() or ["no error message"])[-1]
                raise AppError(f"the worker processes cannot start: {last} (exit code {worker.ended})")
            if job is not None:
                self._bury(job.path, worker.ended, message.content["words"], waiting)
            if not self._stopping:
                pool.add()

    def _bury(self, path: Path, code: int | None, words: str, waiting: deque[Path]) -> None:
        """A worker ended while it was on a run, which another one tries again; or the run has failed."""
        self._deaths[path] += 1
        if self._deaths[path] < DEATHS and not self._stopping:
            waiting.appendleft(path)
            return
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with {code}"
        message = f"the process that trained it {how}. {words}".strip()
        if not self._stopping:
            message += manifest.record_failure(path, "WorkerEnded", message, tries=self._deaths[path])
        self._at.outcomes[path] = ("stopped" if self._stopping else "failed", message)

    def _report(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        self._at.seconds = now - self._began
        if self._progress is not None and (at_once or now - self._reported >= SECONDS_BETWEEN_REPORTS):
            self._reported = now
            self._progress(self._at)
