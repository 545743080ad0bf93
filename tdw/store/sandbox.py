"""Files from another computer: HDF5 reads them in a sandboxed process, never in this one.

That process (`sandbox_worker.py`) walks the file and returns its structure, which is checked against all rules again here
(`structure.py`), because a file that takes over the process can also make it lie. This process then only reads ranges of
bytes, each verified by its checksum.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import IO

from tdw.errors import DamagedFileError, NewerFormatError, NotAProjectError, ProjectError
from tdw.store.commit_record import BLOCK
from tdw.store.structure import Structure
from tdw.store.validate import TRY_A_COPY

PATIENCE = 30.0  # seconds; on an idle machine it takes a quarter of one
MOST_OUTPUT = 8 << 20  # bytes
SENTENCES = {kind.__name__: kind for kind in (NotAProjectError, NewerFormatError, DamagedFileError)}
#: The package's folder: `-m` looks for modules in the current folder, which may hold foreign files.
HOME = Path(__file__).parents[2]


class PostponedError(ProjectError):
    """A file was not examined, because others are waiting to be examined with it."""


_postponing: ContextVar[bool] = ContextVar("postponing", default=False)


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """In this context, files that would have to be examined raise PostponedError instead."""
    before = _postponing.set(True)
    try:
        yield
    finally:
        _postponing.reset(before)


def examined(fd: int, path: Path, size: int) -> Structure:
    """The structure of an open file, read in a sandbox. Raises NotAProjectError, NewerFormatError, DamagedFileError,
    and PostponedError inside `postponed`.

    size: the expected file size; missing bytes read as zeros.
    """
    if _postponing.get():
        raise PostponedError(f"{path} comes from another computer and was not checked yet: open it again.")
    structure, _ = _described(fd, path, size)
    if structure.size != size:
        raise _invalid(path)
    return structure


def examined_together(files: Sequence[tuple[int, Path, int]]) -> list[Structure | None]:
    """The structures of open files (descriptor, path, size), some 12 times as fast as one after the other; None for those
    that `examined` is to judge, because something is wrong with them.

    One process loads HDF5 and starts a sandbox for each file, so that no file can influence what is found in another.
    """
    if sys.platform != "linux":  # elsewhere a process that has loaded libraries cannot safely be forked
        return [None] * len(files)
    asked = json.dumps([[fd, size, os.fsdecode(path)] for fd, path, size in files]).encode()
    try:
        done = subprocess.run(
            [*_WORKER, str(len(files)), "", "many"], input=asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=PATIENCE * (1 + len(files)), cwd=HOME, env=_environment(), pass_fds=[fd for fd, *_ in files], check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return [None] * len(files)
    answers = done.stdout.split(b"\n")[: len(files)]
    found: list[Structure | None] = []
    for (_, path, size), answer in itertools.zip_longest(files, answers):
        try:
            structure, _ = _answered(answer or b"", path)
            found.append(structure if structure.size == size else None)
        except ProjectError:
            found.append(None)
    return found


def named(fd: int, path: Path) -> tuple[Structure, list[str]]:
    """The structure of a file that another HDF5 program rewrote, as `walk_by_name` returns it, read in a sandbox."""
    return _described(fd, path, os.fstat(fd).st_size, "names")


def named_arrays(fd: int, path: Path, target: IO[bytes]) -> tuple[Structure, list[str]]:
    """The same, and the values of its arrays written to a file at the offsets in the structure."""
    structure, foreign = named(fd, path)
    target.truncate(structure.size)
    target.seek(BLOCK)
    command = [*_WORKER, str(os.fstat(fd).st_size), os.fsdecode(path), "data"]
    with subprocess.Popen(
        command, stdin=fd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=HOME, env=_environment()
    ) as process:
        assert process.stdout is not None
        try:
            left = structure.size - BLOCK
            while left and (data := process.stdout.read(min(left, 1 << 20))):
                target.write(data)
                left -= len(data)
            more = process.stdout.read(1)
        finally:
            process.kill()
    if left or more:
        raise DamagedFileError(f"{path} is damaged: not all of its arrays can be read by name. {TRY_A_COPY}")
    target.flush()
    return structure, foreign


_WORKER = (sys.executable, "-m", "tdw.store.sandbox_worker")


def _environment() -> dict[str, str]:
    # One thread: more would take address space, and there is nothing to compute.
    quiet = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**os.environ, **quiet}


def _invalid(path: Path) -> NotAProjectError:
    return NotAProjectError(f"{path} was refused: the sandbox returned an invalid answer.")


def _described(fd: int, path: Path, size: int, *how: str) -> tuple[Structure, list[str]]:
    return _answered(_ask([*_WORKER, str(size), os.fsdecode(path), *how], fd, path), path)


def _answered(output: bytes, path: Path) -> tuple[Structure, list[str]]:
    """What the process found. Raises the error that it names, and NotAProjectError for an invalid answer."""
    try:
        answer = json.loads(output)
        if "structure" in answer:
            return Structure.decode(json.dumps(answer["structure"]).encode()), list(map(str, answer.get("foreign", [])))
        kind, sentence = SENTENCES[answer["refused"]], str(answer["sentence"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _invalid(path) from error
    raise kind(" ".join(sentence.split())[:2000])


def _ask(command: list[str], fd: int, path: Path) -> bytes:
    """Run the process on an open file; returns its output."""
    try:
        done = subprocess.run(
            command, stdin=fd, capture_output=True, timeout=PATIENCE, cwd=HOME, env=_environment(), check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotAProjectError(
            f"{path} was refused: checking its structure took more than {PATIENCE:.0f} s."
        ) from error
    except OSError as error:
        raise ProjectError(
            f"{path} comes from another computer, and the sandbox that checks such files could not be started "
            f"({error.strerror}). Close some programs and try again."
        ) from error
    if done.returncode < 0:
        raise NotAProjectError(
            f"{path} was refused: checking its structure in a sandbox ended with signal {-done.returncode}. "
            "Its data was not read."
        )
    if done.returncode or len(done.stdout) > MOST_OUTPUT:
        why = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no reason given"]
        raise ProjectError(f"{path} could not be checked: the sandbox failed ({why[0][:200]}).")
    return done.stdout
