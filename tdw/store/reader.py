"""Reading a project file, also while another process writes to it.

What counts is read from the commit record; a reader sees the file as of one record until `refresh`. Bytes that count
are never overwritten, so they can be read at any time later; but for the resume state, which is read again when it goes
on. Everything returned has been compared with its checksum.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from tdw.errors import Damaged, NotAProject, ProjectError
from tdw.store import osfile
from tdw.store.layout import CHECKPOINTS, LOSSES, ArrayPlan, Layout
from tdw.store.slots import BLOCK, Commit, Record, decode
from tdw.store.validate import check_safetensors, parse_json, read_layout

CHUNK = 8 << 20


@dataclass(frozen=True)
class StoredAnalysis:
    """What is stored of one analysis: arrays that grow together, `rows` of `capacity` rows being there."""

    name: str
    version: int
    parameters: dict[str, Any]
    arrays: dict[str, ArrayPlan]
    rows: int
    capacity: int


@dataclass
class State:
    """One open inode and the record that holds for it."""

    fd: int
    path: Path
    device: int
    inode: int
    layout: Layout
    record: Record
    slot: int  # where that record lies
    alike: bool  # the other slot says the same
    # array -> (bytes, CRC-32 of them) that have been compared with a record
    checked: dict[str, tuple[int, int]] = field(default_factory=dict)

    def index(self, name: str) -> int:
        """Position of a growing array in the records."""
        return self.layout.growing.index(name)

    def committed(self, name: str) -> int:
        """Bytes of a growing array that count."""
        return self.record.rows[self.index(name)] * self.layout.extents[name].row_nbytes

    def damaged(self, what: str) -> Damaged:
        """The error for bytes that are not what they were."""
        return Damaged(
            f"{self.path} is damaged: {what}. `tdw verify {self.path.name}` lists all that is wrong; "
            "use a copy made earlier."
        )

    def read(self, offset: int, count: int) -> bytearray:
        """Bytes of the file. Raises Damaged where it ends early, ProjectError where the disk fails."""
        data = bytearray(count)
        try:
            done = osfile.read_into(self.fd, memoryview(data), offset)
        except OSError as error:
            raise ProjectError(
                f"{self.path} cannot be read: {error.strerror}. Check the disk, and use a copy."
            ) from error
        if done < count:
            raise self.damaged("it was cut off")
        return data

    def read_array(self, name: str, start: int, end: int) -> bytearray:
        """Bytes [start, end) of the committed part of a growing array; the last block from the record's copy."""
        data = self.read(self.layout.extents[name].offset + start, end - start)
        committed = self.committed(name)
        first = committed - committed % BLOCK
        if end > first:
            tail = self.record.tails[self.index(name)]
            begin = max(start, first)
            data[begin - start : end - start] = tail[begin - first : end - first]
        return data

    def tail_is_whole(self, name: str) -> bool:
        """Whether the partly filled last block of a growing array is what its copy in the record says."""
        tail = self.record.tails[self.index(name)]
        return bytes(self.read(self.layout.extents[name].offset + self.committed(name) - len(tail), len(tail))) == tail

    def check(self, name: str) -> None:
        """Compare the committed bytes of a growing array with their checksum, those that were not compared before."""
        committed = self.committed(name)
        done, crc = self.checked.get(name, (0, 0))
        for start in range(done, committed, CHUNK):
            crc = zlib.crc32(self.read_array(name, start, min(start + CHUNK, committed)), crc)
        if crc != self.record.crc32[self.index(name)]:
            raise self.damaged(f"the bytes of {name!r} do not match their checksum")
        self.checked[name] = (committed, crc)

    def seal(self) -> int:
        """CRC-32 of all bytes that never change."""
        crc = 0
        for start, end in self.layout.sealed():
            for at in range(start, end, CHUNK):
                crc = zlib.crc32(self.read(at, min(CHUNK, end - at)), crc)
        return crc

    def resume(self) -> bytearray:
        """The valid resume state, compared with its checksum (Damaged)."""
        extent = self.layout.extents["resume/slots"]
        data = self.read(extent.offset + self.record.resume_slot * extent.row_nbytes, self.record.resume_nbytes)
        if zlib.crc32(data) != self.record.resume_crc32:
            raise self.damaged("the state that training resumes from does not match its checksum")
        return data


