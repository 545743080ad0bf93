"""The real Fourier basis of functions on Z_p, for every p >= 2.

Rows: the constant, then cos 1, sin 1, cos 2, sin 2, …; for even p the last row is cos p/2 alone, because sin p/2 is
zero everywhere. Frequencies k and p - k are the same, so k runs from 1 to K = p // 2; the constant is not a frequency.

Axes: see `tdw.analyses.engine.checkpoint`. Here p is the size of the group, `order` there.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float, Float64, Int64

ROWS_AT_ONCE = 48  # of a transform; a third of the memory for the p = 113 of the literature


@cache
def basis(p: int) -> Float64[np.ndarray, "component p"]:
    """Orthonormal basis: each row is a function on Z_p. Read-only.

    >>> basis(4).round(2)
    array([[ 0.5 ,  0.5 ,  0.5 ,  0.5 ],
           [ 0.71,  0.  , -0.71, -0.  ],
           [ 0.  ,  0.71,  0.  , -0.71],
           [ 0.5 , -0.5 ,  0.5 , -0.5 ]])
    """
    k, x = np.ogrid[1 : p // 2 + 1, :p]
    # k * x is reduced modulo p as an integer: large angles would lose digits.
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


def group_starts(p: int) -> Int64[np.ndarray, " groups"]:
    """First row of the constant and of each frequency, K + 1 in all, for `np.add.reduceat`.

    >>> group_starts(5)
    array([0, 1, 3])
    """
    return np.concatenate([[0], np.arange(1, p, 2)])


def component_norms(matrix: Float[np.ndarray, "p width"]) -> Float[np.ndarray, " component"]:
    """Norm of each row of F @ matrix.

    >>> component_norms(np.ones((4, 1))).round(6)
    array([2., 0., 0., 0.])
    """
    return np.linalg.norm(basis(matrix.shape[0]) @ matrix, axis=1)


def frequency_norms(norms: Float[np.ndarray, "*batch component"]) -> Float[np.ndarray, "*batch freq"]:
    """Norm of each frequency, sqrt(cos² + sin²), from component norms.

    >>> frequency_norms(np.array([9.0, 3.0, 4.0, 0.0, 1.0]))
    array([5., 1.])
    """
    return np.sqrt(np.add.reduceat(norms**2, group_starts(norms.shape[-1]), axis=-1)[..., 1:])


def frequency_energy(grid: Float[np.ndarray, "p p n"]) -> Float[np.ndarray, "freq n"]:
    """Energy of functions of (a, b) in each frequency.

    The energy of frequency k is that of the products of {constant, cos k, sin k} in a and b, except constant × constant.
    Products with the constant belong to one frequency only, so no energy is counted twice.
    """
    p, _, count = grid.shape
    rows = basis(p).astype(grid.dtype)
    flat = grid.reshape(p, p * count)
    # Along b, only the constant and the waves of the same frequency as along a are needed.
    waves = np.arange(1, p)
    pairs = rows[np.stack([np.zeros_like(waves), (waves + 1) // 2 * 2 - 1, np.minimum((waves + 1) // 2 * 2, p - 1)], 1)]
    if p % 2 == 0:
        pairs[-1, 2] = 0  # cos p/2 has no sine
    energy = np.empty((p - 1, count), grid.dtype)
    for first in range(0, p, ROWS_AT_ONCE):
        half = (rows[first : first + ROWS_AT_ONCE] @ flat).reshape(-1, p, count)  # along a
        if first == 0:
            with_constant = rows @ half[0]
            half = half[1:]
        some = slice(max(first - 1, 0), max(first - 1, 0) + len(half))
        energy[some] = np.einsum("ijn,ijn->in", *2 * [pairs[some] @ half])
    energy += np.square(with_constant[1:])
    return np.add.reduceat(energy, group_starts(p)[1:] - 1, axis=0)


def energy(grid: Float[np.ndarray, "p p n"]) -> Float64[np.ndarray, " n"]:
    """Sum of squares of functions of (a, b).

    >>> energy(np.full((2, 2, 1), 3.0))
    array([36.])
    """
    return np.einsum("abn,abn->an", grid, grid).sum(axis=0, dtype=np.float64)


def frequency_shares(
    grid: Float[np.ndarray, "p p n"], total: Float64[np.ndarray, " n"] | None = None, still: float = 1e-12
) -> Float[np.ndarray, "freq n"]:
    """Share of each frequency in the energy of centered functions of (a, b).

    total: their energy, if already computed. A function with a mean square of at most `still` has share 0.

    >>> a, b = np.ogrid[:7, :7]
    >>> frequency_shares(np.cos(2 * np.pi * 3 * (a + b) / 7)[..., None])[:, 0].round(6)
    array([0., 0., 1.])
    """
    total = energy(grid) if total is None else total
    moving = total > still * grid.shape[0] * grid.shape[1]
    return np.where(moving, frequency_energy(grid) / np.where(moving, total, 1), 0).clip(0, 1)
