"""Operating system differences, and all disk operations of the writer.

The writer only uses the methods of one `System`, so that a test can make any of them fail, or record all of them and compute
what a power cut at that time would have left.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import struct
import sys
import threading
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

COPY_BYTES = 8 << 20
#: Errors by which a file system says that it has no such operation (and not that the operation failed).
NO_SUCH_OPERATION = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EXDEV})
_BINARY = getattr(os, "O_BINARY", 0)
_CLOSED_TO_CHILDREN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
# Follows no link planted in place of a file, and never blocks on a named pipe.
_CAREFUL = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_seek_lock = threading.Lock()
#: The byte that a writer locks: far after the end of any file, so that it affects no reader, and no lock of the other kind
#: on the whole file (flock, as HDF5 uses).
_LOCKED_BYTE = 1 << 62


class System:
    """The writer's operating system calls; each method may raise OSError."""

    #: An open file can be replaced by a rename (not on Windows).
    replaces_open_files = os.name != "nt"

    def open_existing(self, path: Path) -> int:
        """Open for reading and writing."""
        return beyond_standard(os.open(path, os.O_RDWR | _BINARY | _CLOSED_TO_CHILDREN | _CAREFUL))

    def open_new(self, path: Path) -> int:
        """Create a new file."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY | _CLOSED_TO_CHILDREN | _CAREFUL
        return beyond_standard(os.open(path, flags, 0o666))

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        """Write some of data at offset; returns how many bytes were taken."""
        if hasattr(os, "pwrite"):
            return os.pwrite(fd, data, offset)
        with _seek_lock:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.write(fd, data)

    def datasync(self, fd: int) -> None:
        """Return when all that was written is on the disk."""
        if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync leaves the data in the drive's cache
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        elif hasattr(os, "fdatasync"):
            os.fdatasync(fd)
        else:
            os.fsync(fd)

    def fsync(self, fd: int) -> None:
        """Return when data, size and times are on the disk."""
        if hasattr(fcntl, "F_FULLFSYNC"):
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fsync(fd)

    def allocate(self, fd: int, size: int) -> None:
        """Give an empty file its size in zeros, with the space for them taken from the disk."""
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(fd, 0, size)
                return
            except OSError as error:
                if error.errno not in NO_SUCH_OPERATION:
                    raise
        zeros = bytes(min(size, COPY_BYTES))
        for offset in range(0, size, COPY_BYTES):
            write_all(self, fd, memoryview(zeros)[: size - offset], offset)

    def copy(self, source: int, source_offset: int, target: int, target_offset: int, count: int) -> int:
        """Copy some bytes from file to file; returns how many (0 only at the end of the source)."""
        if hasattr(os, "copy_file_range"):
            try:
                return os.copy_file_range(source, target, count, source_offset, target_offset)
            except OSError as error:
                if error.errno not in NO_SUCH_OPERATION:
                    raise
        data = read_some(source, min(count, COPY_BYTES), source_offset)
        write_all(self, target, data, target_offset)
        return len(data)

    def replace(self, source: Path, target: Path) -> None:
        """Rename source over target."""
        for wait in (0.02, 0.05, 0.1, 0.2, 0.4, 0.8):
            try:
                source.replace(target)
                return
            except PermissionError:
                if self.replaces_open_files:
                    raise
                time.sleep(wait)  # Windows: another process has the file open, perhaps briefly
        source.replace(target)

    def link(self, source: Path, target: Path) -> bool:
        """Give a file a second name; False where that is not possible. Raises FileExistsError where another file has the name."""
        try:
            os.link(source, target)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in NO_SUCH_OPERATION | {errno.EPERM}:
                raise
            return False
        return True

    def name(self, source: Path, target: Path) -> None:
        """Give a new file its name. Raises FileExistsError where another file has it."""
        if self.link(source, target):
            source.unlink()
            return
        # A file system without hard links has no rename that refuses to replace.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        self.replace(source, target)

    def sync_folder(self, folder: Path) -> None:
        """Return when the names in a folder are on the disk (Windows: nothing to call)."""
        if os.name == "nt":
            return
        fd = os.open(folder, os.O_RDONLY | _CLOSED_TO_CHILDREN)
        try:
            self.fsync_folder(fd)
        finally:
            os.close(fd)

    def fsync_folder(self, fd: int) -> None:
        """Fsync of a folder's descriptor; some network file systems have no such thing."""
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in NO_SUCH_OPERATION:
                raise

    def lock_shared(self, fd: int) -> bool:
        """Keep others from locking the file for themselves (h5py's "r+" does); False when one of them was faster."""
        if fcntl is None:
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in NO_SUCH_OPERATION | {errno.ENOLCK}:
                raise
        return True


SYSTEM = System()


