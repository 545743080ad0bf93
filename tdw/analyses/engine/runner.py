"""Analyze a run: one pass over the checkpoints computes all missing or stale analyses and commits results as it goes."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from tdw import arguments, store
from tdw.analyses.engine import memory, parallel
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ANALYSES, Analysis, evaluate, find
from tdw.analyses.engine.run_data import Curves, RunData
from tdw.config import RunConfig
from tdw.errors import NotApplicableError, OutOfRangeError
from tdw.network.segment import Arrays
from tdw.project.project import Project
from tdw.project.writer import ProjectWriter
from tdw.store.holder import working

CHECKPOINTS_PER_COMMIT = 8
BOOKKEEPING = ("per", "computed")  # stored next to an analysis' own parameters by this module


@dataclass(frozen=True)
class Progress:
    """Progress of `analyze`. done, total: numbers of `units`."""

    names: tuple[str, ...]
    done: int
    total: int
    seconds: float
    units: Literal["checkpoints", "networks"] = "checkpoints"


@working("analyze")
def analyze(
    path: str | Path,
    only: Iterable[str] | str | None = None,
    *,
    force: bool = False,
    jobs: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> list[str]:
    """Compute and store missing and stale results of the analyses in `only` (default: all that apply to the run, without those
    that are computed on request).

    Current results are kept unless `force`. Analyses that `only` depends on are computed first. Memory use does not grow
    with the number of checkpoints, and committed results survive an interrupt.

    jobs: checkpoints computed at a time, each in a thread of its own; default: as many as there are cores that this process may
          use and memory that is free. Results are the same, bit for bit, with any number.

    Returns the names of the analyses that were computed. Raises UnknownNameError, NotApplicableError (for an analysis in
    `only`), FileInUseError, and what opening a file raises; raises OutOfRangeError, after storing everything else, if
    results overflow their dtype or weights are not finite.
    """
    named = [find(name) for name in ([only] if isinstance(only, str) else only or ())]
    jobs = arguments.jobs(jobs)
    with ProjectWriter.open(path) as project:
        for analysis in named:
            if reason := inapplicable_reason(analysis, project):
                raise NotApplicableError(project.path, analysis.name, reason)
        wanted = (
            with_sources(named)
            if named
            else [item for item in ordered() if not item.on_request and not inapplicable_reason(item, project)]
        )
        done: list[str] = []
        failed: dict[str, str] = {}
        for per in ("checkpoint", "run"):
            group = [analysis for analysis in wanted if analysis.per == per]
            due = [
                analysis
                for analysis in group
                if (force and (analysis in named or not named)) or not is_current(analysis, project)
            ]
            due = (
                [analysis for analysis in due if all(is_current(find(name), project) for name in analysis.sources)]
                if failed
                else due
            )
            if due:
                at_a_time = memory.jobs_that_fit(project.config, due, jobs) if per == "checkpoint" else 1
                with parallel.one_thread_each(project.config):
                    failed |= _compute(project, due, force=force, jobs=at_a_time, progress=progress)
            done += [analysis.name for analysis in due if analysis.name not in failed]
        if failed:
            raise OutOfRangeError(
                f"{project.path}: {'; '.join(dict.fromkeys(failed.values()))}. Everything else was stored."
            )
        return done


def inapplicable_reason(analysis: Analysis, project: Project) -> str | None:
    """Why an analysis does not apply to this run, as a sentence; None if it applies."""
    if not project.checkpoints and (analysis.per == "checkpoint" or analysis.after or analysis.reads_weights):
        return "This run has no checkpoints."
    return analysis.inapplicable_reason(project.config, task_known=project.knows_task)


def with_sources(items: Iterable[Analysis]) -> list[Analysis]:
    """These analyses and those they depend on, dependencies first."""
    result: dict[str, Analysis] = {}

    def add(analysis: Analysis) -> None:
        for name in analysis.sources:
            add(find(name))
        result.setdefault(analysis.name, analysis)

    for analysis in items:
        add(analysis)
    return list(result.values())


def ordered() -> list[Analysis]:
    """All analyses, dependencies first."""
    return with_sources(ANALYSES.values())


def is_current(analysis: Analysis, project: Project) -> bool:
    """Whether stored results exist, cover all checkpoints, and have the present version and parameters."""
    stored = project.analyses().get(analysis.name)
    if stored is None or not _same(analysis, stored):
        return False
    if not all(is_current(find(name), project) for name in analysis.sources):
        return False
    if analysis.per == "run":
        stamp = _stamp(analysis, len(project.epochs), len(project.checkpoints))
        return stored.rows == 1 and stored.parameters["computed"] == stamp
    if stored.rows != len(project.checkpoints):
        return False
    return not analysis.final_keys or _by_these_keys(analysis, project, final_key(project))


def _by_these_keys(analysis: Analysis, project: Project, keys: UInt8[np.ndarray, "rule freq"]) -> bool:
    """Whether all stored rows were computed with these key frequencies of the last checkpoint."""
    return bool((project.series(f"analysis/{analysis.name}/final_key") == keys).all())


def final_key(project: Project) -> UInt8[np.ndarray, "rule freq"]:
    """The key frequencies of the last checkpoint, stored or computed."""
    analysis, last = find("key_frequencies"), len(project.checkpoints)
    stored = project.analyses().get(analysis.name)
    if stored is not None and _same(analysis, stored) and stored.rows == last:
        return project.series(f"analysis/{analysis.name}/key", last - 1, last)[0]
    checkpoint = Checkpoint(project.config, _weights(project, last - 1), project.known_split)
    return evaluate(analysis, checkpoint, project.config)["key"]


def is_stale(analysis: Analysis, stored: store.StoredAnalysis) -> bool:
    """Whether stored results have another version or other parameters than this analysis has now."""
    return not _same(analysis, stored)


def _stamp(analysis: Analysis, recorded: int, checkpoints: int) -> Any:
    """What the results of an analysis of a run depend on: recorded epochs, checkpoints, version and parameters of its sources."""
    if not analysis.after and not analysis.reads_weights:
        return recorded
    sources = {name: [find(name).version, find(name).parameters] for name in analysis.after}
    return {"epochs": recorded, "checkpoints": checkpoints, "of": json.loads(json.dumps(sources))}


def _same(analysis: Analysis, stored: store.StoredAnalysis) -> bool:
    parameters = {
        name: value for name, value in parameters_of(analysis.name, stored).items() if name not in BOOKKEEPING
    }
    return (stored.version, parameters) == (analysis.version, analysis.parameters)


def parameters_of(name: str, stored: store.StoredAnalysis) -> dict[str, Any]:
    """The parameters of stored results, under the names that this version uses."""
    parameters = dict(stored.parameters)
    if name == "events":  # tdw 0.1 used British spelling
        names = parameters.get("events")
        if isinstance(names, list):
            parameters["events"] = [str(event).replace("ised_", "ized_") for event in names]
    return parameters


def plan_rows(
    analysis: Analysis, settings: RunConfig, *, rows: int, recorded: int, checkpoints: int
) -> store.AnalysisPlan:
    """The space for an analysis' results: `rows` rows of an analysis of checkpoints; one row of an analysis of a run that
    has `recorded` epochs and `checkpoints` checkpoints.
    """
    arrays = {
        name: store.ArrayPlan(spec.dtype, spec.shape(settings, checkpoints)) for name, spec in analysis.arrays.items()
    }
    if analysis.per == "run":
        parameters = {**analysis.parameters, "per": "run", "computed": _stamp(analysis, recorded, checkpoints)}
        return store.AnalysisPlan(analysis.name, analysis.version, parameters, arrays, 1)
    arrays["epoch"] = store.ArrayPlan("<i8", ())
    return store.AnalysisPlan(analysis.name, analysis.version, dict(analysis.parameters), arrays, rows)


def run_data(project: Project) -> RunData:
    """What analyses of the whole run see of a project."""
    return RunData(
        project.config,
        Curves(project.train_loss, project.test_loss, project.train_accuracy, project.test_accuracy),
        project.checkpoints,
        lambda name: project.series(f"analysis/{name}"),
        lambda index: _weights(project, index),
    )


def _weights(project: Project, index: int) -> Arrays:
    """The weights of the checkpoint at an index. Raises OutOfRangeError if one of them is not finite."""
    weights = project.weights_at(index)
    if wrong := [name for name, array in weights.items() if not np.isfinite(array).all()]:
        raise OutOfRangeError(
            f"{wrong[0]} is not finite at epoch {project.checkpoints[index]}, so this checkpoint cannot be analyzed"
        )
    return weights


def _compute(
    project: ProjectWriter,
    due: list[Analysis],
    *,
    force: bool,
    jobs: int,
    progress: Callable[[Progress], None] | None,
) -> dict[str, str]:
    """Compute and store these analyses. Returns the reason for each one that failed, by name."""
    failed: dict[str, str] = {}
    keys = None
    if any(analysis.final_keys for analysis in due):
        try:
            keys = final_key(project)
        except OutOfRangeError as error:
            failed |= {analysis.name: str(error) for analysis in due if analysis.final_keys}
    run_results: dict[str, dict[str, NDArray[Any]]] = {}
    for analysis in due:
        if analysis.per == "run":
            try:
                run_results[analysis.name] = evaluate(analysis, run_data(project), project.config)
            except OutOfRangeError as error:
                failed[analysis.name] = str(error)
    due = [analysis for analysis in due if analysis.name not in failed]
    _make_room(project, due, keys, force=force)
    for name, result in run_results.items():
        project.append_rows({name: {array: values[None] for array, values in result.items()}})
    of_checkpoints = [analysis for analysis in due if analysis.per == "checkpoint"]
    return failed | (_compute_checkpoints(project, of_checkpoints, keys, jobs, progress) if of_checkpoints else {})


def _make_room(
    project: ProjectWriter, due: list[Analysis], keys: UInt8[np.ndarray, "rule freq"] | None, *, force: bool
) -> None:
    """Make space in the file for all rows of these analyses, and remove rows that must be recomputed."""
    stored = project.analyses()
    # A plan equal to the stored one keeps its rows, so rows to recompute are removed in the same change.
    old = {
        analysis.name
        for analysis in due
        if analysis.name in stored
        and (
            force
            or analysis.per == "run"
            or not _same(analysis, stored[analysis.name])
            or (keys is not None and analysis.final_keys and not _by_these_keys(analysis, project, keys))
        )
    }
    counts = {"recorded": len(project.epochs), "checkpoints": len(project.checkpoints)}
    room = max(len(project.planned_checkpoints), len(project.checkpoints), 1)
    plans = [plan_rows(analysis, project.config, rows=room, **counts) for analysis in due]
    kept = {name: analysis for name, analysis in stored.items() if name not in old}
    missing = [plan for plan in plans if plan.name not in kept or kept[plan.name].capacity < plan.capacity]
    if missing:
        project.plan_analyses(missing, remove=sorted(old))


def _compute_checkpoints(
    project: ProjectWriter,
    due: list[Analysis],
    keys: UInt8[np.ndarray, "rule freq"] | None,
    jobs: int,
    progress: Callable[[Progress], None] | None,
) -> dict[str, str]:
    """Compute the missing rows, `jobs` checkpoints at a time. Where an analysis fails, its rows end."""
    started = time.monotonic()
    names = tuple(analysis.name for analysis in due)
    epochs = project.checkpoints
    settings, split = project.config, project.known_split
    for analysis in due:
        if analysis.prepare:
            begun = time.monotonic()

            def report(done: int, total: int, name: str = analysis.name, begun: float = begun) -> None:
                if progress:
                    progress(Progress((name,), done, total, time.monotonic() - begun, "networks"))

            try:
                analysis.prepare(run_data(project), split, report, jobs, **analysis.parameters)
            except Exception as error:
                error.add_note(f"while preparing {analysis.name} for {project.path}")
                raise
    failed: dict[str, str] = {}
    rows = {analysis.name: project.analyses()[analysis.name].rows for analysis in due}

    def measured(index: int, given: Arrays | OutOfRangeError, stop: parallel.Stop) -> tuple[int, _Measured]:
        """The results at a checkpoint, or the reason why there are none, by analysis."""
        wanted = [analysis for analysis in due if rows[analysis.name] <= index and analysis.name not in failed]
        if isinstance(given, OutOfRangeError):
            return index, {analysis.name: str(given) for analysis in wanted}
        return index, _evaluated(wanted, Checkpoint(settings, given, split, keys), epochs[index], project.path, stop)

    todo = ((index, _weights_or_error(project, index)) for index in range(min(rows.values()), len(epochs)))
    waiting: dict[str, dict[str, list[NDArray[Any]]]] = {}
    with contextlib.closing(parallel.in_order(lambda item, stop: measured(*item, stop), todo, jobs)) as results:
        for index, found in results:
            for name, result in found.items():
                if name in failed:
                    continue
                if isinstance(result, str):
                    failed[name] = result
                    continue
                into = waiting.setdefault(name, {})
                for array, values in {**result, "epoch": np.int64(epochs[index])}.items():
                    into.setdefault(array, []).append(np.asarray(values))
            done = index + 1
            if done % CHECKPOINTS_PER_COMMIT == 0 or done == len(epochs):
                project.append_rows(
                    {name: {array: np.stack(parts) for array, parts in into.items()} for name, into in waiting.items()}
                )
                waiting = {}
                if progress:
                    progress(Progress(names, done, len(epochs), time.monotonic() - started))
    return failed


_Measured = dict[str, dict[str, NDArray[Any]] | str]  # results by analysis, or the reason why there are none


def _evaluated(
    wanted: list[Analysis], checkpoint: Checkpoint, epoch: int, path: Path, stop: parallel.Stop
) -> _Measured:
    found: _Measured = {}
    for analysis in wanted:
        stop.check()
        try:
            found[analysis.name] = evaluate(analysis, checkpoint, checkpoint.config)
        except OutOfRangeError as error:
            found[analysis.name] = f"at epoch {epoch} {error}"
        except Exception as error:
            error.add_note(f"while computing {analysis.name} at epoch {epoch} of {path}")
            raise
    return found


def _weights_or_error(project: Project, index: int) -> Arrays | OutOfRangeError:
    try:
        return _weights(project, index)
    except OutOfRangeError as error:
        return error
