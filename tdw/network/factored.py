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

T and the scores (`tables`) are small and left to autograd. Everything with one row per pair is in `Block`, which builds
the sparsity pattern once and whose backward pass is written by hand. `Pairs` are one block, or several of consecutive pairs that
use the same buffers in turn (`Room`), so that a large run takes no more memory than its tables and one block.

Axes.  pair: entries of a set of pairs · h: head · a, b: operand · row: rows of T, 2 * routes * p + 1 · neuron
       width: output classes, padded (`padded`) · column: neuron + width · entry: of a row of S that changes, 2 * heads
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from tdw import tasks
from tdw.network.closed_form import closed_form
from tdw.network.correctness import TIED, is_correct
from tdw.network.kinds import network_of
from tdw.network.openness import LEAST_EXPONENT, OPENNESS, Columns
from tdw.network.reference import Weights
from tdw.network.sparse import csr, product

if TYPE_CHECKING:
    from tdw.config import RunConfig
else:  # tests evaluate the annotations
    RunConfig = Any

# Classes are padded to a multiple of this, because 113 columns run at half the speed of 128.
WIDTH = 64


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

    def like(self) -> Tables:
        """Uninitialized tensors of the same shapes."""
        scores = None if self.scores is None else torch.empty_like(self.scores, memory_format=torch.contiguous_format)
        return Tables(scores, torch.empty_like(self.mixed), torch.empty_like(self.direct))

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


class Room:
    """Buffers for one row per pair of a block, which blocks of any sets of pairs use in turn.

    out:    (pair, neurons + width), pre-activations, then activations; the direct contribution of the residual stream to the
            logits. active: (pair, neurons), the activations: of ReLU in the same memory. logits: (pair, width)
    pull:   the gradient of `out`
    """

    def __init__(self, pairs: int, pulled: int, config: RunConfig, dtype: torch.dtype, device: torch.device):
        """pairs, pulled: of the largest block, and of the largest with a backward pass."""
        neurons, width = config.d_mlp, padded(config.outputs)
        self.out = torch.empty(pairs, neurons + width, dtype=dtype, device=device)
        own = config.activation != "relu"
        self.active = self.out.new_empty(pairs, neurons) if own else self.out[:, :neurons]
        self.logits = self.out.new_empty(pairs, width)
        self.pull = self.out.new_empty(pulled, neurons + width)


