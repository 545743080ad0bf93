"""Replay the training of a run and compare the results with everything it stored.

A checkpoint holds weights only. The optimizer state at a checkpoint is recovered by replaying training from the start,
which is reproducible bit for bit on the machine that trained. All stored values and checkpoints are compared on the way,
and a replay that differs is discarded.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tdw import store
from tdw.config import RunConfig
from tdw.errors import (
    NotApplicableError,
    NotReproducibleError,
    StoppedError,
)
from tdw.network import training
from tdw.network.segment import Segment, State
from tdw.operations.edited import Edits
from tdw.operations.train import Progress
from tdw.project import consistency
from tdw.project.project import Project
from tdw.project.series import series_of
from tdw.project.writer import ProjectWriter
from tdw.tasks import Split


@dataclass(frozen=True)
class Stage:
    """Epochs `first` to `last` of a run, trained with the same settings.

    fresh: the optimizer starts at `first`. edits: stored ones of the state at `first`, where this stage begins with them
    """

    settings: RunConfig
    first: int
    last: int
    fresh: bool
    edits: tuple[dict[str, Any], ...] = ()


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
    """Replay a run up to epoch `until`, starting from the last optimizer start at or before `since`.

    Yields a segment at each epoch of `keep` and at each stored checkpoint, and others in between. What is yielded of an epoch at
    which the run was edited is the state after the edits, to which everything stored of that epoch belongs.
    Raises NotReproducibleError if a stored value is not reproduced, and StoppedError.
    """
    stages = _stages(source, until, since)
    first = stages[0].first
    if first not in source.checkpoints:
        raise NotReproducibleError(
            f"{source.path.name} cannot be replayed: it has no checkpoint at epoch {first}, where its training started."
        )
    state = beginning(source, first, stages[0].settings.optimizer_kind.slots)
    kept = sorted({*keep, *source.checkpoints})
    began, optimizer_from, reached = time.monotonic(), first, -1
    for stage, following in itertools.zip_longest(stages, stages[1:]):
        if stage.edits and stage is not stages[0]:  # which begins with stored weights, edited already
            state = _edited(source, stage, state)
        if stage.fresh:
            state = beginning(source, stage.first, stage.settings.optimizer_kind.slots)
            optimizer_from = stage.first
        threads = training.threads_of(stage.settings, source.recorded_threads)
        now = replace(stage.settings, epochs=stage.last, threads=threads)
        at_once = source.recorded_pairs_at_once
        for whole in training.train(now, state, split, kept, optimizer_from=optimizer_from, at_once=at_once, stop=stop):
            state = whole.state
            is_edited_next = following is not None and following.edits and state.epoch == stage.last
            segment = _without_last(whole) if is_edited_next else whole
            _compare(source, segment, with_weights=segment is whole)
            if progress:
                speed = (state.epoch - first) / max(time.monotonic() - began, 1e-9)
                left = (until - state.epoch) / speed if speed else float("inf")
                loss = whole.train_loss[-1], whole.test_loss[-1]
                progress(Progress(state.epoch, until, len(source.checkpoints), *loss, speed, left))
            if segment is whole and state.epoch > reached:  # both stages evaluate the epoch between them
                yield segment
                reached = state.epoch
            reached = max(reached, state.epoch - (segment is not whole))
            if state.epoch < stage.last and stop is not None and stop():
                raise StoppedError(
                    f"{source.path.name}: stopped at epoch {state.epoch} of {until}; nothing was changed."
                )


def beginning(source: Project, epoch: int, slots: Iterable[str]) -> State:
    """The state in which an optimizer starts from the weights of a checkpoint: all slots zero."""
    return State.fresh(epoch, source.weights(epoch), slots)


HERE = "on this machine, with this software and number of threads"


def _edited(source: Project, stage: Stage, state: State) -> State:
    """The state after the edits with which a stage begins. Its weights are the stored ones, which the edits must lead to.

    Raises NotReproducibleError.
    """
    if stage.first not in source.checkpoints:
        raise NotReproducibleError(
            f"{source.path.name} cannot be replayed: it has no checkpoint at epoch {stage.first}, where it was edited."
        )
    after = source.weights(stage.first)
    made = Edits.stored(stage.edits, after)
    if not made.reproduce(state.weights, after, stage.settings):
        raise NotReproducibleError(
            f"{source.path.name} is not reproducible {HERE}: its edits at epoch {stage.first} lead to other weights than the "
            "stored ones. Nothing was changed."
        )
    return replace(made.applied(state, stage.settings), weights=after)


def _without_last(segment: Segment) -> Segment:
    """A segment without its last epoch; the state remains that of the last epoch."""
    cut = {name: getattr(segment, name)[:-1] for name in ("train_loss", "test_loss", "train_accuracy", "test_accuracy")}
    return replace(segment, epochs=segment.epochs[:-1], **cut)


def _compare(source: Project, segment: Segment, *, with_weights: bool) -> None:
    """Raise NotReproducibleError if a replayed segment differs from the stored values."""
    drift = source.drift(segment)
    if drift:
        raise NotReproducibleError(
            f"{source.path.name} is not reproducible {HERE}: {drift.series} at epoch {drift.epoch} was stored as "
            f"{drift.stored} and recomputed as {drift.recomputed}. Nothing was changed. Replay it on the machine that "
            "trained it, or branch with --fresh-optimizer, which starts from the weights alone."
        )
    epoch = segment.state.epoch
    if with_weights and epoch in source.checkpoints:
        stored = source.weights(epoch)
        if any(not np.array_equal(stored[name], array) for name, array in segment.state.weights.items()):
            raise NotReproducibleError(
                f"{source.path.name} is not reproducible {HERE}: the weights at epoch {epoch} differ from the stored ones. "
                "Nothing was changed."
            )


def _stages(source: Project, until: int, since: int) -> list[Stage]:
    """The stages up to epoch `until` in order, beginning with the last one at or before `since` with a fresh optimizer."""
    stages: list[Stage] = []
    now, branched, fresh_at = source.config, source.branched, source.optimizer_from
    while True:
        at = 0 if branched is None else branched.at
        edits = () if branched is None else tuple(branched.edits)
        if edits and until == at and stages and stages[-1].first == at:  # the branch was branched where it begins
            stages[-1] = replace(stages[-1], edits=edits + stages[-1].edits)
        elif branched is None or until > at or (edits and until == at):
            fresh = branched is None or fresh_at == at
            stages.append(Stage(now, at, until, fresh, edits))
            if branched is None or (fresh and at <= since):
                return stages[::-1]
            until = at
        assert branched is not None, "a run that is not a branch has a fresh optimizer at epoch 0"
        now, fresh_at, branched = branched.config, branched.optimizer_from, branched.branched


def optimizer_from(source: Project, epoch: int) -> int:
    """The epoch at which the optimizer in use at `epoch` started, in the run or its origins."""
    began, branched = source.optimizer_from, source.branched
    while branched is not None and epoch < branched.at:
        began, branched = branched.optimizer_from, branched.branched
    return began


def settings_at(source: Project, epoch: int) -> RunConfig:
    """The settings with which the run, or its origin, was trained up to `epoch`."""
    now, branched = source.config, source.branched
    while branched is not None and epoch < branched.at:
        now, branched = branched.config, branched.branched
    return now


def split_of(source: Project, what: str) -> Split:
    """The train/test split. Raises NotApplicableError, which names the operation `what`, if it is unknown."""
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
    edited: Segment | None = None,
) -> None:
    """Write a new file with the history of another one up to epoch `past`, with those of its checkpoints that are planned.

    added: segments that end in checkpoints, which are merged with its own, each with its test loss and accuracy
    edited: what takes the place of the epoch `past`
    """
    plan = set(described["plan"])
    if edited is not None:
        added = itertools.chain(added, [edited])
    with ProjectWriter.create_from(part, described, split, curves=source.curves, known_as=known_as) as writer:
        kept = [epoch for epoch in source.checkpoints if epoch in plan and epoch < past + (edited is None)]
        own = ((epoch, None) for epoch in kept)
        others = ((segment.state.epoch, segment) for segment in added)
        start = 0
        for epoch, segment in heapq.merge(own, others, key=lambda item: item[0]):
            losses = {name: source.series(name, start, epoch + 1) for name in source.curves}
            weights = source.weights(epoch) if segment is None else segment.state.weights
            if segment is not None:
                measured = series_of(segment)
                for name, values in losses.items():
                    if name in measured:
                        values[-1] = measured[name][-1]
                    elif segment is edited:  # another program measured it of the weights before
                        values[-1] = np.nan
            writer.append_stored(losses, (epoch, weights))
            start = epoch + 1
        rest = {name: source.series(name, start, past + 1) for name in source.curves}
        writer.append_stored(rest, resume=state)
        if notes := source.raw_notes():
            writer.set_raw_notes(notes)
    with store.open_reader(part) as reader:
        consistency.check(reader)
