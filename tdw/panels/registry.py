"""What a panel is, and the one list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tdw.errors import UnknownNameError
from tdw.panels.spec import Spec

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tdw.project.project import Project

GROUPS = ("Overview", "Frequencies", "Logits", "Losses", "Neurons", "Attention", "Weights", "Algorithm", "Run")


@dataclass(frozen=True)
class Panel:
    """One panel. `kind` is the part of the viewer that draws it (curve, bars, grid, …); `analysis` the one whose
    checkpoints it covers, without which it has nothing to show if `required`. `spec(project)` adds what the kind needs
    to know, among it `arrays`: every array it reads. `figure(project, epoch, picks)` is the panel on its own, after the
    choices `picks` in its menus; None where its kind draws it from the description.

    group: the view it stands in · place: there, from 1 · weights: whether it shows what was measured of checkpoints
    split: whether it makes sense only where the train pairs are known
    """

    group: str
    place: int
    name: str
    title: str
    kind: str
    analysis: str | None
    required: bool
    weights: bool
    split: bool
    spec: Callable[[Project], Spec]
    figure: Callable[[Project, int, Mapping[str, str]], go.Figure] | None


PANELS: dict[str, Panel] = {}
Figure = Callable[["Project", int], "go.Figure"]
Describe = Callable[["Project"], Spec]


def panel(
    *,
    place: int,
    title: str,
    kind: str,
    spec: Describe,
    group: str = GROUPS[0],
    analysis: str | None = None,
    required: bool = False,
    weights: bool = True,
) -> Callable[[Figure], Figure]:
    """Register the decorated function, which draws the figure, under its own name."""

    def register(draw: Figure) -> Figure:
        def figure(project: Project, epoch: int, picks: Mapping[str, str]) -> go.Figure:
            for name in picks:
                raise UnknownNameError("choice of this panel", name, ())
            return draw(project, epoch)

        _add(Panel(group, place, draw.__name__, title, kind, analysis, required, weights, False, spec, figure), draw)
        return draw

    return register


def declared(
    *,
    group: str,
    place: int,
    title: str,
    kind: str,
    analysis: str,
    required: bool = True,
    weights: bool = True,
    split: bool = False,
) -> Callable[[Describe], Describe]:
    """Register the decorated function, which describes a panel, under its own name; its kind draws the figure."""

    def register(spec: Describe) -> Describe:
        _add(Panel(group, place, spec.__name__, title, kind, analysis, required, weights, split, spec, None), spec)
        return spec

    return register


def _add(item: Panel, made: Callable[..., Any]) -> None:
    if item.name in PANELS:
        first = PANELS[item.name].spec
        raise ValueError(f"two panels are named {item.name!r}: {first.__module__} and {made.__module__}")
    PANELS[item.name] = item


def find(name: str) -> Panel:
    """The panel of that name. Raises UnknownNameError, with the nearest one."""
    if name not in PANELS:
        raise UnknownNameError("panel", name, PANELS)
    return PANELS[name]
