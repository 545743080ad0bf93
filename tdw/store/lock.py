"""One writer at a time: a lock on the project file itself, and one on its name.

The lock on the file follows it wherever it is moved or linked: it belongs to the open file, not to a name. The lock on the
name is a lock file next to it, `NAME.tdw.lock`, which contains the holder: process id, computer, and the kind of work that
it does ("train", "analyze"; see `holder.py`, read by `holder_of`). It lets one process at a time create a file of that name,
and replaces the other lock where the operating system has no suitable one. Both belong to open file descriptions, not
descriptors, so they end with a killed process, and survive other opens and closes of the same file in the process.

Both may hold on one computer only where the file lies on a network file system; there a lease (`lease.py`) is taken first.

The lock file is removed when the writer closes, while the lock is still held; a process that opened the removed file
meanwhile notices that the name means another file, and starts again. One left by a killed process has no effect. A file of
that name that this program did not create is never written to or removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import weakref
from pathlib import Path

from tdw import interrupts
from tdw.errors import CannotWriteError, FileInUseError
from tdw.file_lock import REMOVABLE, try_lock
from tdw.store import filesystem, lease
from tdw.store.holder import LIMIT, MAGIC, Holder

#: Seconds. `holder_of` takes the lock for microseconds; a writer must not mistake it for another writer.
PATIENCE = 0.2


_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _release_in_child() -> None:
    """Release inherited locks: a forked process would keep the lock of a parent that ended."""
    for lock in list(_held):
        lock.inherited()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)


def sidecar(path: Path) -> Path:
    """The file of the lock on a name: NAME.tdw.lock."""
    return path.with_name(path.name + ".lock")


class _NameLock:
    """The lock on one name, once `acquire` returned True."""

    def __init__(self, path: Path):
        self.path = path
        self._sidecar = sidecar(path)
        self._fd = -1
        self._ours = False  # whether this program created the lock file, now or before

    def acquire(self, *, empty: bool) -> bool:
        """Take the lock, if no other process has it. Raises CannotWriteError for a foreign file of that name; OSError.

        empty: also accept a file without text. Another process may be creating it just now, or it is a user's file.
        """
        flags = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            fd, made = self._make(flags), True
        except FileExistsError:
            try:
                fd, made = os.open(self._sidecar, flags), False
            except FileNotFoundError:
                return False  # removed just now by its holder
            except OSError as error:
                if error.errno in {errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EMLINK}:
                    raise self._in_the_way() from error
                raise
        self._fd = filesystem.beyond_standard(fd)
        if made:
            self._say()  # before it is locked, so that it is never mistaken for a foreign file
        try:
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                raise self._in_the_way()
            if try_lock(self._fd) and filesystem.names(self._sidecar, self._fd):
                text = filesystem.read_some(self._fd, LIMIT + 1, 0)
                self._ours = made or _is_ours(text)
                if text and not self._ours:
                    raise self._in_the_way()
                if self._ours:
                    self._say()
                if self._ours or empty:
                    return True
        except BaseException:
            self.drop()
            raise
        self.drop()
        return False

    def _make(self, flags: int) -> int:
        """Create the lock file, with its text from the first moment on where possible: then a killed process leaves none
        that could be mistaken for a user's file. Raises FileExistsError.
        """
        if hasattr(os, "O_TMPFILE"):
            with contextlib.suppress(OSError):  # a file system without unnamed files
                fd = os.open(self._sidecar.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
                try:
                    os.write(fd, Holder.current().encode())
                    # A folder is named, though the path needs none: without one, Python does not follow the link.
                    os.link(f"/proc/self/fd/{fd}", self._sidecar, src_dir_fd=fd, follow_symlinks=True)
                except OSError:
                    os.close(fd)
                else:
                    return fd
        return os.open(self._sidecar, flags | os.O_CREAT | os.O_EXCL, 0o666)

    def _say(self) -> None:
        # The lock is held whether or not its holder can be written: a full disk must not stop a planned run. The text is
        # never empty in between: a process killed then would leave what looks like a user's file.
        with contextlib.suppress(OSError):
            text = Holder.current().encode()
            os.lseek(self._fd, 0, os.SEEK_SET)
            os.write(self._fd, text)
            os.ftruncate(self._fd, len(text))

    def _in_the_way(self) -> CannotWriteError:
        return CannotWriteError(
            f"{self.path} cannot be written to: {self._sidecar} is in the way: it is not a lock file of tdw. Move "
            "or rename it, and try again."
        )

    def drop(self) -> None:
        """Close the lock file without removing it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def release(self) -> None:
        """Release the lock, and remove the lock file if this program created it."""
        if self._fd < 0:
            return
        if not REMOVABLE:
            self.drop()
        if self._ours:
            # Windows: the next writer may have it open, and will remove it.
            with contextlib.suppress(FileNotFoundError if REMOVABLE else OSError):
                if not REMOVABLE or filesystem.names(self._sidecar, self._fd):
                    self._sidecar.unlink()
        self.drop()


