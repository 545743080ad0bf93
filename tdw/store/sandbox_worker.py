"""The process in which HDF5 meets a file that was not made here: `python -m tdw.store.sandbox_worker SIZE NAME [names|data] < FILE`.

It may take only so much memory and time, can write no file, and says what it found, or why the file is refused, as one
JSON object on its standard output. Whatever a file makes of the HDF5 library happens in here.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

MEMORY = 2 << 30  # bytes of address space; libraries that are loaded count, though they take a tenth of it
SECONDS = 10  # of the processor; a file of this program takes some hundredths
SECONDS_FOR_DATA = 300  # where the arrays are read as well


def confine(seconds: int = SECONDS) -> None:
    """Give up what this process has no need of, where the system offers that."""
    try:
        import resource
    except ImportError:  # Windows: only the time is limited, by the parent
        return
    limits = {"RLIMIT_AS": MEMORY, "RLIMIT_CPU": seconds, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0, "RLIMIT_NOFILE": 64}
    for name, limit in limits.items():
        if hasattr(resource, name):
            with contextlib.suppress(ValueError, OSError):  # a stricter limit holds already
                resource.setrlimit(getattr(resource, name), (limit, limit))


def main(size: int, name: str, how: str = "") -> None:
    """Walk the file that is this process's standard input.

    how: "names" for the structure as read by name; "data" for the values of all arrays on the standard output instead.
    """
    confine(SECONDS_FOR_DATA if how == "data" else SECONDS)
    from tdw.errors import ProjectError
    from tdw.store.inspect_hdf5 import walk, walk_by_name

    answer: dict[str, Any]
    try:
        if how == "data":
            with os.fdopen(sys.stdout.fileno(), "wb", closefd=False) as output:
                walk_by_name(sys.stdin.fileno(), Path(name), size, output)
            return
        if how:
            structure, foreign = walk_by_name(sys.stdin.fileno(), Path(name), size, None)
            answer = {"structure": json.loads(structure.encode()), "foreign": foreign}
        else:
            answer = {"structure": json.loads(walk(sys.stdin.fileno(), Path(name), size).encode())}
    except ProjectError as error:
        answer = {"refused": type(error).__name__, "sentence": str(error)}
    except MemoryError:
        answer = {
            "refused": "NotAProjectError",
            "sentence": f"{name} was refused: reading its structure takes too much memory.",
        }
    with os.fdopen(sys.stdout.fileno(), "wb", closefd=False) as output:
        output.write(json.dumps(answer).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:4])
