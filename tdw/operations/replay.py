"""Train a run again, exactly, and compare everything that is stored on the way.

A checkpoint holds weights alone. The optimizer's state beside them is recovered by training from the beginning, which
repeats bit for bit on the machine that trained; every stored number and checkpoint on the way is compared, and nothing is
made of a replay that differs.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tdw import config, store
from tdw.config import RunConfig
from tdw.errors import (
    DamagedFileError,
    NotApplicableError,
    NotReproducibleError,
    StoppedError,
)
from tdw.network import training
from tdw.network.segment import Segment, State
from tdw.operations.train import Progress
from tdw.project import consistency
from tdw.project.project import SERIES, Project
from tdw.project.writer import ProjectWriter
from tdw.tasks import Split


@dataclass(frozen=True)
class Stage:
    """A stretch of a run under the same settings, from one epoch to another; fresh: the optimizer starts with it."""

    settings: RunConfig
    first: int
    last: int
    fresh: bool


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
    """Train a run again up to an epoch, comparing all that is stored, from the last start of an optimizer that is not
    later than `since`. Yields a segment at each epoch of `keep` and each stored checkpoint, and others in between.
    Raises NotReproducibleError, StoppedError.
    """
    stages = _stages(source, until, since)
    first = stages[0].first
    if first not in source.checkpoints:
        raise NotReproducibleError(
            f"{source.path.name} cannot be repeated: it has no checkpoint at epoch {first}, where its training began."
        )
    state = beginning(source, first, stages[0].settings.optimizer_kind.slots)
    kept = sorted({*keep, *source.checkpoints})
    began, optimizer_from, reached = time.monotonic(), first, -1
    for stage in stages:
        if stage.fresh:
            state = beginning(source, stage.first, stage.settings.optimizer_kind.slots)
            optimizer_from = stage.first
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


def beginning(source: Project, epoch: int, slots: Iterable[str]) -> State:
    """The state in which an optimizer starts from the weights of a checkpoint: its slots zero."""
    return State.fresh(epoch, source.weights(epoch), slots)


def _compare(source: Project, segment: Segment) -> None:
    """Raise NotReproducibleError where a replay differs from what is stored."""
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
        at = branch_epoch(source, branched)
        if branched is None or until > at:
            fresh = branched is None or fresh_at == at
            found.append(Stage(now, at, until, fresh))
            if branched is None or (fresh and at <= since):
                return found[::-1]
            until = at
        assert branched is not None, "a run that began by itself was fresh then"
        now, fresh_at = config.from_json(branched["settings"]), int(branched["optimizer_from"])
        branched = branched["branched"]


def branch_epoch(source: Project, branched: Mapping[str, Any] | None) -> int:
    """The epoch of a branch, 0 for a run that began by itself."""
    if branched is None:
        return 0
    match branched:
        case {"at": int(at), "settings": dict(), "optimizer_from": int(), "branched": dict() | None}:
            return at
    raise DamagedFileError(
        f"{source.path} does not say how it branched off: its description was not written by this program."
    )


def optimizer_from(source: Project, epoch: int) -> int:
    """The epoch at which the optimizer started whose state the run had at `epoch`, in the run or its origins."""
    began, branched = source.optimizer_from, source.branched
    while branched is not None and epoch < branch_epoch(source, branched):
        began, branched = int(branched["optimizer_from"]), branched["branched"]
    return began


def settings_at(source: Project, epoch: int) -> RunConfig:
    """The settings that the run, or the one it branched off, was trained with up to `epoch`."""
    now, branched = source.config, source.branched
    while branched is not None and epoch < branch_epoch(source, branched):
        now, branched = config.from_json(branched["settings"]), branched["branched"]
    return now


def split_of(source: Project, what: str) -> Split:
    """The train/test split. Raises NotApplicableError where it is unknown."""
    split = source.known_split
    if split is None:
        raise NotApplicableError(source.path, what, "the train/test split is unknown.")
    return split


def write_past(
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
    """Write a new file with the history of another one up to an epoch. Checkpoints at which the `added` segments end are
    merged with its own, each with its test loss.
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
