"""Files that this user created or opened before are not inspected again.

A run's id would prove nothing, because it can be copied into another file. So a file is identified by a SHA-256 of all its
sealed bytes (HDF5's structure, settings, notes, split), stored together with the structure found in them: such a file is
opened without HDF5, and without trusting its contents.

In the user's private folder, each file written atomically:

    known/own/structures/KE/KEY.json   structures; the key starts with a hash of the file's size and first sector
    known/own/files/SH/SHA256          JSON: made (created here, else inspected), key of the structure, settings as stored
    known/structures/KEY.json          the same of files that were inspected, the oldest dropped beyond a few thousand
    known/files/SHA256
    known/runs/HASH                    empty: the user was told of this run

Files that were created here are never dropped. Versions before 0.3 kept them among the others; they are moved once.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
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
OWN = "own"
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


def recall(fd: int, size: int) -> Known | None:
    """The record of an open file; None for one that was never seen, or was changed since."""
    try:
        folder, start = state_folder() / "known", _start(fd, size)
        for own in (True, False):
            place = _place(folder, "structures", start, own=own).parent
            for name in sorted(
                name for name in _names(place) if name.startswith(f"{start}-") and name.endswith(".json")
            ):
                entry = place / name
                layout = _layout(entry)
                if layout is None or layout.size != size:
                    continue
                about = _place(folder, "files", sealed_sha256(fd, layout), own=own)
                if about.exists():
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
        _move_own(folder)
        encoded = structure.encode()
        key = f"{_start(fd, layout.size)}-{hashlib.sha256(encoded).hexdigest()[:16]}"
        about = {"made": made, "structure": key, "config": config.decode("ascii", "replace")}
        known = folder / "runs" / hashlib.sha256(run.encode("utf-8", "replace")).hexdigest()[:32]
        new = not known.exists()
        for place, data in (
            (_place(folder, "structures", f"{key}.json", own=made), encoded),
            (_place(folder, "files", sealed_sha256(fd, layout), own=made), json.dumps(about).encode()),
            (known, b""),
        ):
            if made or not _is_file(place):
                write_private(_with_folder(place), data, durable=False)
                if place.parent.name in MOST:
                    _forget_oldest(place.parent)
        return new
    except (OSError, AppError):
        return False  # not remembered: the file is inspected again next time


def _place(folder: Path, kind: str, name: str, *, own: bool) -> Path:
    """Where a record is. Own ones are spread over 256 folders, so that one can be looked up among any number."""
    return folder / OWN / kind / name[:2] / name if own else folder / kind / name


def _names(folder: Path) -> list[str]:
    """Names in a folder, in any order; none where it does not exist."""
    try:
        return os.listdir(folder)  # noqa: PTH208 - with thousands of entries, `iterdir` takes several times as long
    except FileNotFoundError:
        return []


def _with_folder(place: Path) -> Path:
    """The same place, in a folder that exists."""
    missing = [
        folder for folder in (place.parent.parent.parent, place.parent.parent, place.parent) if not folder.is_dir()
    ]
    for folder in missing:
        private_folder(folder)
    return place


def _move_own(folder: Path) -> None:
    """Move the records of files that were created here by earlier versions to where they are not dropped."""
    if (folder / OWN).is_dir():
        return
    private_folder(folder / OWN)
    for _, place in _aged(folder / "files"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # not a record
            data = read_private(place, LARGEST)
            stored = parsed(data)
            if stored["made"] is not True:
                continue
            structure = f"{stored['structure']}.json"
            encoded = read_private(folder / "structures" / Path(structure).name, LARGEST)
            write_private(_with_folder(_place(folder, "structures", structure, own=True)), encoded, durable=False)
            write_private(_with_folder(_place(folder, "files", place.name, own=True)), data, durable=False)
            place.unlink()


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


def _layout(path: Path) -> Layout | None:
    """The layout in a remembered structure; None where the structure was dropped meanwhile or is invalid."""
    try:
        return _decoded(read_private(path, LARGEST))
    except (OSError, ValueError, RecursionError, ProjectError):
        return None


@functools.lru_cache(maxsize=256)
def _decoded(encoded: bytes) -> Layout:
    """The layout in an encoded structure: the runs of a sweep share a few."""
    return layout_of(Structure.decode(encoded), Path("a remembered file"))


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _remembered(name: str) -> list[tuple[float, Path]]:
    try:
        folder = state_folder() / "known"
        own = [place for place in (folder / OWN / name).glob("*") if place.is_dir()]
        return [record for place in (*own, folder / name) if place.is_dir() for record in _aged(place)]
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
