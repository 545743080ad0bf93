"""Rows kept from last time, so that a folder of a thousand runs is listed without opening one of them.

One file for each listed folder, in the user's private folder: `runs/HASH.json`, a CRC-32 and one JSON object. It only saves
work: a row is used if the file has the identity with which the row was read (device, inode, size, times of its last
change), and the index was written by this version. Otherwise the run is read again. A missing or damaged index is an
empty one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zlib
from pathlib import Path
from typing import Any

from tdw import __version__
from tdw.config import settings
from tdw.errors import AppError
from tdw.state_dir import parsed, private_folder, read_private, state_folder, without_fail, write_private

#: Raise it when entries have other values than before. `tests/statistics/test_collection.py` reminds of it.
LAYOUT = 2
#: Versions of the analyses whose results are in rows.
OF = {"events": 3, "key_frequencies": 2, "neuron_frequencies": 1}
LIMIT = 256 << 20  # bytes of one index; a row has some 2 000
MOST = 50  # folders that are remembered
#: Nanoseconds. A file that was changed more recently may change again and keep its times: the clocks of file systems are coarse.
JUST_NOW = 2_000_000_000

Identity = list[int]
Entry = dict[str, Any]


def stamp() -> str:
    """What the rows depend on besides the files: this program's version, analyses and settings."""
    return f"{__version__}-{LAYOUT}-{sorted(OF.items())}-{[item.name for item in settings()]}"


def identity(path: Path) -> Identity:
    """What changes whenever the contents of a file, or the notes that wait next to it, do. Raises OSError."""
    real = os.path.realpath(path)
    return [*_identity(os.stat(real)), *_waiting(f"{real}.notes"), *_waiting(f"{real}.notes-taken")]  # noqa: PTH116


def _identity(about: os.stat_result) -> Identity:
    return [about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def _waiting(path: str) -> Identity:
    try:
        return _identity(os.stat(path))  # noqa: PTH116 - thousands of them
    except OSError:
        return []


def is_settled(before: Identity) -> bool:
    """Whether the next change of a file will give it another identity."""
    return time.time_ns() - max(before[3:5]) > JUST_NOW


def load(folder: Path) -> dict[str, Entry]:
    """The entries of a folder, by path: {"identity": …, "row": …, "losses": …} or {"identity": …, "problem": …}; {} without
    an index.
    """
    try:
        crc, _, data = read_private(_place(folder), LIMIT).partition(b"\n")
        if int(crc, 16) != zlib.crc32(data):
            return {}
        stored = parsed(data)
        if stored["stamp"] != stamp() or stored["folder"] != str(folder):
            return {}
        entries: dict[str, Entry] = stored["entries"]
        return entries
    except (OSError, AppError, ValueError, KeyError, TypeError):
        return {}


def save(folder: Path, entries: dict[str, Entry]) -> None:
    """Keep the entries of a folder for next time, if that is possible."""

    def kept() -> None:
        data = json.dumps({"stamp": stamp(), "folder": str(folder), "entries": entries}).encode()
        write_private(_place(folder), b"%08x\n%s" % (zlib.crc32(data), data), durable=False)
        _drop_oldest(_place(folder).parent)

    with contextlib.suppress(AppError):
        without_fail("the list of runs", kept)


def _place(folder: Path) -> Path:
    name = hashlib.sha256(str(folder).encode(errors="surrogateescape")).hexdigest()[:32]
    return private_folder(state_folder() / "runs") / f"{name}.json"


def _drop_oldest(folder: Path) -> None:
    found = sorted(folder.glob("*.json"), key=lambda path: path.lstat().st_mtime)
    for path in found[:-MOST]:
        path.unlink(missing_ok=True)
