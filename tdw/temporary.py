"""Where a file is built before it gets its name by a rename: a private folder next to it.

The folder is `.NAME.TOKEN.tmp`, under a name that cannot be guessed, and only this user can look into it: where other users
may write to the target's folder, they can plant no link in the place of a file that is about to be opened. It lies on the
target's file system, so that the file inside can be renamed.

`tdw.store.atomic` gives project files and exports their names so, `tdw.state_dir` the user's private files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from tdw import interrupts

LONGEST = 100  # characters of the target's name; a longer one is replaced by a hash
_TOKEN = re.compile(r"[0-9a-f]{16}\.tmp")


def _prefix(target: Path) -> str:
    name = target.name
    if len(os.fsencode(name)) > LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:20]
    return f".{name}."


def make_temporary(target: Path) -> Path:
    """A path to build `target` at, in a new private folder. Raises OSError."""
    folder = target.with_name(f"{_prefix(target)}{secrets.token_hex(8)}.tmp")
    folder.mkdir(mode=0o700)
    return folder / "file"


def remove_temporary(path: Path) -> None:
    """Remove the private folder of such a path, with its contents."""
    try:
        path.parent.rmdir()  # as usual: the file was renamed
    except OSError:
        shutil.rmtree(path.parent, ignore_errors=True)


@contextlib.contextmanager
def temporary_path(target: Path) -> Iterator[Path]:
    """A path to build `target` at; it is removed when the block ends, unless it was renamed."""
    path = None
    try:
        with interrupts.Whole():
            path = make_temporary(target)
        yield path
    finally:
        if path is not None:
            with interrupts.Whole():
                remove_temporary(path)


def sweep(target: Path) -> None:
    """Remove temporary folders of killed processes for `target`; the lock on its name must be held."""
    prefix = _prefix(target)
    with contextlib.suppress(OSError):  # the folder cannot be listed
        for folder in target.parent.iterdir():
            if folder.name.startswith(prefix) and _TOKEN.fullmatch(folder.name.removeprefix(prefix)):
                with contextlib.suppress(OSError):  # removed meanwhile
                    if _is_ours(folder.lstat()):
                        shutil.rmtree(folder, ignore_errors=True)


def sweep_older(folder: Path, seconds: float) -> None:
    """Remove temporary folders for any file of a folder that were made so long ago that their process was killed."""
    with contextlib.suppress(OSError):
        for found in folder.iterdir():
            if found.name.startswith(".") and _TOKEN.fullmatch(found.name[-20:]):
                with contextlib.suppress(OSError):
                    about = found.lstat()
                    if _is_ours(about) and time.time() - about.st_mtime > seconds:
                        shutil.rmtree(found, ignore_errors=True)


def _is_ours(status: os.stat_result) -> bool:
    if not stat.S_ISDIR(status.st_mode):
        return False
    return not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o077)