def write_all(system: System, fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write every byte of data at offset, however little the system takes at a time."""
    view = memoryview(data).cast("B")
    while view:
        count = system.pwrite(fd, view, offset)
        if count <= 0:
            raise OSError(errno.EIO, "the write took no bytes")
        view = view[count:]
        offset += count


def copy_all(system: System, source: int, source_offset: int, target: int, target_offset: int, count: int) -> None:
    """Copy count bytes from file to file."""
    while count:
        copied = system.copy(source, source_offset, target, target_offset, count)
        if copied <= 0:
            raise OSError(errno.EIO, "the file ended while it was copied")
        source_offset, target_offset, count = source_offset + copied, target_offset + copied, count - copied


def open_to_read(path: Path) -> int:
    """A descriptor for reading; never blocks, never follows a last link."""
    return beyond_standard(os.open(path, os.O_RDONLY | _BINARY | _CLOSED_TO_CHILDREN | _CAREFUL))


def beyond_standard(fd: int) -> int:
    """The same open file under a descriptor that is none of the three that programs print to.

    In a process whose standard streams were closed at its start, the next file that is opened becomes one of them, and
    whatever prints then writes into it.
    """
    if fd > 2 or fcntl is None:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def lock_for_writing(fd: int) -> bool | None:
    """Lock a file for the one that writes to it, whatever its name: False where another one does, None where the system
    knows no lock that would neither keep readers out nor be lost when another descriptor of the file is closed.

    The lock belongs to the open file, so it is gone when the last descriptor of it is closed, by whatever end of the process.
    """
    if not hasattr(fcntl, "F_OFD_SETLK"):
        return None
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _whole_byte(fcntl.F_WRLCK))
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            return False
        if error.errno in NO_SUCH_OPERATION | {errno.ENOLCK}:
            return None
        raise
    return True


def leaves_readers_in(fd: int) -> bool:
    """Whether a lock for writing keeps out none of the programs that lock a file as a whole to read it, as HDF5 does.

    Some network file systems make one kind of lock of both.
    """
    if fcntl is None:
        return True
    other = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | _CLOSED_TO_CHILDREN)
    try:
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # no such locks there
    finally:
        os.close(other)
    return True


def is_locked_for_writing(fd: int) -> bool:
    """Whether another open file has that lock."""
    if not hasattr(fcntl, "F_OFD_GETLK"):
        return False
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _whole_byte(fcntl.F_RDLCK))
    except OSError:
        return False
    return int(struct.unpack(_FLOCK, answer)[0]) != fcntl.F_UNLCK


_FLOCK = "hhqqi4x"  # struct flock of 64-bit systems: type, whence, start, length, process


def _whole_byte(kind: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, _LOCKED_BYTE, 1, 0)


def reopened(fd: int, path: Path) -> int:
    """Another descriptor for writing of an open file, with locks of its own. Raises OSError where it is not to be found."""
    there = Path(f"/proc/self/fd/{fd}")
    again = beyond_standard(os.open(there if there.exists() else path, os.O_RDWR | _BINARY | _CLOSED_TO_CHILDREN))
    if not same_file(os.fstat(again), os.fstat(fd)):
        os.close(again)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return again


def same_file(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether two descriptions are of one file."""
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def names(path: Path, fd: int) -> bool:
    """Whether a path is a name of an open file now."""
    try:
        return same_file(path.stat(), os.fstat(fd))
    except OSError:
        return False


def where_is(fd: int, was: Path) -> Path | None:
    """A path by which an open file can be found now; None where it has none, or the system does not tell.

    was: where it was. Another name that it has in the same folder (a hard link) is found too.
    """
    found: Path | None = None
    with contextlib.suppress(OSError, ValueError):
        if sys.platform == "darwin":
            found = Path(os.fsdecode(fcntl.fcntl(fd, 50, bytes(1024)).rstrip(b"\0")))  # F_GETPATH
        elif Path("/proc/self/fd").exists():
            found = Path(f"/proc/self/fd/{fd}").readlink()
    if found is not None and names(found, fd):
        return found
    inode = os.fstat(fd).st_ino
    with contextlib.suppress(OSError), os.scandir(was.parent) as entries:
        for entry in entries:
            if entry.inode() == inode and names(Path(entry.path), fd):
                return Path(entry.path)
    return None


def keep_attributes(old: int, new: int) -> None:
    """Give a file that takes the place of another one its permissions, its owner and group, and its extended attributes
    (access lists are among them) where the system lets us.

    Where the group cannot be kept, the new one may do no more than everybody may.
    """
    if os.name == "nt":
        return
    was = os.fstat(old)
    mode = stat.S_IMODE(was.st_mode)
    if os.fstat(new).st_uid != was.st_uid:
        with contextlib.suppress(OSError):  # root's alone to give
            os.fchown(new, was.st_uid, -1)
    if os.fstat(new).st_gid != was.st_gid:
        try:
            os.fchown(new, -1, was.st_gid)
        except OSError:
            mode = (mode & ~0o2070) | ((mode & 0o007) << 3)
    os.fchmod(new, mode)
    if hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):  # a file system without them
            for attribute in os.listxattr(old):
                with contextlib.suppress(OSError):  # one that only the system may set
                    os.setxattr(new, attribute, os.getxattr(old, attribute))


def read_some(fd: int, count: int, offset: int) -> bytes:
    """Up to count bytes from offset; fewer only at the end of the file."""
    if hasattr(os, "pread"):
        return os.pread(fd, count, offset)
    with _seek_lock:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, count)


def read_into(fd: int, buffer: memoryview, offset: int) -> int:
    """Fill a buffer from offset; returns the number of bytes read (fewer only at the end of the file)."""
    done = 0
    while done < len(buffer):
        if hasattr(os, "preadv"):
            count = os.preadv(fd, [buffer[done:]], offset + done)
        else:
            piece = read_some(fd, min(len(buffer) - done, COPY_BYTES), offset + done)
            count = len(piece)
            buffer[done : done + count] = piece
        if count == 0:
            break
        done += count
    return done


def free_bytes(folder: Path) -> int | None:
    """Space that a user may still fill in the file system of a folder; None when it does not say."""
    import shutil

    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free
    return None


def type_of(folder: Path) -> str:
    """The type of the file system of a folder, such as "ext4" or "nfs4"; empty where the system does not tell."""
    try:
        there = folder.stat().st_dev
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    number = f"{os.major(there)}:{os.minor(there)}"
    best, longest = "", -1
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        if fields[2] == number:
            return after.split(" ")[0]
        # Subvolumes of btrfs have device numbers that no mount shows.
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
        if len(point) > longest and folder.absolute().is_relative_to(point):
            best, longest = after.split(" ")[0], len(point)
    return best
