"""The manifest of a sweep: which runs were planned under which names, which were removed, and which failed.

    sweep.json              the runs: file name -> settings; and those that were deleted or moved away
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


class Removed(msgspec.Struct, kw_only=True):
    """A run that a sweep does not make again. name: of its file; settings: as planned, or as stored in the file."""

    name: str
    settings: dict[str, Any]


class Manifest(msgspec.Struct, kw_only=True, rename={"version": "tdw_sweep"}):
    """The content of sweep.json.

    runs: file name -> settings as stored in the file; removed: those that were deleted or moved to another folder
    """

    version: int = 1
    runs: dict[str, dict[str, Any]] = {}
    removed: list[Removed] = []


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


def leaves(path: Path) -> bool:
    """Enter in the manifest of its folder that a run is about to be deleted, or moved to another folder.

    Returns whether there is anything to enter. Entered before the move, so that after a kill no sweep repeats the run; one that is still there counts as there.
    Raises FileInUseError while another process plans a sweep there, CannotWriteError.
    """
    if (known := _sweep_in(path.parent)) is None:
        return False
    settings = known.runs.get(path.name) or _settings_in(path)
    if settings is None:
        return False
    with changing(path.parent) as known:
        known.runs.pop(path.name, None)
        known.removed = [*known.removed, Removed(name=path.name, settings=settings)]
    return True


def arrives(path: Path, *, restored: str | None = None) -> None:
    """Enter in the manifest of its folder that a run has this name now, whatever was planned under it.

    restored: the name under which it was removed from this folder. Raises what `leaves` raises.
    """
    known = _sweep_in(path.parent)
    if known is None or (path.name not in known.runs and restored not in [item.name for item in known.removed]):
        return
    with changing(path.parent) as known:
        known.runs.pop(path.name, None)
        places = [place for place, item in enumerate(known.removed) if item.name == restored]
        if places:
            known.runs[path.name] = known.removed.pop(places[-1]).settings


def renames(old: Path, new: Path) -> None:
    """Enter in the manifests concerned that a run is about to be renamed. Raises what `leaves` raises."""
    if new.parent != old.parent:
        leaves(old)
        arrives(new)
        return
    known = _sweep_in(old.parent)
    if known is None or not {old.name, new.name} & set(known.runs):
        return
    with changing(old.parent) as known:
        settings = known.runs.pop(old.name, None)
        known.runs.pop(new.name, None)
        if settings is not None:
            known.runs[new.name] = settings


def _sweep_in(folder: Path) -> Manifest | None:
    """The manifest of a folder; None where it has none, or another program's file of that name."""
    if not (folder / NAME).is_file():
        return None
    with contextlib.suppress(NotAProjectError):
        return read(folder)
    return None


def _settings_in(path: Path) -> dict[str, Any] | None:
    """The settings that a project file holds; None where it cannot be read."""
    from tdw.project.project import Project

    with contextlib.suppress(TdwError, OSError), Project.open(path) as project:
        return dict(project.config.to_json())
    return None


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
