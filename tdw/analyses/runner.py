"""Analyse a run: each checkpoint once, all due analyses together, results stored as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tdw import store
from tdw.analyses.registry import ANALYSES, Analysis, evaluate, find
from tdw.analyses.view import Curves, View
from tdw.config import RunConfig
from tdw.project import Project, ProjectWriter

CHECKPOINTS_A_COMMIT = 8
BOOKKEEPING = ("per", "computed")  # stored among the parameters of a run's analysis, and none of its own


@dataclass(frozen=True)
class Progress:
    """How far an analysis of a run has come. done, total: checkpoints."""

    names: tuple[str, ...]
    done: int
    total: int
    seconds: float


def analyze(
    path: str | Path,
    only: Iterable[str] | str | None = None,
    *,
    force: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> list[str]:
    """Compute and store what is missing or stale of the named analyses (all, if none is named).

    Results that are there and current are left alone, unless `force`. Memory does not grow with the number of
    checkpoints; what is stored stays when this is interrupted. Returns the names of the analyses that were computed.
    Raises UnknownName, OpenElsewhere and what opening a file raises.
    """
    wanted = [find(name) for name in ([only] if isinstance(only, str) else only or ANALYSES)]
    with ProjectWriter.open(path) as project:
        due = [item for item in wanted if force or not is_current(item, project)]
        if not due:
            return []
        _compute(project, due, force=force, progress=progress)
        return [item.name for item in due]


def is_current(item: Analysis, project: Project) -> bool:
    """Whether stored results of this analysis exist, cover all there is, and are of this version and parameters."""
    stored = project.analyses().get(item.name)
    if stored is None or not _same(item, stored):
        return False
    if item.per == "run":
        return stored.rows == 1 and stored.parameters["computed"] == _stamp(project)
    return stored.rows == len(project.checkpoints)


def is_stale(item: Analysis, stored: store.StoredAnalysis) -> bool:
    """Whether stored results are of another version or other parameters than this analysis has now."""
    return not _same(item, stored)


def _stamp(project: Project) -> int:
    """What the results of an analysis of the whole run depend on: how much was recorded."""
    return len(project.epochs)


def _same(item: Analysis, stored: store.StoredAnalysis) -> bool:
    parameters = {name: value for name, value in stored.parameters.items() if name not in BOOKKEEPING}
    return (stored.version, parameters) == (item.version, item.parameters)


def plan_rows(item: Analysis, settings: RunConfig, *, rows: int, recorded: int) -> store.AnalysisPlan:
    """Room for the results of an analysis: of `rows` checkpoints, or of a whole run of which `recorded` epochs are."""
    arrays = {name: store.ArrayPlan(spec.dtype, spec.shape(settings)) for name, spec in item.arrays.items()}
    if item.per == "run":
        parameters: dict[str, Any] = {**item.parameters, "per": "run", "computed": recorded}
        return store.AnalysisPlan(item.name, item.version, parameters, arrays, 1)
    arrays["epoch"] = store.ArrayPlan("<i8", ())
    return store.AnalysisPlan(item.name, item.version, dict(item.parameters), arrays, rows)


def _compute(
    project: ProjectWriter, due: list[Analysis], *, force: bool, progress: Callable[[Progress], None] | None
) -> None:
    started = time.monotonic()
    stored = project.analyses()
    # A plan equal to the stored one keeps its rows, so what must be computed anew is removed in the same change.
    old = {
        item.name
        for item in due
        if item.name in stored and (force or item.per == "run" or not _same(item, stored[item.name]))
    }
    room = max(len(project.planned_checkpoints), len(project.checkpoints), 1)
    plans = [plan_rows(item, project.config, rows=room, recorded=_stamp(project)) for item in due]
    there = {name: item for name, item in stored.items() if name not in old}
    missing = [plan for plan in plans if plan.name not in there or there[plan.name].capacity < plan.capacity]
    if missing:
        project.plan_analyses(missing, remove=sorted(old))

    for item in due:
        if item.per == "run":
            curves = Curves(project.train_loss, project.test_loss, project.train_accuracy, project.test_accuracy)
            result = evaluate(item, curves, project.config)
            project.append_rows({item.name: {name: array[None] for name, array in result.items()}})

    of_checkpoints = [item for item in due if item.per == "checkpoint"]
    names = tuple(item.name for item in due)
    epochs = project.checkpoints
    settings = project.config
    waiting: dict[str, dict[str, list[np.ndarray[Any, Any]]]] = {}
    rows = {item.name: project.analyses()[item.name].rows for item in of_checkpoints}
    for index in range(min(rows.values(), default=len(epochs)), len(epochs)):
        view = View(settings, project.weights_at(index))
        for item in of_checkpoints:
            if rows[item.name] <= index:
                try:
                    result = evaluate(item, view, settings)
                except Exception as error:
                    error.add_note(f"while computing {item.name} at epoch {epochs[index]} of {project.path}")
                    raise
                into = waiting.setdefault(item.name, {})
                for name, array in {**result, "epoch": np.int64(epochs[index])}.items():
                    into.setdefault(name, []).append(np.asarray(array))
        done = index + 1
        if done % CHECKPOINTS_A_COMMIT == 0 or done == len(epochs):
            project.append_rows(
                {name: {array: np.stack(parts) for array, parts in into.items()} for name, into in waiting.items()}
            )
            waiting = {}
            if progress:
                progress(Progress(names, done, len(epochs), time.monotonic() - started))
