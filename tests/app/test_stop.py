"""Stop ends the job, and never an unrelated process with the same number; windows of one user share jobs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tdw
from tdw import store
from tdw.app import job_records
from tdw.app import jobs as jobs_module
from tdw.app.jobs import Jobs
from tdw.app.open_runs import OpenRuns, key_of
from tdw.app.recent_files import RecentFiles
from tdw.errors import AppError
from tdw.store import Holder, lock

SMALL = {"p": 11, "d_model": 16, "heads": 2, "d_mlp": 16, "threads": 1, "train_fraction": 0.6}


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Jobs]]:
    """Creates the `Jobs` of servers of one user."""
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(jobs_module, "SEARCH_EVERY", 0.0)
    made: list[Jobs] = []

    def make() -> Jobs:
        made.append(Jobs(OpenRuns(RecentFiles())))
        return made[-1]

    yield make
    for one in made:
        for job in one._jobs.values():
            if job.process is not None:
                job.process.kill()
                job.process.wait()
        one.runs.close()


@pytest.fixture
def decoy() -> Iterator[subprocess.Popen[bytes]]:
    """An unrelated process of this user."""
    process = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1)
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


@contextlib.contextmanager
def held(path: Path, text: bytes) -> Iterator[None]:
    """The lock of a file, held by another process that wrote this text into it."""
    sidecar = lock.sidecar(path)
    sidecar.write_bytes(text)
    code = "import fcntl, sys; fcntl.flock(f := open(sys.argv[1], 'rb'), fcntl.LOCK_EX); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code, str(sidecar)], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def polled(jobs: Jobs, path: Path) -> dict[str, Any] | None:
    return next((job for job in jobs.poll() if job["key"] == key_of(path)), None)


def long_run(path: Path) -> Path:
    tdw.create(path, tdw.configure(**SMALL, epochs=1_000_000, checkpoints="even:3"))
    RecentFiles().remember(path, "")
    return path


# Texts of the lock file with the process number of the decoy.
FOREIGN = {
    "a number": lambda pid: str(pid).encode(),
    "a process group": lambda _: b"0",
    "every process": lambda _: b"-1",
    "twenty digits": lambda _: b"9" * 20,
    "nothing": lambda _: b"",
    "nested": lambda _: b"[" * 5000,
    "another host": lambda pid: replace(Holder.of(pid), host="another").encode(),
    "another boot": lambda pid: replace(Holder.of(pid), boot="another").encode(),
    "another container": lambda pid: replace(Holder.of(pid), namespace="pid:[1]").encode(),
    "an earlier process": lambda pid: replace(Holder.of(pid), started="1").encode(),
    "a system that does not tell": lambda pid: Holder(pid).encode(),
    "the first process, elsewhere": lambda _: replace(Holder.of(1), namespace="pid:[1]").encode(),
}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_stop_never_signals_a_process_that_only_seems_to_hold_the_lock(jobs, decoy, tmp_path, tiny_run, text):
    path = Path(shutil.copy(tiny_run, tmp_path / "run.tdw"))
    RecentFiles().remember(path, "")
    with held(path, text(decoy.pid)):
        here = jobs()
        seen = polled(here, path)
        with pytest.raises(AppError, match=r"no job is running on this file|which this window did not start"):
            here.stop(key_of(path))
        assert (seen is None) or polled(here, path)["state"] == "running"
    assert decoy.poll() is None


@pytest.mark.parametrize("text", [FOREIGN[name] for name in ("a number", "twenty digits", "another boot")])
def test_stop_by_request_neither(open_window, decoy, tmp_path, tiny_run, text):
    path = Path(shutil.copy(tiny_run, tmp_path / "run.tdw"))
    with held(path, text(decoy.pid)):
        window = open_window(path)
        window.get("/now")
        status, answer = window.do("stop", key=key_of(path))
        assert status == 404
        assert "no job is running on this file" in answer["error"] or "stop it there with Ctrl-C" in answer["error"]
    assert decoy.poll() is None


def test_a_record_whose_process_number_was_reused_stops_no_process(jobs, decoy, tmp_path):
    """The server and its job were killed, another program got the job's process number, and a third one holds the file."""
    path = long_run(tmp_path / "run.tdw")
    before = jobs()
    left = replace(Holder.of(decoy.pid), started="1")
    place = before.folder / f"{key_of(path)}-00000000.json"
    place.write_bytes(job_records.Record(path, "train", left, time.time(), "running", None).encode())
    with held(path, left.encode()):
        later = jobs()
        assert polled(later, path)["state"] == "running"
        later.stop(key_of(path))
    assert decoy.poll() is None
    assert Holder.decode((place.with_suffix(".stop")).read_bytes()) == left, "a file asks, and the decoy looks for none"


