"""The real Fourier basis of functions on Z_p, for every p >= 2.

Rows: the constant, then cos 1, sin 1, cos 2, sin 2, …; for even p the last row is cos p/2 alone, because sin p/2 is
zero everywhere. Frequencies k and p - k are the same, so k runs from 1 to K = p // 2; the constant is not a frequency.

Axes: see `tdw.analyses.engine.checkpoint`. Here p is the size of the group, `order` there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64


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


@cache
def half_bases(
    p: int, dtype: np.dtype[np.floating]
) -> tuple[Float[np.ndarray, "even even"], Float[np.ndarray, "odd odd"]]:
    """The constant and the cosines on 0 .. p // 2, and the sines on 1 .. (p - 1) // 2: all that differs of these waves. Read-only."""
    even, odd = p // 2 + 1, (p - 1) // 2
    rows = basis(p).astype(dtype)
    halves = np.concatenate([rows[:1], rows[1::2]])[:, :even].copy(), rows[2::2, 1 : odd + 1].copy()
    for half in halves:
        half.setflags(write=False)
    return halves


def places(p: int) -> Int64[np.ndarray, " component"]:
    """Where `Transform` puts each component: the constant, all cosines, all sines.

    >>> places(5)
    array([0, 1, 3, 2, 4])
    """
    rows = np.arange(p)
    return np.where(rows % 2 == 1, rows // 2 + 1, rows // 2 + p // 2 * (rows > 0))


class Transform:
    """F @ values, with the components in the order of `places`, in memory that the next call overwrites: new memory for each
    block of a large array takes the system longer to clear than the transform takes.

    Cosines are even and sines odd, so that each of the two products sums half as many terms: those of f(x) + f(-x) and of
    f(x) - f(-x).

    >>> Transform()(np.ones((1, 4, 1)))[0, :, 0].round(6) + 0
    array([2., 0., 0., 0.])
    """

    def __init__(self) -> None:
        self._room = np.empty(0)

    def __call__(self, values: Float[np.ndarray, "batch p width"]) -> Float[np.ndarray, "batch component width"]:
        """The transform along the second axis."""
        _, p, _ = values.shape
        if self._room.size < 2 * values.size or self._room.dtype != values.dtype:
            self._room = np.empty(2 * values.size, values.dtype)
        folded, result = self._room[: 2 * values.size].reshape(2, *values.shape)
        cosines, sines = half_bases(p, values.dtype)
        even, odd = len(cosines), len(sines)
        sums, differences = folded[:, :even], folded[:, even:]
        forward, backward = values[:, 1 : odd + 1], values[:, : p - odd - 1 : -1]
        sums[:, 0] = values[:, 0]
        np.add(forward, backward, out=sums[:, 1 : odd + 1])
        np.subtract(forward, backward, out=differences)
        if p % 2 == 0:
            sums[:, -1] = values[:, p // 2]
        np.matmul(cosines, sums, out=result[:, :even])
        np.matmul(sines, differences, out=result[:, even:])
        return result


class Spectrum(NamedTuple):
    """What is read of (F ⊗ F) L, a function of (a, b) for each answer c.

    norm: over the answers, of component i along a times component j along b, (component, component)
    of_a, of_b: components along a times the constant along b, and the reverse, (component, c)
    within: cos k and sin k along a times cos k and sin k along b, (freq, 2, 2, c); of p/2, sines are zero
    """

    norm: Float[np.ndarray, "component component"]
    of_a: Float[np.ndarray, "component order"]
    of_b: Float[np.ndarray, "component order"]
    within: Float[np.ndarray, "freq 2 2 order"]


def spectrum(grid: Callable[[slice], Float[np.ndarray, "p p block"]], p: int, answers_at_once: int) -> Spectrum:
    """The spectrum of the logits, some answers after others. grid: the logits of some answers, (a, b, c)."""
    place, frequencies, odd = places(p), p // 2, (p - 1) // 2
    cos = 1 + np.arange(frequencies)
    sin = cos[:odd] + frequencies
    squares = np.zeros((p, p))
    blocks: list[list[Float[np.ndarray, ...]]] = [[], [], []]
    first_transform, second_transform = Transform(), Transform()
    for first in range(0, p, answers_at_once):
        block = grid(slice(first, min(first + answers_at_once, p)))
        both = second_transform(first_transform(block.reshape(1, p, -1)).reshape(p, p, -1))
        squares += np.einsum("ijc,ijc->ij", both, both, dtype=np.float64)  # float32 would overflow
        within = np.zeros((frequencies, 2, 2, both.shape[2]), both.dtype)
        within[:, 0, 0] = both[cos, cos]
        within[:odd, 0, 1] = both[cos[:odd], sin]
        within[:odd, 1, 0] = both[sin, cos[:odd]]
        within[:odd, 1, 1] = both[sin, sin]
        for parts, part in zip(blocks, (both[place, 0], both[0, place], within), strict=True):
            parts.append(part)
    return Spectrum(np.sqrt(squares[np.ix_(place, place)]), *(np.concatenate(parts, axis=-1) for parts in blocks))


def frequency_energy(
    grid: Float[np.ndarray, "p p n"], transform: Transform | None = None
) -> Float[np.ndarray, "freq n"]:
    """Energy of functions of (a, b) in each frequency. transform: the memory to use

    The energy of frequency k is that of the products of {constant, cos k, sin k} in a and b, except constant × constant.
    Products with the constant belong to one frequency only, so no energy is counted twice.
    """
    p, _, count = grid.shape
    rows = basis(p).astype(grid.dtype)
    frequencies, odd = p // 2, (p - 1) // 2
    along = (transform or Transform())(grid.reshape(1, p, p * count)).reshape(p, p, count)  # along a
    # Along b, only the constant and the waves of the same frequency as along a are needed.
    k = np.arange(frequencies)
    waves = rows[np.stack([0 * k, 2 * k + 1, np.minimum(2 * k + 2, p - 1)], axis=1)]
    if p % 2 == 0:
        waves[-1, 2] = 0  # cos p/2 has no sine
    both = waves @ along[1 : frequencies + 1]
    energy = np.einsum("ijn,ijn->in", both, both)
    both = waves[:odd] @ along[frequencies + 1 :]
    energy[:odd] += np.einsum("ijn,ijn->in", both, both)
    energy += np.add.reduceat(np.square(rows[1:] @ along[0]), group_starts(p)[1:] - 1, axis=0)
    return energy


def energy(grid: Float[np.ndarray, "p p n"]) -> Float64[np.ndarray, " n"]:
    """Sum of squares of functions of (a, b).

    >>> energy(np.full((2, 2, 1), 3.0))
    array([36.])
    """
    return np.einsum("abn,abn->an", grid, grid).sum(axis=0, dtype=np.float64)


def frequency_shares(
    grid: Float[np.ndarray, "p p n"],
    total: Float64[np.ndarray, " n"] | None = None,
    still: float = 1e-12,
    transform: Transform | None = None,
) -> Float[np.ndarray, "freq n"]:
    """Share of each frequency in the energy of centered functions of (a, b).

    total: their energy, if already computed · transform: the memory to use. A function with a mean square of at most `still` has share 0.

    >>> a, b = np.ogrid[:7, :7]
    >>> frequency_shares(np.cos(2 * np.pi * 3 * (a + b) / 7)[..., None])[:, 0].round(6)
    array([0., 0., 1.])
    """
    total = energy(grid) if total is None else total
    moving = total > still * grid.shape[0] * grid.shape[1]
    return np.where(moving, frequency_energy(grid, transform) / np.where(moving, total, 1), 0).clip(0, 1)
