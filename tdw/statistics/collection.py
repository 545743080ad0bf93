"""`tdw.runs`: the runs in a folder as a table, to filter and to group. Nothing is read before it is needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdw.errors import DamagedFileError, NewerFormatError, NotAProjectError, TdwError
from tdw.project.folder import project_files
from tdw.statistics import index, where

if TYPE_CHECKING:
    import numpy as np

    from tdw.run import Run

Row = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """A file that could not be read: its path, and why not."""

    path: str
    message: str


@dataclass(frozen=True)
class Group:
    """Runs that agree in some columns. key: the common values by column."""

    key: dict[str, Any]
    runs: Runs

    @property
    def label(self) -> str:
        """The common values as text, such as "weight_decay=1, train_fraction=0.3"."""
        return ", ".join(f"{name}={text_of(value)}" for name, value in self.key.items())


class Runs:
    """Runs as rows of plain values; see `rows.row_of` for the columns. Iterating gives the rows, in the order of their paths.

    The folder is read on first use, and once: make a new collection to see later changes.
    """

    def __init__(self, load: Callable[[], tuple[list[Row], list[Problem]]], columns: Callable[[], tuple[str, ...]]):
        self._load = load
        self._columns = columns

    @cached_property
    def _loaded(self) -> tuple[list[Row], list[Problem]]:
        return self._load()

    @property
    def rows(self) -> list[Row]:
        """The rows, one dict for each run."""
        return self._loaded[0]

    @property
    def problems(self) -> list[Problem]:
        """The files that could not be read; they have no row."""
        return self._loaded[1]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.rows[0]) if self.rows else self._columns()

    @property
    def paths(self) -> list[Path]:
        """Paths of the files."""
        return [Path(row["path"]) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return "<Runs, not read yet>" if "_loaded" not in self.__dict__ else f"<Runs: {len(self)}>"

    def __getitem__(self, name: str) -> np.ndarray:
        """A column as an array, (run): integers, floats (NaN where a value is missing), else objects. Raises TdwError."""
        import numpy as np

        values = [row[where.known(name, self.columns)] for row in self.rows]
        numbers = all(isinstance(value, (int, float)) for value in values if value is not None)
        if not numbers or all(value is None for value in values):
            out = np.empty(len(values), dtype=object)
            out[:] = values
            return out
        return np.array([np.nan if value is None else value for value in values])

    def filter(self, *conditions: str | Callable[[Row], bool], **equal: Any) -> Runs:
        """The runs that fulfill all conditions: text as after `--where`, functions of a row, and columns with their value
        or a list of values: `runs.filter("lr<1e-3", p=113, weight_decay=[0.3, 1])`. Raises TdwError when it is read.
        """
        wanted = [where.condition(item) for item in conditions if isinstance(item, str)]
        wanted += [where.given(name, value) for name, value in equal.items()]
        tests = [item for item in conditions if not isinstance(item, str)]

        def load() -> tuple[list[Row], list[Problem]]:
            for one in wanted:
                where.known(one.column, self.columns)
            rows = [row for row in self.rows if where.all_hold(wanted, row) and all(test(row) for test in tests)]
            return rows, self.problems

        return Runs(load, lambda: self.columns)

    def group(self, *names: str) -> list[Group]:
        """The runs in groups with equal values in these columns, ordered by the values. Raises TdwError."""
        names = tuple(where.known(name, self.columns) for name in names)
        found: dict[tuple[Any, ...], list[Row]] = {}
        for row in self.rows:
            key = tuple(text_of(row[name]) if isinstance(row[name], list) else row[name] for name in names)
            found.setdefault(key, []).append(row)
        return [
            Group(dict(zip(names, key, strict=True)), self._of(found[key]))
            for key in sorted(found, key=lambda key: [order_of(value) for value in key])
        ]

    def opened(self) -> Iterator[Run]:
        """The runs, each open for reading until the next one is asked for. Raises what opening a file raises."""
        from tdw.run import Run

        for path in self.paths:
            with Run.open(path) as run:
                yield run

    def to_pandas(self) -> Any:
        """The table as a pandas DataFrame. Raises TdwError where pandas is not installed."""
        from tdw.statistics import tables

        return tables.pandas_frame(self.rows, self.columns)

    def varying(self) -> list[str]:
        """Names of the settings, seeds included, in which these runs differ."""
        from tdw import config

        names = [item.name for item in config.settings()]
        return [name for name in names if len({row[name] for row in self.rows}) > 1]

    def copies(self) -> int:
        """How many of the files hold a run that another file with an earlier path holds too: copies that count again."""
        return len(self) - len({row["id"] for row in self.rows})

    def _of(self, rows: list[Row]) -> Runs:
        return Runs(lambda: (rows, []), lambda: self.columns)


def runs(folder: str | Path) -> Runs:
    """The runs in a folder and its subfolders: all files `*.tdw` whose path has no hidden part (one that begins with a dot).

    A file that cannot be read is among `problems`. A file that has several names (links) is listed once, under the first.
    Raises TdwError if the folder does not exist.
    """
    place = Path(folder)
    if not place.is_dir():
        what = "is a file" if place.exists() else "does not exist"
        raise TdwError(f"{place} {what}: give a folder with project files (*.tdw)")
    return Runs(lambda: _read(place), _all_columns)


def text_of(value: Any) -> str:
    """A value of a row as text; "none" for a missing one."""
    if value is None:
        return where.NONE
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def order_of(value: Any) -> tuple[int, Any]:
    """A key to sort values of a column by: missing ones first, then numbers, then text."""
    return (0, 0) if value is None else (2, value) if isinstance(value, str) else (1, value)


def _all_columns() -> tuple[str, ...]:
    """The columns, where there is no row to take them from."""
    from tdw.statistics.rows import columns

    return columns()


def _read(folder: Path) -> tuple[list[Row], list[Problem]]:
    real = Path(os.path.realpath(folder))
    before = index.load(real)
    seen: dict[str, tuple[index.Identity, str]] = {}  # path -> identity, and the path within the folder
    problems: dict[str, Problem] = {}
    inodes = set()
    for path in project_files(folder):
        try:
            now = index.identity(Path(path))
        except OSError as error:
            problems[path] = Problem(path, f"{path} cannot be opened: {error.strerror}.")
            continue
        if tuple(now[:2]) not in inodes:
            inodes.add(tuple(now[:2]))
            seen[path] = now, os.path.relpath(path, folder)
    entries: dict[str, index.Entry] = {}
    missing = [path for path, (now, name) in seen.items() if before.get(name, {}).get("identity") != now]
    fresh = _fresh(missing, {path: seen[path][0] for path in missing})
    rows = []
    for path, (_, name) in seen.items():
        entry = fresh.get(path) or before[name]
        if "row" in entry:
            rows.append({**entry["row"], "path": path})
        else:
            problems[path] = Problem(path, entry["problem"])
        if "identity" in entry:
            entries[name] = entry
    if missing or entries.keys() != before.keys():
        index.save(real, entries)
    return rows, [problems[path] for path in sorted(problems)]


def _fresh(paths: list[str], identities: dict[str, index.Identity]) -> dict[str, index.Entry]:
    """Entries read from the files; with an identity only if they may be kept."""
    if not paths:
        return {}
    from tdw.statistics import rows
    from tdw.store import open_file
    from tdw.store.sandbox import PostponedError, postponed

    found: dict[str, index.Entry] = {}
    strangers = []
    for path in paths:
        with postponed():
            try:
                found[path] = _entry(path, identities[path], rows.read_row)
            except PostponedError:
                strangers.append(path)
    open_file.introduce(map(Path, strangers))
    return found | {path: _entry(path, identities[path], rows.read_row) for path in strangers}


def _entry(path: str, before: index.Identity, read: Callable[[Path], Row]) -> index.Entry:
    """The entry of one file. before: its identity before it is read."""
    entry: index.Entry = {}
    lasting = True
    from tdw.store.sandbox import PostponedError

    try:
        entry["row"] = read(Path(path))
    except PostponedError:
        raise
    except (NotAProjectError, DamagedFileError, NewerFormatError) as error:
        entry["problem"] = str(error)
    except (TdwError, OSError, MemoryError) as error:  # of the machine rather than of the file: it may pass
        entry["problem"], lasting = str(error), False
    if lasting and index.is_settled(before) and _is_still(path, before):
        entry["identity"] = before
    return entry


def _is_still(path: str, before: index.Identity) -> bool:
    """Whether a file is the same as before it was read."""
    try:
        return index.identity(Path(path)) == before
    except OSError:
        return False
