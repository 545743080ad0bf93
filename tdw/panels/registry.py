"""What a panel is, and the one list of them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tdw.errors import UnknownNameError
from tdw.panels.spec import Kind, Spec

if TYPE_CHECKING:
    from tdw.project.project import Project

# The order of the tabs. A view that a panel names and that is not listed comes after these.
VIEWS = ("Overview", "Frequencies", "Logits", "Losses", "Neurons", "Attention", "Weights", "Algorithm", "Run")

AnySpec = TypeVar("AnySpec", bound=Spec)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel. `describe(project)` is what its kind draws. Without its `analysis` it has nothing to show if `required`;
    `weights`: it needs a checkpoint; `split`: it needs the train/test split.
    """

    view: str
    name: str
    title: str
    kind: Kind
    analysis: str | None
    required: bool
    weights: bool
    split: bool
    describe: Callable[[Project], Spec]


PANELS: dict[str, Panel] = {}


def panel(
    spec: type[AnySpec],
    *,
    view: str,
    title: str,
    analysis: str | None = None,
    required: bool = True,
    weights: bool = True,
    split: bool = False,
) -> Callable[[Callable[[Project], AnySpec]], Callable[[Project], AnySpec]]:
    """Register the decorated function, which describes a panel of the kind of `spec`, under its own name.

    A view shows its panels in the order of registration, as many as there are.
    """

    def register(describe: Callable[[Project], AnySpec]) -> Callable[[Project], AnySpec]:
        name = describe.__name__
        if name in PANELS:
            first = PANELS[name].describe
            raise ValueError(f"two panels are named {name!r}: {first.__module__} and {describe.__module__}")
        PANELS[name] = Panel(
            view=view,
            name=name,
            title=title,
            kind=spec.kind,
            analysis=analysis,
            required=required and analysis is not None,
            weights=weights,
            split=split,
            describe=describe,
        )
        return describe

    return register


def find(name: str) -> Panel:
    """The panel of that name. Raises UnknownNameError, with the nearest one."""
    if name not in PANELS:
        raise UnknownNameError("panel", name, PANELS)
    return PANELS[name]


def views() -> list[str]:
    """The views that have panels, in the order of their tabs."""
    named = {panel.view for panel in PANELS.values()}
    return [
        *(view for view in VIEWS if view in named),
        *dict.fromkeys(p.view for p in PANELS.values() if p.view not in VIEWS),
    ]


def in_order() -> list[Panel]:
    """All panels in the order of the page."""
    order = views()
    return sorted(PANELS.values(), key=lambda panel: order.index(panel.view))


def load(package: str) -> None:
    """Import every module of a package, so that its panels register."""
    path = importlib.import_module(package).__path__
    for module in sorted(found.name for found in pkgutil.iter_modules(path)):
        importlib.import_module(f"{package}.{module}")
