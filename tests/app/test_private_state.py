"""The private folder as a crash, a sync client, another program or a mistake may leave it: the app works and keeps data."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tdw import state_dir
from tdw.app.job_records import Record
from tdw.app.open_runs import key_of
from tdw.app.recent_files import RecentFiles
from tdw.app.session import Session
from tdw.run import open as open_run
from tdw.state_dir import UnusableError, read_private
from tdw.store import Holder, seen_files

HUGE = 3 << 30


def in_a_folder(path: Path) -> None:
    path.mkdir()
    (path / "theirs").write_text("theirs")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(HUGE)


def unreadable(path: Path) -> None:
    path.write_text("{}")
    path.chmod(0)


def holding(content: Any) -> Callable[[Path], None]:
    return lambda path: (
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode()) and None
    )


RECORD = {"path": "/a.tdw", "kind": "train", "holder": Holder(1).encode().decode(), "started": 1.0, "state": "running"}
ENTRY = {"path": "/a.tdw", "about": "a", "opened": 1.0}
STATES: dict[str, Callable[[Path], None]] = {
    "folder": in_a_folder,
    "fifo": os.mkfifo,
    "empty": lambda path: path.touch(),
    "huge": huge,
    "unreadable": unreadable,
    "dangling link": lambda path: path.symlink_to("/nowhere/at/all"),
    "link to itself": lambda path: path.symlink_to(path),
    "link to another file": lambda path: path.symlink_to("/etc/passwd"),
    "link to endless zeros": lambda path: path.symlink_to("/dev/zero"),
    "nested": holding(b"[" * 200_000),
    "nested objects": holding(b'{"files":' * 100_000),
    "no text": holding(b"\xff\xfe\x00"),
    "cut off": holding(b'{"files": [{"path": "/a'),
    "a number": holding(7),
    "a list": holding([[], {}]),
    "null": holding(None),
    "no list": holding({"files": {"path": 1}}),
    "wrong path": holding({"files": [ENTRY | {"path": 7}, ENTRY | {"path": ["a"]}], **RECORD, "path": 7}),
    "relative path": holding({"files": [ENTRY | {"path": "a.tdw"}], **RECORD, "path": "a.tdw"}),
    "path of zero bytes": holding({"files": [ENTRY | {"path": "/a\0b"}], **RECORD, "path": "/a\0b"}),
    "endless path": holding({"files": [ENTRY | {"path": "/" + "a" * 9000}], **RECORD, "path": "/" + "a" * 9000}),
    "path of surrogates": holding({"files": [ENTRY | {"path": "/\udcff.tdw"}], **RECORD, "path": "/\udcff.tdw", "error": "x"}),
    "wrong line": holding({"files": [ENTRY | {"about": {"a": 1}}], **RECORD, "error": 7}),
    "wrong time": holding({"files": [ENTRY | {"opened": "x"}, ENTRY | {"opened": True}], **RECORD, "started": "x"}),
    "infinite time": holding(b'{"files": [{"path": "/a.tdw", "about": "", "opened": Infinity}], "started": NaN}'),
    "huge time": holding({"files": [ENTRY | {"opened": 10**400}], **RECORD, "started": 10**400}),
    "unknown words": holding({"files": [ENTRY | {"more": 1}], **RECORD, "kind": "x", "state": "y"}),
    "unhashable words": holding({"files": [[ENTRY]], **RECORD, "kind": [], "state": {}}),
    "a lone number": holding({**RECORD, "pid": 1, "holder": 1}),
    "sound": holding({"files": [ENTRY], **RECORD, "error": None}),
    "about a file": holding({"made": "x", "structure": ["y"], "config": 7}),
    "a structure": holding({"size": 10**30, "attributes": {"/": {"a": 1}}, "arrays": {"/x": [10**30, "<f4", [10**30]]}}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def never_for_long() -> Iterator[None]:
    """Turns a hang into a failure."""

    def hung(*_: Any) -> None:
        raise AssertionError("this never returns")

    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def run(tmp_path: Path, tiny_run: Path) -> Path:
    return Path(shutil.copy(tiny_run, tmp_path / "run.tdw"))


@pytest.fixture
def state(tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private folder with every kind of file."""
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "state"))
    library = RecentFiles()
    library.remember(run, "a run")
    open_run(run).close()
    jobs = state_dir.private_folder(library.folder / "jobs")
    state_dir.private_folder(library.folder / "gradio")
    for number, job_state in enumerate(("failed", "running", "starting")):
        record = Record(run, "train", Holder.current(), 2.0 + number, job_state, None)  # type: ignore[arg-type]
        place = jobs / f"{key_of(run)}-0000000{number}.json"
        place.write_bytes(record.encode())
        for suffix in (".log", ".stop"):
            place.with_suffix(suffix).write_text("tdw: a sentence\n")
    (library.folder / "tdw-open-1.html").write_text("")
    for name in seen_files.MOST:
        assert list((library.folder / "known" / name).iterdir()) != []
    return library.folder


