"""Train or resume the run in a project file created by `create`."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from tdw import schedule
from tdw.config import CHANGEABLE, RunConfig, changed, settings
from tdw.errors import DriftError, NotApplicableError, OutOfRangeError, SettingError
from tdw.network import training
from tdw.network.segment import Segment
from tdw.operations.rescue import Rescue
from tdw.project.records import Diverged, Drift, Environment
from tdw.project.writer import ProjectWriter
from tdw.setting import value_of
from tdw.store.holder import working

SECONDS_A_COMMIT = 0.1  # what is computed between two commits is computed again after a kill


@dataclass(frozen=True)
class Progress:
    """Progress of training; everything up to `epoch` is stored."""

    epoch: int
    epochs: int
    checkpoints: int
    train_loss: float
    test_loss: float
    epochs_per_second: float
    seconds_left: float


@working("train")
def train(
    path: str | Path,
    *,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    allow_drift: bool = False,
    moved: Callable[[Path], None] | None = None,
    **changes: Any,
) -> bool:
    """Train or resume the run in this file. Returns whether it is finished.

    progress: called with a Progress after each commit, two to ten times a second, when the reported data is stored
    stop:     called after every epoch; once it returns True, everything so far is stored and training ends
    allow_drift: continue even if a recomputed epoch differs from its stored values; stored values are kept, and
              `environments` records the difference and both environments
    moved:    called at the end with the file's new path if it was moved or renamed during training, which follows it
    changes:  settings that may change: epochs (only more), checkpoints, device, threads
    Raises SettingError for any other change, FileInUseError, DriftError, OutOfRangeError if a loss is not finite (the epochs before it
    are stored),
    CannotWriteError, OverwrittenError if another program changed the file (its message names a new file next to it with
    the data that could be saved), and what opening a file raises.
    """
    project = ProjectWriter.open(path)
    opened_as = project.path
    with Rescue(project) as rescue, project:
        config, plan = revised(project, changes)
        environments, recorded = project.environments, len(project.epochs)
        if recorded > config.epochs:
            project.describe(config, plan, environments)
            return True
        state = project.resume_state()
        split = project.known_split
        if split is None:
            why = "the train/test split is unknown. Import it again with the rule of its split."
            raise NotApplicableError(project.path, "training", why)
        rescue.begin(state)
        # Epochs recorded after the resume state are recomputed and compared; their stored values are kept.
        since = max(state.epoch, recorded - 1)
        before = earlier(environments, since, recorded=recorded)
        at_work = dataclasses.replace(config, threads=training.threads_of(config, project.recorded_threads))
        at_once = project.recorded_pairs_at_once
        here = Environment(from_epoch=since, **training.environment(at_work, at_once))
        drift: Drift | None = None
        started, first, test_loss = time.monotonic(), state.epoch, np.nan
        began = project.optimizer_from
        steps = training.train(at_work, state, split, plan, optimizer_from=began, at_once=at_once, stop=stop)
        for batch in _batches(steps):
            for at, segment in enumerate(batch):
                new_drift = project.drift(segment)
                if new_drift and not allow_drift:
                    raise DriftError(project.path, new_drift.sentence(before[-1], here))
                if new_drift:
                    drift = new_drift if drift is None else replace(drift, epochs=drift.epochs + new_drift.epochs)
                if (found := training.divergence(config, segment)) is not None:
                    if at:
                        project.append(*batch[:at])
                    diverged = Diverged(epoch=found[0], side=found[1])
                    if diverged.epoch >= len(project.epochs):
                        project.describe(config, plan, with_present(before, here, drift), diverged)
                        project.append_before(segment, diverged.epoch)
                    raise OutOfRangeError(
                        f"{diverged.sentence}. All epochs before it are stored; start a new run with a lower --lr or --weight-decay."
                    )
                rescue.add(segment)
                if (
                    new_drift or segment.epochs.start == state.epoch
                ):  # not before, so that a refused run stays unchanged
                    project.describe(config, plan, with_present(before, here, drift))
                evaluated = segment.test_loss[~np.isnan(segment.test_loss)]
                test_loss = evaluated[-1] if evaluated.size else test_loss
            project.append(*batch)
            reached = segment.epochs[-1]
            if progress:
                speed = (reached - first) / max(time.monotonic() - started, 1e-9)
                left = (config.epochs - reached) / speed if speed else float("inf")
                checkpoints = len(project.checkpoints)
                progress(Progress(reached, config.epochs, checkpoints, segment.train_loss[-1], test_loss, speed, left))
        finished = project.state == "finished"
    if moved is not None and project.path != opened_as:
        moved(project.path)
    return finished


def _batches(steps: Iterator[Segment]) -> Iterator[list[Segment]]:
    """Segments in groups that are stored in one commit each: a short run has more checkpoints a second than a disk commits.

    A group is complete `SECONDS_A_COMMIT` after the last one was stored.
    """
    batch, since = list[Segment](), -math.inf
    for segment in steps:
        batch.append(segment)
        if time.monotonic() >= since + SECONDS_A_COMMIT:
            yield batch
            batch, since = [], time.monotonic()
    if batch:
        yield batch


def earlier(environments: Sequence[Environment], epoch: int, *, recorded: int) -> list[Environment]:
    """The environments that recorded the epochs before `epoch`, from which the run resumes."""
    return [
        item
        for index, item in enumerate(environments)
        if item.from_epoch < epoch or (recorded and index == 0)  # the first one recorded epoch 0 itself
    ]


def with_present(before: Sequence[Environment], here: Environment, drift: Drift | None = None) -> list[Environment]:
    """The environments to store when training resumes. The current one is added if it differs from the last one, or if
    there was drift.
    """
    if before and before[-1].place == here.place and not drift:
        return list(before)
    return [*before, replace(here, drift=drift)]


def revised(project: ProjectWriter, changes: Mapping[str, Any]) -> tuple[RunConfig, list[int]]:
    """Settings and planned checkpoints of a run after these changes. Raises SettingError if one is not allowed."""
    before = project.config
    epochs = value_of(next(item for item in settings() if item.name == "epochs"), changes.get("epochs", before.epochs))
    if epochs < before.epochs:
        reached = len(project.epochs) - 1
        so_far = f"is at epoch {reached}" if reached >= 0 else "is not trained yet"
        raise SettingError(
            "epochs",
            f"--epochs must be at least the {before.epochs} that {project.path.name} plans (got {epochs}; the run {so_far}): "
            "give more to extend the run, or stop it early with Ctrl-C",
        )
    after = changed(before, changes)
    for item in settings():
        was, now = getattr(before, item.name), getattr(after, item.name)
        if was != now and item.name not in CHANGEABLE:
            raise SettingError(
                item.name,
                f"{item.flag} is {was} in {project.path.name} and cannot change to {now}: create a new run with `tdw new`",
            )
    stored = project.checkpoints
    done = len(project.epochs) - 1
    ahead = [epoch for epoch in schedule.parse(after.checkpoints, after.epochs) if epoch > done]
    if after.checkpoints == before.checkpoints and after.epochs == before.epochs:
        return after, project.planned_checkpoints
    return after, sorted({*stored, *ahead, *([0] if done < 0 else [])})
