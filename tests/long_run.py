"""Long runs made without training: a project file with many checkpoints or many epochs, whose numbers are planted.

What the page shows at a checkpoint is compared with the file; only what is there at all and how large it is matters here.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

import tdw
from tdw import store
from tdw.analyses.engine import registry, runner
from tdw.network import reference
from tdw.project import serialization

OVERVIEW = ("embedding_frequencies", "neuron_frequencies", "neuron_clusters", "neuron_summary")
BATCH = 1 << 24  # bytes of results per commit


def planted_rows(name: str, dtype: str, shape: tuple[int, ...], start: int, stop: int, most: int) -> np.ndarray:
    """Rows of one array: numbers in 0 … 1, whole ones up to `most`; every row is drawn from a seed of its own. Row 3, which is on
    no coarse grid, reaches to 2: scales of all checkpoints show it.
    """
    kind = np.dtype(dtype)
    rows = np.empty((stop - start, *shape), kind)
    for row in range(start, stop):
        drawn = np.random.default_rng((zlib.crc32(name.encode()), row))
        rows[row - start] = (
            drawn.random(shape) * (1 + (row == 3)) if kind.kind == "f" else drawn.integers(0, most + 1, shape)
        )
    return rows


def planted_losses(epochs: int) -> dict[str, np.ndarray]:
    """Curves of a run: they fall, with spikes of one epoch, a zero and an infinity; test values at every tenth epoch only."""
    e = np.arange(epochs)
    train = 4 * np.exp(-8 * e / epochs) + 1e-7 * (1 + np.sin(e))
    test = 4 * np.exp(-8 * np.maximum(e / epochs - 0.4, 0)) + 1e-6 * (2 + np.cos(e))
    train[epochs // 3 + 7] = 3.5
    train[epochs // 2 + 11] = 0.0
    test[10 * (epochs // 17)] = np.inf
    skipped = e % 10 != 0
    test[skipped] = np.nan
    accuracy = np.where(skipped, np.nan, np.clip(1.4 * e / epochs, 0, 1))
    return {
        "losses/train": train,
        "losses/test": test,
        "accuracy/train": np.clip(6 * e / epochs, 0, 1),
        "accuracy/test": accuracy,
    }


def plant(path: Path, *, checkpoints: int, every: int, analyses: tuple[str, ...] = OVERVIEW, **settings: Any) -> Path:
    """A finished run of (checkpoints − 1) · every epochs at `path`, with a checkpoint at every so many epochs."""
    epochs = (checkpoints - 1) * every
    config = tdw.configure(epochs=epochs, checkpoints=f"0:{epochs}:{every}", threads=1, **settings)
    tdw.create(path, config)
    first = {name: weight.numpy() for name, weight in reference.initial_weights(config).items()}
    curves = planted_losses(epochs + 1)
    with store.open_writer(path) as writer:
        at = 0
        for index in range(checkpoints):
            epoch = index * every
            weights = {name: weight * np.float32(1 + index / checkpoints) for name, weight in first.items()}
            part = {name: values[at : epoch + 1] for name, values in curves.items()}
            writer.append(curves=part, checkpoints=[(epoch, serialization.pack(weights, epoch))])
            at = epoch + 1
        sizes = {"rows": checkpoints, "recorded": epochs + 1, "checkpoints": checkpoints}
        plans = [runner.plan_rows(registry.find(name), config, **sizes) for name in analyses]
        writer.plan_analyses(plans)
        for plan in plans:
            row = sum(np.dtype(array.dtype).itemsize * int(np.prod(array.row_shape)) for array in plan.arrays.values())
            step = max(1, BATCH // row)
            for start in range(0, checkpoints, step):
                stop = min(start + step, checkpoints)
                rows = {
                    name: np.arange(start, stop) * every
                    if name == "epoch"
                    else planted_rows(
                        f"{plan.name}/{name}",
                        array.dtype,
                        array.row_shape,
                        start,
                        stop,
                        1 if name in ("dead", "key") else config.frequencies,
                    )
                    for name, array in plan.arrays.items()
                }
                writer.append_rows({plan.name: rows})
    return path
