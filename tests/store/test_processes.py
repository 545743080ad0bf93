"""Several processes at one file: one writes, the others are told so, and read meanwhile."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import pytest

from tdw import store
from tdw.errors import FileInUseError
from tdw.store import filesystem, lock
from tests.store import store_runs

TORTURED = ("-m", "tests.store.tortured")
HOLD = "import sys, time; from tdw import store; w = store.open_writer(sys.argv[1]); print('open', flush=True); time.sleep(60)"


def hold(path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    return process


def test_a_second_writer_is_refused_at_once_and_told_by_whom(tmp_path):
    path = store_runs.finished(tmp_path / "run.tdw")
    assert store.locked_by(path) is None
    process = hold(path)
    try:
        assert store.locked_by(path) == process.pid
        start = time.monotonic()
        with pytest.raises(FileInUseError, match=rf"run\.tdw is being written to by process {process.pid}: wait until"):
            store.open_writer(path)
        assert time.monotonic() - start < 30  # the other one holds it for 60 s
        with pytest.raises(FileInUseError, match=f"process {process.pid}"):
            store_runs.create(path, overwrite=True)
        with store.open_reader(path) as reader:
            store_runs.check_exact(reader)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert store.locked_by(path) is None  # the lock died with its process, what it left says nothing
    assert (tmp_path / "run.tdw.lock").exists()
    with store.open_writer(path) as writer:
        assert store.locked_by(path) == os.getpid()
        with pytest.raises(FileInUseError, match=f"process {os.getpid()}"):
            store.open_writer(path)
        writer.set_notes({"title": "the lock outlives a rename"})
        assert store.locked_by(path) == os.getpid()
    assert [item.name for item in tmp_path.iterdir()] == ["run.tdw"]


def test_other_programs_read_with_h5py_but_do_not_write_meanwhile(tmp_path):
    path = store_runs.finished(tmp_path / "run.tdw")
    with store.open_writer(path) as writer:
        for _ in range(2):
            with pytest.raises(OSError, match="lock"):
                h5py.File(path, "r+")
            with h5py.File(path, "r") as file:
                assert file.attrs["format"] == b"tdw"
            writer.set_notes({"title": "the new file is guarded as well"})
    with (
        h5py.File(path, "r+"),
        pytest.raises(
            FileInUseError, match=r"run\.tdw is open for writing in another program \(h5py\?\): close it there"
        ),
    ):
        store.open_writer(path)


def test_where_both_kinds_of_locks_are_one_readers_are_not_kept_out(tmp_path, monkeypatch):
    """As on some network file systems: the lock for writing is given up there."""

    def as_a_whole(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    path = store_runs.finished(tmp_path / "run.tdw")
    monkeypatch.setattr(filesystem, "lock_for_writing", as_a_whole)
    with store.open_writer(path) as writer:
        writer.set_notes({"title": "noted"})
        with h5py.File(path, "r") as file:
            assert file.attrs["format"] == b"tdw"
        with pytest.raises(FileInUseError):
            store.open_writer(path)


FORK = """
import os, sys, time
from tdw import store
from tdw.errors import CannotWriteError
writer = store.open_writer(sys.argv[1])
if os.fork():
    os.write(1, b"open\\n")
    time.sleep(60)
try:
    writer.set_notes({"title": "from the fork"})
except CannotWriteError as error:
    os.write(1, f"{error}\\n".encode())
