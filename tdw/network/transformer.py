"""The one-layer transformer on the tokens `a b =` in closed form, with the scores of a and b relative to that of '='."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from tdw.network.closed_form import Parts, ResidualForm
from tdw.network.computation import Weights

if TYPE_CHECKING:
    from tdw.config import RunConfig
else:  # tests evaluate the annotations
    RunConfig = Any


class TransformerForm(ResidualForm):
    """Closed form of the network on three tokens."""

    scores = "tokens"

    def routes(self, config: RunConfig) -> int:
        """The number of heads."""
        return config.heads

    def score_shape(self, config: RunConfig) -> tuple[int, ...]:
        """(side, h, operand)."""
        return (2, config.heads, config.p)

    def parts(self, weights: Mapping[str, Any], into: Any = None, xp: ModuleType = np) -> Parts:
        """See `ClosedForm`."""
        embed, position = weights["embed.W_E"], weights["pos_embed.W_pos"]
        query, key, value, output = (weights[f"blocks.0.attn.W_{name}"] for name in "QKVO")
        d_head = query.shape[2]
        spread = output if into is None else output @ into  # (h, d_head, width)
        p = embed.shape[0] - 1
        equals = embed[p] + position[2]
        shifted = xp.stack([embed[:p] + position[0], embed[:p] + position[1]]) - equals
        direction = (key @ (equals @ query)[:, :, None])[:, :, 0] / d_head**0.5  # (h, d)
        scores = shifted @ direction.T
        moved = (shifted[:, None] @ value) @ spread
        base = ((equals @ value)[:, None, :] @ spread).sum((0, 1)) + (equals if into is None else equals @ into)
        return Parts(scores, moved, base)

    def attention_scores(self, weights: Weights) -> Float[np.ndarray, "side h operand"]:
        """t0 and t1, (side, h, operand)."""
        return np.ascontiguousarray(self.parts(weights).scores.transpose(0, 2, 1))

    def patterns(self, weights: Weights) -> tuple[Float[np.ndarray, "r a b"], Float[np.ndarray, "r a b"]]:
        """See `ClosedForm`."""
        return attention_pattern(self.attention_scores(weights))

    def attention(self, weights: Weights) -> Float[np.ndarray, "token head a b"]:
        """Attention from '=' to a, b and itself, (token, head, a, b)."""
        to_a, to_b = self.patterns(weights)
        return np.stack([to_a, to_b, 1 - to_a - to_b])


def attention_pattern(
    scores: Float[np.ndarray, "side h operand"],
) -> tuple[Float[np.ndarray, "h a b"], Float[np.ndarray, "h a b"]]:
    """A0 and A1 of the heads, (h, a, b) each, from scores (side, h, operand)."""
    to_a, to_b = scores[0][:, :, None], scores[1][:, None, :]
    top = np.maximum(np.maximum(to_a, to_b), 0)
    exp_a, exp_b = np.exp(to_a - top), np.exp(to_b - top)
    total = exp_a + exp_b + np.exp(-top)
    return exp_a / total, exp_b / total


COMPUTATION = TransformerForm()