def _is_ours(text: bytes) -> bool:
    """Whether a lock file's text is this program's; the first versions wrote only a process id."""
    return text.startswith(MAGIC) or (text.strip().isdigit() and len(text) <= 20)


class Lock:
    """The right to write to a project file; the lock on its name is taken at once, or FileInUseError is raised.

    Raises CannotWriteError for a foreign file in place of the lock file, OSError where that cannot be created (missing
    folder, no permission).
    """

    def __init__(self, path: Path):
        self._lease = lease.take(path)  # first, so that nothing of a writer on another computer is touched
        try:
            self._name = self._on_name(path)
        except BaseException:
            if self._lease is not None:
                self._lease.release()
            raise
        self._files: list[int] = []
        self._forked = self._released = False
        _held.add(self)

    @staticmethod
    def _on_name(path: Path) -> _NameLock:
        deadline = time.monotonic() + PATIENCE / 2
        found = _NameLock(path)
        try:
            while True:
                with interrupts.Whole():
                    if found.acquire(empty=time.monotonic() > deadline):
                        break
                if time.monotonic() > deadline + PATIENCE / 2:
                    holder = holder_of(path)
                    raise lease.in_use(path, "another process" if holder is None else f"process {holder.pid}")
                time.sleep(0.005)
        except BaseException:
            found.release()
            raise
        return found

    def hold(self, fd: int, path: Path) -> None:
        """Also lock an open file for writing. Raises FileInUseError where another process has it, by whatever name."""
        again = filesystem.reopened(fd, path)
        deadline = time.monotonic() + PATIENCE
        while (locked := filesystem.lock_for_writing(again)) is False:
            if time.monotonic() > deadline:
                os.close(again)
                raise lease.in_use(path, "another process")
            time.sleep(0.005)
        if locked and not filesystem.leaves_readers_in(again):
            # Readers come first: `fence.py` detects what this lock would prevent.
            os.close(again)
            again = filesystem.reopened(fd, path)
        self._files.append(again)

    def keep(self, *, newest: bool) -> None:
        """Of the locked files, keep only the one that was locked last, or first."""
        kept = self._files[-1:] if newest else self._files[:1]
        for fd in self._files:
            if fd not in kept:
                os.close(fd)
        self._files = kept

    def follow(self, path: Path) -> None:
        """Replace the lock on the name by one on another name: the file was moved.

        Where that name is locked (another process tries to open the file there, and is refused), or no lock file can be
        created, the lock on the file itself has to suffice.
        """
        with contextlib.suppress(FileInUseError, CannotWriteError, OSError):
            new = self._on_name(path)
            self._name.release()
            self._name = new
            if self._lease is not None:
                claimed = lease.take(path)
                self._lease.release()
                self._lease = claimed

    def check(self, path: Path) -> None:
        """Raise OverwrittenError where another process took the lease over; OSError. path: for the message"""
        if self._lease is not None:
            self._lease.check(path)

    @property
    def mine(self) -> bool:
        """Whether this process holds it; False in a forked process."""
        return not self._forked

    def inherited(self) -> None:
        """In a forked process: close what was inherited, which leaves the lock to the parent."""
        self._name.drop()
        if self._lease is not None:
            self._lease.drop()
        self._close_files()
        self._forked = True
        _held.discard(self)

    def _close_files(self) -> None:
        for fd in self._files:
            os.close(fd)
        self._files = []

    def release(self) -> None:
        """Release both locks, leaving no file behind."""
        if self._forked or self._released:
            return
        with interrupts.Whole():
            self._released = True
            _held.discard(self)
            self._close_files()
            self._name.release()
            if self._lease is not None:
                self._lease.release()


def holder_of(path: Path | str) -> Holder | None:
    """The process that currently writes to a project file, as its lock file or its lease says; None without a writer."""
    real = Path(os.path.realpath(path))
    if (locked := _locker_of(sidecar(real))) is not None:
        return locked
    owner = lease.owner_of(real)
    return None if owner is None else owner.holder


def _locker_of(beside: Path) -> Holder | None:
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    for _ in range(20):
        try:
            fd = filesystem.beyond_standard(os.open(beside, flags))
        except OSError:
            return None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode) or try_lock(fd, shared=True):
                return None
            holder = Holder.decode(filesystem.read_some(fd, LIMIT + 1, 0))
        finally:
            os.close(fd)
        if holder is not None:
            return holder
        time.sleep(0.002)  # taken a moment ago, the text is not written yet
    return None


def locked_by(path: Path | str) -> int | None:
    """Id of the process that currently writes to a project file; None without a writer.

    `holder_of` tells whether it is a process of this computer.
    """
    holder = holder_of(path)
    return None if holder is None else holder.pid
