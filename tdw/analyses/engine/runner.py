"""Analyze a run: each checkpoint once, all due analyses together, results stored as they come."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdw import store
from tdw.analyses.engine.checkpoint import Curves, View, Whole
from tdw.analyses.engine.registry import ANALYSES, Analysis, evaluate, find
from tdw.config import RunConfig
from tdw.errors import NotApplicableError, OutOfRangeError
from tdw.network.segment import Arrays
from tdw.project.project import Project
from tdw.project.writer import ProjectWriter
from tdw.store.holder import working

CHECKPOINTS_A_COMMIT = 8
BOOKKEEPING = ("per", "computed")  # stored among the parameters of a run's analysis, and none of its own


@dataclass(frozen=True)
class Progress:
    """How far an analysis of a run has come. done, total: checkpoints."""

    names: tuple[str, ...]
    done: int
    total: int
    seconds: float


@working("analyze")
def analyze(
    path: str | Path,
    only: Iterable[str] | str | None = None,
    *,
    force: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> list[str]:
    """Compute and store what is missing or stale of the named analyses (all, if none is named).

    Results that are there and current are left alone, unless `force`. What an analysis is computed from is computed
    first; what makes no sense for this run is left out, or refused where it was named. Memory does not grow with the
    number of checkpoints; what is stored stays when this is interrupted. Returns the names of the analyses that were
    computed. Raises UnknownNameError, NotApplicableError, FileInUseError and what opening a file raises; and OutOfRangeError, after all
    else is stored, where results are larger than what they are stored in, or weights are no numbers.
    """
    named = [find(name) for name in ([only] if isinstance(only, str) else only or ())]
    with ProjectWriter.open(path) as project:
        for item in named:
            if why := unfit(item, project):
                raise NotApplicableError(project.path, item.name, why)
        wanted = with_sources(named) if named else [item for item in ordered() if not unfit(item, project)]
        done: list[str] = []
        beyond: dict[str, str] = {}
        for per in ("checkpoint", "run"):
            group = [item for item in wanted if item.per == per]
            due = [item for item in group if (force and (item in named or not named)) or not is_current(item, project)]
            due = (
                [item for item in due if all(is_current(find(name), project) for name in item.sources)]
                if beyond
                else due
            )
            if due:
                beyond |= _compute(project, due, force=force, progress=progress)
            done += [item.name for item in due if item.name not in beyond]
        if beyond:
            raise OutOfRangeError(f"{project.path}: {'; '.join(dict.fromkeys(beyond.values()))}. All else is stored.")
        return done


def unfit(item: Analysis, project: Project) -> str | None:
    """Why an analysis makes no sense for this run, in words; None where it does."""
    if not project.checkpoints and (item.per == "checkpoint" or item.after or item.reads_weights):
        return "This run has kept no checkpoint, so there are no weights to analyze."
    return item.unfit(project.config)


def with_sources(items: Iterable[Analysis]) -> list[Analysis]:
    """These analyses and all that they read the results of, each after its sources."""
    found: dict[str, Analysis] = {}

    def add(item: Analysis) -> None:
        for name in item.sources:
            add(find(name))
        found.setdefault(item.name, item)

    for item in items:
        add(item)
    return list(found.values())


def ordered() -> list[Analysis]:
    """All analyses, each after those whose results it reads."""
    return with_sources(ANALYSES.values())


def is_current(item: Analysis, project: Project) -> bool:
    """Whether stored results of this analysis exist, cover all there is, and are of this version and parameters."""
    stored = project.analyses().get(item.name)
    if stored is None or not _same(item, stored):
        return False
    if not all(is_current(find(name), project) for name in item.sources):
        return False
    if item.per == "run":
        stamp = _stamp(item, len(project.epochs), len(project.checkpoints))
        return stored.rows == 1 and stored.parameters["computed"] == stamp
    if stored.rows != len(project.checkpoints):
        return False
    return not item.final_keys or _by_these_keys(item, project, final_key(project))


def _by_these_keys(item: Analysis, project: Project, keys: NDArray[np.uint8]) -> bool:
    """Whether all stored rows were measured by these key frequencies of the last checkpoint."""
    return bool((project.series(f"analysis/{item.name}/final_key") == keys).all())


def final_key(project: Project) -> NDArray[np.uint8]:
    """Which frequencies are key ones at the last checkpoint, (rule, frequency): as stored, or computed."""
    item, last = find("key_frequencies"), len(project.checkpoints)
    stored = project.analyses().get(item.name)
    if stored is not None and _same(item, stored) and stored.rows == last:
        return project.series(f"analysis/{item.name}/key", last - 1, last)[0]
    return evaluate(item, View(project.config, _weights(project, last - 1)), project.config)["key"]


def is_stale(item: Analysis, stored: store.StoredAnalysis) -> bool:
    """Whether stored results are of another version or other parameters than this analysis has now."""
    return not _same(item, stored)


def _stamp(item: Analysis, recorded: int, checkpoints: int) -> Any:
    """What the results of an analysis of the whole run depend on: how much was recorded, and of what it was computed."""
    if not item.after and not item.reads_weights:
        return recorded
    sources = {name: [find(name).version, find(name).parameters] for name in item.after}
    return {"epochs": recorded, "checkpoints": checkpoints, "of": json.loads(json.dumps(sources))}


def _same(item: Analysis, stored: store.StoredAnalysis) -> bool:
    parameters = {name: value for name, value in parameters_of(item.name, stored).items() if name not in BOOKKEEPING}
    return (stored.version, parameters) == (item.version, item.parameters)


def parameters_of(name: str, stored: store.StoredAnalysis) -> dict[str, Any]:
    """The parameters that stored results were made with, by the names this version has for them."""
    parameters = dict(stored.parameters)
    if name == "events":  # 0.1 spelled the names of its events as in British English
        names = parameters.get("events")
        if isinstance(names, list):
            parameters["events"] = [str(event).replace("ised_", "ized_") for event in names]
    return parameters


def plan_rows(item: Analysis, settings: RunConfig, *, rows: int, recorded: int, checkpoints: int) -> store.AnalysisPlan:
    """Room for the results of an analysis: of `rows` checkpoints, or of a whole run of which so many epochs are recorded
    and so many checkpoints there.
    """
    arrays = {
        name: store.ArrayPlan(spec.dtype, spec.shape(settings, checkpoints)) for name, spec in item.arrays.items()
    }
    if item.per == "run":
        parameters = {**item.parameters, "per": "run", "computed": _stamp(item, recorded, checkpoints)}
        return store.AnalysisPlan(item.name, item.version, parameters, arrays, 1)
    arrays["epoch"] = store.ArrayPlan("<i8", ())
    return store.AnalysisPlan(item.name, item.version, dict(item.parameters), arrays, rows)


def whole(project: Project) -> Whole:
    """The run as analyses of the whole of it see it."""
    return Whole(
        project.config,
        Curves(project.train_loss, project.test_loss, project.train_accuracy, project.test_accuracy),
        project.checkpoints,
        lambda name: project.series(f"analysis/{name}"),
        lambda index: _weights(project, index),
    )


def _weights(project: Project, index: int) -> Arrays:
    """The weights of the index-th checkpoint. Raises OutOfRangeError where one of them is no number."""
    found = project.weights_at(index)
    if wrong := [name for name, array in found.items() if not np.isfinite(array).all()]:
        raise OutOfRangeError(
            f"at epoch {project.checkpoints[index]} {wrong[0]} holds what is no number, so nothing can be measured there"
        )
    return found


def _compute(
    project: ProjectWriter, due: list[Analysis], *, force: bool, progress: Callable[[Progress], None] | None
) -> dict[str, str]:
    """Compute and store these. Returns what could not be measured or stored, by name, with the reason in words."""
    beyond: dict[str, str] = {}
    keys = None
    if any(item.final_keys for item in due):
        try:
            keys = final_key(project)
        except OutOfRangeError as error:
            beyond |= {item.name: str(error) for item in due if item.final_keys}
    of_the_run: dict[str, dict[str, NDArray[Any]]] = {}
    for item in due:
        if item.per == "run":
            try:
                of_the_run[item.name] = evaluate(item, whole(project), project.config)
            except OutOfRangeError as error:
                beyond[item.name] = str(error)
    due = [item for item in due if item.name not in beyond]
    _make_room(project, due, keys, force=force)
    for name, result in of_the_run.items():
        project.append_rows({name: {array: values[None] for array, values in result.items()}})
    of_checkpoints = [item for item in due if item.per == "checkpoint"]
    return beyond | (_compute_checkpoints(project, of_checkpoints, keys, progress) if of_checkpoints else {})


def _make_room(project: ProjectWriter, due: list[Analysis], keys: NDArray[np.uint8] | None, *, force: bool) -> None:
    """Room in the file for all rows of these, without those that must be computed anew."""
    stored = project.analyses()
    # A plan equal to the stored one keeps its rows, so what must be computed anew is removed in the same change.
    old = {
        item.name
        for item in due
        if item.name in stored
        and (
            force
            or item.per == "run"
            or not _same(item, stored[item.name])
            or (keys is not None and item.final_keys and not _by_these_keys(item, project, keys))
        )
    }
    there_are = {"recorded": len(project.epochs), "checkpoints": len(project.checkpoints)}
    room = max(len(project.planned_checkpoints), len(project.checkpoints), 1)
    plans = [plan_rows(item, project.config, rows=room, **there_are) for item in due]
    there = {name: item for name, item in stored.items() if name not in old}
    missing = [plan for plan in plans if plan.name not in there or there[plan.name].capacity < plan.capacity]
    if missing:
        project.plan_analyses(missing, remove=sorted(old))


def _compute_checkpoints(
    project: ProjectWriter,
    due: list[Analysis],
    keys: NDArray[np.uint8] | None,
    progress: Callable[[Progress], None] | None,
) -> dict[str, str]:
    """The rows that are missing, each checkpoint's at once. Where one cannot be had, those of that analysis end there."""
    started = time.monotonic()
    names = tuple(item.name for item in due)
    epochs = project.checkpoints
    settings, split = project.config, project.known_split
    beyond: dict[str, str] = {}
    waiting: dict[str, dict[str, list[np.ndarray[Any, Any]]]] = {}
    rows = {item.name: project.analyses()[item.name].rows for item in due}
    for index in range(min(rows.values()), len(epochs)):
        try:
            view = View(settings, _weights(project, index), split, keys)
        except OutOfRangeError as error:
            beyond |= {name: str(error) for name in names if name not in beyond}
        for item in due:
            if rows[item.name] <= index and item.name not in beyond:
                try:
                    result = evaluate(item, view, settings)
                except OutOfRangeError as error:
                    beyond[item.name] = f"at epoch {epochs[index]} {error}"
                    continue
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
    return beyond
