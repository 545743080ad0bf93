"""What belongs to one user of this machine: a folder that others cannot read, and files replaced in one step.

The folder is platformdirs' state folder of this user, or `$TDW_STATE_DIR`. Everything this program makes in it is
readable by its owner alone (0700, 0600), and files are replaced whole, so that a crash leaves the old one or the new one.

A folder that was there before keeps its permissions and its files: if it is open to others, or holds something else, a
private one inside it is used. What lies in the private folder may still be anything (a crash, a sync client, another
program), so files are read by one routine, which waits for nothing and reads no more than it is told to, and what is in
the way of a file is moved aside, with a note.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from tdw.errors import AppError

LEFT_BEHIND = 3600.0  # seconds after which a file that was meant for a moment belongs to nobody
MARK = ".tdw-state"  # says that a folder is this program's, so that its files may be replaced and swept
TEMPORARY = ".tdw-tmp"  # ends the names of files that are to replace others
LOCK_PATIENCE = 3.0  # seconds to wait for another process's turn; it needs milliseconds unless it was suspended
_CAREFUL = (
    getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOINHERIT", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
)
_BINARY = getattr(os, "O_BINARY", 0)

log = logging.getLogger("tdw.store.private")  # the command line prints what `tdw.store` has to say


class UnusableError(OSError):
    """What has a private file's name is not a regular file, or larger than such a file can be."""


# ---- folders ---------------------------------------------------------------------------------------------------------


def state_folder() -> Path:
    """The private folder, made when it is not there. Raises AppError when there is none that is private."""
    given = os.environ.get("TDW_STATE_DIR")
    try:
        if given:
            return _private_at(Path(given))
        return _default(Path(platformdirs.user_state_dir("tdw", appauthor=False)))
    except OSError as error:
        where = Path(given) if given else Path(platformdirs.user_state_dir("tdw", appauthor=False))
        raise _no_folder(where, error.strerror or str(error)) from error


def private_folder(folder: Path) -> Path:
    """A folder inside the private one, made where needed; whatever else has its name is moved aside. Raises AppError."""
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
    raise _no_folder(folder, "something else keeps appearing under its name")


def _default(folder: Path) -> Path:
    """The folder of this program's own name: made by it, so it may be closed again where it was opened to others."""
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
    """`folder` where it is this user's alone and holds nothing else, else a folder inside it that is. Nothing that was
    there is changed.
    """
    _make(folder)
    about = folder.stat()
    if not stat.S_ISDIR(about.st_mode):
        raise _no_folder(folder, "it is not a folder")
    if not hasattr(os, "geteuid"):  # Windows: folders of a user are the user's
        return folder if _is_ours(folder) else private_folder(folder / "tdw-state")
    if _is_private(about) and _is_ours(folder):
        return folder
    if (about.st_mode & 0o022 and not about.st_mode & stat.S_ISVTX) or about.st_uid not in {0, os.geteuid()}:
        raise _no_folder(folder, "other users may rename what is in it")
    inside = folder / f"tdw-{os.geteuid()}"
    with contextlib.suppress(FileExistsError):
        inside.mkdir(mode=0o700)
    about = os.lstat(inside)  # a link planted there is followed by nobody
    if not stat.S_ISDIR(about.st_mode) or not _is_private(about):
        raise _no_folder(inside, "it is a link, or not yours alone")
    return inside


def _is_ours(folder: Path) -> bool:
    """Whether this program made a folder, or may take it because it is empty; it is marked then."""
    if not os.path.lexists(folder / MARK):
        with os.scandir(folder) as found:
            names = {entry.name for entry in found}
        if names and not names & {"library.lock", "known"} and MARK not in names:  # which the first versions left
            return False
        with contextlib.suppress(FileExistsError):
            os.close(os.open(folder / MARK, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return True


def _is_private(about: os.stat_result) -> bool:
    return about.st_uid == os.geteuid() and not stat.S_IMODE(about.st_mode) & 0o077


def _make(folder: Path) -> None:
    """Make a folder and those above it, each closed to others from its first moment."""
    if folder.exists():
        return
    if folder.parent != folder:
        _make(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)


def _no_folder(folder: Path, why: str) -> AppError:
    return AppError(
        f"the folder for private state, {folder}, cannot be used ({why}): "
        "make it yours alone (chmod 700), or name another in TDW_STATE_DIR"
    )


# ---- files -----------------------------------------------------------------------------------------------------------


def read_private(path: Path, limit: int, *, tail: bool = False) -> bytes:
    """The content of a private file; with `tail`, its last `limit` bytes, however large it is.

    Waits for nothing and follows no link. Raises FileNotFoundError when there is none, UnusableError when it is not a regular
    file or larger than `limit`, OSError where the system refuses.
    """
    fd = os.open(path, os.O_RDONLY | _BINARY | _CAREFUL)
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise UnusableError(f"{path} is not a file")
        if about.st_size > limit and not tail:
            raise UnusableError(f"{path} has {about.st_size} bytes, more than the {limit} that it may have")
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
    """A private file's JSON. Raises ValueError for anything else, however deep it is nested."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_private(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace `path` by `data` in one step, readable by its owner only.

    durable: wait for the disk, so that a power cut right after it leaves the new data; what can be found out again
    need not wait.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)  # 0600
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        try:
            Path(temporary).replace(path)
        except OSError:
            if not path.is_dir() or path.is_symlink():
                raise
            set_aside(path)  # a folder is the one thing that a file cannot replace
            Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def set_aside(path: Path) -> None:
    """Give what has a private file's name, and cannot be used as one, another name beside it. Nothing is deleted."""
    aside = path.with_name(f"{path.name}.unusable-{secrets.token_hex(4)}")
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        path.rename(aside)
        log.info("%s was not a file of tdw's and is now %s", path, aside.name)


@contextlib.contextmanager
def taking_turns(path: Path) -> Iterator[None]:
    """Hold the lock of this name. Raises OSError where it is not to be had in time, or cannot be made."""
    _clear_for_lock(path)
    try:
        turn = filelock.FileLock(path, timeout=LOCK_PATIENCE, mode=0o600)
        turn.acquire()
    except filelock.Timeout:
        raise OSError(f"another process keeps {path} locked") from None
    try:
        yield
    finally:
        turn.release()


def _clear_for_lock(path: Path) -> None:
    """Move aside what has a lock's name and can be none."""
    try:
        about = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(about.st_mode):
        set_aside(path)


def sweep(folder: Path, meant_for_a_moment: Iterable[Path] = ()) -> None:
    """Remove what processes that were killed left in a private folder: files that were to replace another, and those
    named here, where nobody has touched them for an hour.
    """
    for path in (*folder.glob(f".*{TEMPORARY}"), *meant_for_a_moment):
        with contextlib.suppress(OSError):  # somebody else sweeps as well
            if time.time() - path.lstat().st_mtime > LEFT_BEHIND:
                path.unlink()


def without_fail(what: str, act: Callable[[], object]) -> None:
    """Do what is only remembered for convenience; where there is no room or no permission, a note says so, and work
    goes on.
    """
    try:
        act()
    except OSError as error:
        log.info("%s could not be kept (%s)", what, error.strerror or error)
