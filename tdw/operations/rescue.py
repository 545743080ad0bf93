"""Saves what training has in memory when another program overwrites the file that it writes to."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from tdw.errors import OverwrittenError, ProjectError
from tdw.network.segment import Segment, State
from tdw.project.series import SERIES, series_of
from tdw.project.writer import ProjectWriter
from tdw.store.atomic import unused_name


class Rescue:
    """The settings, split, curves and current state of a run during training, in memory.

    A context manager around the work on an open file. When the file is overwritten in place, these are saved to a new file
    next to it, and the error says so.
    """

    def __init__(self, project: ProjectWriter):
        self._project = project
        self._state: State | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OverwrittenError) and error.in_place and self._state is not None:
            raise OverwrittenError(f"{error} {self._save(self._project.path, self._state)}", in_place=True) from error

    def begin(self, state: State) -> None:
        """Take over the stored run, and the state that training continues from."""
        project = self._project
        self._split, self._notes = project.split, project.raw_notes()
        self._curves = {name: [project.series(name)] for name in project.curves}
        self._recorded, self._state = len(project.epochs), state

    def add(self, segment: Segment) -> None:
        """Take over a segment of training before it is stored."""
        again = max(0, self._recorded - segment.epochs.start)
        trained, unrecorded = series_of(segment), np.full(len(segment.epochs), np.nan)
        for name, curve in self._curves.items():
            curve.append(trained.get(name, unrecorded)[again:])
        self._recorded = max(self._recorded, segment.epochs.stop)
        self._state = segment.state

    def _save(self, path: Path, state: State) -> str:
        """Save to a new file next to `path`; returns a sentence about that."""
        new, described = unused_name(path, "rescued"), self._project.described
        lost = f"{path.name} was overwritten during training: all earlier checkpoints and results are lost"
        described |= {
            "plan": [state.epoch, *(epoch for epoch in described["plan"] if epoch > state.epoch)],
            "recovered": {"from": path.name, "damage": [lost]},
        }
        curves = {name: np.concatenate(values) for name, values in self._curves.items()}
        try:
            with ProjectWriter.create_from(new, described, self._split, curves=tuple(curves)) as writer:
                if len(curves[SERIES[0]]):
                    writer.append_stored(curves, (state.epoch, state.weights), state)
                if self._notes:
                    writer.set_raw_notes(self._notes)
        except ProjectError as error:
            return f"The settings, curves and last state of the run could not be saved to another file: {error}"
        return (
            f"The settings, curves and last state of the run were saved to {new}; resume with `tdw train {new.name}`. "
            "Its checkpoints were in the overwritten file."
        )
