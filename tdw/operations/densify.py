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
    """Add checkpoints by replaying training. Returns the added epochs.

    checkpoints: a schedule over the recorded epochs
    Everything stored up to the checkpoint after the last added one must be reproduced bit for bit; otherwise the file is
    not changed. Stored analyses are also computed for the added checkpoints.
    Raises ScheduleError, NotReproducibleError, FileInUseError, CannotWriteError, and what opening a file raises.
    """
    with ProjectWriter.open(path) as project:
        split = split_of(project, "densify")
        recorded = len(project.epochs) - 1
        stored = project.checkpoints
        missing = sorted(set(schedule.parse(checkpoints, max(recorded, 0))) - set(stored))
        if not missing:
            return []
        verified_at = min(
            (epoch for epoch in [*stored, project.resume_state().epoch] if epoch >= missing[-1]), default=None
        )
        if verified_at is None:
            raise NotReproducibleError(
                f"a checkpoint at epoch {missing[-1]} cannot be verified: {project.path.name} stores no later weights. Use "
                f"epochs up to {max(stored, default=0)}."
            )
        analyzed = [name for name, item in ANALYSES.items() if name in project.analyses()]
        described = project.described | {"plan": sorted({*project.planned_checkpoints, *missing})}
        with project.replacement_path() as part:
            segments = replayed(project, verified_at, split, missing, progress, stop, since=missing[0])
            added = (segment for segment in segments if segment.state.epoch in missing)
            write_past(
                part, project.path, described, project, split, project.resume_state(), past=recorded, added=added
            )
            project.replace_by(part)
        current_path = project.path
    if analyzed:
        runner.analyze(current_path, analyzed)
    return missing
