"""Building a whole project file beside the old one, and putting it in its place in one step."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tdw.errors import CannotWrite, OpenElsewhere
from tdw.store import osfile
from tdw.store.layout import FilePlan
from tdw.store.osfile import System, write_all
from tdw.store.slots import Record
from tdw.store.state import State, compare, keep_in_mind
from tdw.store.structure import layout_of

if TYPE_CHECKING:
    from tdw.store.skeleton import Skeleton

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def temporary(path: Path) -> Path:
    """Where a new file is built: NAME.tdw.tmp."""
    return path.with_name(path.name + ".tmp")


@contextlib.contextmanager
def explained(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn the system's refusals into CannotWrite, in words about the project file."""
    try:
        yield
    except OSError as error:
        raise CannotWrite(_explanation(path, error, needed)) from error


def _explanation(path: Path, error: OSError, needed: int | None) -> str:
    folder = path.absolute().parent
    if error.errno in FULL:
        free = osfile.free_bytes(folder)
        need = "" if needed is None else f" {needed / 1e6:,.1f} MB are needed"
        have = "" if free is None else f"{',' if need else ''} {free / 1e6:,.1f} MB are free"
        return f"{path} cannot be written, the disk is full:{need}{have}. Free some space, or keep fewer checkpoints."
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
    fill: Callable[[int], Record],
    system: System,
    renamed: list[bool],
    close_old: Callable[[], None] | None = None,
) -> State:
    """Build a file beside `path`, complete and durable, and rename it over. Leaves nothing when it fails before that.

    fill: writes what the new file takes from elsewhere and returns its record, but for the seal.
    renamed: gets an entry before the rename is tried, from when on the outcome is not known.
    close_old: closes the file that is there now, for systems that rename over no open file.
    """
    from tdw.store.walk import walk  # HDF5 is loaded where a file is made, and not to read one

    layout, beside = skeleton.layout, temporary(path)
    with contextlib.suppress(FileNotFoundError):
        system.unlink(beside)  # of a process that was killed; the lock is ours
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
        record = fill(fd)
        record = replace(record, seal=State(fd, path, 0, 0, layout, record, 0, alike=True).seal())
        for slot, one in enumerate((record, record.next(clean=True))):
            write_all(system, fd, one.encode(), layout.slot_offset(slot))
        # A file that would not open must not take the place of one that does. It was written here, so it is walked here.
        structure = walk(fd, path, layout.size)
        state = compare(fd, path, layout_of(structure, path))
        for name in layout.growing:
            state.check(name)
        if not system.lock_shared(fd):
            raise OpenElsewhere(f"{beside} is being written to by another program: close it there.")
        keep_in_mind(state, structure)  # readers must not take it for a stranger's from the instant it has its name
        system.fsync(fd)
        renamed.append(True)
        if not system.replaces_open_files:
            system.close(fd)
            fd = -1
            if close_old is not None:
                close_old()
        system.replace(beside, path)
        if fd < 0:
            state.fd = fd = system.open_existing(path)
        system.sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            if fd >= 0:
                system.close(fd)
        with contextlib.suppress(OSError):
            system.unlink(beside)
        raise
    return state


def _bytes(values: np.ndarray, kind: str) -> bytes:
    return np.ascontiguousarray(values, kind).tobytes()
