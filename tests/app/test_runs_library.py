"""The library behind the table of runs: what is listed, what is noticed, and what is kept."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tdw
from tdw.app import library as module
from tdw.app.library import Library
from tdw.app.open_runs import key_of
from tdw.app.recent_files import RecentFiles
from tdw.errors import AppError, NotAProjectError
from tdw.statistics import index, rows

SIZES = {"p": 7, "d_model": 8, "heads": 2, "d_mlp": 8, "epochs": 20, "checkpoints": "", "threads": 1}


def make(path: Path, **settings: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tdw.create(path, tdw.configure(**{**SIZES, **settings}))
    return path


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """The clock has gone on since the files changed, and indexes are written at once."""
    monkeypatch.setattr(index, "JUST_NOW", 0)
    monkeypatch.setattr(module, "SAVE_EVERY", 0)
    monkeypatch.setattr(module, "SHARE", 1e9)  # reading a file has not just taken long


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "state"))
    for seed in range(3):
        make(tmp_path / "runs" / f"{seed}.tdw", model_seed=seed)
    return tmp_path / "runs"


@pytest.fixture
def library(folder) -> Library:
    library = Library(RecentFiles())
    library.add_folder(folder)
    library.scan()
    return library


def listed(library: Library) -> dict[str, str]:
    """Names of the runs with what is said of their files."""
    return {
        line["name"]: "gone" if line["gone"] else "problem" if line["problem"] else "there"
        for line in library.changes()["lines"]
    }


def values(library: Library, name: str) -> dict[str, object]:
    told = library.changes()
    (line,) = [line for line in told["lines"] if line["name"] == name]
    return dict(zip(told["columns"], line["values"], strict=True))


def since(library: Library, number: int) -> tuple[set[str], set[str]]:
    told = library.changes(number)
    return {line["name"] for line in told["lines"]}, set(told["removed"])


def test_lines_say_what_runs_says(library, folder):
    told = library.changes()
    by_path = {line["path"]: dict(zip(told["columns"], line["values"], strict=True)) for line in told["lines"]}
    assert by_path == {row["path"]: row for row in tdw.runs(folder)}
    assert told["complete"]
    json.dumps(told, allow_nan=False)
    assert told["folders"] == [{"path": str(folder), "there": True}]


def test_losses_are_in_small(library, folder):
    tdw.train(folder / "0.tdw")
    library.scan()
    (line,) = [line for line in library.changes()["lines"] if line["name"] == "0"]
    train, test = line["losses"]["train"], line["losses"]["test"]
    with tdw.open(folder / "0.tdw") as run:
        logs = {side: [float(x) for x in getattr(run, f"{side}_loss")] for side in ("train", "test")}
    # a recorded loss stands in its share of the epochs, and the order of heights is that of losses
    recorded = [loss for loss in logs["train"] if not math.isnan(loss)]
    heights = [height for height in train if height >= 0]
    assert len(heights) == len(recorded) == 21
    assert [a >= b for a, b in itertools.pairwise(heights)] == [a >= b for a, b in itertools.pairwise(recorded)]
    assert max(heights + [h for h in test if h >= 0]) == 60
    assert min(heights + [h for h in test if h >= 0]) == 0


def test_new_changed_and_removed_files_are_told(library, folder):
    number = library.changes()["number"]
    assert since(library, number) == (set(), set())
    make(folder / "deep" / "new.tdw", p=11)
    tdw.note(folder / "1.tdw", title="named")
    library.scan()
    assert since(library, number)[0] == {"new", "1"}
    assert values(library, "1")["title"] == "named"
    assert values(library, "new")["p"] == 11
    number = library.changes()["number"]
    library.scan()
    assert since(library, number) == (set(), set())


def test_a_vanished_file_stays_until_it_is_forgotten(library, folder):
    before = values(library, "1")
    (folder / "1.tdw").unlink()
    library.scan()
    assert listed(library) == {"0": "there", "1": "gone", "2": "there"}
    assert values(library, "1") == before
    again = Library(RecentFiles())  # after a restart
    again.scan()
    assert listed(again)["1"] == "gone"
    again.forget(folder / "1.tdw")
    again.scan()
    assert listed(again) == {"0": "there", "2": "there"}
    assert since(again, 0)[1] == {key_of(folder / "1.tdw")}


def test_a_file_that_comes_back_is_there(library, folder):
    (folder / "1.tdw").rename(folder.parent / "aside")
    library.scan()
    (folder.parent / "aside").rename(folder / "1.tdw")
    library.scan()
    assert listed(library) == dict.fromkeys("012", "there")


def test_a_moved_file_keeps_its_place(library, folder):
    recent = library.recent_files
    for seed in (2, 1, 0):
        recent.remember(folder / f"{seed}.tdw", f"about {seed}")
    old, new = folder / "1.tdw", folder / "sub" / "moved.tdw"
    new.parent.mkdir()
    old.rename(new)
    library.scan()
    assert listed(library) == {"0": "there", "moved": "there", "2": "there"}
    assert library.changes()["moved"] == {key_of(old): key_of(new)}
    assert [Path(entry.path).name for entry in recent.entries()] == ["0.tdw", "moved.tdw", "2.tdw"]


def test_a_file_moved_between_two_sessions_is_known_again(library, folder):
    library.recent_files.remember(folder / "1.tdw", "about 1")
    library.scan()
    (folder / "1.tdw").rename(folder / "other.tdw")
    again = Library(RecentFiles())
    again.scan()
    assert listed(again) == {"0": "there", "other": "there", "2": "there"}
    assert [Path(entry.path).name for entry in again.recent_files.entries()] == ["other.tdw"]


def test_a_copy_is_not_a_move(library, folder):
    shutil.copy(folder / "1.tdw", folder / "copy.tdw")
    library.scan()
    assert set(listed(library)) == {"0", "1", "2", "copy"}
    assert library.changes()["moved"] == {}


def test_a_deleted_file_is_not_taken_for_its_old_copy(library, folder, monkeypatch):
    shutil.copy(folder / "1.tdw", folder / "copy.tdw")
    library.scan()
    monkeypatch.setattr(module, "MOVING", 0)
    (folder / "1.tdw").unlink()
    library.scan()
    assert listed(library) == {"0": "there", "1": "gone", "2": "there", "copy": "there"}


def test_what_cannot_be_read_says_why(library, folder):
    (folder / "bad.tdw").write_bytes(b"no project")
    library.scan()
    assert listed(library)["bad"] == "problem"
    (line,) = [line for line in library.changes()["lines"] if line["name"] == "bad"]
    assert "not a project file" in line["problem"]
    assert line["values"] is None


def test_one_file_under_two_names_is_listed_once(library, folder):
    os.link(folder / "1.tdw", folder / "1b.tdw")
    library.scan()
    assert set(listed(library)) == {"0", "1", "2"}


def test_files_that_did_not_change_are_not_read_again(library, folder, monkeypatch):
    library.recent_files.remember(make(folder.parent / "single.tdw"), "single")
    library.scan()
    read = []
    real = rows.read
    monkeypatch.setattr(rows, "read", lambda path: (read.append(path.name), real(path))[1])
    again = Library(RecentFiles())
    again.scan()
    assert (set(listed(again)), read) == ({"0", "1", "2", "single"}, [])
    for place in (again.recent_files.folder / "runs").glob("*.json"):
        place.write_bytes(b"nonsense")
    third = Library(RecentFiles())
    third.scan()
    assert sorted(read) == ["0.tdw", "1.tdw", "2.tdw", "single.tdw"]
    assert listed(third) == listed(again)


def test_a_removed_folder_takes_its_runs_with_it_but_not_opened_ones(library, folder):
    library.recent_files.remember(folder / "1.tdw", "opened")
    library.remove_folder(folder)
    library.scan()
    assert listed(library) == {"1": "there"}
    assert library.changes()["folders"] == []


def test_a_folder_that_is_not_there_says_so_and_loses_nothing(library, folder):
    folder.rename(folder.parent / "away")
    library.scan()
    assert library.changes()["folders"] == [{"path": str(folder), "there": False}]
    assert set(listed(library).values()) == {"gone"}
    assert library.recent_files.entries() == []
    (folder.parent / "away").rename(folder)
    library.scan()
    assert set(listed(library).values()) == {"there"}


def test_folders_are_refused_with_a_reason(library, folder):
    with pytest.raises(NotAProjectError, match="is not a folder"):
        library.add_folder(folder / "0.tdw")
    for number in range(module.MOST_FOLDERS - 1):
        library._change(lambda old, number=number: [*old, f"/nowhere/{number}"])
    with pytest.raises(AppError, match="listed already"):
        library.add_folder(folder.parent)


def test_a_damaged_list_of_folders_is_an_empty_one(library):
    library._file.write_bytes(b'{"folders": [3, "relative", "/a\\u0000b"]}')
    assert library.folders() == []
    library._file.write_bytes(b"{")
    assert library.folders() == []


def test_a_file_that_changes_all_the_time_is_read_now_and_then(library, folder, monkeypatch):
    path = str(folder / "0.tdw")
    monkeypatch.setattr(module, "SHARE", 0.1)
    library._shown[path].cost = 1000.0
    os.utime(path)
    number = library.changes()["number"]
    library.scan()
    assert since(library, number) == (set(), set())
    library._shown[path].cost = 0.0
    library.scan()
    assert since(library, number)[0] == {"0"}


def test_a_file_deleted_during_a_look_leaves_nothing(library, folder, monkeypatch):
    real = module.entries.fresh

    def deleting(identities):
        tdw.delete(folder / "0.tdw")
        library.forget(folder / "0.tdw")
        return real(identities)

    library._shown[str(folder / "0.tdw")].cost = 0
    os.utime(folder / "0.tdw")
    with monkeypatch.context() as context:
        context.setattr(module.entries, "fresh", deleting)
        library.scan()
    assert not (folder / "0.tdw").exists()
    library.scan()
    assert listed(library) == {"1": "there", "2": "there"}
    assert library.recent_files.entries() == []


def test_changes_are_noticed_while_a_page_looks(library, folder):
    told = []
    library.changed = lambda: told.append(time.monotonic())
    library.look()
    make(folder / "new.tdw")
    begun = time.monotonic()
    while "new" not in listed(library):
        assert time.monotonic() - begun < 20
        library.look()
        time.sleep(0.05)
    assert told
    library.close()


def test_a_list_that_is_known_loads_neither_pytorch_nor_hdf5(library, folder):
    code = """
import sys
from tdw.app.library import Library
from tdw.app.recent_files import RecentFiles
library = Library(RecentFiles())
library.scan()
print(len(library.changes()["lines"]), *sorted({"torch", "h5py", "gradio"} & set(sys.modules)))
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["3"]


def test_a_list_of_folders_that_cannot_be_saved_is_told(library, folder, monkeypatch):
    def full(*_given, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_private", full)
    with pytest.raises(AppError, match=r"no space left on device.*free some disk space"):
        library.add_folder(folder.parent)
    assert library.folders() == [str(folder)]


def test_runs_are_found_by_their_key(library, folder):
    assert library.path_of(key_of(folder / "0.tdw")) == folder / "0.tdw"
    assert library.path_of("unknown") is None
    assert folder / "0.tdw" in library.busy()
