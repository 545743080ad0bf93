"""The processor cores and the memory that this process may use."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")  # the limits of a container, on Linux
MEMORY = Path("/proc/meminfo")


def cores() -> int:
    """The processor cores that this process may use."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # containers are given a share of the processor's time
        quota, period = (CGROUP / "cpu.max").read_text("ascii").split()
        if quota != "max":
            return max(1, min(allowed, -(-int(quota) // int(period))))
    return allowed


def memory() -> int | None:
    """Bytes of memory that this process may use if nothing else runs; None if the system does not tell."""
    found = [_container("memory.max")]
    with contextlib.suppress(AttributeError, ValueError, OSError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min((size for size in found if size is not None), default=None)


def free_memory() -> int | None:
    """Bytes of memory that are free just now, or that the system would free; None if it does not tell."""
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = MEMORY.read_text("ascii").splitlines()
        found.append(1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")))
    limit, used = _container("memory.max"), _container("memory.current")
    if limit is not None and used is not None:
        found.append(max(limit - used, 0))
    return min(found, default=None)


def _container(name: str) -> int | None:
    """A number of bytes of the container that this process is in; None without a container or a limit."""
    with contextlib.suppress(OSError, ValueError):
        return int((CGROUP / name).read_text("ascii"))  # "max" means no limit
    return None
