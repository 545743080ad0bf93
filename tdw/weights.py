"""The weights of the network: their names, which are TransformerLens', and the shapes that settings give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tdw.config import RunConfig

POSITIONS = 3


def shapes(config: RunConfig) -> dict[str, tuple[int, ...]]:
    """The shape of each weight, in the order in which TransformerLens draws them."""
    p, d, heads, d_head, d_mlp = config.p, config.d_model, config.heads, config.d_head, config.d_mlp
    return {
        "embed.W_E": (p + 1, d),
        "pos_embed.W_pos": (POSITIONS, d),
        "blocks.0.attn.W_Q": (heads, d, d_head),
        "blocks.0.attn.W_O": (heads, d_head, d),
        "blocks.0.attn.W_K": (heads, d, d_head),
        "blocks.0.attn.W_V": (heads, d, d_head),
        "blocks.0.mlp.W_in": (d, d_mlp),
        "blocks.0.mlp.W_out": (d_mlp, d),
        "unembed.W_U": (d, p),
    }


def mismatch(arrays: Mapping[str, Any], config: RunConfig) -> str | None:
    """How arrays differ from the weights of these settings, in words; None where names and shapes are the same."""
    wanted = shapes(config)
    for name in sorted(set(wanted) | set(arrays)):
        if name not in arrays:
            return f"{name} is missing"
        if name not in wanted:
            return f"{name[:80]!r} is none of this network's weights"
        found = arrays[name]
        if tuple(found.shape) != wanted[name] or str(found.dtype) != "float32":
            return f"{name} is {found.dtype} {tuple(found.shape)}, and its settings make it float32 {wanted[name]}"
    return None
