"""`tdw reveal`: the file manager, on a project file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tdw.errors import AppError, NotAProjectError
from tdw.store.open_file import real_path

SECONDS = 5.0  # for a program that only passes the request on
NAME, PLACE, METHOD = (
    "org.freedesktop.FileManager1",
    "/org/freedesktop/FileManager1",
    "org.freedesktop.FileManager1.ShowItems",
)


def reveal(path: str | Path) -> None:
    """Show a file in the file manager of the desktop: Finder, Explorer, or the one that D-Bus or xdg-open knows.

    Raises NotAProjectError for a missing file, AppError where there is no desktop.
    """
    given = Path(path)
    if not given.exists():
        raise NotAProjectError(f"{given} does not exist: give a project file (NAME.tdw).")
    real = real_path(given)
    if sys.platform not in {"darwin", "win32"} and not any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    ):
        raise AppError(f"there is no desktop here to show {given} on. It is in {real.parent}")
    for command in commands(real, sys.platform):
        program = shutil.which(command[0])
        if program is not None and _done([program, *command[1:]]):
            return
    raise AppError(f"no file manager could be opened to show {given}. It is in {real.parent}")


def commands(path: Path, platform: str) -> list[list[str]]:
    """The commands that show a file, best first. No shell reads them. path: absolute, so that it is never taken for an option"""
    if platform == "darwin":
        return [["open", "-R", str(path)]]
    if platform == "win32":
        return [["explorer", f"/select,{path}"]]
    address = path.as_uri()  # it has neither a comma nor a quote, which the arrays below could not hold
    return [
        [
            "dbus-send",
            "--session",
            "--print-reply",
            f"--dest={NAME}",
            PLACE,
            METHOD,
            f"array:string:{address}",
            "string:",
        ],
        [
            "gdbus",
            "call",
            "--session",
            f"--dest={NAME}",
            f"--object-path={PLACE}",
            f"--method={METHOD}",
            f"['{address}']",
            "''",
        ],
        ["xdg-open", str(path.parent)],
    ]


def _done(command: list[str]) -> bool:
    """Whether a program did it. One that is still running after some seconds has opened its window."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        code = process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        process.returncode = 0  # it is left running; no warning about that at exit
        return True
    return code == 0 or Path(command[0]).name.lower().startswith("explorer")  # which always ends with 1
