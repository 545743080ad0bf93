"""One writer at a time: a lock on a file beside the project, which carries the writer's process id.

The lock belongs to an open descriptor (flock), so it dies with a killed process and survives the renames of the project
file. The sidecar is removed when the writer closes, while the lock is still held; whoever opened that removed file
meanwhile notices that the name means another file, and starts again. One left by a killed process says nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from pathlib import Path

from tdw.errors import OpenElsewhere
from tdw.store import osfile
from tdw.store.holder import LIMIT, Holder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: `locked_by` holds the lock for microseconds when it looks; a writer that meets it must not take it for a writer.
PATIENCE = 0.2


_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _let_go_in_child() -> None:
    """A forked process would keep the lock of one that has died: it gets no part of it."""
    for lock in list(_held):
        lock.inherited()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)


def sidecar(path: Path) -> Path:
    """The lock's file: NAME.tdw.lock."""
    return path.with_name(path.name + ".lock")


def _try_lock(fd: int, *, shared: bool = False) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        else:
            import msvcrt

            os.lseek(fd, 1 << 20, os.SEEK_SET)  # beyond the holder's text, which others must be able to read
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    except (BlockingIOError, PermissionError):
        return False
    return True


def _names(path: Path, fd: int) -> bool:
    try:
        there, here = path.stat(), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _holder_in(fd: int) -> Holder | None:
    return Holder.decode(osfile.read_some(fd, LIMIT + 1, 0))


class Lock:
    """The right to write to a project file; taken at once or refused with OpenElsewhere.

    Raises OSError where the sidecar cannot be made (missing folder, no permission).
    """

    def __init__(self, path: Path):
        self._path = sidecar(path)
        self._fd = -1
        deadline = time.monotonic() + PATIENCE
        while not self._acquired():
            if time.monotonic() > deadline:
                pid = locked_by(path)
                who = f"process {pid}" if pid is not None else "another process"
                raise OpenElsewhere(
                    f"{path} is being written to by {who}: wait until it is done, or stop it. "
                    "Reading is possible meanwhile."
                )
            time.sleep(0.005)
        _held.add(self)

    def _acquired(self) -> bool:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        self._fd = os.open(self._path, flags, 0o666)
        if _try_lock(self._fd) and _names(self._path, self._fd):
            # The lock is held whether or not it can say by whom: a full disk must not stop a planned run.
            with contextlib.suppress(OSError):
                os.lseek(self._fd, 0, os.SEEK_SET)
                os.ftruncate(self._fd, 0)
                os.write(self._fd, Holder.current().encode())
            return True
        os.close(self._fd)
        self._fd = -1
        return False

    @property
    def mine(self) -> bool:
        """Whether this process holds it: not so in a fork of the one that does."""
        return self._fd >= 0

    def inherited(self) -> None:
        """In a forked process: close what was inherited, which leaves the lock with the other one alone."""
        os.close(self._fd)
        self._fd = -1
        _held.discard(self)

    def release(self) -> None:
        """Let the next writer in and leave nothing behind."""
        if not self.mine:
            return
        _held.discard(self)
        if fcntl is not None:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            os.close(self._fd)
        else:
            os.close(self._fd)
            with contextlib.suppress(OSError):  # open in the hands of the next writer, who will remove it
                self._path.unlink()


def locked_by(path: Path | str) -> int | None:
    """Process id of whoever writes to a project file now, which means a process of this computer only as `holder_of`
    says; None when nobody does.
    """
    holder = holder_of(path)
    return holder.pid if holder is not None else None


def holder_of(path: Path | str) -> Holder | None:
    """Whoever writes to a project file now; None when nobody does, or the lock does not say who."""
    beside = sidecar(Path(os.path.realpath(path)))
    for _ in range(20):
        try:
            fd = os.open(beside, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            return None
        try:
            if _try_lock(fd, shared=True):
                return None
            holder = _holder_in(fd)
        finally:
            os.close(fd)
        if holder is not None:
            return holder
        time.sleep(0.002)  # taken a moment ago, its text is not written yet
    return None