def test_a_job_found_again_is_stopped_and_keeps_what_is_done(jobs, tmp_path):
    path = long_run(tmp_path / "run.tdw")
    process = jobs().start("train", path).process
    later = jobs()
    until(lambda: (polled(later, path) or {}).get("done", 0) > 0)
    later.stop(key_of(path))
    assert process.wait() == 130
    assert polled(later, path) is None
    with tdw.open(path) as run:
        assert run.state == "unfinished"
    assert list(later.folder.iterdir()) == []


def test_where_the_system_does_not_tell_a_file_stops_the_job(jobs, tmp_path, monkeypatch):
    path = long_run(tmp_path / "run.tdw")
    process = jobs().start("train", path).process
    later = jobs()
    until(lambda: (polled(later, path) or {}).get("done", 0) > 0)
    monkeypatch.setattr(Holder, "send", lambda *_: False)
    later.stop(key_of(path))
    assert process.wait() == 130
    assert polled(later, path) is None
    with store.open_reader(path) as reader:
        assert reader.commit.clean
    assert list(later.folder.iterdir()) == []


def test_a_stop_file_for_another_process_is_ignored(jobs, tmp_path):
    path = long_run(tmp_path / "run.tdw")
    here = jobs()
    job = here.start("train", path)
    file = job.record.with_suffix(".stop")
    for text in (b"", b"stop", replace(job.holder, started="1").encode()):
        file.write_bytes(text)
        reached = until(lambda: (polled(here, path) or {}).get("done", 0))
        until(lambda reached=reached: (polled(here, path) or {}).get("done", 0) > reached)
    assert file.exists()
    file.unlink()
    os.mkfifo(file)
    until(lambda: (polled(here, path) or {}).get("state") == "running")
    file.unlink()
    file.write_bytes(job.holder.encode())
    assert job.process.wait() == 130


# A window in another container: starts a job there, and waits.
ELSEWHERE = """
import sys
from pathlib import Path
from tdw.app.jobs import Jobs
from tdw.app.recent_files import RecentFiles
from tdw.app.open_runs import OpenRuns
jobs = Jobs(OpenRuns(RecentFiles()))
job = jobs.start("train", Path(sys.argv[1]))
print(job.process.pid, flush=True)
job.process.wait()
print(job.process.returncode, flush=True)
"""


