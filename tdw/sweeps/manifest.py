"""The manifest of a sweep: which runs were planned under which names, and which of them failed.

    sweep.json              the runs: file name -> settings
    sweep.failed/NAME.json  one for each run that failed, written by the process that tried it

Failures are files of their own, because any number of processes and computers write them at the same time.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tdw.errors import NotAProjectError, TdwError
from tdw.store.atomic import new_file

NAME = "sweep.json"
FAILED = "sweep.failed"
LARGEST = 1 << 28  # bytes


class Manifest(msgspec.Struct, kw_only=True, rename={"version": "tdw_sweep"}):
    """The content of sweep.json. runs: file name -> settings as stored in the file."""

    version: int = 1
    runs: dict[str, dict[str, Any]] = {}


class Failure(msgspec.Struct, kw_only=True):
    """Why a run failed. kind: of the error; tries: how often it was tried and failed; details: of an unexpected error."""

    message: str
    kind: str
    host: str
    at: str
    tries: int = 1
    details: str = ""


def read(folder: Path) -> Manifest:
    """The manifest of a folder; an empty one where there is none. Raises NotAProjectError for another file of that name."""
    path = folder / NAME
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("it is too large")
        found = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return Manifest()
    except (ValueError, OSError) as error:
        raise NotAProjectError(
            f"{path} is not the manifest of a sweep ({error}).", "Use another folder, or move that file away."
        ) from error
    if found.version != 1:
        raise NotAProjectError(f"{path} was made by a newer version of tdw.", "Update tdw.")
    return found


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[Manifest]:
    """The manifest, to be changed in the block; stored at its end. One process at a time: FileInUseError otherwise."""
    with new_file(folder / NAME, overwrite=True) as new:
        found = read(folder)
        yield found
        _write(new, found)


def _write(path: Path, content: msgspec.Struct) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")


def failure_path(run: Path) -> Path:
    """Where the failure of a run is recorded."""
    return run.parent / FAILED / f"{run.name}.json"


def failure_of(run: Path) -> Failure | None:
    """Why a run failed; None if it did not."""
    try:
        return msgspec.json.decode(failure_path(run).read_bytes(), type=Failure)
    except (OSError, ValueError):
        return None


def failures(folder: Path) -> dict[str, Failure]:
    """The recorded failures in a folder, by file name."""
    found = ((path, failure_of(folder / path.stem)) for path in sorted((folder / FAILED).glob("*.json")))
    return {path.stem: failure for path, failure in found if failure is not None}


def record_failure(run: Path, kind: str, message: str, details: str = "", *, tries: int = 1) -> str:
    """Record that a run failed, at this many tries since it was recorded last. Returns what to add to the message if that is not possible, as on a full disk; else ""."""
    before = failure_of(run)
    failure = Failure(
        message=message,
        kind=kind,
        host=platform.node(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        tries=tries if before is None else before.tries + tries,
        details=details,
    )
    path = failure_path(run)
    try:
        path.parent.mkdir(exist_ok=True)
        with new_file(path, overwrite=True) as new:
            _write(new, failure)
    except (OSError, TdwError) as error:
        return f" This could not be recorded: {error}"
    return ""


def clear_failure(run: Path) -> None:
    """Remove the record of a failure, and the folder of such records when it is empty."""
    path = failure_path(run)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()
