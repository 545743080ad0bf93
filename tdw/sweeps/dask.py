"""Finish the runs of a folder on a Dask cluster, whose workers see the folder under the same path.

Each run is a task. What Dask promises is not needed for the results: a task that is lost, with its worker or with the
scheduler, is submitted again, and continues where the project file ends. A run that a hanging worker still holds is tried
again until it is free.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from tdw.errors import AppError
from tdw.sweeps.work import Work, runs_in

if TYPE_CHECKING:
    from distributed import Client, Future

    from tdw.config import RunConfig
    from tdw.sweeps.job import Outcome

PATIENCE = 60.0  # seconds without a scheduler after which the work is given up
SECONDS_A_LOOK = 0.5
SECONDS_UNTIL_FREE = 2.0  # between two tries of a run that another process is on

_alone = Lock()  # training sets things that belong to the process, such as its number of threads


def work_on_dask(
    folder: str | Path,
    address: str,
    *,
    create: Mapping[Path, RunConfig] | None = None,
    train: bool = True,
    analyze: bool = False,
    retry: bool = False,
    patience: float = PATIENCE,
    progress: Callable[[Work], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Work:
    """Create these files, and finish all unfinished runs in a folder, on the cluster whose scheduler has this address.

    patience: seconds without a scheduler or, for runs that other processes are on, without any news, before it is given up
    The others as in `tdw.work`. Raises AppError without `distributed`, or if the scheduler cannot be reached for so long.
    """
    try:
        import distributed
    except ImportError as error:
        raise AppError("--dask needs the package `distributed`: install it with `pip install tdw[cluster]`") from error
    at = Work(Path(folder))
    cluster = _Cluster(address, at, patience, progress, stop, distributed)
    if create:
        cluster.do({path: (_create, (config.to_json(),)) for path, config in create.items()})
    if train and not at.stopped:
        cluster.do(dict.fromkeys(runs_in(at.folder), (_finish, (analyze, retry, cluster.id))))
    at.running = []
    if progress is not None:
        progress(at)
    return at


class _Cluster:
    """Tasks on a cluster, whose scheduler and workers may come and go."""

    def __init__(
        self,
        address: str,
        at: Work,
        patience: float,
        progress: Callable[[Work], None] | None,
        stop: Callable[[], bool] | None,
        distributed: Any,
    ):
        self._address, self._at, self._patience = address, at, patience
        self._progress, self._asked, self._distributed = progress, stop, distributed
        self._stopping = False
        self._began = time.monotonic()
        self.id = f"tdw-stop-{uuid.uuid4()}"

    def do(self, tasks: Mapping[Path, tuple[Callable[..., Outcome], tuple[Any, ...]]]) -> None:
        """Carry out these tasks; the outcomes are entered in the Work."""
        left = dict(tasks)
        for path in tasks:
            self._at.outcomes.pop(path, None)  # of an earlier task
        heard = time.monotonic()
        while left:
            self._at.left = len(left)
            before = len(left)
            try:
                with self._connected() as client:
                    self._session(client, left)
            except (OSError, TimeoutError, asyncio.CancelledError, self._distributed.CancelledError) as error:
                # The scheduler is gone: what it had done is in the files, and the rest is submitted to the next one.
                if time.monotonic() - heard > self._patience and len(left) == before:
                    raise AppError(
                        f"the Dask scheduler at {self._address} cannot be reached ({error or type(error).__name__}): start it, "
                        "and run the same command again; everything done so far is stored"
                    ) from error
            if len(left) < before:
                heard = time.monotonic()
            if self._stopping:
                break
            if left:
                time.sleep(SECONDS_A_LOOK)
        self._at.left = len(left)

    def _connected(self) -> Client:
        try:
            return self._distributed.Client(self._address, timeout=self._patience)
        except ValueError as error:
            raise AppError(
                f"--dask {self._address} is not the address of a scheduler ({error}): give it as tcp://HOST:8786"
            ) from error

    def _session(self, client: Client, left: dict[Path, tuple[Callable[..., Outcome], tuple[Any, ...]]]) -> None:
        """Carry out the tasks with one connection to the scheduler, until all are done or it is lost."""
        futures: dict[Path, Future[Outcome]] = {}
        again: dict[Path, float] = dict.fromkeys(left, 0.0)  # when to submit a task
        news = looked = staffed = time.monotonic()
        while left:
            now = time.monotonic()
            if now - looked > SECONDS_UNTIL_FREE or self._stopping:
                looked, workers = now, client.nthreads()
                staffed = now if workers else staffed
                if self._stopping and not workers:
                    return
                if now - staffed > self._patience:
                    raise AppError(
                        f"the Dask scheduler at {self._address} has no workers: start some (dask worker {self._address}), and "
                        "run the same command again; everything done so far is stored"
                    )
            for path in [path for path, due in again.items() if due <= now]:
                del again[path]
                function, arguments = left[path]
                futures[path] = client.submit(function, str(path), *arguments, pure=False)
            if not self._stopping and self._asked is not None and self._asked():
                self._stopping = True
                self._distributed.Event(self.id, client=client).set()
            over = {path: future for path, future in futures.items() if future.done()}
            for path, future in over.items():
                del futures[path]
                if future.status in {"cancelled", "lost"}:
                    again[path] = 0.0
                    continue
                outcome = _lost(path, future) if future.status == "error" else future.result()
                self._at.outcomes[path] = (outcome.state, outcome.message)
                if outcome.state == "busy" and now - news < self._patience and not self._stopping:
                    again[path] = now + SECONDS_UNTIL_FREE
                    continue
                del left[path]
                news = now if outcome.state != "busy" else news
            self._at.left, self._at.seconds = len(left), now - self._began
            if self._progress is not None:
                self._progress(self._at)
            if self._stopping and not futures:
                return
            if client.status in {"closed", "closing"} or client.scheduler is None:
                raise OSError("the connection is closed")
            time.sleep(0 if over else SECONDS_A_LOOK / 10)


def _lost(path: Path, future: Future[Outcome]) -> Outcome:
    """The outcome of a task that raised an error, such as one whose workers were killed again and again."""
    from tdw.sweeps.job import failed

    return failed(path, future.exception())


def _create(path: str, settings: Mapping[str, Any]) -> Outcome:
    from tdw.sweeps import job

    with _alone:
        return job.create(Path(path), settings)


def _finish(path: str, analyze: bool, retry: bool, stop_event: str) -> Outcome:
    """The task of one run, in a worker of the cluster."""
    from tdw.sweeps import job

    if not Path(path).parent.is_dir():
        return job.Outcome("failed", f"this worker does not see the folder {Path(path).parent}", "NotAProjectError")
    with _alone:
        return job.finish(Path(path), analyze=analyze, retry=retry, stop=_Stop(stop_event))


class _Stop:
    """Whether the one who submitted the task asks to stop; looked up every few seconds."""

    def __init__(self, name: str):
        self._name, self._next, self._asked = name, time.monotonic(), False

    def __call__(self) -> bool:
        if not self._asked and time.monotonic() >= self._next:
            from distributed import Event

            try:
                self._asked = bool(Event(self._name).is_set())
            # Whatever distributed raises without its scheduler, in whatever state: the run goes on, and is stored. The
            # next scheduler does not know the event.
            except (Exception, asyncio.CancelledError):
                self._next = math.inf
            else:
                self._next = time.monotonic() + SECONDS_UNTIL_FREE
        return self._asked
