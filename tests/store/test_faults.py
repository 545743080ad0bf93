"""The disk fails, fills up or takes less than it was given, at every operation in turn."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tdw import store
from tdw.errors import CannotWriteError
from tdw.store.filesystem import System
from tests.store import store_runs

# Closing and removing are no writes: their failure is not the user's business, unless it is where a write ends.
OPERATIONS = ("open_existing", "open_new", "pwrite", "datasync", "fsync", "allocate", "copy", "replace", "sync_folder")


class Faulty(System):
    """Counts its operations, and lets number `at` fail, or take only a part of what it is given."""

    def __init__(self, at: int = -1, error: int | None = None):
        self.at, self.error, self.failed = at, error, ""
        self.names: list[str] = []

    @property
    def count(self) -> int:
        return len(self.names)


def _faulty(name: str) -> Callable[..., Any]:
    plain = getattr(System, name)

    def operation(self: Faulty, *args: Any) -> Any:
        self.names.append(name)
        if self.count - 1 == self.at:
            self.failed = name
            if self.error is not None:
                raise OSError(self.error, os.strerror(self.error))
            if name == "pwrite":  # a short write: as little as one byte, and once in the middle
                fd, data, offset = args
                return plain(self, fd, data[: max(1, len(data) // 3)], offset)
            if name == "copy":
                return plain(self, *args[:4], max(1, args[4] // 3))
        return plain(self, *args)

    return operation


for _name in OPERATIONS:
    setattr(Faulty, _name, _faulty(_name))


def life(path: Path, system: System, said: list[dict[str, Any]]) -> None:
    """Everything that is ever done to a file; `said` collects what was reported as saved."""
    with store_runs.create(path, system, epochs=400, checkpoint_capacity=3) as writer:
        said.append(store_runs.summary(writer.reader))
        store_runs.step(writer, 130, checkpoint=True, resume=True)
        said.append(store_runs.summary(writer.reader))
        writer.plan_analyses([store_runs.plan("events")])
        writer.append_rows({"events": store_runs.rows("events", 0.5, 0, 3)})
        said.append(store_runs.summary(writer.reader))
    with store.open_writer(path, system=system) as writer:
        store_runs.step(writer, 250, resume=True)
        said.append(store_runs.summary(writer.reader))
        writer.extend(config={"p": 7, "room": 600}, epochs=600, checkpoint_capacity=5)
        store_runs.step(writer, 200, checkpoint=True, resume=True)
        said.append(store_runs.summary(writer.reader))


def operations(tmp_path: Path) -> list[str]:
    system = Faulty()
    life(tmp_path / "count.tdw", system, [])
    (tmp_path / "count.tdw").unlink()
    return system.names


def check_after_fault(folder: Path, at: int, error: int | None) -> None:
    path, said = folder / "run.tdw", []
    system = Faulty(at, error)
    where = f"operation {at}, error {error}"
    if error is None:
        life(path, system, said)
    else:
        with pytest.raises(CannotWriteError, match=r"run\.tdw.*(full|permission|Check the disk|exist)") as caught:
            life(path, system, said)
        assert "\n" not in str(caught.value)
    where += f" ({system.failed})"
    assert system.failed, where
    if not said:  # failed in create: nothing is there, or the whole file where only the last barrier failed
        assert not path.exists() or system.failed == "sync_folder", where
    assert sorted(item.name for item in folder.iterdir()) == ([path.name] if path.exists() else []), where
    if not path.exists():
        return
    with store.open_reader(path) as reader:
        store_runs.check_exact(reader)
        found = store_runs.summary(reader)
        assert reader.verify() == [], where
    last = said[-1] if said else {"epochs": 0, "checkpoints": 0, "resume": 0, "rows": {}}
    for key in ("epochs", "checkpoints", "resume"):
        assert found[key] >= last[key], where
    assert all(found["rows"][name] >= count for name, count in last["rows"].items()), where
    with store.open_writer(path) as writer:  # and work goes on
        if writer.reader.n_epochs <= writer.reader.planned_epochs:
            store_runs.step(writer, 1, resume=True)
    with store.open_reader(path) as reader:
        store_runs.check_exact(reader)


def every_fault(tmp_path: Path, stride: int) -> None:
    names = operations(tmp_path)
    assert len(names) > 150
    assert set(OPERATIONS) == set(names)
    for shift, error in enumerate((errno.EIO, errno.ENOSPC, None)):
        for at in range(shift % stride, len(names), stride):
            if error is None and names[at] not in {"pwrite", "copy"}:
                continue
            folder = tmp_path / "case"
            folder.mkdir()
            check_after_fault(folder, at, error)
            shutil.rmtree(folder)


def test_no_fault_loses_what_was_reported_or_leaves_anything_behind(tmp_path):
    every_fault(tmp_path, stride=11)


@pytest.mark.slow
def test_no_fault_at_any_operation_loses_anything(tmp_path):
    every_fault(tmp_path, stride=1)


def test_after_a_failed_write_the_writer_is_dead_and_never_syncs_again(tmp_path):
    system = Faulty()
    writer = store_runs.create(tmp_path / "run.tdw", system)
    store_runs.step(writer, 10)
    system.at, system.error = system.count + 4, errno.EIO  # four writes, then the first barrier
    with pytest.raises(
        CannotWriteError,
        match=r"run\.tdw cannot be written: Input/output error\. Check the disk; everything saved before is intact",
    ):
        store_runs.step(writer, 10)
    assert system.failed == "datasync"
    used = system.count
    with pytest.raises(CannotWriteError, match=r"cannot be written to after a failed write .*Open it again"):
        store_runs.step(writer, 10)
    with pytest.raises(CannotWriteError, match="cannot be written to after a failed write"):
        writer.set_notes({})
    writer.close()
    assert system.count == used
    assert store.locked_by(tmp_path / "run.tdw") is None
    with store.open_reader(tmp_path / "run.tdw") as reader:
        assert reader.n_epochs == 10


def test_a_structural_change_that_does_not_fit_leaves_the_old_file_and_the_writer_alive(tmp_path):
    system = Faulty()
    path = tmp_path / "run.tdw"
    with store_runs.create(path, system) as writer:
        store_runs.step(writer, 50, checkpoint=True)
        system.at, system.error = system.count + 1, errno.ENOSPC
        with pytest.raises(
            CannotWriteError, match=r"run\.tdw cannot be written, the disk is full: 0\.\d MB are needed, .* MB are"
        ):
            writer.plan_analyses([store_runs.plan("events")])
        assert system.failed == "allocate"
        assert not (tmp_path / "run.tdw.tmp").exists()
        store_runs.step(writer, 50, checkpoint=True)
    with store.open_reader(path) as reader:
        store_runs.check_exact(reader)
        assert (reader.n_epochs, reader.analyses()) == (100, {})


def test_ctrl_c_in_the_middle_of_a_commit_leaves_a_sound_file(tmp_path):
    """What the disk then holds is not known to the writer, so it may not go on writing over it."""

    class Interrupted(System):
        left = 10**9

        def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return super().pwrite(fd, data, offset)

    for left in range(1, 6):
        system = Interrupted()
        writer = store_runs.create(tmp_path / "run.tdw", system, overwrite=True)
        store_runs.step(writer, 10)
        system.left = left
        with pytest.raises(KeyboardInterrupt):
            store_runs.step(writer, 10)
        with pytest.raises(CannotWriteError, match="cannot be written to after a failed write"):
            store_runs.step(writer, 10)
        writer.close()
        with store.open_writer(tmp_path / "run.tdw") as again:
            store_runs.step(again, 7, resume=True)
            store_runs.check_exact(again)


def full_disk(folder: Path, megabytes: int) -> bool:
    """Put a small file system at a folder, where this machine lets us."""
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("mount"):
        return False
    return os.system(f"mount -t tmpfs -o size={megabytes}m tmpfs {folder} 2>/dev/null") == 0


def test_a_real_disk_that_is_too_small(tmp_path):
    if not full_disk(tmp_path, 2):
        pytest.skip("making a small file system needs root")
    try:
        with pytest.raises(
            CannotWriteError, match=r"the disk is full: 10\.\d MB are needed, 2\.\d MB are free\. Free some"
        ):
            store_runs.create(tmp_path / "run.tdw", checkpoint_capacity=2400)
        assert list(tmp_path.iterdir()) == []
        store_runs.create(tmp_path / "run.tdw").close()
        (tmp_path / "other").write_bytes(bytes(shutil.disk_usage(tmp_path).free))  # filled later by another program
        with store.open_writer(tmp_path / "run.tdw") as writer:
            for _ in range(10):
                store_runs.step(writer, 100, checkpoint=True, resume=True)  # a planned run goes on
            with pytest.raises(CannotWriteError, match="the disk is full"):
                writer.set_notes({"title": "no room for a second file"})
            store_runs.step(writer, 100, checkpoint=True, resume=True)
        with store.open_reader(tmp_path / "run.tdw") as reader:
            store_runs.check_exact(reader)
            assert reader.n_epochs == 1100
    finally:
        os.system(f"umount --lazy {tmp_path}")
