"""Jobs that ran without a window: they are found again, distinguished by kind, and reported if they failed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tdw
from tdw.app import jobs as jobs_module
from tdw.app.jobs import Jobs
from tdw.app.open_runs import OpenRuns, key_of
from tdw.app.recent_files import RecentFiles

# Work that takes its next step on request.
PACED = """
import sys, tdw
from tdw.operations import train
def step(*_):
    print("at", flush=True)
    sys.stdin.readline()
WORK
"""
ANALYZE = """
from tdw.analyses.engine import runner
runner.CHECKPOINTS_PER_COMMIT = 2
runner.analyze(sys.argv[1], progress=lambda at: at.units == 'checkpoints' and step())
"""
EXTEND = """
describe = train.ProjectWriter.describe
def later(self, *given):
    step()
    describe(self, *given)
train.ProjectWriter.describe = later
tdw.train(sys.argv[1], epochs=100_000, progress=step)
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Jobs]]:
    """Creates the `Jobs` of a server, and of servers started later."""
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(jobs_module, "SEARCH_EVERY", 0.0)
    made: list[OpenRuns] = []

    def make() -> Jobs:
        made.append(OpenRuns(RecentFiles()))
        return Jobs(made[-1])

    yield make
    for runs in made:
        runs.close()


@pytest.fixture
def paced() -> Iterator[Callable[[str, Path], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(work: str, path: Path) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", PACED.replace("WORK", work), str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        reached(started[-1])
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def reached(process: subprocess.Popen[str]) -> None:
    """Wait for the next step."""
    assert process.stdout.readline() == "at\n"


def go_on(process: subprocess.Popen[str]) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


def polled(jobs: Jobs, path: Path) -> dict[str, Any] | None:
    return next((job for job in jobs.poll() if job["key"] == key_of(path)), None)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def known(path: Path) -> Path:
    RecentFiles().remember(path, "")
    return path


def unfinished(path: Path) -> Path:
    """A run that was stopped early, with checkpoints that are not analyzed."""
    tdw.create(path, tdw.configure(p=11, d_model=16, heads=2, d_mlp=16, epochs=4000, checkpoints="0:200:20", threads=1))
    tdw.train(path, stop=lambda: len(tdw.open(path).epochs) > 300, progress=None)
    with tdw.open(path) as run:
        assert run.state == "unfinished"
    return path


def test_an_analysis_of_an_unfinished_run_is_found_to_be_one(jobs, paced, tmp_path):
    path = known(unfinished(tmp_path / "run.tdw"))
    process = paced(ANALYZE, path)
    here = jobs()
    assert polled(here, path)["state"] == "running"
    go_on(process)
    reached(process)
    seen = polled(here, path)
    assert (seen["kind"], seen["done"], seen["total"]) == ("analyze", 4, 11)


def test_a_finished_run_that_is_extended_is_found_to_be_trained(jobs, paced, tmp_path, tiny_run):
    path = known(Path(shutil.copy(tiny_run, tmp_path / "run.tdw")))
    process = paced(EXTEND, path)
    here = jobs()
    assert polled(here, path)["kind"] == "train", "its lock says so, before anything has grown"
    go_on(process)
    reached(process)
    assert polled(here, path)["kind"] == "train"
    assert polled(here, path)["total"] == 100_000
    go_on(process)
    reached(process)
    seen = polled(here, path)
    assert (seen["kind"], seen["done"] > 120) == ("train", True)


@pytest.fixture
def long_run(tmp_path: Path, jobs: Callable[[], Jobs]) -> Path:
    path = tmp_path / "long.tdw"
    tdw.create(
        path, tdw.configure(p=11, d_model=16, heads=2, d_mlp=16, epochs=1_000_000, checkpoints="even:3", threads=1)
    )
    return known(path)


def started(jobs: Jobs, path: Path) -> subprocess.Popen[bytes]:
    """Train in a process of which later servers know only the number; returns once it has committed something."""
    job = jobs.start("train", path)
    until(lambda: (polled(jobs, path) or {}).get("done", 0) > 0)
    assert job.process is not None
    return job.process


def end(process: subprocess.Popen[bytes], how: int) -> None:
    process.send_signal(how)
    process.wait()  # normally the system does this, after its server has exited


def test_a_job_killed_while_no_server_was_there_is_reported(jobs, long_run):
    end(started(jobs(), long_run), signal.SIGKILL)
    later = jobs()
    job = polled(later, long_run)
    assert job["state"] == "failed"
    assert (
        job["error"]
        == "the process exited without an error message; committed data is kept, and the job can be resumed"
    )
    assert polled(jobs(), long_run)["error"] == job["error"], "until it is dismissed, or done again"
    again = later.start("train", long_run)
    until(lambda: polled(later, long_run)["state"] == "running")
    later.stop(again.key)
    until(lambda: not polled(later, long_run))
    assert list(later.folder.iterdir()) == []


def test_a_job_that_was_stopped_while_no_server_was_there_is_none(jobs, long_run):
    end(started(jobs(), long_run), signal.SIGINT)
    later = jobs()
    assert polled(later, long_run) is None
    assert list(later.folder.iterdir()) == []


def test_a_job_whose_file_went_with_it_is_reported(jobs, long_run):
    end(started(jobs(), long_run), signal.SIGKILL)
    long_run.unlink()
    assert polled(jobs(), long_run)["state"] == "failed"


def test_training_from_a_terminal_that_is_killed_is_reported(jobs, long_run):
    here = jobs()
    process = subprocess.Popen([sys.executable, "-m", "tdw", "train", long_run], stdout=subprocess.DEVNULL)
    until(lambda: (polled(here, long_run) or {}).get("done", 0) > 0)
    process.kill()
    process.wait()
    until(lambda: polled(here, long_run)["state"] == "failed")
    assert "exited without an error message" in polled(here, long_run)["error"]
