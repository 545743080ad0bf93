"""Content names: how a page knows whether the rows it has are still those of the file.

A page keeps the rows of an array while the array's content name stays the same, and requests only the rows that were
added. An array keeps its name while it only grows, even if the file is replaced, and gets a new one when rows that were
sent differ from those in the file. So adding a note or an analysis does not make pages reload arrays, and replacing the
file by an older copy or a different run never mixes rows of both.
"""

from __future__ import annotations

import contextlib
import secrets
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdw.errors import TdwError
from tdw.panels import reductions
from tdw.run import Run

WEIGHTS = "weights"  # content name of everything computed from checkpoints


class ContentNames:
    """Content names for one file. They are unique to this object, so a page can only have them from here."""

    def __init__(self) -> None:
        self._origin = secrets.token_hex(4)
        self._renewed: dict[str, int] = {}  # array -> number of renewals
        self._sent: dict[str, tuple[int, int]] = {}  # array -> (rows sent, CRC-32 of them)

    def names(self, arrays: Iterable[str]) -> dict[str, str]:
        """The content names of these arrays and of the weights: "ORIGIN.RENEWALS"."""
        return {name: f"{self._origin}.{self._renewed.get(name, 0)}" for name in (*arrays, WEIGHTS)}

    def sent(self, name: str, start: int, rows: NDArray[Any]) -> None:
        """Record that rows from `start` are being sent to a page."""
        counted, crc = self._sent.get(name, (0, 0))
        if start <= counted < start + len(rows):
            self._sent[name] = (start + len(rows), zlib.crc32(rows[counted - start :].tobytes(), crc))

    def sent_weights(self, run: Run) -> None:
        """Record that a result computed from the weights of all checkpoints is being sent."""
        self.sent(WEIGHTS, 0, run.checkpoint_checksums)

    def settle(self, run: Run) -> None:
        """After the file was reopened: compare the rows that were sent with those in the file."""
        for name, (rows, crc) in list(self._sent.items()):
            now: NDArray[Any] = np.empty(0)
            with contextlib.suppress(TdwError):  # damaged: requests for it report the damage
                if name == WEIGHTS:
                    now = run.checkpoint_checksums[:rows]
                elif reductions.is_stored(run, name):
                    now = reductions.series(run, name, 0, rows)
            if len(now) < rows or zlib.crc32(now.tobytes()) != crc:
                self._renewed[name] = self._renewed.get(name, 0) + 1
                del self._sent[name]
