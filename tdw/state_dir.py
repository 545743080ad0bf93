"""The user's private state folder, and files in it that are replaced atomically.

The folder is platformdirs' state folder of the user, or `$TDW_STATE_DIR`. Everything created in it is readable by its
owner only (0700, 0600), and files are replaced atomically: a crash leaves the old one or the new one.

An existing folder keeps its permissions and files: if other users can enter it, or it holds files of other programs, a
private subfolder is used. A crash, a sync client or another program may leave anything in the private folder, so files
are read by one routine that never blocks and reads a bounded number of bytes, and whatever occupies the name of a file is
moved aside, with a log message.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import platformdirs

from tdw.errors import AppError
from tdw.file_lock import try_lock
from tdw.temporary import sweep_older, temporary_path

LEFT_BEHIND = 3600.0  # seconds after which a temporary file is considered abandoned
MARK = ".tdw-state"  # marks a folder as created by this program: its files may be replaced and swept
LOCK_PATIENCE = 3.0  # seconds to wait for another process, which needs milliseconds unless it was suspended
_CAREFUL = (
    getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOINHERIT", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
)
_BINARY = getattr(os, "O_BINARY", 0)

log = logging.getLogger("tdw.store.private")  # the command line prints messages of the logger `tdw.store`


class UnusableError(OSError):
    """A private file is not a regular file, or exceeds its size limit."""


# ---- folders ---------------------------------------------------------------------------------------------------------


def state_folder() -> Path:
    """The private folder, created if missing. Raises AppError if no private folder is possible."""
    given = os.environ.get("TDW_STATE_DIR")
    try:
        if given:
            return _private_at(Path(given))
        return _default(Path(platformdirs.user_state_dir("tdw", appauthor=False)))
    except OSError as error:
        where = Path(given) if given else Path(platformdirs.user_state_dir("tdw", appauthor=False))
        raise _no_folder(where, error.strerror or str(error)) from error


def private_folder(folder: Path) -> Path:
    """A subfolder of the private one, created if missing; anything else of that name is moved aside. Raises AppError."""
    for _ in range(3):
        try:
            folder.mkdir(mode=0o700, parents=True)
            return folder
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(folder).st_mode):
                return folder
            set_aside(folder)
        except OSError as error:
            raise _no_folder(folder, error.strerror or str(error)) from error
    raise _no_folder(folder, "another program keeps creating something of that name")


def _default(folder: Path) -> Path:
    """The default folder. This program created it, so its permissions may be reset if they were opened to other users."""
    _make(folder)
    if not folder.is_symlink() and hasattr(os, "fchmod"):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _CAREFUL)
        try:
            about = os.fstat(fd)
            if about.st_uid == os.geteuid() and stat.S_IMODE(about.st_mode) & 0o077:
                os.fchmod(fd, 0o700)
        finally:
            os.close(fd)
    return _private_at(folder)


def _private_at(folder: Path) -> Path:
    """`folder` if it is private to this user and holds only files of this program, else a private subfolder.

    Existing files and permissions are not changed.
    """
    _make(folder)
    about = folder.stat()
    if not stat.S_ISDIR(about.st_mode):
        raise _no_folder(folder, "it is not a folder")
    if not hasattr(os, "geteuid"):  # Windows: a user's folders are private
        return folder if _is_ours(folder) else private_folder(folder / "tdw-state")
    if _is_private(about) and _is_ours(folder):
        return folder
    if (about.st_mode & 0o022 and not about.st_mode & stat.S_ISVTX) or about.st_uid not in {0, os.geteuid()}:
        raise _no_folder(folder, "other users may rename its files")
    inside = folder / f"tdw-{os.geteuid()}"
    with contextlib.suppress(FileExistsError):
        inside.mkdir(mode=0o700)
    about = os.lstat(inside)  # not following a link that another user may have planted
    if not stat.S_ISDIR(about.st_mode) or not _is_private(about):
        raise _no_folder(inside, "it is a link, or other users can enter it")
    return inside


def _is_ours(folder: Path) -> bool:
    """Whether this program created the folder, or may use it because it is empty; the folder is then marked."""
    if not os.path.lexists(folder / MARK):
        with os.scandir(folder) as found:
            names = {entry.name for entry in found}
        if (
            names and not names & {"library.lock", "known"} and MARK not in names
        ):  # created by the first versions, without the mark
            return False
        with contextlib.suppress(FileExistsError):
            os.close(os.open(folder / MARK, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return True


def _is_private(about: os.stat_result) -> bool:
    return about.st_uid == os.geteuid() and not stat.S_IMODE(about.st_mode) & 0o077


def _make(folder: Path) -> None:
    """Create a folder and its parents, each private from the start."""
    if folder.exists():
        return
    if folder.parent != folder:
        _make(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)


def _no_folder(folder: Path, why: str) -> AppError:
    return AppError(
        f"the folder for private state, {folder}, cannot be used ({why}): "
        "make it private (chmod 700), or set TDW_STATE_DIR to another folder"
    )


# ---- files -----------------------------------------------------------------------------------------------------------


def read_private(path: Path, limit: int, *, tail: bool = False) -> bytes:
    """The contents of a private file, at most `limit` bytes; with `tail`, the last `limit` bytes of a file of any size.

    Never blocks, and does not follow links. Raises FileNotFoundError, UnusableError for anything but a regular file or for
    more than `limit` bytes, OSError.
    """
    fd = os.open(path, os.O_RDONLY | _BINARY | _CAREFUL)
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise UnusableError(f"{path} is not a file")
        if about.st_size > limit and not tail:
            raise UnusableError(f"{path} has {about.st_size} bytes, more than the limit of {limit}")
        os.lseek(fd, max(about.st_size - limit, 0), os.SEEK_SET)
        found = bytearray()
        while len(found) < limit:
            piece = os.read(fd, min(1 << 20, limit - len(found)))
            if not piece:
                break
            found += piece
        return bytes(found)
    finally:
        os.close(fd)


def parsed(data: bytes) -> Any:
    """The JSON value in a private file. Raises ValueError for invalid or too deeply nested JSON."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_private(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write `data` to `path` atomically, readable by its owner only.

    durable: fsync, so that the new data survive a power cut; not needed for data that can be computed again.
    """
    with temporary_path(path) as new:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600), "wb") as stream:
            stream.write(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        try:
            new.replace(path)
        except OSError:
            if not path.is_dir() or path.is_symlink():
                raise
            set_aside(path)  # a rename cannot replace a folder by a file
            new.replace(path)


def set_aside(path: Path) -> None:
    """Rename something that occupies the name of a private file and cannot be used as one. Nothing is deleted."""
    aside = path.with_name(f"{path.name}.unusable-{secrets.token_hex(4)}")
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        path.rename(aside)
        log.info("%s was not a file of tdw's and is now %s", path, aside.name)


@contextlib.contextmanager
def taking_turns(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`. Raises OSError if it cannot be created, or acquired in time."""
    _clear_for_lock(path)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | _CAREFUL | _BINARY, 0o600)
    deadline = time.monotonic() + LOCK_PATIENCE
    try:
        while not try_lock(fd):
            if time.monotonic() > deadline:
                raise OSError(f"another process keeps {path} locked")
            time.sleep(0.005)
        yield
    finally:
        os.close(fd)


def _clear_for_lock(path: Path) -> None:
    """Move aside anything at the path of a lock file that is not a regular file."""
    try:
        about = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(about.st_mode):
        set_aside(path)


def sweep(folder: Path, meant_for_a_moment: Iterable[Path] = ()) -> None:
    """Remove what killed processes left in a private folder: temporary files, and the given ones, if they were not modified
    for an hour.
    """
    sweep_older(folder, LEFT_BEHIND)
    for path in meant_for_a_moment:
        with contextlib.suppress(OSError):  # another process may sweep at the same time
            if time.time() - path.lstat().st_mtime > LEFT_BEHIND:
                path.unlink()


def without_fail(what: str, act: Callable[[], object]) -> None:
    """Run `act`, which stores something for convenience only; an OSError is logged and otherwise ignored."""
    try:
        act()
    except OSError as error:
        log.info("could not save %s (%s)", what, error.strerror or error)
