"""Conditions on runs, as typed: `p=113`, `lr<1e-3`, `state=finished`, `weight_decay=0.3,1`, `tag=paper`."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tdw import arguments
from tdw.errors import TdwError
from tdw.safe_text import cut

FORM = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(<=|>=|!=|=|<|>)\s*(.*?)\s*", re.DOTALL)
ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NONE = "none"  # a value that is unknown, does not apply, or was not reached
ALIASES = {"tag": "tags"}


@dataclass(frozen=True)
class Condition:
    """One condition: a column, an operator, and the values it is compared with."""

    column: str
    operator: str
    values: tuple[str, ...]
    text: str

    def holds(self, row: dict[str, Any]) -> bool:
        """Whether a run fulfills it. Raises TdwError for a value that does not fit the column.

        >>> condition("weight_decay=0.3,1").holds({"weight_decay": 1.0}), condition("tag=paper").holds({"tags": ["paper", "old"]})
        (True, True)
        >>> condition("lr<1e-3").holds({"lr": 0.001}), condition("delay_max=none").holds({"delay_max": None})
        (False, True)
        """
        value = row[self.column]
        if self.operator in ORDER:
            bound = self._number(self.values[0])
            if isinstance(value, (str, list)):
                raise self._refused("has values that are not numbers: use = or !=")
            return value is not None and ORDER[self.operator](value, bound)
        equal = any(self._equals(value, text) for text in self.values)
        return equal if self.operator == "=" else not equal

    def _equals(self, value: Any, text: str) -> bool:
        if value is None:
            return text == NONE
        if isinstance(value, list):
            return text in map(str, value)
        if isinstance(value, str):
            return value == text or value == ",".join(self.values)  # betas=0.9,0.98 is one value
        return text != NONE and value == self._number(text)

    def _number(self, text: str) -> float:
        try:
            if not text.isascii() or "_" in text:
                raise ValueError
            return float(text)
        except ValueError:
            raise self._refused(f"needs a number (got {cut(text) or 'nothing'!r})") from None

    def _refused(self, why: str) -> TdwError:
        return TdwError(f"condition {cut(self.text)!r}: {self.column} {why}")


def condition(text: str) -> Condition:
    """A condition from its text. Raises TdwError."""
    found = FORM.fullmatch(text)
    if found is None or (found[2] in ORDER and "," in found[3]):
        raise TdwError(
            f"{cut(text)!r} is not a condition: write NAME=VALUE, NAME=VALUE,VALUE, NAME!=VALUE, or NAME<VALUE with <, <=, > or >=, "
            "such as p=113, weight_decay=0.3,1, lr<1e-3, state=finished, tag=paper"
        )
    values = tuple(part.strip() for part in found[3].split(","))
    return Condition(ALIASES.get(found[1], found[1]), found[2], values, text)


def known(name: str, columns: Sequence[str]) -> str:
    """The column of that name. Raises ArgumentError, and TdwError, which suggests the closest ones."""
    arguments.text("a column", name, "its name, such as weight_decay")
    name = ALIASES.get(name, name)
    if name not in columns:
        close = [one for one in columns if len(name) > 2 and name in one] or difflib.get_close_matches(
            name, columns, n=3
        )
        hint = f"did you mean {' or '.join(close[:3])}?" if close else f"there are {', '.join(columns)}."
        raise TdwError(f"runs have no column {cut(name)!r}: {hint}")
    return name


def given(name: str, value: Any) -> Condition:
    """The condition that a column has a value, or one of several in a list, given as Python values."""
    values = list(value) if isinstance(value, (list, set, tuple, range)) else [value]
    texts = tuple(NONE if item is None else str(item) for item in values)
    return Condition(ALIASES.get(name, name), "=", texts, f"{name}={','.join(texts)}")


def all_hold(conditions: Iterable[Condition], row: dict[str, Any]) -> bool:
    """Whether a run fulfills all conditions."""
    return all(one.holds(row) for one in conditions)
