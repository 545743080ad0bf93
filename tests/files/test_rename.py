"""`tdw rename`: no file is replaced, none is moved under a writer, and a kill at any moment loses nothing."""

import contextlib
import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import tdw
from tdw.cli.main import main
from tdw.errors import AlreadyExistsError, CannotWriteError, FileInUseError, NotAProjectError
from tdw.files import moving
from tdw.store import filesystem
from tests.files.runs import make, names, wait_beside, written
from tests.store.killed import OF_NAMES, killed_at_each_call


@pytest.fixture
def run(tmp_path):
    return make(tmp_path / "run.tdw")


@pytest.mark.parametrize(
    ("new", "there"),
    [
        ("new", "new.tdw"),
        ("new.tdw", "new.tdw"),
        ("v1.2", "v1.2.tdw"),
        ("a name (2) ü", "a name (2) ü.tdw"),
        ("-x", "-x.tdw"),
        ("sub", "sub/run.tdw"),
        ("sub/", "sub/run.tdw"),
        ("sub/new", "sub/new.tdw"),
        ("./new", "new.tdw"),
        ("run", "run.tdw"),
    ],
)
def test_what_may_be_given_as_the_new_name(run, tmp_path, monkeypatch, new, there):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    before = run.read_bytes()
    assert tdw.rename("run.tdw", new).resolve() == tmp_path / there
    assert names(tmp_path) == [there]
    assert (tmp_path / there).read_bytes() == before


def test_a_name_alone_stays_in_the_folder_of_the_run(run, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert tdw.rename(run, "new") == tmp_path / "new.tdw"
    assert names(tmp_path) == ["new.tdw"]


def test_no_file_is_replaced(run, tmp_path):
    other = make(tmp_path / "other.tdw")
    (tmp_path / "link.tdw").symlink_to("nowhere")
    before = {path: path.read_bytes() for path in (run, other)}
    for name in ("other", "link"):
        with pytest.raises(AlreadyExistsError, match=rf"{name}\.tdw already exists: use another name"):
            tdw.rename(run, name)
    assert {path: path.read_bytes() for path in before} == before


def test_a_file_that_appears_at_the_last_moment_is_not_replaced(run, tmp_path, monkeypatch):
    plain = filesystem.System.link

    def late(system, source, target):
        target.write_text("mine")
        return plain(system, source, target)

    monkeypatch.setattr(filesystem.System, "link", late)
    with pytest.raises(AlreadyExistsError):
        tdw.rename(run, "new")
    assert (tmp_path / "new.tdw").read_text() == "mine"
    assert names(tmp_path) == ["new.tdw", "run.tdw"]


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("", "is empty: give a name"),
        ("a\0b", "null byte"),
        ("n" * 250, r"its name has 254 bytes, and may have 243 here"),
        ("ü" * 125, r"its name has 254 bytes"),
        ("n" * 5000, "its name has 5004 bytes"),
        ("none/new", r"the folder none does not exist"),
        ("none/", r"none/ is not a folder: create it"),
    ],
)
def test_names_that_cannot_be_used_are_refused_in_a_sentence(run, tmp_path, monkeypatch, new, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CannotWriteError, match=message):
        tdw.rename(run, new)
    assert names(tmp_path) == ["run.tdw"]


def test_the_longest_name_can_be_written_to_and_noted(run, tmp_path):
    new = tdw.rename(run, "n" * 239)
    tdw.train(new)
    with written(new):
        tdw.note(new, title="waits")
    assert tdw.info(new)["title"] == "waits"


def test_a_name_that_the_file_system_refuses_is_told(run, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.EILSEQ, "Invalid or incomplete multibyte or wide character")

    monkeypatch.setattr(filesystem.System, "link", refused)
    with pytest.raises(CannotWriteError, match="the file system cannot hold this name"):
        tdw.rename(run, "new")
    assert names(tmp_path) == ["run.tdw"]


