"""Weights and training states as safetensors bytes of a fixed size.

The epoch in the header is padded with zeros, so that every checkpoint of a run is equally long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

Arrays = dict[str, NDArray[Any]]

EPOCH_DIGITS = 12


def pack(arrays: Mapping[str, NDArray[Any]], epoch: int) -> bytes:
    """A safetensors file of these arrays, with the epoch they belong to in its metadata."""
    return save(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}, {"epoch": f"{epoch:0{EPOCH_DIGITS}d}"}
    )


def unpack(blob: bytes | memoryview) -> Arrays:
    """The arrays of a safetensors file, as copies."""
    return load(bytes(blob))


def pack_state(epoch: int, weights: Arrays, exp_avg: Arrays, exp_avg_sq: Arrays) -> bytes:
    """All that training needs to go on: weights under their names, AdamW's moments under prefixed ones."""
    moments = {f"{kind}.{name}": array for kind, part in (("exp_avg", exp_avg), ("exp_avg_sq", exp_avg_sq))
               for name, array in part.items()}  # fmt: skip
    return pack(weights | moments, epoch)


def unpack_state(blob: bytes | memoryview) -> tuple[Arrays, Arrays, Arrays]:
    """Weights and the two moments of `pack_state`."""
    arrays = unpack(blob)

    def part(prefix: str) -> Arrays:
        return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

    weights = {name: array for name, array in arrays.items() if not name.startswith(("exp_avg.", "exp_avg_sq."))}
    return weights, part("exp_avg."), part("exp_avg_sq.")
