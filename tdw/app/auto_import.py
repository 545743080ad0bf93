"""Import runs of other programs when they are opened in the window, into a project file next to the source.

The import runs in a separate process, because the libraries that read such files are not hardened against malicious ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import tdw
from tdw.errors import AppError, CannotWriteError, NotImportableError, TdwError
from tdw.interchange.importers import tables, trainers
from tdw.interchange.importers.legacy_workbench import is_legacy_folder
from tdw.interchange.importers.state_dicts import SUFFIXES
from tdw.project.project import Project
from tdw.store.atomic import tidy
from tdw.text_format import sentence

HDF5 = b"\x89HDF"
TIMEOUT = 900.0  # seconds; a run with 500 checkpoints takes about ten
_one_at_a_time = threading.Lock()


def is_foreign(path: Path) -> bool:
    """Whether a path may be a run of another program, by its name or by the files in the folder."""
    try:
        if path.is_dir():
            if is_legacy_folder(path) or trainers.has_checkpoints(path):
                return True
            return any(item.suffix in SUFFIXES for item in path.iterdir()) or tables.reader(path) is not None
        if not path.is_file():
            return False
        if path.suffix not in SUFFIXES and tables.reader(path) is None:
            return False
        with path.open("rb") as file:
            return file.read(len(HDF5)) != HDF5
    except OSError:
        return False  # opening it will report the reason


def import_if_needed(source: Path) -> tuple[Path, str]:
    """Import a run of another program unless it was imported before. Returns the project file and a notice.

    Raises NotImportableError, CannotWriteError, AppError.
    """
    with _one_at_a_time:
        target = _target(source)
        if target.exists():
            return target, f"Already imported from {source.name}."
        command = [sys.executable, "-m", "tdw", "import", "--", str(source), str(target)]
        try:
            process = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT,
                # `-m` imports from the folder it starts in: ours, not the user's.
                cwd=Path(tdw.__file__).parents[1],
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            tidy(target)
            raise NotImportableError(
                f"{source} cannot be imported: reading it took more than {TIMEOUT:.0f} s"
            ) from error
        except OSError as error:
            raise AppError(f"could not start the process that imports {source.name}: {error.strerror}") from error
    lines = [
        line
        for line in (process.stderr if process.returncode else process.stdout).decode("utf-8", "replace").splitlines()
        if line
    ]
    if process.returncode == 2 and lines:
        raise NotImportableError(lines[-1].removeprefix("tdw: "))
    if process.returncode or not lines:
        tidy(target)
        raise NotImportableError(
            f"{source} cannot be imported: the import process exited with status {process.returncode}. Nothing was written."
        )
    notice = lines[0].removeprefix(f"{target}: ")
    return target, sentence(notice)


def _target(source: Path) -> Path:
    """The project file of a source, existing or new: next to it, with its name, without replacing another file."""
    folder = source.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        folder = Path.home()
        if not os.access(folder, os.W_OK | os.X_OK):
            raise CannotWriteError(
                f"neither {source.parent} nor {folder} is writable: copy {source.name} to a writable folder"
            )
    stem = source.name if source.is_dir() else source.stem
    number = 1
    while True:
        target = folder / (f"{stem}.tdw" if number == 1 else f"{stem}-{number}.tdw")
        if not os.path.lexists(target) or _is_of(target, source):
            return target
        number += 1


def _is_of(target: Path, source: Path) -> bool:
    """Whether a project file was imported from this source in its present state."""
    try:
        if source.stat().st_mtime > target.stat().st_mtime:
            return False
        with Project.open(target) as project:
            return project.imported is not None and project.imported.source == source.name
    except (OSError, TdwError):
        return False
