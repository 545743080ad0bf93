"""The run that `tdw demo` trains: it memorises within a hundred epochs, and generalises many hundred later."""

from __future__ import annotations

from pathlib import Path

from tdw.config import RunConfig, configure
from tdw.errors import AlreadyExists, TdwError
from tdw.project import Project

FILE = "grok-p59.tdw"


def settings() -> RunConfig:
    """Settings found by trying: a long delay between memorising and generalising, in well under a minute."""
    return configure(
        p=59,
        d_model=64,
        heads=4,
        d_mlp=256,
        train_fraction=0.5,
        lr=2e-3,
        weight_decay=1.0,
        epochs=3000,
        evaluate_every=5,
        checkpoints="0:200:10, 200:1600:20, 1600:3000:100",
    )


def check(path: Path) -> None:
    """Raises AlreadyExists where the file is something else than the demo's own run, begun or finished."""
    try:
        with Project.open(path) as project:
            if project.config.to_json() == settings().to_json():
                return
    except TdwError:
        pass  # whatever it is, it is not ours to go on with
    raise AlreadyExists(f"{path} exists and is not the demo's run: name another file, or give --force to replace it")
