"""Of every number in a row of an array: how small and how large it is at any checkpoint.

Scales that are the same at every checkpoint follow from these, so that a page needs not have all rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tdw.panels.reductions import Array

MEASURES = 4  # the least finite number, the greatest, the least above 0, how many are not NaN


def none_yet(shape: tuple[int, ...]) -> Array:
    """(measure, *shape) float64 of no row at all: NaN where numbers are missing."""
    found = np.full((MEASURES, *shape), np.nan)
    found[3] = 0
    return found


def with_rows(found: Array, rows: Array) -> Array:
    """The same with more rows (row, *shape).

    >>> with_rows(none_yet((2,)), np.array([[-1.0, np.nan], [2.0, np.inf]])).tolist()
    [[-1.0, nan], [2.0, nan], [2.0, nan], [2.0, 1.0]]
    """
    if not len(rows):
        return found
    finite = np.isfinite(rows)
    least = np.where(finite, rows, np.inf).min(axis=0)
    greatest = np.where(finite, rows, -np.inf).max(axis=0)
    positive = np.where(finite & (rows > 0), rows, np.inf).min(axis=0)
    new = np.stack([np.where(np.isfinite(part), part, np.nan) for part in (least, greatest, positive)])
    counted = found[3] + (~np.isnan(rows)).sum(axis=0)
    return np.stack([np.fmin(found[0], new[0]), np.fmax(found[1], new[1]), np.fmin(found[2], new[2]), counted])
