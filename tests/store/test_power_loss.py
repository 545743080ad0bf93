"""Power cuts at every point of a file's life, simulated; and broken protocols, which the simulation must catch."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from tdw import store
from tdw.errors import TdwError
from tdw.store import open_file as state_module
from tdw.store import writer as writer_module
from tests.store import store_runs
from tests.store.power import Cut, Entry, Recorder


def record(folder: Path) -> list[Entry]:
    """The log of a file's life, with what was reported when."""
    system, path = Recorder(), folder / "run.tdw"
    with store_runs.create(path, system, epochs=700, checkpoint_capacity=4) as writer:
        system.say(store_runs.summary(writer.reader))
        for count in (1, 100, 33, 90):  # within a block of 4096 bytes and beyond
            store_runs.step(writer, count, checkpoint=count > 50, resume=count > 30)
            system.say(store_runs.summary(writer.reader))
        writer.plan_analyses([store_runs.plan("events")])
        for start, stop in ((0, 3), (3, 5)):
            writer.append_rows({"events": store_runs.rows("events", 0.5, start, stop)})
            system.say(store_runs.summary(writer.reader))
        store_runs.step(writer, 40, resume=True)
        system.say(store_runs.summary(writer.reader))
    with store.open_writer(path, system=system) as writer:
        store_runs.step(writer, 5)
        system.say(store_runs.summary(writer.reader))
        writer.extend(config={"p": 7, "room": 900}, epochs=900, checkpoint_capacity=6)
        system.say(store_runs.summary(writer.reader))
        store_runs.step(writer, 300, checkpoint=True, resume=True)
        system.say(store_runs.summary(writer.reader))
    path.unlink()
    return system.log


def wrong_with(disk: dict[str, bytes], cut: Cut, folder: Path) -> str | None:
    """What is wrong with a disk after a power cut; None when nothing that was reported is lost."""
    for name, data in disk.items():
        (folder / name).write_bytes(data)
    path, said = folder / "run.tdw", cut.said
    if "run.tdw" not in disk:
        return "the file is gone" if said else None
    try:
        with store.open_reader(path) as reader:
            store_runs.check_exact(reader)
            found = store_runs.summary(reader)
            problems = reader.verify()
        if problems:
            return f"verify says {problems}"
        if said is not None:
            lost = [key for key in ("epochs", "checkpoints", "resume", "room") if found[key] < said[key]]
            lost += [name for name, count in said["rows"].items() if found["rows"].get(name, -1) < count]
            if lost:
                return f"{lost} were reported and are lost"
        with h5py.File(path) as file:
            assert file["commit"].shape[0] == 2
        with store.open_writer(path) as writer:
            if writer.reader.n_epochs <= writer.reader.planned_epochs:
                store_runs.step(writer, 1)
            store_runs.check_exact(writer.reader)
        with h5py.File(path) as file:  # mended: the recipe for others reads the same
            n = int(file["commit"][:, 1].max())
            if not (file["losses/train"][:n] == store_runs.losses(0, n)["losses/train"]).all():
                return "plain h5py reads something else"
    except (TdwError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def examine(
    log: list[Entry], folder: Path, *, every: int, random_states: int, stop_at_first: bool = False
) -> list[str]:
    """Cut the power after every so many entries; returns what was wrong, where."""
    choose, bad, count = random.Random(7), [], 0
    points = [i for i, entry in enumerate(log) if entry[0] != "said"]
    for point in points[choose.randrange(every) :: every]:
        cut = Cut(log, point + 1)
        for words, disk in cut.states(choose, random_states):
            case = folder / "case"
            case.mkdir()
            problem = wrong_with(disk, cut, case)
            shutil.rmtree(case)
            count += 1
            if problem:
                bad.append(f"cut after entry {point} {log[point][:2]}, {words}: {problem}")
                if stop_at_first:
                    return bad
    assert count > 100
    return bad


def test_no_power_cut_loses_what_was_reported(tmp_path):
    assert examine(record(tmp_path), tmp_path, every=9, random_states=2) == []


@pytest.mark.slow
def test_no_power_cut_at_any_operation_loses_anything(tmp_path):
    assert examine(record(tmp_path), tmp_path, every=1, random_states=12) == []


def _data_syncs(log: list[Entry]) -> list[int]:
    return [i for i, entry in enumerate(log) if entry[0] == "sync" and entry[2] == "data"]


def _before_slot(log: list[Entry]) -> set[int]:
    """Barriers that a commit record follows."""
    return {i for i in _data_syncs(log) if i + 1 < len(log) and log[i + 1][0] == "write"}


BROKEN: dict[str, Callable[[list[Entry]], set[int]]] = {
    "no barrier between data and record": _before_slot,
    "no barrier after the record": lambda log: set(_data_syncs(log)) - _before_slot(log),
    "rename without fsync": lambda log: {i for i, e in enumerate(log) if e[0] == "sync" and e[2] == "all"},
    "no fsync of the folder": lambda log: {i for i, e in enumerate(log) if e[0] == "sync folder"},
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_simulation_catches_a_missing_barrier(tmp_path, name):
    log = record(tmp_path)
    dropped = BROKEN[name](log)
    assert dropped
    broken = [entry for i, entry in enumerate(log) if i not in dropped]
    assert examine(broken, tmp_path, every=1, random_states=1, stop_at_first=True)


def test_the_simulation_catches_missing_tail_copies(tmp_path, monkeypatch):
    log = record(tmp_path)
    monkeypatch.setattr(state_module.OpenFile, "tail_copy", lambda *_: b"")
    assert examine(log, tmp_path, every=1, random_states=1, stop_at_first=True)


def test_the_simulation_catches_records_in_one_slot(tmp_path, monkeypatch):
    """Were every record written over the last one, a torn one would be the end of the file."""
    commit = writer_module.Writer._commit

    def same_slot(self, *args):
        self._state.slot = 1
        commit(self, *args)

    monkeypatch.setattr(writer_module.Writer, "_commit", same_slot)
    log = record(tmp_path)
    assert examine(log, tmp_path, every=1, random_states=1, stop_at_first=True)
