"""What a panel is, and the one list of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tdw.errors import CheckpointNotFound, ProjectError, UnknownName
from tdw.text import cut

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tdw.project import Project, StoredResult

Spec = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """One panel. `kind` is the part of the viewer that draws it (curve, bars, maps, image); `analysis` the one whose
    checkpoints it covers, without which it has nothing to show if `required`. `spec(project)` adds what the kind needs
    to know, among it `arrays`: every array it reads. `figure(project, epoch)` is the panel on its own.
    """

    place: int  # on the page, from 1
    name: str
    title: str
    kind: str
    analysis: str | None
    required: bool
    spec: Callable[[Project], Spec]
    figure: Callable[[Project, int], go.Figure]


PANELS: dict[str, Panel] = {}


def panel(
    *,
    place: int,
    title: str,
    kind: str,
    spec: Callable[[Project], Spec],
    analysis: str | None = None,
    required: bool = False,
) -> Callable[[Callable[[Project, int], go.Figure]], Callable[[Project, int], go.Figure]]:
    """Register the decorated function, which draws the figure, under its own name."""

    def register(draw: Callable[[Project, int], go.Figure]) -> Callable[[Project, int], go.Figure]:
        name = draw.__name__
        if name in PANELS:
            first = PANELS[name].figure
            raise ValueError(f"two panels are named {name!r}: {first.__module__} and {draw.__module__}")
        PANELS[name] = Panel(place, name, title, kind, analysis, required, spec, draw)
        return draw

    return register


def find(name: str) -> Panel:
    """The panel of that name. Raises UnknownName, with the nearest one."""
    if name not in PANELS:
        raise UnknownName("panel", name, PANELS)
    return PANELS[name]


def describe(project: Project) -> list[Spec]:
    """What the viewer has to know of every panel, as JSON-able values."""
    return [
        {
            "name": item.name,
            "title": item.title,
            "kind": item.kind,
            "analysis": item.analysis,
            "required": item.required,
            "state": state(project, item),
            **item.spec(project),
        }
        for item in sorted(PANELS.values(), key=lambda item: item.place)
    ]


def figure(project: Project, name: str, epoch: int | None = None) -> go.Figure:
    """A panel at a checkpoint (the last one for None) as a Plotly figure, from the arrays the viewer draws.

    Raises UnknownName, CheckpointNotFound, and AnalysisNotFound or ProjectError where it is not analysed.
    """
    item = find(name)
    stored = project.checkpoints
    if epoch is None and stored:
        epoch = stored[-1]
    if epoch is None or epoch not in stored:
        raise CheckpointNotFound(project.path, epoch, stored)
    return item.figure(project, epoch)


def state(project: Project, item: Panel) -> dict[str, str]:
    """Whether what the panel shows is `ready`, `partial`, `missing`, or `stale`: made by another version or with other
    parameters than this program would use now (`reason` says which).
    """
    if item.analysis is None:
        return {"status": "ready"}
    from tdw.analyses import ANALYSES

    stored = project.analyses().get(item.analysis)
    if stored is None or not stored.rows:
        return {"status": "missing"}
    now = ANALYSES[item.analysis]
    if stored.version != now.version:
        reason = f"Made by version {stored.version} of {item.analysis}; this program has version {now.version}."
        return {"status": "stale", "reason": reason}
    for key, value in now.parameters.items():
        if stored.parameters.get(key) != value:
            made = cut(str(stored.parameters.get(key)))
            reason = f"Made with {key} = {made}; this program uses {value}."
            return {"status": "stale", "reason": reason}
    return {"status": "ready" if stored.rows >= len(project.checkpoints) else "partial"}


def result_at(project: Project, analysis: str, epoch: int) -> tuple[StoredResult, int]:
    """Stored results of an analysis and the row of `epoch` in them. Raises AnalysisNotFound or ProjectError."""
    stored = project.analysis(analysis)
    if epoch not in stored.checkpoints:
        raise ProjectError(
            f"{project.path.name} holds {analysis} of {len(stored.checkpoints)} of its {len(project.checkpoints)} "
            f"checkpoints, not of epoch {epoch}. `tdw analyze {project.path.name}` computes the rest."
        )
    return stored, stored.checkpoints.index(epoch)
