"""The entries of the factored engine's sparse matrix that change with the weights: see `tdw.network.factored`.

Axes.  pair: entries of a set of pairs · h: head · a, b: operand · entry: of a row of S that changes, 2 * heads
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tdw.network.sparse import csr, product

# Exponents are clamped here, exp(-60) = 9e-27: smaller terms vanish when added to 1, and subnormal numbers (below 1e-38)
# make the CPU ten times slower.
LEAST_EXPONENT = -60.0

Columns = Int64[Tensor, "pair _"]  # columns of entries of S


class Openness(ABC):
    """The route weights A0 and A1: the entries of S that change with the parameters, and their gradient."""

    def __init__(self, heads: int, p: int, a: Int64[Tensor, " pair"], b: Int64[Tensor, " pair"]):
        self.heads, self.p, self.a, self.b = heads, p, a, b

    @staticmethod
    def always(of_a: Columns, of_b: Columns, *, rated: bool) -> list[Columns]:  # noqa: ARG004 - the interface of all kinds
        """Those of the columns along the routes without scores whose entries are 1: (pair, route) each. Others are left out.

        rated: whether the attention rate is below 1
        """
        return [of_a, of_b]

    @abstractmethod
    def attend(self, scores: Float[Tensor, "_ _ heads"], values: Float[Tensor, "pair entry"]) -> None:
        """Compute the entries from the scores into `values`, (pair, 2 * heads): those for a, then those for b; a view of S."""

    @abstractmethod
    def gradient(
        self, weights: Float[Tensor, "pair entry"], shared: Float[Tensor, "pair entry"]
    ) -> Float[Tensor, "_ _ heads"]:
        """Gradient of the scores, of their shape, from the entries and the entries times their gradients.

        weights, shared: (pair, 2 * heads) each
        """


class OfTokens(Openness):
    """A softmax over the scores of a, of b, and of '=' (which is 0)."""

    def __init__(self, heads: int, p: int, a: Int64[Tensor, " pair"], b: Int64[Tensor, " pair"], dtype: torch.dtype):
        super().__init__(heads, p, a, b)
        self.dtype = dtype

    @cached_property
    def summing(self) -> Tensor:
        """Sums over all pairs with the same a (rows 0 .. p-1) or the same b (rows p .. 2p-1), in a fixed order.

        `index_add` is not reproducible with several threads.
        """
        pairs, p = self.a.shape[0], self.p
        ones = torch.ones(2 * pairs, dtype=self.dtype, device=self.a.device)
        both = torch.cat([self.a, p + self.b])
        counts = torch.bincount(both, minlength=2 * p)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return csr(starts, torch.argsort(both, stable=True) % pairs, ones, (2 * p, pairs))

    def attend(self, scores: Float[Tensor, "_ _ heads"], values: Float[Tensor, "pair entry"]) -> None:
        """See `Openness`."""
        to_a = scores[0].index_select(0, self.a)
        to_b = scores[1].index_select(0, self.b)
        top = torch.maximum(to_a, to_b).clamp_min_(0)
        to_a.sub_(top).clamp_min_(LEAST_EXPONENT).exp_()
        to_b.sub_(top).clamp_min_(LEAST_EXPONENT).exp_()
        total = top.neg_().clamp_min_(LEAST_EXPONENT).exp_().add_(to_a).add_(to_b)
        torch.div(to_a, total, out=values[:, : self.heads])
        torch.div(to_b, total, out=values[:, self.heads :])

    def gradient(
        self, weights: Float[Tensor, "pair entry"], shared: Float[Tensor, "pair entry"]
    ) -> Float[Tensor, "_ _ heads"]:
        """Gradient of t0 and t1, (2, p, heads). Overwrites `shared`."""
        heads = self.heads
        shared -= weights * (shared[:, :heads] + shared[:, heads:]).repeat(1, 2)
        summed = product(self.summing, shared, shared.new_empty(2 * self.p, 2 * heads))
        return torch.stack([summed[: self.p, :heads], summed[self.p :, heads:]])


class OfPairs(Openness):
    """A sigmoid of the score of a relative to that of b. b also contributes along the residual stream."""

    def __init__(self, heads: int, p: int, a: Int64[Tensor, " pair"], b: Int64[Tensor, " pair"], dtype: torch.dtype):  # noqa: ARG002 - the interface of all kinds
        super().__init__(heads, p, a, b)

    @staticmethod
    def always(of_a: Columns, of_b: Columns, *, rated: bool) -> list[Columns]:
        """The column of b's residual stream, and with an attention rate that of a."""
        return [of_a, of_b] if rated else [of_b]

    def attend(self, scores: Float[Tensor, "_ _ heads"], values: Float[Tensor, "pair entry"]) -> None:
        """See `Openness`."""
        above = scores.view(-1, self.heads).index_select(0, self.a * self.p + self.b)
        torch.sigmoid(above.clamp_(LEAST_EXPONENT, -LEAST_EXPONENT), out=values[:, : self.heads])
        torch.sub(1, values[:, : self.heads], out=values[:, self.heads :])

    def gradient(
        self, weights: Float[Tensor, "pair entry"], shared: Float[Tensor, "pair entry"]
    ) -> Float[Tensor, "_ _ heads"]:
        """Gradient of t, (a, b, heads). The entries of a and b sum to 1, so their derivatives are opposite."""
        heads, p = self.heads, self.p
        scores = shared.new_zeros(p * p, heads)
        gained = weights[:, heads:] * shared[:, :heads] - weights[:, :heads] * shared[:, heads:]
        return scores.index_copy_(0, self.a * p + self.b, gained).view(p, p, heads)


class AlwaysOpen(OfPairs):
    """One route of constant weight 1, without scores."""

    @staticmethod
    def always(of_a: Columns, of_b: Columns, *, rated: bool) -> list[Columns]:  # noqa: ARG004 - the interface of all kinds
        """The columns of both operands."""
        return [of_a, of_b]


OPENNESS: dict[str, type[OfTokens] | type[OfPairs]] = {"tokens": OfTokens, "pairs": OfPairs, "none": AlwaysOpen}
