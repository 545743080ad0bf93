"""One open file and the commit record that holds for it: bytes by place, compared with their checksums."""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path

from tdw.errors import Damaged, NotAProject, ProjectError
from tdw.store import osfile
from tdw.store.known import recall, remember
from tdw.store.layout import CHECKPOINTS, LOSSES, Layout
from tdw.store.slots import BLOCK, Record, decode
from tdw.store.strangers import examined
from tdw.store.structure import Structure, layout_of
from tdw.store.validate import check_superblock, parse_json

log = logging.getLogger(__name__)

CHUNK = 8 << 20
_WHAT_TO_DO = (
    "`tdw verify {0}` lists all that is wrong, `tdw recover {0} NEW` saves the rest; or use a copy made earlier."
)


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
    made: bool = True  # its structure was written here; else it was adopted after a look, and is not written to
    unfamiliar: bool = False  # this user had never seen the run before

    def index(self, name: str) -> int:
        """Position of a growing array in the records."""
        return self.layout.growing.index(name)

    def committed(self, name: str) -> int:
        """Bytes of a growing array that count."""
        return self.record.rows[self.index(name)] * self.layout.extents[name].row_nbytes

    def damaged(self, what: str) -> Damaged:
        """The error for bytes that are not what they were."""
        return Damaged(f"{self.path} is damaged: {what}. {_WHAT_TO_DO.format(self.path.name)}")

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

    def sealed(self, name: str) -> bytes:
        """One of the arrays that never change, as bytes."""
        extent = self.layout.extents[name]
        return bytes(self.read(extent.offset, extent.nbytes))

    def resume(self) -> bytearray:
        """The valid resume state, compared with its checksum (Damaged)."""
        extent = self.layout.extents["resume/slots"]
        data = self.read(extent.offset + self.record.resume_slot * extent.row_nbytes, self.record.resume_nbytes)
        if zlib.crc32(data) != self.record.resume_crc32:
            raise self.damaged("the state that training resumes from does not match its checksum")
        return data


def credible(record: Record, layout: Layout) -> bool:
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


def newest(records: list[Record | None]) -> int | None:
    """The slot with the newest valid record; None when there is none."""
    valid = [slot for slot in (0, 1) if records[slot] is not None]
    return max(valid, key=lambda slot: records[slot].sequence) if valid else None  # type: ignore[union-attr]


def say_the_same(records: list[Record | None]) -> bool:
    """Whether both records say the same, but for their number and the word that all is well."""
    one, other = records
    return one is not None and other is not None and one == replace(other, sequence=one.sequence, clean=one.clean)


def load(fd: int, path: Path) -> State:
    """Validate an open file: structure, commit records, seal, small arrays. The caller closes fd on an error.

    A file that was neither made nor seen here before is examined by a process of its own.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise NotAProject(f"{path} is no project file: it is a {_kind(status.st_mode)}.")
    check_superblock(fd, path, status.st_size)
    known = recall(fd, path, status.st_size)
    if known is not None:
        state = compare(fd, path, known.layout)
        state.made = known.made
        return state
    structure = examined(fd, path, status.st_size)
    state = compare(fd, path, layout_of(structure, path))
    state.made = False
    state.unfamiliar = keep_in_mind(state, structure)
    if state.unfamiliar:
        log.info(first_word(path))
    return state


def first_word(path: Path) -> str:
    """What a user is told at the first opening of a run from elsewhere, and never again."""
    return (
        f"{path.name} was not made on this computer: it was examined in a process of its own, and will be rebuilt as a "
        "fresh file before anything is written to it."
    )


def keep_in_mind(state: State, structure: Structure) -> bool:
    """Remember a file that was made or looked at; whether its run is new to this user."""
    config = state.sealed("config")
    run = str(parse_json(config, f"{state.path}: config").get("id", ""))
    return remember(state.fd, state.layout, structure, config, run=run, made=state.made)


def compare(fd: int, path: Path, layout: Layout) -> State:
    """Find the commit record that holds, and compare the seal and the small arrays with their checksums."""
    status = os.fstat(fd)
    for attempt in range(20):
        records = read_slots(fd, layout)
        slot = newest(records)
        if slot is not None:
            break
        time.sleep(0.002 * attempt)  # a writer can be quicker than two reads; not twenty times
    else:
        raise Damaged(f"{path} is damaged: neither of its two commit records is whole. {_WHAT_TO_DO.format(path.name)}")
    record = records[slot]
    assert record is not None
    if not all(credible(one, layout) for one in records if one is not None):
        raise Damaged(f"{path} is damaged: its commit records claim what the file has no room for. Use another copy.")
    state = State(fd, path, status.st_dev, status.st_ino, layout, record, slot, say_the_same(records))
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
