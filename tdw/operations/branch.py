"""Fork a run at an epoch, edit its state there, and continue with different settings. The file of a branch describes its origin in a `BranchedFrom`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import torch

from tdw import arguments, config, schedule
from tdw.config import RunConfig, settings
from tdw.errors import (
    NotReproducibleError,
    OutOfRangeError,
    SettingError,
    TdwError,
)
from tdw.network import training
from tdw.network.segment import Segment, State
from tdw.operations.edited import Edits, differ
from tdw.operations.replay import beginning, optimizer_from, replayed, settings_at, split_of, write_past
from tdw.operations.train import Progress, earlier, with_present
from tdw.project.edits import Edit, ResetOptimizer, several
from tdw.project.project import Project
from tdw.project.records import BranchedFrom, Environment
from tdw.project.writer import refuse_newer
from tdw.safe_text import typed
from tdw.store.atomic import new_file
from tdw.tasks import Split

# Settings that may differ between a branch and its origin: those of training, not of the network or the task.
BRANCHABLE = tuple(item.name for item in settings() if item.group == "training")


def branch(
    path: str | Path,
    new: str | Path,
    at: int,
    *,
    edits: str | Edit | Iterable[str | Edit] = (),
    fresh_optimizer: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    **changes: Any,
) -> None:
    """Fork a run at its epoch `at`: a new file with the same history before `at`, to be continued in another way.

    at:    any recorded epoch; the state at one without a checkpoint comes from replaying the run, which must repeat all that is stored
           up to there bit for bit. An imported run is forked at a checkpoint.
    edits: one or several, made in this order on the state at `at`, as text or as objects; see `tdw.project.edits`. Everything that the new
           file has of epoch `at` (weights, losses, optimizer state) is of the edited state.
    fresh_optimizer: the edit `reset-optimizer`: the optimizer starts again from the weights alone, including its warm-up
    changes: settings of training that differ from there on

    Without edits and changes, and with edits that change nothing, the branch repeats its origin bit for bit. Unchanged settings are
    those of the origin, even if `at` lies in the history that the origin shares with its own origin. Train the branch with `train`. The
    origin is not modified. If `new` already is this branch and has not been trained further, it is kept.
    Raises ArgumentError, CheckpointNotFoundError, SettingError, NotApplicableError, NotReproducibleError, OutOfRangeError for edited weights
    whose loss is not finite, AlreadyExistsError, CannotWriteError, and what opening a file raises.
    """
    new, at = arguments.path("new", new), arguments.integer("at", at, 0)
    with Project.open(path) as source:
        fork = Fork.of(source, at, [*several(edits), *[ResetOptimizer()] * bool(fresh_optimizer)], changes)
        if fork.is_written(new):
            return
        with new_file(new) as part:
            fork.write(part, new, fork.state_before(progress, stop))


@dataclass(frozen=True)
class Fork:
    """A branch that is not written yet.

    source:    the run that is forked, open
    settings:  those from epoch `at` on
    described: the description that its file gets, apart from id, time of creation and environments
    """

    source: Project
    at: int
    split: Split
    settings: RunConfig
    edits: Edits
    described: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        source: Project,
        at: int,
        edits: Iterable[str | Edit] = (),
        changes: Mapping[str, Any] = MappingProxyType({}),
        past: Collection[int] | None = None,
    ) -> Self:
        """A branch of a run, see `branch`. past: those of its checkpoints before `at` to keep; default: all.

        Raises CheckpointNotFoundError, SettingError, NotApplicableError, and what opening another run raises.
        """
        _check_epoch(source, at)
        refuse_newer(source.path, source.description)
        split = split_of(source, "a branch")
        after = _branched(source, at, changes)
        made = Edits.of(edits, source, after)
        after = made.settings(after)
        if not made.fresh and after.optimizer != settings_at(source, at).optimizer:
            raise SettingError(
                "optimizer",
                f"--optimizer {after.optimizer} cannot continue from the optimizer state of "
                f"{settings_at(source, at).optimizer}: add --fresh-optimizer, which starts from the weights alone",
            )
        kept = [epoch for epoch in source.checkpoints if epoch < at and (past is None or epoch in past)]
        ahead = [epoch for epoch in schedule.parse(after.checkpoints, after.epochs) if epoch > at]
        described: dict[str, Any] = {
            "settings": after.to_json(),
            "plan": [*kept, at, *ahead],
            "optimizer_from": at if made.fresh else optimizer_from(source, at),
            "branched": BranchedFrom(
                run=source.id,
                file=source.path.name,
                at=at,
                settings=source.config.to_json(),
                optimizer_from=source.optimizer_from,
                branched=source.branched,
                edits=[edit.to_json() for edit in made.edits],
            ).to_json(),
        }
        if source.imported is not None:
            # A branch has a state to resume from, even if the imported run has none.
            described["imported"] = source.imported.to_json() | {"resumable": True, "why_not": None}
        return cls(source, at, split, after, made, described)

    def is_described_by(self, existing: Project) -> bool:
        """Whether a file is this branch, trained further or not."""
        own = {"id", "created", "environments", "diverged"}
        return {name: value for name, value in existing.described.items() if name not in own} == self.described

    def is_written(self, new: Path) -> bool:
        """Whether the file already is this branch, not trained further: its process was killed after writing it."""
        if not new.is_file():
            return False
        try:
            with Project.open(new) as existing:
                return self.is_described_by(existing) and len(existing.epochs) == self.at + 1
        except TdwError:
            return False  # another file

    def state_before(
        self, progress: Callable[[Progress], None] | None = None, stop: Callable[[], bool] | None = None
    ) -> State:
        """The state of the run that is forked, at `at`; of a fresh optimizer if the edits start one."""
        fresh = self.edits.fresh
        return self.started(next(states_at(self.source, [self.at], self.split, progress, stop, weights_only=fresh)))

    def started(self, state: State) -> State:
        """The state of the run, with a fresh optimizer if the edits start one."""
        return State.fresh(self.at, state.weights, self.settings.optimizer_kind.slots) if self.edits.fresh else state

    def write(self, part: Path, new: Path, before: State) -> None:
        """Write the file at `part`, which will be known as `new`. before: see `state_before`. Raises OutOfRangeError."""
        state, measured = self.edits.applied(before, self.settings), None
        environments = [item for item in self.source.environments if item.from_epoch <= self.at]
        if not differ(before.weights, state.weights):
            if self.at not in self.source.checkpoints:  # whose test loss may not be recorded
                then = settings_at(self.source, self.at)
                threads = training.threads_of(then, self.source.recorded_threads)
                measured = self._measured(state, replace(then, threads=threads))
        else:
            measured = self._measured(state, self.settings)
            here = Environment(
                from_epoch=self.at, **training.environment(self.settings, self.source.recorded_pairs_at_once)
            )
            recorded_before = earlier(environments, self.at, recorded=self.at)
            environments = with_present(recorded_before, here) if recorded_before else [here]
        described = {
            **self.described,
            "environments": [item.to_json() for item in environments],
            "id": str(uuid.uuid4()),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_past(part, new, described, self.source, self.split, state, past=self.at, edited=measured)

    def _measured(self, state: State, settings: RunConfig) -> Segment:
        """The epoch `at` with the losses of these weights."""
        optimizer_from = self.described["optimizer_from"]
        at_once = self.source.recorded_pairs_at_once
        one = training.train(
            settings,
            state,
            self.split,
            [self.at],
            optimizer_from=optimizer_from,
            at_once=at_once,
            stop=lambda: True,
        )
        segment = next(one)
        if (found := training.divergence(settings, segment)) is not None:
            raise OutOfRangeError(
                f"the {found[1]} loss of the edited weights is not finite: use edits that change the weights less. Nothing was written."
            )
        return segment


def _check_epoch(source: Project, at: int) -> None:
    """Raise CheckpointNotFoundError or SettingError for an epoch whose state is neither stored nor to be had by replaying."""
    if at in source.checkpoints:
        return
    recorded = len(source.epochs) - 1
    if source.imported is not None or recorded < 0:
        raise source.no_checkpoint(at)
    if at > recorded:
        name = source.path.name
        left = source.diverged is None and recorded < source.planned_epochs
        raise SettingError(
            "at",
            f"--at must be an epoch up to {recorded}, the last that {name} has recorded (got {at}): "
            + (f"it is not finished; train it first, `tdw train {typed(name)}`" if left else "use an earlier one"),
        )


def states_at(
    source: Project,
    epochs: Iterable[int],
    split: Split,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    *,
    weights_only: bool = False,
) -> Iterator[State]:
    """The full states at these recorded epochs, in their order: the stored resume state if it is of that epoch, otherwise recovered by
    replaying, all in one replay. weights_only: without the optimizer's state, which may then be missing. Raises NotReproducibleError, StoppedError.
    """
    wanted = sorted(set(epochs))
    stored = {epoch: state for epoch in wanted if (state := _stored_state(source, epoch, weights_only)) is not None}
    if (left := [epoch for epoch in wanted if epoch not in stored]) and source.imported is not None:
        raise NotReproducibleError(
            f"{source.path.name} was trained by another program and cannot be replayed: the optimizer state at epoch {left[0]} is "
            "unknown. Use --fresh-optimizer, which starts from the weights alone."
        )
    segments = replayed(source, left[-1], split, left, progress, stop, since=left[0]) if left else iter(())
    for epoch in wanted:
        state = stored.pop(epoch, None)
        while state is None:  # a replay comes to all epochs that are left
            segment = next(segments)
            state = segment.state if segment.state.epoch == epoch else None
        threads = torch.get_num_threads()
        yield state
        torch.set_num_threads(
            threads
        )  # what was done with the state may have changed it, and with it the replay's sums


def _stored_state(source: Project, at: int, weights_only: bool) -> State | None:
    """The full state at an epoch as far as it is stored: that of the end, or one in which the optimizer starts."""
    if weights_only and at in source.checkpoints:
        return State(at, source.weights(at), {})
    if source.resumes_from == at:
        stored = source.resume_state()
        if stored.epoch == at:  # in a copy made during training, it may be that of an earlier epoch
            return stored
    if source.imported is None and optimizer_from(source, at) == at and at in source.checkpoints:
        return beginning(source, at, settings_at(source, at).optimizer_kind.slots)
    return None


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
            "epochs",
            f"--epochs must be greater than {at}, where the branch starts (got {after.epochs}): give more, or branch earlier",
        )
    return after
