"""A claim on a name that other computers see, for folders where a lock may hold on one computer only (NFS, Lustre, …).

The lease is the file `NAME.tdw.lease` next to the project file: one line of JSON with the holder, the user, a random token
and a counter. Its owner, a thread of the writing process, raises the counter every BEAT seconds.

    claim      a complete temporary file gets the name by link(2), which fails where the name exists
    beat       written in place, into a file that was just opened by name and holds the owner's token
    take over  once the token and the counter did not change for PATIENCE seconds of the observer's own clock, or at once
               where the owner was a process of this computer that has ended: the name is removed and claimed
    check      before and after every commit the owner reads its token under the name (`Lease.check`)

No step overwrites the name, and a token never returns to it, so an owner that wakes up cannot undo a takeover; and no step
compares the clocks of two computers. Opening by name is what makes an NFS client ask its server. A link may have been made
although the client reports an error, after a lost answer; so the number of links is looked at.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tdw.errors import CannotWriteError, FileInUseError, OverwrittenError
from tdw.store import filesystem
from tdw.store.holder import Holder

log = logging.getLogger(__name__)

MAGIC = b'{"tdw-lease":1,'
LIMIT = 4096  # largest size of a lease, in bytes
BEAT = 5.0  # seconds between two changes of the counter
PATIENCE = 4 * BEAT  # seconds without a change after which a lease is taken over
_LONGEST = 100
_DIGITS = 16  # of the counter, so that it can be rewritten in place


@dataclass(frozen=True)
class Claim:
    """What a lease says. user, since: for messages; beat: the counter; holder: None in an unreadable lease."""

    token: str
    beat: int
    holder: Holder | None
    user: str = ""
    since: str = ""

    def encode(self) -> bytes:
        """One line of JSON; its length does not depend on the counter."""
        assert self.holder is not None
        about = {"token": self.token, "user": self.user[:100], "since": self.since}
        text = json.dumps(about, separators=(",", ":")).encode("ascii")[1:-1]
        head = MAGIC + b'"beat":"' + f"{self.beat:0{_DIGITS}d}".encode() + b'",' + text
        return head + b',"holder":' + self.holder.encode().rstrip(b"\n") + b"}\n"

    @classmethod
    def decode(cls, text: bytes) -> Claim | None:
        """The claim in such a text; a claim without holder where a power cut left nothing; None for a foreign file."""
        if not text.strip(b"\0"):
            return cls("", len(text), None)
        if not text.startswith(MAGIC) or len(text) > LIMIT:
            return None
        try:
            stored = json.loads(text)
            holder = Holder.decode(json.dumps(stored["holder"], separators=(",", ":")).encode("ascii"))
            words = [stored[name] for name in ("token", "user", "since")]
            if not all(type(word) is str and len(word) <= _LONGEST for word in words):
                raise ValueError
            return cls(words[0], int(stored["beat"]), holder, *words[1:])
        except (ValueError, KeyError, TypeError, RecursionError):
            return cls("", 0, None)  # this program's, and damaged: it counts as one that never changes

    @property
    def who(self) -> str:
        """The owner, for messages."""
        if self.holder is None:
            return "another process"
        host = self.holder.host.split(" ")[0] or "another computer"
        return f"process {self.holder.pid} of {self.user or 'a user'} on {host} since {self.since}"


class Files:
    """The operations on files that the protocol consists of; each may raise OSError."""

    def read(self, path: Path) -> bytes | None:
        """The text under a name, opened again each time; None without one. Raises OSError with ELOOP or similar for a link."""
        try:
            fd = filesystem.open_to_read(path)
        except FileNotFoundError:
            return None
        try:
            return filesystem.read_some(fd, LIMIT + 1, 0)
        except OSError as error:
            if error.errno == errno.ESTALE:  # removed meanwhile
                return None
            raise
        finally:
            os.close(fd)

    def age(self, path: Path, than: Path) -> float:
        """Seconds by which a file was changed before another one, by the clock of the file server."""
        return than.stat().st_mtime - path.stat().st_mtime

    def write_new(self, path: Path, text: bytes) -> None:
        """Create a file with this text, on the disk on return. Raises FileExistsError."""
        fd = filesystem.SYSTEM.open_new(path)
        try:
            filesystem.write_all(filesystem.SYSTEM, fd, text, 0)
            os.fsync(fd)
        finally:
            os.close(fd)

    def link(self, source: Path, target: Path) -> bool:
        """Give a file a second name; False where that name is taken."""
        try:
            os.link(source, target)
        except FileExistsError:
            return source.stat().st_nlink == 2
        return True

    def rewrite(self, path: Path, expected: str, text: bytes) -> bool:
        """Replace the text of the file under a name by one of the same length, if it holds this token now."""
        fd = filesystem.SYSTEM.open_existing(path)
        try:
            claim = Claim.decode(filesystem.read_some(fd, LIMIT + 1, 0))
            if claim is None or claim.token != expected:
                return False
            filesystem.write_all(filesystem.SYSTEM, fd, text, 0)
            os.fsync(fd)
        finally:
            os.close(fd)
        return True

    def remove(self, path: Path) -> None:
        """Remove a name, if it is there."""
        path.unlink(missing_ok=True)


FILES = Files()


def beside(path: Path) -> Path:
    """The file of the lease on a name: NAME.tdw.lease."""
    return path.with_name(path.name + ".lease")


def _prefix(path: Path) -> str:
    name = path.name
    if len(os.fsencode(name)) > _LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:20]
    return f".{name}."


class Lease:
    """The lease on one name, once `claim` returned; see `take`."""

    def __init__(
        self,
        path: Path,
        files: Files = FILES,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.path, self._at = path, beside(path)
        self._files, self._clock, self._sleep = files, clock, sleep
        self._claim = Claim(secrets.token_hex(16), 0, Holder.current(), _user(), time.strftime("%Y-%m-%d %H:%M %z"))
        self._guard = threading.Lock()
        self._end = threading.Event()
        self._lost = self._dropped = False
        self._beaten = 0.0

    # Claiming

    def claim(self) -> None:
        """Take the lease. Raises FileInUseError while another process has it, CannotWriteError for a foreign file in its
        place, OSError.
        """
        mine = self._new_name()
        self._files.write_new(mine, self._claim.encode())
        try:
            while not self._linked(mine):
                self._clear(mine)
        finally:
            self._files.remove(mine)
        self._beaten = self._clock()
        _held.add(self._claim.token)

    def _linked(self, mine: Path) -> bool:
        try:
            return self._link(mine)
        except FileNotFoundError:  # the owner just now removed what it took for a file of a killed process
            self._files.write_new(mine, self._claim.encode())
            return False

    def _new_name(self) -> Path:
        return self.path.with_name(f"{_prefix(self.path)}{secrets.token_hex(8)}.lease")

    def _link(self, mine: Path) -> bool:
        try:
            return self._files.link(mine, self._at)
        except OSError as error:
            if error.errno not in filesystem.NO_SUCH_OPERATION | {errno.EPERM, errno.EMLINK}:
                raise
        try:  # a file system without hard links: the name appears before its text, which counts as a lease without a holder
            self._files.write_new(self._at, self._claim.encode())
        except FileExistsError:
            return False
        return True

    def _clear(self, mine: Path) -> None:
        """Wait until the lease in the way is gone, or take it away. Raises FileInUseError as soon as it is seen to live."""
        first, since = self._look(), self._clock()
        if first is None:
            return
        if not _has_ended(first):
            if first.holder is not None and first.holder.is_alive_here():
                raise in_use(self.path, first.who)
            with contextlib.suppress(OSError):  # only for a quick answer; the clock of the server may be set meanwhile
                if abs(self._files.age(self._at, mine)) < 2 * BEAT and first.holder is not None:
                    raise in_use(self.path, first.who)
            log.info(
                "%s has a lease of %s: waiting up to %.0f s to see whether it is alive; if not, the lease is taken over",
                self.path,
                first.who,
                PATIENCE,
            )
            while self._clock() - since < PATIENCE:
                self._sleep(BEAT / 5)
                now = self._look()
                if now is None:
                    return
                if (now.token, now.beat) != (first.token, first.beat):
                    raise in_use(self.path, now.who)
        # Another observer may have been faster, by as little as one answer of the server, and this then removes its lease:
        # that one stops before its next commit. Putting it back could revive it after a third one has written.
        self._files.remove(self._at)

    def _look(self) -> Claim | None:
        text = self._files.read(self._at)
        if text is None:
            return None
        claim = Claim.decode(text)
        if claim is None:
            raise CannotWriteError(
                f"{self.path} cannot be written to: {self._at} is in the way: it is not a lease of tdw. Move or rename it, and try again."
            )
        return claim

    # Owning

    def start(self) -> None:
        """Begin to raise the counter."""
        threading.Thread(target=self._beat_on, name="tdw-lease", daemon=True).start()

    def _beat_on(self) -> None:
        while not self._end.wait(BEAT):
            with contextlib.suppress(OSError):  # the server does not answer; `check` decides before anything is written
                self.beat()

    def beat(self) -> None:
        """Raise the counter, if the lease is still this process's. Raises OSError."""
        with self._guard:
            if self._lost or self._dropped or self._end.is_set():
                return
            after = Claim(**{**self._claim.__dict__, "beat": self._claim.beat + 1})
            with contextlib.suppress(FileNotFoundError):
                if self._files.rewrite(self._at, after.token, after.encode()):
                    self._claim, self._beaten = after, self._clock()

    def check(self, path: Path) -> None:
        """Raise OverwrittenError where another process has taken the lease over; OSError. path: for the message"""
        if self._dropped:
            return
        if self._clock() - self._beaten > 2 * BEAT:
            self.beat()  # this process slept: others may be about to take over
        if not self._lost:
            text = self._files.read(self._at)
            claim = None if text is None else Claim.decode(text)
            if claim is not None and claim.token == self._claim.token:
                return
            self._lost = True
        raise OverwrittenError(
            f"{path} was taken over by another process while this one did not respond for {PATIENCE:.0f} seconds or its "
            f"lease, {self._at.name}, was removed. Writing stopped.",
            in_place=True,
        )

    def drop(self) -> None:
        """Forget it, in a forked process: it is the parent's."""
        self._dropped = True

    def release(self) -> None:
        """Remove the lease if it is still this process's. Never raises OSError: a lease that stays ends by itself."""
        self._end.set()
        _held.discard(self._claim.token)
        if self._dropped:
            return
        self._dropped = True
        with self._guard, contextlib.suppress(OSError):
            text = self._files.read(self._at)
            if text is not None and (claim := Claim.decode(text)) is not None and claim.token == self._claim.token:
                self._files.remove(self._at)


