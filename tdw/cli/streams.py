"""Standard output and error that never raise: output may be lost, but printing never stops the work.

The terminal can be closed, a pipe's reader can exit, the disk behind `>` can be full, the encoding can lack a character,
and the three descriptors can be closed from the start. Inside `Unfailing`, `sys.stdout` and `sys.stderr` accept any text
and never raise, for this program, its libraries, `logging` and progress bars alike. Characters that cannot be encoded are
escaped; when one stream fails, the other one prints a note, once, and work continues.
"""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
import select
import sys
from collections.abc import Callable, Iterable
from typing import Any, Self, TextIO

from tdw.safe_text import json_text, visible


def open_missing() -> list[str]:
    """Open the null device for standard streams that were closed when the process started.

    Otherwise the next opened file would get such a descriptor, and printed text would be written into it. Returns the names
    of the streams of `sys` that were opened.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)  # child processes inherit all three
    opened = []
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # libraries assume that it is not
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - stays open
            opened.append(name)
    return opened


def close_opened(names: Iterable[str]) -> None:
    """Close the streams that `open_missing` opened."""
    for name in names:
        getattr(sys, name).close()
        setattr(sys, name, None)


class Unfailing:
    """Inside this context, writing to standard output and error never raises.

    opened: names of the streams that were closed, see `open_missing`
    quiet: print no note when a stream fails; the caller reports it
    """

    quiet = False

    def __init__(self, opened: Iterable[str] = ()) -> None:
        self._before = sys.stdout, sys.stderr
        self.output = Stream(sys.stdout, "standard output", lambda: self._tell(self.output, self.errors))
        self.errors = Stream(sys.stderr, "standard error", lambda: self._tell(self.errors, self.output))
        self.output.closed_before, self.errors.closed_before = "stdout" in opened, "stderr" in opened

    def __enter__(self) -> Self:
        sys.stdout, sys.stderr = self.output, self.errors
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        sys.stdout, sys.stderr = self._before

    def _tell(self, lost: Stream, other: Stream) -> None:
        if not self.quiet and other.problem is None:
            other.write(f"note: {lost.why()}; work continues without it.\n")

    def flush(self) -> None:
        """Flush both streams."""
        self.output.flush()
        self.errors.flush()


class Stream(io.TextIOBase):
    """A text stream that accepts everything and never raises.

    problem: why the stream failed; None while it works
    closed_before: whether it was closed when the process started, which is a problem once something is written, and no news
    """

    closed_before = False

    def __init__(self, under: TextIO, name: str, lost: Callable[[], None]):
        self.name = name
        self.problem: Exception | None = None
        self._under = under
        self._lost = lost
        self._waiting: list[str] = []
        self._encoder: codecs.IncrementalEncoder | None = None
        try:
            if os.name != "nt" and under.fileno() >= 0:
                self._encoder = codecs.getincrementalencoder(self.encoding)("backslashreplace")
        except (OSError, ValueError, LookupError):  # a Python stream without a descriptor
            pass

    def write(self, text: str) -> int:
        """Write text, with unencodable characters escaped. Flushes complete lines."""
        if self.closed_before and text and self.problem is None:
            self.problem = OSError(errno.EBADF, "it is closed")
        if self.problem is None:
            self._waiting.append(self.encodable(text))
            if "\n" in text:
                self.flush()
        return len(text)

    def flush(self) -> None:
        """Flush this stream."""
        waiting, self._waiting = self._waiting, []  # one step, because other threads print too
        text = "".join(waiting)
        if self.problem is not None or self._under.closed:
            return
        try:
            if self._encoder is None:
                self._under.write(text)
                self._under.flush()
                return
            self._under.flush()  # text written before this stream replaced it
            if text:
                self._write_bytes(self._encoder.encode(text))
        except (OSError, ValueError) as problem:  # ValueError: closed, or not encodable
            self._lose(problem)

    def encodable(self, text: str, errors: str = "backslashreplace") -> str:
        """The text as it will appear, with unencodable characters escaped by the given error handler."""
        encoding = self.encoding
        try:
            return text.encode(encoding, errors).decode(encoding)
        except (UnicodeError, LookupError):  # an encoding that cannot write ASCII
            return text.encode("ascii", "backslashreplace").decode("ascii")

    def _write_bytes(self, data: bytes) -> None:
        """Write to the descriptor directly: a buffered writer loses bytes when a non-blocking pipe is full."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._under.fileno(), view) :]
            except BlockingIOError:
                select.select([], [self._under.fileno()], [])

    def _lose(self, problem: Exception) -> None:
        self.problem = problem
        try:
            # Text left in the buffer would fail again when the interpreter exits, and change the exit code.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._under.fileno())
            os.close(null)
            self._under.flush()
        except (OSError, ValueError, AttributeError):  # no descriptor behind it
            pass
        self._lost()

    def why(self) -> str:
        """The problem as text."""
        if isinstance(self.problem, BrokenPipeError):
            return f"the reader closed {self.name}"
        reason = getattr(self.problem, "strerror", None) or str(self.problem)
        return f"{self.name} cannot be written to ({reason[:1].lower()}{reason[1:]})"

    # Everything else is delegated to the wrapped stream.

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the wrapped stream."""
        return getattr(self._under, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """The error handler for unencodable characters."""
        return "backslashreplace"

    @property
    def buffer(self) -> Any:
        """The binary buffer of the wrapped stream."""
        return self._under.buffer

    def fileno(self) -> int:
        """The descriptor of the wrapped stream."""
        return self._under.fileno()

    def isatty(self) -> bool:
        """Whether this is a terminal."""
        return not self._under.closed and self._under.isatty()

    def writable(self) -> bool:
        """Always."""
        return True


def say(*lines: str, error: bool = False) -> None:
    """Print each text as one line and flush. Control characters are made visible."""
    for line in lines:
        print(visible(line), file=sys.stderr if error else sys.stdout, flush=True)


def say_json(value: Any) -> None:
    """Print a value as JSON that is valid in every encoding."""
    output = sys.stdout
    for line in json_text(value, indent=2).split("\n"):
        say(output.encodable(line, _JSON) if isinstance(output, Stream) else line)


_JSON = "tdw.json"


def _as_json(error: UnicodeError) -> tuple[str, int]:
    """Error handler: unencodable characters as JSON escapes, since Python's escapes are not valid JSON."""
    assert isinstance(error, UnicodeEncodeError)
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(_JSON, _as_json)
