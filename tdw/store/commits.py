"""The commit protocol on an open file: data in place, fsync, the commit record into the other slot, fsync.

A program that reads the file meanwhile, or after a kill or a power cut, sees the contents of one commit or of the next.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tdw.store.commit_record import BLOCK, Record
from tdw.store.fence import Fence
from tdw.store.filesystem import System, write_all
from tdw.store.layout import BLOCK_CRCS
from tdw.store.lock import Lock
from tdw.store.open_file import OpenFile


@dataclass(frozen=True)
class Piece:
    """Bytes to write at an offset of the file."""

    offset: int
    data: bytes | memoryview


class Commits:
    """Commits to one open file, which nothing else writes to.

    path: the one that errors give; it changes when the file is moved
    """

    def __init__(self, state: OpenFile, path: Path, system: System, lock: Lock):
        self._lock = lock
        self._state, self.path, self._system = state, path, system
        self._fence = Fence(state)
        self._tails = [state.tail_of(name) for name in state.layout.growing]
        # The contents of the two rows of tail copies; unknown before the first record is written.
        self._copies: list[list[bytes] | None] = [None, None]

    def check(self) -> None:
        """Raise OverwrittenError where another process took the lease over, or changed the file since the last write."""
        self._lock.check(self.path)
        self._fence.check(self._state, self.path)

    def write(self, given: Sequence[Piece], rows: Mapping[str, np.ndarray], changes: Mapping[str, Any]) -> None:
        """Write pieces, and append rows to arrays by name, then the record that commits them; durable on return.

        changes: other fields of the record. Raises OverwrittenError, OSError; nothing may be written after either.
        """
        state, system, pieces = self._state, self._system, list(given)
        self._take_back_clean()
        counts, crcs, tails = list(state.record.rows), list(state.record.crc32), list(self._tails)
        for name, value in rows.items():
            i, extent, data = state.index(name), state.layout.extents[name], value.tobytes()
            at = counts[i] * extent.row_nbytes
            pieces.append(Piece(extent.offset + at, data))
            counts[i] += len(value)
            crcs[i] = zlib.crc32(data, crcs[i])
            whole = tails[i] + data
            tails[i] = whole[len(whole) - len(whole) % BLOCK :]
            if name in state.layout.curves and len(whole) >= BLOCK:
                pieces.append(self._block_crcs(name, at // BLOCK, whole))
        summed = tuple(zlib.crc32(tail) for tail in tails)
        record = state.record.next(clean=False, rows=tuple(counts), crc32=tuple(crcs), tail_crc32=summed, **changes)
        self.check()
        for piece in pieces:
            write_all(system, state.fd, piece.data, piece.offset)
        system.datasync(state.fd)
        self._fence.wrote(state)
        self._write_record(record, 1 - state.slot, tails)
        for i, name in enumerate(state.layout.growing):
            state.checked[name] = (counts[i] * state.layout.extents[name].row_nbytes, crcs[i])

    def write_clean(self) -> None:
        """Mark the file as closed in order. Both slots then have the same contents, so bit rot in one does not roll the
        file back. Raises what `write` raises.
        """
        state = self._state
        if not (state.record.clean and state.alike):
            self._write_record(state.record.next(clean=True), 1 - state.slot, list(self._tails))

    def _block_crcs(self, name: str, first: int, data: bytes) -> Piece:
        """Checksums of the blocks of a curve that these bytes fill; first: number of the first block."""
        extent = self._state.layout.extents[BLOCK_CRCS]
        crcs = [zlib.crc32(data[at : at + BLOCK]) for at in range(0, len(data) - len(data) % BLOCK, BLOCK)]
        offset = extent.offset + self._state.layout.curves.index(name) * extent.row_nbytes + 4 * first
        return Piece(offset, np.array(crcs, "<u4").tobytes())

    def _write_record(self, record: Record, slot: int, tails: list[bytes]) -> None:
        """Write a commit record and the tail copies that belong to it; durable on return."""
        state, system = self._state, self._system
        encoded, there = record.encode(), self._copies[slot]
        self._copies[slot] = None
        self.check()
        for i, tail in enumerate(tails):
            if tail and (there is None or there[i] != tail):
                write_all(system, state.fd, tail, state.layout.tails_offset(slot) + i * BLOCK)
        write_all(system, state.fd, encoded, state.layout.slot_offset(slot))
        system.datasync(state.fd)
        self._fence.wrote(state, slot, encoded)
        self._lock.check(self.path)  # nothing is reported as stored that a new owner may not have seen
        self._copies[slot], self._tails = list(tails), tails
        alike = record == replace(state.record, sequence=record.sequence, clean=record.clean)
        state.adopt(record, slot, alike=alike)

    def _take_back_clean(self) -> None:
        """Before the first commit after an orderly close: clear the clean flag.

        A damaged record next to a clean one is then bit rot, and not an interrupted write. The clean record may be
        overwritten, because the other one has the same contents.
        """
        state = self._state
        if state.record.clean:
            slot = state.slot if state.alike else 1 - state.slot
            self._write_record(state.record.next(clean=False), slot, list(self._tails))