_held: set[str] = set()  # tokens of this process


def _has_ended(claim: Claim) -> bool:
    """Whether an owner is certainly gone: a process of this computer that ended, or a writer of this process that closed."""
    if claim.holder is None:
        return False
    return claim.holder.has_ended_here() or (claim.holder == Holder.current() and claim.token not in _held)


def take(path: Path) -> Lease | None:
    """The lease on a name, where locks may not hold for all computers; None where they do.

    A lease that another computer left or holds there is respected in any case. Raises what `Lease.claim` raises.
    """
    needed = is_needed(path.parent)
    if not needed and not os.path.lexists(beside(path)):
        return None
    lease = Lease(path)
    lease.claim()
    _sweep(path)
    lease.start()
    return lease


def _sweep(path: Path) -> None:
    """Remove temporary files of killed processes; the lease must be held."""
    name = re.compile(re.escape(_prefix(path)) + r"[0-9a-f]{16}\.lease")
    with contextlib.suppress(OSError):
        for item in path.parent.iterdir():
            if name.fullmatch(item.name):
                FILES.remove(item)


_seen: dict[Path, tuple[str, int, float]] = {}


def owner_of(path: Path) -> Claim | None:
    """The owner of a lease, as far as is known without waiting: until it was seen unchanged for PATIENCE seconds."""
    try:
        text = FILES.read(beside(path))
    except OSError:
        return None
    claim = None if text is None else Claim.decode(text)
    if claim is None or claim.holder is None or _has_ended(claim):
        _seen.pop(path, None)
        return None
    known = _seen.get(path)
    if known is None or known[:2] != (claim.token, claim.beat):
        known = _seen[path] = (claim.token, claim.beat, time.monotonic())
    return claim if time.monotonic() - known[2] < PATIENCE else None