class Block:
    """Some of the pairs: their losses, and what they add to the gradients of the tables.

    a, b, answer: (pair,) integers; of: the number of all pairs, over which the loss is the mean
    """

    def __init__(
        self,
        a: Int64[Tensor, " pair"],
        b: Int64[Tensor, " pair"],
        answer: Int64[Tensor, " pair"],
        *,
        of: int,
        config: RunConfig,
        room: Room,
    ):
        pairs, p, dtype = a.shape[0], config.p, room.out.dtype
        self.a, self.b, self.answer, self.of = a, b, answer[:, None], of
        self.loss_dtype = None if config.loss_kind.dtype is None else getattr(torch, config.loss_kind.dtype)
        self.d_mlp, self.activation = config.d_mlp, config.activation
        form = closed_form(config.network_kind)
        self.classes = config.outputs
        # In a row of S, the entries that change with the weights come first, then those that are 1, then that of the base.
        self.heads = config.heads if form.scores != "none" else 0
        routes = form.routes(config)
        self.rows = 2 * routes * p  # of the operands, followed by the row of the base
        columns = self._columns(config, routes)
        entries = columns.shape[1]
        self.values = torch.ones(pairs, entries + 1, dtype=dtype, device=a.device)
        self.pattern = csr(
            torch.arange(pairs + 1, device=a.device) * (entries + 1),
            torch.cat([columns, torch.full((pairs, 1), self.rows, device=a.device)], dim=1).flatten(),
            self.values.view(-1),
            (pairs, self.rows + 1),
        )
        self.openness = OPENNESS[form.scores](self.heads, p, a, b, dtype)
        self.out, self.active, self.logits = room.out[:pairs], room.active[:pairs], room.logits[:pairs]
        self.pre = self.out[:, : self.d_mlp]

    def _columns(self, config: RunConfig, routes: int) -> Columns:
        """The columns of the entries of S but that of the base, in the order of a row."""
        a, b, p, form = self.a, self.b, config.p, closed_form(config.network_kind)
        moving = _columns(a, b, p, self.heads, 0)
        fixed = _columns(a, b, p, routes - self.heads, 2 * self.heads * p)
        always = OPENNESS[form.scores].always(*fixed, rated=config.attention_rate != 1)
        return torch.cat([*moving, *always], dim=1)

    def prepare_backward(self, config: RunConfig, room: Room) -> Block:
        """Build the sparsity patterns of the backward pass. Returns the block."""
        pairs, heads = self.a.shape[0], self.heads
        columns = self._columns(config, closed_form(config.network_kind).routes(config))
        entries = columns.shape[1]
        # The backward pass leaves out the column of ones: in the transpose, it would be one row with an entry for each
        # pair, which occupies a single thread.
        order = torch.argsort(columns.flatten(), stable=True)
        # The positions in `values` of the transpose's values.
        self.order = (order // entries * (entries + 1) + order % entries).to(torch.int32)
        counts = torch.bincount(columns.flatten(), minlength=self.rows)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        self.values_by_column = self.values.new_ones(pairs * entries)
        self.transposed = csr(starts, order // entries, self.values_by_column, (self.rows, pairs))
        starts = torch.arange(pairs + 1, device=self.a.device) * 2 * heads
        empty = self.values.new_zeros(pairs * 2 * heads)
        self.back = csr(starts, columns[:, : 2 * heads].flatten(), empty, (pairs, self.rows))
        self.pull = room.pull[:pairs]
        return self

    def forward(self, at: Tables) -> tuple[Float[Tensor, ""], Float64[Tensor, ""]]:
        """The sum of the cross-entropies, and the number of correct answers. Prepares the buffers for `backward`.

        For a loss with a dtype, as PyTorch computes it there. Otherwise, with m the row's maximum, at class c*, the loss of a pair is (m - L_y) + log1p(sum over c != c* of exp(L_c - m)),
        which keeps its relative precision in float32 no matter how small it gets.
        """
        if at.scores is not None:
            self.openness.attend(at.scores, self.values[:, : 2 * self.heads])
        product(self.pattern, at.mixed, self.out)
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
        return loss.double().sum(), (self.correct.sum() - tied.sum()).double()

    def _forward_in(self, dtype: torch.dtype) -> tuple[Float[Tensor, ""], Float64[Tensor, ""]]:
        """The sum of the cross-entropies by PyTorch's own kernel in this dtype, and the number of correct answers."""
        logits = self.logits[:, : self.classes].to(dtype)
        self.log_shares = torch.log_softmax(logits, dim=1)
        loss = torch.nn.functional.nll_loss(self.log_shares, self.answer[:, 0], reduction="sum")
        return loss, is_correct(logits, self.answer[:, 0]).double().sum()

    def _gradient_in(self, dtype: torch.dtype) -> Tensor:
        """Gradient of that loss, over all pairs, with respect to the logits, padded, in `self.logits`."""
        ahead = torch.zeros_like(self.log_shares).scatter_(1, self.answer, -1 / self.of)
        gradient = torch.ops.aten._log_softmax_backward_data(ahead, self.log_shares, 1, dtype)
        self.logits[:, : self.classes] = gradient
        self.logits[:, self.classes :] = 0
        return self.logits

    def _gradient(self) -> Tensor:
        """Gradient of the mean loss over all pairs with respect to the logits, padded, in `self.logits`."""
        # Softmax minus one-hot. For a correct answer it is -rest / (1 + rest), which avoids cancellation.
        scale = 1 / (1 + self.rest)
        wrong = self.logits.mul_(scale / self.of).scatter_(1, self.top_answer, scale / self.of)
        at_answer = torch.where(self.correct, -self.rest * scale, wrong.gather(1, self.answer) * self.of - 1)
        return wrong.scatter_(1, self.answer, at_answer / self.of)

    def backward(self, at: Tables, into: Tables, *, added: bool) -> None:
        """Gradients of the mean loss with respect to the tables of the last `forward`, written `into` others or `added` to them."""
        neurons = self.d_mlp
        wrong = self._gradient() if self.loss_dtype is None else self._gradient_in(self.loss_dtype)
        torch.addmm(into.direct, self.active.t(), wrong, beta=int(added), out=into.direct)
        torch.mm(wrong, at.direct.t(), out=self.pull[:, :neurons])
        self._pull_through(self.pull[:, :neurons])
        self.pull[:, neurons:] = wrong
        torch.index_select(self.values.view(-1), 0, self.order, out=self.values_by_column)
        product(self.transposed, self.pull, into.mixed[:-1], added=added)
        if added:
            into.mixed[-1] += self.pull.sum(dim=0)
        else:
            torch.sum(self.pull, dim=0, out=into.mixed[-1])
        if at.scores is not None and into.scores is not None:
            found = self._d_scores(at)
            into.scores.add_(found) if added else into.scores.copy_(found)

    def _d_scores(self, at: Tables) -> Tensor:
        torch.sparse.sampled_addmm(self.back, self.pull, at.mixed[:-1].t(), beta=0, out=self.back)
        weights = self.values[:, : 2 * self.heads]
        shared = weights * self.back.values().view(len(weights), 2 * self.heads)
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


class Pairs:
    """A fixed set of pairs, computed in blocks of consecutive ones: mean loss and accuracy, and the gradients of the tables.

    a, b, answer: (pair,) integers. at_once: pairs in a block, 0 for all in one. room: default: of its own, for a backward pass
    """

    def __init__(
        self,
        a: Int64[Tensor, " pair"],
        b: Int64[Tensor, " pair"],
        answer: Int64[Tensor, " pair"],
        *,
        config: RunConfig,
        at_once: int = 0,
        room: Room | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        self.config, self.pairs = config, a.shape[0]
        step = min(at_once, self.pairs) or self.pairs
        self.room = Room(step, step, config, dtype, a.device) if room is None else room
        parts = zip(*(side.split(step) for side in (a, b, answer)), strict=True)
        self.blocks = [Block(*part, of=self.pairs, config=config, room=self.room) for part in parts]
        self.is_prepared = False

    def forward(self, at: Tables) -> Float64[Tensor, " 2"]:
        """Mean cross-entropy and accuracy, (2,) on the device."""
        return self._mean([block.forward(at) for block in self.blocks])

    def forward_and_backward(self, at: Tables) -> tuple[Float64[Tensor, " 2"], Tables]:
        """The same, and the gradients of the mean cross-entropy with respect to the tables.

        Each block goes forward and backward before the next one takes its place.
        """
        if not self.is_prepared:
            self.is_prepared = bool([block.prepare_backward(self.config, self.room) for block in self.blocks])
        into = at.like()
        found = []
        for block in self.blocks:
            found.append(block.forward(at))
            block.backward(at, into, added=len(found) > 1)
        return self._mean(found), into

    def _mean(self, found: list[tuple[Tensor, Tensor]]) -> Float64[Tensor, " 2"]:
        return torch.stack([(torch.stack(sums).sum() / self.pairs).double() for sums in zip(*found, strict=True)])


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
    """Loss, accuracy and gradients of a network in closed form. See `tdw.network.training.Engine`.

    at_once: the number of pairs that are computed at a time; 0 for all
    """

    def __init__(
        self, config: RunConfig, weights: Weights, sides: tuple[tasks.Operands, tasks.Operands], at_once: int = 0
    ):
        self.weights, self.rate = weights, config.attention_rate
        train, test = (min(at_once, len(side[0])) or len(side[0]) for side in sides)
        dtype, device = torch.float32, sides[0][0].device
        room = Room(max(train, test), train, config, dtype, device)
        self.train, self.test = (Pairs(*side, config=config, at_once=at_once, room=room) for side in sides)
        self.tables: Tables | None = None
        self.gradients: Tables | None = None

    def measure_train(self) -> Float64[Tensor, " 2"]:
        """Loss and accuracy of the current weights on the train pairs, (2,) float64. Prepares the other two methods."""
        self.gradients = None  # the memory of the last ones is free before tables and gradients of the next take theirs
        self.tables = tables(self.weights, self.rate)
        measured, self.gradients = self.train.forward_and_backward(self.tables.detached())
        return measured

    def measure_test(self) -> Float64[Tensor, " 2"]:
        """Loss and accuracy on the test pairs, (2,) float64. Call `measure_train` first."""
        assert self.tables is not None, "measure_train comes first"
        return self.test.forward(self.tables.detached())

    def backward(self) -> None:
        """Accumulate the gradients of the train loss of the last `measure_train` into those of the weights."""
        assert self.tables is not None, "measure_train comes first"
        assert self.gradients is not None, "measure_train comes first"
        scalar = _Given.apply(self.gradients.tensors(), *self.tables.tensors())  # type: ignore[no-untyped-call]
        self.tables = self.gradients = None
        scalar.backward()


def _columns(
    a: Int64[Tensor, " pair"], b: Int64[Tensor, " pair"], p: int, routes: int, start: int
) -> tuple[Columns, Columns]:
    """The columns of the entries of a and of b along some routes, (pair, route) each, which begin at `start`."""
    route = torch.arange(routes, device=a.device) * p
    return start + a[:, None] + route, start + routes * p + b[:, None] + route
