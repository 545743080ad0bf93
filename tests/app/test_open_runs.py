"""Open runs in the server: their file may change in any way, disappear and come back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import tdw
from tdw import store
from tdw.app import open_runs
from tdw.app.open_runs import OpenRun, OpenRuns
from tdw.app.recent_files import RecentFiles
from tdw.errors import NotAProjectError, ProjectError
from tdw.run import Run

SHARE = "analysis/neuron_frequencies/share"
CURVE = "losses/train"


@pytest.fixture
def path(tmp_path, tiny_run) -> Path:
    return Path(shutil.copy(tiny_run, tmp_path / "one.tdw"))


@pytest.fixture
def held(path):
    run = OpenRun(path)
    yield run
    run.close()


def contents(run: OpenRun) -> dict[str, str]:
    return run.manifest()["contents"]


def note(path: Path) -> None:
    with store.open_writer(path) as writer:
        writer.set_notes({"title": "noted", "tags": [], "remark": ""})


def aged(path: Path) -> None:
    """Set its time to a minute ago, so that a later change is visible in it."""
    at = path.stat().st_mtime - 60
    os.utime(path, (at, at))


def test_rows_keep_their_name_while_they_are_only_added_to_and_get_another_when_they_are_others(path, held, tmp_path):
    before = contents(held)
    assert set(before) == {*held.manifest()["arrays"], "weights"}
    list(held.array(CURVE, 0).chunks())
    list(held.array(SHARE, 0).chunks())
    list(held.neurons([1, 2]).chunks())
    note(path)
    assert contents(held) == before, "a new file with the same rows"
    assert held.manifest()["title"] == "noted"
    tdw.analyze(path, only="neuron_frequencies", force=True)
    assert contents(held) == before, "computed again, and the same"
    whole = path.read_bytes()

    other = tmp_path / "other.tdw"  # the same settings, another model seed, not analyzed
    with tdw.open(path) as run:
        tdw.create(other, tdw.configure(**{**run.config.to_json(), "model_seed": 5}))
    tdw.train(other)
    shutil.copyfile(other, path)
    after = contents(held)
    assert {name for name in after if after[name] != before[name]} == {CURVE, "weights"}
    list(held.array(CURVE, 0).chunks())
    path.write_bytes(whole)
    again = contents(held)
    assert len({before[CURVE], after[CURVE], again[CURVE]}) == 3, "no name is given twice"
    assert again[SHARE] != before[SHARE]


def test_a_row_that_was_never_sent_is_none_that_changed(path, held, tmp_path):
    before = contents(held)
    short = tmp_path / "short.tdw"
    tdw.create(short, tdw.configure(p=7, d_model=16, heads=2, d_mlp=8, epochs=20, checkpoints="0:20:10", threads=1))
    tdw.train(short)
    shutil.copyfile(short, path)
    after = contents(held)
    assert all(after[name] == before[name] for name in after)


def test_rows_sent_in_parts_are_one_content(path, held):
    before = contents(held)
    list(held.array(CURVE, 0).chunks())
    list(held.array(CURVE, 7).chunks())  # another page, which has the first ones
    note(path)
    assert contents(held)[CURVE] == before[CURVE]


def test_a_file_that_is_refused_is_not_examined_all_the_time(path, held, monkeypatch):
    """Checking a file from another computer starts a sandbox process, and the window polls twice a second."""
    opened: list[Path] = []

    def count(path: Path) -> Run:
        opened.append(path)
        return plain(path)

    plain = Run.open
    monkeypatch.setattr(Run, "open", count)
    monkeypatch.setattr(open_runs, "CLOCK_RESOLUTION", -1e9)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    for _ in range(5):
        with pytest.raises(ProjectError, match="has changed and cannot be read at the moment"):
            held.refresh()
    assert opened == []  # the reader had detected it
    with pytest.raises(ProjectError, match="cannot be read at the moment"):
        held.refresh(asked=True)
    assert len(opened) == 1
    path.write_bytes(whole[:-1])
    held._next = float("inf")  # the last attempt took long
    with pytest.raises(ProjectError):
        held.refresh()
    assert len(opened) == 1
    held._next = 0.0
    with pytest.raises(ProjectError):
        held.refresh()
    assert len(opened) == 2
    path.write_bytes(whole)
    assert held.refresh() or held.refresh(asked=True)
    assert len(opened) == 3
    assert held.progress()["state"] == "finished"


def test_a_file_that_was_just_written_is_looked_at_again_though_nothing_tells(path, held):
    """Changes within one tick of the file system's clock do not change a file's time."""
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(ProjectError):
        held.refresh()
    assert held._refused_as is None


@pytest.mark.parametrize(
    ("leave", "sentence"),
    [
        (lambda path: path.unlink(), r"one\.tdw does not exist anymore: it was deleted\. Restore it"),
        (lambda path: path.rename(path.with_name("two.tdw")), r"it was moved or renamed\. Move it back and"),
    ],
    ids=["deleted", "moved"],
)
def test_a_missing_file_is_closed_and_reopened_when_it_returns(path, held, tiny_run, leave, sentence):
    leave(path)
    for _ in range(2):
        with pytest.raises(NotAProjectError, match=sentence):
            held.refresh()
        with pytest.raises(NotAProjectError, match=sentence):
            list(held.array(CURVE, 0).chunks())
    if Path("/proc/self/fd").exists():
        kept = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        assert not [name for name in kept if "one.tdw" in name or "two.tdw" in name], (
            "its room on the disk is given back"
        )
    shutil.copy(tiny_run, path)
    assert held.refresh()
    assert held.manifest()["checkpoints"][-1] == 120
    assert held.moved is False


def test_a_folder_in_its_place_is_said_and_waited_for(path, held, tiny_run):
    path.unlink()
    path.mkdir()
    with pytest.raises(ProjectError, match="it is a folder"):
        held.refresh()
    path.rmdir()
    shutil.copy(tiny_run, path)
    held.refresh(asked=True)
    assert held.manifest()["state"] == "finished"


def test_a_run_whose_file_is_gone_can_be_opened_and_waits(path, tmp_path, tiny_run):
    known = OpenRuns(RecentFiles())
    try:
        known.open(path)
        path.unlink()
        run = known.open(path)
        with pytest.raises(NotAProjectError):
            run.manifest()
        shutil.copy(tiny_run, path)
        assert known.open(path) is run
        assert run.manifest()["state"] == "finished"
        with pytest.raises(ProjectError):
            known.open(tmp_path / "never.tdw")
    finally:
        known.close()
