"""Runs of other programs, opened in the window: each becomes a project file beside its source, made in a process of its own.

A file from anywhere is read by libraries that are not made for an enemy; what they do to that process, the window
survives.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import tdw
from tdw.errors import AppError, CannotWriteError, NotImportableError, TdwError
from tdw.interchange.importers.legacy_workbench import is_one
from tdw.interchange.importers.state_dicts import SUFFIXES
from tdw.project.project import Project
from tdw.store.atomic import tidy

HDF5 = b"\x89HDF"
PATIENCE = 900.0  # seconds; a run of 500 checkpoints takes some ten
_one_at_a_time = threading.Lock()


def is_foreign(path: Path) -> bool:
    """Whether a path may be of another program's run: by its name, or by what lies in the folder."""
    try:
        if path.is_dir():
            return is_one(path) or any(item.suffix in SUFFIXES for item in path.iterdir())
        if path.suffix not in SUFFIXES or not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(HDF5)) != HDF5
    except OSError:
        return False  # whoever opens it next says why


def brought_in(source: Path) -> tuple[Path, str]:
    """The project file of another program's run, made now unless it was before; and one sentence about that.

    Raises NotImportableError, CannotWriteError, AppError.
    """
    with _one_at_a_time:
        target = _target(source)
        if target.exists():
            return target, f"It was imported from {source.name} before."
        command = [sys.executable, "-m", "tdw", "import", "--", str(source), str(target)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PATIENCE,
                # `-m` looks for modules in the folder it starts in: ours, not whichever the user stands in.
                cwd=Path(tdw.__file__).parents[1],
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            tidy(target)
            raise NotImportableError(
                f"{source} cannot be imported: reading it takes more than {PATIENCE:.0f} s."
            ) from error
        except OSError as error:
            raise AppError(f"the process that imports {source.name} could not be started ({error.strerror})") from error
    said = [
        line
        for line in (done.stderr if done.returncode else done.stdout).decode("utf-8", "replace").splitlines()
        if line
    ]
    if done.returncode == 2 and said:
        raise NotImportableError(said[-1].removeprefix("tdw: "))
    if done.returncode or not said:
        tidy(target)
        raise NotImportableError(
            f"{source} cannot be imported: the process that read it ended with status {done.returncode}. Nothing was written."
        )
    sentence = said[0].removeprefix(f"{target}: ")
    return target, sentence[:1].upper() + sentence[1:]


def _target(source: Path) -> Path:
    """Where a source's project file is, or will be: beside it, by its name, never in the place of something else."""
    folder = source.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        folder = Path.home()
        if not os.access(folder, os.W_OK | os.X_OK):
            raise CannotWriteError(
                f"{source.parent} may not be written to, nor {folder}: copy {source.name} elsewhere first"
            )
    stem = source.name if source.is_dir() else source.stem
    number = 1
    while True:
        target = folder / (f"{stem}.tdw" if number == 1 else f"{stem}-{number}.tdw")
        if not os.path.lexists(target) or _is_of(target, source):
            return target
        number += 1


def _is_of(target: Path, source: Path) -> bool:
    """Whether a file is the project file that this source, as it is now, became."""
    try:
        if source.stat().st_mtime > target.stat().st_mtime:
            return False
        with Project.open(target) as project:
            return project.imported is not None and project.imported.get("source") == source.name
    except (OSError, TdwError):
        return False
