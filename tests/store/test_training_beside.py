"""Beside real training: a reader that looks on, a second writer, a disk that is full."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tdw
from tdw import store
from tdw.analyses import ANALYSES
from tdw.cli import main
from tdw.operations import train as operation
from tdw.store import LOSSES
from tests.store.test_faults import full_disk
from tests.store.trained import STEP
from tests.store.workshop import START, Held, Whole, Workshop, analyze, look, new, read, same, train


def watch(workshop: Workshop, path: Path, whole: Whole) -> tuple[int, int]:
    """Look on while a run is trained, extended and analyzed by turns; how often it had changed, and in how many files."""
    commands = [new(path, START)]
    for epochs in range(START, 1001, 4 * STEP):
        commands += [train(path, epochs), analyze(path)]
    workshop.begin(*commands[:1])
    workshop.rest()
    workshop.begin(*commands[1:])
    words: list[dict[str, Any]] = []
    reports = threading.Thread(target=workshop.rest, args=[words])
    reports.start()
    changes, files, last = 0, set(), Held()
    try:
        with tdw.open(path) as run:
            while reports.is_alive() or not changes:
                reported = [word["last"] for word in words.copy() if word["word"] == "stored"]
                changed, revision = run.refresh(), run.revision
                found = look(run._store, whole)
                changes += changed
                files.add(revision.split("-")[0])
                assert found.epochs > max(reported, default=-1), "what was reported is seen by the next refresh"
                assert (found.epochs, found.checkpoints, found.planned) >= (last.epochs, last.checkpoints, last.planned)
                # What is measured by the key frequencies of the last checkpoint is computed again when those change.
                kept = {name: rows for name, rows in last.rows.items() if not ANALYSES[name].final_keys}
                assert all(found.rows[name] >= rows for name, rows in kept.items()), "went backwards"
                last = found
            run.refresh()
            assert look(run._store, whole).epochs == 1001
    finally:
        reports.join()
    return changes, len(files)


def test_a_reader_beside_training_sees_progress_and_never_a_wrong_value(workshop, whole, tmp_path):
    seen = [0, 0]
    for again in range(5):  # how much it catches is up to the scheduler
        changes, files = watch(workshop, tmp_path / f"run-{again}.tdw", whole)
        seen = [seen[0] + changes, seen[1] + files]
        if seen[0] > 30 and seen[1] > 10:
            print(f"{seen[0]} changes seen, in {seen[1]} files")
            return
    raise AssertionError(f"the reader saw only {seen[0]} changes, in {seen[1]} files")


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 2) -> str:
    """The one line that a command is refused with."""
    capsys.readouterr()
    assert main.main([str(part) for part in arguments]) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_a_run_that_is_trained_elsewhere_is_refused_at_once_and_can_be_read(workshop, whole, tmp_path, capsys):
    path = tmp_path / "run.tdw"
    workshop.do(new(path, 20_000))
    pid = workshop.begin(train(path))
    try:
        while workshop.word()["word"] != "stored":
            pass
        held = rf"run.tdw is being written to by process {pid}: wait until it is done, or stop it. Reading remains possible"
        for command in (train(path), train(path, 30_000), analyze(path), new(path, 50)):
            assert held in refused(capsys, *command, code=75)
        assert main.main(["note", str(path), "--title", "mine"]) == 0  # waits for the writer, or the next one
        assert main.main(["info", str(path)]) == 0
        assert "unfinished" in capsys.readouterr().out
        assert main.main(["verify", str(path)]) == 0
        while workshop.word()["word"] != "stored":  # it has taken no notice
            pass
    finally:
        os.kill(pid, 9)
        assert workshop.rest().killed
    assert store.locked_by(path) is None
    with tdw.open(path) as run:
        assert run.notes.title == "mine"
        (recorded,) = run.epochs.shape
        assert same(run.train_loss[:1001], whole.series["losses/train"][:recorded])
    asked = iter([False, True])
    assert operation.train(path, stop=lambda: next(asked)) is False


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that is a file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not full_disk(folder, 2):
        pytest.skip("making a small file system needs root")
    yield folder
    os.system(f"umount --lazy {folder}")


def fill(folder: Path) -> None:
    (folder / "other").write_bytes(bytes(shutil.disk_usage(folder).free))
    assert shutil.disk_usage(folder).free == 0


FULL = r"run.tdw cannot be written, the disk is full: "


@pytest.mark.parametrize("command", ["new", "train"])
def test_a_run_that_does_not_fit_fails_before_it_begins_and_leaves_nothing(command, small_disk, capsys):
    path = small_disk / "run.tdw"
    arguments = [command, *[part for part in new(path, 9000)[1:] if part != "--force"]]
    said = refused(capsys, *arguments)
    assert FULL in said
    assert " MB are needed, 2.1 MB are free. Free some space, or keep fewer checkpoints." in said
    assert list(small_disk.iterdir()) == []


def test_a_new_run_that_does_not_fit_leaves_the_one_it_should_replace(small_disk, capsys):
    path = small_disk / "run.tdw"
    assert main.main(new(path, 100)) == 0
    before = path.read_bytes()
    assert FULL in refused(capsys, *new(path, 9000))
    assert path.read_bytes() == before
    assert list(small_disk.iterdir()) == [path]


def test_a_disk_that_fills_up_later_stops_no_planned_run(small_disk, whole, capsys):
    path = small_disk / "run.tdw"
    assert main.main(new(path, 200)) == 0
    asked = iter([False] * 55 + [True])
    assert operation.train(path, stop=lambda: next(asked)) is False
    fill(small_disk)
    reached = path.read_bytes()

    said = refused(capsys, *train(path, 400))
    assert FULL in said
    assert " MB are needed, 0.0 MB are free. Free some space, or keep fewer checkpoints. What was stored before" in said
    assert said.endswith("What was stored before is unchanged.\n")
    assert FULL in refused(capsys, *analyze(path))
    assert path.read_bytes() == reached
    assert main.main(["verify", str(path)]) == 0

    assert main.main(train(path)) == 0
    held = read(path)
    assert all(same(held.series[name], whole.series[name][:201]) for name in LOSSES)
    assert held.blobs == {epoch: blob for epoch, blob in whole.blobs.items() if epoch <= 200}
    finished = path.read_bytes()
    assert FULL in refused(capsys, *train(path, 400))  # a finished one is not extended either
    assert path.read_bytes() == finished
    assert sorted(item.name for item in small_disk.iterdir()) == ["other", "run.tdw"]

    (small_disk / "other").unlink()
    assert main.main(train(path, 400)) == 0
    assert np.array_equal(read(path).series["losses/train"], whole.series["losses/train"][:401])