def _credible(record: Record, layout: Layout) -> bool:
    """Whether the numbers of a record fit the file; a forged one must not lead outside its arrays."""
    rows = dict(zip(layout.growing, record.rows, strict=True))
    return (
        all(0 <= n <= layout.extents[name].shape[0] for name, n in rows.items())
        and all(rows[name] == record.n_epochs for name in LOSSES)
        and all(rows[name] == record.n_checkpoints for name in CHECKPOINTS)
        and record.resume_slot in {-1, 0, 1}
        and (record.resume_slot < 0) == (record.resume_epoch < 0)
        and 0 <= record.resume_nbytes <= layout.resume_nbytes
        and all(
            len({rows[f"analysis/{plan.name}/{name}"] for name in plan.arrays}) == 1
            for plan in layout.analyses.values()
        )
    )


def read_slots(fd: int, layout: Layout) -> list[Record | None]:
    """Both commit records as they are now; None for one that is being written or damaged."""
    size = layout.extents["commit"].row_nbytes
    found: list[Record | None] = []
    for slot in (0, 1):
        data = bytearray(size)
        osfile.read_into(fd, memoryview(data), layout.slot_offset(slot))
        record = decode(bytes(data), layout.row_bytes())
        found.append(record)
    return found


def _newest(records: list[Record | None]) -> int | None:
    valid = [slot for slot in (0, 1) if records[slot] is not None]
    return max(valid, key=lambda slot: records[slot].sequence) if valid else None  # type: ignore[union-attr]


def _alike(records: list[Record | None]) -> bool:
    """Whether both records say the same, but for their number and the word that all is well."""
    one, other = records
    return one is not None and other is not None and one == replace(other, sequence=one.sequence, clean=one.clean)


def load(fd: int, path: Path) -> State:
    """Validate an open file: structure, commit records, seal, small arrays. The caller closes fd on an error."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise NotAProject(f"{path} is no project file: it is a {_kind(status.st_mode)}.")
    layout = read_layout(fd, path, status.st_size)
    for attempt in range(20):
        records = read_slots(fd, layout)
        slot = _newest(records)
        if slot is not None:
            break
        time.sleep(0.002 * attempt)  # a writer can be quicker than two reads; not twenty times
    else:
        raise Damaged(f"{path} is damaged: neither of its two commit records is whole. Use a copy of it made earlier.")
    record = records[slot]
    assert record is not None
    if not all(_credible(one, layout) for one in records if one is not None):
        raise Damaged(f"{path} is damaged: its commit records claim what the file has no room for. Use another copy.")
    state = State(fd, path, status.st_dev, status.st_ino, layout, record, slot, _alike(records))
    if state.seal() != record.seal:
        raise state.damaged("its structure, settings or split do not match their checksum")
    for name in (*LOSSES, *CHECKPOINTS):
        state.check(name)
    return state


def real_path(path: Path | str) -> Path:
    """The path with links resolved: what is renamed over must be the file, not a link to it."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError) as error:
        raise NotAProject(f"{str(path)!r} cannot be the name of a file: {error}. Choose another one.") from error


def _kind(mode: int) -> str:
    return "folder" if stat.S_ISDIR(mode) else "device or pipe, not a file"


def open_state(path: Path, given: Path) -> State:
    """Open a path for reading and validate what is there; errors speak of the path as it was given."""
    try:
        fd = osfile.open_to_read(path)
    except FileNotFoundError as error:
        raise NotAProject(
            f"{given} does not exist: `tdw new {given}` would make it, `tdw open` without a name lists known ones."
        ) from error
    except IsADirectoryError as error:
        raise NotAProject(f"{given} is no project file: it is a folder.") from error
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise NotAProject(f"{given} is no project file: it is a device or pipe, not a file.") from error
        raise ProjectError(
            f"{given} cannot be opened: {error.strerror}. Check its permissions and the folder's."
        ) from error
    try:
        return load(fd, given)
    except BaseException:
        os.close(fd)
        raise


