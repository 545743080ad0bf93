"""Fork a run at a checkpoint and continue with different settings.

The file of a branch names its origin as `branched`: `from` (the origin's id), `file`, `at` (the epoch), `settings` (the
origin's), and the origin's own `branched`, if it is a branch itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tdw import config, schedule
from tdw.config import RunConfig, settings
from tdw.errors import (
    CheckpointNotFoundError,
    NotReproducibleError,
    SettingError,
    TdwError,
)
from tdw.network.segment import State
from tdw.operations.replay import beginning, optimizer_from, replayed, settings_at, split_of, write_past
from tdw.operations.train import Progress
from tdw.project.project import Project
from tdw.store.atomic import new_file
from tdw.tasks import Split

# What may differ between a branch and its origin: how it is trained, not the network or its task.
BRANCHABLE = tuple(item.name for item in settings() if item.group == "training")


def branch(
    path: str | Path,
    new: str | Path,
    at: int,
    *,
    fresh_optimizer: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    **changes: Any,
) -> None:
    """Fork a run at its checkpoint `at`: a new file with its history up to there, and different settings from there on.

    The optimizer's state is kept, so a branch without changes repeats its origin; with `fresh_optimizer` the optimizer
    starts again from the weights alone, including its warm-up. Settings that are not changed are those of the origin,
    also where `at` lies in the history that the origin shares with its own origin. `train` then trains the branch. The
    origin is only read. If `new` already is this branch, and not trained yet, it is left as it is.
    Raises CheckpointNotFoundError, SettingError, NotReproducibleError, AlreadyExistsError, CannotWriteError, and what opening a file raises.
    """
    new = Path(new)
    with Project.open(path) as source:
        if at not in source.checkpoints:
            raise CheckpointNotFoundError(source.path, at, source.checkpoints)
        split = split_of(source, "a branch")
        after = _branched(source, at, changes)
        if not fresh_optimizer and after.optimizer != settings_at(source, at).optimizer:
            raise SettingError(
                "optimizer",
                f"--optimizer {after.optimizer} cannot continue from the state of {settings_at(source, at).optimizer}: add "
                "--fresh-optimizer, which starts from the weights alone",
            )
        ahead = [epoch for epoch in schedule.parse(after.checkpoints, after.epochs) if epoch > at]
        described = {
            "settings": after.to_json(),
            "plan": [*(epoch for epoch in source.checkpoints if epoch <= at), *ahead],
            "environments": [item for item in source.environments if item["from_epoch"] <= at],
            "optimizer_from": at if fresh_optimizer else optimizer_from(source, at),
            "branched": {
                "from": source.id,
                "file": source.path.name,
                "at": at,
                "settings": source.config.to_json(),
                "optimizer_from": source.optimizer_from,
                "branched": source.branched,
            },
        }
        if source.imported is not None:
            described["imported"] = source.imported
        if _is_there(new, described, at):
            return
        with new_file(new) as part:
            state = (
                beginning(source, at, after.optimizer_kind.slots)
                if fresh_optimizer
                else _state_at(source, at, split, progress, stop)
            )
            described |= {"id": str(uuid.uuid4()), "created": datetime.now(UTC).isoformat(timespec="seconds")}
            write_past(part, new, described, source, split, state, past=at)


def _is_there(new: Path, described: Mapping[str, Any], at: int) -> bool:
    """Whether a file already is the requested branch, made by a process that was killed as it ended."""
    if not new.is_file():
        return False
    try:
        with Project.open(new) as there:
            same = {
                name: value for name, value in there.described.items() if name not in {"id", "created"}
            } == described
            return same and len(there.epochs) == at + 1
    except TdwError:
        return False  # it is in the way


def _state_at(
    source: Project,
    at: int,
    split: Split,
    progress: Callable[[Progress], None] | None,
    stop: Callable[[], bool] | None,
) -> State:
    """The full state at a checkpoint: as stored, if it is the resume state, or recovered by replaying."""
    if source.resumes_from == at:
        stored = source.resume_state()
        if stored.epoch == at:  # in a copy of a run that was being trained, it may be an earlier one
            return stored
    if source.imported is not None:
        raise NotReproducibleError(
            f"{source.path.name} was trained by another program and cannot be replayed: the optimizer state at epoch {at} is "
            "unknown. Branch with --fresh-optimizer, which needs the weights alone."
        )
    if optimizer_from(source, at) == at:
        return beginning(source, at, settings_at(source, at).optimizer_kind.slots)
    state = None
    for segment in replayed(source, at, split, (), progress, stop, since=at):
        state = segment.state
    assert state is not None
    return state


def _branched(source: Project, at: int, changes: Mapping[str, Any]) -> RunConfig:
    """The settings of a branch. Raises SettingError."""
    before = source.config
    for name in changes:
        if name not in BRANCHABLE and name in before.to_json():
            raise SettingError(
                name,
                f"--{name.replace('_', '-')} cannot change in a branch, which keeps task, split and network; what can is "
                + ", ".join(f"--{other.replace('_', '-')}" for other in BRANCHABLE),
            )
    after = config.changed(before, changes)
    if after.epochs <= at:
        raise SettingError("epochs", f"--epochs {after.epochs} ends before the branch begins: give more than {at}")
    return after
