"""Private things of the user: folders, files, and the token."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tdw import store
from tdw.app import server
from tdw.app.job_records import Record
from tdw.app.jobs import Jobs
from tdw.app.open_runs import OpenRuns
from tdw.app.recent_files import RecentFiles
from tdw.app.tickets import Tickets
from tdw.state_dir import LEFT_BEHIND, MARK, state_folder, sweep, write_private
from tdw.store import Holder

SMALL = ["--p=11", "--d-model=16", "--heads=2", "--d-mlp=16", "--threads=1", "--train-fraction=0.6"]


def modes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): f"{stat.S_IMODE(path.stat().st_mode):o}"
        for path in [folder, *folder.rglob("*")]
    }


def until(condition) -> None:
    """Wait for a condition; the minute only bounds failing tests."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def long_run(path: Path, state: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "tdw", "new", path, *SMALL, "--epochs=1000000", "--checkpoints=even:3"],
        check=True, capture_output=True, timeout=60, env={**os.environ, "TDW_STATE_DIR": str(state)},
    )  # fmt: skip
    return path


def training(window, path: Path) -> str:
    """Open a run, train it, and wait until its file is written to. Returns the key."""
    status, answer = window.do("open", path=str(path))
    assert status == 200, answer
    assert window.do("train", key=answer["key"])[0] == 200
    until(lambda: store.locked_by(path))
    return answer["key"]


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_other_users_cannot_read_what_the_window_stores(open_window, tmp_path, tiny_run, umask):
    temporary, browser = tmp_path / "tmp", tmp_path / "browser"
    temporary.mkdir()
    browser.write_text(f"#!/bin/sh\ntouch {tmp_path}/seen\n")
    browser.chmod(0o700)
    window = open_window(umask=umask, BROWSER=str(browser), TMPDIR=str(temporary))
    until((tmp_path / "seen").exists)
    assert window.do("open", path=str(tiny_run))[0] == 200
    assert window.do("forget", path=str(tiny_run))[0] == 200
    key = training(window, long_run(tmp_path / "long.tdw", window.state))
    window.get("/")
    kept = modes(window.state)
    folders = {path for path in kept if (window.state / path).is_dir()}
    assert {"jobs", "gradio"} <= folders
    assert {
        f"tdw-open-{window.port}.html",
        "library.json",
        "library.lock",
    } <= kept.keys()
    assert {
        suffix for path in kept for name, _, suffix in [path.partition(".")] if name.startswith(f"jobs/{key}-")
    } == {
        "json",
        "log",
    }
    assert {path: kept[path] for path in folders if kept[path] != "700"} == {}
    assert {path: kept[path] for path in kept.keys() - folders if kept[path] != "600"} == {}
    assert list(temporary.iterdir()) == [], "nothing is left where everybody may look"
    assert window.do("stop", key=key)[0] == 200


