"""A lock on an open file: it ends with the file's last descriptor, however the process ends."""

from __future__ import annotations

import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Whether the name of a locked file can be removed, as it cannot on Windows.
REMOVABLE = fcntl is not None


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Lock an open file; False where another process, or another open file of this one, has the lock. Raises OSError."""
    try:
        if fcntl is not None:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        else:
            import msvcrt

            os.lseek(fd, 1 << 20, os.SEEK_SET)  # after the text, which other processes must be able to read
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    except (BlockingIOError, PermissionError):
        return False
    return True
