"""The shapes of a network's weights, as determined by its settings, and the check of arrays against them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tdw.errors import UnknownNameError

if TYPE_CHECKING:
    from tdw.config import RunConfig


def shapes(config: RunConfig) -> dict[str, tuple[int, ...]]:
    """The shape of each weight, in the order in which initial weights are drawn."""
    return {name: weight.shape for name, weight in config.network_kind.weights(config).items()}


ALL = "all"  # stands for all weights where they are named


def named(names: Iterable[str], config: RunConfig) -> list[str]:
    """The weights that these names stand for, each once, in the order of `shapes`.

    A name is that of a weight (`blocks.0.attn.W_Q`), its last part, which may be that of several (`W_Q` of all layers), or `all`.
    Raises UnknownNameError.
    """
    known, found = shapes(config), set()
    for name in names:
        meant = {full for full in known if name in (ALL, full, full.rpartition(".")[2])}
        if not meant:
            raise UnknownNameError("weight", name, [*dict.fromkeys(full.rpartition(".")[2] for full in known), ALL])
        found |= meant
    return [name for name in known if name in found]


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