def files(state: Path) -> list[Path]:
    return sorted(path for path in state.rglob("*") if path.is_file() and path.name != state_dir.MARK)


def slow(*values: str) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


FOLDERS = ("jobs", "known", "known/structures", "known/files", "known/runs", "gradio")
NAMES = (
    "library.json", "library.lock", "jobs/*.json", "jobs/*.log", "jobs/*.stop", "known/structures/*", "known/files/*",
    "known/runs/*", "tdw-open-*.html", *FOLDERS,
)  # fmt: skip


def replaced(state: Path, name: str, by: Callable[[Path], None]) -> None:
    places = list(state.glob(name))
    assert places != []
    for path in places:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        by(path)


def used(run: Path, tmp_path: Path, *, train: bool = False) -> None:
    """Everything that a window does with its stored state."""
    workbench = Session()
    try:
        for _ in range(2):
            news = workbench.look()
            json.dumps(news)
        key = workbench.open(str(run))
        assert workbench.runs.path(key) == run
        assert news["library"]["type"] == "library"
        for job in news["jobs"]["jobs"]:
            workbench.jobs.dismiss(job["key"])
        if train:
            started = workbench.train(Path(shutil.copy(run, tmp_path / "other.tdw")))
            assert started.process is not None
            assert started.process.wait(60) == 0  # the job has finished
        workbench.look()
        workbench.recent_files.forget(run)
        workbench.look()
        assert str(run) not in {entry.path for entry in workbench.recent_files.entries()}
    finally:
        workbench.close()
    open_run(run).close()
    assert all(isinstance(one, bytes) for one in seen_files.configs())
    assert list(seen_files.structures()) is not None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "by", ["folder", "fifo", "nested", "link to endless zeros", slow("huge"), slow("dangling link"), slow("unreadable")]
)
def test_a_private_file_that_is_something_else_is_passed_over(state, run, tmp_path, name, by):
    replaced(state, name, STATES[by])
    used(run, tmp_path)
    assert (state / "jobs").is_dir()


@pytest.mark.parametrize("by", STATES)
def test_all_of_them_at_once_as_well(state, run, tmp_path, by):
    for path in files(state):
        path.unlink()
        STATES[by](path)
    used(run, tmp_path, train=by in {"folder", "fifo", "sound"})


def test_files_in_the_way_are_moved_and_reported_and_kept(state, run, tmp_path, caplog):
    for name in ("library.json", "library.lock"):
        replaced(state, name, in_a_folder)
    with caplog.at_level("INFO", "tdw.store"):
        used(run, tmp_path)
    aside = sorted(path.name.partition(".unusable-")[0] for path in state.glob("*.unusable-*"))
    assert aside == ["library.json", "library.lock"]
    assert all((path / "theirs").read_text() == "theirs" for path in state.glob("*.unusable-*"))
    assert caplog.text.count("was not a file of tdw's and is now") == 2
    assert [entry.path for entry in RecentFiles().entries()] == []


QUICK = {"folder", "fifo", "nested", "wrong path", "a structure", "link to endless zeros"}


