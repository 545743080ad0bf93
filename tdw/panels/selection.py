"""A description after choices in its menus, and what is then drawn of its arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tdw.errors import TdwError, UnknownNameError
from tdw.panels import reductions
from tdw.panels.spec import BarsSpec, Choice, CurveSpec, GridSpec, Line, PathSpec, Places, Spec
from tdw.recorded import is_recorded

if TYPE_CHECKING:
    from tdw.panels.reductions import Array
    from tdw.project.project import Project

Viewed = TypeVar("Viewed")


def choices_of(spec: Spec) -> Mapping[str, Choice]:
    """The choices in a panel's menu, by name."""
    return spec.choices if isinstance(spec, CurveSpec | GridSpec | PathSpec) else {}


def compared(spec: Spec) -> str | None:
    """The choice whose options are drawn side by side."""
    return spec.compare[0] if isinstance(spec, CurveSpec) and spec.compare else None


def titles_of(spec: Spec) -> list[str]:
    """Titles of the views or quantities that a menu offers."""
    match spec:
        case CurveSpec():
            return [quantity.title for quantity in spec.quantities]
        case BarsSpec() | GridSpec():
            return [view.title for view in spec.views]
    return []


def _first(items: tuple[Viewed, ...], place: int) -> tuple[Viewed, ...]:
    return (items[place], *items[:place], *items[place + 1 :])


def chosen(spec: Spec, picks: Mapping[str, str]) -> Spec:
    """A description after these choices, each by the name of the choice and that of the option (as stored, as people read it, or short); "view" is which of several
    views or quantities, "compare" what is drawn side by side ("none" for nothing). A choice that is made is no longer
    compared. Raises UnknownNameError, and TdwError where a choice is both made and compared.
    """
    menus, titles = choices_of(spec), titles_of(spec)
    comparable = spec.compare if isinstance(spec, CurveSpec) else ()
    names = [*menus, *(["view"] if len(titles) > 1 else []), *(["compare"] if comparable else [])]
    for name in picks:
        if name not in names:
            raise UnknownNameError("choice of this panel", name, names)

    def place(name: str, *spellings: tuple[str, ...]) -> int:
        for options in spellings:
            if picks[name] in options:
                return options.index(picks[name])
        raise UnknownNameError(f"option of {name!r}", picks[name], spellings[0])

    after = {
        name: replace(menu, chosen=place(name, menu.options, menu.names, menu.short)) if name in picks else menu
        for name, menu in menus.items()
    }
    view = place("view", tuple(titles)) if "view" in picks else 0
    match spec:
        case CurveSpec():
            if "compare" in picks:
                place("compare", (*comparable, "none"))
                comparable = () if picks["compare"] == "none" else (picks["compare"],)
                if picks["compare"] in picks:
                    raise TdwError(f"{picks['compare']!r} is both chosen and compared: drop one of the two")
            elif comparable and comparable[0] in picks:
                comparable = ()
            return replace(spec, choices=after, compare=comparable, quantities=_first(spec.quantities, view))
        case GridSpec():
            return replace(spec, choices=after, views=_first(spec.views, view))
        case BarsSpec():
            return replace(spec, views=_first(spec.views, view))
        case PathSpec():
            return replace(spec, choices=after)
    return spec


def words(spec: Spec) -> list[str]:
    """What is chosen, where it matters for what is drawn, as the card says it."""
    menus = choices_of(spec)
    match spec:
        case CurveSpec():
            used = {axis for line in spec.quantities[0].lines for axis in line.axes}
        case GridSpec():
            used = set(spec.views[0].axes)
        case _:
            used = set(menus)
    return [
        f"{menu.prefix}{(menu.short or menu.names)[menu.chosen]}"
        for name, menu in menus.items()
        if name in used and name != compared(spec)
    ]


def expanded(line: Line, spec: CurveSpec) -> list[Line]:
    """The lines that are drawn for one of a description: one for each option of the compared choice."""
    name = compared(spec)
    if name is None or name not in line.axes:
        return [line]
    names = spec.choices[name].names
    return [replace(line, label=label, color=f"series-{i}", picks={name: i}) for i, label in enumerate(names)]


def places(axes: Places, spec: Spec, picks: Mapping[str, int] | None = None) -> tuple[Any, ...]:
    """The numpy index into the axes after the rows; axes that are drawn are left whole."""
    menus, picks = choices_of(spec), picks or {}

    def one(axis: int | str) -> int | slice:
        if isinstance(axis, int):
            return axis
        return slice(None) if axis in ("y", "x") else picks.get(axis, menus[axis].chosen)

    return tuple(one(axis) for axis in axes)


def is_empty(project: Project, spec: CurveSpec) -> bool:
    """Whether the quantity that is drawn has nothing recorded and no number of an analysis."""
    lines = [one for line in spec.quantities[0].lines for one in expanded(line, spec)]
    drawn = [(line, values(project, line, spec)[1]) for line in lines if reductions.is_stored(project, line.array)]
    return all(not numbers.size if is_curve(line) else np.isnan(numbers).all() for line, numbers in drawn)


def is_curve(line: Line) -> bool:
    """Whether a line is a curve of the file, rather than of an analysis."""
    return not line.array.startswith(("analysis/", reductions.PREFIX))


def values(project: Project, line: Line, spec: Spec) -> tuple[Array, Array]:
    """Epochs and numbers of a line, as stored or reduced; of a curve those that were recorded."""
    stored = reductions.series(project, line.array)
    if is_curve(line):
        evaluated = np.flatnonzero(is_recorded(stored))
        return project.epochs[evaluated], stored[evaluated]
    if line.whole:
        return np.array(project.checkpoints)[: stored.shape[1]], stored[0]
    epochs = project.series(f"analysis/{reductions.analysis_of(line.array)}/epoch")
    numbers = stored[:, *places(line.axes, spec, line.picks)]
    return epochs[: len(numbers)], numbers
