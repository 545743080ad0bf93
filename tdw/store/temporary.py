"""Where a new file is built before it has its name: in a folder of its own beside the target, `.NAME.TOKEN.tmp`.

The folder is made here, under a name that cannot be guessed, and only this user can look into it: where others may write
to the target's folder, they can plant no link in the place of a file that is about to be opened. It lies on the target's
file system, so that the file inside can be renamed. Whoever makes one holds the lock on the target's name (`lock.py`), so
one that is there when that lock is taken was left by a process that was killed, and is removed; nothing else ever is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from tdw import interrupts

LONGEST = 100  # characters of the target's name; a longer one is told by a hash
_TOKEN = re.compile(r"[0-9a-f]{16}\.tmp")


def _prefix(target: Path) -> str:
    name = target.name
    if len(os.fsencode(name)) > LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:20]
    return f".{name}."


def make_room(target: Path) -> Path:
    """A path to build `target` at, in a private folder that is made for it. Raises OSError."""
    folder = target.with_name(f"{_prefix(target)}{secrets.token_hex(8)}.tmp")
    folder.mkdir(mode=0o700)
    return folder / "file"


def clear(path: Path) -> None:
    """Remove the private folder of such a path, with all that is in it."""
    shutil.rmtree(path.parent, ignore_errors=True)


@contextlib.contextmanager
def room_for(target: Path) -> Iterator[Path]:
    """A path to build `target` at; nothing of it is left when the block ends."""
    path = None
    try:
        with interrupts.Whole():
            path = make_room(target)
        yield path
    finally:
        if path is not None:
            with interrupts.Whole():
                clear(path)


def sweep(target: Path) -> None:
    """Remove what processes that were killed left of building `target`; the lock on its name must be held."""
    prefix = _prefix(target)
    with contextlib.suppress(OSError):  # a folder that may not be listed
        for folder in target.parent.iterdir():
            if folder.name.startswith(prefix) and _TOKEN.fullmatch(folder.name.removeprefix(prefix)):
                with contextlib.suppress(OSError):  # gone meanwhile
                    if _is_ours(folder.lstat()):
                        shutil.rmtree(folder, ignore_errors=True)


def _is_ours(status: os.stat_result) -> bool:
    if not stat.S_ISDIR(status.st_mode):
        return False
    return not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o077)
