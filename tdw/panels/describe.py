"""What the viewer and figures are told of every panel: its description, whether it applies, and its state in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdw.analyses import ANALYSES
from tdw.analyses.engine import runner
from tdw.analyses.engine.registry import NEEDS
from tdw.errors import CheckpointNotFoundError, NotApplicableError
from tdw.panels import spec as parts
from tdw.panels import theme
from tdw.panels.registry import GROUPS, PANELS, Panel, find
from tdw.panels.spec import UNKNOWN_SPLIT, Spec
from tdw.safe_text import cut

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tdw.analyses.engine.registry import Analysis
    from tdw.project.project import Project
    from tdw.store import StoredAnalysis


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
            "per": ANALYSES[item.analysis].per if item.analysis else None,
            "state": state(project, item),
            "arrays": [],
        }
        if said["state"]["status"] != "unfit":
            said |= item.spec(project)
            said["arrays"] = [name for name in said["arrays"] if name not in misfits]
        found.append(said)
    return found


def inapplicable_reason(project: Project, item: Panel) -> str | None:
    """Why a panel makes no sense for a run, in words; None where it does."""
    why = ANALYSES[item.analysis].inapplicable_reason(project.config) if item.analysis and item.required else None
    if item.kind == "maps" and why is None:  # the browser computes them from the closed form
        why = NEEDS["closed_form"](project.config)
    return why or (UNKNOWN_SPLIT if item.split and project.known_split is None else None)


def _misfits(project: Project) -> set[str]:
    """Stored arrays, by their names in the file, of other sizes than this program would store: made by another version,
    and for the panels as good as not there.
    """
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
    Raises UnknownNameError, CheckpointNotFoundError, and AnalysisNotFoundError or ProjectError where it is not analyzed.
    """
    item = find(name)
    stored = project.checkpoints
    if epoch is None and stored:
        epoch = stored[-1]
    if epoch is None or epoch not in stored:
        raise CheckpointNotFoundError(project.path, epoch, stored)
    if why := inapplicable_reason(project, item):
        raise NotApplicableError(project.path, item.name, why)
    if item.figure is not None:
        return item.figure(project, epoch, picks)
    from tdw.panels import plotly_figures

    chosen = parts.chosen(item.spec(project), picks)
    heading = chosen["views"][0].get("heading", item.title) if "views" in chosen else item.title
    choices = theme.literal(" · ".join(parts.said(chosen)))
    return plotly_figures.DRAW[item.kind](project, chosen, f"{heading} ({choices})" if choices else heading, epoch)


def state(project: Project, item: Panel) -> dict[str, str]:
    """Whether what the panel shows is `ready`, `partial`, `missing`, `stale` (made by another version or with other
    parameters than this program would use now, or of less than there is now), `outdated` (so different that it cannot
    be shown), or `unfit` for this run; `reason` says why.
    """
    if why := inapplicable_reason(project, item):
        return {"status": "unfit", "reason": why}
    if item.analysis is None:
        return {"status": "ready"}
    stored = project.analyses().get(item.analysis)
    if stored is None or not stored.rows:
        return {"status": "missing"}
    now = ANALYSES[item.analysis]
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
    made_with = runner.parameters_of(name, stored)
    for key, value in now.parameters.items():
        if made_with.get(key) != value:
            made = cut(str(made_with.get(key)))
            return f"Made with {key} = {made}; this program uses {value}."
    return None
