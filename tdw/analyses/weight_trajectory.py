"""The path of the weights: its principal components and its speed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tdw.analyses.engine.checkpoint import Whole
from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.network.parameters import shapes

COMPONENTS = 3
GROUPS = ("all", "embedding", "attention", "mlp")  # all, or the weights of one role
NUMBERS_AT_ONCE = 4_000_000  # of all checkpoints together, worked on
NUMBERS_READ_AT_ONCE = 32_000_000  # in one reading of all checkpoints


@analysis(
    title="Weight trajectory",
    version=1,
    per="run",
    reads_weights=True,
    arrays={
        "position": ArraySpec("<f4", (len(GROUPS), "checkpoint", COMPONENTS), gaps=True),
        "explained": ArraySpec("<f8", (len(GROUPS), COMPONENTS), gaps=True),
        "speed": ArraySpec("<f8", ("checkpoint",), gaps=True),
    },
    groups=list(GROUPS),
)
def weight_trajectory(run: Whole, *, groups: list[str]) -> Result:
    """Principal components over the checkpoints of the flattened weights θ, less their mean: positions along the first
    three, (groups, E, 3), the share of the variance that each explains, (groups, 3); and ‖θ_e − θ_e'‖ / (e − e') since
    the checkpoint before, (E,), NaN at the first.

    groups: all; embedding (tokens and positions); attention; mlp. A group of which the network has no weight is NaN.
    Where there are fewer components than three the others are 0. A component's sign is such that the run ends on its
    positive side. The components are found from the products of checkpoints with each other, (E, E), which are summed
    up over stretches of the weights: memory does not grow with E times the number of weights.
    """
    count, epochs = len(run.checkpoints), np.asarray(run.checkpoints, dtype=np.float64)
    sizes = {name: int(np.prod(shape)) for name, shape in shapes(run.config).items()}
    roles = {name: weight.role for name, weight in run.config.network_kind.weights(run.config).items()}
    products = {group: np.zeros((count, count)) for group in groups}
    moved = np.zeros(max(count - 1, 0))
    for name, rows in _stretches(run, sizes):
        moved += (np.diff(rows, axis=0) ** 2).sum(axis=1)
        centered = rows - rows.mean(axis=0)
        product = centered @ centered.T
        for group in groups:
            if group in ("all", roles[name]):
                products[group] += product
    position, explained = np.full((len(groups), count, COMPONENTS), np.nan), np.full((len(groups), COMPONENTS), np.nan)
    for index, group in enumerate(groups):
        if group == "all" or group in roles.values():
            position[index], explained[index] = principal(products[group])
    speed = np.concatenate([[np.nan], np.sqrt(moved) / np.diff(epochs)])
    return {"position": position, "explained": explained, "speed": speed[:count]}


def _stretches(run: Whole, sizes: dict[str, int]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """The weights of all checkpoints, tensor by tensor and stretch by stretch, (E, weights of the stretch)."""
    count = len(run.checkpoints)
    room, whole = (max(numbers // max(count, 1), 1) for numbers in (NUMBERS_AT_ONCE, NUMBERS_READ_AT_ONCE))
    batches: list[list[tuple[str, int, int]]] = [[]]
    left = whole
    for name, size in sizes.items():
        for start in range(0, size, room):
            stop = min(start + room, size)
            if stop - start > left:
                batches.append([])
                left = whole
            batches[-1].append((name, start, stop))
            left -= stop - start
    for batch in batches:
        rows = [np.empty((count, stop - start), np.float32) for _, start, stop in batch]
        for checkpoint in range(count):
            weights = run.weights_of(checkpoint)
            for into, (name, start, stop) in zip(rows, batch, strict=True):
                into[checkpoint] = weights[name].reshape(-1)[start:stop]
        for (name, _, _), row in zip(batch, rows, strict=True):
            yield name, row.astype(np.float64)


def principal(product: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions along the first components, (E, 3), and shares explained, (3,), from products of centered rows, (E, E)."""
    count = len(product)
    position, explained = np.zeros((count, COMPONENTS)), np.zeros(COMPONENTS)
    total = np.trace(product)
    if total > 0:
        values, vectors = np.linalg.eigh(product)
        values, vectors = values[::-1][:COMPONENTS].clip(0), vectors[:, ::-1][:, :COMPONENTS]
        found = vectors * np.sqrt(values)
        found *= np.where(found[-1] < 0, -1, 1)
        position[:, : found.shape[1]], explained[: len(values)] = found, values / total
    return position, explained
