"""A copy of a project file as of one commit, also while another process writes to it."""

from __future__ import annotations

import os
from pathlib import Path

from tdw.store.atomic import explained, name_locked, refuse_existing
from tdw.store.filesystem import SYSTEM
from tdw.store.open_file import real_path
from tdw.store.reader import Reader
from tdw.store.restructure import plan_of, restructured


def copy(reader: Reader, path: Path | str) -> None:
    """Copy an open file as of its newest commit, verifying all checksums.

    Raises DamagedFileError, AlreadyExistsError, CannotWriteError.
    """
    given, real = Path(path), real_path(path)
    refuse_existing(given, real, overwrite=None)
    reader.require_sound("only an undamaged file can be copied")
    with explained(given), name_locked(given, real) as lock:
        plan = plan_of(reader)
        state = restructured(reader.state, real, plan, (), SYSTEM, lock, [], known_as=given, replaces=False)
        os.close(state.fd)
        lock.release()
