"""Weight trajectory: principal components over checkpoints, and speed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64

from tdw.analyses.engine.registry import ArraySpec, Result, analysis
from tdw.analyses.engine.run_data import RunData
from tdw.network.parameters import shapes

COMPONENTS = 3
GROUPS = ("all", "embedding", "attention", "mlp")  # all weights, or those of one role
NUMBERS_AT_ONCE = 4_000_000  # of all checkpoints together, in float64
NUMBERS_READ_AT_ONCE = 32_000_000  # per pass over the checkpoints


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
def weight_trajectory(run: RunData, *, groups: list[str]) -> Result:
    """Principal components over the checkpoints of the flattened, centered weights θ: positions along the first three,
    (groups, E, 3); the share of the variance that each explains, (groups, 3); and the speed ‖θ_e − θ_e'‖ / (e − e') since
    the previous checkpoint e', (E,), NaN at the first.

    groups: all; embedding (tokens and positions); attention; mlp. NaN for a group without parameters in this network.
    Components beyond the rank are 0. The sign of a component is chosen so that the last checkpoint has a positive
    position. The components come from the Gram matrix of the checkpoints, (E, E), which is accumulated over slices of
    the weights: memory does not grow with E times the number of weights.
    """
    count, epochs = len(run.checkpoints), np.asarray(run.checkpoints, dtype=np.float64)
    sizes = {name: int(np.prod(shape)) for name, shape in shapes(run.config).items()}
    roles = {name: weight.role for name, weight in run.config.network_kind.weights(run.config).items()}
    products = {group: np.zeros((count, count)) for group in groups}
    moved = np.zeros(max(count - 1, 0))
    for name, rows in _slices(run, sizes):
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


def _slices(run: RunData, sizes: dict[str, int]) -> Iterator[tuple[str, Float64[np.ndarray, "checkpoint weight"]]]:
    """Slices of the weights of all checkpoints, with the names of their tensors."""
    count = len(run.checkpoints)
    size_limit, batch_limit = (max(numbers // max(count, 1), 1) for numbers in (NUMBERS_AT_ONCE, NUMBERS_READ_AT_ONCE))
    batches: list[list[tuple[str, int, int]]] = [[]]
    left = batch_limit
    for name, size in sizes.items():
        for start in range(0, size, size_limit):
            stop = min(start + size_limit, size)
            if stop - start > left:
                batches.append([])
                left = batch_limit
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


def principal(
    product: Float64[np.ndarray, "checkpoint checkpoint"],
) -> tuple[Float64[np.ndarray, "checkpoint 3"], Float64[np.ndarray, " 3"]]:
    """Positions along the first components and shares of variance explained, from the Gram matrix of centered rows.

    >>> position, explained = principal(np.array([[1.0, -1.0], [-1.0, 1.0]]))
    >>> position[:, 0].round(6), explained.round(6)
    (array([-1.,  1.]), array([1., 0., 0.]))
    """
    count = len(product)
    position, explained = np.zeros((count, COMPONENTS)), np.zeros(COMPONENTS)
    total = np.trace(product)
    if total > 0:
        values, vectors = np.linalg.eigh(product)
        values, vectors = values[::-1][:COMPONENTS].clip(0), vectors[:, ::-1][:, :COMPONENTS]
        along = vectors * np.sqrt(values)
        along *= np.where(along[-1] < 0, -1, 1)
        position[:, : along.shape[1]], explained[: len(values)] = along, values / total
    return position, explained