def test_the_token_is_in_no_list_of_processes_log_or_file(open_window, tmp_path, tiny_run):
    said, browser = tmp_path / "said", tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\ntouch {tmp_path}/seen\nread line < {tmp_path}/wait\n")  # stays, and is listed
    browser.chmod(0o700)
    os.mkfifo(tmp_path / "wait")
    with said.open("w") as errors:
        window = open_window(errors=errors, BROWSER=str(browser))
        until((tmp_path / "seen").exists)
        page = window.state / f"tdw-open-{window.port}.html"
        assert window.token in page.read_text()
        # After access through the page on disk, the page is removed.
        assert (
            window.ask(f"/?token={window.token}", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200
        )
        assert not page.exists()
        key = training(window, long_run(tmp_path / "long.tdw", window.state))
        cookie = {"Cookie": window.cookie}
        for path in (
            f"/?token={window.token}x",
            f"/nothing?token={window.token}",
            f"/{window.token}",
            f"/runs/{window.token}/manifest",
        ):
            window.ask(path, **cookie)
        window.ask(
            "/gradio_api/run/predict",
            "POST",
            body=b"{" + window.token.encode(),
            Content_Type="application/json",
            **cookie,
        )
        window.ask(
            "/gradio_api/run/predict",
            "POST",
            body=json.dumps({"data": ["x"] * 99, "fn_index": 0}).encode(),
            Content_Type="application/json",
            **cookie,
        )
        window.do("open", path=f"/{window.token}")
        for garbage in (b"\x16\x03\x01", f"GET /?token={window.token} HTTP/9\r\n\r\n".encode(), b"GET\r\n\r\n"):
            _send(window.port, garbage)
        listed = subprocess.run(["ps", "axwweo", "pid,args"], capture_output=True, text=True, check=True).stdout
        assert re.search(r"tdw train .*long\.tdw", listed)
        assert str(browser) in listed
        assert window.token not in listed  # neither arguments nor environments
        assert window.do("stop", key=key)[0] == 200
        for path in window.state.rglob("*"):
            assert not path.is_file() or window.token.encode() not in path.read_bytes()
        (tmp_path / "wait").write_text("\n")
        window.process.send_signal(signal.SIGINT)
        rest = window.process.stdout.read().decode()
    assert window.token not in rest, "it is announced once"
    assert window.token not in said.read_text()


def _send(port: int, garbage: bytes) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(garbage)
        line.shutdown(socket.SHUT_WR)
        while line.recv(4096):
            pass


# Replaces a file, and is killed at one of the steps.
KILLED = """
import os, signal, sys, tempfile
from pathlib import Path
at = int(sys.argv[1])
step = 0

def dying(act):
    def acting(*given, **more):
        global step
        for moment in ("before", "after"):
            if moment == "after":
                done = act(*given, **more)
            if step == at:
                os.kill(os.getpid(), signal.SIGKILL)
            step += 1
        return done
    return acting

def cut_off(fd, *rest, **more):
    stream = opened(fd, *rest, **more)
    plain = stream.write
    class Cut:
        def __getattr__(self, name): return getattr(stream, name)
        def __enter__(self): return self
        def __exit__(self, *_): stream.close()
        def write(self, data):
            plain(data[: len(data) // 2]); stream.flush()
            if step == at: os.kill(os.getpid(), signal.SIGKILL)
            plain(data[len(data) // 2 :])
    return Cut()

opened = os.fdopen
WORK
for owner, name in ((Path, "mkdir"), (os, "fsync"), (Path, "replace"), (Path, "rmdir")):
    setattr(owner, name, dying(getattr(owner, name)))
os.fdopen = cut_off
ACT
print(step)
"""
LIBRARY = (
    "from tdw.app.recent_files import RecentFiles; library = RecentFiles()",
    "library.remember(Path('/new.tdw'), 'new')",
)
JOB = (
    "from tdw.app.jobs import Job, Jobs; from tdw.app.recent_files import RecentFiles; from tdw.app.open_runs import OpenRuns, key_of\n"
    "from tdw.store import Holder; jobs = Jobs(OpenRuns(RecentFiles())); record = jobs.folder / (key_of(Path('/a.tdw')) + '-00000000.json')\n"
    "job = Job(Path('/a.tdw'), 'train', Holder(1), 2.0, state='failed', error='new', record=record)",
    "jobs._record(job)",
)


def killed_at(step: int, work: tuple[str, str], state: Path) -> subprocess.CompletedProcess[str]:
    code = KILLED.replace("WORK", work[0]).replace("ACT", work[1])
    environment = {**os.environ, "TDW_STATE_DIR": str(state)}
    return subprocess.run(
        [sys.executable, "-c", code, str(step)], env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("work", [LIBRARY, JOB], ids=["library", "job"])
def test_a_kill_at_any_step_leaves_the_old_or_the_new(tmp_path, monkeypatch, work):
    steps = 8
    assert killed_at(99, work, tmp_path / "whole").stdout == f"{steps}\n"
    seen = set()
    for step in range(steps):
        state = tmp_path / str(step)
        monkeypatch.setenv("TDW_STATE_DIR", str(state))
        library = RecentFiles()
        library.remember(Path("/old.tdw"), "old")
        jobs = library.folder / "jobs"
        jobs.mkdir()
        old = Record(Path("/a.tdw"), "train", Holder(1), 1.0, "failed", "old")
        write_private(jobs / f"{_key('/a.tdw')}-00000000.json", old.encode())
        assert killed_at(step, work, state).returncode == -signal.SIGKILL
        entries = [entry.path for entry in RecentFiles().entries()]
        job = Jobs(OpenRuns(RecentFiles()))._jobs[_key("/a.tdw")]
        seen.add((tuple(entries), job.error))
        assert entries in (["/old.tdw"], ["/new.tdw", "/old.tdw"])
        assert job.error in {"old", "new"}
        # Work continues, and leftovers of the killed process are removed later.
        RecentFiles().remember(Path("/next.tdw"), "")
        assert RecentFiles().entries()[0].path == "/next.tdw"
        for folder in (state, jobs):
            for path in folder.glob(".*"):
                os.utime(path, (1, 1))
        Jobs(OpenRuns(RecentFiles()))
        assert [path.name for path in state.rglob("*") if path.name.startswith(".")] == [MARK]
    assert len(seen) == 2, "killed before and after the moment that counts"


def _key(path: str) -> str:
    from tdw.app.open_runs import key_of

    return key_of(Path(path))


@pytest.mark.parametrize("broken", ["os.fsync", "pathlib.Path.replace", "os.fdopen"])
def test_a_step_that_fails_leaves_the_old_and_nothing_else(tmp_path, monkeypatch, broken):
    write_private(tmp_path / "x.json", b"old")

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(broken, full)
        with pytest.raises(OSError, match="No space left"):
            write_private(tmp_path / "x.json", b"new")
    assert (tmp_path / "x.json").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_what_was_left_behind_is_swept_and_what_is_in_use_or_not_ours_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path))
    state = state_folder()
    assert state == tmp_path
    (state / "jobs").mkdir()
    lost, kept = f"jobs/{'0' * 20}-00000000", f"jobs/{'1' * 20}-00000000"
    swept = {
        ".library.json.0123456789abcdef.tmp/file",
        "tdw-open-1234.html",
        "jobs/.k.json.0123456789abcdef.tmp/file",
        f"{lost}.log",
        f"{lost}.stop",
    }
    stay = {"library.lock", f"{kept}.log", ".profile", "open-1234.html", "jobs/mine.log", "jobs/.mine", "known.html"}
    ages = {"young": time.time(), "old": time.time() - LEFT_BEHIND - 60}
    for age, left in (("young", swept | stay), ("old", stay)):
        for name in swept | stay:
            (state / name).parent.mkdir(mode=0o700, exist_ok=True)
            (state / name).write_text("")
            os.utime(state / name, (ages[age], ages[age]))
            if name.endswith("/file"):
                os.utime((state / name).parent, (ages[age], ages[age]))
        write_private(state / f"{kept}.json", Record(Path("/a.tdw"), "train", Holder(1), 1.0, "failed", "x").encode())
        Jobs(OpenRuns(RecentFiles()))
        found = {path.relative_to(state).as_posix() for path in state.rglob("*") if path.is_file()}
        assert found == left | {MARK, f"{kept}.json"}
    sweep(tmp_path / "nowhere")


def test_what_the_server_logs_is_plain_and_without_the_token():
    tickets = Tickets(1, print)
    used = tickets.address.partition("=")[2]
    assert tickets.redeem(used)
    said = f"?token={used}", tickets.address.partition("=")[2], tickets.cookie
    shown = server._PlainFormatter(tickets).format(
        logging.LogRecord("x", logging.ERROR, "", 0, "no way for \x1b[31m%s %s\n%s", said, None)
    )
    assert shown == "ERROR: no way for ␛[31m?token=(secret) (secret)\n(secret)"
