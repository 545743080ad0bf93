"""Create the project file of an untrained run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from tdw import schedule, tasks
from tdw.config import RunConfig
from tdw.errors import SettingError
from tdw.network import reference, training
from tdw.project.writer import ProjectWriter


def create(
    path: str | Path,
    config: RunConfig,
    weights: Mapping[str, Any] | None = None,
    split: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Create the file of an untrained run.

    weights: initial weights under TransformerLens' names (arrays or tensors) instead of those of `model_seed`
    split:   (train indices, test indices) instead of that of `data_seed`; pair (a, b) is a * p + b
    Raises SettingError, AlreadyExistsError (unless `overwrite`) and CannotWriteError; nothing is left behind then.
    """
    _check_memory(config)
    initial = reference.initial_weights(config) if weights is None else reference.check_weights(weights, config)
    pairs = tasks.draw_split(config) if split is None else tasks.check_split(*split, config.p)
    plan = schedule.parse(config.checkpoints, config.epochs)
    state = training.start(config, initial)
    environment = training.environment(config)
    ProjectWriter.create(path, config, plan, pairs, state, environment, overwrite=overwrite).close()


def _check_memory(config: RunConfig) -> None:
    """Raise SettingError for a run whose buffers do not fit into this machine's memory."""
    needed = 4 * config.p**2 * (3 * config.d_mlp + 6 * config.p)
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not every system tells
        return
    if needed > there:
        raise SettingError(
            "p",
            f"--p {config.p} with --d-mlp {config.d_mlp} needs {needed / 1e9:.1f} GB of memory to train, and this machine "
            f"has {there / 1e9:.1f} GB: give a smaller modulus or fewer neurons",
        )
