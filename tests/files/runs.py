"""A small run with notes that wait next to it, and a process that writes to a run."""

import contextlib
import subprocess
import sys
from pathlib import Path

import tdw
from tdw.project import waiting_notes

SETTINGS = {"p": 5, "d_model": 4, "heads": 1, "d_mlp": 4, "train_fraction": 0.5, "epochs": 4, "threads": 1}
WRITES = "import sys, tdw.project.writer as w\nwith w.ProjectWriter.open(sys.argv[1]):\n print('in', flush=True)\n sys.stdin.read()"


def make(path: Path, **changes: object) -> Path:
    tdw.create(path, tdw.configure(**SETTINGS | changes))
    return path


def wait_beside(path: Path, title: str = "waits") -> Path:
    """Notes that wait for a writer of a run; returns their file."""
    waiting_notes.add(path, {"title": title})
    return path.with_name(f"{path.name}.notes")


@contextlib.contextmanager
def written(path: Path):
    """A run that another process writes to in this context."""
    other = subprocess.Popen(
        [sys.executable, "-c", WRITES, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout.readline() == "in\n"
        yield other
        other.stdin.close()
        assert other.wait(60) == 0


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
