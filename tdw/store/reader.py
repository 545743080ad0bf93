"""Reading a project file, also while another process writes to it.

A reader sees the file as of one commit record until `refresh`. The writer never overwrites committed bytes, so they can be
read at any later time, except for the resume state, which is read again if it changed. All data returned was verified by its
checksum, and is verified again once the file was touched.
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from tdw.errors import DamagedFileError, ProjectError
from tdw.store.commit_record import DRAFT_1_1, Commit, Record
from tdw.store.layout import CHECKPOINTS, ArrayPlan, CurvePlan
from tdw.store.open_file import OpenFile, credible, first_word, newest, open_state, read_slots, real_path, say_the_same
from tdw.store.validate import check_safetensors, parse_json

T = TypeVar("T")

#: Nanoseconds. A file changed more recently may change again with the same time: the coarsest file system clocks tick every
#: two seconds.
JUST_NOW = 2_000_000_000


@dataclass(frozen=True)
class StoredAnalysis:
    """The stored part of one analysis: arrays that grow together, with `rows` of `capacity` rows filled."""

    name: str
    version: int
    parameters: dict[str, Any]
    arrays: dict[str, ArrayPlan]
    rows: int
    capacity: int


class Reader:
    """An open project file; see the module. Safe to use from several threads.

    Attributes:
        path: as it was given.
        accept: called with the reader of a file that `refresh` opens in place of this one; raises to refuse it.
        generation: how often `refresh` opened another file, because the bytes at the path were replaced.
    """

    accept: Callable[[Reader], None] | None = None
    generation = 0
    _watchful = False  # whether other processes may write to the file
    _sealed = False  # the split was verified since the file was touched

    def __init__(self, path: Path, state: OpenFile, close: Callable[[int], None] = os.close):
        self.path = path
        self._close = close
        self._real = real_path(path)
        self._name = Path(os.path.abspath(path))  # noqa: PTH100 - with its links: they may lead elsewhere later
        # The file's times at the last refresh, and when `checked` was verified; None where it may have been written to since
        # with unchanged times.
        self._times: tuple[int, int] | None = None
        self._read_times: tuple[int, int] | None = None
        self.lock = threading.RLock()
        self._state = state
        self.adopt(state)
        self._closed = False  # from here on this reader closes the descriptor

    def adopt(self, state: OpenFile) -> None:
        """Read from this open file from now on. The previous one is left open."""
        config, notes = (parse_json(state.sealed(name), f"{self.path}: {name}") for name in ("config", "notes"))
        self._state, self._config, self._notes = state, config, notes
        self._derived: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the object cannot be used afterwards."""
        with self.lock:
            self._let_go()

    def __del__(self) -> None:
        if hasattr(self, "_closed"):
            self._let_go()

    def _let_go(self) -> None:
        if not self._closed:
            self._closed = True
            self._close(self._state.fd)

    @property
    def state(self) -> OpenFile:
        """The open file and its commit record, for the rest of the store."""
        return self._open_state()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def _open_state(self) -> OpenFile:
        if self._closed:
            raise ValueError(f"{self.path} is closed")
        return self._state

    @property
    def config(self) -> dict[str, Any]:
        """The run's stored description: settings, environments, id."""
        return self._config

    def derived(self, name: str, compute: Callable[[], T]) -> T:
        """A value that follows from config and notes, computed once for each file that this reader opens."""
        derived = self._derived
        if name not in derived:
            derived[name] = compute()
        value: T = derived[name]
        return value

    def notes(self) -> dict[str, Any]:
        """The stored notes: title, tags, remark, and what newer versions add."""
        return dict(self._notes)

    @property
    def made_here(self) -> bool:
        """Whether this user created the file on this computer; any other one is rebuilt before it is changed."""
        return self._state.made

    @property
    def first_word(self) -> str | None:
        """What to tell the user when a run from another computer is opened for the first time; else None."""
        return first_word(self.path) if self._state.unfamiliar else None

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return self._state.layout.size

    @property
    def commit(self) -> Commit:
        """What is committed, as of the last refresh."""
        state = self._state
        return state.record.public(state.layout.growing)

    @property
    def revision(self) -> str:
        """Changes with every change of the contents, also where a copy has the same number of commits."""
        state, record = self._state, self._state.record
        content = (record.rows, record.crc32, record.resume_epoch, record.resume_crc32)
        return f"{state.inode:x}-{record.sequence}-{record.seal:08x}-{zlib.crc32(repr(content).encode()):08x}"

    @property
    def deleted(self) -> bool:
        """Whether the file was deleted; a moved file was not."""
        return os.fstat(self._open_state().fd).st_nlink == 0

    @property
    def format_version(self) -> tuple[int, int]:
        """(major, minor) of the format."""
        version = self._state.layout.version
        return (1, 1) if version == DRAFT_1_1 else (version[0], version[1])

    @property
    def n_epochs(self) -> int:
        """Committed epochs, 0 … n_epochs − 1: entries of every curve."""
        return self._state.record.n_epochs

    @property
    def n_checkpoints(self) -> int:
        """Committed checkpoints."""
        return self._state.record.n_checkpoints

    @property
    def planned_epochs(self) -> int:
        """The last epoch that the curves have room for."""
        return self._state.layout.planned_epochs

    @property
    def curves(self) -> tuple[str, ...]:
        """Names of the curves, arrays with a number for each epoch; `read` gives their values."""
        return self._state.layout.curves

    def curve_plans(self) -> tuple[CurvePlan, ...]:
        """Names and types of the curves."""
        return self._state.layout.curve_plans()

    @property
    def checkpoint_capacity(self) -> int:
        """Checkpoints that the file has room for."""
        return self._state.layout.checkpoint_capacity

    @property
    def blob_nbytes(self) -> int:
        """Bytes of every checkpoint's safetensors file."""
        return self._state.layout.blob_nbytes

    @property
    def resume_nbytes(self) -> int:
        """Largest size of a resume state."""
        return self._state.layout.resume_nbytes

    def refresh(self) -> bool:
        """Look for changes of the file; returns whether there were any. A missing file changes nothing.

        New commits of its writer are adopted. Anything else (another file at the path, other bytes in this one) is opened
        and validated like a new file. While that fails, every call raises what `open_reader` would, and data is verified
        again when read; the first call that finds an intact file continues with it.
        """
        with self.lock:
            state = self._open_state()
            if not self._watchful:
                return False  # its own writer tells it, or it was opened for one look
            try:
                there = self._name.stat()
            except OSError:
                return False
            times = _times(there)
            fresh = self._continued(there, touched=times != self._times)
            if fresh is None:
                self._times = None
                state.checked.clear()
                self._reopen()
                return True
            self._times = _settled(times)
            changed = fresh.record != state.record
            self._state = fresh
            return changed

    def _continued(self, there: os.stat_result, *, touched: bool) -> OpenFile | None:
        """The open file as of the newest commit; None where that does not continue the previous one."""
        state = self._state
        if (there.st_dev, there.st_ino, there.st_size) != (state.device, state.inode, state.layout.size):
            return None
        records = read_slots(state.fd, state.layout)
        slot = newest(records)
        record = None if slot is None else records[slot]
        if slot is None or record is None or not _follows(record, state.record) or not credible(record, state.layout):
            return None
        if touched:
            state.checked.clear()
        try:
            if touched and state.seal() != record.seal:
                return None
            # Earlier commits must still be there, and later ones must continue them.
            for name in (*state.layout.curves, *CHECKPOINTS):
                state.check(name)
            fresh = replace(state, checked=dict(state.checked), torn=dict(state.torn))
            if record != state.record:
                fresh.adopt(record, slot, alike=say_the_same(records))
            for name in (*state.layout.curves, *CHECKPOINTS):
                fresh.check(name)
        except DamagedFileError:
            return None
        return fresh

    def _reopen(self) -> None:
        """Switch to the file that is at the path now. Nothing changes where that is refused."""
        real = real_path(self._name)
        state = open_state(real, self.path)
        try:
            other = Reader(self.path, state)
        except BaseException:
            os.close(state.fd)
            raise
        try:
            if self.accept is not None:
                self.accept(other)
        except BaseException:
            other.close()
            raise
        old = self._state
        self.adopt(state)
        self._derived = other._derived
        other._closed = True  # this reader owns the descriptor now
        self._real = real
        self._read_times = None
        self.generation += 1
        os.close(old.fd)

    def names(self) -> list[str]:
        """Names of all arrays that `read` accepts."""
        return [*self._state.layout.growing, "split/train", "split/test"]

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows [start, stop) of the committed part of an array; bounds as in a slice.

        Raises KeyError for an unknown name, DamagedFileError when the bytes do not match their checksum.
        """
        with self.lock:
            state = self._open_state()
            extent = state.layout.extents[name]
            if self._watchful:
                self._distrust(state)
            if name in {"split/train", "split/test"}:
                if self._watchful and not self._sealed and state.seal() != state.record.seal:
                    raise state.damaged("its structure, settings or split do not match their checksum")
                self._sealed = True
                begin, end, _ = slice(start, stop).indices(extent.shape[0])
                data = state.read(extent.offset + begin * extent.row_nbytes, max(0, end - begin) * extent.row_nbytes)
            elif name in state.layout.growing:
                begin, end, _ = slice(start, stop).indices(state.record.rows[state.index(name)])
                state.check(name)
                data = state.read_array(name, begin * extent.row_nbytes, max(begin, end) * extent.row_nbytes)
            else:
                raise KeyError(name)
            return np.frombuffer(data, extent.dtype).reshape(max(0, end - begin), *extent.shape[1:])

    def _distrust(self, state: OpenFile) -> None:
        """Require verification again if the file may have been written to since."""
        times = _times(os.fstat(state.fd))
        if times != self._read_times:
            state.checked.clear()
            self._sealed = False
            self._read_times = _settled(times)

    def checkpoint_epochs(self) -> np.ndarray:
        """Epochs of the stored checkpoints, increasing."""
        return self.read("checkpoints/epoch")

    def checkpoint(self, i: int) -> memoryview:
        """A copy of the safetensors file of checkpoint i (0 is the first)."""
        with self.lock:
            state = self._open_state()
            if not 0 <= i < state.record.n_checkpoints:
                raise IndexError(f"{self.path} has no checkpoint number {i}: it has {state.record.n_checkpoints}")
            extent = state.layout.extents["checkpoints/safetensors"]
            data = memoryview(state.read(extent.offset + i * extent.row_nbytes, state.layout.blob_nbytes))
            if zlib.crc32(data) != int(self.read("checkpoints/crc32", i, i + 1)[0]):
                raise state.damaged(f"checkpoint {i} does not match its checksum")
        problem = check_safetensors(data)
        if problem:
            raise state.damaged(f"checkpoint {i} is not a safetensors file: {problem}")
        return data

    def resume(self) -> tuple[int, bytes]:
        """(epoch, safetensors file) of the resume state. Raises ProjectError when the file has none."""
        with self.lock:
            for _ in range(10):
                state = self._open_state()
                if state.record.resume_slot < 0:
                    raise ProjectError(f"{self.path} has no resume state.")
                named = state.named_resume()
                if named is None and self.refresh():  # the writer reused the slot
                    continue
                epoch, data = named or state.resume()
                return epoch, bytes(data)
            raise ProjectError(f"{self.path} changes faster than it can be read: try again.")

    def analyses(self) -> dict[str, StoredAnalysis]:
        """The stored analyses by name."""
        with self.lock:
            state = self._open_state()
            rows = self.commit.rows
            return {
                plan.name: StoredAnalysis(
                    plan.name,
                    plan.version,
                    plan.parameters,
                    plan.arrays,
                    rows[f"analysis/{plan.name}/{next(iter(plan.arrays))}"],
                    plan.capacity,
                )
                for plan in state.layout.analyses.values()
            }

    def verify(self) -> list[str]:
        """Verify all checksums; returns a sentence for each damage, [] for an intact file."""
        with self.lock:
            self.refresh()
            found: list[str] = []
            if self._lost_a_slot():
                found.append("one of the two commit records is damaged; the other one is intact and says the same")
            state = self._open_state()
            state.checked.clear()
            if state.seal() != state.record.seal:
                found.append("the structure, settings, notes or split do not match their checksum")
            for name in state.layout.growing:
                try:
                    state.check(name)
                except DamagedFileError:
                    found.append(f"the bytes of {name!r} do not match their checksum")
                    continue
                if state.record.clean and not state.tail_is_whole(name):  # a power cut may leave it torn
                    found.append(f"the last rows of {name!r} are damaged; opening the file for writing repairs them")
            found += self._verify_checkpoints()
            try:
                if state.record.resume_slot >= 0:
                    self.resume()
            except DamagedFileError:
                found.append("the resume state does not match its checksum")
            return found

    def require_sound(self, why: str) -> None:
        """Raise DamagedFileError where `verify` finds damage; why: the end of the sentence."""
        with self.lock:
            wrong = self.verify()
            if wrong:
                raise self._state.damaged(f"{wrong[0]}, and {why}")

    def _lost_a_slot(self) -> bool:
        """Whether a record is damaged in a file that was closed in order; one that is just being written is not."""
        for _ in range(5):
            state = self._open_state()
            if not state.record.clean or None not in read_slots(state.fd, state.layout):
                return False
            time.sleep(0.02)
            self.refresh()
        return True

    def _verify_checkpoints(self) -> list[str]:
        state, found = self._state, []
        extent = state.layout.extents["checkpoints/safetensors"]
        epochs = np.frombuffer(state.read_array("checkpoints/epoch", 0, state.committed("checkpoints/epoch")), "<i8")
        crcs = np.frombuffer(state.read_array("checkpoints/crc32", 0, state.committed("checkpoints/crc32")), "<u4")
        if (np.diff(epochs) <= 0).any() or (len(epochs) and not 0 <= epochs[0] <= epochs[-1] < state.record.n_epochs):
            found.append("the epochs of the checkpoints are not increasing, or were not recorded")
        for i, (epoch, crc) in enumerate(zip(epochs, crcs, strict=True)):
            data = memoryview(state.read(extent.offset + i * extent.row_nbytes, state.layout.blob_nbytes))
            problem = "it does not match its checksum" if zlib.crc32(data) != crc else check_safetensors(data)
            if problem:
                found.append(f"checkpoint {i} (epoch {epoch}): {problem}")
        return found


def _times(status: os.stat_result) -> tuple[int, int]:
    return (status.st_mtime_ns, status.st_ctime_ns)


def _settled(times: tuple[int, int]) -> tuple[int, int] | None:
    """The times of a file, or None where another write could leave them unchanged."""
    return times if time.time_ns() - max(times) > JUST_NOW else None


def _follows(record: Record, before: Record) -> bool:
    """Whether a record may be a later one of the same file: no count decreased, and equal numbers mean equal records."""
    if record.seal != before.seal or record.sequence < before.sequence:
        return False
    if record.sequence == before.sequence:
        return record == before
    return all(now >= then for now, then in zip(record.rows, before.rows, strict=True))


def open_reader(path: Path | str) -> Reader:
    """Open a project file for reading; another process may write to it meanwhile.

    Raises NotAProjectError, NewerFormatError, DamagedFileError, or ProjectError when the operating system refuses.
    """
    given, real = Path(path), real_path(path)
    state = open_state(real, given)
    try:
        reader = Reader(given, state)
    except BaseException:
        os.close(state.fd)
        raise
    reader._watchful = True
    return reader