def in_use(path: Path, who: str) -> FileInUseError:
    """The error for a file that another process writes to."""
    return FileInUseError(
        f"{path} is being written to by {who}: wait until it is done, or stop it. Reading remains possible.",
        who,
    )


def is_needed(folder: Path) -> bool:
    """Whether locks on files in a folder may not hold for all computers that use it; TDW_LEASE=always or never decides."""
    told = os.environ.get("TDW_LEASE", "")
    if told in {"always", "never"}:
        return told == "always"
    return os.name != "nt" and filesystem.type_of(folder) not in LOCAL


#: File systems that one computer alone uses, whose locks therefore hold for every process that could write there. On any
#: other a lease is used. Windows locks files on the server.
LOCAL = frozenset(
    [
        "ext2",
        "ext3",
        "ext4",
        "xfs",
        "btrfs",
        "zfs",
        "bcachefs",
        "f2fs",
        "tmpfs",
        "ramfs",
        "overlay",
        "reiserfs",
        "jfs",
        "vfat",
        "exfat",
        "msdos",
        "ntfs3",
        "hfsplus",
        "udf",
    ]
)


def _user() -> str:
    with contextlib.suppress(Exception):  # without an entry for the user, the error differs between versions of Python
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    return str(os.geteuid()) if hasattr(os, "geteuid") else os.environ.get("USERNAME", "")
