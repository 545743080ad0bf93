"""Numbers of a line that its axis has no place for: 0 and below on a log axis, infinities, and NaN that a curve recorded.

They are drawn at the foot or the top of the plot and named in words; a number of an analysis that is missing is a gap. The
rule of `tdw/viewer/off_scale.js`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tdw.text_format import integer, integers

if TYPE_CHECKING:
    from tdw.panels.reductions import Array


NAN = "NaN"


class Stretch(NamedTuple):
    """Consecutive points of one kind: `what` in words, and the first and last index; `lasts` to the end of the line."""

    what: str
    first: int
    last: int
    lasts: bool

    def words(self, epochs: Sequence[int] | Array) -> str:
        """The stretch in words: "0 from epoch 250", "∞ at epochs 3–5"."""
        start, end = int(epochs[self.first]), int(epochs[self.last])
        if self.lasts and start != end:
            return f"{self.what} from epoch {integer(start)}"
        return f"{self.what} at epoch{'s' * (start != end)} {integers(start, end)}"


TOP = ("∞", NAN)  # drawn at the top


def kind(value: float, *, is_log: bool, is_curve: bool = False) -> str:
    """What a number is, where the axis has no place for it; "" where it has one, and for NaN that is not of a curve.

    >>> [kind(value, is_log=True) for value in (0.0, -2.0, math.inf, 1e-9, math.nan)]
    ['0', 'below 0', '∞', '', '']
    >>> [kind(value, is_log=False) for value in (0.0, -2.0, -math.inf)]
    ['', '', '−∞']
    >>> kind(math.nan, is_log=True, is_curve=True)
    'NaN'
    """
    if is_curve and math.isnan(value):
        return NAN
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if is_log and value <= 0:
        return "0" if value == 0 else "below 0"
    return ""


def mask(values: Array, *, is_log: bool, is_curve: bool = False) -> Array:
    """Which numbers the axis has no place for."""
    return np.isinf(values) | (values <= 0 if is_log else False) | (np.isnan(values) if is_curve else False)


def kinds(values: Array, *, is_log: bool, is_curve: bool = False) -> list[str]:
    """`kind` of each number."""
    found = [""] * len(values)
    for i in np.flatnonzero(mask(values, is_log=is_log, is_curve=is_curve)):
        found[i] = kind(float(values[i]), is_log=is_log, is_curve=is_curve)
    return found


def symbol(what: str) -> str:
    """The mark where a stretch of this kind begins."""
    return "x" if what == NAN else "triangle-up" if what in TOP else "triangle-down"


def stretches(kinds: Sequence[str]) -> list[Stretch]:
    """Where consecutive points are of one kind.

    >>> stretches(["", "0", "0", "∞", "", "0"])
    [Stretch(what='0', first=1, last=2, lasts=False), Stretch(what='∞', first=3, last=3, lasts=False), Stretch(what='0', first=5, last=5, lasts=True)]
    """
    found: list[Stretch] = []
    start = 0
    for i in range(1, len(kinds) + 1):
        if i == len(kinds) or kinds[i] != kinds[start]:
            if kinds[start]:
                found.append(Stretch(kinds[start], start, i - 1, i == len(kinds)))
            start = i
    return found


def named(found: Sequence[Stretch]) -> list[Stretch]:
    """The stretches that are named in the plot: all of few, else the one that lasts to the end."""
    return list(found) if len(found) <= 2 else [one for one in found if one.lasts]


def with_neighbors(kinds: Sequence[str]) -> list[int | None]:
    """Indices of the points that are off the scale and of those next to them, so that the line is not cut; None between
    parts.

    >>> with_neighbors(["", "", "0", "", "", "", "0"])
    [1, 2, 3, None, 5, 6]
    """
    off = np.array([bool(what) for what in kinds], bool)
    near = off.copy()
    near[1:] |= off[:-1]
    near[:-1] |= off[1:]
    found: list[int | None] = []
    for i in np.flatnonzero(near).tolist():
        if found and found[-1] != i - 1:
            found.append(None)
        found.append(i)
    return found
