"""The one-layer transformer on the tokens `a b =` in closed form, with the scores of a and b relative to that of '='."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from tdw.network.closed_form import Parts, ResidualForm, rated
from tdw.network.computation import Weights
from tdw.network.kinds import Nonlinearity

if TYPE_CHECKING:
    from tdw.config import RunConfig
else:  # tests evaluate the annotations
    RunConfig = Any


class TransformerForm(ResidualForm):
    """Closed form of the network on three tokens."""

    scores = "tokens"

    def routes(self, config: RunConfig) -> int:
        """The number of heads, plus one for what an attention rate below 1 adds to every head's attention."""
        return config.heads + (config.attention_rate != 1)

    def score_shape(self, config: RunConfig) -> tuple[int, ...]:
        """(side, h, operand)."""
        return (2, config.heads, config.p)

    def parts(self, weights: Mapping[str, Any], rate: float, into: Any = None, xp: ModuleType = np) -> Parts:
        """See `ClosedForm`.

        With the attention rate c, the attention of '=' to itself is 3 - 2 c minus that to a and b, and that to a or b is
        c times the softmax, plus 1 - c.
        """
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
        attended = ((equals @ value)[:, None, :] @ spread).sum((0, 1))
        if rate != 1:
            attended = (3 - 2 * rate) * attended
            moved = xp.concatenate([rate * moved, (1 - rate) * moved.sum(1)[:, None]], 1)
        return Parts(scores, moved, attended + (equals if into is None else equals @ into))

    def attention_scores(self, weights: Weights) -> Float[np.ndarray, "side h operand"]:
        """t0 and t1, (side, h, operand)."""
        return np.ascontiguousarray(self.parts(weights, 1.0).scores.transpose(0, 2, 1))

    def patterns(self, weights: Weights, rate: float) -> tuple[Float[np.ndarray, "r a b"], Float[np.ndarray, "r a b"]]:
        """See `ClosedForm`."""
        to_a, to_b = attention_pattern(self.attention_scores(weights))
        if rate == 1:
            return to_a, to_b
        always = np.ones_like(to_a[:1])
        return np.concatenate([to_a, always]), np.concatenate([to_b, always])

    def attention(self, weights: Weights, nonlinearity: Nonlinearity) -> Float[np.ndarray, "token head a b"]:
        """Attention from '=' to a, b and itself, (token, head, a, b)."""
        to_a, to_b = self.patterns(weights, 1.0)
        return rated(np.stack([to_a, to_b, 1 - to_a - to_b]), nonlinearity.attention_rate)


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
