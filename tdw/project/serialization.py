"""Weights and training states as safetensors bytes of a fixed size.

The epoch in the header is padded with zeros, so that every checkpoint of a run has the same size. In a state, the arrays
of an optimizer's slot have the slot's name and a point before that of the weight. The metadata names the slots; states
without it are AdamW's, whose two slots all states of formats 1.0 and 1.1 have.
"""

from __future__ import annotations

import json

import numpy as np
from safetensors.numpy import load, save

from tdw.network.segment import Arrays, State

EPOCH_DIGITS = 12
UNNAMED_SLOTS = ("exp_avg", "exp_avg_sq")  # of a state that does not name its slots


def pack(arrays: Arrays, epoch: int, slots: tuple[str, ...] = UNNAMED_SLOTS) -> bytes:
    """A safetensors file of these arrays, with the epoch they belong to in its metadata."""
    metadata = {"epoch": f"{epoch:0{EPOCH_DIGITS}d}"}
    if slots != UNNAMED_SLOTS:
        metadata["slots"] = json.dumps(slots)
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata)


def nbytes(arrays: Arrays) -> int:
    """Size of the safetensors file of these arrays."""
    return len(pack(arrays, 0))


def unpack(blob: bytes | memoryview) -> Arrays:
    """The arrays of a safetensors file, as copies."""
    return load(bytes(blob))


def pack_state(state: State) -> bytes:
    """All that training needs to continue: weights under their names, the optimizer's slots under prefixed ones."""
    arrays = dict(state.weights)
    for slot, part in state.slots.items():
        arrays |= {f"{slot}.{name}": array for name, array in part.items()}
    return pack(arrays, state.epoch, tuple(state.slots))


def unpack_state(epoch: int, blob: bytes | memoryview) -> State:
    """The state that `pack_state` wrote."""
    blob = bytes(blob)
    slots = _slots(blob)
    weights: Arrays = {}
    parts: dict[str, Arrays] = {slot: {} for slot in slots}
    for name, array in unpack(blob).items():
        slot = next((slot for slot in slots if name.startswith(f"{slot}.")), None)
        if slot is None:
            weights[name] = array
        else:
            parts[slot][name.removeprefix(f"{slot}.")] = array
    return State(epoch, weights, parts)


def _slots(blob: bytes) -> tuple[str, ...]:
    """The slots that a state's metadata names. safetensors does not read the metadata of bytes: its header is JSON."""
    size = int.from_bytes(blob[:8], "little")
    try:
        named = json.loads(blob[8 : 8 + size]).get("__metadata__", {}).get("slots")
        return UNNAMED_SLOTS if named is None else tuple(map(str, json.loads(named)))
    except (ValueError, TypeError, AttributeError):
        return ()  # `Project.resume_state` compares the slots with those of the optimizer
