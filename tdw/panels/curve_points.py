"""A long curve as the points that its picture needs, and its values at checkpoints.

`every` consecutive epochs are one bucket, which keeps its first and last value, the least and the greatest finite one, the
least above 0 (for a log axis), a 0 and infinities where there are any, and both ends of the first and last changes between values that an axis has a place for and
those that it has not (0 and below, infinities, NaN that was recorded), by which they are named in words. So no value off the scale
vanishes. An epoch at which nothing was recorded is no point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tdw.recorded import is_recorded

if TYPE_CHECKING:
    from tdw.panels.reductions import Array

BLOCK = 1 << 17  # epochs that are read at a time, and the most in a bucket
CHANGES = 3  # at each end of a bucket


def points(read: Callable[[int, int], Array], start: int, stop: int, every: int) -> tuple[Array, Array]:
    """Epochs and values of the points of epochs [start, stop), for buckets of `every` epochs (at most BLOCK) that begin at
    multiples of it. read: the values of a range of epochs.
    """
    if not 1 <= every <= BLOCK:
        raise ValueError(f"every must be from 1 to {BLOCK} (got {every})")
    found = [
        (begin + kept, values[kept])
        for begin, values in _blocks(read, start, stop, BLOCK - BLOCK % every)
        for kept in [kept_of(values, every, begin)]
    ]
    epochs = np.concatenate([part for part, _ in found]) if found else np.empty(0, np.int64)
    return epochs, np.concatenate([part for _, part in found]) if found else np.empty(0)


def kept_of(values: Array, every: int, first: int = 0) -> Array:
    """Indices of the values that are kept. first: the epoch of the first value.

    >>> kept_of(np.array([3.0, 1.0, 9.0, 2.0, 2.5, np.nan, 7.0, 0.0]), 8).tolist()
    [0, 1, 2, 6, 7]
    """
    at = np.flatnonzero(is_recorded(values))
    if not at.size:
        return at
    there = values[at]
    bucket = (first + at) // every
    starts = np.flatnonzero(np.diff(bucket, prepend=bucket[0] - 1))
    sizes = np.diff(starts, append=len(there))
    keep = np.zeros(len(there), bool)
    keep[starts] = keep[starts + sizes - 1] = True
    finite = np.isfinite(there)
    infinite = np.inf
    for candidates, sign in ((finite, 1), (finite, -1), (finite & (there > 0), 1)):
        _keep_least(keep, np.where(candidates, sign * there, infinite), starts, sizes)
    for what in (0, infinite, -infinite):
        _keep_least(keep, np.where(there == what, 0, infinite), starts, sizes)
    _keep_least(keep, np.where(np.isnan(there), 0, infinite), starts, sizes)
    signs = np.where(np.isnan(there), 2, np.sign(there))
    for kinds in (np.where(finite, signs, 3 * signs), np.where(finite, 0, signs)):  # on a log axis, on a linear one
        _keep_changes(keep, kinds, starts, sizes)
    return at[keep]


def _keep_least(keep: Array, values: Array, starts: Array, sizes: Array) -> None:
    """Keep the first least value of each bucket; infinity is none."""
    least = np.repeat(np.minimum.reduceat(values, starts), sizes)
    hits = np.flatnonzero((values == least) & (values < np.inf))
    _, first = np.unique(np.searchsorted(starts, hits, side="right"), return_index=True)
    keep[hits[first]] = True


def _keep_changes(keep: Array, kinds: Array, starts: Array, sizes: Array) -> None:
    """Keep both ends of the first and last changes of kind within each bucket."""
    changes = 1 + np.flatnonzero(kinds[1:] != kinds[:-1])
    ends = np.searchsorted(changes, starts + sizes)
    begins = np.searchsorted(changes, starts, side="right")  # a change at the start is between buckets
    counts = ends - begins
    inside = changes[np.repeat(begins, counts) + _ranks(counts)]
    ranks, total = _ranks(counts), np.repeat(counts, counts)
    chosen = inside[(ranks < CHANGES) | (ranks >= total - CHANGES)]
    keep[chosen] = keep[chosen - 1] = True


def _ranks(counts: Array) -> Array:
    """0, 1, … for each group of so many.

    >>> _ranks(np.array([2, 0, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    ranks: Array = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return ranks


def at_epochs(read: Callable[[int, int], Array], epochs: Sequence[int], recorded: int) -> Array:
    """(epoch, [value, epoch of it]) float64: the last value recorded at or before each of these increasing epochs; NaN for
    both where there is none. read: the values of a range of the `recorded` epochs.
    """
    wanted = np.minimum(np.asarray(epochs, np.int64), recorded - 1)
    found = np.full((len(wanted), 2), np.nan)
    last = (np.nan, np.nan)  # that was recorded before the block
    for begin, values in _blocks(read, 0, int(wanted[-1]) + 1 if len(wanted) else 0, BLOCK):
        known = np.maximum.accumulate(np.where(is_recorded(values), np.arange(len(values)), -1))
        here = np.flatnonzero((wanted >= begin) & (wanted < begin + len(values)))
        places = known[wanted[here] - begin]
        own = places >= 0
        found[here] = last
        found[here[own]] = np.stack([values[places[own]], begin + places[own]], axis=1)
        if len(values) and known[-1] >= 0:
            last = (float(values[known[-1]]), float(begin + known[-1]))
    return found


def _blocks(read: Callable[[int, int], Array], start: int, stop: int, size: int) -> Iterator[tuple[int, Array]]:
    """Consecutive blocks that begin at multiples of `size`: the first epoch and the values of each."""
    begin = start
    while begin < stop:
        end = min(begin - begin % size + size, stop)
        yield begin, read(begin, end)
        begin = end
