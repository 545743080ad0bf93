"""The shapes of a network's weights, as determined by its settings, and the check of arrays against them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tdw.config import RunConfig


def shapes(config: RunConfig) -> dict[str, tuple[int, ...]]:
    """The shape of each weight, in the order in which initial weights are drawn."""
    return {name: weight.shape for name, weight in config.network_kind.weights(config).items()}


def mismatch(arrays: Mapping[str, Any], config: RunConfig) -> str | None:
    """How arrays differ from the weights of these settings, in words; None if names, shapes and types match."""
    expected = shapes(config)
    for name in sorted(set(expected) | set(arrays)):
        if name not in arrays:
            return f"{name} is missing"
        if name not in expected:
            return f"{name[:80]!r} is not a weight of this network"
        array = arrays[name]
        if tuple(array.shape) != expected[name] or str(array.dtype) != "float32":
            return (
                f"{name} is {array.dtype} {tuple(array.shape)}, but must be float32 {expected[name]} with its settings"
            )
    return None
