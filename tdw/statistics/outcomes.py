"""How many runs memorized, generalized and diverged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from tdw import arguments
from tdw.analyses.events import GENERALIZED, MEMORIZED


class Outcomes(NamedTuple):
    """Numbers of runs: all, those that reached each event, and those that ended because a loss was not finite. A run may be among
    several.
    """

    runs: int
    memorized: int
    generalized: int
    diverged: int


def rows_of(given: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of runs, such as `tdw.runs` or `Group.runs` have. Raises ArgumentError."""
    allowed = "rows of runs, as tdw.runs(FOLDER) and the runs of a group have them"
    rows = arguments.several("rows", given, allowed)
    if wrong := [row for row in rows if not isinstance(row, dict) or not {MEMORIZED, GENERALIZED} <= row.keys()]:
        raise arguments.refused("rows", wrong[0], allowed)
    return rows


def outcomes(rows: Iterable[dict[str, Any]]) -> Outcomes:
    """The outcomes of runs, given as rows of `tdw.runs`; memorized and generalized are the losses below 0.1. Raises ArgumentError."""
    reached = [
        (True, row[MEMORIZED] is not None, row[GENERALIZED] is not None, row["diverged_at"] is not None)
        for row in rows_of(rows)
    ]
    return Outcomes(*(sum(side) for side in zip(*reached, strict=True))) if reached else Outcomes(0, 0, 0, 0)