def test_another_disk_is_refused_with_what_to_do(run, tmp_path, monkeypatch):
    def across(*_args, **_more):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    wait_beside(run)
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(os, "link", across)
    monkeypatch.setattr(os, "replace", across)
    with pytest.raises(
        CannotWriteError, match=r"is on another disk than .*run\.tdw: copy it with `tdw copy .*disk/run\.tdw`"
    ):
        tdw.rename(run, tmp_path / "disk")
    assert names(tmp_path) == ["run.tdw", "run.tdw.notes"]


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_a_real_other_disk_is_refused(run, tmp_path):
    if Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system")
    with pytest.raises(CannotWriteError, match="is on another disk"):
        tdw.rename(run, f"/dev/shm/tdw-test-{os.getpid()}.tdw")
    assert names(tmp_path) == ["run.tdw"]


def test_what_is_no_project_file_is_refused(run, tmp_path):
    (tmp_path / "text.txt").write_text("mine")
    (tmp_path / "link.tdw").symlink_to(run)
    (tmp_path / "folder").mkdir()
    for name, message in {
        "text.txt": "is not a project file",
        "link.tdw": r"is a link to .*run\.tdw: give that file",
        "folder": "is a folder",
        "none.tdw": "does not exist",
    }.items():
        with pytest.raises(NotAProjectError, match=message):
            tdw.rename(tmp_path / name, "new")
    assert names(tmp_path) == ["link.tdw", "run.tdw", "text.txt"]


def test_a_damaged_file_can_be_renamed(run, tmp_path):
    run.write_bytes(b"damaged")
    assert tdw.rename(run, "new").read_bytes() == b"damaged"


def test_a_run_that_is_written_is_refused_and_the_writer_named(run, tmp_path, capsys):
    with written(run) as other:
        with pytest.raises(FileInUseError, match=rf"is being written to by process {other.pid}:"):
            tdw.rename(run, "new")
        assert main(["rename", str(run), "new"]) == FileInUseError.exit_code
        os.link(run, tmp_path / "linked.tdw")
        with pytest.raises(FileInUseError, match="is being written to by another process"):
            tdw.rename(tmp_path / "linked.tdw", "new")
    assert names(tmp_path) == ["linked.tdw", "run.tdw"]


def test_with_wait_it_is_renamed_when_the_writer_is_done(run, tmp_path):
    with written(run) as other:
        line = [sys.executable, "-m", "tdw", "rename", run, "new", "--wait"]
        process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
        assert f"is being written to by process {other.pid}: waiting" in process.stderr.readline()
        time.sleep(1)
        assert process.poll() is None
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert names(tmp_path) == ["new.tdw"]


def test_notes_that_wait_move_along_and_are_stored(run, tmp_path):
    wait_beside(run)
    new = tdw.rename(run, "new")
    assert names(tmp_path) == ["new.tdw", "new.tdw.notes"]
    assert tdw.info(new)["title"] == "waits"
    tdw.train(new)
    assert names(tmp_path) == ["new.tdw"]
    assert tdw.info(new)["title"] == "waits"


def test_notes_of_another_run_are_not_taken_over(run, tmp_path):
    (tmp_path / "new.tdw.notes").write_text('{"title": "another run\'s"}')
    with pytest.raises(CannotWriteError, match=r"new\.tdw\.notes is in the way"):
        tdw.rename(run, "new")
    assert names(tmp_path) == ["new.tdw.notes", "run.tdw"]


def test_a_note_that_is_added_meanwhile_is_not_lost(run, tmp_path, monkeypatch):
    """It is added next to the old name after that was linked, and before it is removed."""
    wait_beside(run)
    plain, said = filesystem.System.sync_folder, []

    def late(system, folder):
        if not said:
            said.append(threading.Thread(target=lambda: said.append(_refused(run))))
            said[0].start()
            time.sleep(0.3)
        plain(system, folder)

    monkeypatch.setattr(filesystem.System, "sync_folder", late)
    new = tdw.rename(run, "new")
    said[0].join()
    assert "was moved or deleted meanwhile" in said[1]
    assert tdw.info(new)["title"] == "waits"
    assert names(tmp_path) == ["new.tdw", "new.tdw.notes"]


