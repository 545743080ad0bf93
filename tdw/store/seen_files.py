"""Files that this user created or opened before are not inspected again.

A run's id would prove nothing, because it can be copied into another file. So a file is identified by a SHA-256 of all its
sealed bytes (HDF5's structure, settings, notes, split), stored together with the structure found in them: such a file is
opened without HDF5, and without trusting its contents.

In the user's private folder, each file written atomically, the oldest dropped beyond a few thousand:

    known/structures/KEY.json     structures; the key starts with a hash of the file's size and first sector
    known/files/SHA256            JSON: made (created here, else inspected), key of the structure, settings as stored
    known/runs/HASH               empty: the user was told of this run
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tdw.errors import AppError, ProjectError
from tdw.state_dir import parsed, private_folder, read_private, state_folder, write_private
from tdw.store import filesystem
from tdw.store.commit_record import BLOCK
from tdw.store.layout import Layout
from tdw.store.structure import Structure, layout_of

CHUNK = 8 << 20
LARGEST = 8 << 20  # largest size of one of these files, in bytes; structures have some kilobytes
MOST = {"files": 4000, "structures": 1000, "runs": 4000}


@dataclass(frozen=True)
class Known:
    """A file that was seen before. made: created here; else it was inspected."""

    layout: Layout
    made: bool


def sealed_sha256(fd: int, layout: Layout) -> str:
    """SHA-256 of all bytes that never change, hexadecimal."""
    digest = hashlib.sha256()
    for start, end in layout.sealed():
        for at in range(start, end, CHUNK):
            digest.update(filesystem.read_some(fd, min(CHUNK, end - at), at))
    return digest.hexdigest()


def recall(fd: int, path: Path, size: int) -> Known | None:
    """The record of an open file; None for one that was never seen, or was changed since."""
    try:
        folder = state_folder() / "known"
        for entry in sorted((folder / "structures").glob(f"{_start(fd, size)}-*.json")):
            structure = _structure(entry)
            if structure is None:
                continue
            layout = layout_of(structure, path)
            about = folder / "files" / sealed_sha256(fd, layout)
            if layout.size == size and about.exists():
                stored = parsed(read_private(about, LARGEST))
                if stored["structure"] == entry.stem:  # two structures may call the same ranges sealed
                    return Known(layout, made=stored["made"] is True)
    # The records only save an inspection: where they cannot be read, the file counts as never seen.
    except (OSError, AppError, ProjectError, ValueError, KeyError, TypeError):
        return None
    return None


def remember(fd: int, layout: Layout, structure: Structure, config: bytes, *, run: str, made: bool) -> bool:
    """Remember a file; returns whether its run is new to this user.

    config, run: its settings as stored, and the run's id in them. made: created by this program on this computer.
    """
    try:
        folder = private_folder(state_folder() / "known")
        for name in MOST:
            private_folder(folder / name)
        encoded = structure.encode()
        key = f"{_start(fd, layout.size)}-{hashlib.sha256(encoded).hexdigest()[:16]}"
        about = {"made": made, "structure": key, "config": config.decode("ascii", "replace")}
        known = folder / "runs" / hashlib.sha256(run.encode("utf-8", "replace")).hexdigest()[:32]
        new = not known.exists()
        for place, data in (
            (folder / "structures" / f"{key}.json", encoded),
            (folder / "files" / sealed_sha256(fd, layout), json.dumps(about).encode()),
            (known, b""),
        ):
            if made or not _is_file(place):
                write_private(place, data, durable=False)
                _forget_oldest(place.parent)
        return new
    except (OSError, AppError):
        return False  # not remembered: the file is inspected again next time


def structures() -> Iterator[Structure]:
    """All remembered structures, the newest first."""
    for _, path in sorted(_remembered("structures"), reverse=True):
        structure = _structure(path)
        if structure is not None:
            yield structure


def configs() -> Iterator[bytes]:
    """The stored settings of all remembered files, the newest first."""
    for _, path in sorted(_remembered("files"), reverse=True):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            yield parsed(read_private(path, LARGEST))["config"].encode("ascii")


def _structure(path: Path) -> Structure | None:
    """A remembered structure; None where the file was dropped meanwhile or is invalid."""
    try:
        return Structure.decode(read_private(path, LARGEST))
    except (OSError, ValueError, RecursionError):
        return None


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _remembered(name: str) -> list[tuple[float, Path]]:
    try:
        return list(_aged(state_folder() / "known" / name))
    except (OSError, AppError):
        return []  # nothing is remembered


def _start(fd: int, size: int) -> str:
    return hashlib.sha256(str(size).encode() + filesystem.read_some(fd, BLOCK, 0)).hexdigest()[:16]


def _forget_oldest(folder: Path) -> None:
    most = MOST[folder.name]
    if sum(1 for _ in folder.iterdir()) > most:
        for _, path in sorted(_aged(folder))[: most // 10]:
            with contextlib.suppress(OSError):  # another process dropped it, or it is a folder
                path.unlink()


def _aged(folder: Path) -> Iterator[tuple[float, Path]]:
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield path.lstat().st_mtime, path
