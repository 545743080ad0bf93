"""A file appears under its name complete, or not at all: built in a private folder next to it, then renamed.

The one way in which a project file, a copy, a branch, an import or a recovered file gets its name:

    name_locked      one process at a time builds a file of that name
    temporary_path   where it is built
    publish          the rename, and what has to be durable around it
    new_file         all three, for a file that is written through its path

The private folder is `.NAME.TOKEN.tmp`, under a name that cannot be guessed, and only this user can look into it: where
other users may write to the target's folder, they can plant no link in the place of a file that is about to be opened. It
lies on the target's file system, so that the file inside can be renamed. Only the process that holds the lock on the
target's name (`lock.py`) makes one, so one that exists when that lock is taken was left by a process that was killed, and
is removed; nothing else ever is.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from tdw import interrupts
from tdw.errors import AlreadyExistsError, CannotWriteError, FileInUseError, ProjectError
from tdw.store import filesystem
from tdw.store.filesystem import SYSTEM, System
from tdw.store.lock import Lock
from tdw.store.open_file import real_path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
LONGEST = 100  # characters of the target's name; a longer one is replaced by a hash
_TOKEN = re.compile(r"[0-9a-f]{16}\.tmp")


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


def _prefix(target: Path) -> str:
    name = target.name
    if len(os.fsencode(name)) > LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:20]
    return f".{name}."


def make_temporary(target: Path) -> Path:
    """A path to build `target` at, in a new private folder. Raises OSError."""
    folder = target.with_name(f"{_prefix(target)}{secrets.token_hex(8)}.tmp")
    folder.mkdir(mode=0o700)
    return folder / "file"


def remove_temporary(path: Path) -> None:
    """Remove the private folder of such a path, with its contents."""
    shutil.rmtree(path.parent, ignore_errors=True)


@contextlib.contextmanager
def temporary_path(target: Path) -> Iterator[Path]:
    """A path to build `target` at; it is removed when the block ends, unless it was renamed."""
    path = None
    try:
        with interrupts.Whole():
            path = make_temporary(target)
        yield path
    finally:
        if path is not None:
            with interrupts.Whole():
                remove_temporary(path)


def sweep(target: Path) -> None:
    """Remove temporary folders of killed processes for `target`; the lock on its name must be held."""
    prefix = _prefix(target)
    with contextlib.suppress(OSError):  # the folder cannot be listed
        for folder in target.parent.iterdir():
            if folder.name.startswith(prefix) and _TOKEN.fullmatch(folder.name.removeprefix(prefix)):
                with contextlib.suppress(OSError):  # removed meanwhile
                    if _is_ours(folder.lstat()):
                        shutil.rmtree(folder, ignore_errors=True)


def _is_ours(status: os.stat_result) -> bool:
    if not stat.S_ISDIR(status.st_mode):
        return False
    return not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o077)


@contextlib.contextmanager
def explained(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn OSError into a CannotWriteError about the project file. needed: bytes, for the message."""
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
        return f"{path} cannot be written: the folder {folder} does not exist. Create it, or choose another one."
    if error.errno == errno.ENOTDIR:
        return f"{path} cannot be written: {folder} is not a folder. Choose another place."
    if error.errno == errno.ENAMETOOLONG:
        return f"{path} cannot be written: the name is too long. Choose a shorter one."
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return (
            f"{path} cannot be written: no permission to write to it or to the folder {folder}. Choose another place."
        )
    return f"{path} cannot be written: {error.strerror or error}. Check the disk; everything saved before is intact."
