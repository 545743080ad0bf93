"""Grids of settings: what is swept, as it is typed or written in a TOML file.

A setting takes one value or several:

    0-199, 0-100:20         integers, both ends included, in steps of 1 or of 20
    0.3,1,3                 a list
    0.9,0.98; 0.9,0.999     a list of values that contain commas themselves (betas, checkpoints)

The runs are all combinations. A TOML file has settings at its top, which hold for everything in it, and tables `[[grid]]`,
whose combinations are united. There a value may also be an array, or a table

    {linear = [a, b, n]}    n evenly spaced numbers from a to b
    {log = [a, b, n]}       the same on a logarithmic axis; of an integer setting, rounded to integers, equal ones once
    {uniform = [a, b]}      a random number; {log_uniform = [a, b]}: of a random magnitude
    {integers = [a, b]}     a random integer, both ends included
    {choice = [...]}        one of these at random

A grid with random values says how many sets of them are drawn (`draws = 20`), and may have a `seed`. Each number depends on
the seed, the setting and the number of the draw only, so that more draws add runs and change none.
"""

from __future__ import annotations

import itertools
import math
import random
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from tdw import schedule
from tdw.config import RunConfig, configure, settings
from tdw.errors import SettingError, UnknownNameError
from tdw.safe_text import cut, shown
from tdw.setting import Setting, as_text, value_of

MOST = 100_000  # runs in one sweep
_RANGE = re.compile(r"\s*(\d+)\s*-\s*(\d+)\s*(?::\s*(\d+)\s*)?", re.ASCII)
_SPACED = ("linear", "log")
_RANDOM = ("uniform", "log_uniform", "integers", "choice")


@dataclass(frozen=True)
class Grid:
    """All combinations of the values of these settings, each with every draw of the random ones.

    values: by setting; drawn: by setting, the kind of random value and its arguments
    """

    values: Mapping[str, tuple[Any, ...]]
    drawn: Mapping[str, tuple[str, Sequence[Any]]] = field(default_factory=dict)
    draws: int = 1
    seed: int = 0

    @property
    def count(self) -> int:
        """The number of runs."""
        return math.prod(len(values) for values in self.values.values()) * self.draws

    def runs(self) -> Iterator[dict[str, Any]]:
        """The settings of each run, by name; the last setting varies fastest."""
        for draw in range(self.draws):
            random_ones = {name: self._draw(name, draw) for name in self.drawn}
            for combination in itertools.product(*self.values.values()):
                yield dict(zip(self.values, combination, strict=True)) | random_ones

    def _draw(self, name: str, draw: int) -> Any:
        kind, arguments = self.drawn[name]
        source = random.Random(f"{self.seed}/{name}/{draw}")
        if kind == "choice":
            return arguments[int(source.random() * len(arguments))]
        low, high = arguments
        share = source.random()
        if kind == "integers":
            return low + int(share * (high - low + 1))
        number = low * (high / low) ** share if kind == "log_uniform" else low + share * (high - low)
        return float(f"{number:.6g}")  # digits that fit into a file name


def grids(given: Mapping[str, Any], file: Path | None = None) -> list[Grid]:
    """The grids of a sweep: those of a TOML file if there is one, with the given settings in place of the file's.

    given: settings by name, each a value, text, or a list of values. Raises SettingError, UnknownNameError.
    """
    tables = [dict[str, Any]()] if file is None else _tables(file)
    return [_grid(table | dict(given)) for table in tables]


