"""Finish the runs of a folder by jobs on a Slurm cluster, submitted through `submitit`.

Every job of the array does `tdw work` on the folder, so that short runs share a job and long ones are spread: each takes what
is unfinished and free. A job that is preempted or comes to its time limit stores what it is on and is queued again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdw import arguments
from tdw.errors import AppError, SettingError

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

LOGS = "sweep.slurm"  # folder of the jobs' output, in that of the runs
SECONDS_A_JOB = 1800.0  # of work in one job, where the number of jobs is not given
MOST_JOBS = 1000
DEFAULTS = {"timeout_min": 240, "cpus_per_task": 1, "name": "tdw"}


def submit(
    folder: str | Path,
    *,
    seconds: float = 0.0,
    jobs: int | None = None,
    analyze: bool = False,
    retry: bool = False,
    options: Mapping[str, str] | None = None,
) -> list[str]:
    """Submit an array of jobs that finish the runs in a folder; returns their ids. Does not wait for them.

    seconds: what the runs will take on one core, from which the number of jobs follows unless `jobs` gives it
    options: of `submitit.AutoExecutor`, such as timeout_min, cpus_per_task, mem_gb, slurm_partition; cluster: "slurm"
             (default), or "local", where the jobs are processes of this computer
    Raises ArgumentError, AppError without `submitit` or Slurm, SettingError for an option that it does not know.
    """
    try:
        import submitit
    except ImportError as error:
        raise AppError("--slurm needs the package `submitit`: install it with `pip install tdw[cluster]`") from error
    folder, jobs = arguments.path("folder", folder), arguments.jobs(jobs)
    given: dict[str, Any] = DEFAULTS | {name: _number(text) for name, text in (options or {}).items()}
    cluster = given.pop("cluster", "slurm")
    cpus = int(given["cpus_per_task"])
    count = jobs if jobs is not None else min(max(math.ceil(seconds / cpus / SECONDS_A_JOB), 1), MOST_JOBS)
    try:
        executor = submitit.AutoExecutor(folder=folder.absolute() / LOGS, cluster=str(cluster))
    except RuntimeError as error:
        raise AppError(f"--slurm cannot submit from here: {error}. Run this on a login node of the cluster") from error
    try:
        executor.update_parameters(**given)
    except (TypeError, ValueError, NameError) as error:
        raise SettingError("slurm", f"--slurm has an option that submitit does not accept: {error}") from error
    task = Task(folder.absolute(), cpus, analyze=analyze, retry=retry)
    with executor.batch():
        submitted = [executor.submit(task) for _ in range(count)]
    return [job.job_id for job in submitted]


def _number(text: str) -> Any:
    return int(text) if text.isascii() and text.isdigit() else text


class Task:
    """What a job does: `tdw.work`. Called by submitit, which also asks for the task to queue again after an interruption."""

    def __init__(self, folder: Path, jobs: int, *, analyze: bool, retry: bool):
        self.folder, self.jobs, self.analyze, self.retry = folder, jobs, analyze, retry

    def __call__(self) -> dict[str, int]:
        """Work on the folder; returns how many runs are in which state."""
        from tdw.sweeps.work import work

        return work(self.folder, jobs=self.jobs, analyze=self.analyze, retry=self.retry).counts

    def checkpoint(self) -> DelayedSubmission:
        """The task after an interruption: the same one. Runs that failed in this job are not tried again."""
        import submitit

        return submitit.helpers.DelayedSubmission(Task(self.folder, self.jobs, analyze=self.analyze, retry=False))
