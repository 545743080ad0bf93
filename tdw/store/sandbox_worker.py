"""The process in which HDF5 meets a file that was not made here: `python -m tdw.store.sandbox_worker SIZE NAME [names|data|many] < FILE`.

It may take only so much memory and time, can write no file, and says what it found, or why the file is refused, as one
JSON object on its standard output. Whatever a file makes of the HDF5 library happens in here.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

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

    how: "names" for the structure as read by name; "data" for the values of all arrays on the standard output instead;
    "many" for a JSON list of [descriptor, size, name] on the standard input, and a line of output for each.
    """
    if how == "many":
        each_alone([(int(fd), int(its), str(called)) for fd, its, called in json.load(sys.stdin)])
        return
    confine(SECONDS_FOR_DATA if how == "data" else SECONDS)
    if how == "data":
        from tdw.store.inspect_hdf5 import walk_by_name

        with os.fdopen(sys.stdout.fileno(), "wb", closefd=False) as output:
            walk_by_name(sys.stdin.fileno(), Path(name), size, output)
        return
    answer = found(sys.stdin.fileno(), size, name, how)
    with os.fdopen(sys.stdout.fileno(), "wb", closefd=False) as output:
        output.write(json.dumps(answer).encode())


def found(fd: int, size: int, name: str, how: str = "") -> dict[str, Any]:
    """What is in an open file, or why it is refused."""
    from tdw.errors import ProjectError
    from tdw.store.inspect_hdf5 import walk, walk_by_name

    try:
        if how:
            structure, foreign = walk_by_name(fd, Path(name), size, None)
            return {"structure": json.loads(structure.encode()), "foreign": foreign}
        return {"structure": json.loads(walk(fd, Path(name), size).encode())}
    except ProjectError as error:
        return {"refused": type(error).__name__, "sentence": str(error)}
    except MemoryError:
        return {
            "refused": "NotAProjectError",
            "sentence": f"{name} was refused: reading its structure takes too much memory.",
        }


def each_alone(files: list[tuple[int, int, str]]) -> None:
    """Write what `found` says of each file, a line each, found in a process of its own; an empty line where that failed."""
    import tdw.store.inspect_hdf5  # noqa: F401 - once for all
    from tdw.store.sandbox import MOST_OUTPUT

    for fd, size, name in files:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            _examine_and_exit(fd, size, name, writing, {other for other, *_ in files} - {fd} | {reading})
        os.close(writing)
        answer = _collected(reading, time.monotonic() + SECONDS, MOST_OUTPUT)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        sys.stdout.buffer.write(answer.replace(b"\n", b" ") + b"\n")
    sys.stdout.flush()


def _examine_and_exit(fd: int, size: int, name: str, writing: int, others: set[int]) -> NoReturn:
    """In the process for one file: give up all others, examine, answer, end."""
    try:
        for other in others | {sys.stdin.fileno(), sys.stdout.fileno()}:
            os.close(other)
        confine()
        answer = json.dumps(found(fd, size, name)).encode()
        while answer:
            answer = answer[os.write(writing, answer) :]
    finally:
        os._exit(0)


def _collected(reading: int, deadline: float, most: int) -> bytes:
    """What a process writes until it closes the pipe; nothing if that takes too long or is too much."""
    answer = bytearray()
    while len(answer) <= most and select.select([reading], [], [], max(deadline - time.monotonic(), 0))[0]:
        piece = os.read(reading, 1 << 16)
        if not piece:
            return bytes(answer)
        answer += piece
    return b""


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:4])
