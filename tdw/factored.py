"""The same network, exactly, without the waste: what trains.

Only the answer at `=` counts, so the query is one constant vector per head, and keys and values exist once per token
and position, not once per pair. The attention of head h from `=` is a softmax over three scores,

    t0[h, a], t1[h, b], 0            relative to the score of '=' itself,

and with the weight of '=' written as 1 - A0 - A1, the residual stream before the MLP is

    base + sum over h of  A0[h] (a, b) D0[h, a]  +  A1[h] (a, b) D1[h, b].

Everything a pair contributes is therefore sparse: with S the matrix whose row (a, b) holds A0 of each head in column
(0, h, a), A1 in column (1, h, b) and a 1 in the last column, and T the rows D0, D1 and base,

    pre = S @ (T @ W_in)        logits = S @ (T @ W_U) + relu(pre) @ (W_out @ W_U).

T and the scores (`tables`) are small and left to autograd. What has one row per pair is in `Pairs`, whose sparsity
pattern is built once, whose buffers are allocated once, and whose backward pass is written out.

Axes.  pair · h: head · a, b: operand · row: 2 * heads * p + 1 rows of T · neuron · answer: p, padded to `width`
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from tdw.closed_form import token_parts
from tdw.model import Weights

# Exponentials stop here, exp(-60) = 9e-27: what is smaller counts for nothing beside a 1, and numbers below 1e-38 make the
# processor ten times slower.
LEAST_EXPONENT = -60.0
# Answers are padded to a multiple of this: 113 columns run at half the speed of 128.
WIDTH = 64


@dataclass(frozen=True)
class Tables:
    """The small products of the weights that hold all the network knows.

    scores: (2, p, heads), t0[a, h] and t1[b, h], relative to the score of '='
    mixed:  (rows, neurons + width), T @ [W_in, W_U]
    direct: (neurons, width), W_out @ W_U
    """

    scores: Tensor
    mixed: Tensor
    direct: Tensor

    def tensors(self) -> list[Tensor]:
        """The three tensors, for autograd."""
        return [self.scores, self.mixed, self.direct]


def padded(p: int) -> int:
    """Columns used for p answers."""
    return -(-p // WIDTH) * WIDTH


def tables(weights: Weights) -> Tables:
    """The tables of these weights, differentiable."""
    w_in, w_out, w_u = weights["blocks.0.mlp.W_in"], weights["blocks.0.mlp.W_out"], weights["unembed.W_U"]
    unembed = torch.nn.functional.pad(w_u, (0, padded(w_u.shape[1]) - w_u.shape[1]))
    scores, moved, base = token_parts(weights, torch.cat([w_in, unembed], dim=1), torch)
    return Tables(scores, torch.cat([moved.reshape(-1, base.shape[0]), base[None]]), w_out @ unembed)


class Pairs:
    """A fixed set of pairs: forward with loss and accuracy, and the gradients of the tables.

    a, b, answer: (pairs,) whole numbers. Buffers are allocated here and overwritten by every call of `forward`.
    """

    def __init__(self, a: Tensor, b: Tensor, answer: Tensor, *, p: int, heads: int, d_mlp: int, dtype: torch.dtype):
        device, pairs = a.device, a.shape[0]
        self.a, self.b, self.answer = a, b, answer[:, None]
        self.p, self.heads, self.d_mlp, self.width = p, heads, d_mlp, padded(p)
        self.rows = 2 * heads * p  # of the operands; the row of the base comes after them
        entries = 2 * heads

        head = torch.arange(heads, device=device) * p
        columns = torch.cat([a[:, None] + head, heads * p + b[:, None] + head], dim=1)
        self.values = torch.ones(pairs, entries + 1, dtype=dtype, device=device)
        self.pattern = _csr(
            torch.arange(pairs + 1, device=device) * (entries + 1),
            torch.cat([columns, torch.full((pairs, 1), self.rows, device=device)], dim=1).flatten(),
            self.values.view(-1),
            (pairs, self.rows + 1),
        )
        # For the way back, patterns without the column of ones: one row as long as all pairs would keep one thread busy.
        self.columns = columns.flatten()
        order = torch.argsort(self.columns, stable=True)
        self.order = (
            order // entries * (entries + 1) + order % entries
        )  # where the transpose's values stand in `values`
        counts = torch.bincount(self.columns, minlength=self.rows)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        self.values_by_column = torch.ones(pairs * entries, dtype=dtype, device=device)
        self.transposed = _csr(starts, order // entries, self.values_by_column, (self.rows, pairs))
        # Sums over all pairs with the same a (rows 0 .. p-1) or the same b (rows p .. 2p-1), in a fixed order: adding
        # by index is not reproducible with several threads.
        ones = torch.ones(2 * pairs, dtype=dtype, device=device)
        both = torch.cat([a, p + b])
        summed = torch.cat([counts.new_zeros(1), torch.bincount(both, minlength=2 * p).cumsum(0)])
        self.summing = _csr(summed, torch.argsort(both, stable=True) % pairs, ones, (2 * p, pairs))

        # [pre, then the neurons; the part of the logits that comes through attention alone]
        self.out = torch.empty(pairs, d_mlp + self.width, dtype=dtype, device=device)
        self.active = self.out[:, :d_mlp]
        self.logits = torch.empty(pairs, self.width, dtype=dtype, device=device)
        self.pull: Tensor | None = None  # gradient of `out`; only for pairs that are trained on

    def forward(self, at: Tables) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy (float64) and accuracy, on the device. Leaves in the buffers what `backward` needs.

        With m the row's maximum, at answer c*, the loss of a pair is (m - L_y) + log1p(sum over c != c* of
        exp(L_c - m)): in float32 this keeps its relative precision however small it gets.
        """
        self.used = at
        self._attend(at.scores)
        _sparse_product(self.pattern, at.mixed, self.out)
        self.active.clamp_min_(0)
        torch.addmm(self.out[:, self.d_mlp :], self.active, at.direct, out=self.logits)
        top, self.top_answer = self.logits[:, : self.p].max(dim=1, keepdim=True)
        missed = top - self.logits.gather(1, self.answer)
        # From here on `logits` holds exp(L_c - m), with the top answer and the padding taken out.
        self.logits.sub_(top).clamp_min_(LEAST_EXPONENT).exp_().scatter_(1, self.top_answer, 0)
        self.logits[:, self.p :] = 0
        self.rest = self.logits.sum(dim=1, keepdim=True)
        loss = missed + torch.log1p(self.rest)
        self.right = self.top_answer == self.answer
        return loss.double().mean(), self.right.double().mean()

    def backward(self) -> list[Tensor]:
        """Gradients of the mean loss with respect to `Tables.tensors()`, of the last `forward`."""
        pairs, heads, neurons = self.a.shape[0], self.heads, self.d_mlp
        if self.pull is None:
            self.pull = torch.empty_like(self.out)
            self.push = self.logits.new_empty(self.rows + 1, self.out.shape[1])
            starts = torch.arange(pairs + 1, device=self.a.device) * 2 * heads
            self.back = _csr(starts, self.columns, torch.zeros_like(self.values_by_column), (pairs, self.rows))
        # Softmax minus one-hot. At a right answer it is -rest / (1 + rest), not a difference of nearly equal numbers.
        scale = 1 / (1 + self.rest)
        wrong = self.logits.mul_(scale / pairs).scatter_(1, self.top_answer, scale / pairs)
        lacking = torch.where(self.right, -self.rest * scale, wrong.gather(1, self.answer) * pairs - 1)
        wrong.scatter_(1, self.answer, lacking / pairs)

        d_direct = self.active.t() @ wrong
        torch.mm(wrong, self.used.direct.t(), out=self.pull[:, :neurons])
        pulled = self.pull[:, :neurons]
        torch.ops.aten.threshold_backward.grad_input(pulled, self.active, 0, grad_input=pulled)  # 0 where ReLU was off
        self.pull[:, neurons:] = wrong
        torch.index_select(self.values.view(-1), 0, self.order, out=self.values_by_column)
        _sparse_product(self.transposed, self.pull, self.push[:-1])
        torch.sum(self.pull, dim=0, out=self.push[-1])
        torch.sparse.sampled_addmm(self.back, self.pull, self.used.mixed[:-1].t(), beta=0, out=self.back)
        weights = self.values[:, : 2 * heads]
        shared = weights * self.back.values().view(pairs, 2 * heads)
        shared -= weights * (shared[:, :heads] + shared[:, heads:]).repeat(1, 2)
        summed = _sparse_product(self.summing, shared, shared.new_empty(2 * self.p, 2 * heads))
        d_scores = torch.stack([summed[: self.p, :heads], summed[self.p :, heads:]])
        return [d_scores, self.push, d_direct]

    def _attend(self, scores: Tensor) -> None:
        heads = self.heads
        to_a = scores[0].index_select(0, self.a)
        to_b = scores[1].index_select(0, self.b)
        top = torch.maximum(to_a, to_b).clamp_min_(0)
        to_a.sub_(top).clamp_min_(LEAST_EXPONENT).exp_()
        to_b.sub_(top).clamp_min_(LEAST_EXPONENT).exp_()
        total = top.neg_().clamp_min_(LEAST_EXPONENT).exp_().add_(to_a).add_(to_b)
        torch.div(to_a, total, out=self.values[:, :heads])
        torch.div(to_b, total, out=self.values[:, heads : 2 * heads])


def _sparse_product(matrix: Tensor, dense: Tensor, out: Tensor) -> Tensor:
    """matrix @ dense, written to `out`. Builds of PyTorch without MKL (Apple's processors) have another kernel for it."""
    if out.is_cuda or torch.backends.mkl.is_available():
        return torch.addmm(out, matrix, dense, beta=0, out=out)
    return out.copy_(torch.sparse.mm(matrix, dense, "sum"))


def _csr(starts: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """A CSR matrix over `values` itself (no copy), with the 32-bit indices that the processor's library works in."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(
            starts.to(torch.int32), columns.to(torch.int32), values, size, check_invariants=True
        )
