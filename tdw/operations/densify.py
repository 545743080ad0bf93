"""Add checkpoints to a run by replaying its training, verified bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tdw import schedule
from tdw.analyses import ANALYSES
from tdw.analyses.engine import runner
from tdw.errors import (
    NotReproducibleError,
)
from tdw.operations.replay import replayed, split_of, write_past
from tdw.operations.train import Progress
from tdw.project.writer import ProjectWriter


def densify(
    path: str | Path,
    checkpoints: str,
    *,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> list[int]:
    """Add checkpoints by replaying training. Returns the epochs that were added.

    checkpoints: a schedule over the recorded epochs. Everything stored up to the next checkpoint must be reproduced bit
    for bit; otherwise nothing is changed. Stored analyses are computed for the added checkpoints as well.
    Raises ScheduleError, NotReproducibleError, FileInUseError, CannotWriteError, and what opening a file raises.
    """
    with ProjectWriter.open(path) as project:
        split = split_of(project, "more checkpoints")
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
        with project.room_beside() as part:
            again = replayed(project, proof, split, wanted, progress, stop, since=wanted[0])
            added = (segment for segment in again if segment.state.epoch in wanted)
            write_past(
                part, project.path, described, project, split, project.resume_state(), past=recorded, added=added
            )
            project.give_way(part)
        there = project.path
    if analyzed:
        runner.analyze(there, analyzed)
    return wanted