def can_make_containers() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run(["unshare", "-pf", "--mount-proc", "true"], capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not can_make_containers(), reason="no container can be made here")
def test_a_job_in_another_container_is_stopped_and_its_number_here_is_left_alone(jobs, tmp_path):
    path = long_run(tmp_path / "run.tdw")
    command = ["unshare", "-pf", "--mount-proc", sys.executable, "-c", ELSEWHERE, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as container:
        there = int(container.stdout.readline())
        assert there < 100, "process numbers restart in a container: this one is a system process's here"
        later = jobs()
        until(lambda: (polled(later, path) or {}).get("done", 0) > 0)
        holder = store.holder_of(path)
        assert (holder.pid, holder.is_elsewhere, holder.kind) == (there, True, "train")
        later.stop(key_of(path))
        assert container.stdout.readline() == "130\n"
    assert polled(later, path) is None
    with tdw.open(path) as run:
        assert run.state == "unfinished"


@pytest.mark.skipif(not can_make_containers(), reason="no container can be made here")
def test_training_from_a_terminal_in_another_container_is_said_to_be_there(jobs, tmp_path):
    path = long_run(tmp_path / "run.tdw")
    command = ["unshare", "-pf", "--mount-proc", "--kill-child", sys.executable, "-m", "tdw", "train", str(path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as container:
        here = jobs()
        until(lambda: (polled(here, path) or {}).get("done", 0) > 0)
        with pytest.raises(AppError, match=r"process 1 on \S+, which this window did not start .*Ctrl-C"):
            here.stop(key_of(path))
        before = polled(here, path)["done"]
        until(lambda: polled(here, path)["done"] > before)
        container.kill()


def test_the_second_of_two_servers_shows_the_job_of_the_first(jobs, tmp_path):
    path = long_run(tmp_path / "run.tdw")
    one, two = jobs(), jobs()
    first = one.start("train", path)
    second = two.start("train", path)
    assert second.process is None
    assert second.holder == first.holder
    until(lambda: (polled(two, path) or {}).get("done", 0) > 0)
    two.stop(key_of(path))
    until(lambda: not polled(one, path) and not polled(two, path))
    assert first.process.wait() == 130
    assert list(one.folder.iterdir()) == []


def test_servers_that_press_train_at_once_show_one_job_and_no_failure(jobs, tmp_path, monkeypatch):
    """Neither sees the other's job before it starts its own."""
    path = long_run(tmp_path / "run.tdw")
    one, two = jobs(), jobs()
    with monkeypatch.context() as blind:
        blind.setattr(Jobs, "_at_work", lambda *_, **__: None)
        started = [server.start("train", path) for server in (one, two)]
    states = set()

    def settled() -> bool:
        seen = [polled(server, path) for server in (one, two)]
        states.update(job["state"] for job in seen if job)
        holders = {server._jobs[key_of(path)].holder for server in (one, two) if key_of(path) in server._jobs}
        return all(job and job["done"] > 0 for job in seen) and holders == {store.holder_of(path)}

    until(settled)
    assert "failed" not in states
    assert sorted(job.process.poll() is None for job in started) == [False, True]
    assert len(list(one.folder.glob("*.json"))) == 1
    two.stop(key_of(path))
    until(lambda: not polled(one, path) and not polled(two, path))
    assert list(one.folder.iterdir()) == []


def test_a_lost_race_is_not_reported_as_a_failure(jobs, tmp_path, monkeypatch):
    path = tmp_path / "short.tdw"
    tdw.create(path, tdw.configure(**SMALL, epochs=200, checkpoints="even:3"))
    here = jobs()
    with held(path, replace(Holder.current(), pid=1, started="1").encode()):
        with monkeypatch.context() as blind:
            blind.setattr(Jobs, "_at_work", lambda *_, **__: None)
            job = here.start("train", path)
        assert job.process.wait() == 75
    tdw.train(path)
    assert polled(here, path) is None
    assert list(here.folder.iterdir()) == []


def test_two_windows_that_train_at_once(open_window, tmp_path):
    path = long_run(tmp_path / "run.tdw")
    windows = [open_window(), open_window()]
    for window in windows:
        assert window.do("open", path=str(path))[0] == 200
    key = key_of(path)
    for window in windows:
        assert window.do("train", key=key)[0] == 200
    seen: list[list[dict[str, Any]]] = []

    def running() -> bool:
        seen.append([next(one["jobs"] for one in json.loads(w.get("/now")) if one["type"] == "jobs") for w in windows])
        return all(found and found[0]["done"] > 0 for found in seen[-1])

    until(running)
    assert {job["state"] for round_ in seen for found in round_ for job in found} <= {"starting", "running"}
    assert windows[0].do("stop", key=key)[0] == 200
    until(lambda: store.locked_by(path) is None)


def test_a_signal_reaches_the_job_that_a_server_started_before_it_was_killed(open_window, tmp_path):
    path = long_run(tmp_path / "run.tdw")
    first = open_window(path)
    assert first.do("train", key=key_of(path))[0] == 200
    until(lambda: store.locked_by(path))
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    second = open_window(path)
    second.get("/now")
    assert second.do("stop", key=key_of(path))[0] == 200
    until(lambda: store.locked_by(path) is None)
    with tdw.open(path) as run:
        assert run.state == "unfinished"


def test_locks_are_as_these_tests_think(tmp_path, tiny_run):
    """The texts above are written into the lock file."""
    path = Path(shutil.copy(tiny_run, tmp_path / "run.tdw"))
    with store.open_writer(path):
        with lock.sidecar(path).open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert Holder.decode(lock.sidecar(path).read_bytes()) == Holder.current() == store.holder_of(path)
