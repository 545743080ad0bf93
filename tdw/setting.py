"""Settings: type, default, limits and help of each, and the check of a given value.

The settings themselves are declared in `tdw.config`. Those specific to a kind of task, network, optimizer or loss are
declared next to that kind.
"""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from tdw import schedule
from tdw.errors import SettingError
from tdw.safe_text import shown


@dataclass(frozen=True)
class Setting:
    """One setting, with everything a flag, a form field and a check need.

    implied: omitted from the stored JSON at its default, so that versions without the setting can read the file
    chooser, kinds: the setting that selects a kind, and the kinds that have this setting; empty: it always applies
    """

    name: str
    type: type
    default: Any
    help: str
    group: str
    minimum: float | None = None
    maximum: float | None = None
    exclusive: bool = False  # both limits are excluded
    below: bool = False  # the maximum is excluded
    choices: tuple[str, ...] = ()
    implied: bool = False
    chooser: str = ""
    kinds: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The command-line flag: `--train-fraction`."""
        return "--" + self.name.replace("_", "-")

    @property
    def text(self) -> str:
        """The default, as typed on the command line."""
        return as_text(self.default)

    @property
    def allowed(self) -> str:
        """The allowed values, in words.

        >>> Setting("p", int, 113, "modulus", "task", 2, 1000).allowed
        'an integer from 2 to 1000'
        >>> Setting("lr", float, 1e-3, "learning rate", "training", 0, 10, exclusive=True).allowed
        'a number greater than 0 and less than 10'
        """
        if self.choices:
            return "one of " + ", ".join(self.choices)
        noun = {int: "an integer", float: "a number", tuple: "two comma-separated numbers"}.get(self.type, "text")
        if self.minimum is None or self.maximum is None:
            return noun
        low, high = as_text(self.minimum), as_text(self.maximum)
        if self.exclusive:
            return f"{noun} greater than {low} and less than {high}"
        return f"{noun} of at least {low} and less than {high}" if self.below else f"{noun} from {low} to {high}"


def setting(default: Any, text: str, *, within: tuple[float, float] | None = None, **more: Any) -> Any:
    """A dataclass field that declares a setting, with its help and its limits."""
    low, high = within or (None, None)
    return field(default=default, metadata={"help": text, "minimum": low, "maximum": high, **more})


@dataclass(frozen=True)
class NoSettings:
    """For kinds that have no settings of their own."""


def declared(part: type, group: str) -> list[Setting]:
    """The settings that a dataclass declares itself, in order, without those of its base classes."""
    hints = typing.get_type_hints(part)
    own = [item for item in fields(part) if item.name in inspect.get_annotations(part)]
    return [
        Setting(
            item.name,
            typing.get_origin(hints[item.name]) or hints[item.name],
            item.default,
            group=group,
            **item.metadata,
        )
        for item in own
    ]


def value_of(setting: Setting, given: Any) -> Any:
    """`given`, converted to the setting's type and checked against its limits. Raises SettingError."""
    try:
        value = _converted(setting, given)
    except (ValueError, TypeError, OverflowError):
        raise _refused(setting, given) from None
    if setting.choices and value not in setting.choices:
        raise _refused(setting, given)
    if setting.minimum is not None and setting.maximum is not None:
        for number in value if isinstance(value, tuple) else (value,):
            if setting.exclusive:
                inside = setting.minimum < number < setting.maximum
            else:
                inside = setting.minimum <= number <= setting.maximum
            if not inside or (setting.below and number == setting.maximum):
                raise _refused(setting, given)
    return value


def as_text(value: Any) -> str:
    """A setting's value, as typed on the command line.

    >>> as_text((0.9, 0.98)), as_text(0.001), as_text(25000)
    ('0.9,0.98', '0.001', '25000')
    """
    if isinstance(value, (tuple, list)):
        return ",".join(as_text(item) for item in value)
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _converted(setting: Setting, given: Any) -> Any:
    if isinstance(given, bool) or given is None:
        raise TypeError
    if setting.type is tuple:
        parts = given.split(",") if isinstance(given, str) else list(given)
        first, second = (finite(part) for part in parts)
        return (first, second)
    if setting.type is int:
        if isinstance(given, str):
            return integer(given)
        whole = int(given)
        if whole != given:
            raise ValueError
        return whole
    if setting.type is float:
        return finite(given)
    if isinstance(given, str):
        return given.strip()
    if setting.name == "checkpoints" and isinstance(given, Iterable):
        return schedule.text_of(given)
    raise TypeError


def integer(text: str) -> int:
    """An integer that was typed. Raises ValueError, also for digits outside ASCII, which `int` reads.

    >>> integer(" -12 ")
    -12
    """
    return int(_ascii(text))


def _ascii(text: str) -> str:
    if not text.isascii():
        raise ValueError(f"{text!r} has characters outside ASCII")
    return text


def finite(given: Any) -> float:
    """A finite number, also as it was typed. Raises ValueError.

    >>> finite("0.5")
    0.5
    """
    number = float(_ascii(given) if isinstance(given, str) else given)
    if not math.isfinite(number):
        raise ValueError
    return number


def _refused(setting: Setting, given: Any) -> SettingError:
    told = shown(given if isinstance(given, str) else as_text(given))
    return SettingError(setting.name, f"{setting.flag} must be {setting.allowed} (got {told})")
