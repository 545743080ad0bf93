"""Small sweeps for the tests, and what is compared of their runs."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import tdw

SMALL = {"p": 7, "d_model": 8, "heads": 2, "d_mlp": 16, "epochs": 40, "checkpoints": "even:5"}
LONG = {**SMALL, "epochs": 1500}  # about a second each


def flags(settings: dict) -> list[str]:
    return [text for name, value in settings.items() for text in ("--" + name.replace("_", "-"), str(value))]


def command(*arguments: object, **more) -> subprocess.Popen:
    """A `tdw` command in a process of its own session."""
    line = [sys.executable, "-m", "tdw", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(line, **pipes, start_new_session=True, **more)


def done(process: subprocess.Popen, seconds: float = 120) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=seconds)
    return process.returncode, output, errors


def content(path: Path) -> dict[str, bytes]:
    """All curves and weights of a run."""
    with tdw.Project.open(path) as project:
        assert project.verify() == []
        found = {name: project.curve(name).tobytes() for name in project.curves}
        for epoch in project.checkpoints:
            found |= {f"{epoch}/{name}": np.asarray(array).tobytes() for name, array in project.weights(epoch).items()}
    return found


def alone(folder: Path, **settings) -> dict[str, bytes]:
    """What `tdw.create` and `tdw.train` give with these settings."""
    folder.mkdir(exist_ok=True)
    path = folder / f"alone-{len(list(folder.iterdir()))}.tdw"
    tdw.create(path, tdw.configure(**settings))
    assert tdw.train(path)
    return content(path)


def workers_of(parent: int) -> list[int]:
    """The worker processes that a process has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == parent and b"tdw.sweeps.worker" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
