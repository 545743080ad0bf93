"""Ctrl-C, SIGTERM and a closed terminal: what they end, and the exit code they end with (128 + the signal's number).

While a process starts, nothing has been made, and the signal ends it at once: raised inside an import, an interrupt can
come out as another error, or abort the process. While it works, the signal raises KeyboardInterrupt, so that locks and
temporary files are let go. While it trains (`Patience`), the first one only asks to stop after storing what is done. When
the result stands and the interpreter is being taken down, it ends the process with the code that is due.
A further signal ends at once what a first one has begun to end.

Nothing heavy is imported here: until `listen` is called, Python itself answers Ctrl-C, with a traceback.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys

TYPE_CHECKING = False  # the module `typing` takes longer to import than this one
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Self

# Names of signals that ask a process to end; which of them there are depends on the system.
SIGNALS = ("SIGINT", "SIGBREAK", "SIGTERM", "SIGHUP")

_received: int | None = None  # the first one, by number
_raised = False
_patient: Patience | None = None
_listener = 0  # the thread to which signals come, while any are listened to
_holding = 0
_waiting = False  # a signal came while something was being done that is done as a whole
_end_at_once: int | None = None  # exit code of a process that has nothing to let go: 0 stands for that of the signal


class Listening:
    """Answers the signals while entered. alone: the process is this command and nothing else."""

    def __init__(self, *, alone: bool):
        self._alone = alone
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        global _received, _raised, _waiting, _holding, _listener, _end_at_once  # noqa: PLW0603
        _received, _raised, _waiting, _holding = None, False, False, 0
        _listener, _end_at_once = _thread.get_ident(), 0 if self._alone else None
        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):  # nohup
                continue
            try:
                self._before[number] = signal.signal(number, _answer)
            except ValueError:  # not in the main thread: signals are not this caller's
                _listener = 0
                break
        return self

    def __exit__(self, *_: object) -> None:
        global _listener  # noqa: PLW0603
        for number, handler in self._before.items():
            if handler is not None:  # None: set by something that is not Python
                signal.signal(number, handler)
        _listener = 0

    def ends_with(self, code: int) -> None:
        """From here on a signal ends the process with this code: all is done but taking the interpreter down."""
        global _end_at_once  # noqa: PLW0603
        _end_at_once = code or -1


class Patience:
    """While entered, the first signal asks training to stop after storing what is done; the second ends at once."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.asked

    def __enter__(self) -> Self:
        global _patient  # noqa: PLW0603
        _patient = self
        return self

    def __exit__(self, *_: object) -> None:
        global _patient  # noqa: PLW0603
        _patient = None


class Whole:
    """While entered, a signal waits: what is done here is done as a whole, and takes moments. A further one ends at once.

    For giving a file its name, for taking a lock and letting it go: an interrupt in the middle would leave something behind.
    """

    def __enter__(self) -> Self:
        global _holding  # noqa: PLW0603
        self._held = _thread.get_ident() == _listener
        _holding += self._held
        return self

    def __exit__(self, *_: object) -> None:
        global _holding, _waiting, _raised  # noqa: PLW0603
        _holding -= self._held
        if _waiting and not _holding and self._held:
            _waiting, _raised = False, True
            raise KeyboardInterrupt


def at_work() -> None:
    """Say that from here on there may be something to let go: imports are done, files are about to be opened."""
    global _end_at_once  # noqa: PLW0603
    _end_at_once = None


def code() -> int:
    """The exit code of a process that was asked to stop."""
    return _code(_received)


def requested() -> int | None:
    """The signal that asked this process to stop; None where none did."""
    return _received


def caused(error: BaseException) -> bool:
    """Whether an error is what became of an interrupt: an import that is interrupted may end as another error."""
    if _received is None:
        return False
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, (KeyboardInterrupt, ImportError)):
            return True
        one = one.__cause__ or one.__context__
    return False


def _code(number: int | None) -> int:
    hung_up, ended = getattr(signal, "SIGHUP", None), signal.SIGTERM
    return 128 + (number if number is not None and number in (hung_up, ended) else signal.SIGINT)


def _answer(number: int, _frame: FrameType | None) -> None:
    global _received, _raised, _waiting  # noqa: PLW0603
    if _end_at_once is not None:
        _leave(_code(number) if _end_at_once == 0 else max(_end_at_once, 0))
    if _raised:  # something is being let go, and takes too long for who asks
        _leave(_code(_received))
    _received = _received or number
    if _patient is not None and not _patient.asked:
        _patient.asked = True
        return
    if _holding:
        if _waiting:
            _leave(_code(_received))
        _waiting = True
        return
    _raised = True
    raise KeyboardInterrupt


def _leave(exit_code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError, RuntimeError):  # closed, full, or in the middle of a write
            continue
    os._exit(exit_code)