@pytest.mark.parametrize("by", [by if by in QUICK else slow(by) for by in STATES])
def test_commands_answer_whatever_lies_there(state, run, by):
    for path in files(state):
        path.unlink()
        STATES[by](path)
    ended = subprocess.run(
        [sys.executable, "-m", "tdw", "info", str(run)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "finished, 120 of 120 epochs" in ended.stdout


@pytest.mark.parametrize(
    "by", ["folder", "fifo", "wrong path", *map(slow, ("nested", "huge time", "link to endless zeros"))]
)
def test_the_window_starts_and_answers_whatever_lies_there(open_window, state, run, tmp_path, by):
    for path in files(state):
        path.unlink()
        STATES[by](path)
    with (tmp_path / "errors").open("w+") as errors:
        window = open_window(errors=errors)
        json.loads(window.get("/now"))
        status, answer = window.do("open", path=str(run))
        assert status == 200, answer
        assert window.do("train", key=answer["key"])[0] == 200
        assert window.do("forget", path=str(run))[0] == 200
        for _ in range(2):
            json.loads(window.get("/now"))
        # Files planted while it runs are handled too.
        for path in files(state):
            path.unlink()
            STATES[by](path)
        json.loads(window.get("/now"))
        assert window.do("open", path=str(run))[0] == 200
        window.get("/")
        window.stop()
        errors.seek(0)
        assert "Traceback" not in errors.read()


# A disk quota of zero: files can be created, but not written to.
NO_BYTES = ("sh", "-c", 'ulimit -f 0; exec "$@"', "sh")


def test_the_window_works_where_nothing_can_be_written(open_window, run, tmp_path):
    with (tmp_path / "errors").open("w+") as errors:
        browser = tmp_path / "browser"
        browser.write_text("#!/bin/sh\n")
        browser.chmod(0o700)
        # The limit applies to printed output too, if that is a file.
        errors_pipe = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=errors)
        window = open_window(errors=errors_pipe.stdin, through=NO_BYTES, BROWSER=str(browser))
        json.loads(window.get("/now"))
        status, answer = window.do("open", path=str(run))
        assert status == 200, answer
        assert len(window.get(f"/runs/{answer['key']}/array/losses/train")) > 0
        window.get("/")
        assert window.do("train", key=answer["key"])[0] in {200, 404}
        json.loads(window.get("/now"))
        assert window.do("forget", path=str(run))[0] == 200
        window.stop()
        errors_pipe.communicate()
        errors.seek(0)
        said = errors.read()
    assert "Traceback" not in said
    assert "cannot open a browser" in said
    assert "could not save the list of recent files (File too large)" in said


def test_a_lock_that_is_never_released_does_not_block(state, run, monkeypatch, caplog):
    monkeypatch.setattr(state_dir, "LOCK_PATIENCE", 0.1)
    code = "import sys, pathlib, tdw.state_dir as s; w = s.taking_turns(pathlib.Path(sys.argv[1])); w.__enter__(); print(flush=True); input()"
    command = [sys.executable, "-c", code, str(state / "library.lock")]
    with subprocess.Popen(command, stdin=-1, stdout=-1) as process, caplog.at_level("INFO", "tdw.store"):
        process.stdout.readline()
        os.kill(process.pid, signal.SIGSTOP)
        RecentFiles().remember(Path("/x.tdw"), "")
        process.kill()
    assert "another process keeps" in caplog.text
    assert "/x.tdw" not in {entry.path for entry in RecentFiles().entries()}
    RecentFiles().remember(Path("/x.tdw"), "")
    assert "/x.tdw" in {entry.path for entry in RecentFiles().entries()}


def test_one_routine_reads_them_all(tmp_path):
    """All private files are read by `read_private`."""
    file = tmp_path / "file"
    file.write_bytes(b"abcdef")
    assert read_private(file, 6) == b"abcdef"
    assert read_private(file, 3, tail=True) == b"def"
    for limit in (5, 0):
        with pytest.raises(UnusableError, match="more than the"):
            read_private(file, limit)
    with pytest.raises(FileNotFoundError):
        read_private(tmp_path / "none", 1)
    for name, make in STATES.items():
        if name in {
            "folder",
            "fifo",
            "huge",
            "dangling link",
            "link to itself",
            "link to another file",
            "link to endless zeros",
        }:
            place = tmp_path / name
            make(place)
            with pytest.raises(OSError, match=r"not a file|more than|symbolic link|directory"):
                read_private(place, 1 << 20)
