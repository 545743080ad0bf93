"""The weights of the network: their names, which are TransformerLens', and the shapes that settings give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tdw.config import RunConfig


def shapes(config: RunConfig) -> dict[str, tuple[int, ...]]:
    """The shape of each weight, in the order in which TransformerLens draws them."""
    p, d, d_mlp = config.p, config.d_model, config.d_mlp
    if config.network == "one-hot":
        found: dict[str, tuple[int, ...]] = {"mlp.W_in": (2 * p, d_mlp), "mlp.W_out": (d_mlp, config.outputs)}
        return found | ({"mlp.b_in": (d_mlp,), "mlp.b_out": (config.outputs,)} if config.biases == "mlp" else {})
    into_head = (config.heads, d, config.d_head)
    found = {
        "embed.W_E": (p + 1 if config.network == "transformer" else p, d),
        "pos_embed.W_pos": (config.positions, d),
        "blocks.0.attn.W_Q": into_head,
        "blocks.0.attn.W_O": (config.heads, config.d_head, d),
        "blocks.0.attn.W_K": into_head,
        "blocks.0.attn.W_V": into_head,
        "blocks.0.mlp.W_in": (d, d_mlp),
        "blocks.0.mlp.W_out": (d_mlp, d),
        "unembed.W_U": (d, config.outputs),
    }
    return found | ({"blocks.0.mlp.b_in": (d_mlp,), "blocks.0.mlp.b_out": (d,)} if config.biases == "mlp" else {})


def network_of(weights: Mapping[str, Any]) -> str:
    """Which kind of network these weights are of, by their names and shapes."""
    if "mlp.W_in" in weights:
        return "one-hot"
    return "two-token" if weights["pos_embed.W_pos"].shape[0] == 2 else "transformer"


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