def _refused(run):
    try:
        wait_beside(run, "late")
    except NotAProjectError as error:
        return str(error)
    return "added"


def test_without_hard_links_it_is_renamed_as_well(run, tmp_path, monkeypatch):
    def no_links(*_args, **_more):
        raise OSError(errno.EPERM, "no links here")

    wait_beside(run)
    monkeypatch.setattr(os, "link", no_links)
    tdw.rename(run, "new")
    assert names(tmp_path) == ["new.tdw", "new.tdw.notes"]


def test_a_failure_at_any_call_changes_nothing_that_a_second_attempt_does_not_finish(tmp_path, monkeypatch):
    """EIO at the first, second, … change of a name or sync of a folder."""
    for failing in range(1, 20):
        folder = tmp_path / str(failing)
        folder.mkdir()
        run = make(folder / "run.tdw")
        wait_beside(run)
        before, calls = run.read_bytes(), 0

        def counted(plain):
            def call(*arguments, **more):
                nonlocal calls
                calls += 1
                if calls == failing:  # noqa: B023 - called in this round only
                    raise OSError(errno.EIO, "Input/output error")
                return plain(*arguments, **more)

            return call

        with monkeypatch.context() as patch:
            for name in ("link", "unlink"):
                patch.setattr(os, name, counted(getattr(os, name)))
            patch.setattr(filesystem.System, "sync_folder", counted(filesystem.System.sync_folder))
            with contextlib.suppress(CannotWriteError):
                tdw.rename(run, "new")
        there = [path for path in (run, folder / "new.tdw") if path.exists()]
        assert there
        for path in there:
            assert path.read_bytes() == before
            assert path.with_name(path.name + ".notes").exists(), failing
        if run.exists():
            tdw.rename(run, "new")
            assert names(folder) == ["new.tdw", "new.tdw.notes"], failing
        if calls < failing:
            break
    assert failing > 6


def test_a_kill_at_any_call_loses_nothing_and_renaming_again_finishes(run, tmp_path):
    before, new = run.read_bytes(), tmp_path / "new.tdw"
    notes = wait_beside(run).read_bytes()
    both = 0
    for calls in killed_at_each_call(lambda: tdw.rename(run, "new"), OF_NAMES):
        there = [path for path in (run, new) if path.exists()]
        both += len(there) == 2
        assert there, calls
        for path in there:
            assert path.read_bytes() == before, calls
            assert path.with_name(path.name + ".notes").read_bytes() == notes, calls
        if run.exists():
            tdw.rename(run, "new")
            assert names(tmp_path) == ["new.tdw", "new.tdw.notes"], calls
        for path in tmp_path.iterdir():  # begin again
            if path not in {new, tmp_path / "new.tdw.notes"}:
                path.unlink()
        tdw.rename(new, "run")
    assert both
    assert calls > 8


def test_one_name_in_another_case_where_the_file_system_ignores_case(run, tmp_path, monkeypatch):
    """There both names are the same directory entry: one file with one link."""
    other = tmp_path / "RUN.tdw"
    plain_lstat, plain_lexists = os.lstat, os.path.lexists
    folded = {str(other): str(run)}
    monkeypatch.setattr(os, "lstat", lambda path, **more: plain_lstat(folded.get(str(path), path), **more))
    monkeypatch.setattr(os.path, "lexists", lambda path: plain_lexists(folded.get(str(path), path)))
    monkeypatch.setattr("pathlib.Path.lstat", os.lstat)
    assert tdw.rename(run, "RUN") == other
    monkeypatch.undo()
    assert names(tmp_path) == ["RUN.tdw"]


def test_the_longest_name_is_asked_of_the_file_system(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "pathconf")
    assert moving._longest(tmp_path) == 255
