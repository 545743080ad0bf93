"""Runs side by side: in which settings they differ, what happened in each, and how far their curves and weights agree.

Everything is read as it is stored; nothing is trained or measured for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdw import config
from tdw.analyses.summary import CURVES
from tdw.errors import TdwError
from tdw.run import Run
from tdw.setting import as_text
from tdw.text_format import between

UNKNOWN = "not known"


@dataclass(frozen=True)
class Curve:
    """How far one curve of two runs agrees, over the epochs that both recorded.

    epochs: how many those are
    differs: the first of them with different numbers; None where all are the same, bit for bit
    largest: the largest difference, |one - other|, and at which epoch; None where no epoch is in both
    """

    name: str
    epochs: int
    differs: int | None
    largest: float | None
    at: int | None


@dataclass(frozen=True)
class Weights:
    """How far the weights of two runs agree, over the checkpoints that both have.

    checkpoints: how many those are
    differs: the first of them with different weights; None where all are the same, bit for bit
    last: the last of them; None where there is none
    distance: |θ - θ'| / |θ| at `last`, over all weights, with the Euclidean norm; None where all of θ are 0. Neurons and heads are not matched:
        networks that differ by an exchange of neurons are far from each other.
    """

    checkpoints: int
    differs: int | None
    last: int | None
    distance: float | None


@dataclass(frozen=True)
class Against:
    """A run against the first one. weights: None where the networks are of other shapes."""

    curves: list[Curve]
    weights: Weights | None


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    paths: the runs' files
    same: the settings that all have, as text
    different: the other settings by name, with one text for each run; "not known" where an imported run does not say
    facts: what happened, by name, with one text for each run
    against: each run but the first against it
    """

    paths: list[str]
    same: dict[str, str]
    different: dict[str, list[str]]
    facts: dict[str, list[str]]
    against: list[Against]


def compare(*paths: str | Path) -> Comparison:
    """Set runs side by side; the first is the one that the others are held against.

    Raises TdwError for fewer than two, and what opening a file raises.
    """
    if len(paths) < 2:
        raise TdwError(f"a comparison needs two runs or more, and {len(paths) or 'none'} was given: name another file.")
    with ExitStack() as stack:
        runs = [stack.enter_context(Run.open(path)) for path in paths]
        settings = _settings(runs)
        same = {name: texts[0] for name, texts in settings.items() if len(set(texts)) == 1 and texts[0] != UNKNOWN}
        return Comparison(
            [str(path) for path in paths],
            same,
            {name: texts for name, texts in settings.items() if name not in same},
            _facts(runs),
            [Against([curve(runs[0], run, name) for name in CURVES], weights(runs[0], run)) for run in runs[1:]],
        )


def curve(one: Run, other: Run, name: str) -> Curve:
    """How far a curve of two runs agrees; name: one of `tdw.run.CURVES`."""
    first, second = getattr(one, name), getattr(other, name)
    both = min(len(first), len(second))
    first, second = first[:both], second[:both]
    known = ~(np.isnan(first) | np.isnan(second))
    if not known.any():
        return Curve(name, 0, None, None, None)
    # Both may be infinite, where a run diverged: then they agree.
    gap = np.where(known & (first != second), np.abs(first - second), 0)
    differ = np.flatnonzero(gap)
    largest = int(np.argmax(gap))
    return Curve(
        name,
        int(known.sum()),
        int(differ[0]) if differ.size else None,
        float(gap[largest]),
        largest if differ.size else None,
    )


def weights(one: Run, other: Run) -> Weights | None:
    """How far the weights of two runs agree, one checkpoint in memory at a time; None for networks of other shapes."""
    shared = sorted(set(one.checkpoints) & set(other.checkpoints))
    differs = None
    distance = None
    for epoch in shared:
        first, second = one.weights(epoch), other.weights(epoch)
        if {n: w.shape for n, w in first.items()} != {n: w.shape for n, w in second.items()}:
            return None
        if differs is None and any(not np.array_equal(first[name], second[name]) for name in first):
            differs = epoch
        if epoch == shared[-1]:
            distance = _distance(first, second)
    return Weights(len(shared), differs, shared[-1] if shared else None, distance)


def _distance(one: dict[str, NDArray[np.float32]], other: dict[str, NDArray[np.float32]]) -> float | None:
    def norm(arrays: Sequence[NDArray[Any]]) -> float:
        return float(np.sqrt(sum(np.square(array, dtype=np.float64).sum() for array in arrays)))

    size = norm(list(one.values()))
    return norm([one[name].astype(np.float64) - other[name] for name in one]) / size if size else None


def _settings(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Every setting with its text in each run, in the order of the command line."""
    found: dict[str, list[str]] = {}
    for item in config.settings():
        found[item.name] = [
            UNKNOWN if item.name in (run.imported or {}).get("unknown", []) else as_text(getattr(run.config, item.name))
            for run in runs
        ]
    return found


def _facts(runs: Sequence[Run]) -> dict[str, list[str]]:
    """What happened in each run, by name, in words and numbers; or why there are none."""
    columns = [_of(run, run.info()) for run in runs]
    return {name: [column[name] for column in columns] for name in columns[0]}


def _of(run: Run, information: dict[str, Any]) -> dict[str, str]:
    branched, keys = information["branched"], information["key_frequencies"]
    verdict = information["grokking"]
    found = {
        "state": information["state"],
        "began as": "import" if run.imported else "branch" if branched else "itself",
        "recorded epochs": str(information["epochs"]),
        "stored checkpoints": str(len(run.checkpoints)),
    }
    for name in CURVES:
        value = information[name]
        found[f"last {name.replace('_', ' ')}"] = "not measured" if value is None else f"{value:.6g}"
    for event in run.events():
        found[event.label] = event.missing if event.first is None else between(event.first)
    delay = verdict["delay"]
    found["grokking"] = {"yes": "yes", "no": "no"}.get(verdict["verdict"], "cannot be said") + (
        f", {_span(delay)} epochs between" if delay else ""
    )
    found["key frequencies"] = (
        "not measured" if keys is None else f"{', '.join(map(str, keys['frequencies'])) or 'none'} ({keys['rule']})"
    )
    return found


def _span(delay: Sequence[int]) -> str:
    low, high = delay
    return str(low) if low == high else f"{low} to {high}"
