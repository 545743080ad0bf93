"""Checks of the arguments of public functions: what does not fit is refused in a sentence, before anything is done with it.

Settings of a run have limits of their own, see `tdw.setting`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, SupportsIndex, TypeVar

from tdw.errors import ArgumentError, SettingError
from tdw.safe_text import shown

Kind = TypeVar("Kind")
MOST_JOBS = 1024  # processes or threads


def refused(name: str, given: object, allowed: str) -> ArgumentError:
    """The error for an argument. allowed: what it must be, and after a colon what to do

    >>> str(refused("at", None, "an integer"))
    'at must be an integer (got None)'
    """
    return ArgumentError(name, f"{name} must be {allowed} (got {shown(given)})")


def path(name: str, given: object) -> Path:
    """A path, given as text or as an object that is one. Raises ArgumentError."""
    if not isinstance(given, (str, os.PathLike)) or not (text := os.fspath(given)) or not isinstance(text, str):
        raise refused(name, given, "a path, as text or pathlib.Path")
    if "\0" in text:
        raise refused(name, given, "a path without null characters")
    return Path(given)


def integer(name: str, given: object, low: int, high: int | None = None) -> int:
    """An integer within these limits, also one of NumPy. Raises ArgumentError."""
    if isinstance(given, SupportsIndex) and not isinstance(given, bool):
        try:
            number = given.__index__()
        except TypeError:  # an array
            number = low - 1
        if low <= number and (high is None or number <= high):
            return number
    raise refused(name, given, f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}")


def jobs(given: int | None, low: int = 1) -> int | None:
    """A number of processes or threads; None stands for the default. low: 0 where it may be none. Raises SettingError."""
    try:
        return None if given is None else integer("--jobs", given, low, MOST_JOBS)
    except ArgumentError as error:
        raise SettingError("jobs", str(error)) from None


def share(name: str, given: object) -> float:
    """A number between 0 and 1, without these. Raises ArgumentError."""
    try:
        number = float("nan") if isinstance(given, (str, bytes)) else float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if math.isfinite(number) and 0 < number < 1:
        return number
    raise refused(name, given, "a number greater than 0 and less than 1")


def text(name: str, given: object, allowed: str) -> str:
    """Text. Raises ArgumentError."""
    return instance(name, given, str, allowed)


def instance(name: str, given: object, kind: type[Kind], allowed: str) -> Kind:
    """An object of this kind. Raises ArgumentError."""
    if not isinstance(given, kind):
        raise refused(name, given, allowed)
    return given


def several(name: str, given: object, allowed: str) -> list[Any]:
    """What an iterable gives; text and mappings are none. Raises ArgumentError."""
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise refused(name, given, allowed)
    try:
        return list(given)
    except TypeError:  # an array without axes
        raise refused(name, given, allowed) from None


def function(name: str, given: Callable[..., Any] | None) -> None:
    """Raise ArgumentError for anything but a function or None."""
    if given is not None and not callable(given):
        raise refused(name, given, "a function or None")
