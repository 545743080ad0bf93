"""Streaming rows of a run to a page: requests are validated first, then rows are read and sent in chunks.

Only one chunk is in memory at a time. The first is read before the response starts, so that an error becomes an error
response; if a later one cannot be read, the response ends early, which the page detects by its length.
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

MOST_BYTES = (1 << 31) - 1  # per response: the limit of a browser's ArrayBuffer
CHUNK = 1 << 20  # bytes, or one row if that is larger
NEAR = 16  # rows in a chunk, from which on all rows between are read too: one read costs less than many

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """Every `step`-th row from start to stop of an array, and a function that reads a range of rows as they are sent."""

    what: str
    start: int
    stop: int
    row_nbytes: int
    read: Callable[[int, int], NDArray[Any]]
    step: int = 1

    def __post_init__(self) -> None:
        if self.step < 1:
            raise AppError(f"step must be 1 or more (got {self.step})")
        if self.nbytes > MOST_BYTES:
            raise AppError(
                f"{self.what}: the response would have {self.nbytes / 1e6:,.0f} MB, the limit is {MOST_BYTES / 1e6:,.0f} MB: "
                "request fewer rows"
            )

    @property
    def nbytes(self) -> int:
        """Size of all rows in bytes."""
        return len(range(self.start, self.stop, self.step)) * self.row_nbytes

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the rows, in chunks."""
        if not self.row_nbytes:
            return
        if self.step * self.row_nbytes > CHUNK // NEAR:  # the rows between are not read
            yield from self._gathered()
            return
        size = max(CHUNK // self.row_nbytes, 1)
        size += -size % self.step
        for at in range(self.start, self.stop, size):
            end = min(at + size, self.stop)
            yield self._checked(self.read(at, end), end - at)[:: self.step].tobytes()

    def _gathered(self) -> Iterator[bytes]:
        """The rows one by one, as many at a time as a chunk holds."""
        waiting: list[bytes] = []
        for at in range(self.start, self.stop, self.step):
            waiting.append(self._checked(self.read(at, at + 1), 1).tobytes())
            if len(waiting) * self.row_nbytes >= CHUNK:
                yield b"".join(waiting)
                waiting = []
        if waiting:
            yield b"".join(waiting)

    def _checked(self, rows: NDArray[Any], wanted: int) -> NDArray[Any]:
        if rows.nbytes != wanted * self.row_nbytes:
            raise AppError(f"{self.what} changed while it was being sent: reload the page")
        return rows


class Streamed(StreamingResponse):
    """A response of known length. If it ends early, the connection is closed, which tells the page."""

    async def stream_response(self, send: Send) -> None:
        """Send the chunks, and the end only if they are complete."""
        try:
            await super().stream_response(send)
        except (TdwError, OSError) as error:
            log.warning("a response ended early: %s", error)


def response(
    using: AbstractContextManager[OpenRun], plan: Callable[[OpenRun], Rows], headers: dict[str, str]
) -> Response:
    """The response that sends the rows as raw bytes. The run stays in use until they are sent or the client disconnects."""

    def sending() -> Generator[bytes]:
        with using as run:
            rows = plan(run)
            yield str(rows.nbytes).encode()
            yield from rows.chunks()

    chunks = sending()
    length = int(next(chunks))
    first = next(chunks, b"")
    kind = "application/octet-stream"
    if len(first) == length:
        chunks.close()
        return Response(first, media_type=kind, headers=headers)
    about = {**headers, "Content-Length": str(length)}
    return Streamed(chain([first], chunks), media_type=kind, headers=about)
