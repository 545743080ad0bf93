"""The location of the private state: a folder that only this user can access; existing files in it are left alone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tdw.app.recent_files import RecentFiles
from tdw.errors import AppError
from tdw.state_dir import MARK, private_folder, state_folder

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="folders of a user are the user's there")
as_root = pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() != 0, reason="only root can act as another user")
INSIDE = f"tdw-{os.geteuid()}" if hasattr(os, "geteuid") else ""


@pytest.fixture
def named(tmp_path, monkeypatch) -> Path:
    """The folder that TDW_STATE_DIR names."""
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "named"))
    return tmp_path / "named"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def made(path: Path, permissions: int) -> Path:
    path.mkdir()
    path.chmod(permissions)
    return path


def test_a_new_folder_is_private_and_so_are_those_above_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "a" / "b" / "c"))
    before = os.umask(0)
    try:
        assert state_folder() == tmp_path / "a" / "b" / "c"
    finally:
        os.umask(before)
    assert {mode(tmp_path / one) for one in ("a", "a/b", "a/b/c")} == {0o700}


def test_an_empty_private_folder_is_taken_and_known_again(named):
    made(named, 0o700)
    assert state_folder() == named
    RecentFiles().remember(Path("/x.tdw"), "")
    assert state_folder() == named
    assert (named / MARK).is_file()


@pytest.mark.parametrize("permissions", [0o777 | stat.S_ISVTX, 0o755, 0o750, 0o711, 0o701])
@pytest.mark.parametrize("through", ["itself", "a link"])
def test_a_folder_that_is_open_to_others_stays_as_it_is_and_a_private_one_in_it_is_used(
    tmp_path, named, permissions, through
):
    shared = made(tmp_path / "shared" if through == "a link" else named, permissions)
    if through == "a link":
        named.symlink_to(shared)
    (shared / "library.json").write_text("theirs")
    folder = state_folder()
    assert folder == named / INSIDE
    RecentFiles().remember(Path("/x.tdw"), "")
    assert mode(shared) == permissions
    assert sorted(path.name for path in shared.iterdir()) == ["library.json", INSIDE]
    assert (shared / "library.json").read_text() == "theirs"
    assert mode(folder) == 0o700
    assert {mode(path) for path in folder.iterdir()} == {0o600}
    assert state_folder() == folder


@pytest.mark.parametrize("permissions", [0o777, 0o775, 0o772])
def test_a_folder_in_which_others_may_rename_is_refused(named, permissions):
    made(named, permissions)
    with pytest.raises(AppError, match=r"named, cannot be used \(other users may rename its files\): make it private"):
        state_folder()
    assert mode(named) == permissions
    assert list(named.iterdir()) == []


def test_a_private_folder_with_something_else_in_it_keeps_it(named):
    """TDW_STATE_DIR may be the home folder: its files are not replaced or deleted."""
    made(named, 0o700)
    theirs = (".profile", ".x.tdw-tmp", "library.json", "tdw-open-80.html", "jobs")
    for name in theirs:
        (named / name).write_text("theirs")
        os.utime(named / name, (1, 1))
    assert state_folder() == named / INSIDE
    RecentFiles().remember(Path("/x.tdw"), "")
    assert {name: (named / name).read_text() for name in theirs} == dict.fromkeys(theirs, "theirs")


def test_the_folder_of_an_earlier_version_is_known(named):
    made(named, 0o700)
    (named / "known").mkdir()
    assert state_folder() == named


@pytest.mark.parametrize("planted", ["link", "file", "open folder", "dangling link"])
def test_what_was_planted_where_the_private_folder_would_be_is_refused(tmp_path, named, planted):
    made(named, 0o777 | stat.S_ISVTX)
    place, target = named / INSIDE, made(tmp_path / "target", 0o700)
    match planted:
        case "link":
            place.symlink_to(target)
        case "dangling link":
            place.symlink_to(tmp_path / "nowhere")
        case "file":
            place.write_text("")
        case _:
            made(place, 0o755)
    before = mode(place)
    with pytest.raises(AppError, match=r"cannot be used \(it is a link, or other users can enter it\)"):
        state_folder()
    assert mode(place) == before
    assert list(target.iterdir()) == []
    assert not (tmp_path / "nowhere").exists()


@as_root
def test_another_users_folder_is_refused(named):
    made(named, 0o700)
    os.chown(named, 65534, 65534)
    with pytest.raises(AppError, match=r"cannot be used"):
        state_folder()
    assert mode(named) == 0o700
    os.chown(named, 0, 0)
    named.chmod(0o777 | stat.S_ISVTX)
    inside = made(named / INSIDE, 0o700)
    os.chown(inside, 65534, 65534)
    with pytest.raises(AppError, match=r"other users can enter it"):
        state_folder()


@pytest.mark.parametrize("there", ["file", "fifo", "dangling link", "loop"])
def test_a_state_folder_that_is_not_a_folder_is_refused_with_a_message(named, there):
    match there:
        case "file":
            named.write_text("a file")
        case "fifo":
            os.mkfifo(named)
        case "loop":
            named.symlink_to(named)
        case _:
            named.symlink_to(named.with_name("nowhere"))
    with pytest.raises(AppError, match=r"named, cannot be used .*TDW_STATE_DIR"):
        state_folder()


def test_the_default_folder_is_closed_again_where_it_was_opened_and_not_through_a_link(tmp_path, monkeypatch):
    monkeypatch.delenv("TDW_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    before = os.umask(0)
    try:
        folder = state_folder()
    finally:
        os.umask(before)
    assert (folder, mode(folder), mode(folder.parent)) == (tmp_path / "state" / "tdw", 0o700, 0o700)
    folder.chmod(0o755)
    assert state_folder() == folder
    assert mode(folder) == 0o700
    elsewhere = made(tmp_path / "elsewhere", 0o755)
    folder.rename(tmp_path / "old")
    folder.symlink_to(elsewhere)
    assert state_folder() == folder / INSIDE
    assert mode(elsewhere) == 0o755


def test_a_folder_inside_is_made_where_something_else_has_its_name(named):
    state = state_folder()
    (state / "jobs").write_text("theirs")
    os.mkfifo(state / "known")
    (state / "gradio").symlink_to("/nowhere")
    for name in ("jobs", "known", "gradio"):
        folder = private_folder(state / name)
        assert folder.is_dir()
        assert not folder.is_symlink()
    assert next(state.glob("jobs.unusable-*")).read_text() == "theirs"


@pytest.mark.parametrize("command", [["open", "--no-browser"], ["open"]])
def test_the_window_reports_in_one_line_that_the_state_folder_is_not_private(named, command):
    made(named, 0o777)
    ended = subprocess.run([sys.executable, "-m", "tdw", *command], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.startswith("tdw: the folder for private state, ")
    assert ended.stderr.count("\n") == 1


def test_other_commands_work_without_a_private_place(named, tiny_run):
    made(named, 0o777)
    ended = subprocess.run([sys.executable, "-m", "tdw", "info", tiny_run], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr
