"""One run as a row of plain values: settings, state, events and outcome, as `tdw info` reports them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from tdw import config
from tdw.analyses import summary
from tdw.analyses.engine import runner
from tdw.analyses.engine.run_data import Curves
from tdw.analyses.events import GENERALIZED, LABELS, MEMORIZED, Event, Grokking
from tdw.analyses.summary import CURVES, KeyFrequencies
from tdw.project.records import Notes
from tdw.recorded import is_recorded
from tdw.run import Run
from tdw.setting import as_text
from tdw.statistics.sparkline import sparkline

Row = dict[str, Any]


@dataclass(frozen=True)
class _Facts:
    """A run, and what is derived from it once for a row. last: (epoch, value) of the last entry of each curve."""

    run: Run
    curves: Curves
    notes: Notes
    events: dict[str, Event]
    grokking: Grokking
    keys: KeyFrequencies | None
    last: dict[str, tuple[int, float] | tuple[None, None]]
    settings: dict[str, Any]


def read(path: Path) -> tuple[Row, dict[str, Any]]:
    """The row of the run in a file, and its losses as `sparkline` gives them. Raises what opening a file raises."""
    with Run.open(path) as run:
        facts = _facts(run)
        return _row(facts), sparkline(facts.curves.train_loss, facts.curves.test_loss)


def row_of(run: Run) -> Row:
    """The row of a run. All rows have the same keys, in the same order; None where something is unknown or not there.

    An event has two values: `NAME` is the first recorded epoch at which it had happened (the end of its interval), and
    `NAME_after` the recorded epoch before. A curve has its last value and the epoch of that, `train_loss_at`.
    """
    return _row(_facts(run))


def _row(facts: _Facts) -> Row:
    return {name: value(facts) for name, value in _columns().items()}


def columns() -> tuple[str, ...]:
    """The keys of every row."""
    return tuple(_columns())


def _facts(run: Run) -> _Facts:
    data = runner.run_data(run)
    events, grokking = summary.outcome(run, data)
    return _Facts(
        run,
        data.curves,
        run.notes,
        {event.name: event for event in events},
        grokking,
        run.keys,
        {name: _last(getattr(data.curves, name)) for name in CURVES},
        {item.name: value for item, value in run.config.items() if item.name not in run.unknown},
    )


def _last(curve: np.ndarray) -> tuple[int, float] | tuple[None, None]:
    recorded = np.flatnonzero(is_recorded(curve))
    return (int(recorded[-1]), float(curve[recorded[-1]])) if recorded.size else (None, None)


@cache
def _columns() -> dict[str, Callable[[_Facts], Any]]:
    """Every column with the function that gives its value."""
    found: dict[str, Callable[[_Facts], Any]] = {
        "path": lambda of: str(of.run.path),
        "id": lambda of: of.run.id,
        "title": lambda of: of.notes.title,
        "tags": lambda of: list(of.notes.tags),
        "state": lambda of: of.run.state,
        "outcome": _outcome,
        "origin": lambda of: "import" if of.run.imported else "branch" if of.run.branched else "new run",
        "recorded_epochs": lambda of: max(len(of.run.epochs) - 1, 0),
        "stored_checkpoints": lambda of: len(of.run.checkpoints),
        "diverged_at": lambda of: None if of.run.diverged is None else of.run.diverged.epoch,
    }
    for event in LABELS:
        found[event] = partial(_crossing, name=event, end=1)
        found[f"{event}_after"] = partial(_crossing, name=event, end=0)
    found |= {
        "grokking": lambda of: of.grokking.verdict,
        "delay_min": lambda of: None if of.grokking.delay is None else of.grokking.delay[0],
        "delay_max": lambda of: None if of.grokking.delay is None else of.grokking.delay[1],
    }
    for curve in CURVES:
        found[curve] = partial(_at_the_end, name=curve, part=1)
        found[f"{curve}_at"] = partial(_at_the_end, name=curve, part=0)
    found |= {
        "key_frequencies": lambda of: None if of.keys is None else list(of.keys.frequencies),
        "key_rule": lambda of: None if of.keys is None else of.keys.rule,
        "key_epoch": lambda of: None if of.keys is None else of.keys.epoch,
        "frequencies": lambda of: of.run.config.frequencies,
        "size_bytes": lambda of: of.run.size_bytes,
    }
    for item in config.settings():
        found[item.name] = partial(_setting, name=item.name)
    return found


def _crossing(of: _Facts, *, name: str, end: int) -> int | None:
    first = of.events[name].first
    return None if first is None else first[end]


def _at_the_end(of: _Facts, *, name: str, part: int) -> int | float | None:
    return of.last[name][part]


def _setting(of: _Facts, *, name: str) -> Any:
    value = of.settings.get(name)
    return as_text(value) if isinstance(value, tuple) else value


def _outcome(of: _Facts) -> str:
    """How far a run came, in one word or two. A run that generalized and diverged later generalized."""
    if of.run.state == "new":
        return "new"
    if of.events[GENERALIZED].first is not None:
        return "generalized"
    if of.run.diverged is not None:
        return "diverged"
    if of.events[MEMORIZED].first is not None:
        return "memorized"
    return "not memorized" if of.events[MEMORIZED].recorded else "unknown"
