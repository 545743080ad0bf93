"""Who holds a lock: a process, told apart from every other that there is, was, or will be.

A process id alone means little. It may have been written on another computer or in another container that shares the
folder, before a restart, or by a process whose number has been given to another since. So a holder carries, where the
system tells, everything that makes the number unique, and its text begins with a word that no file of a user's begins with.
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
LIMIT = 2048  # bytes that a holder's text may have
_LONGEST = 400  # characters of one field
_LARGEST_PID = 2**31 - 1

_working = ""  # what this process says it does


@contextlib.contextmanager
def working(kind: str) -> Iterator[None]:
    """Within it, locks of this process say that it does work of this kind ("train", "analyze")."""
    global _working  # noqa: PLW0603 - a property of the process
    before, _working = _working, kind
    try:
        yield
    finally:
        _working = before


@dataclass(frozen=True)
class Holder:
    """One process. A field that the system does not tell is empty, and two of them are compared as they are.

    host: name and id of the machine · boot: changes with each start of it · namespace: whose process ids these are ·
    started: when the process began, in the clock of that boot · kind: what it does, no part of who it is.
    """

    pid: int
    host: str = ""
    boot: str = ""
    namespace: str = ""
    started: str = ""
    kind: str = field(default="", compare=False)

    @classmethod
    def current(cls, kind: str | None = None) -> Holder:
        """This process. kind: what it does; as `working` says where it is left out."""
        return cls.of(os.getpid(), _working if kind is None else kind)

    @classmethod
    def of(cls, pid: int, kind: str = "") -> Holder:
        """The process of this computer that has the number now; as known of one that is our child, or ourselves."""
        return cls(pid, _host(), _boot(), _namespace(), _started(pid), kind)

    def encode(self) -> bytes:
        """One line of JSON, which `decode` knows from anything else."""
        about = {name: value[:_LONGEST] if isinstance(value, str) else value for name, value in asdict(self).items()}
        return MAGIC + json.dumps(about, separators=(",", ":")).encode("ascii")[1:] + b"\n"

    @classmethod
    def decode(cls, text: bytes) -> Holder | None:
        """The holder that such a text names; None for any other text, whatever it looks like."""
        if not text.startswith(MAGIC) or len(text) > LIMIT:
            return None
        try:
            stored = json.loads(text)
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
        """Whether this very process runs on this computer, as this user, beyond doubt.

        No where the system does not tell enough to be certain.
        """
        if self.is_elsewhere or not all((self.host, self.boot, self.namespace, self.started)):
            return False
        try:
            owner = Path(f"/proc/{self.pid}").stat().st_uid
        except OSError:
            return False
        return owner == os.geteuid() and _started(self.pid) == self.started and not _is_dead(self.pid)

    def send(self, number: int) -> bool:
        """Send it a signal; False, and none is sent, where it is not alive here beyond doubt.

        The process is held by a descriptor from before it is identified, so no other can come into its place.
        """
        try:
            handle = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # gone; or a system, or a kernel, without such descriptors
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
        """The same where the process cannot be held: a number is given out again only after all others were."""
        if not self.is_alive_here():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def _started(pid: int) -> str:
    """When a process began, in ticks since this boot; empty where the system does not tell."""
    fields_ = _stat(pid)
    return fields_[19] if len(fields_) > 19 else ""


def _is_dead(pid: int) -> bool:
    """Whether it has ended and only waits for its parent to take notice."""
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
    number = _first_line("/etc/machine-id")  # not for others to know: what is written is made from it
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
