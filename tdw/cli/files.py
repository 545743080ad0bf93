"""`tdw rename`, `tdw delete`, `tdw restore`, `tdw trash` and `tdw reveal`: a project file as a file."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tdw import interrupts
from tdw.cli.commands import in_turn
from tdw.cli.streams import say
from tdw.errors import NotAProjectError, SettingError
from tdw.safe_text import typed
from tdw.text_format import count, size

if TYPE_CHECKING:
    from tdw.files.trash import Deleted


def rename_command(arguments: argparse.Namespace) -> None:
    """Rename a run, or move it to another folder. A file is never replaced; a run that is being written is refused."""
    from tdw.files.rename import rename

    interrupts.at_work()
    new = in_turn(arguments, lambda: rename(arguments.file, arguments.new))
    say(f"{arguments.file}: renamed to {new}.")


def delete_command(arguments: argparse.Namespace) -> None:
    """Move runs to the trash. Prints how to undo it. Runs that are being written are refused, and then none is moved."""
    from tdw.files.trash import delete

    interrupts.at_work()
    done = delete(arguments.files)
    megabytes = size(sum(one.megabytes for one in done))
    if len(done) == 1:
        say(f"{done[0].path}: moved to the trash ({megabytes}). Undo with `tdw restore {typed(done[0].path)}`.")
        return
    folder = Path(os.path.commonpath([one.path.parent.absolute() for one in done]))
    where = "" if folder.is_relative_to(Path.cwd()) else f" --dir {typed(folder)}"
    say(f"{count(len(done), 'run')} moved to the trash ({megabytes}). Undo with `tdw restore {done[0].id}{where}`.")


def restore_command(arguments: argparse.Namespace) -> None:
    """Move runs from the trash back to where they were. A file is never replaced."""
    from tdw.files.trash import restore, trash

    interrupts.at_work()
    if arguments.list:
        say(*listed(trash(arguments.dir), arguments.dir))
        return
    if bool(arguments.runs) == arguments.last:
        raise SettingError(
            "last", "give the runs to restore, the id of a deletion, or --last; --list shows what is there"
        )
    wanted: list[Deleted | str] = []
    there = trash(arguments.dir) if arguments.last or any(_is_id(text) for text in arguments.runs) else []
    if arguments.last:
        wanted += [one for one in there if one.id == there[0].id]
    for text in arguments.runs:
        found = [one for one in there if one.id == text]
        wanted += found or [text]
    if not wanted:
        raise NotAProjectError(f"the trash of {arguments.dir} is empty: there is nothing to restore.")
    if arguments.to is not None and len(wanted) > 1 and not arguments.to.is_dir():
        raise SettingError("to", f"--to must be a folder for {len(wanted)} runs (got {arguments.to})")
    for one in wanted:
        say(f"{restore(one, to=arguments.to)}: restored.")


def trash_command(arguments: argparse.Namespace) -> None:
    """List the trash of a folder and its subfolders, or remove what is in it for good (--empty)."""
    from tdw.files.trash import empty_trash, trash

    interrupts.at_work()
    there = trash(arguments.folder)
    if not arguments.empty:
        say(*listed(there, arguments.folder))
        return
    megabytes = size(sum(one.megabytes for one in there))
    if there and not arguments.yes:
        raise SettingError(
            "yes",
            f"{count(len(there), 'run')} ({megabytes}) in the trash of {arguments.folder} would be gone for good: add --yes to remove "
            "them, or --list to see them",
        )
    gone = empty_trash(arguments.folder)
    say(f"{arguments.folder}: {count(len(gone), 'run')} ({size(sum(one.megabytes for one in gone))}) removed for good.")


def reveal_command(arguments: argparse.Namespace) -> None:
    """Show a project file in the file manager."""
    from tdw.files.reveal import reveal

    interrupts.at_work()
    reveal(arguments.file)
    say(f"{arguments.file}: shown in the file manager.")


def listed(there: Sequence[Deleted], folder: Path) -> list[str]:
    """A line for each run in the trash, the last deleted first, and their size."""
    if not there:
        return [f"{folder}: nothing in the trash."]
    lines = [f"{one.id}  {one.at.astimezone():%Y-%m-%d %H:%M}  {size(one.megabytes):>8}  {one.path}" for one in there]
    return [*lines, f"{count(len(there), 'run')}, {size(sum(one.megabytes for one in there))}."]


def _is_id(text: str) -> bool:
    from tdw.files.trash import is_id

    return is_id(text)
