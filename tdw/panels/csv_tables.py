"""The numbers that a figure draws, as a table: one row for each point, bar or cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tdw.panels.content import EPOCH, Bars, Content, Curves, Heat, Maps, Path, Spans, Table


def csv_text(shown: Content, about: Sequence[tuple[str, str]]) -> str:
    """A CSV file (RFC 4180, lines end with a newline) after lines "# name: value" for what is known `about` it, which
    `pandas.read_csv(file, comment="#")` skips. Numbers have the digits that give them back exactly; NaN is empty.
    """
    out = io.StringIO()
    for name, value in about:
        out.write(f"# {name}: {' '.join(value.split())}\n")
    header, rows = table_of(shown)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, np.generic):
        # As Python writes it: the shortest text that gives back the number in the precision in which it is stored.
        return "" if value != value else str(value)  # noqa: PLR0124 - NaN
    return "" if value is None or value != value else value  # noqa: PLR0124


def table_of(shown: Content) -> tuple[list[str], Iterable[Sequence[Any]]]:
    """Names of columns with units, and rows."""
    match shown:
        case Curves():
            points = ((line.name, *point) for line in shown.lines for point in zip(line.x, line.y, strict=True))
            return ["line", shown.x_title, shown.y_title], points
        case Bars():
            return [shown.x_title, shown.y_title], zip(shown.names, shown.heights, strict=True)
        case Heat():
            value = shown.value_title or "value"
            title = f"log10 {value}" if shown.is_log else value
            return [shown.y_title or "row", shown.x_title or "column", title], _cells(shown)
        case Maps():
            cells = (
                (neuron, *place, activation[place])
                for neuron, activation in zip(shown.neurons, shown.activations, strict=True)
                for place in np.ndindex(activation.shape)
            )
            return ["neuron", shown.y_title, shown.x_title, shown.value_title], cells
        case Spans():
            return ["name", f"first {shown.x_title}", f"last {shown.x_title}"], shown.rows
        case Path():
            return [EPOCH, shown.x_title, shown.y_title], zip(shown.epochs, shown.x, shown.y, strict=True)
        case Table():
            names = shown.columns[0]
            rows = zip(names, *(numbers for _, numbers in shown.numbers), strict=True)
            return ["measure", *(head for head, _ in shown.numbers)], rows


def _cells(shown: Heat) -> Iterator[Sequence[Any]]:
    for row, y in enumerate(shown.y):
        for column, x in enumerate(shown.x):
            yield y, x, shown.values[row, column]
