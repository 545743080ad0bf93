"""Repeat what a run has done, exactly, and use it: a branch from one of its checkpoints, more checkpoints of its past.

A checkpoint holds weights alone. What AdamW carries beside them is found again by training from the beginning, which
repeats bit for bit on the machine that trained; every number and checkpoint stored on the way is compared, and where
one comes out otherwise nothing is made of it.

A branch is a run with the past of another one, up to an epoch, and other settings from there on. Its file says where it
comes from as `branched`: `from` (the other run's id), `file`, `at` (the epoch), `settings` (the other run's), and the
other run's own `branched`, if it was a branch itself.
"""

from __future__ import annotations

import heapq
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tdw import config, schedule, store
from tdw.analyses import ANALYSES
from tdw.analyses.engine import runner
from tdw.config import RunConfig, configure, settings
from tdw.errors import (
    CheckpointNotFoundError,
    DamagedFileError,
    NotApplicableError,
    NotReproducibleError,
    SettingError,
    StoppedError,
    TdwError,
)
from tdw.network import training
from tdw.network.segment import Segment, State
from tdw.operations.train import Progress
from tdw.project import consistency
from tdw.project.project import SERIES, Project
from tdw.project.writer import ProjectWriter
from tdw.store.atomic import new_file
from tdw.tasks import Split

# What may differ between a branch and its origin: how it is trained from there on, not what the network is or learns.
BRANCHABLE = tuple(item.name for item in settings() if item.group == "training")


