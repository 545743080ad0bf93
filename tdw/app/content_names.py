"""Content names: how a page knows whether the rows it has are still those of the file.

A page keeps the rows of an array while the array's content name stays the same, and requests only the rows that were
added. An array keeps its name while it only grows, even if the file is replaced, and gets a new one when rows that were
sent differ from those in the file. So adding a note or an analysis does not make pages reload arrays, and replacing the
file by an older copy or a different run never mixes rows of both.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdw.errors import TdwError
from tdw.panels import reductions
from tdw.run import Run

MOST_PARTS = 4096  # of an array, that are remembered
BLOCK = 1 << 20  # bytes that are compared at a time
WEIGHTS = "weights"  # content name of everything computed from checkpoints


class ContentNames:
    """Content names for one file. They are unique to this object, so a page can only have them from here."""

    def __init__(self) -> None:
        self._origin = secrets.token_hex(4)
        self._renewed: dict[str, int] = {}  # array -> number of renewals
        self._sent: dict[str, tuple[int, int]] = {}  # array -> (rows sent from the first on, CRC-32 of them)
        # array -> (first row, number of rows) of parts sent beyond these -> CRC-32; None where there are too many
        self._parts: dict[str, dict[tuple[int, int], int] | None] = {}

    def names(self, arrays: Iterable[str]) -> dict[str, str]:
        """The content names of these arrays and of the weights: "ORIGIN.RENEWALS"."""
        return {name: f"{self._origin}.{self._renewed.get(name, 0)}" for name in (*arrays, WEIGHTS)}

    def sent(self, name: str, start: int, rows: NDArray[Any]) -> None:
        """Record that rows from `start` are being sent to a page."""
        counted, crc = self._sent.get(name, (0, 0))
        if start <= counted < start + len(rows):
            self._sent[name] = (start + len(rows), zlib.crc32(rows[counted - start :].tobytes(), crc))
        elif start > counted:
            parts = self._parts.setdefault(name, {})
            if parts is not None:
                parts[start, len(rows)] = zlib.crc32(rows.tobytes())
                if len(parts) > MOST_PARTS:
                    self._parts[name] = None

    def sent_weights(self, run: Run) -> None:
        """Record that a result computed from the weights of all checkpoints is being sent."""
        self.sent(WEIGHTS, 0, run.checkpoint_checksums)

    def settle(self, run: Run) -> None:
        """After the file was reopened: compare the rows that were sent with those in the file."""
        for name in {*self._sent, *self._parts}:
            if not self._is_same(run, name):
                self._renewed[name] = self._renewed.get(name, 0) + 1
                self._sent.pop(name, None)
                self._parts.pop(name, None)

    def _is_same(self, run: Run, name: str) -> bool:
        """Whether all rows that were sent are in the file."""
        parts = self._parts.get(name, {})
        if parts is None:
            return False
        rows, crc = self._sent.get(name, (0, 0))
        wanted = {(0, rows): crc, **parts} if rows else parts
        with contextlib.suppress(TdwError):  # damaged: requests for it report the damage
            return all(_crc(run, name, start, start + count) == crc for (start, count), crc in wanted.items())
        return False


def _crc(run: Run, name: str, start: int, stop: int) -> int | None:
    """CRC-32 of rows of an array, None where it has fewer. Only a part of them is in memory."""
    if name == WEIGHTS:
        now = run.checkpoint_checksums[start:stop]
        return zlib.crc32(now.tobytes()) if len(now) == stop - start else None
    entry = reductions.entry(run, name)
    if entry is None or entry["shape"][0] < stop:
        return None
    row = math.prod(entry["shape"][1:]) * np.dtype(entry["dtype"]).itemsize
    step = max(BLOCK // max(row, 1), 1)
    crc = 0
    for at in range(start, stop, step):
        crc = zlib.crc32(reductions.series(run, name, at, min(at + step, stop)).tobytes(), crc)
    return crc
