"""Messages for errors of the operating system, also where a library reports them: one place for every kind.

Any other error is a bug of this program and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
OUT_OF_MEMORY = "not enough memory{}. Close other programs, or raise the limit (`ulimit -v`)."

#: errno -> what it means, and what to do.
MEANING = {
    errno.ENOENT: "it does not exist. Check the name",
    errno.ENOTDIR: "part of its path is not a folder. Check the name",
    errno.EISDIR: "it is a folder. Give the name of a file",
    errno.EEXIST: "it already exists. Give another name",
    errno.ENOTEMPTY: "the folder is not empty. Give another name",
    errno.ENAMETOOLONG: "the name is too long. Give a shorter one",
    errno.ELOOP: "it is a symbolic link, or a loop of them. Give the name of the file itself",
    errno.EMFILE: "too many files are open. Raise the limit (`ulimit -n`)",
    errno.ENFILE: "too many files are open on this machine. Close other programs",
    errno.EAGAIN: "the limit on processes and threads is reached. Close other programs, or raise it (`ulimit -u`)",
    errno.EIO: "the disk reported an error. Check it; everything saved before is still there",
    errno.ENXIO: "device not found. Check the name",
    errno.ENODEV: "device not found. Check the name",
    errno.EBUSY: "it is in use. Try again later",
    errno.ETXTBSY: "it is in use. Try again later",
    errno.ESTALE: "the network file handle is stale. Try again",
    errno.ETIMEDOUT: "the file server does not answer. Try again later",
    errno.EXDEV: "it is on another file system. Give a name on the same one",
    errno.EMLINK: "there are too many links. Choose another folder",
    errno.EOVERFLOW: "it is too large for this system",
    errno.ENOSYS: "this file system cannot do that. Choose another one",
    errno.EOPNOTSUPP: "this file system cannot do that. Choose another one",
}

# How libraries put the errno into messages of their own: HDF5, safetensors (Rust).
_NUMBER = re.compile(r"errno = (\d+)|Os \{ code: (\d+)|\(os error (\d+)\)|\[Errno (\d+)\]")
_MEMORY = (
    "can't allocate memory",  # torch
    "not enough memory",
    "std::bad_alloc",
    "Cannot allocate memory",  # the dynamic linker
    "failed to map segment",
    "cannot allocate memory",
)


def sentence(error: BaseException, place: str | Path | None = None) -> str | None:
    """What failed, why and what to do; None for an error that did not come from the operating system.

    place: what was being written, instead of the name that the error gives, which may be a temporary one
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return OUT_OF_MEMORY.format(f" ({str(error).rstrip('.')})" if str(error) else "")
    text = " ".join(str(error).split())
    if isinstance(error, (RuntimeError, ImportError, OSError)) and any(word in text for word in _MEMORY):
        return OUT_OF_MEMORY.format("")
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return "cannot start another thread. Close other programs, or raise the limit (`ulimit -u`)."
    if isinstance(error, RuntimeError) and re.search("determine (the )?home directory", text):
        return "this user does not have a home folder. Set HOME to a writable folder."
    if isinstance(error, FileNotFoundError) and "No usable temporary directory" in text:
        return "there is no writable folder for temporary files. Set TMPDIR to one."
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (isinstance(error, OSError) or type(error).__name__ == "SafetensorError"):
        found = _NUMBER.search(text)
        number = int(next(filter(None, found.groups()))) if found else None
    if number is None:
        return None
    named = getattr(error, "filename", None)
    if place is None and isinstance(named, (str, bytes, os.PathLike)):
        place = os.fsdecode(named)
    return _of_number(number, place)


def _of_number(number: int, named: str | Path | None) -> str | None:
    what = "a file" if named is None else str(named)
    if number == errno.ENOMEM:
        return OUT_OF_MEMORY.format("")
    if number in FULL:
        return f"{what} cannot be written: the disk is full{_free(named)}. Free some space, or choose another disk."
    if number == errno.EFBIG:
        return (
            f"{what} cannot be written: it exceeds {_limit()}. Raise the limit (`ulimit -f`), or choose another disk."
        )
    if number in FORBIDDEN:
        why = "the file system is read-only" if number == errno.EROFS else "no permission"
        return f"{what} cannot be used: {why}. Check its permissions and the folder's, or choose another place."
    if number in MEANING:
        return f"{what} cannot be used: {MEANING[number]}."
    return None


def _free(named: str | Path | None) -> str:
    if named is None:
        return ""
    try:
        return f", {shutil.disk_usage(Path(named).absolute().parent).free / 1e6:,.1f} MB are free"
    except OSError:  # the folder is gone as well
        return ""


def _limit() -> str:
    if resource is not None:
        soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        if soft != resource.RLIM_INFINITY:
            return f"the limit on the size of a file ({soft:,} bytes)"
    return "the size that a file may have on this file system"
