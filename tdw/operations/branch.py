"""Fork a run at a checkpoint and continue with different settings. The file of a branch describes its origin in a `BranchedFrom`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tdw import config, schedule
from tdw.config import RunConfig, settings
from tdw.errors import (
    NotReproducibleError,
    SettingError,
    TdwError,
)
from tdw.network.segment import State
from tdw.operations.replay import beginning, optimizer_from, replayed, settings_at, split_of, write_past
from tdw.operations.train import Progress
from tdw.project.project import Project
from tdw.project.records import BranchedFrom
from tdw.store.atomic import new_file
from tdw.tasks import Split

# Settings that may differ between a branch and its origin: those of training, not of the network or the task.
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
    """Fork a run at its checkpoint `at`: a new file with the same history up to `at`, to be continued with other settings.

    The optimizer state is kept, so a branch without changes repeats its origin. With `fresh_optimizer` the optimizer
    starts again from the weights alone, including its warm-up. Unchanged settings are those of the origin, even if `at`
    lies in the history that the origin shares with its own origin. Train the branch with `train`. The origin is not
    modified. If `new` already is this branch and has not been trained further, it is kept.
    Raises CheckpointNotFoundError, SettingError, NotReproducibleError, AlreadyExistsError, CannotWriteError, and what
    opening a file raises.
    """
    new = Path(new)
    with Project.open(path) as source:
        if at not in source.checkpoints:
            raise source.no_checkpoint(at)
        split = split_of(source, "a branch")
        after = _branched(source, at, changes)
        if not fresh_optimizer and after.optimizer != settings_at(source, at).optimizer:
            raise SettingError(
                "optimizer",
                f"--optimizer {after.optimizer} cannot continue from the optimizer state of "
                f"{settings_at(source, at).optimizer}: add --fresh-optimizer, which starts from the weights alone",
            )
        ahead = [epoch for epoch in schedule.parse(after.checkpoints, after.epochs) if epoch > at]
        described: dict[str, Any] = {
            "settings": after.to_json(),
            "plan": [*(epoch for epoch in source.checkpoints if epoch <= at), *ahead],
            "environments": [item.to_json() for item in source.environments if item.from_epoch <= at],
            "optimizer_from": at if fresh_optimizer else optimizer_from(source, at),
            "branched": BranchedFrom(
                run=source.id,
                file=source.path.name,
                at=at,
                settings=source.config.to_json(),
                optimizer_from=source.optimizer_from,
                branched=source.branched,
            ).to_json(),
        }
        if source.imported is not None:
            described["imported"] = source.imported.to_json()
        if _exists(new, described, at):
            return
        with new_file(new) as part:
            state = (
                beginning(source, at, after.optimizer_kind.slots)
                if fresh_optimizer
                else _state_at(source, at, split, progress, stop)
            )
            described |= {"id": str(uuid.uuid4()), "created": datetime.now(UTC).isoformat(timespec="seconds")}
            write_past(part, new, described, source, split, state, past=at)


def _exists(new: Path, described: Mapping[str, Any], at: int) -> bool:
    """Whether the file already is the requested branch: its process was killed after writing it."""
    if not new.is_file():
        return False
    try:
        with Project.open(new) as existing:
            same = {
                name: value for name, value in existing.described.items() if name not in {"id", "created"}
            } == described
            return same and len(existing.epochs) == at + 1
    except TdwError:
        return False  # another file


def _state_at(
    source: Project,
    at: int,
    split: Split,
    progress: Callable[[Progress], None] | None,
    stop: Callable[[], bool] | None,
) -> State:
    """The full state at a checkpoint: the stored resume state if it is of that epoch, otherwise recovered by replaying."""
    if source.resumes_from == at:
        stored = source.resume_state()
        if stored.epoch == at:  # in a copy made during training, it may be that of an earlier epoch
            return stored
    if source.imported is not None:
        raise NotReproducibleError(
            f"{source.path.name} was trained by another program and cannot be replayed: the optimizer state at epoch {at} is "
            "unknown. Use --fresh-optimizer, which starts from the weights alone."
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
                f"--{name.replace('_', '-')} cannot change in a branch, which keeps task, split and network; these can: "
                + ", ".join(f"--{other.replace('_', '-')}" for other in BRANCHABLE),
            )
    after = config.changed(before, changes)
    if after.epochs <= at:
        raise SettingError(
            "epochs", f"--epochs must be greater than {at}, where the branch starts (got {after.epochs})"
        )
    return after
