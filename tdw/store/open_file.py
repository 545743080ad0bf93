"""One open file and its current commit record: bytes by offset, verified by their checksums."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tdw.errors import DamagedFileError, NotAProjectError, ProjectError
from tdw.safe_text import typed
from tdw.store import filesystem
from tdw.store.commit_record import BLOCK, Record, ResumeSlot, decode
from tdw.store.layout import CHECKPOINTS, Layout
from tdw.store.sandbox import examined, examined_together, named
from tdw.store.seen_files import recall, remember
from tdw.store.structure import Structure, layout_of
from tdw.store.validate import CREATE_ONE, check_superblock, parse_json

log = logging.getLogger(__name__)

CHUNK = 8 << 20
TOGETHER = 64  # files that are examined by one process
_WHAT_TO_DO = "`tdw verify {0}` lists the damage, `tdw recover {0} NEW` saves the intact parts; or use an earlier copy."


@dataclass
class OpenFile:
    """One open inode and its current commit record."""

    fd: int
    path: Path
    device: int
    inode: int
    layout: Layout
    record: Record
    slot: int  # the slot of that record
    alike: bool  # the other slot has the same contents
    # array -> (bytes, their CRC-32) that were verified
    checked: dict[str, tuple[int, int]] = field(default_factory=dict)
    # array -> the copy of its last block, where the block on disk is damaged and the copy is not (format 1.1)
    torn: dict[str, bytes] = field(default_factory=dict)
    made: bool = True  # this user created it here; any other file is rebuilt before it is written to
    unfamiliar: bool = False  # the first time that this user opens the run

    def index(self, name: str) -> int:
        """Position of a growing array in the records."""
        return self.layout.growing.index(name)

    def committed(self, name: str) -> int:
        """Committed bytes of a growing array."""
        return self.record.rows[self.index(name)] * self.layout.extents[name].row_nbytes

    def damaged(self, what: str) -> DamagedFileError:
        """The error for damaged bytes."""
        return DamagedFileError(f"{self.path} is damaged: {what}. {_WHAT_TO_DO.format(typed(self.path.name))}")

    def read(self, offset: int, count: int) -> bytearray:
        """Bytes of the file. Raises DamagedFileError where it ends early, ProjectError where the disk fails."""
        data = bytearray(count)
        try:
            done = filesystem.read_into(self.fd, memoryview(data), offset)
        except OSError as error:
            raise ProjectError(
                f"{self.path} cannot be read: {error.strerror}. Check the disk, and use a copy."
            ) from error
        if done < count:
            raise self.damaged("it was cut off")
        return data

    def adopt(self, record: Record, slot: int, *, alike: bool) -> None:
        """Switch to a newer commit record."""
        self.record, self.slot, self.alike = record, slot, alike
        self.torn.clear()

    def read_array(self, name: str, start: int, end: int) -> bytearray:
        """Bytes [start, end) of the committed part of a growing array; a torn last block from its copy."""
        data = self.read(self.layout.extents[name].offset + start, end - start)
        tail = self.torn.get(name) if self.record.tails is None else self.record.tails[self.index(name)]
        committed = self.committed(name)
        first = committed - committed % BLOCK
        if tail is not None and end > first:
            begin = max(start, first)
            data[begin - start : end - start] = tail[begin - first : end - first]
        return data

    def tail_of(self, name: str) -> bytes:
        """The committed bytes in the partly filled last block of a growing array."""
        committed = self.committed(name)
        return bytes(self.read_array(name, committed - committed % BLOCK, committed))

    def tail_copy(self, name: str) -> bytes:
        """The copy of that block that belongs to the commit record; not verified."""
        if self.record.tails is not None:
            return self.record.tails[self.index(name)]
        offset = self.layout.tails_offset(self.slot) + self.index(name) * BLOCK
        return bytes(self.read(offset, self.committed(name) % BLOCK))

    def tail_is_whole(self, name: str) -> bool:
        """Whether that block is intact on disk."""
        committed = self.committed(name)
        first = committed - committed % BLOCK
        there = self.read(self.layout.extents[name].offset + first, committed - first)
        return zlib.crc32(there) == self.record.tail_crc32[self.index(name)]

    def check(self, name: str) -> None:
        """Verify the committed bytes of a growing array that were not verified before.

        Raises DamagedFileError where the copy of the last block does not repair it either.
        """
        committed, expected = self.committed(name), self.record.crc32[self.index(name)]
        if self._sum(name, committed) != expected:
            if self.record.tails is None and name not in self.torn:
                copy = self.tail_copy(name)
                if zlib.crc32(copy) == self.record.tail_crc32[self.index(name)]:
                    self.torn[name] = copy
            if self._sum(name, committed, restart=True) != expected:
                self.torn.pop(name, None)
                raise self.damaged(f"the bytes of {name!r} do not match their checksum")
        self.checked[name] = (committed, expected)

    def _sum(self, name: str, committed: int, *, restart: bool = False) -> int:
        """CRC-32 of the committed bytes, continued from the verified ones unless `restart`."""
        done, crc = (0, 0) if restart else self.checked.get(name, (0, 0))
        for start in range(done, committed, CHUNK):
            crc = zlib.crc32(self.read_array(name, start, min(start + CHUNK, committed)), crc)
        return crc

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

    def named_resume(self) -> tuple[int, bytearray] | None:
        """(epoch, safetensors file) of the resume state that the record names; None where its checksum does not match."""
        record = self.record
        data = self._state_in(
            record.resume_slot, ResumeSlot(record.resume_epoch, record.resume_nbytes, record.resume_crc32)
        )
        return None if data is None else (record.resume_epoch, data)

    def resume(self) -> tuple[int, bytearray]:
        """(epoch, safetensors file) of the resume state that the record names.

        In a file that was copied during training it can be missing. Then the newest of the others is used: training repeats
        the epochs from there on, and compares them. Raises DamagedFileError when all are damaged.
        """
        named = self.named_resume()
        if named is not None:
            return named
        for slot, other in sorted(self.resume_slots(), key=lambda item: -item[1].epoch):
            data = self._state_in(slot, other)
            if data is not None:
                return other.epoch, data
        raise self.damaged("the resume state does not match its checksum")

    def resume_slots(self) -> list[tuple[int, ResumeSlot]]:
        """(number, description) of every slot with a plausible state (format 1.1)."""
        if not self.layout.has_tails:
            return []
        found = []
        for slot, place in enumerate(self.layout.resume_places()):
            if place < 0:
                continue
            about = ResumeSlot.decode(bytes(self.read(self.layout.trailer_offset(slot), BLOCK)))
            if about is not None and self.is_possible(about):
                found.append((slot, about))
        return found

    def is_possible(self, about: ResumeSlot) -> bool:
        """Whether a description is plausible; a forged one must not lead outside its slot."""
        return 0 <= about.epoch < max(self.record.n_epochs, 1) and 0 < about.nbytes <= self.layout.resume_nbytes

    def _state_in(self, slot: int, about: ResumeSlot) -> bytearray | None:
        data = self.read(self.layout.resume_places()[slot], about.nbytes)
        return data if zlib.crc32(data) == about.crc32 else None


def credible(record: Record, layout: Layout) -> bool:
    """Whether the numbers of a record fit the file; a forged one must not lead outside its arrays."""
    rows = dict(zip(layout.growing, record.rows, strict=True))
    slots = [slot for slot, place in enumerate(layout.resume_places()) if place >= 0]
    return (
        all(0 <= n <= layout.extents[name].shape[0] for name, n in rows.items())
        and all(rows[name] == record.n_epochs for name in layout.curves)
        and all(rows[name] == record.n_checkpoints for name in CHECKPOINTS)
        and record.resume_slot in {-1, *slots}
        and (record.resume_slot < 0) == (record.resume_epoch < 0)
        and 0 <= record.resume_nbytes <= layout.resume_nbytes
        and all(
            len({rows[f"analysis/{plan.name}/{name}"] for name in plan.arrays}) == 1
            for plan in layout.analyses.values()
        )
    )


def read_slots(fd: int, layout: Layout) -> list[Record | None]:
    """Both commit records; None for one that is being written or is damaged."""
    size = layout.extents["commit"].row_nbytes
    found: list[Record | None] = []
    for slot in (0, 1):
        data = bytearray(size)
        filesystem.read_into(fd, memoryview(data), layout.slot_offset(slot))
        record = decode(bytes(data), layout.row_bytes(), layout.version)
        found.append(record)
    return found


def newest(records: list[Record | None]) -> int | None:
    """The slot with the newest valid record; None without a valid one."""
    valid = [slot for slot in (0, 1) if records[slot] is not None]
    return max(valid, key=lambda slot: records[slot].sequence) if valid else None  # type: ignore[union-attr]


def say_the_same(records: list[Record | None]) -> bool:
    """Whether both records are equal, apart from sequence number and clean flag."""
    one, other = records
    return one is not None and other is not None and one == replace(other, sequence=one.sequence, clean=one.clean)


def load(fd: int, path: Path) -> OpenFile:
    """Validate an open file: structure, commit records, seal, small arrays. The caller closes fd after an error.

    A file that this user neither created nor opened before is inspected in a sandbox.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise NotAProjectError(f"{path} is not a project file: it is a {_kind(status.st_mode)}.")
    problem: NotAProjectError | DamagedFileError
    try:
        check_superblock(fd, path, status.st_size)  # no HDF5 program leaves a file that this finds damaged
    except NotAProjectError as error:
        problem = error
    else:
        try:
            return _verified(fd, path, status.st_size)
        except (NotAProjectError, DamagedFileError) as error:
            problem = error
    if not rewritten(fd, path, refused=isinstance(problem, NotAProjectError)):
        raise problem
    # Where the whole file has another layout, naming its first difference would mislead.
    detail = "" if CREATE_ONE in str(problem) else f" What does not fit: {problem}"
    raise DamagedFileError(
        f"{path} was rewritten or changed by another HDF5 program. `tdw recover {typed(path.name)} NEW` reads its data by name, "
        f"checks it against the stored checksums, and writes a whole file.{detail}"
    ) from problem


