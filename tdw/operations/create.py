"""Create the project file of an untrained run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from tdw import machine, schedule, tasks
from tdw.config import RunConfig
from tdw.errors import SettingError
from tdw.network import reference, training
from tdw.project.records import Environment
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

    weights: initial weights by TransformerLens name, arrays or tensors of the shapes in `tdw.network.reference`; default:
             drawn with `model_seed`. Given ones are stored as the checkpoint of epoch 0, with their losses, and can be
             analyzed without training.
    split:   (train indices, test indices), where pair (a, b) has the index a * p + b; default: drawn with `data_seed`
    Raises SettingError, AlreadyExistsError (unless `overwrite`) and CannotWriteError. If it fails, no file is left behind.
    """
    _check_memory(config)
    initial = reference.initial_weights(config) if weights is None else reference.check_weights(weights, config)
    pairs = tasks.draw_split(config) if split is None else tasks.check_split(*split, config.p)
    plan = schedule.parse(config.checkpoints, config.epochs)
    state = training.start(config, initial)
    environment = Environment(from_epoch=0, **training.environment(config))
    with ProjectWriter.create(path, config, plan, pairs, state, environment, overwrite=overwrite) as project:
        if weights is not None:
            segment = next(training.train(config, state, pairs, plan, stop=lambda: True))
            if training.divergence(config, segment) is None:  # otherwise training tells it
                project.append(segment)


def _check_memory(config: RunConfig) -> None:
    """Raise SettingError if the training buffers do not fit into the memory of this machine."""
    needed = training.memory(config)
    available = machine.memory()
    if available is not None and needed > available:
        raise SettingError(
            "p",
            f"--p {config.p} with --d-mlp {config.d_mlp} needs {needed / 1e9:.1f} GB of memory for training, but this "
            f"machine has {available / 1e9:.1f} GB: use a smaller modulus or fewer neurons",
        )