def _tables(file: Path) -> list[dict[str, Any]]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError("grid", f"--grid {file} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError("grid", f"--grid {file} is not TOML: {error}") from error
    tables = content.pop("grid", [{}])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SettingError(
            "grid", f"--grid {file}: grids are tables, each under its own [[grid]] (got {cut(str(tables))})"
        )
    return [content | table for table in tables]


def _grid(given: dict[str, Any]) -> Grid:
    named = {item.name: item for item in settings()}
    given = {name.replace("-", "_"): value for name, value in given.items()}
    draws, seed = given.pop("draws", None), given.pop("seed", 0)
    for name in given:
        if name not in named:
            raise UnknownNameError("setting", name, named)
    values: dict[str, tuple[Any, ...]] = {}
    drawn: dict[str, tuple[str, Sequence[Any]]] = {}
    for name in sorted(given, key=list(named).index):
        random_one = _random(named[name], given[name])
        if random_one is None:
            values[name] = values_of(named[name], given[name])
        else:
            drawn[name] = random_one
    for name, number in (("draws", draws), ("seed", seed)):
        if number is not None and (type(number) is not int or number < 0):
            raise SettingError(name, f"{name} must be an integer of at least 0 (got {shown(number)})")
    if drawn and not draws:
        first = next(iter(drawn))
        raise SettingError(first, f"{first} is drawn at random: say how many times, such as draws = 20")
    if draws and not drawn:
        raise SettingError(
            "draws", f"draws = {draws} needs a random setting, such as lr = {{log_uniform = [1e-4, 1e-2]}}"
        )
    grid = Grid(values, drawn, draws or 1, seed)
    if grid.count > MOST:
        raise SettingError(
            "grid", f"a sweep has at most {MOST} runs (these settings give {grid.count}): use fewer values"
        )
    return grid


def values_of(setting: Setting, given: Any) -> tuple[Any, ...]:
    """The values that a setting takes in a sweep, each once, in the given order. Raises SettingError.

    given: text as on the command line, a value, a list of either, or a table `linear` or `log`
    """
    if isinstance(given, Mapping):
        pieces: list[Any] = _spaced(setting, given)
    elif isinstance(given, str):
        pieces = [one for piece in _pieces(setting, given) for one in _range(setting, piece)]
    elif _is_several(setting, given):
        pieces = [one for item in given for one in values_of(setting, item)]
    else:
        pieces = [given]
    found = dict.fromkeys(value_of(setting, piece) for piece in pieces)
    if not found:
        raise SettingError(setting.name, f"{setting.flag} needs at least one value (got none)")
    return tuple(found)


def _is_several(setting: Setting, given: Any) -> bool:
    if not isinstance(given, (list, tuple, range)):
        return False
    if setting.type is tuple:  # a pair of numbers is one value
        return not (len(given) == 2 and all(isinstance(item, (int, float)) for item in given))
    if setting.name == "checkpoints":  # epochs are one schedule
        return not all(isinstance(item, int) for item in given)
    return True


def _pieces(setting: Setting, text: str) -> list[str]:
    has_commas = setting.type is tuple or setting.name == "checkpoints"
    return text.split(";") if has_commas or ";" in text else text.split(",")


def _range(setting: Setting, piece: str) -> list[Any]:
    found = _RANGE.fullmatch(piece) if setting.type is int else None
    if found is None:
        return [piece]
    first, last, step = int(found[1]), int(found[2]), int(found[3] or 1)
    if not step:
        raise SettingError(
            setting.name, f"{setting.flag} {piece.strip()} has steps of 0: leave the step out, or give 1 or more"
        )
    if last < first:
        raise SettingError(
            setting.name, f"{setting.flag} {piece.strip()} is an empty range: write it from low to high, such as 0-199"
        )
    if (last - first) // step >= MOST:
        raise SettingError(setting.name, f"{setting.flag} {piece.strip()} has more than {MOST} values: use fewer")
    return list(range(first, last + 1, step))


def _table(setting: Setting, given: Any, allowed: tuple[str, ...]) -> tuple[str, list[Any]] | None:
    """The one entry of a table of values; None for another kind of table or of value."""
    if not isinstance(given, Mapping):
        return None
    kind = next(iter(given), "")
    if len(given) != 1 or kind not in (*_SPACED, *_RANDOM) or not isinstance(given[kind], list):
        forms = ", ".join(f"{{{name} = [...]}}" for name in (*_SPACED, *_RANDOM))
        raise SettingError(
            setting.name, f"{setting.name} must be a value, an array or one of {forms} (got {shown(given)})"
        )
    return (kind, given[kind]) if kind in allowed else None


def _spaced(setting: Setting, given: Any) -> list[Any]:
    kind, arguments = _table(setting, given, _SPACED) or ("", [])
    if setting.type not in (int, float) or len(arguments) != 3 or type(arguments[2]) is not int:
        raise _wrong(setting, given, "three numbers: first, last, how many")
    low, high, count = arguments
    if not all(_is_number(item) for item in arguments):
        raise _wrong(setting, given, "three numbers: first, last, how many")
    if not 1 <= count <= MOST:
        raise _wrong(setting, given, f"a number of values from 1 to {MOST}")
    if kind == "log" and min(low, high) <= 0:
        raise _wrong(setting, given, "ends above 0, because its axis is logarithmic")
    shares = [at / max(count - 1, 1) for at in range(count)]
    if kind == "log":
        numbers = [low * (high / low) ** share for share in shares]
    else:
        numbers = [low + share * (high - low) for share in shares]
    if setting.type is not int:
        return [float(f"{number:.6g}") for number in numbers]
    whole = [round(number) for number in numbers]
    if kind == "linear" and any(
        abs(number - near) > 1e-9 * max(abs(number), 1) for number, near in zip(numbers, whole, strict=True)
    ):
        raise _wrong(
            setting,
            given,
            f"steps that are whole numbers, as {setting.name} is an integer: give another number of values, or a list",
        )
    return whole


def _random(setting: Setting, given: Any) -> tuple[str, list[Any]] | None:
    found = _table(setting, given, _RANDOM)
    if found is None:
        return None
    kind, arguments = found
    if kind == "choice":
        return kind, [value_of(setting, item) for item in arguments] or _refuse_empty(setting)
    fits = setting.type is int if kind == "integers" else setting.type is float
    if not fits or len(arguments) != 2 or not all(_is_number(item) for item in arguments):
        noun = "of integers" if setting.type is int else "of numbers" if setting.type is float else "{choice = [...]}"
        raise _wrong(setting, given, f"two numbers, of a setting {noun}")
    low, high = arguments
    if low > high or (kind == "log_uniform" and low <= 0) or (kind == "integers" and {type(low), type(high)} != {int}):
        raise _wrong(setting, given, "two numbers, the lower one first")
    for end in arguments:
        value_of(setting, end)
    return kind, arguments


def _refuse_empty(setting: Setting) -> list[Any]:
    raise SettingError(setting.name, f"{setting.name}: {{choice = []}} has nothing to choose from")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _wrong(setting: Setting, given: Any, wanted: str) -> SettingError:
    return SettingError(setting.name, f"{setting.name} = {shown(given)} must have {wanted}")


def configured(found: Sequence[Grid]) -> dict[str, tuple[RunConfig, dict[str, Any]]]:
    """The runs of grids: checked configuration and given settings of each, by `identity`; equal ones once.

    Raises SettingError for the first combination that is refused, which it names.
    """
    runs: dict[str, tuple[RunConfig, dict[str, Any]]] = {}
    if sum(grid.count for grid in found) > MOST:
        raise SettingError("grid", f"a sweep has at most {MOST} runs: use fewer values")
    for grid in found:
        varied = [name for name, values in grid.values.items() if len(values) > 1] + list(grid.drawn)
        for given in grid.runs():
            try:
                config = configure(**given)
            except SettingError as error:
                which = ", ".join(f"{name} {as_text(given[name])}" for name in varied)
                raise SettingError(
                    error.setting, f"{error}" + (f" (in the run with {which})" if which else "")
                ) from error
            runs.setdefault(identity(config), (config, given))
    return runs


def identity(config: RunConfig) -> str:
    """What makes two runs the same one: all settings but the device and the number of threads."""
    stored = config.to_json() | {"checkpoints": _epochs(config.checkpoints, config.epochs)}
    return repr(sorted((name, value) for name, value in stored.items() if name not in {"device", "threads"}))


_epochs = lru_cache(maxsize=64)(schedule.parse)
