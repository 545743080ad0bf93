"""What belongs to one user of this machine: a folder that others cannot read, and files replaced in one step.

The folder is platformdirs' state folder of this user, or `$TDW_STATE_DIR`. It and everything in it is readable by its
owner alone (0700, 0600), and files are replaced whole, so that a crash leaves the old one or the new one.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import platformdirs

from tdw.errors import AppError

LEFT_BEHIND = 3600.0  # seconds after which a file that was meant for a moment belongs to nobody


def state_folder() -> Path:
    """The private folder, made when it is not there. Raises AppError when it cannot be made private."""
    given = os.environ.get("TDW_STATE_DIR")
    folder = Path(given) if given else Path(platformdirs.user_state_dir("tdw", appauthor=False))
    return private_folder(folder)


def private_folder(folder: Path) -> Path:
    """`folder`, made where needed, open to its owner only."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except OSError as error:
        raise AppError(
            f"the folder for private state, {folder}, cannot be used ({error.strerror}): "
            "make it yours, or name another in TDW_STATE_DIR"
        ) from error
    return folder


def sweep(folder: Path, meant_for_a_moment: Iterable[Path] = ()) -> None:
    """Remove what processes that were killed left in a private folder: files that were to replace another, and those
    named here, where nobody has touched them for an hour.
    """
    for path in (*folder.glob(".*"), *meant_for_a_moment):
        with contextlib.suppress(OSError):  # somebody else sweeps as well
            if time.time() - path.stat().st_mtime > LEFT_BEHIND:
                path.unlink()


def write_private(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace `path` by `data` in one step, readable by its owner only.

    durable: wait for the disk, so that a power cut right after it leaves the new data; what can be found out again
    need not wait.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made 0600
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
