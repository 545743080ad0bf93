"""Write an imported run to a project file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tdw.interchange.plan import Plan
from tdw.interchange.weight_layouts import read, without_zero_biases
from tdw.network.segment import Segment, State
from tdw.project.writer import ProjectWriter
from tdw.store.atomic import new_file


def write(plan: Plan, path: Path, *, overwrite: bool) -> None:
    """Write the project file, complete or not at all. Raises AlreadyExistsError, CannotWriteError, NotImportableError."""
    epochs = [epoch for epoch, _ in plan.checkpoints]
    with (
        new_file(path, overwrite=overwrite) as part,
        ProjectWriter.create_imported(
            part, plan.settings, epochs, plan.split, plan.imported, resumable=plan.state is not None, known_as=path
        ) as writer,
    ):
        for segment in _segments(plan):
            writer.append(segment)


def _segments(plan: Plan) -> Iterator[Segment]:
    """The run as segments that each end with a checkpoint, except that of the epochs after the last checkpoint."""
    series, start = plan.series, 0
    nothing = State(0, {}, {})
    biased = plan.settings.biases == "mlp"

    def segment(last: int, state: State, *, keep: bool) -> Segment:
        unrecorded = np.full(last + 1 - start, np.nan)
        train, test = (values[start : last + 1] for values in series)
        return Segment(range(start, last + 1), train, test, unrecorded, unrecorded, state, keep)

    for epoch, checkpoint in plan.checkpoints:
        arrays, _ = read(checkpoint.load(), checkpoint.what)
        if plan.state is not None and epoch == plan.state.epoch:
            state = plan.state
        else:
            state = State(epoch, arrays if biased else without_zero_biases(arrays), {})
        yield segment(epoch, state, keep=True)
        start = epoch + 1
    if start <= plan.settings.epochs:
        yield segment(plan.settings.epochs, nothing, keep=False)