def rewritten(fd: int, path: Path, *, refused: bool | None = None) -> bool:
    """Whether another HDF5 program wrote an open file or an attribute in it: all arrays of a project file are there by
    name, but not where this program puts them, or with attributes that it does not write.

    refused: whether the structure was found to be none of this program's; None to look.
    """
    try:
        structure, foreign = named(fd, path)
        layout_of(structure, path)
    except ProjectError:
        return False
    if foreign or refused is not None:
        return bool(foreign) or bool(refused)
    size = os.fstat(fd).st_size
    try:
        check_superblock(fd, path, size)
        layout_of(examined(fd, path, size), path)
    except NotAProjectError:
        return True
    except ProjectError:
        pass
    return False


def _verified(fd: int, path: Path, size: int) -> OpenFile:
    known = recall(fd, size)
    if known is not None:
        state = compare(fd, path, known.layout)
        state.made = known.made
        return state
    structure = examined(fd, path, size)
    state = compare(fd, path, layout_of(structure, path))
    state.made = False
    state.unfamiliar = remember_file(state, structure)
    if state.unfamiliar:
        log.info(first_word(path))
    return state


def introduce(paths: Iterable[Path]) -> int:
    """Examine files from other computers together and remember them, so that opening them is fast; returns how many runs
    are new to this user. A file that cannot be read, or that something is wrong with, is left to whatever opens it.
    """
    new, every = 0, list(paths)
    for start in range(0, len(every), TOGETHER):
        with contextlib.ExitStack() as stack:
            files = []
            for path in every[start : start + TOGETHER]:
                with contextlib.suppress(OSError, ProjectError):
                    fd = filesystem.open_to_read(real_path(path))
                    stack.callback(os.close, fd)
                    size = os.fstat(fd).st_size
                    check_superblock(fd, path, size)
                    files.append((fd, path, size))
            for (fd, path, _), structure in zip(files, examined_together(files), strict=True):
                with contextlib.suppress(OSError, ProjectError):
                    if structure is not None:
                        state = compare(fd, path, layout_of(structure, path))
                        state.made = False
                        new += remember_file(state, structure)
    if new:
        log.info("runs that come from another computer: %d. Their files were checked in a sandbox.", new)
    return new


