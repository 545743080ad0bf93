"""The real Fourier basis of functions on Z_p, for every p >= 2.

Rows: the constant, then cos 1, sin 1, cos 2, sin 2, …; for even p the last row is cos p/2 alone, because sin p/2 is
zero everywhere. Frequencies k and p - k are one frequency, so k runs from 1 to K = p // 2; the constant is none.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]


@cache
def basis(p: int) -> NDArray[np.float64]:
    """Orthonormal basis, (p, p): each row a function on Z_p. Read-only.

    >>> basis(4).round(2)
    array([[ 0.5 ,  0.5 ,  0.5 ,  0.5 ],
           [ 0.71,  0.  , -0.71, -0.  ],
           [ 0.  ,  0.71,  0.  , -0.71],
           [ 0.5 , -0.5 ,  0.5 , -0.5 ]])
    """
    k, x = np.ogrid[1 : p // 2 + 1, :p]
    # k * x is reduced modulo p while it is still a whole number: large angles would cost digits.
    angle = 2 * np.pi * (k * x % p) / p
    waves = np.stack([np.cos(angle), np.sin(angle)], axis=1).reshape(-1, p)[: p - 1]
    rows = np.vstack([np.ones((1, p)), waves])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows.setflags(write=False)
    return rows


def component_names(p: int) -> list[str]:
    """The name of each row of the basis.

    >>> component_names(4)
    ['constant', 'cos 1', 'sin 1', 'cos 2']
    """
    return ["constant", *(f"{wave} {k}" for k in range(1, p // 2 + 1) for wave in ("cos", "sin"))][:p]


def group_starts(p: int) -> NDArray[np.int64]:
    """Where the constant and each frequency begin among the rows, (K + 1,): for `np.add.reduceat`."""
    return np.concatenate([[0], np.arange(1, p, 2)])


def component_norms(matrix: Floats) -> Floats:
    """Norm over the columns of each component of the rows of `matrix` (p, width), (p,)."""
    return np.linalg.norm(basis(matrix.shape[0]) @ matrix, axis=1)


def frequency_norms(norms: Floats) -> Floats:
    """Norm of each frequency, sqrt(cos² + sin²), (…, K) from component norms (…, p)."""
    return np.sqrt(np.add.reduceat(norms**2, group_starts(norms.shape[-1]), axis=-1)[..., 1:])


def frequency_energy(grid: Floats) -> Floats:
    """Energy of a function of (a, b) in each frequency, (K, n) from (p, p, n).

    That of frequency k is what lies in the products of {constant, cos k, sin k} with themselves, the doubly constant
    one left out. Shared products (constant with cos k) belong to k alone, so no energy is counted twice.
    """
    p, _, count = grid.shape
    turned = basis(p).astype(grid.dtype)
    half = (turned @ grid.reshape(p, p * count)).reshape(p, p, count)  # along a
    with_constant = turned @ half[0]
    # Along b, the row of each wave of a meets the constant and the waves of its own frequency alone.
    waves = np.arange(1, p)
    pairs = turned[
        np.stack([np.zeros_like(waves), (waves + 1) // 2 * 2 - 1, np.minimum((waves + 1) // 2 * 2, p - 1)], 1)
    ]
    if p % 2 == 0:
        pairs[-1, 2] = 0  # cos p/2 has no sine beside it
    energy = np.square(with_constant[1:]) + np.einsum("ijn,ijn->in", *2 * [pairs @ half[1:]])
    return np.add.reduceat(energy, group_starts(p)[1:] - 1, axis=0)


def energy(grid: Floats) -> NDArray[np.float64]:
    """Sum of the squares of functions of (a, b), (n,) from (p, p, n)."""
    return np.einsum("abn,abn->an", grid, grid).sum(axis=0, dtype=np.float64)


def frequency_shares(grid: Floats, total: NDArray[np.float64] | None = None, still: float = 1e-12) -> Floats:
    """Share of each frequency in the energy of functions of (a, b) whose mean was taken away, (K, n) from (p, p, n).

    total: their energy, where it is known. A function whose mean square is at most `still` has share 0 everywhere.
    """
    total = energy(grid) if total is None else total
    moving = total > still * grid.shape[0] * grid.shape[1]
    return np.where(moving, frequency_energy(grid) / np.where(moving, total, 1), 0).clip(0, 1)
