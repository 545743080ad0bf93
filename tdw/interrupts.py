"""Handling of Ctrl-C, SIGTERM and SIGHUP; the exit code is 128 + the signal's number.

    startup                 exits at once: an interrupt raised inside an import can surface as another error or abort
    normal work             raises KeyboardInterrupt, so that locks and temporary files are released
    training (`Patience`)   the first signal requests a stop after storing the current state
    interpreter shutdown    exits with the code of the finished command

A second signal always exits at once. In training, signals are counted where they arrive: Python calls the handler once for
two that come while compiled code runs. A handler may also be called within another one.

This module imports nothing heavy: until `Listening` is entered, Python's own handler answers Ctrl-C with a traceback.
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

# Signals that request termination; not every system has all of them.
SIGNALS = ("SIGINT", "SIGBREAK", "SIGTERM", "SIGHUP")

_received: int | None = None  # number of the first signal
_raised = False
_patient: Patience | None = None
_listener = 0  # id of the thread that handles signals; 0 if none does
_holding = 0
_waiting = False  # a signal arrived inside `Whole` and is still to be raised
_written: list[int] = []  # signals in the order in which the system's handler noted them, as far as it did
_called: list[int] = []  # signals for which Python called `_answer`, which is not more often
_answered = 0  # how many of them were answered
_answering = _thread.allocate_lock()
_notes: int | None = None  # the end of a pipe from which these notes are read
_end_at_once: int | None = None  # exit code if there is nothing to release; 0 stands for the code of the signal


class Listening:
    """Handles the signals while entered. alone: the process does nothing but run this command."""

    def __init__(self, *, alone: bool):
        self._alone = alone
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        global _received, _raised, _waiting, _holding, _listener, _end_at_once, _answered  # noqa: PLW0603
        _received, _raised, _waiting, _holding, _answered = None, False, False, 0, 0
        _written.clear()
        _called.clear()
        _listener, _end_at_once = _thread.get_ident(), 0 if self._alone else None
        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):  # nohup
                continue
            try:
                self._before[number] = signal.signal(number, _answer)
            except ValueError:  # signal handlers can be set in the main thread only
                _listener = 0
                break
        return self

    def __exit__(self, *_: object) -> None:
        global _listener  # noqa: PLW0603
        for number, handler in self._before.items():
            if handler is not None:  # None: it was not set from Python
                signal.signal(number, handler)
        _listener = 0

    def ends_with(self, code: int) -> None:
        """From here on a signal exits with this code: only the interpreter shutdown is left."""
        global _end_at_once  # noqa: PLW0603
        _end_at_once = code or -1


class Patience:
    """While entered, the first signal requests a stop after storing the current state; the second exits at once."""

    def __init__(self) -> None:
        self.asked = False
        self._pipe: tuple[int, int] | None = None
        self._noted_before = -1

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.asked

    def __enter__(self) -> Self:
        global _patient, _notes  # noqa: PLW0603
        if _listener == _thread.get_ident() and os.name == "posix":
            # Not in all of a command: a server answers signals by handlers of its own, and sends them on.
            _written[:] = _called
            self._pipe = os.pipe()
            for end in self._pipe:
                os.set_blocking(end, False)
            _notes = self._pipe[0]
            self._noted_before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        _patient = self
        return self

    def __exit__(self, *_: object) -> None:
        global _patient, _notes  # noqa: PLW0603
        if self._pipe is not None:
            signal.set_wakeup_fd(self._noted_before)
            _notes, pipe, self._pipe = None, self._pipe, None
            _called.extend(_written[len(_called) :])
            for end in pipe:
                os.close(end)
        _patient = None


class Whole:
    """While entered, a signal is deferred to the end of the block; a second one exits at once.

    For short critical sections (renaming a file, acquiring or releasing a lock) that would leave something behind if
    interrupted.
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
    """Mark the end of startup: imports are done, and from here on locks and temporary files may need to be released."""
    global _end_at_once  # noqa: PLW0603
    _end_at_once = None


def code() -> int:
    """The exit code of an interrupted process."""
    return _code(_received)


def requested() -> int | None:
    """The signal that requested termination; None if there was none."""
    return _received


def caused(error: BaseException) -> bool:
    """Whether an error resulted from an interrupt: an interrupted import may surface as another error."""
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
    global _answered  # noqa: PLW0603
    _called.append(number)
    is_raised = False
    # One that comes meanwhile is answered by the call that holds the lock, which looks again after it has released it.
    while _answered < len(_arrived()) and _answering.acquire(blocking=False):
        try:
            while _answered < len(arrived := _arrived()):
                _answered += 1
                is_raised = _raises(arrived[_answered - 1]) or is_raised
        finally:
            _answering.release()
    if is_raised:
        raise KeyboardInterrupt


def _arrived() -> list[int]:
    """All signals that have arrived."""
    if _notes is not None:
        try:
            new = os.read(_notes, 512)
        except OSError:  # there is nothing new
            new = b""
        _written.extend(new)
    return _written if len(_written) >= len(_called) else _called


def _raises(number: int) -> bool:
    """Answer a signal; returns whether that is KeyboardInterrupt."""
    global _received, _raised, _waiting  # noqa: PLW0603
    if _end_at_once is not None:
        _leave(_code(number) if _end_at_once == 0 else max(_end_at_once, 0))
    if _raised:  # locks and files are being released, and the user is not willing to wait
        _leave(_code(_received))
    _received = _received or number
    if _patient is not None and not _patient.asked:
        _patient.asked = True
        return False
    if _holding:
        if _waiting:
            _leave(_code(_received))
        _waiting = True
        return False
    _raised = True
    return True


def _leave(exit_code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError, RuntimeError):  # closed, full, or in the middle of a write
            continue
    os._exit(exit_code)
