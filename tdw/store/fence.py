"""Whether a file is still as the one that writes to it left it, asked before every write.

A lock keeps other writers of this program out where the system has one that suits. This finds whatever gets by: another
program that overwrites the file in place, a writer on a system without such a lock, one that was stopped and wakes up after
another has gone on. What is found there is left as it is.
"""

from __future__ import annotations

import os
from pathlib import Path

from tdw.errors import OverwrittenError, ProjectError
from tdw.store import filesystem
from tdw.store.open_file import OpenFile


class Fence:
    """What the writer of an open file knows of it: both commit records, size, and the time of its own last write."""

    def __init__(self, state: OpenFile):
        self._records = [self._record(state, slot) for slot in (0, 1)]
        self.wrote(state)

    @staticmethod
    def _record(state: OpenFile, slot: int) -> bytes:
        return filesystem.read_some(state.fd, state.layout.extents["commit"].row_nbytes, state.layout.slot_offset(slot))

    def wrote(self, state: OpenFile, slot: int | None = None, record: bytes = b"") -> None:
        """Take in that this process wrote to the file; slot: where it put a record, if it did."""
        if slot is not None:
            self._records[slot] = record
        self._modified = os.fstat(state.fd).st_mtime_ns

    def check(self, state: OpenFile, path: Path) -> None:
        """Raise OverwrittenError where the file is not what it was after this process's last write."""
        now = os.fstat(state.fd)
        if now.st_size != state.layout.size:
            raise self._overwritten(path, f"it has {now.st_size:,} bytes, and had {state.layout.size:,}")
        for slot, known in enumerate(self._records):
            if self._record(state, slot) != known:
                raise self._overwritten(path, "it holds a commit that was not made here")
        if now.st_mtime_ns == self._modified:
            return
        # Somebody wrote to it, or only touched it: then every byte that counts is as it was.
        state.checked.clear()
        state.torn.clear()
        try:
            sealed = state.seal() == state.record.seal
            for name in state.layout.growing:
                state.check(name)
        except ProjectError as error:
            raise self._overwritten(path, "stored values are others") from error
        if not sealed:
            raise self._overwritten(path, "its structure, settings or split are others")
        self._modified = now.st_mtime_ns

    @staticmethod
    def _overwritten(path: Path, what: str) -> OverwrittenError:
        return OverwrittenError(
            f"{path} was overwritten by another program while it was open for writing here: {what}. "
            "Nothing more was written to it.",
            in_place=True,
        )
