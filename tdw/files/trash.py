"""`tdw delete`, `tdw restore` and `tdw trash`: the trash of a folder, from which nothing is gone until it is emptied.

    FOLDER/.tdw-trash/ID/NAME.tdw        a run that was FOLDER/NAME.tdw, with what belongs to it next to the file
    FOLDER/.tdw-trash/ID/deleted.json    when it was deleted, and from where

The trash lies in the folder of the run, hence on its file system, and a user who may delete there may restore. ID is the time
of a deletion, in UTC, to the microsecond; runs that were deleted together have the same one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tdw.errors import AlreadyExistsError, CannotWriteError, NotAProjectError, TdwError
from tdw.files.moving import destination, move_run
from tdw.safe_text import typed
from tdw.state_dir import parsed, read_private
from tdw.store import filesystem
from tdw.store.atomic import explained
from tdw.store.filesystem import SYSTEM
from tdw.store.move import unwritten
from tdw.store.open_file import real_path
from tdw.sweeps import manifest

TRASH = ".tdw-trash"
RECORD = "deleted.json"
LARGEST = 1 << 20  # bytes of a record
_ID = re.compile(r"\d{8}-\d{6}-\d{6}")


@dataclass(frozen=True)
class Deleted:
    """A run in the trash.

    path: where it was; file: where it is now; id: of the deletion; at: its time, in UTC; megabytes: of the file
    """

    path: Path
    file: Path
    id: str
    at: datetime
    megabytes: float


def delete(paths: str | Path | Iterable[str | Path]) -> list[Deleted]:
    """Move runs to the trash of their folders, all of them or, as far as possible, none; `restore` undoes it.

    Damaged files are accepted. A sweep does not make its deleted runs again. Raises NotAProjectError, FileInUseError while another process
    writes to one of them, CannotWriteError.
    """
    given = [Path(paths)] if isinstance(paths, (str, Path)) else list(dict.fromkeys(map(Path, paths)))
    for path in given:
        if TRASH in real_path(path).parts:
            raise NotAProjectError(f"{path} is in the trash already: `tdw trash --empty` removes it for good.")
    now = datetime.now(UTC)
    number, now = f"{now:%Y%m%d-%H%M%S-%f}", now.replace(microsecond=0)
    done: list[tuple[Deleted, bool]] = []
    places: list[Path] = []
    with contextlib.ExitStack() as held:
        reals: dict[Path, Path] = {}
        for path in given:
            if real_path(path) not in reals:
                reals[held.enter_context(unwritten(path))] = path
        try:
            for folder in dict.fromkeys(real.parent for real in reals):
                names = {real: path for real, path in reals.items() if real.parent == folder}
                place = folder / TRASH / number
                places.append(place)
                _make_place(place, now, names)
                for real, path in names.items():
                    one = Deleted(path, place / real.name, number, now, real.stat().st_size / 1e6)
                    done.append((one, manifest.leaves(real)))
                    move_run(real, one.file, path)
        except BaseException as error:
            _take_back(done, error)
            for place in places:
                _remove_place(place)
            raise
    return [one for one, _ in done]


def restore(what: str | Path | Deleted, *, to: str | Path | None = None) -> Path:
    """Move a run from the trash back to where it was, and return that path. A file is never replaced.

    what: the path of the run before it was deleted, which stands for the last deletion of that name, or what `trash` lists
    to: another name, path or folder on the same file system, as for `rename`
    Raises NotAProjectError if it is not in the trash, AlreadyExistsError, CannotWriteError.
    """
    one = what if isinstance(what, Deleted) else _last_of(Path(what))
    given = one.path if to is None else destination(one.path, to)
    target = real_path(given.parent) / given.name
    with unwritten(one.file) as file:
        if os.path.lexists(target) and not filesystem.same_file(target.lstat(), file.lstat()):
            raise AlreadyExistsError(given, "exists again, so the run in the trash cannot be restored there (see --to)")
        move_run(file, target, given)
        manifest.arrives(target, restored=one.path.name if target.parent == real_path(one.path.parent) else None)
    _remove_place(one.file.parent)
    return given


def trash(folder: str | Path = ".") -> list[Deleted]:
    """The runs in the trash of a folder and its subfolders, the last deleted first. Raises TdwError for anything but a folder."""
    found = [one for place in _places(Path(folder)) for one in _runs_in(place)]
    return sorted(found, key=lambda one: (one.id, str(one.path)), reverse=True)


def empty_trash(folder: str | Path = ".") -> list[Deleted]:
    """Remove what is in the trash of a folder and its subfolders for good, and return the runs that are gone.

    Raises TdwError for anything but a folder, CannotWriteError.
    """
    gone = trash(folder)
    for place in list(_places(Path(folder))):
        with explained(place):
            shutil.rmtree(place)
        with contextlib.suppress(OSError):
            place.parent.rmdir()
    return gone


def is_id(text: str) -> bool:
    """Whether a text is the id of a deletion."""
    return _ID.fullmatch(text) is not None


def _make_place(place: Path, now: datetime, names: dict[Path, Path]) -> None:
    """Make the folder for runs that are deleted together, with its record, on the disk. names: real paths -> as given"""
    folder = place.parent
    with explained(next(iter(names.values()))):
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
        if folder.is_symlink() or not folder.is_dir():
            raise CannotWriteError(f"{folder} is in the way: it is not a trash folder of tdw. Move or rename it.")
        place.mkdir()
        record = {
            "tdw_deletion": 1,
            "at": now.isoformat(),
            "folder": str(folder.parent),
            "names": [path.name for path in names],
        }
        fd = SYSTEM.open_new(place / RECORD)
        try:
            filesystem.write_all(SYSTEM, fd, json.dumps(record, indent=1).encode() + b"\n", 0)
            SYSTEM.fsync(fd)
        finally:
            SYSTEM.close(fd)
        for one in (place, folder, folder.parent):
            SYSTEM.sync_folder(one)


def _take_back(done: list[tuple[Deleted, bool]], error: BaseException) -> None:
    """Undo a deletion that failed halfway; what cannot be undone is added to the error as a note."""
    for one, entered in reversed(done):
        real = real_path(one.path.parent) / one.path.name
        try:
            if os.path.lexists(one.file):
                move_run(one.file, real, one.path)
            if entered:
                manifest.arrives(real, restored=real.name)
        except TdwError as more:
            error.add_note(f"{one.path} is in the trash ({more}): `tdw restore {typed(one.path)}` brings it back.")


def _remove_place(place: Path) -> None:
    """Remove the folder of a deletion, and the trash, unless something is left in them."""
    with contextlib.suppress(OSError):
        if {item.name for item in place.iterdir()} <= {RECORD}:
            (place / RECORD).unlink(missing_ok=True)
            place.rmdir()
            place.parent.rmdir()


def _last_of(path: Path) -> Deleted:
    """The last deletion of a run that was at this path."""
    parent = path.parent
    if not parent.is_dir():
        raise NotAProjectError(f"{path} cannot be restored: the folder {parent} is gone, and its trash with it.")
    found = [one for place in _places_in(parent) for one in _runs_in(place) if one.path.name == path.name]
    if found:
        return max(found, key=lambda one: one.id)
    if os.path.lexists(path):
        raise NotAProjectError(f"{path} is not in the trash: it is where it was.")
    raise NotAProjectError(
        f"{path} is not in the trash of its folder; `tdw trash {typed(parent)}` lists what is there."
    )


def _places(folder: Path) -> Iterator[Path]:
    """The folders of all deletions in a folder and its subfolders."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise TdwError(f"{folder} {what}: give the folder from which runs were deleted.")
    for root, folders, _ in os.walk(folder):
        if TRASH in folders:
            yield from _places_in(Path(root))
        folders[:] = [name for name in folders if not name.startswith(".")]


def _places_in(folder: Path) -> list[Path]:
    there = folder / TRASH
    if there.is_symlink() or not there.is_dir():
        return []
    return [item for item in there.iterdir() if is_id(item.name) and item.is_dir() and not item.is_symlink()]


def _runs_in(place: Path) -> Iterator[Deleted]:
    """The runs of a deletion. One that is still where it was too, after a kill, is not deleted."""
    names = {item.name for item in place.glob("*.tdw")}
    at = datetime.strptime(place.name[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # the record adds names without .tdw
        names |= {name for name in parsed(read_private(place / RECORD, LARGEST))["names"] if Path(name).name == name}
    for name in sorted(names):
        file, path = place / name, place.parent.parent / name
        with contextlib.suppress(OSError):
            about = file.lstat()
            still_there = os.path.lexists(path) and filesystem.same_file(path.lstat(), about)
            if stat.S_ISREG(about.st_mode) and not still_there:
                yield Deleted(path, file, place.name, at, about.st_size / 1e6)
