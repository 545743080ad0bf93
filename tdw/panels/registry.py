"""What a panel is, and the one list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tdw.errors import CheckpointNotFound, NotApplicable, ProjectError, UnknownName
from tdw.safe_text import cut

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tdw.analyses.engine.registry import Analysis
    from tdw.project.project import Project, StoredResult
    from tdw.store import StoredAnalysis

Spec = dict[str, Any]


GROUPS = ("Overview", "Frequencies", "Logits", "Losses", "Neurons", "Attention", "Weights", "Algorithm", "Run")
UNKNOWN_SPLIT = "Nobody knows which pairs this run was trained on."


@dataclass(frozen=True)
class Panel:
    """One panel. `kind` is the part of the viewer that draws it (curve, bars, grid, …); `analysis` the one whose
    checkpoints it covers, without which it has nothing to show if `required`. `spec(project)` adds what the kind needs
    to know, among it `arrays`: every array it reads. `figure(project, epoch, picks)` is the panel on its own, after the
    choices `picks` in its menus.

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
    figure: Callable[[Project, int, Mapping[str, str]], go.Figure]


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
                raise UnknownName("choice of this panel", name, ())
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
        def draw(project: Project, epoch: int, picks: Mapping[str, str]) -> go.Figure:
            from tdw.panels import plotly_figures, theme
            from tdw.panels import spec as parts

            found = parts.chosen(spec(project), picks)
            heading = found["views"][0].get("heading", title) if "views" in found else title
            said = theme.literal(" · ".join(parts.said(found)))
            return plotly_figures.DRAW[kind](project, found, f"{heading} ({said})" if said else heading, epoch)

        _add(Panel(group, place, spec.__name__, title, kind, analysis, required, weights, split, spec, draw), spec)
        return spec

    return register


def _add(item: Panel, made: Callable[..., Any]) -> None:
    if item.name in PANELS:
        first = PANELS[item.name].spec
        raise ValueError(f"two panels are named {item.name!r}: {first.__module__} and {made.__module__}")
    PANELS[item.name] = item


def find(name: str) -> Panel:
    """The panel of that name. Raises UnknownName, with the nearest one."""
    if name not in PANELS:
        raise UnknownName("panel", name, PANELS)
    return PANELS[name]


def describe(project: Project) -> list[Spec]:
    """What the viewer has to know of every panel, as JSON-able values, in the order of the page."""
    misfits = _misfits(project)
    found = []
    for item in sorted(PANELS.values(), key=lambda item: (GROUPS.index(item.group), item.place)):
        said: Spec = {
            "name": item.name,
            "group": item.group,
            "title": item.title,
            "kind": item.kind,
            "analysis": item.analysis,
            "required": item.required,
            "weights": item.weights,
            "per": _known(item.analysis).per if item.analysis else None,
            "state": state(project, item),
            "arrays": [],
        }
        if said["state"]["status"] != "unfit":
            said |= item.spec(project)
            said["arrays"] = [name for name in said["arrays"] if name not in misfits]
        found.append(said)
    return found


def unfit(project: Project, item: Panel) -> str | None:
    """Why a panel makes no sense for a run, in words; None where it does."""
    why = _known(item.analysis).unfit(project.config) if item.analysis and item.required else None
    return why or (UNKNOWN_SPLIT if item.split and project.known_split is None else None)


def _known(name: str) -> Analysis:
    from tdw.analyses import ANALYSES

    return ANALYSES[name]


def _misfits(project: Project) -> set[str]:
    """Stored arrays, by their names in the file, of other sizes than this program would store: made by another version,
    and for the panels as good as not there.
    """
    from tdw.analyses import ANALYSES

    found = set()
    config = project.config
    for name, stored in project.analyses().items():
        if name not in ANALYSES:
            continue
        now = ANALYSES[name]
        computed = stored.parameters.get("computed")
        of = computed.get("checkpoints", 0) if isinstance(computed, dict) else 0
        for array, plan in stored.arrays.items():
            known = now.arrays.get(array)
            if array != "epoch" and (known is None or tuple(plan.row_shape) != known.shape(config, of)):
                found.add(f"analysis/{name}/{array}")
    return found


def figure(project: Project, name: str, epoch: int | None = None, **picks: str) -> go.Figure:
    """A panel at a checkpoint (the last one for None) as a Plotly figure, from the arrays the viewer draws.

    picks: choices in the panel's menus, such as rule="clusters", see `parts.chosen`
    Raises UnknownName, CheckpointNotFound, and AnalysisNotFound or ProjectError where it is not analysed.
    """
    item = find(name)
    stored = project.checkpoints
    if epoch is None and stored:
        epoch = stored[-1]
    if epoch is None or epoch not in stored:
        raise CheckpointNotFound(project.path, epoch, stored)
    if why := unfit(project, item):
        raise NotApplicable(project.path, item.name, why)
    return item.figure(project, epoch, picks)


def state(project: Project, item: Panel) -> dict[str, str]:
    """Whether what the panel shows is `ready`, `partial`, `missing`, `stale` (made by another version or with other
    parameters than this program would use now, or of less than there is now), `outdated` (so different that it cannot
    be shown), or `unfit` for this run; `reason` says why.
    """
    if why := unfit(project, item):
        return {"status": "unfit", "reason": why}
    if item.analysis is None:
        return {"status": "ready"}
    from tdw.analyses.engine import runner

    stored = project.analyses().get(item.analysis)
    if stored is None or not stored.rows:
        return {"status": "missing"}
    now = _known(item.analysis)
    if reason := _stale(item.analysis, stored, now):
        shown = any(name.startswith(f"analysis/{item.analysis}/") for name in _misfits(project))
        return {"status": "outdated" if shown else "stale", "reason": reason}
    if now.per == "run":
        if runner.is_current(now, project):
            return {"status": "ready"}
        return {"status": "stale", "reason": "Computed when the run had less, or from results that have changed since."}
    return {"status": "ready" if stored.rows >= len(project.checkpoints) else "partial"}


def _stale(name: str, stored: StoredAnalysis, now: Analysis) -> str | None:
    if stored.version != now.version:
        return f"Made by version {stored.version} of {name}; this program has version {now.version}."
    for key, value in now.parameters.items():
        if stored.parameters.get(key) != value:
            made = cut(str(stored.parameters.get(key)))
            return f"Made with {key} = {made}; this program uses {value}."
    return None


def result_at(project: Project, analysis: str, epoch: int) -> tuple[StoredResult, int]:
    """Stored results of an analysis and the row of `epoch` in them. Raises AnalysisNotFound or ProjectError."""
    stored = project.analysis(analysis)
    if epoch not in stored.checkpoints:
        raise ProjectError(
            f"{project.path.name} holds {analysis} of {len(stored.checkpoints)} of its {len(project.checkpoints)} "
            f"checkpoints, not of epoch {epoch}. `tdw analyze {project.path.name}` computes the rest."
        )
    return stored, stored.checkpoints.index(epoch)