@dataclass(frozen=True)
class Stage:
    """A stretch of a run under the same settings, from one epoch to another; fresh: AdamW begins with it."""

    settings: RunConfig
    first: int
    last: int
    fresh: bool


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
    """Make the file of a run that has the past of another one up to the checkpoint `at`, and other settings after it.

    AdamW goes on as if nothing had happened, so a branch without changes repeats its origin; with `fresh_optimizer` it
    begins anew from the weights alone, with its warm-up. What is not changed is as the origin's settings have it, also
    where `at` lies in what the origin itself branched off. `train` then trains the branch. The origin is only read. Where
    `new` is this very branch already, and nothing was trained yet, it is left as it is.
    Raises CheckpointNotFoundError, SettingError, NotReproducibleError, AlreadyExistsError, CannotWriteError, and what opening a file raises.
    """
    new = Path(new)
    with Project.open(path) as source:
        if at not in source.checkpoints:
            raise CheckpointNotFoundError(source.path, at, source.checkpoints)
        split = _split(source, "a branch")
        after = _branched(source, at, changes)
        ahead = [epoch for epoch in schedule.parse(after.checkpoints, after.epochs) if epoch > at]
        described = {
            "settings": after.to_json(),
            "plan": [*(epoch for epoch in source.checkpoints if epoch <= at), *ahead],
            "environments": [item for item in source.environments if item["from_epoch"] <= at],
            "optimizer_from": at if fresh_optimizer else _optimizer_from(source, at),
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
            state = _beginning(source, at) if fresh_optimizer else _state_at(source, at, split, progress, stop)
            described |= {"id": str(uuid.uuid4()), "created": datetime.now(UTC).isoformat(timespec="seconds")}
            _write(part, new, described, source, split, state, past=at)


def _is_there(new: Path, described: Mapping[str, Any], at: int) -> bool:
    """Whether a file is the branch that is asked for, made before by a process that was killed as it ended."""
    if not new.is_file():
        return False
    try:
        with Project.open(new) as there:
            same = {
                name: value for name, value in there.described.items() if name not in {"id", "created"}
            } == described
            return same and len(there.epochs) == at + 1
    except TdwError:
        return False  # whatever it is, it is in the way


def densify(
    path: str | Path,
    checkpoints: str,
    *,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> list[int]:
    """Add checkpoints to what a run has done, by doing it again; which epochs were added.

    checkpoints: a schedule over the recorded epochs. All that is stored up to the next checkpoint must come out again
    bit for bit, else nothing is changed. Results that were there are computed for the added checkpoints too.
    Raises ScheduleError, NotReproducibleError, FileInUseError, CannotWriteError, and what opening a file raises.
    """
    with ProjectWriter.open(path) as project:
        split = _split(project, "more checkpoints")
        recorded = len(project.epochs) - 1
        stored = project.checkpoints
        wanted = sorted(set(schedule.parse(checkpoints, max(recorded, 0))) - set(stored))
        if not wanted:
            return []
        proof = min((epoch for epoch in [*stored, project.resume_state().epoch] if epoch >= wanted[-1]), default=None)
        if proof is None:
            raise NotReproducibleError(
                f"{project.path.name} has stored no state at or after epoch {wanted[-1]}, so a checkpoint there could not be "
                f"compared with anything: give epochs up to {max(stored, default=0)}."
            )
        analyzed = [name for name, item in ANALYSES.items() if name in project.analyses()]
        described = project.described | {"plan": sorted({*project.planned_checkpoints, *wanted})}
        with project.replacement_path() as part:
            again = replayed(project, proof, split, wanted, progress, stop, since=wanted[0])
            added = (segment for segment in again if segment.state.epoch in wanted)
            _write(part, project.path, described, project, split, project.resume_state(), past=recorded, added=added)
            project.replace_by(part)
        there = project.path
    if analyzed:
        runner.analyze(there, analyzed)
    return wanted


def replayed(
    source: Project,
    until: int,
    split: Split,
    keep: Iterable[int] = (),
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    *,
    since: int,
) -> Iterator[Segment]:
    """Train a run again up to an epoch, comparing all that is stored, from the last beginning of an optimizer that is not
    later than `since`. Yields a segment at each epoch of `keep` and each stored checkpoint, and others between.
    Raises NotReproducibleError, StoppedError.
    """
    stages = _stages(source, until, since)
    first = stages[0].first
    if first not in source.checkpoints:
        raise NotReproducibleError(
            f"{source.path.name} cannot be repeated: it has no checkpoint at epoch {first}, where its training began."
        )
    state = _beginning(source, first)
    kept = sorted({*keep, *source.checkpoints})
    began, optimizer_from, reached = time.monotonic(), first, -1
    for stage in stages:
        if stage.fresh:
            state, optimizer_from = _beginning(source, stage.first), stage.first
        now = replace(stage.settings, epochs=stage.last)
        for segment in training.train(now, state, split, kept, optimizer_from=optimizer_from, stop=stop):
            _compare(source, segment)
            state = segment.state
            if progress:
                speed = (state.epoch - first) / max(time.monotonic() - began, 1e-9)
                left = (until - state.epoch) / speed if speed else float("inf")
                loss = segment.train_loss[-1], segment.test_loss[-1]
                progress(Progress(state.epoch, until, len(source.checkpoints), *loss, speed, left))
            if state.epoch > reached:  # where two stages meet, both measure the epoch
                yield segment
            reached = state.epoch
            if state.epoch < stage.last and stop is not None and stop():
                raise StoppedError(
                    f"{source.path.name}: stopped at epoch {state.epoch} of {until}; nothing was changed."
                )


def _beginning(source: Project, epoch: int) -> State:
    """The state in which an optimizer begins with the weights of a checkpoint: moments zero."""
    weights = source.weights(epoch)
    zeros = {name: np.zeros_like(array) for name, array in weights.items()}
    return State(epoch, weights, zeros, {name: array.copy() for name, array in zeros.items()})


def _compare(source: Project, segment: Segment) -> None:
    """Refuse a repetition that differs from what is stored."""
    found = source.drift(segment)
    here = "on this machine, with this software and number of threads"
    if found:
        raise NotReproducibleError(
            f"{source.path.name} does not repeat itself {here}: {found['series']} at epoch {found['epoch']} was stored as "
            f"{found['stored']} and came out as {found['recomputed']}. Nothing was changed; do it where the run was trained, "
            "or branch with --fresh-optimizer, which needs the weights alone."
        )
    epoch = segment.state.epoch
    if epoch in source.checkpoints:
        stored = source.weights(epoch)
        if any(not np.array_equal(stored[name], array) for name, array in segment.state.weights.items()):
            raise NotReproducibleError(
                f"{source.path.name} does not repeat itself {here}: the weights at epoch {epoch} came out other than the "
                "stored ones. Nothing was changed."
            )


def _stages(source: Project, until: int, since: int) -> list[Stage]:
    """The stretches of equal settings up to an epoch, the earliest first: from where an optimizer began, not later than
    `since`.
    """
    found: list[Stage] = []
    now, branched, fresh_at = source.config, source.branched, source.optimizer_from
    while True:
        at = _at(source, branched)
        if branched is None or until > at:
            fresh = branched is None or fresh_at == at
            found.append(Stage(now, at, until, fresh))
            if branched is None or (fresh and at <= since):
                return found[::-1]
            until = at
        assert branched is not None, "a run that began by itself was fresh then"
        now, fresh_at = config.from_json(branched["settings"]), int(branched["optimizer_from"])
        branched = branched["branched"]


def _at(source: Project, branched: Mapping[str, Any] | None) -> int:
    """The epoch of a branch, 0 for a run that began by itself."""
    if branched is None:
        return 0
    match branched:
        case {"at": int(at), "settings": dict(), "optimizer_from": int(), "branched": dict() | None}:
            return at
    raise DamagedFileError(
        f"{source.path} does not say how it branched off: its description was not written by this program."
    )


def _optimizer_from(source: Project, epoch: int) -> int:
    """The epoch in which the AdamW began whose moments the run carried at `epoch`, in the run or in one before it."""
    began, branched = source.optimizer_from, source.branched
    while branched is not None and epoch < _at(source, branched):
        began, branched = int(branched["optimizer_from"]), branched["branched"]
    return began


def _state_at(
    source: Project,
    at: int,
    split: Split,
    progress: Callable[[Progress], None] | None,
    stop: Callable[[], bool] | None,
) -> State:
    """The full state at a checkpoint: as stored, where training could go on from there, or found again."""
    if source.resumes_from == at:
        stored = source.resume_state()
        if stored.epoch == at:  # in a copy of a run that was being trained, it may be an earlier one
            return stored
    if source.imported is not None:
        raise NotReproducibleError(
            f"{source.path.name} was trained by another program and cannot be repeated: what AdamW carried at epoch {at} is "
            "not known. Branch with --fresh-optimizer, which needs the weights alone."
        )
    if _optimizer_from(source, at) == at:
        return _beginning(source, at)
    state = None
    for segment in replayed(source, at, split, (), progress, stop, since=at):
        state = segment.state
    assert state is not None
    return state


def _split(source: Project, what: str) -> Split:
    split = source.known_split
    if split is None:
        raise NotApplicableError(source.path, what, "nobody knows which of the pairs it was trained on.")
    return split


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
    after = configure(**{**before.to_json(), **changes})
    if after.epochs <= at:
        raise SettingError("epochs", f"--epochs {after.epochs} ends before the branch begins: give more than {at}")
    return after


def _write(
    part: Path,
    known_as: Path,
    described: Mapping[str, Any],
    source: Project,
    split: Split,
    state: State,
    *,
    past: int,
    added: Iterable[Segment] = (),
) -> None:
    """A new file with the past of another one up to an epoch, and between its own checkpoints those at which the `added`
    segments end, with the test loss that belongs to a checkpoint.
    """
    with ProjectWriter.create_from(part, described, split, known_as=known_as) as writer:
        own = ((epoch, None) for epoch in source.checkpoints if epoch <= past)
        others = ((segment.state.epoch, segment) for segment in added)
        start = 0
        for epoch, segment in heapq.merge(own, others, key=lambda item: item[0]):
            losses = {name: source.series(name, start, epoch + 1) for name in SERIES}
            weights = source.weights(epoch) if segment is None else segment.state.weights
            if segment is not None:
                losses["losses/test"][-1], losses["accuracy/test"][-1] = (
                    segment.test_loss[-1],
                    segment.test_accuracy[-1],
                )
            writer.append_stored(losses, (epoch, weights))
            start = epoch + 1
        rest = {name: source.series(name, start, past + 1) for name in SERIES}
        writer.append_stored(rest, resume=state)
        if any(source.notes.values()):
            writer.set_raw_notes(source.notes)
    with store.open_reader(part) as reader:
        consistency.check(reader)
