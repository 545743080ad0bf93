"""A file appears under its name complete, or not at all: built in a private folder next to it, then renamed.

The one way in which a project file, a copy, a branch, an import or a recovered file gets its name:

    name_locked      one process at a time builds a file of that name
    temporary_path   where it is built (`tdw.temporary`)
    publish          the rename, and what has to be durable around it
    new_file         all three, for a file that is written through its path

The private folder is that of `tdw.temporary`. Only the process that holds the lock on the target's name (`lock.py`) makes one,
so one that exists when that lock is taken was left by a process that was killed, and is removed; nothing else ever is.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from tdw.errors import AlreadyExistsError, CannotWriteError, FileInUseError, ProjectError
from tdw.store import filesystem
from tdw.store.filesystem import SYSTEM, System
from tdw.store.lock import Lock
from tdw.store.open_file import real_path
from tdw.temporary import sweep, temporary_path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextlib.contextmanager
def new_file(given: Path, *, overwrite: bool | None = None) -> Iterator[Path]:
    """A path at which to build a file that gets the name `given` when the block ends without an error.

    An existing file, also one that appeared meanwhile, is only replaced with `overwrite`, and never while another process
    writes to it. Nothing is left after an error. Raises AlreadyExistsError, FileInUseError, CannotWriteError.
    """
    real = real_path(given)
    refuse_existing(given, real, overwrite=overwrite)
    with explained(given), name_locked(given, real) as lock, temporary_path(real) as path:
        try:
            refuse_existing(given, real, overwrite=overwrite)  # another process may have been faster
            yield path
            with replaced_file(given, real, overwrite=overwrite) as replaced:
                if replaced is not None:
                    take_attributes(path, replaced)
            publish(path, real, SYSTEM, overwrite=replaced is not None, known_as=given)
        finally:
            lock.release()


@contextlib.contextmanager
def replaced_file(given: Path, real: Path, *, overwrite: bool | None) -> Iterator[int | None]:
    """The open file that a new one will replace; None where there is none. The lock on its name must be held.

    Raises AlreadyExistsError unless overwrite, FileInUseError while another process writes to it.
    """
    refuse_existing(given, real, overwrite=overwrite)  # another process may have been faster
    if not os.path.lexists(real):
        yield None
        return
    fd = filesystem.open_to_read(real)
    try:
        if filesystem.is_locked_for_writing(fd):
            raise FileInUseError(f"{given} is being written to by another process: wait until it is done, or stop it.")
        yield fd
    finally:
        with contextlib.suppress(OSError):  # where open files cannot be replaced, it was closed before
            os.close(fd)


def take_attributes(path: Path, replaced: int) -> None:
    """Give a new file the owner and permissions of the one that it will replace."""
    fd = filesystem.open_to_read(path)
    try:
        filesystem.keep_attributes(replaced, fd)
    finally:
        os.close(fd)


def publish(path: Path, real: Path, system: System, *, overwrite: bool, known_as: Path) -> None:
    """Give a complete, durable file its name, and make that durable.

    known_as: the path that errors give. Raises AlreadyExistsError unless overwrite; OSError.
    """
    if overwrite:
        system.replace(path, real)
    else:
        try:
            system.name(path, real)
        except FileExistsError:
            raise AlreadyExistsError(known_as) from None
    system.sync_folder(real.parent)


@contextlib.contextmanager
def name_locked(given: Path, real: Path) -> Iterator[Lock]:
    """The lock on a name; temporary files that killed processes left there are removed. Released after an error.

    Raises FileInUseError, CannotWriteError.
    """
    with explained(given):
        lock = Lock(real)
    try:
        sweep(real)
        yield lock
    except BaseException:
        lock.release()
        raise


def tidy(path: Path) -> None:
    """Remove temporary files of a killed process, unless another process is building the file now."""
    with contextlib.suppress(ProjectError), name_locked(path, path) as lock:
        lock.release()


def refuse_existing(given: Path, real: Path, *, overwrite: bool | None) -> None:
    """Raise AlreadyExistsError for a name that is taken, unless `overwrite`, and CannotWriteError for a folder.

    overwrite: None where it cannot be requested, which the error then does not suggest
    """
    if real.is_dir():
        raise CannotWriteError(f"{given} cannot be written: it is a folder. Give a file name in it.")
    if not overwrite and os.path.lexists(real):
        raise AlreadyExistsError(given, replaceable=overwrite is not None)


def unused_name(path: Path, word: str) -> Path:
    """An unused name next to a file, with a word added: `run-rescued.tdw`, `run-rescued-2.tdw`."""
    number = 1
    while True:
        new = path.with_name(f"{path.stem}-{word}{'' if number == 1 else f'-{number}'}{path.suffix}")
        if not os.path.lexists(new):
            return new
        number += 1


@contextlib.contextmanager
def explained(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn OSError into a CannotWriteError about the project file. needed: bytes, for the message."""
    try:
        yield
    except OSError as error:
        raise CannotWriteError(_explanation(path, error, needed)) from error


def make_folder(folder: Path) -> None:
    """Create a folder, and those above it, unless it is there. Raises CannotWriteError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        there = nearest(folder)
        if there.is_dir() and error.errno == errno.ENOENT:
            raise CannotWriteError(
                f"the folder {folder} cannot be created: nothing can be created in {there}. Choose another place."
            ) from error
        raise CannotWriteError(_explanation(folder, error, None)) from error


def nearest(place: Path) -> Path:
    """The place, or the nearest one above it that exists."""
    place = place.absolute()
    return next((one for one in (place, *place.parents) if os.path.lexists(one)), place)


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
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        there = nearest(folder)
        if not there.is_dir():
            return f"{path} cannot be written: {there} is not a folder. Choose another place."
        if not folder.exists():
            return f"{path} cannot be written: the folder {folder} does not exist. Create it, or choose another one."
        return f"{path} cannot be written: nothing can be created in {folder}. Choose another place."
    if error.errno == errno.ENAMETOOLONG:
        return f"{path} cannot be written: the name is too long. Choose a shorter one."
    if error.errno == errno.EROFS:
        return f"{path} cannot be written: the file system of {nearest(folder)} is read-only. Choose another place."
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"{path} cannot be written: no permission to write to it or to the folder {nearest(folder)}. Choose another place."
    return f"{path} cannot be written: {error.strerror or error}. Check the disk; everything saved before is intact."
