"""Check that the settings, split, checkpoints and arrays of a file are consistent with each other.

Files written by this program are. In a file from another source, each part can be intact and still contradict the
others: settings of a larger network than the weights, pairs that do not exist, checkpoints out of order. The check runs
before anything is computed from a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from tdw import config, store, tasks
from tdw.config import RunConfig
from tdw.errors import NotAProjectError, SettingError, UnknownNameError
from tdw.network.parameters import mismatch
from tdw.project import serialization


def check(stored: store.Reader) -> None:
    """Raise NotAProjectError if the parts of a file contradict each other, and DamagedFileError for damaged bytes."""
    problem = _description(stored.config)
    if problem is None:
        problem = _parts(stored, config.from_json(stored.config["settings"]))
    if problem is not None:
        raise refusal(stored.path, problem)


def refusal(path: Path, problem: str) -> NotAProjectError:
    """The error for a file whose parts contradict each other."""
    return NotAProjectError(f"{path} is not a valid project file: {problem}. Get another copy of the file.")


def _description(described: Mapping[str, Any]) -> str | None:
    """A problem with the settings or the other fields of the description; None if there is none."""
    if not isinstance(described.get("id"), str) or not 1 <= len(described["id"]) <= 100:
        return "it has no valid run id"
    settings = described.get("settings")
    if not isinstance(settings, dict) or not all(isinstance(name, str) for name in settings):
        return "it has no settings"
    try:
        epochs = config.from_json(settings).epochs
    except (SettingError, UnknownNameError) as error:
        return f"its settings are invalid ({error})"
    plan = described.get("plan")
    if not isinstance(plan, list) or not all(type(epoch) is int for epoch in plan):
        return "it has no list of planned checkpoints"
    problem = _branched(described.get("optimizer_from", 0), described.get("branched"), epochs)
    return problem or (None if described.get("imported") is None else _imported(described["imported"]))


def _branched(optimizer_from: Any, branched: Any, epochs: int) -> str | None:
    """A problem with the descriptions of the run's origin and of the origins of that; None if there is none.

    optimizer_from: the epoch at which the optimizer started; epochs: planned epochs of the run
    """
    problem = "the description of the run it was branched from is invalid"
    while branched is not None:
        match branched:
            case {
                "from": str(),
                "file": str(),
                "at": int(at),
                "settings": dict(before),
                "optimizer_from": optimizer_before,
                "branched": dict() | None as further,
            } if type(at) is type(optimizer_from) is int and 0 <= optimizer_from <= at <= epochs:
                optimizer_from, branched = optimizer_before, further
            case _:
                return problem
        try:
            epochs = config.from_json(before).epochs
        except (SettingError, UnknownNameError, TypeError):
            return problem
        if at > epochs:
            return problem
    valid = type(optimizer_from) is int and optimizer_from == 0
    return None if valid else "its optimizer starts at an impossible epoch"


def _imported(imported: Any) -> str | None:
    """A problem with the description of an import; None if there is none."""
    problem = "the description of its import is invalid"
    if not isinstance(imported, dict):
        return problem
    texts, lists = ("source", "form"), ("inferred", "converted", "contradicted", "unknown")
    if not all(isinstance(imported.get(name), str) for name in texts):
        return problem
    if not all(
        isinstance(imported.get(name), list) and all(isinstance(item, str) for item in imported[name]) for name in lists
    ):
        return problem
    split, why = imported.get("split"), imported.get("why_not")
    if not isinstance(imported.get("resumable"), bool) or not isinstance(why, str | None):
        return problem
    if split is None:
        return None
    if not isinstance(split, dict) or not isinstance(split.get("rule"), str):
        return problem
    for name, optional in (
        ("train", False),
        ("test", False),
        ("fraction", False),
        ("seed", True),
        ("error", True),
        ("chance", True),
    ):
        value = split.get(name)
        if not (value is None and optional) and (isinstance(value, bool) or not isinstance(value, int | float)):
            return problem
    return None


def _parts(stored: store.Reader, settings: RunConfig) -> str | None:
    """A contradiction between the arrays and the settings; None if there is none."""
    if stored.planned_epochs != settings.epochs:
        return f"it has space for {stored.planned_epochs} epochs, but its settings plan {settings.epochs}"
    sides = [stored.read(f"split/{side}") for side in ("train", "test")]
    try:
        tasks.check_split(sides[0], sides[1], settings.p)
    except SettingError as error:
        return f"its split is invalid ({error})"
    if sum(map(len, sides)) != settings.p**2:
        return f"its split has {sum(map(len, sides))} pairs instead of {settings.p**2} for p = {settings.p}"
    epochs = [int(epoch) for epoch in stored.checkpoint_epochs()]
    if not all(one < next_one for one, next_one in pairwise([-1, *epochs, stored.n_epochs])):
        return "its checkpoints are out of order or at unrecorded epochs"
    if epochs:
        differs = mismatch(serialization.unpack(stored.checkpoint(0)), settings)
        if differs:
            return f"its first checkpoint does not match its settings: {differs}"
    if not -1 <= stored.commit.resume_epoch < max(stored.n_epochs, 1):
        return "its resume state is at an unrecorded epoch"
    return None
