"""Compare runs: differing settings, facts of each run, and the differences between their curves and weights.

Uses stored values only; nothing is trained or computed from weights.
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
from tdw.recorded import is_recorded
from tdw.run import Run
from tdw.setting import as_text
from tdw.text_format import between, integers, times

UNKNOWN = "unknown"
INAPPLICABLE = "does not apply"


@dataclass(frozen=True)
class Curve:
    """The difference between two runs in one curve, over the epochs that both recorded.

    epochs: number of common epochs
    differs: the first of them with different values; None if all are equal bit for bit
    largest: the largest difference, |one - other|; None without common epochs
    at: the epoch of the largest difference; None if all are equal
    """

    name: str
    epochs: int
    differs: int | None
    largest: float | None
    at: int | None


@dataclass(frozen=True)
class Weights:
    """The difference between the weights of two runs, over the checkpoints that both have.

    checkpoints: number of common checkpoints
    differs: the first of them with different weights; None if all are equal bit for bit
    last: the last of them; None if there are none
    distance: |θ - θ'| / |θ| at `last`, the Euclidean norm over all weights; None if θ is 0. Neurons and heads are not
        matched: networks that differ by a permutation of neurons are far apart.
    """

    checkpoints: int
    differs: int | None
    last: int | None
    distance: float | None


@dataclass(frozen=True)
class Against:
    """A run compared with the first one. weights: None if the networks have different shapes."""

    curves: list[Curve]
    weights: Weights | None


@dataclass(frozen=True)
class Comparison:
    """A comparison of runs.

    paths: the files of the runs
    same: settings equal in all runs, by name, as text
    different: the other settings by name, with one text per run; "unknown" where an imported run does not give it,
        "does not apply" where the kind of network or optimizer does not have it
    facts: state, last values, events and key frequencies by name, with one text per run
    against: each run except the first, compared with the first
    """

    paths: list[str]
    same: dict[str, str]
    different: dict[str, list[str]]
    facts: dict[str, list[str]]
    against: list[Against]


def compare(*paths: str | Path) -> Comparison:
    """Compare two or more runs; the first one is the reference.

    Raises TdwError for fewer than two, and what opening a file raises.
    """
    if len(paths) < 2:
        raise TdwError(f"a comparison needs at least two runs (got {len(paths)})")
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
    """The difference between two runs in one curve; name: one of `tdw.analyses.summary.CURVES`."""
    first, second = getattr(one, name), getattr(other, name)
    both = min(len(first), len(second))
    first, second = first[:both], second[:both]
    recorded = is_recorded(first) & is_recorded(second)
    if not recorded.any():
        return Curve(name, 0, None, None, None)
    # Both may be infinite or NaN in diverged runs: that counts as equal.
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    with np.errstate(invalid="ignore"):
        gap = np.where(recorded & ~same, np.abs(first - second), 0)
    gap[np.isnan(gap)] = np.inf  # one of the two is NaN
    differ = np.flatnonzero(gap)
    largest = int(np.argmax(gap))
    return Curve(
        name,
        int(recorded.sum()),
        int(differ[0]) if differ.size else None,
        float(gap[largest]),
        largest if differ.size else None,
    )


def weights(one: Run, other: Run) -> Weights | None:
    """The difference between the weights of two runs; None for networks of different shapes.

    Holds one checkpoint of each run in memory at a time.
    """
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
    """Every setting that applies to one of the runs, with its text in each run, in the order of the command line."""
    columns = [{item.name: as_text(value) for item, value in run.config.items()} for run in runs]
    for run, texts in zip(runs, columns, strict=True):
        texts.update(dict.fromkeys(run.unknown, UNKNOWN))
    return {
        item.name: [texts.get(item.name, INAPPLICABLE) for texts in columns]
        for item in config.settings()
        if any(item.name in texts for texts in columns)
    }


def _facts(runs: Sequence[Run]) -> dict[str, list[str]]:
    """State, last values, events and key frequencies, by name, with one text per run."""
    columns = [_facts_of(run, run.info()) for run in runs]
    return {name: [column[name] for column in columns] for name in columns[0]}


def _facts_of(run: Run, information: dict[str, Any]) -> dict[str, str]:
    branched, keys = information["branched"], information["key_frequencies"]
    verdict, branched_from = information["grokking"], run.branched
    facts = {
        "state": information["state"] + (f", diverged at epoch {run.diverged.epoch}" if run.diverged else ""),
        "origin": "import" if run.imported else "branch" if branched else "new run",
        "edits": "; ".join(
            f"at epoch {epoch}: {sentence}" for epoch, sentence in (branched_from.edited if branched_from else [])
        )
        or "none",
        "recorded epochs": str(information["epochs"]),
        "stored checkpoints": str(len(run.checkpoints)),
    }
    for name in CURVES:
        value = information[name]
        facts[f"last {name.replace('_', ' ')}"] = "not measured" if value is None else f"{value:.6g}"
    for event in run.events():
        facts[event.label] = event.missing if event.first is None else between(event.first)
    delay = verdict["delay"]
    facts["grokking"] = verdict["verdict"]
    facts["delay"] = f"{_span(delay)} epochs" if delay else "not measured"
    facts["delay / time to memorize"] = times(verdict["ratio"]) if delay else "not measured"
    facts["key frequencies"] = "not measured"
    if keys is not None:
        stale = f", stale: of epoch {keys['epoch']}" if keys["is_stale"] else ""
        facts["key frequencies"] = f"{', '.join(map(str, keys['frequencies'])) or 'none'} ({keys['rule']}{stale})"
    return facts


def _span(delay: Sequence[int]) -> str:
    low, high = delay
    return integers(low, high)
