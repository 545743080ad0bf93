"""The training engine: the exact network, factored so that nothing is computed more than once.

For the network on three tokens: the answer is only read at `=`, so the query is one constant vector per head, and keys
and values are computed once per token and position instead of once per pair. The attention of head h from `=` is a
softmax over three scores,

    t0[h, a], t1[h, b], 0            relative to the score of '=' itself,

and with 1 - A0 - A1 for the weight of '=', the residual stream before the MLP is

    base + sum over h of  A0[h] (a, b) D0[h, a]  +  A1[h] (a, b) D1[h, b].

The dependence on the pair is therefore sparse: with S the matrix whose row (a, b) holds A0 of each head in column
(0, h, a), A1 in column (1, h, b) and a 1 in the last column, and T the matrix with the rows D0, D1 and base,

    pre = S @ (T @ W_in)        logits = S @ (T @ W_U) + relu(pre) @ (W_out @ W_U).

The other networks have the same form (`tdw.network.closed_form`). On two tokens, the scores depend on the pair, one p x p
table per head, and rows of S have one more entry, a 1 in the column of b itself. For an MLP on one-hot pairs, S is the
one-hot matrix.

T and the scores (`tables`) are small and left to autograd. Everything with one row per pair is in `Pairs`, which builds
the sparsity pattern and allocates its buffers once, and whose backward pass is written by hand.

Axes.  pair: entries of a set of pairs · h: head · a, b: operand · row: rows of T, 2 * routes * p + 1 · neuron
       width: output classes, padded (`padded`) · column: neuron + width · entry: of a row of S that changes, 2 * heads
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from tdw import tasks
from tdw.network.closed_form import closed_form
from tdw.network.correctness import TIED, is_correct
from tdw.network.kinds import network_of
from tdw.network.reference import Weights

if TYPE_CHECKING:
    from tdw.config import RunConfig
else:  # tests evaluate the annotations
    RunConfig = Any

# Exponents are clamped here, exp(-60) = 9e-27: smaller terms vanish when added to 1, and subnormal numbers (below 1e-38)
# make the CPU ten times slower.
LEAST_EXPONENT = -60.0
# Classes are padded to a multiple of this, because 113 columns run at half the speed of 128.
WIDTH = 64


Columns = Int64[Tensor, "pair _"]  # columns of entries of S


@dataclass(frozen=True)
class Tables:
    """The small products of the weights that determine the network.

    scores: (2, p, heads), t0[a, h] and t1[b, h], relative to the score of '='; on two tokens (p, p, heads); None without
            attention
    mixed:  (rows, neurons + width), T @ [W_in, W_U]
    direct: (neurons, width), W_out @ W_U
    """

    scores: Float[Tensor, "_ _ heads"] | None
    mixed: Float[Tensor, "row column"]
    direct: Float[Tensor, "neuron width"]

    def tensors(self) -> list[Tensor]:
        """The tensors that are not None, for autograd."""
        return [self.mixed, self.direct] if self.scores is None else [self.scores, self.mixed, self.direct]

    def detached(self) -> Tables:
        """The same values, detached from autograd."""
        scores = None if self.scores is None else self.scores.detach()
        return Tables(scores, self.mixed.detach(), self.direct.detach())


def padded(classes: int) -> int:
    """Number of columns for this many classes.

    >>> padded(64), padded(113)
    (64, 128)
    """
    return -(-classes // WIDTH) * WIDTH


def tables(weights: Weights, rate: float) -> Tables:
    """The tables of these weights, differentiable. rate: the attention rate."""
    network = network_of(weights)
    classes = weights["unembed.W_U" if "unembed.W_U" in weights else "mlp.W_out"].shape[1]
    return Tables(*closed_form(network).factors(weights, padded(classes), rate))


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
        # Sums over all pairs with the same a (rows 0 .. p-1) or the same b (rows p .. 2p-1), in a fixed order, because
        # `index_add` is not reproducible with several threads.
        pairs = a.shape[0]
        ones = torch.ones(2 * pairs, dtype=dtype, device=a.device)
        both = torch.cat([a, p + b])
        counts = torch.bincount(both, minlength=2 * p)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        self.summing = _csr(starts, torch.argsort(both, stable=True) % pairs, ones, (2 * p, pairs))

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
        summed = _sparse_product(self.summing, shared, shared.new_empty(2 * self.p, 2 * heads))
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


class Pairs:
    """A fixed set of pairs: forward pass with loss and accuracy, and the gradients of the tables.

    a, b, answer: (pair,) integers. Buffers are allocated once and overwritten by every call of `forward`.
    """

    def __init__(
        self,
        a: Int64[Tensor, " pair"],
        b: Int64[Tensor, " pair"],
        answer: Int64[Tensor, " pair"],
        *,
        config: RunConfig,
        dtype: torch.dtype = torch.float32,
    ):
        device, pairs, p = a.device, a.shape[0], config.p
        self.a, self.b, self.answer = a, b, answer[:, None]
        self.loss_dtype = None if config.loss_kind.dtype is None else getattr(torch, config.loss_kind.dtype)
        self.d_mlp, self.activation = config.d_mlp, config.activation
        form = closed_form(config.network_kind)
        self.classes, self.width = config.outputs, padded(config.outputs)
        # In a row of S, the entries that change with the weights come first, then those that are 1, then that of the base.
        self.heads = config.heads if form.scores != "none" else 0
        openness = OPENNESS[form.scores]
        routes = form.routes(config)
        self.rows = 2 * routes * p  # of the operands, followed by the row of the base
        moving = _columns(a, b, p, self.heads, 0)
        fixed = _columns(a, b, p, routes - self.heads, 2 * self.heads * p)
        columns = torch.cat([*moving, *openness.always(*fixed, rated=config.attention_rate != 1)], dim=1)
        entries = columns.shape[1]
        self.values = torch.ones(pairs, entries + 1, dtype=dtype, device=device)
        self.pattern = _csr(
            torch.arange(pairs + 1, device=device) * (entries + 1),
            torch.cat([columns, torch.full((pairs, 1), self.rows, device=device)], dim=1).flatten(),
            self.values.view(-1),
            (pairs, self.rows + 1),
        )
        # The backward pass leaves out the column of ones: in the transpose, it would be one row with an entry for each
        # pair, which occupies a single thread.
        self.columns = columns[:, : 2 * self.heads].flatten()
        order = torch.argsort(columns.flatten(), stable=True)
        # The positions in `values` of the transpose's values.
        self.order = order // entries * (entries + 1) + order % entries
        counts = torch.bincount(columns.flatten(), minlength=self.rows)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        self.values_by_column = torch.ones(pairs * entries, dtype=dtype, device=device)
        self.transposed = _csr(starts, order // entries, self.values_by_column, (self.rows, pairs))
        self.openness = openness(self.heads, p, a, b, dtype)

        # [pre-activations, then activations; the direct contribution of the residual stream to the logits]
        self.out = torch.empty(pairs, self.d_mlp + self.width, dtype=dtype, device=device)
        self.pre = self.out[:, : self.d_mlp]
        self.active = self.pre if self.activation == "relu" else torch.empty_like(self.pre)
        self.logits = torch.empty(pairs, self.width, dtype=dtype, device=device)
        self.pull: Tensor | None = None  # gradient of `out`, allocated for training pairs only
        self.back: Tensor | None = None

    def forward(self, at: Tables) -> tuple[Float64[Tensor, ""], Float64[Tensor, ""]]:
        """Mean cross-entropy and accuracy, float64 scalars on the device. Prepares the buffers for `backward`.

        For a loss with a dtype, as PyTorch computes it there. Otherwise, with m the row's maximum, at class c*, the loss of a pair is (m - L_y) + log1p(sum over c != c* of exp(L_c - m)),
        which keeps its relative precision in float32 no matter how small it gets.
        """
        self.used = at
        if at.scores is not None:
            self.openness.attend(at.scores, self.values[:, : 2 * self.heads])
        _sparse_product(self.pattern, at.mixed, self.out)
        self._activate()
        torch.addmm(self.out[:, self.d_mlp :], self.active, at.direct, out=self.logits)
        if self.loss_dtype is not None:
            return self._forward_in(self.loss_dtype)
        top, self.top_answer = self.logits[:, : self.classes].max(dim=1, keepdim=True)
        missed = top - self.logits.gather(1, self.answer)
        # From here on `logits` holds exp(L_c - m), with 0 for the top class and the padding.
        self.logits.sub_(top).clamp_min_(LEAST_EXPONENT).exp_().scatter_(1, self.top_answer, 0)
        self.logits[:, self.classes :] = 0
        self.rest = self.logits.sum(dim=1, keepdim=True)
        loss = missed + torch.log1p(self.rest)
        self.correct = self.top_answer == self.answer
        # Only where all others together are as large as the answer, one of them can be tied with it.
        least = torch.exp(-2 * TIED * top.abs())
        near = (self.correct & (self.rest >= least)).nonzero()[:, 0]
        near = near[self.logits[near].amax(dim=1) >= least[near, 0]]
        logits = torch.addmm(self.out[near, self.d_mlp :], self.active[near], at.direct)[:, : self.classes]
        tied = ~is_correct(logits, self.answer[near, 0])
        return loss.double().mean(), (self.correct.sum() - tied.sum()).double() / len(loss)

    def _forward_in(self, dtype: torch.dtype) -> tuple[Float64[Tensor, ""], Float64[Tensor, ""]]:
        """Mean cross-entropy by PyTorch's own kernel in this dtype, and accuracy."""
        logits = self.logits[:, : self.classes].to(dtype)
        self.log_shares = torch.log_softmax(logits, dim=1)
        loss = torch.nn.functional.nll_loss(self.log_shares, self.answer[:, 0])
        return loss.double(), is_correct(logits, self.answer[:, 0]).double().mean()

    def _gradient_in(self, dtype: torch.dtype) -> Tensor:
        """Gradient of that loss with respect to the logits, padded, in `self.logits`."""
        pairs = self.a.shape[0]
        ahead = torch.zeros_like(self.log_shares).scatter_(1, self.answer, -1 / pairs)
        gradient = torch.ops.aten._log_softmax_backward_data(ahead, self.log_shares, 1, dtype)
        self.logits[:, : self.classes] = gradient
        self.logits[:, self.classes :] = 0
        return self.logits

    def _gradient(self) -> Tensor:
        """Gradient of the mean loss with respect to the logits, padded, in `self.logits`."""
        pairs = self.a.shape[0]
        # Softmax minus one-hot. For a correct answer it is -rest / (1 + rest), which avoids cancellation.
        scale = 1 / (1 + self.rest)
        wrong = self.logits.mul_(scale / pairs).scatter_(1, self.top_answer, scale / pairs)
        at_answer = torch.where(self.correct, -self.rest * scale, wrong.gather(1, self.answer) * pairs - 1)
        return wrong.scatter_(1, self.answer, at_answer / pairs)

    def backward(self) -> list[Tensor]:
        """Gradients of the mean loss of the last `forward` with respect to `Tables.tensors()`."""
        neurons = self.d_mlp
        if self.pull is None:
            self.pull = torch.empty_like(self.out)
            self.push = self.logits.new_empty(self.rows + 1, self.out.shape[1])
        wrong = self._gradient() if self.loss_dtype is None else self._gradient_in(self.loss_dtype)
        d_direct = self.active.t() @ wrong
        torch.mm(wrong, self.used.direct.t(), out=self.pull[:, :neurons])
        self._pull_through(self.pull[:, :neurons])
        self.pull[:, neurons:] = wrong
        torch.index_select(self.values.view(-1), 0, self.order, out=self.values_by_column)
        _sparse_product(self.transposed, self.pull, self.push[:-1])
        torch.sum(self.pull, dim=0, out=self.push[-1])
        return [self.push, d_direct] if self.used.scores is None else [self._d_scores(), self.push, d_direct]

    def _d_scores(self) -> Tensor:
        pairs, heads = self.a.shape[0], self.heads
        if self.back is None:
            starts = torch.arange(pairs + 1, device=self.a.device) * 2 * heads
            empty = self.values.new_zeros(pairs * 2 * heads)
            self.back = _csr(starts, self.columns, empty, (pairs, self.rows))
        torch.sparse.sampled_addmm(self.back, self.pull, self.used.mixed[:-1].t(), beta=0, out=self.back)
        weights = self.values[:, : 2 * heads]
        shared = weights * self.back.values().view(pairs, 2 * heads)
        return self.openness.gradient(weights, shared)

    def _activate(self) -> None:
        if self.activation == "relu":
            self.active.clamp_min_(0)
        elif self.activation == "quadratic":
            torch.square(self.pre, out=self.active)
        else:
            torch.ops.aten.gelu.out(self.pre, out=self.active)

    def _pull_through(self, pulled: Tensor) -> None:
        """Backpropagate through the activation function, in place."""
        if self.activation == "relu":
            torch.ops.aten.threshold_backward.grad_input(pulled, self.active, 0, grad_input=pulled)
        elif self.activation == "quadratic":
            pulled.mul_(self.pre).mul_(2)
        else:
            torch.ops.aten.gelu_backward.grad_input(pulled, self.pre, grad_input=pulled)


