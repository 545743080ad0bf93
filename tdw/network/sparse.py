"""Sparse matrices of PyTorch, as the factored engine uses them."""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Float
from torch import Tensor


def product(
    matrix: Tensor,
    dense: Float[Tensor, "inner column"],
    out: Float[Tensor, "outer column"],
    *,
    added: bool = False,
) -> Float[Tensor, "outer column"]:
    """matrix @ dense, written to `out` or `added` to it. PyTorch builds without MKL (Apple silicon) need a different kernel."""
    if out.is_cuda or torch.backends.mkl.is_available():
        return torch.addmm(out, matrix, dense, beta=int(added), out=out)
    found = torch.sparse.mm(matrix, dense, "sum")
    return out.add_(found) if added else out.copy_(found)


def csr(starts: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """A CSR matrix that shares memory with `values`, with the 32-bit indices that MKL uses."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(
            starts.to(torch.int32), columns.to(torch.int32), values, size, check_invariants=True
        )
