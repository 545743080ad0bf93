"""Rows as CSV, JSON and Parquet files, and as a pandas DataFrame."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tdw.errors import AlreadyExistsError, CannotWriteError, TdwError

Row = dict[str, Any]
INSTALL = 'pip install "tdw[data]"'


def csv_text(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """The rows as CSV with a header (RFC 4180, lines end with a newline). Missing values are empty; lists are JSON."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    return out.getvalue()


def pandas_frame(rows: Sequence[Row], columns: Sequence[str]) -> Any:
    """A pandas DataFrame with a row for each run. Raises TdwError where pandas is not installed."""
    pandas = _imported("pandas", "a DataFrame")
    return pandas.DataFrame(list(rows), columns=list(columns))


def write_parquet(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Write a new Parquet file. Raises TdwError where pyarrow is not installed, AlreadyExistsError, CannotWriteError."""
    pyarrow = _imported("pyarrow", "a Parquet file")
    parquet = _imported("pyarrow.parquet", "a Parquet file")
    if path.exists():
        raise AlreadyExistsError(path)
    table = pyarrow.table({name: [row[name] for row in rows] for name in columns})
    data = io.BytesIO()
    parquet.write_table(table, data)
    try:
        with path.open("xb") as file:
            file.write(data.getvalue())
    except FileExistsError as error:
        raise AlreadyExistsError(path) from error
    except OSError as error:
        raise CannotWriteError(f"{path} cannot be written: {error.strerror}. Choose another place.") from error


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


def _imported(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise TdwError(f"{what} needs the package {package}, which is not installed: {INSTALL}") from error