def first_word(path: Path) -> str:
    """What a user is told when a run from another computer is opened for the first time."""
    return (
        f"{path.name} comes from another computer. It was checked in a sandbox, and will be rebuilt before "
        "anything is written to it."
    )


def remember_file(state: OpenFile, structure: Structure) -> bool:
    """Remember a file that was created or inspected; returns whether its run is new to this user."""
    config = state.sealed("config")
    run = str(parse_json(config, f"{state.path}: config").get("id", ""))
    return remember(state.fd, state.layout, structure, config, run=run, made=state.made)


def compare(fd: int, path: Path, layout: Layout) -> OpenFile:
    """Find the current commit record, and verify the seal, the curves and the checkpoint table."""
    status = os.fstat(fd)
    for attempt in range(20):
        records = read_slots(fd, layout)
        slot = newest(records)
        if slot is not None:
            break
        time.sleep(0.002 * attempt)  # a writer can be faster than two reads, but not twenty times
    else:
        raise DamagedFileError(
            f"{path} is damaged: both commit records are damaged. {_WHAT_TO_DO.format(typed(path.name))}"
        )
    record = records[slot]
    assert record is not None
    if not all(credible(one, layout) for one in records if one is not None):
        raise DamagedFileError(
            f"{path} is damaged: its commit records exceed the size of its arrays. Use another copy."
        )
    state = OpenFile(fd, path, status.st_dev, status.st_ino, layout, record, slot, say_the_same(records))
    if state.seal() != record.seal:
        raise state.damaged("its structure, settings or split do not match their checksum")
    for name in (*layout.curves, *CHECKPOINTS):
        state.check(name)
    return state


def real_path(path: Path | str) -> Path:
    """The path with links resolved: a new file must replace the file, not a link to it."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError) as error:
        raise NotAProjectError(f"{str(path)!r} cannot be a file name: {error}. Choose another one.") from error


def _kind(mode: int) -> str:
    return "folder" if stat.S_ISDIR(mode) else "device or pipe, not a file"


def open_state(path: Path, given: Path) -> OpenFile:
    """Open and validate the file at a path, for reading; errors name the path as it was given."""
    try:
        fd = filesystem.open_to_read(path)
    except FileNotFoundError as error:
        raise NotAProjectError(
            f"{given} does not exist.",
            f"Create it with `tdw new {typed(given)}`; `tdw open` without a name lists recent files.",
        ) from error
    except IsADirectoryError as error:
        raise NotAProjectError(f"{given} is not a project file: it is a folder.") from error
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise NotAProjectError(f"{given} is not a project file: it is a device or pipe, not a file.") from error
        raise ProjectError(
            f"{given} cannot be opened: {error.strerror}. Check its permissions and the folder's."
        ) from error
    try:
        return load(fd, given)
    except BaseException:
        os.close(fd)
        raise
