"""Numbers that many runs share and that take long to compute: kept in memory, and in the user's private folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from tdw import state_dir
from tdw.errors import AppError

DIGEST = 32  # bytes of the checksum at the start of a file
LARGEST = 64 << 20  # largest file, in bytes
IN_MEMORY = 64  # tables

Table = Float64[np.ndarray, "row column"]
_memory: dict[tuple[str, str], Table] = {}


def cached(
    folder: str,
    key: object,
    columns: int,
    compute: Callable[[], Table],
    is_enough: Callable[[Table], bool] = lambda _: True,
) -> Table:
    """A table with this many columns: the one kept under `key`, any JSON value, or else the result of `compute`.

    is_enough: whether a table that is kept will do
    Without a private folder, or with a damaged file in it, the numbers are computed once more by each process.
    """
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    held = _memory.pop((folder, name), None)
    if held is None or not is_enough(held):
        held = _stored(folder, name, columns, compute, is_enough)
    if len(_memory) >= IN_MEMORY:
        del _memory[next(iter(_memory))]
    _memory[folder, name] = held
    return held


def forget() -> None:
    """Forget what is in memory; files stay."""
    _memory.clear()


def _stored(
    folder: str, name: str, columns: int, compute: Callable[[], Table], is_enough: Callable[[Table], bool]
) -> Table:
    try:
        place: Path | None = state_dir.private_folder(state_dir.state_folder() / folder) / f"{name}.band"
    except AppError:  # the user has no private folder
        place = None
    if place is not None:
        with contextlib.suppress(OSError, ValueError):
            content = state_dir.read_private(place, LARGEST)
            if content[:DIGEST] == hashlib.sha256(content[DIGEST:]).digest():
                stored = np.frombuffer(content[DIGEST:], "<f8").reshape(-1, columns)
                if is_enough(stored):
                    return stored
    values = compute()
    if place is not None:
        with contextlib.suppress(OSError):  # the next process computes them again
            data = values.astype("<f8").tobytes()
            state_dir.write_private(place, hashlib.sha256(data).digest() + data, durable=False)
    return values