class Reader:
    """An open project file; see the module. Safe to use from several threads.

    Attributes:
        path: as it was given.
    """

    def __init__(self, path: Path, state: State):
        self.path = path
        self._real = real_path(path)
        self._lock = threading.RLock()
        self._state = state
        self._adopt(state)
        self._closed = False  # from here on the descriptor is ours to close

    def _adopt(self, state: State) -> None:
        """Make a state the current one, with what is derived from it."""
        config, notes = (
            parse_json(self._sealed_bytes(state, name), f"{self.path}: {name}") for name in ("config", "notes")
        )
        self._state, self._config, self._notes = state, config, notes

    @staticmethod
    def _sealed_bytes(state: State, name: str) -> bytes:
        extent = state.layout.extents[name]
        return bytes(state.read(extent.offset, extent.nbytes))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back; the object is of no use afterwards."""
        with self._lock:
            self._let_go()

    def __del__(self) -> None:
        if hasattr(self, "_closed"):
            self._let_go()

    def _let_go(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._state.fd)

    def _open_state(self) -> State:
        if self._closed:
            raise ValueError(f"{self.path} was closed by this program")
        return self._state

    @property
    def config(self) -> dict[str, Any]:
        """The run's settings, environment and id, as stored."""
        return self._config

    def notes(self) -> dict[str, Any]:
        """Title, tags, remarks, bookmarks: whatever was set."""
        return dict(self._notes)

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return self._state.layout.size

    @property
    def commit(self) -> Commit:
        """What counts, as of the last refresh."""
        state = self._state
        return state.record.public(state.layout.growing)

    @property
    def revision(self) -> str:
        """Changes whenever anything that counts changes."""
        state = self._state
        return f"{state.inode:x}-{state.record.sequence}-{state.record.seal:08x}"

    @property
    def format_version(self) -> tuple[int, int]:
        """(major, minor) of the format."""
        return self._state.layout.version

    @property
    def n_epochs(self) -> int:
        """Loss entries that count: those of epochs 0 … n_epochs − 1."""
        return self._state.record.n_epochs

    @property
    def n_checkpoints(self) -> int:
        """Checkpoints that count."""
        return self._state.record.n_checkpoints

    @property
    def planned_epochs(self) -> int:
        """The last epoch that the losses have room for."""
        return self._state.layout.extents[LOSSES[0]].shape[0] - 1

    @property
    def checkpoint_capacity(self) -> int:
        """How many checkpoints there is room for."""
        return self._state.layout.extents["checkpoints/safetensors"].shape[0]

    @property
    def blob_nbytes(self) -> int:
        """Bytes of every checkpoint's safetensors file."""
        return self._state.layout.blob_nbytes

    @property
    def resume_nbytes(self) -> int:
        """The most bytes a resume state may have."""
        return self._state.layout.resume_nbytes

    def refresh(self) -> bool:
        """See what was committed since; True when anything did. A path that is gone or unreadable changes nothing."""
        with self._lock:
            state = self._open_state()
            try:
                there = self._real.stat()
            except OSError:
                return False
            if (there.st_dev, there.st_ino) != (state.device, state.inode):
                return self._reopen()
            records = read_slots(state.fd, state.layout)
            slot = _newest(records)
            if slot is None:
                return False
            record = records[slot]
            assert record is not None
            if record.sequence <= state.record.sequence:
                return False
            if not _credible(record, state.layout):
                raise state.damaged("its commit record claims what the file has no room for")
            state.record, state.slot, state.alike = record, slot, _alike(records)
            for name in (*LOSSES, *CHECKPOINTS):
                state.check(name)
            return True

    def _reopen(self) -> bool:
        old, new = self._state, open_state(self._real, self.path)
        try:
            self._adopt(new)
        except BaseException:
            os.close(new.fd)
            raise
        os.close(old.fd)
        return True

    def names(self) -> list[str]:
        """Names of all arrays that `read` knows."""
        return [*self._state.layout.growing, "split/train", "split/test"]

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows [start, stop) of an array, as far as they count; negative and too large bounds as in a slice.

        Raises KeyError for a name that is none, Damaged when the bytes do not match their checksum.
        """
        with self._lock:
            state = self._open_state()
            extent = state.layout.extents[name]
            if name in {"split/train", "split/test"}:
                begin, end, _ = slice(start, stop).indices(extent.shape[0])
                data = state.read(extent.offset + begin * extent.row_nbytes, max(0, end - begin) * extent.row_nbytes)
            elif name in state.layout.growing:
                begin, end, _ = slice(start, stop).indices(state.record.rows[state.index(name)])
                state.check(name)
                data = state.read_array(name, begin * extent.row_nbytes, max(begin, end) * extent.row_nbytes)
            else:
                raise KeyError(name)
            return np.frombuffer(data, extent.dtype).reshape(max(0, end - begin), *extent.shape[1:])

    def checkpoint_epochs(self) -> np.ndarray:
        """Epochs of the stored checkpoints, increasing."""
        return self.read("checkpoints/epoch")

    def checkpoint(self, i: int) -> memoryview:
        """The safetensors file of checkpoint number i (0 is the first), in memory of its own."""
        with self._lock:
            state = self._open_state()
            if not 0 <= i < state.record.n_checkpoints:
                raise IndexError(f"{self.path} has {state.record.n_checkpoints} checkpoints, no number {i}")
            extent = state.layout.extents["checkpoints/safetensors"]
            data = memoryview(state.read(extent.offset + i * extent.row_nbytes, state.layout.blob_nbytes))
            if zlib.crc32(data) != int(self.read("checkpoints/crc32", i, i + 1)[0]):
                raise state.damaged(f"checkpoint {i} does not match its checksum")
        problem = check_safetensors(data)
        if problem:
            raise state.damaged(f"checkpoint {i} is no safetensors file: {problem}")
        return data

    def resume(self) -> tuple[int, bytes]:
        """(epoch, safetensors file) of the state that training goes on from. Raises ProjectError when there is none."""
        with self._lock:
            for _ in range(10):
                state = self._open_state()
                if state.record.resume_slot < 0:
                    raise ProjectError(f"{self.path} holds no state that training could go on from.")
                try:
                    return state.record.resume_epoch, bytes(state.resume())
                except Damaged:
                    if not self.refresh():  # else the writer went on and used the place again
                        raise
            raise ProjectError(f"{self.path} changes faster than it can be read: try again.")

    def analyses(self) -> dict[str, StoredAnalysis]:
        """What is stored of which analysis."""
        with self._lock:
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
        """Compare every byte that counts with its checksum; returns what is wrong, in sentences, nothing when sound."""
        with self._lock:
            self.refresh()
            found: list[str] = []
            if self._lost_a_slot():
                found.append("one of the two commit records is damaged; the other one holds, nothing is lost")
            state = self._open_state()
            state.checked.clear()
            if state.seal() != state.record.seal:
                found.append("the structure, settings, notes or split do not match their checksum")
            for name in state.layout.growing:
                try:
                    state.check(name)
                except Damaged:
                    found.append(f"the bytes of {name!r} do not match their checksum")
                    continue
                if state.record.clean and not state.tail_is_whole(name):  # after a power cut it need not be
                    found.append(f"the last rows of {name!r} are damaged; opening the file for writing mends them")
            found += self._verify_checkpoints()
            try:
                if state.record.resume_slot >= 0:
                    self.resume()
            except Damaged:
                found.append("the state that training resumes from does not match its checksum")
            return found

    def _lost_a_slot(self) -> bool:
        """Whether a record is damaged in a file that was closed well; one being written just now is not."""
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
            found.append("the epochs of the checkpoints are not increasing ones among those recorded")
        for i, (epoch, crc) in enumerate(zip(epochs, crcs, strict=True)):
            data = memoryview(state.read(extent.offset + i * extent.row_nbytes, state.layout.blob_nbytes))
            problem = "it does not match its checksum" if zlib.crc32(data) != crc else check_safetensors(data)
            if problem:
                found.append(f"checkpoint {i} (epoch {epoch}): {problem}")
        return found


def open_reader(path: Path | str) -> Reader:
    """Open a project file to read it; it may be written to meanwhile.

    Raises NotAProject, NewerFormat, Damaged, or ProjectError when the system does not let us.
    """
    given, real = Path(path), real_path(path)
    state = open_state(real, given)
    try:
        return Reader(given, state)
    except BaseException:
        os.close(state.fd)
        raise
