"""Checks before every write that the file is still as its writer left it.

A lock keeps other writers of this program out where the operating system has a suitable one. This detects the rest: another
program that overwrites the file in place, a writer on a system without such a lock, or one that was suspended and wakes up
after another has continued. The foreign contents are left unchanged.
"""

from __future__ import annotations

import os
from pathlib import Path

from tdw.errors import OverwrittenError, ProjectError
from tdw.store import filesystem
from tdw.store.open_file import OpenFile


class Fence:
    """The writer's knowledge of its open file: both commit records, the size, and the time of its own last write."""

    def __init__(self, state: OpenFile):
        self._records = [self._record(state, slot) for slot in (0, 1)]
        self.wrote(state)

    @staticmethod
    def _record(state: OpenFile, slot: int) -> bytes:
        return filesystem.read_some(state.fd, state.layout.extents["commit"].row_nbytes, state.layout.slot_offset(slot))

    def wrote(self, state: OpenFile, slot: int | None = None, record: bytes = b"") -> None:
        """Record a write by this process; slot: of the commit record that it wrote, if any."""
        if slot is not None:
            self._records[slot] = record
        self._modified = os.fstat(state.fd).st_mtime_ns

    def check(self, state: OpenFile, path: Path) -> None:
        """Raise OverwrittenError where the file changed since this process's last write."""
        now = os.fstat(state.fd)
        if now.st_size != state.layout.size:
            raise self._overwritten(path, f"its size changed from {state.layout.size:,} to {now.st_size:,} bytes")
        for slot, known in enumerate(self._records):
            if self._record(state, slot) != known:
                raise self._overwritten(path, "it holds a commit of another writer")
        if now.st_mtime_ns == self._modified:
            return
        # Another program wrote to it, or only touched it: then all committed bytes are unchanged.
        state.checked.clear()
        state.torn.clear()
        try:
            sealed = state.seal() == state.record.seal
            for name in state.layout.growing:
                state.check(name)
        except ProjectError as error:
            raise self._overwritten(path, "stored values changed") from error
        if not sealed:
            raise self._overwritten(path, "its structure, settings or split changed")
        self._modified = now.st_mtime_ns

    @staticmethod
    def _overwritten(path: Path, what: str) -> OverwrittenError:
        return OverwrittenError(
            f"{path} was overwritten by another program while open for writing: {what}. Writing stopped.",
            in_place=True,
        )