writer.close()
os.write(1, b"closed\\n")
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
def test_a_fork_has_no_part_in_the_lock(tmp_path):
    path = store_runs.finished(tmp_path / "run.tdw")
    process = subprocess.Popen([sys.executable, "-c", FORK, str(path)], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        lines = sorted(process.stdout.readline().decode() for _ in range(3))
        assert (
            "was opened by the parent of this forked process, which alone may write to it: reopen the file here"
            in lines[0]
        )
        assert lines[1:] == ["closed\n", "open\n"]
        assert store.locked_by(path) == process.pid, "closing the fork's copy leaves the lock alone"
        process.send_signal(signal.SIGKILL)
        process.wait()
        with store.open_writer(path) as writer:  # the fork lives, and holds nothing
            store_runs.check_exact(writer.reader)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_looking_who_writes_keeps_no_writer_out(tmp_path):
    path = store_runs.finished(tmp_path / "run.tdw")
    (tmp_path / "run.tdw.lock").write_text("1")  # left by a process that was killed
    look = "import sys; from tdw import store; print('looking', flush=True)\nwhile True: store.locked_by(sys.argv[1])"
    process = subprocess.Popen([sys.executable, "-c", look, str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(60):
            store.open_writer(path).close()
    finally:
        process.kill()
        process.communicate()


def test_writers_that_race_for_a_file_take_turns(tmp_path):
    """Each adds one epoch whenever it gets hold of the file; none of them is lost, so no two had it at once."""
    path = tmp_path / "run.tdw"
    store_runs.create(path).close()
    code = (
        "import sys, time; from tests.store import store_runs; from tdw import store; from tdw.errors import FileInUseError; done = 0\n"
        "while done < 25:\n"
        "    try:\n"
        "        with store.open_writer(sys.argv[1]) as w:\n"
        "            store_runs.step(w, 1); done += 1\n"
        "        time.sleep(0.001)\n"
        "    except FileInUseError: pass\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    with store.open_reader(path) as reader:
        assert reader.n_epochs == 75
        store_runs.check_exact(reader)
    assert [item.name for item in tmp_path.iterdir()] == ["run.tdw"]


def watch(path: Path, steps: int) -> tuple[int, int, int]:
    """Read while another process writes; returns how often it had changed, on how many inodes, and the last epoch."""
    store_runs.finished(path)
    process = subprocess.Popen([sys.executable, *TORTURED, str(path), "5", str(steps)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    changes, inodes, last, said = 0, set(), (0, 0, 0), b""
    with store.open_reader(path) as reader:
        while process.poll() is None:
            said += process.stdout.read() or b""
            done = [line for line in said.split(b"\n")[:-1] if b'"done"' in line]
            changed = reader.refresh()
            if changed:
                changes += 1
                inodes.add(reader._state.inode)
                store_runs.check_exact(reader)
            now = (reader.commit.sequence, reader.n_epochs, reader.n_checkpoints)
            assert all(new >= old for new, old in zip(now, last, strict=True)), "went backwards"
            assert not changed or now[0] > last[0]
            if done:
                assert now[1] >= json.loads(done[-1])["epochs"], "what was reported is seen by the next refresh"
            last = now
        assert process.returncode == 0
        process.stdout.close()
        reader.refresh()
        store_runs.check_exact(reader)
        assert reader.commit.clean
        return changes, len(inodes), reader.n_epochs


def test_a_live_reader_never_sees_a_wrong_value_nor_goes_backwards(tmp_path):
    seen = [0, 0]
    for again in range(20):  # how much a reader catches is up to the scheduler: until it has caught something
        changes, inodes, epochs = watch(tmp_path / f"run-{again}.tdw", 120)
        assert epochs > 1000
        seen = [seen[0] + changes, seen[1] + inodes]
        if seen[0] > 15 and seen[1] > 3:
            return
    raise AssertionError(f"the reader saw only {seen[0]} changes on {seen[1]} files while they were written")


@pytest.mark.slow
def test_a_live_reader_over_a_long_time(tmp_path):
    changes, inodes, _ = watch(tmp_path / "run.tdw", 1500)
    assert changes > 50
    assert inodes > 10


def test_a_lock_on_a_sidecar_that_was_just_removed_is_no_lock(tmp_path, monkeypatch):
    """Between opening the sidecar and locking it, its holder leaves and another writer comes."""
    path = tmp_path / "run.tdw"
    holders = [lock.Lock(path)]
    plain = lock.try_lock

    def late(fd: int, *, shared: bool = False) -> bool:
        if len(holders) == 1:
            holders[0].release()
            holders.append(None)  # type: ignore[arg-type]  # so that this happens once
            holders[1] = lock.Lock(path)
        return plain(fd, shared=shared)

    monkeypatch.setattr(lock, "try_lock", late)
    with pytest.raises(FileInUseError):
        lock.Lock(path)
    holders[1].release()
    lock.Lock(path).release()
    assert list(tmp_path.iterdir()) == []


def test_the_path_names_a_whole_file_at_every_instant(tmp_path):
    path = store_runs.finished(tmp_path / "run.tdw")
    seen, stop, wrong = [0], threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            try:
                with path.open("rb") as file:
                    if file.read(8) != b"\x89HDF\r\n\x1a\n":
                        wrong.append("not whole")
            except OSError as error:
                wrong.append(str(error))
            seen[0] += 1

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        with store.open_writer(path) as writer:
            for number in range(25):
                writer.set_notes({"number": number})
                with h5py.File(path) as file:
                    assert file["losses/train"][0] == store_runs.losses(0, 1)["losses/train"][0]
    finally:
        stop.set()
        watcher.join()
    assert wrong == []
    assert seen[0] > 50
