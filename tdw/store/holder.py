"""The holder of a lock: a process, identified uniquely across computers, restarts and reused process ids.

A process id alone means little. It may have been written on another computer or in another container that shares the
folder, before a restart, or its number may have been reused since. So a holder has, where the operating system provides it,
everything that makes the number unique. Its text, one line of JSON in the lock file (`NAME.tdw.lock`), has the fields

    pid, host, boot, namespace, started    which process it is
    kind                                   what it does: "train", "analyze"; "" for other work

and begins with a key that user files do not begin with.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import platform
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

MAGIC = b'{"tdw-writer":1,'
LIMIT = 2048  # largest size of a holder's text, in bytes
_LONGEST = 400  # characters of one field
_LARGEST_PID = 2**31 - 1

_working = ""  # the kind of work that this process does


@contextlib.contextmanager
def working(kind: str) -> Iterator[None]:
    """In this context, locks of this process state this kind of work ("train", "analyze")."""
    global _working  # noqa: PLW0603 - a property of the process
    before, _working = _working, kind
    try:
        yield
    finally:
        _working = before


@dataclass(frozen=True)
class Holder:
    """One process. A field that the operating system does not provide is empty.

    host: name and id of the machine · boot: changes with each restart · namespace: of the process ids (containers) ·
    started: start time in the clock of that boot · kind: of work, not part of the identity
    """

    pid: int
    host: str = ""
    boot: str = ""
    namespace: str = ""
    started: str = ""
    kind: str = field(default="", compare=False)

    @classmethod
    def current(cls, kind: str | None = None) -> Holder:
        """This process. kind: of work; by default as `working` set it."""
        return cls.of(os.getpid(), _working if kind is None else kind)

    @classmethod
    def of(cls, pid: int, kind: str = "") -> Holder:
        """The process of this computer that has this id now; reliable only for this process and its children."""
        return cls(pid, _host(), _boot(), _namespace(), _started(pid), kind)

    def encode(self) -> bytes:
        """One line of JSON, for `decode`."""
        about = {name: value[:_LONGEST] if isinstance(value, str) else value for name, value in asdict(self).items()}
        return MAGIC + json.dumps(about, separators=(",", ":")).encode("ascii")[1:] + b"\n"

    @classmethod
    def decode(cls, text: bytes) -> Holder | None:
        """The holder in such a text; None for any other text. Only the first line counts: the rest of an earlier text may
        still follow.
        """
        if not text.startswith(MAGIC) or len(text) > LIMIT:
            return None
        try:
            stored = json.loads(text.partition(b"\n")[0])
        except (ValueError, RecursionError):
            return None
        names = [item.name for item in fields(cls)]
        if not isinstance(stored, dict) or not set(names) <= set(stored):
            return None
        pid, *texts = (stored[name] for name in names)
        if type(pid) is not int or not 0 < pid <= _LARGEST_PID:
            return None
        if not all(type(item) is str and len(item) <= _LONGEST for item in texts):
            return None
        return cls(pid, *texts)

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is a process of another computer, another boot of this one, or another container."""
        return (self.host, self.boot, self.namespace) != (_host(), _boot(), _namespace())

    def is_alive_here(self) -> bool:
        """Whether exactly this process runs on this computer, as this user.

        False where the operating system does not provide enough to be certain.
        """
        if self.is_elsewhere or not all((self.host, self.boot, self.namespace, self.started)):
            return False
        try:
            owner = Path(f"/proc/{self.pid}").stat().st_uid
        except OSError:
            return False
        return owner == os.geteuid() and _started(self.pid) == self.started and not _is_dead(self.pid)

    def has_ended_here(self) -> bool:
        """Whether it was a process of this computer and has certainly ended; False where that cannot be told."""
        if self.is_elsewhere or not all((self.host, self.boot, self.namespace, self.started)):
            return False
        try:
            os.kill(self.pid, 0)  # answers for other users' processes too, which /proc may hide
        except ProcessLookupError:
            return True
        except OSError:
            pass
        started = _started(self.pid)
        return bool(started) and (started != self.started or _is_dead(self.pid))

    def send(self, number: int) -> bool:
        """Send it a signal; returns False without sending where `is_alive_here` is False.

        A descriptor refers to the process from before it is identified, so its id cannot be reused in between.
        """
        try:
            handle = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # the process ended, or the system has no such descriptors
            return self._send_by_number(number)
        try:
            if not self.is_alive_here():
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True

    def _send_by_number(self, number: int) -> bool:
        """The same without a descriptor; ids are only reused after all others were."""
        if not self.is_alive_here():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def _started(pid: int) -> str:
    """Start time of a process, in ticks since boot; empty where unknown."""
    fields_ = _stat(pid)
    return fields_[19] if len(fields_) > 19 else ""


def _is_dead(pid: int) -> bool:
    """Whether it is a zombie."""
    return _stat(pid)[:1] in (["Z"], ["X"])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on: the second is a name, which may contain anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode("ascii", "replace").split()
    except OSError:
        return []


def _first_line(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return file.readline(200).decode("ascii", "replace").strip()
    except OSError:
        return ""


@functools.cache
def _host() -> str:
    number = _first_line("/etc/machine-id")  # confidential: only a hash of it is written
    digest = hashlib.sha256(b"tdw " + number.encode()).hexdigest()[:16] if number else ""
    return f"{platform.node()[:200]} {digest}".strip()


@functools.cache
def _boot() -> str:
    return _first_line("/proc/sys/kernel/random/boot_id")


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
