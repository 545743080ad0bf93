"""Weights and training states as safetensors bytes of a fixed size.

The epoch in the header is padded with zeros, so that every checkpoint of a run is equally long.
"""

from __future__ import annotations

import numpy as np
from safetensors.numpy import load, save

from tdw.network.segment import Arrays, State

EPOCH_DIGITS = 12


def pack(arrays: Arrays, epoch: int) -> bytes:
    """A safetensors file of these arrays, with the epoch they belong to in its metadata."""
    return save(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}, {"epoch": f"{epoch:0{EPOCH_DIGITS}d}"}
    )


def unpack(blob: bytes | memoryview) -> Arrays:
    """The arrays of a safetensors file, as copies."""
    return load(bytes(blob))


def pack_state(state: State) -> bytes:
    """All that training needs to go on: weights under their names, AdamW's moments under prefixed ones."""
    parts = {"": state.weights, "exp_avg.": state.exp_avg, "exp_avg_sq.": state.exp_avg_sq}
    return pack({prefix + name: array for prefix, part in parts.items() for name, array in part.items()}, state.epoch)


def unpack_state(epoch: int, blob: bytes | memoryview) -> State:
    """The state that `pack_state` wrote."""
    parts: tuple[Arrays, Arrays, Arrays] = ({}, {}, {})
    for name, array in unpack(blob).items():
        if name.startswith("exp_avg."):
            parts[1][name.removeprefix("exp_avg.")] = array
        elif name.startswith("exp_avg_sq."):
            parts[2][name.removeprefix("exp_avg_sq.")] = array
        else:
            parts[0][name] = array
    return State(epoch, *parts)
