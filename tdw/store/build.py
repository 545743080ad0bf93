"""Builds a complete project file from a plan, and gives it its name in one step."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tdw.errors import AlreadyExistsError, FileInUseError
from tdw.store import filesystem
from tdw.store.atomic import explained, publish
from tdw.store.commit_record import BLOCK, Record
from tdw.store.filesystem import System, write_all
from tdw.store.layout import BLOCK_CRCS, FilePlan, Layout
from tdw.store.lock import Lock
from tdw.store.open_file import OpenFile, compare, remember_file
from tdw.store.structure import layout_of
from tdw.temporary import temporary_path

if TYPE_CHECKING:
    from tdw.store.planner import Skeleton


@dataclass(frozen=True)
class Filled:
    """The contents written into a new file: its record without the seal, and the last blocks by array."""

    record: Record
    tails: Mapping[str, bytes]


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
    """Build a complete and durable file, and give it the name `path`. Nothing is left behind when that fails.

    fill: writes the contents taken from elsewhere, and returns them
    lock: on the name; it also locks the new file before other processes can see it
    renamed: gets an entry before the rename is tried; from then on a failure leaves it open which file has the name
    known_as: the path that errors give
    replaced: the open file that is replaced and whose permissions are kept; None: AlreadyExistsError where one exists
    """
    from tdw.store.inspect_hdf5 import walk  # HDF5 is loaded where a file is made, and not to read one

    layout = skeleton.layout
    with explained(known_as, layout.size), temporary_path(path) as beside:
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
            # A file that does not open must not replace one that does. It was written here, so it needs no sandbox.
            structure = walk(fd, path, layout.size)
            state = compare(fd, path, layout_of(structure, path))
            for name in layout.growing:
                state.check(name)
            lock.hold(fd, beside)  # before the shared lock: on some file systems they are the same kind
            if not system.lock_shared(fd):
                raise FileInUseError(f"{beside} is being written to by another program: close it there.")
            if replaced is not None:
                filesystem.keep_attributes(replaced, fd)
            remember_file(state, structure)  # before it has its name: no reader may take it for a file from elsewhere
            system.fsync(fd)
            lock.check(known_as)  # building takes time, in which the lease may have been lost
            renamed.append(True)
            if not system.replaces_open_files:
                system.close(fd)
                fd = -1
                if replaced is not None:
                    system.close(replaced)
            try:
                publish(beside, path, system, overwrite=replaced is not None, known_as=known_as)
            except AlreadyExistsError:
                renamed.clear()
                raise
            if fd < 0:
                state.fd = fd = system.open_existing(path)
            lock.keep(newest=True)
        except BaseException:
            lock.keep(newest=False)
            with contextlib.suppress(OSError):
                if fd >= 0:
                    system.close(fd)
            raise
    return state


def _write_records(fd: int, path: Path, layout: Layout, filled: Filled, system: System) -> None:
    """Write both commit records of a new file, with block checksums and tails."""
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
