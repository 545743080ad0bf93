"""Summary of a run: when it memorized and generalized, and its key frequencies.

Each function takes a project and reads stored results if they are current; events are computed otherwise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tdw.analyses import events as event_analysis
from tdw.analyses.engine import registry, runner
from tdw.analyses.engine.run_data import RunData
from tdw.analyses.events import Event, Grokking
from tdw.analyses.key_frequencies import DEFAULT_RULE, by_clusters
from tdw.project.project import Project
from tdw.recorded import is_recorded

CURVES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")


class KeyFrequencies(NamedTuple):
    """The key frequencies at the last analyzed checkpoint, and the rule of the analysis `key_frequencies` that selected them.

    epoch: of that checkpoint
    is_stale: whether the run has later checkpoints
    """

    rule: str
    frequencies: list[int]
    epoch: int
    is_stale: bool


def events(project: Project) -> list[Event]:
    """The events of the run (memorized, generalized, …), as intervals between recorded epochs."""
    return outcome(project)[0]


def grokking(project: Project) -> Grokking:
    """Whether the run grokked: verdict, and the delay between memorization and generalization in epochs, also in times of how long
    memorization took.
    """
    return outcome(project)[1]


def outcome(project: Project, data: RunData | None = None) -> tuple[list[Event], Grokking]:
    """The events of the run, and whether it grokked. data: of `runner.run_data`, where it was read already."""
    data = runner.run_data(project) if data is None else data
    arrays, parameters = _events(project, data), registry.find("events").parameters
    recorded = {name for name in CURVES if is_recorded(getattr(data.curves, name)).any()}
    return (
        event_analysis.described(arrays["intervals"], arrays["held"], parameters["events"], recorded),
        event_analysis.judged(arrays, **parameters),
    )


def key_frequencies(project: Project) -> KeyFrequencies | None:
    """The key frequencies at the last analyzed checkpoint: by the rule `logit_cosine` if the task is additive, else by
    `clusters`; by `clusters` if only `neuron_frequencies` was analyzed; None if neither was, or if the task is not known.
    """
    if not project.knows_task:
        return None
    stored = project.analyses()
    analysis = registry.find("key_frequencies")
    result = stored.get(analysis.name)
    if result is not None and result.rows and not runner.is_stale(analysis, result):
        rule = DEFAULT_RULE if registry.NEEDS["sum"](project.config) is None else "clusters"
        last = project.series(f"analysis/{analysis.name}/key", result.rows - 1, result.rows)[0]
        return _keys(project, analysis.name, result.rows, rule, last[analysis.parameters["rules"].index(rule)])
    shares = stored.get("neuron_frequencies")
    if shares is None or not shares.rows:
        return None
    share = project.series("analysis/neuron_frequencies/share", shares.rows - 1, shares.rows)[0]
    return _keys(project, "neuron_frequencies", shares.rows, "clusters", by_clusters(share))


def _events(project: Project, data: RunData) -> dict[str, NDArray[Any]]:
    analysis = registry.find("events")
    if runner.is_current(analysis, project):
        return {name: array[0] for name, array in project.analysis("events").arrays.items()}
    return registry.evaluate(analysis, data, project.config)


def _keys(project: Project, analysis: str, rows: int, rule: str, key: NDArray[Any]) -> KeyFrequencies:
    epoch = int(project.series(f"analysis/{analysis}/epoch", rows - 1, rows)[0])
    return KeyFrequencies(rule, [int(k) for k in np.flatnonzero(key) + 1], epoch, epoch != project.checkpoints[-1])
