"""The cells of a table of text: what is a number, what is missing, and what is neither, said by its place.

Where a cell of a loss, an accuracy or a step is neither, nothing is guessed: a decimal comma read as something else, or a value that is
missing afterwards, would be a wrong curve.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from tdw.errors import NotImportableError
from tdw.recorded import RECORDED_NAN
from tdw.safe_text import cut
from tdw.text_format import count

MISSING = frozenset({"", "-", "na", "n/a", "#n/a", "null", "none"})  # a cell without a value
DELIMITERS = ",;\t"
EXAMPLE = "such as `step,train_loss,test_loss`"


@dataclass(frozen=True)
class Rows:
    """Rows by column, and where each of them is in the file: "line 3"."""

    rows: list[dict[str, Any]]
    places: list[str]


def as_number(value: Any) -> float:
    """A number of a table, `RECORDED_NAN` for NaN, and another NaN for anything else. W&B writes "NaN" and "Infinity" as text."""
    if isinstance(value, bool) or value is None:
        return math.nan
    try:
        number = float(value)
        return RECORDED_NAN if math.isnan(number) else number
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last one for tensors of several numbers
        return math.nan


def is_missing(value: Any) -> bool:
    """Whether a cell says that it has no value."""
    return value is None or (isinstance(value, str) and value.strip().lower() in MISSING)


def first_wrong(values: Sequence[Any]) -> int | None:
    """The index of the first value that is neither a number nor missing."""
    for at, value in enumerate(values):
        if not is_missing(value) and isinstance(value, str | bool | list | dict):
            try:
                float(value)  # type: ignore[arg-type]
                is_wrong = isinstance(value, bool)
            except (TypeError, ValueError):
                is_wrong = True
            if is_wrong:
                return at
    return None


def told(value: Any) -> str:
    """A value that is not a number, and what to do about it."""
    shown = f"`{cut(value, 40)}`" if isinstance(value, str) else f"a {type(value).__name__}"
    if isinstance(value, str) and re.fullmatch(r"\s*[-+]?\d[\d.,']*(e[-+]?\d+)?\s*", value, re.IGNORECASE):
        return f"{shown}, which is not a number: write numbers with a decimal point and without other separators, such as 1234.5"
    return f"{shown}, which is not a number: give a number, NaN, Infinity, or nothing where no value was recorded"


def of_text(text: str, path: Path) -> Rows:
    """The rows of a table with a header, separated by commas, semicolons or tabs. Raises NotImportableError."""

    def refuse(why: str) -> NotImportableError:
        return NotImportableError(f"{path} cannot be imported: {why}.")

    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise refuse(
            f"it is empty: a table needs a line with the names of its columns, {EXAMPLE}, and a line for each step"
        )
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(lines, delimiter=delimiter)
    names: list[str] = []
    rows: list[dict[str, Any]] = []
    places: list[str] = []
    short: tuple[int, int] | None = None  # line and number of cells
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if not names:
            names = [name.strip() for name in cells]
            _check_header(names, first, refuse)
            continue
        if short is not None or len(cells) > len(names):
            line, found = (reader.line_num, len(cells)) if short is None else short
            raise refuse(
                f"line {line} has {count(found, 'cell')}, and the header has {count(len(names), 'name')}: give each line a cell for "
                "each column, an empty one where nothing was recorded"
            )
        if len(cells) < len(names):
            short = reader.line_num, len(cells)  # only the last line may be cut off, as after a kill
        rows.append(dict(zip(names, [*cells, *[""] * (len(names) - len(cells))], strict=True)))
        places.append(f"line {reader.line_num}")
    if not rows:
        raise refuse(f"it has a header ({cut(first, 60)}) and no rows: a table needs a line for each step")
    return Rows([{name: value for name, value in row.items() if name} for row in rows], places)


def _check_header(names: Sequence[str], line: str, refuse: Any) -> None:
    if all(not math.isnan(as_number(name)) for name in names):
        raise refuse(f"its first line ({cut(line, 60)}) must be the names of its columns, {EXAMPLE}")
    if len(names) == 1 and len(line.split()) > 1:
        raise refuse(
            f"its first line (`{cut(line, 60)}`) must be the names of its columns, {EXAMPLE}, separated by commas, semicolons or tabs"
        )
    if again := next((name for name in names if name and names.count(name) > 1), None):
        raise refuse(f"{names.count(again)} of its columns are named {cut(again, 40)}: give each a name of its own")


def columns_of(
    rows: Sequence[Mapping[str, Any]], places: Sequence[str] | None
) -> tuple[dict[str, Float64[np.ndarray, " row"]], dict[str, str]]:
    """Columns of numbers by name; and of each that holds something else, what and where. places: of the rows; None where what is no
    number may be anything, as in the log of a tracker.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    table = {name: np.array([as_number(row.get(name)) for row in rows]) for name in names}
    wrong: dict[str, str] = {}
    for name in names if places is not None else ():
        at = first_wrong([row.get(name) for row in rows])
        if at is not None:
            assert places is not None
            wrong[name] = f"{places[at]} has {told(rows[at][name])}"
    return table, wrong
