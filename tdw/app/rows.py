"""Rows of a run on their way to a page: held against the run before anything is read, then read and sent in pieces.

However much a page asks for, a piece is all of it that is in memory. The first is read before the answer begins, so that
a refusal is one; where a later one cannot be read, the answer breaks off, which the page notices by its length.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from fastapi.responses import Response, StreamingResponse
from numpy.typing import NDArray
from starlette.types import Send

from tdw.errors import AppError, TdwError

if TYPE_CHECKING:
    from tdw.app.open_runs import OpenRun

MOST_BYTES = (1 << 31) - 1  # of one answer: a browser holds no more in one piece of memory
PIECE = 1 << 20  # bytes, or one row where that has more

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """Rows start to stop of something, and how to read some of them: `read(start, stop)`, as they are to be sent."""

    what: str
    start: int
    stop: int
    row_nbytes: int
    read: Callable[[int, int], NDArray[Any]]

    def __post_init__(self) -> None:
        if self.nbytes > MOST_BYTES:
            raise AppError(
                f"{self.what} would be {self.nbytes / 1e6:,.0f} MB in one answer, and {MOST_BYTES / 1e6:,.0f} is the most: "
                "ask for fewer, or from a later row on"
            )

    @property
    def nbytes(self) -> int:
        """Bytes of them all."""
        return max(self.stop - self.start, 0) * self.row_nbytes

    def pieces(self) -> Iterator[bytes]:
        """Their bytes, in order."""
        if not self.row_nbytes:
            return
        step = max(PIECE // self.row_nbytes, 1)
        for at in range(self.start, self.stop, step):
            end = min(at + step, self.stop)
            data = self.read(at, end).tobytes()
            if len(data) != (end - at) * self.row_nbytes:
                raise AppError(f"{self.what} changed while it was being sent: reload the page")
            yield data


class Streamed(StreamingResponse):
    """An answer of known length. Where it breaks off the connection is closed, which tells the page."""

    async def stream_response(self, send: Send) -> None:
        """Send the pieces, and an end only if they are whole."""
        try:
            await super().stream_response(send)
        except (TdwError, OSError) as error:
            log.warning("an answer broke off: %s", error)


def answer(
    using: AbstractContextManager[OpenRun], plan: Callable[[OpenRun], Rows], headers: dict[str, str]
) -> Response:
    """The answer that sends rows of a run, raw. The run is in use until they are sent, or nobody waits for them."""

    def sending() -> Generator[bytes]:
        with using as run:
            rows = plan(run)
            yield str(rows.nbytes).encode()
            yield from rows.pieces()

    pieces = sending()
    length = int(next(pieces))
    first = next(pieces, b"")
    kind = "application/octet-stream"
    if len(first) == length:
        pieces.close()
        return Response(first, media_type=kind, headers=headers)
    about = {**headers, "Content-Length": str(length)}
    return Streamed(chain([first], pieces), media_type=kind, headers=about)
