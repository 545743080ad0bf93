"""Notes given while another process writes to the file: kept next to it until the writer stores them.

    NAME.tdw.notes          changes that wait, as JSON: title, tags, remark
    NAME.tdw.notes-taken    those that a writer has taken and not yet stored

A writer renames the first to the second, stores the changes, and removes it. Killed in between, the next writer stores them
again, which changes nothing. A process that adds a change meanwhile finds no file and makes a new one. Readers show both.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tdw.errors import NotAProjectError, SettingError
from tdw.project import notes
from tdw.state_dir import UnusableError, parsed, read_private, state_folder, taking_turns, write_private
from tdw.store.open_file import real_path

MOST_BYTES = 1 << 16
KEYS = ("title", "tags", "remark")

log = logging.getLogger("tdw.store")  # whose notes commands print


def add(path: Path, changes: Mapping[str, Any]) -> None:
    """Let changes wait for the writer of a project file; they are durable when this returns.

    Raises NotAProjectError for a file that was moved meanwhile, OSError, AppError.
    """
    waiting = _waiting(path)
    with adding(path):
        if not path.exists():
            raise NotAProjectError(f"{path} was moved or deleted meanwhile: give its new path.")
        write_private(waiting, json.dumps({**_read(waiting), **changes}).encode())


@contextlib.contextmanager
def adding(path: Path) -> Iterator[None]:
    """In this context, no other process adds changes. Raises OSError, AppError."""
    turn = hashlib.sha256(str(_waiting(path)).encode(errors="surrogateescape")).hexdigest()[:32]
    with taking_turns(state_folder() / f"notes-{turn}.lock"):
        yield


def files(path: Path) -> tuple[Path, Path]:
    """The files in which changes wait; they move with the project file."""
    return _taken(path), _waiting(path)


def of(path: Path) -> dict[str, Any]:
    """The changes that wait for a project file."""
    return {**_read(_taken(path)), **_read(_waiting(path))}


@contextlib.contextmanager
def taken(path: Path) -> Iterator[dict[str, Any]]:
    """Changes to store now, {} if none wait. They are removed when the block ends without an error."""
    claimed = _taken(path)
    changes = _read(claimed)
    if not changes:
        with contextlib.suppress(FileNotFoundError):
            _waiting(path).replace(claimed)
            changes = _read(claimed)
    yield changes
    if changes:
        claimed.unlink(missing_ok=True)


def _waiting(path: Path) -> Path:
    real = real_path(path)
    return real.with_name(f"{real.name}.notes")


def _taken(path: Path) -> Path:
    real = real_path(path)
    return real.with_name(f"{real.name}.notes-taken")


def _read(path: Path) -> dict[str, Any]:
    """The changes in a file; {} for a missing one, and for anything that is none of ours, which is left alone."""
    try:
        found = parsed(read_private(path, MOST_BYTES))
    except FileNotFoundError:
        return {}
    except (UnusableError, OSError, ValueError) as error:
        log.info("%s holds no notes of tdw's (%s)", path.name, error)
        return {}
    if not isinstance(found, dict):
        return {}
    changes = {name: found[name] for name in KEYS if name in found}
    try:
        notes.changed({}, **changes)
    except (SettingError, TypeError, AttributeError) as error:
        log.info("%s holds no notes of tdw's (%s)", path.name, error)
        return {}
    return changes
