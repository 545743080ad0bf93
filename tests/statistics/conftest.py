"""Made-up runs with planted curves."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tdw

SIZES = {"p": 7, "d_model": 8, "heads": 2, "d_mlp": 8, "train_fraction": 0.5, "threads": 1}


def row(**values: Any) -> dict[str, Any]:
    """A row with what durations and outcomes look at; a run that was followed to epoch 1000 without any event."""
    usual = {
        "memorized_0.1": None, "memorized_0.1_after": None, "generalized_0.1": None, "generalized_0.1_after": None,
        "delay_min": None, "delay_max": None, "diverged_at": None, "train_loss_at": 1000, "test_loss_at": 1000,
        "test_accuracy_at": 1000,
    }  # fmt: skip
    return usual | values


@pytest.fixture
def planted(tmp_path) -> Callable[..., Path]:
    """A function that makes a run with given train and test losses by epoch, NaN where not recorded."""

    def make(name: str, train: np.ndarray, test: np.ndarray, **settings: Any) -> Path:
        from tdw.project.writer import ProjectWriter

        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        tdw.create(path, tdw.configure(**{**SIZES, "epochs": len(train) - 1, "checkpoints": "", **settings}))
        with ProjectWriter.open(path) as project:
            project.append_stored({"losses/train": train, "losses/test": test})
        old(path)
        return path

    return make


def old(*paths: Path) -> None:
    """Let files look as if they were written a minute ago, so that their rows may be kept."""
    for path in paths:
        then = time.time() - 60
        os.utime(path, (then, then))
