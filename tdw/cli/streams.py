"""Standard output and error. What is printed may be lost; it never stops or fails the work that prints it.

A terminal can be closed, a pipe's reader can end, the disk behind `>` can be full, an encoding can lack a character, and
the three descriptors can be closed from the start. While `Unfailing` is entered, `sys.stdout` and `sys.stderr` take any
text and raise nothing, whoever writes to them: this program, its libraries, `logging`, a progress bar. What cannot be
encoded is escaped; when a stream fails, the other one says so, once, and work goes on.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import select
import sys
from collections.abc import Callable, Iterable
from typing import Any, Self, TextIO

from tdw.safe_text import json_text, visible


def open_missing() -> list[str]:
    """Open the null device in the place of standard streams that were closed when the process started.

    Else the next file to be opened becomes one of them, and what a library prints is written into it. Returns the names of
    those of `sys` that it made.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)  # children start with all three
    made = []
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # libraries take for granted that it is not
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - stays open
            made.append(name)
    return made


def close_made(names: Iterable[str]) -> None:
    """Take back the streams that `open_missing` made."""
    for name in names:
        getattr(sys, name).close()
        setattr(sys, name, None)


class Unfailing:
    """While entered, standard output and error raise nothing.

    quiet: say nothing on one stream of what is wrong with the other one: whoever made this does
    """

    quiet = False

    def __init__(self) -> None:
        self._before = sys.stdout, sys.stderr
        self.output = Stream(sys.stdout, "standard output", lambda: self._tell(self.output, self.errors))
        self.errors = Stream(sys.stderr, "standard error", lambda: self._tell(self.errors, self.output))

    def __enter__(self) -> Self:
        sys.stdout, sys.stderr = self.output, self.errors
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        sys.stdout, sys.stderr = self._before

    def _tell(self, lost: Stream, other: Stream) -> None:
        if not self.quiet and other.problem is None:
            other.write(f"note: {lost.why()}; the work goes on without it.\n")

    def flush(self) -> None:
        """Hand over all that was written."""
        self.output.flush()
        self.errors.flush()


class Stream(io.TextIOBase):
    """A stream of text that takes everything and raises nothing.

    problem: why nothing is written any more; None while it is
    """

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
        except (OSError, ValueError, LookupError):  # a stream of Python's own, without a descriptor
            pass

    def write(self, text: str) -> int:
        """Write, with what the encoding lacks escaped; whole lines at once."""
        if self.problem is None:
            self._waiting.append(self.encodable(text))
            if "\n" in text:
                self.flush()
        return len(text)

    def flush(self) -> None:
        """Hand over what was written."""
        waiting, self._waiting = self._waiting, []  # at once: threads print as well
        text = "".join(waiting)
        if self.problem is not None or self._under.closed:
            return
        try:
            if self._encoder is None:
                self._under.write(text)
                self._under.flush()
                return
            self._under.flush()  # what was written before this one was there
            if text:
                self._hand_over(self._encoder.encode(text))
        except (OSError, ValueError) as problem:  # ValueError: closed, or no encoding takes it
            self._lose(problem)

    def encodable(self, text: str, errors: str = "backslashreplace") -> str:
        """The text as it will appear: what the encoding lacks is escaped, by the rule that is named."""
        encoding = self.encoding
        try:
            return text.encode(encoding, errors).decode(encoding)
        except (UnicodeError, LookupError):  # an encoding without letters
            return text.encode("ascii", "backslashreplace").decode("ascii")

    def _hand_over(self, data: bytes) -> None:
        """Straight to the descriptor: buffers lose bytes where a pipe that does not wait for its reader is full."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._under.fileno(), view) :]
            except BlockingIOError:
                select.select([], [self._under.fileno()], [])

    def _lose(self, problem: Exception) -> None:
        self.problem = problem
        try:
            # What is left in the buffer would fail once more when the interpreter ends, and decide its exit code.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._under.fileno())
            os.close(null)
            self._under.flush()
        except (OSError, ValueError, AttributeError):  # no descriptor behind it
            pass
        self._lost()

    def why(self) -> str:
        """What is the matter, in words."""
        if isinstance(self.problem, BrokenPipeError):
            return f"{self.name} was closed by what reads it"
        reason = getattr(self.problem, "strerror", None) or str(self.problem)
        return f"{self.name} cannot be written to ({reason[:1].lower()}{reason[1:]})"

    # What else is asked of such a stream is the business of the one below.

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream below."""
        return getattr(self._under, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """How what cannot be encoded is written."""
        return "backslashreplace"

    @property
    def buffer(self) -> Any:
        """The bytes below."""
        return self._under.buffer

    def fileno(self) -> int:
        """The descriptor below."""
        return self._under.fileno()

    def isatty(self) -> bool:
        """Whether this is a terminal."""
        return not self._under.closed and self._under.isatty()

    def writable(self) -> bool:
        """Always."""
        return True


def say(*lines: str, error: bool = False) -> None:
    """Print each line as one line, at once, with everything shown that a terminal would obey instead."""
    for line in lines:
        print(visible(line), file=sys.stderr if error else sys.stdout, flush=True)


def say_json(value: Any) -> None:
    """Print a value as JSON, valid under every encoding."""
    output = sys.stdout
    for line in json_text(value, indent=2).split("\n"):
        say(output.encodable(line, _JSON) if isinstance(output, Stream) else line)


_JSON = "tdw.json"


def _as_json(error: UnicodeError) -> tuple[str, int]:
    """What an encoding lacks, as JSON escapes it: the escapes of Python are none of JSON's."""
    assert isinstance(error, UnicodeEncodeError)
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(_JSON, _as_json)
