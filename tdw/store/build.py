"""Building a whole project file beside its place, and putting it there in one step."""

from __future__ import annotations

import contextlib
import errno
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tdw.errors import AlreadyExistsError, CannotWriteError, FileInUseError
from tdw.store import filesystem
from tdw.store.commit_record import BLOCK, Record
from tdw.store.filesystem import System, write_all
from tdw.store.layout import BLOCK_CRCS, FilePlan, Layout
from tdw.store.lock import Lock
from tdw.store.open_file import OpenFile, compare, keep_in_mind
from tdw.store.structure import layout_of
from tdw.store.temporary import room_for

if TYPE_CHECKING:
    from tdw.store.planner import Skeleton

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True)
class Filled:
    """What was written into a new file: its record, but for the seal, and the bytes of the last blocks, by array."""

    record: Record
    tails: Mapping[str, bytes]


@contextlib.contextmanager
def explained(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn the system's refusals into CannotWriteError, in words about the project file."""
    try:
        yield
    except OSError as error:
        raise CannotWriteError(_explanation(path, error, needed)) from error


def _explanation(path: Path, error: OSError, needed: int | None) -> str:
    folder = path.absolute().parent
    if error.errno in FULL:
        free = filesystem.free_bytes(folder)
        need = "" if needed is None else f" {needed / 1e6:,.1f} MB are needed"
        have = "" if free is None else f"{',' if need else ''} {free / 1e6:,.1f} MB are free"
        return f"{path} cannot be written, the disk is full:{need}{have}. Free some space, or keep fewer checkpoints."
    if error.errno == errno.EFBIG:
        need = "" if needed is None else f" of {needed / 1e6:,.1f} MB"
        return (
            f"{path} cannot be written: a file{need} is larger than this process, or this file system, may make one. Raise "
            "the limit (`ulimit -f`), choose another disk, or keep fewer checkpoints."
        )
    if error.errno == errno.ENOENT:
        return f"{path} cannot be written: the folder {folder} does not exist. Make it, or choose another one."
    if error.errno == errno.ENOTDIR:
        return f"{path} cannot be written: {folder} is no folder. Choose another place."
    if error.errno == errno.ENAMETOOLONG:
        return f"{path} cannot be written: the name is too long. Choose a shorter one."
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return (
            f"{path} cannot be written: no permission to write to it or to the folder {folder}. Choose another place."
        )
    return f"{path} cannot be written: {error.strerror or error}. Check the disk; what was saved before is still there."


def build(
    path: Path,
    plan: FilePlan,
    skeleton: Skeleton,
    fill: Callable[[int], Filled],
    system: System,
    lock: Lock,
    renamed: list[bool],
    *,
    known_as: Path,
    replaced: int | None,
) -> OpenFile:
    """Build a file beside `path`, complete and durable, and give it its name. Leaves nothing when it fails before that.

    fill: writes what the new file takes from elsewhere, and says what.
    lock: the one on the name, which locks the new file as well before others can see it
    renamed: gets an entry before the rename is tried, from when on the outcome is not known.
    known_as: the path as it was given, for errors
    replaced: the open file in whose place it is put, and whose permissions it gets; None where there may be no file of
              that name (AlreadyExistsError where there is one by now).
    """
    from tdw.store.inspect_hdf5 import walk  # HDF5 is loaded where a file is made, and not to read one

    layout = skeleton.layout
    with explained(known_as, layout.size), room_for(path) as beside:
        fd = system.open_new(beside)
        try:
            system.allocate(fd, layout.size)
            for offset, sector in skeleton.metadata.items():
                write_all(system, fd, sector[: layout.size - offset], offset)
            sealed = {"config": plan.config, "notes": plan.notes}
            sealed |= {"split/train": _bytes(plan.split_train, "<i8"), "split/test": _bytes(plan.split_test, "<i8")}
            for name, data in sealed.items():
                write_all(system, fd, data, layout.extents[name].offset)
            for name, value in skeleton.fills.items():
                extent = layout.extents[name]
                write_all(system, fd, np.full(extent.shape, value, extent.dtype).tobytes(), extent.offset)
            _write_records(fd, path, layout, fill(fd), system)
            # A file that would not open must not take the place of one that does. It was written here, so it is walked
            # here.
            structure = walk(fd, path, layout.size)
            state = compare(fd, path, layout_of(structure, path))
            for name in layout.growing:
                state.check(name)
            lock.hold(fd, beside)  # before the other one: on some file systems they are one kind
            if not system.lock_shared(fd):
                raise FileInUseError(f"{beside} is being written to by another program: close it there.")
            if replaced is not None:
                filesystem.keep_attributes(replaced, fd)
            keep_in_mind(state, structure)  # readers must not take it for a stranger's from the instant it has its name
            system.fsync(fd)
            renamed.append(True)
            if not system.replaces_open_files:
                system.close(fd)
                fd = -1
                if replaced is not None:
                    system.close(replaced)
            if replaced is not None:
                system.replace(beside, path)
            else:
                _name(beside, path, known_as, system, renamed)
            if fd < 0:
                state.fd = fd = system.open_existing(path)
            system.sync_folder(path.parent)
            lock.keep(newest=True)
        except BaseException:
            lock.keep(newest=False)
            with contextlib.suppress(OSError):
                if fd >= 0:
                    system.close(fd)
            raise
    return state


def _name(beside: Path, path: Path, known_as: Path, system: System, renamed: list[bool]) -> None:
    try:
        system.name(beside, path)
    except FileExistsError:
        renamed.clear()
        raise AlreadyExistsError(
            f"{known_as} is there already and was left as it is: choose another name, or --force to replace it."
        ) from None


def _write_records(fd: int, path: Path, layout: Layout, filled: Filled, system: System) -> None:
    """Put both commit records into a new file, with all that goes with them."""
    record = filled.record
    state = OpenFile(fd, path, 0, 0, layout, record, 0, alike=True)
    for i, name in enumerate(layout.curves):
        whole = state.committed(name) // BLOCK
        crcs = [zlib.crc32(state.read(layout.extents[name].offset + at * BLOCK, BLOCK)) for at in range(whole)]
        extent = layout.extents[BLOCK_CRCS]
        write_all(system, fd, np.array(crcs, "<u4").tobytes(), extent.offset + i * extent.row_nbytes)
    record = replace(record, seal=state.seal())
    for slot, one in enumerate((record, record.next(clean=True))):
        for name, tail in filled.tails.items():
            write_all(system, fd, tail, layout.tails_offset(slot) + layout.growing.index(name) * BLOCK)
        write_all(system, fd, one.encode(), layout.slot_offset(slot))


def _bytes(values: np.ndarray, kind: str) -> bytes:
    return np.ascontiguousarray(values, kind).tobytes()
