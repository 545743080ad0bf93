"""Do settings, split, checkpoints and arrays of a file belong together?

What this program wrote does. In a file from elsewhere each part may be sound and the whole still be none: settings that
speak of a larger network than the weights are of, pairs that do not exist, checkpoints out of order. It is asked before
anything is computed from such a file.
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
    """Refuse a file whose parts contradict each other. Raises NotAProjectError, and DamagedFileError for bytes that are not sound."""
    problem = _description(stored.config)
    if problem is None:
        problem = _parts(stored, config.from_json(stored.config["settings"]))
    if problem is not None:
        raise refusal(stored.path, problem)


def refusal(path: Path, problem: str) -> NotAProjectError:
    """The error for a file whose parts contradict each other."""
    return NotAProjectError(f"{path} was refused: {problem}. No run looks like that; ask for another copy of the file.")


def _description(described: Mapping[str, Any]) -> str | None:
    """What is wrong with the settings and what goes with them."""
    if not isinstance(described.get("id"), str) or not 1 <= len(described["id"]) <= 100:
        return "it has no id of a run"
    settings = described.get("settings")
    if not isinstance(settings, dict) or not all(isinstance(name, str) for name in settings):
        return "it has no settings"
    try:
        epochs = config.from_json(settings).epochs
    except (SettingError, UnknownNameError) as error:
        return f"its settings are none of this program's ({error})"
    plan = described.get("plan")
    if not isinstance(plan, list) or not all(type(epoch) is int for epoch in plan):
        return "it does not say which checkpoints were planned"
    wrong = _branched(described.get("optimizer_from", 0), described.get("branched"), epochs)
    return wrong or (None if described.get("imported") is None else _imported(described["imported"]))


def _branched(began: Any, branched: Any, epochs: int) -> str | None:
    """What is wrong with what is said of the run that this one branched off, and of those before it.

    began: the epoch in which the optimizer is said to have begun, of a run of so many epochs.
    """
    wrong = "what it says of the run that it branched off is not in the form that this program writes"
    while branched is not None:
        match branched:
            case {
                "from": str(),
                "file": str(),
                "at": int(at),
                "settings": dict(before),
                "optimizer_from": began_before,
                "branched": dict() | None as further,
            } if type(at) is type(began) is int and 0 <= began <= at <= epochs:
                began, branched = began_before, further
            case _:
                return wrong
        try:
            epochs = config.from_json(before).epochs
        except (SettingError, UnknownNameError, TypeError):
            return wrong
        if at > epochs:
            return wrong
    return (
        None if type(began) is int and began == 0 else "it says that its optimizer began in an epoch where none could"
    )


def _imported(imported: Any) -> str | None:
    """What is wrong with what is said of another program's run."""
    wrong = "what it says of the program that it was imported from is not in the form that this program writes"
    if not isinstance(imported, dict):
        return wrong
    texts, lists = ("source", "form"), ("inferred", "converted", "contradicted", "unknown")
    if not all(isinstance(imported.get(name), str) for name in texts):
        return wrong
    if not all(
        isinstance(imported.get(name), list) and all(isinstance(item, str) for item in imported[name]) for name in lists
    ):
        return wrong
    split, why = imported.get("split"), imported.get("why_not")
    if not isinstance(imported.get("resumable"), bool) or not isinstance(why, str | None):
        return wrong
    if split is None:
        return None
    if not isinstance(split, dict) or not isinstance(split.get("rule"), str):
        return wrong
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
            return wrong
    return None


def _parts(stored: store.Reader, settings: RunConfig) -> str | None:
    """What of the arrays does not go with the settings."""
    if stored.planned_epochs != settings.epochs:
        return f"it has room for {stored.planned_epochs} epochs, and its settings plan {settings.epochs}"
    sides = [stored.read(f"split/{side}") for side in ("train", "test")]
    try:
        tasks.check_split(sides[0], sides[1], settings.p)
    except SettingError as error:
        return f"its split is none ({error})"
    if sum(map(len, sides)) != settings.p**2:
        return f"its split is of {sum(map(len, sides))} pairs, and with p = {settings.p} there are {settings.p**2}"
    epochs = [int(epoch) for epoch in stored.checkpoint_epochs()]
    if not all(one < next_one for one, next_one in pairwise([-1, *epochs, stored.n_epochs])):
        return "its checkpoints are not in order, or of epochs that were not recorded"
    if epochs:
        differs = mismatch(serialization.unpack(stored.checkpoint(0)), settings)
        if differs:
            return f"its first checkpoint is of another network: {differs}"
    if not -1 <= stored.commit.resume_epoch < max(stored.n_epochs, 1):
        return "it would resume from an epoch that was not recorded"
    return None
