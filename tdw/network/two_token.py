"""The one-layer transformer on the tokens `a b` in closed form: the query is b, which also has its residual stream."""

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


class TwoTokenForm(ResidualForm):
    """Closed form of the network on two tokens."""

    scores = "pairs"

    def routes(self, config: RunConfig) -> int:
        """The number of heads, plus one for the residual stream of b."""
        return config.heads + 1

    def score_shape(self, config: RunConfig) -> tuple[int, ...]:
        """(h, a, b)."""
        return (config.heads, config.p, config.p)

    def parts(self, weights: Mapping[str, Any], rate: float, into: Any = None, xp: ModuleType = np) -> Parts:
        """See `ClosedForm`."""
        embed, position = weights["embed.W_E"], weights["pos_embed.W_pos"]
        query, key, value, output = (weights[f"blocks.0.attn.W_{name}"] for name in "QKVO")
        d_head = query.shape[2]
        spread = output if into is None else output @ into  # (h, d_head, width)
        sides = xp.stack([embed + position[0], embed + position[1]])
        keys = sides[:, None] @ key  # (side, h, operand, d_head)
        queries = sides[1] @ query  # (h, b, d_head)
        to_b = (queries * keys[1]).sum(-1)  # (h, b)
        scores = (keys[0] @ queries.swapaxes(-1, -2) - to_b[:, None]) / d_head**0.5  # (h, a, b)
        itself = sides[1] if into is None else sides[1] @ into
        last = xp.stack([itself * 0, itself])[:, None]
        moved = (sides[:, None] @ value) @ spread
        if rate != 1:  # what the rate adds to every head's attention takes the route that is always open
            last = last + (1 - rate) * moved.sum(1)[:, None]
            moved = rate * moved
        moved = xp.concatenate([moved, last], 1)
        return Parts(xp.moveaxis(scores, 0, -1), moved, itself[0] * 0)

    def attention_scores(self, weights: Weights) -> Float[np.ndarray, "h a b"]:
        """t, the score of a relative to that of b, (h, a, b)."""
        return np.ascontiguousarray(self.parts(weights, 1.0).scores.transpose(2, 0, 1))

    def patterns(self, weights: Weights, rate: float) -> tuple[Float[np.ndarray, "r a b"], Float[np.ndarray, "r a b"]]:  # noqa: ARG002 - the interface of all kinds
        """See `ClosedForm`."""
        scores = self.attention_scores(weights)
        with np.errstate(over="ignore"):  # for a very negative score, exp(-t) is infinite and the weight 0
            to_a = 1 / (1 + np.exp(-scores))
        always = np.ones((1, *scores.shape[1:]), scores.dtype)
        return np.concatenate([to_a, always]), np.concatenate([1 - to_a, always])

    def attention(self, weights: Weights, nonlinearity: Nonlinearity) -> Float[np.ndarray, "token head a b"]:
        """Attention from b to a and to itself, (token, head, a, b)."""
        to_a, to_b = (side[:-1] for side in self.patterns(weights, 1.0))
        return rated(np.stack([to_a, to_b]), nonlinearity.attention_rate)


COMPUTATION = TwoTokenForm()
