"""The private list of recent files."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from tdw.app import recent_files
from tdw.app.recent_files import RecentFiles
from tdw.errors import AppError
from tdw.state_dir import state_folder, write_private


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def library(tmp_path, monkeypatch) -> RecentFiles:
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "state"))
    return RecentFiles()


def test_the_file_opened_last_comes_first(library, tmp_path):
    for name in ("a", "b", "a"):
        library.remember(tmp_path / f"{name}.tdw", f"about {name}")
    assert [entry.path for entry in library.entries()] == [str(tmp_path / "a.tdw"), str(tmp_path / "b.tdw")]


def test_another_program_reads_the_same_list(library, tmp_path):
    library.remember(tmp_path / "a.tdw", "x")
    library.describe(tmp_path / "a.tdw", "y")
    assert [entry.about for entry in RecentFiles(library.folder).entries()] == ["y"]
    library.forget(tmp_path / "a.tdw")
    assert RecentFiles(library.folder).entries() == []


def test_the_list_has_an_end(library, tmp_path, monkeypatch):
    monkeypatch.setattr(recent_files, "KEPT", 10)
    for number in range(13):
        library.remember(tmp_path / f"{number}.tdw", "")
    assert len(library.entries()) == 10


def test_a_file_that_vanished_unopened_comes_last_and_once(library, tmp_path):
    library.remember(tmp_path / "a.tdw", "")
    for _ in range(2):
        library.keep(tmp_path / "b.tdw")
        library.keep(tmp_path / "a.tdw")
    assert [Path(entry.path).name for entry in library.entries()] == ["a.tdw", "b.tdw"]


def test_a_moved_file_keeps_its_place(library, tmp_path):
    for name in "abc":
        library.remember(tmp_path / name, name)
    library.move(tmp_path / "b", tmp_path / "d")
    assert [(Path(entry.path).name, entry.about) for entry in library.entries()] == [("c", "c"), ("d", "b"), ("a", "a")]


def test_only_the_owner_can_read_it(library, tmp_path):
    library.remember(tmp_path / "a.tdw", "")
    assert mode(library.folder) == 0o700
    assert {mode(path) for path in library.folder.iterdir()} == {0o600}


def test_a_folder_that_cannot_be_used_is_named(tmp_path, monkeypatch):
    (tmp_path / "state").write_text("a file")
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "state"))
    with pytest.raises(AppError, match=r"state, cannot be used .*TDW_STATE_DIR"):
        state_folder()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"files": 3}', b'{"files": [3, {"path": "x"}]}', b"\xff"])
def test_a_damaged_list_is_an_empty_one(library, content):
    (library.folder / "library.json").write_bytes(content)
    assert library.entries() == []


def test_threads_do_not_lose_each_others_entries(library, tmp_path):
    def remember(number: int) -> None:
        library.remember(tmp_path / f"{number}.tdw", "")

    threads = [threading.Thread(target=remember, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(library.entries()) == 12


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_private(tmp_path / "x.json", b"old")

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private(tmp_path / "x.json", b"new")
    assert (tmp_path / "x.json").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
