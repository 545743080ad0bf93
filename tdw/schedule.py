"""Checkpoint schedules: which epochs of a run are kept as checkpoints.

A schedule is text, a comma-separated list of pieces:

    1200              that epoch
    0:1500:100        every 100th epoch from 0 to 1500, inclusive
    log:40            40 epochs spaced evenly on a logarithmic axis from 1 to the last
    even:60           60 epochs spaced evenly from 0 to the last
    paper             the schedule of the p = 113 run (25,000 epochs), with its ranges scaled to the length of this run

The first epoch (0, the untrained network) and the last are always kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tdw.errors import ScheduleError
from tdw.safe_text import cut

MOST = 100_000  # checkpoints in one run: far beyond any practical use, and small enough to list

PAPER_EPOCHS = 25_000
PAPER_RANGES = ((0, 1_500, 100), (9_000, 13_000, 100))
PAPER_LOG = 40

FORMS = "an epoch (1200), a range (0:1500:100), log:N, even:N or paper"


def parse(text: str, epochs: int) -> list[int]:
    """The checkpoint epochs of a run of `epochs` updates: sorted, unique, including 0 and `epochs`.

    >>> parse("0:300:100, 120, 100", epochs=1000)
    [0, 100, 120, 200, 300, 1000]
    >>> len(parse("0:1500:100, 9000:13000:100, log:40", epochs=25_000))
    95

    Raises ScheduleError, which quotes the piece, if one is malformed or lies outside the run.
    """
    return sorted({0, epochs} | listed(text, epochs))


def listed(text: str, epochs: int) -> set[int]:
    """The epochs that a schedule names itself, of a run of `epochs` updates.

    >>> sorted(listed("100, 120:140:10", epochs=1000))
    [100, 120, 130, 140]

    Raises ScheduleError, which quotes the piece, if one is malformed or lies outside the run.
    """
    kept: set[int] = set()
    for piece in filter(None, (part.strip() for part in re.split(r"[,\n]", text))):
        kept.update(_piece(piece, epochs))
        if len(kept) > MOST:
            raise ScheduleError(
                f"checkpoint schedule {piece!r} gives {len(kept)} checkpoints: at most {MOST} are allowed; use a larger step"
            )
    return kept


def text_of(epochs: Iterable[int]) -> str:
    """The schedule that lists these epochs.

    >>> text_of([0, 10, 50])
    '0, 10, 50'
    """
    return ", ".join(str(int(epoch)) for epoch in epochs)


def _piece(piece: str, epochs: int) -> Iterable[int]:
    compact = re.sub(r"\s+", "", piece)
    if compact == "paper":
        return _paper(epochs)
    if named := re.fullmatch(r"(log|even):(\d{1,9})", compact, re.ASCII):
        count = int(named[2])
        if not 1 <= count <= MOST:
            raise ScheduleError(f"checkpoint schedule {piece!r}: N must be an integer from 1 to {MOST}")
        return _log(count, epochs) if named[1] == "log" else _even(count, epochs)
    if re.fullmatch(r"\d{1,12}", compact, re.ASCII):
        return _inside(piece, [int(compact)], epochs)
    if bounds := re.fullmatch(r"(\d{1,12}):(\d{1,12})(?::(\d{1,12}))?", compact, re.ASCII):
        start, stop, step = int(bounds[1]), int(bounds[2]), int(bounds[3] or 1)
        if step == 0:
            raise ScheduleError(f"checkpoint schedule {piece!r} has step 0: the step must be at least 1")
        if stop < start:
            raise ScheduleError(f"checkpoint schedule {piece!r} ends before it starts: write {stop}:{start}:{step}")
        if (stop - start) // step >= MOST:
            raise ScheduleError(
                f"checkpoint schedule {piece!r} gives {(stop - start) // step + 1} checkpoints: "
                f"at most {MOST} are allowed; use a larger step"
            )
        _inside(piece, [stop], epochs)
        return range(start, stop + 1, step)
    raise ScheduleError(f"invalid checkpoint schedule {cut(piece)!r}: each piece must be {FORMS}")


def _inside(piece: str, kept: list[int], epochs: int) -> list[int]:
    if kept[-1] > epochs:
        raise ScheduleError(
            f"checkpoint schedule {piece!r} reaches epoch {kept[-1]}, but the run ends at {epochs}: "
            f"use epochs from 0 to {epochs}, or a longer run"
        )
    return kept


def _log(count: int, epochs: int) -> list[int]:
    return [round(epochs ** (index / max(count - 1, 1))) for index in range(count)]


def _even(count: int, epochs: int) -> list[int]:
    return [round(epochs * index / max(count - 1, 1)) for index in range(count)]


def _paper(epochs: int) -> set[int]:
    scale = epochs / PAPER_EPOCHS
    ranges = (range(start, stop + 1, step) for start, stop, step in PAPER_RANGES)
    return {round(epoch * scale) for span in ranges for epoch in span} | set(_log(PAPER_LOG, epochs))
