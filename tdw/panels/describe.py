"""What the page and figures are told of every panel: its description, whether it applies, and its state in a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tdw.analyses import ANALYSES
from tdw.analyses.engine import runner
from tdw.analyses.engine.registry import NEEDS
from tdw.errors import AnalysisNotFoundError, CheckpointNotFoundError, NotApplicableError, ProjectError
from tdw.panels import content, reductions, selection
from tdw.panels.parts import UNKNOWN_SPLIT
from tdw.panels.registry import Panel, find, in_order
from tdw.panels.spec import CurveSpec, PanelDescription, PanelHeader, Spec, State, array_names
from tdw.safe_text import cut

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from tdw.analyses.engine.registry import Analysis
    from tdw.project.project import Project
    from tdw.store import StoredAnalysis

WITHOUT_WEIGHTS = "it shows weights, and this run has losses only."


def describe(project: Project) -> list[PanelDescription]:
    """Every panel as described for a run, in the order of the page."""
    mismatched = _mismatched(project)
    return [_described(project, panel, mismatched) for panel in in_order()]


def _described(project: Project, panel: Panel, mismatched: set[str]) -> PanelDescription:
    now = state(project, panel)
    spec = None if now.status == "inapplicable" else panel.describe(project)

    def is_usable(name: str) -> bool:
        sources = reductions.parse(name).sources if name.startswith(reductions.PREFIX) else (name,)
        return mismatched.isdisjoint(sources)

    header = PanelHeader(
        name=panel.name,
        view=panel.view,
        title=panel.title,
        kind=panel.kind,
        state=now,
        analysis=panel.analysis,
        required=panel.required,
        weights=panel.weights,
        per=ANALYSES[panel.analysis].per if panel.analysis else None,
        arrays=() if spec is None else tuple(name for name in array_names(spec) if is_usable(name)),
    )
    return PanelDescription(header=header, spec=spec)


def array_index(project: Project, described: Iterable[PanelDescription]) -> dict[str, dict[str, Any]]:
    """Every array that the page may ask for, see `Project.array_index`: what is stored, and the panels' reductions."""
    return reductions.index(project, (name for panel in described for name in panel.header.arrays))


def inapplicable_reason(project: Project, panel: Panel) -> str | None:
    """Why a panel is not defined for a run; None where it is."""
    reason = None
    if panel.analysis and panel.required:
        reason = ANALYSES[panel.analysis].inapplicable_reason(project.config, task_known=project.knows_task)
    if panel.kind == "maps" and reason is None:  # the browser computes them from the closed form
        reason = NEEDS["closed_form"](project.config)
    return reason or (UNKNOWN_SPLIT if panel.split and project.known_split is None else None)


def _mismatched(project: Project) -> set[str]:
    """Names of stored arrays whose shape is not what this version would store. Panels treat them as missing."""
    mismatched = set()
    config = project.config
    for name, stored in project.analyses().items():
        if name not in ANALYSES:
            continue
        now = ANALYSES[name]
        computed = stored.parameters.get("computed")
        checkpoints = computed.get("checkpoints", 0) if isinstance(computed, dict) else 0
        for array, plan in stored.arrays.items():
            expected = now.arrays.get(array)
            if array != "epoch" and (expected is None or tuple(plan.row_shape) != expected.shape(config, checkpoints)):
                mismatched.add(f"analysis/{name}/{array}")
    return mismatched


def figure(project: Project, name: str, epoch: int | None = None, **picks: str) -> go.Figure:
    """A panel at a checkpoint (the last one for None) as a Plotly figure, from the arrays that the page draws.

    picks: choices in the panel's menus, such as rule="clusters", see `selection.chosen`
    Raises what `drawable` raises.
    """
    from tdw.panels import plotly_figures

    panel, spec, at = drawable(project, name, epoch, picks)
    return plotly_figures.draw(project, content.content(project, spec, at), title(panel, spec), at)


def drawable(project: Project, name: str, epoch: int | None, picks: Mapping[str, str]) -> tuple[Panel, Spec, int]:
    """A panel, its description after these choices, and the epoch (the last one for None), where a figure can be drawn of it.

    Raises UnknownNameError, CheckpointNotFoundError, NotApplicableError, and AnalysisNotFoundError or ProjectError where it is
    not analyzed.
    """
    panel = find(name)
    stored = project.checkpoints
    if not panel.weights and not stored:
        epoch = _recorded(project, epoch)
    elif not stored and project.state == "finished":
        raise NotApplicableError(project.path, panel.name, WITHOUT_WEIGHTS)
    elif epoch is None and stored:
        epoch = stored[-1]
    if epoch is None or (stored and epoch not in stored):
        raise CheckpointNotFoundError(project.path, epoch, stored)
    if reason := inapplicable_reason(project, panel):
        raise NotApplicableError(project.path, panel.name, reason)
    if panel.required and panel.analysis:
        now = state(project, panel)
        if now.status == "missing":
            raise AnalysisNotFoundError(project.path, panel.analysis, project.analyses())
        if now.status == "outdated":
            raise ProjectError(f"{panel.name}: {now.reason} `tdw analyze {project.path.name}` computes it again.")
    spec = selection.chosen(panel.describe(project), picks)
    if isinstance(spec, CurveSpec) and spec.empty and selection.is_empty(project, spec):
        raise NotApplicableError(project.path, panel.name, spec.empty)
    return panel, spec, epoch


def title(panel: Panel, spec: Spec) -> str:
    """What is shown, in words: the title of the panel or of the view that is drawn, and what is chosen in its menus."""
    heading, choices = content.heading(spec, panel.title), " · ".join(selection.words(spec))
    return f"{heading} ({choices})" if choices else heading


def _recorded(project: Project, epoch: int | None) -> int:
    """`epoch`, or the last one, where it is recorded. Raises ProjectError."""
    last = len(project.epochs) - 1
    if last < 0:
        raise CheckpointNotFoundError(project.path, epoch, [])
    if epoch is not None and not 0 <= epoch <= last:
        raise ProjectError(f"{project.path.name} has no epoch {epoch}: it has epochs 0 to {last}.")
    return last if epoch is None else epoch


def state(project: Project, panel: Panel) -> State:
    """Whether what the panel shows is `ready`, `partial`, `missing`, `stale` (computed by another version, with other
    parameters, or from less than there is now), `outdated` (stale, and stored in shapes that cannot be shown), or
    `inapplicable` to this run.
    """
    if reason := inapplicable_reason(project, panel):
        return State(status="inapplicable", reason=reason)
    if panel.analysis is None:
        return State(status="ready")
    stored = project.analyses().get(panel.analysis)
    if stored is None or not stored.rows:
        return State(status="missing")
    now = ANALYSES[panel.analysis]
    if reason := _stale_reason(panel.analysis, stored, now):
        unusable = any(name.startswith(f"analysis/{panel.analysis}/") for name in _mismatched(project))
        return State(status="outdated" if unusable else "stale", reason=reason)
    if now.per == "run":
        if runner.is_current(now, project):
            return State(status="ready")
        return State(status="stale", reason="The run, or results this was computed from, have changed since.")
    return State(status="ready" if stored.rows >= len(project.checkpoints) else "partial")


def _stale_reason(name: str, stored: StoredAnalysis, now: Analysis) -> str | None:
    if stored.version != now.version:
        return f"Computed by version {stored.version} of {name}; this program has version {now.version}."
    computed_with = runner.parameters_of(name, stored)
    for key, value in now.parameters.items():
        if computed_with.get(key) != value:
            return f"Computed with {key} = {cut(str(computed_with.get(key)))}; this program uses {value}."
    return None
