"""Several files appear in a folder together, or none of them does.

They are written to a private folder on the same file system (`tdw.temporary`) and renamed after the last one is on disk.
If that fails halfway, new files are removed again and replaced files are restored.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tdw import interrupts, os_errors
from tdw.errors import AlreadyExistsError, CannotWriteError
from tdw.store.filesystem import NO_SUCH_OPERATION, SYSTEM
from tdw.temporary import make_temporary, remove_temporary


@contextlib.contextmanager
def new_files(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """A private folder for new files, which are in `folder` when the block ends without an error: all of them, or none.

    The folder is made if it is missing. Raises FileExistsError for a file that appeared meanwhile (unless `overwrite`), OSError,
    and CannotWriteError where replaced files could not be restored.
    """
    made: Path | None = None
    try:
        with interrupts.Whole():
            made = make_temporary(folder / "export" if folder.exists() else folder).with_name("new")
            made.mkdir()
            made.with_name("old").mkdir()
        yield made
        with interrupts.Whole():
            if folder.exists():
                _move_into(folder, made, overwrite=overwrite)
            else:
                made.rename(folder)
    finally:
        with interrupts.Whole():
            if made is not None and not _holds_old(made):
                remove_temporary(made)


def refuse_target(target: Path, run: Path, *, overwrite: bool) -> None:
    """Raise AlreadyExistsError where a file of a run cannot be written: the run itself, a folder, or (unless `overwrite`) a file."""
    if target.exists() and run.exists() and target.samefile(run):
        raise AlreadyExistsError(target, "is the run itself")
    if target.is_dir():
        raise AlreadyExistsError(target, "is a folder")
    if os.path.lexists(target) and not overwrite:
        raise AlreadyExistsError(target, replaceable=True)


@contextlib.contextmanager
def files_explained(out: Path, what: str) -> Iterator[None]:
    """Errors of the system, where `out` is written, in sentences. what: "exported", which it then was not

    Raises AlreadyExistsError, CannotWriteError.
    """
    try:
        yield
    except FileExistsError as error:
        raise AlreadyExistsError(
            error.filename2 or out,
            f"was created by another program meanwhile, and nothing was {what}",
            replaceable=True,
        ) from error
    except OSError as error:
        why = os_errors.sentence(error, out) or f"{out} cannot be written: {error.strerror or error}."
        if isinstance(error, FileNotFoundError):
            why = f"{out} cannot be written: folder {out.absolute().parent} does not exist. Create it, or choose another one."
        raise CannotWriteError(f"{why} Nothing was {what}.") from error


def _holds_old(made: Path) -> bool:
    """Whether it holds the only copies of files that could not be restored."""
    old = made.with_name("old")
    return old.exists() and any(old.iterdir())


def _move_into(folder: Path, made: Path, *, overwrite: bool) -> None:
    """Move the files in `made` to an existing folder: all of them, or none.

    Replaced files are kept until the last one has been moved.
    """
    old = made.with_name("old")
    named: list[Path] = []
    try:
        for source in sorted(made.iterdir()):
            target = folder / source.name
            if overwrite and os.path.lexists(target):
                named.append(target)
                _keep(target, old / source.name)
                source.replace(target)
            else:
                SYSTEM.name(source, target)  # raises if another program has created it
                named.append(target)
    except BaseException as failed:
        _take_back(named, made, old, failed)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _take_back(named: list[Path], made: Path, old: Path, failed: BaseException) -> None:
    """Remove the files that were moved, and restore those that they replaced."""
    lost: list[str] = []
    for target in reversed(named):
        kept = old / target.name
        try:
            if os.path.lexists(kept):
                kept.replace(target)
                kept.unlink(missing_ok=True)  # renaming does nothing if both names are links to one file
            elif not (made / target.name).exists():  # it was moved, so the target is our file
                target.unlink(missing_ok=True)
        except OSError as error:
            lost.append(f"{target} ({error.strerror or error})")
    if lost:
        raise CannotWriteError(
            f"{old.parent} holds replaced files that could not be restored: {', '.join(lost)}. Move them back."
        ) from failed


def _keep(target: Path, kept: Path) -> None:
    """Keep a file that is about to be replaced under a second name: by a link, or, without link support, by a rename."""
    try:
        os.link(target, kept, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_SUCH_OPERATION | {errno.EPERM}:
            raise
        target.rename(kept)