class _Given(torch.autograd.Function):
    """A scalar with given gradients with respect to tensors.

    `torch.autograd.backward` also accepts gradients, but loads PyTorch's symbolic shapes to check them (0.3 s).
    """

    @staticmethod
    def forward(ctx: Any, gradients: list[Tensor], *tensors: Tensor) -> Tensor:
        """0. Keeps the gradients for `backward`."""
        ctx.gradients = gradients
        return tensors[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        """The given gradients."""
        return (None, *ctx.gradients)


class FactoredEngine:
    """Loss, accuracy and gradients of a network in closed form. See `tdw.network.training.Engine`."""

    def __init__(self, config: RunConfig, weights: Weights, sides: tuple[tasks.Operands, tasks.Operands]):
        self.weights, self.rate = weights, config.attention_rate
        self.train, self.test = (Pairs(*side, config=config) for side in sides)
        self.tables: Tables | None = None

    def measure_train(self) -> Float64[Tensor, " 2"]:
        """Loss and accuracy of the current weights on the train pairs, (2,) float64. Prepares the other two methods."""
        self.tables = tables(self.weights, self.rate)
        return torch.stack(self.train.forward(self.tables.detached()))

    def measure_test(self) -> Float64[Tensor, " 2"]:
        """Loss and accuracy on the test pairs, (2,) float64. Call `measure_train` first."""
        assert self.tables is not None, "measure_train comes first"
        return torch.stack(self.test.forward(self.tables.detached()))

    def backward(self) -> None:
        """Accumulate the gradients of the train loss of the last `measure_train` into those of the weights."""
        assert self.tables is not None, "measure_train comes first"
        scalar = _Given.apply(self.train.backward(), *self.tables.tensors())  # type: ignore[no-untyped-call]
        scalar.backward()


def _columns(
    a: Int64[Tensor, " pair"], b: Int64[Tensor, " pair"], p: int, routes: int, start: int
) -> tuple[Columns, Columns]:
    """The columns of the entries of a and of b along some routes, (pair, route) each, which begin at `start`."""
    route = torch.arange(routes, device=a.device) * p
    return start + a[:, None] + route, start + routes * p + b[:, None] + route


def _sparse_product(
    matrix: Tensor, dense: Float[Tensor, "inner column"], out: Float[Tensor, "outer column"]
) -> Float[Tensor, "outer column"]:
    """matrix @ dense, written to `out`. PyTorch builds without MKL (Apple silicon) need a different kernel."""
    if out.is_cuda or torch.backends.mkl.is_available():
        return torch.addmm(out, matrix, dense, beta=0, out=out)
    return out.copy_(torch.sparse.mm(matrix, dense, "sum"))


def _csr(starts: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """A CSR matrix that shares memory with `values`, with the 32-bit indices that MKL uses."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(
            starts.to(torch.int32), columns.to(torch.int32), values, size, check_invariants=True
        )
