"""Which of the rows that pages were sent are still those of the file.

A page keeps what it was sent of an array while the name of its content stays the same, and asks for the rows that were
added. Names are given here: an array keeps its name while it only grows, also into a new file, and gets a new one when
rows that were sent are not what the file has at their place now. So a note or an analysis costs a page nothing, and an
older copy of a run, or another stretch of training, is not shown with the rows of both.
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

WEIGHTS = "weights"  # the content of what is computed from checkpoints


class Contents:
    """The names for one file, which others than this object never give: a page that has one of them has it from here."""

    def __init__(self) -> None:
        self._origin = secrets.token_hex(4)
        self._renewed: dict[str, int] = {}  # array -> how often
        self._sent: dict[str, tuple[int, int]] = {}  # array -> (rows, CRC-32 of them)

    def names(self, arrays: Iterable[str]) -> dict[str, str]:
        """The name of the content of these arrays, and of the weights: "ORIGIN.TIMES RENEWED"."""
        return {name: f"{self._origin}.{self._renewed.get(name, 0)}" for name in (*arrays, WEIGHTS)}

    def sent(self, name: str, start: int, rows: NDArray[Any]) -> None:
        """Rows from `start` on are being sent to a page."""
        counted, crc = self._sent.get(name, (0, 0))
        if start <= counted < start + len(rows):
            self._sent[name] = (start + len(rows), zlib.crc32(rows[counted - start :].tobytes(), crc))

    def sent_weights(self, run: Run) -> None:
        """Something that was computed from the weights of all checkpoints is being sent."""
        self.sent(WEIGHTS, 0, run.checkpoint_checksums)

    def settle(self, run: Run) -> None:
        """The file was opened anew: compare what was sent with what is there now."""
        for name, (rows, crc) in list(self._sent.items()):
            now: NDArray[Any] = np.empty(0)
            with contextlib.suppress(TdwError):  # damaged: whoever asks for it is told so
                if name == WEIGHTS:
                    now = run.checkpoint_checksums[:rows]
                elif reductions.is_stored(run, name):
                    now = reductions.series(run, name, 0, rows)
            if len(now) < rows or zlib.crc32(now.tobytes()) != crc:
                self._renewed[name] = self._renewed.get(name, 0) + 1
                del self._sent[name]
