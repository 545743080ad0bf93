"""The only way in which a run grows: a project file, open for writing."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from tdw import store
from tdw.config import RunConfig
from tdw.errors import CannotWriteError
from tdw.network.segment import Segment, State
from tdw.project import consistency, notes, serialization
from tdw.project.project import Project, series_of
from tdw.tasks import Split


class ProjectWriter(Project):
    """A run's file, open for writing: one process at a time."""

    _store: store.Writer
    _reached: State | None = None  # by the training that goes on; not stored yet as the state to resume from

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open for writing. Raises FileInUseError where another process does, beside what `Project.open` raises."""
        return cls(store.open_writer(Path(path), check=consistency.check))

    @classmethod
    def create(
        cls,
        path: str | Path,
        settings: RunConfig,
        plan: Sequence[int],
        split: Split,
        state: State,
        environment: Mapping[str, Any],
        *,
        overwrite: bool = False,
    ) -> Self:
        """A new file with room for everything the settings plan, holding the split and the initial state.

        Raises AlreadyExistsError, and CannotWriteError where the folder is missing or closed or the space does not suffice; then
        nothing is left behind.
        """
        described = {
            "id": str(uuid.uuid4()),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "settings": settings.to_json(),
            "plan": list(plan),
            "environments": [{"from_epoch": 0, **environment}],
        }
        resume = serialization.pack_state(state)
        writer = store.create(
            Path(path),
            config=described,
            split_train=split.train,
            split_test=split.test,
            epochs=settings.epochs,
            checkpoint_capacity=len(plan),
            blob_nbytes=len(serialization.pack(state.weights, state.epoch)),
            resume_nbytes=len(resume),
            resume=resume,
            resume_epoch=state.epoch,
            overwrite=overwrite,
        )
        return cls(writer)

    def append(self, segment: Segment) -> None:
        """Store a stretch of training; the curves and the checkpoint in it are safe when this returns.

        The state to resume from is stored now and then, and at the end (`close`): training that was killed between repeats
        the epochs from there on. Epochs that were recorded before stay as they are: `drift` says whether they came out the
        same.
        """
        again = self._again(segment)
        state = segment.state
        checkpoint = None
        if segment.keep and state.epoch > max(self.checkpoints, default=-1):  # else it was stored before
            checkpoint = (state.epoch, serialization.pack(state.weights, state.epoch))
        resume = None
        if state.exp_avg:
            self._reached = state
            if self._store.resume_due:
                resume = (state.epoch, serialization.pack_state(state))
        losses = {name: values[again:] for name, values in series_of(segment).items()}
        self._store.append(curves=losses, checkpoint=checkpoint, resume=resume)

    def close(self) -> None:
        """Store the state that training has reached, if any, and let go of the file."""
        state, self._reached = self._reached, None
        try:
            if state is not None and self._store.is_open:
                self._store.append(curves={}, resume=(state.epoch, serialization.pack_state(state)), final=True)
        finally:
            super().close()

    def describe(self, settings: RunConfig, plan: Sequence[int], environments: Iterable[Mapping[str, Any]]) -> None:
        """Change the plan: more epochs or checkpoints, another device, another environment from here on."""
        described = self._store.config | {
            "settings": settings.to_json(),
            "plan": list(plan),
            "environments": [dict(item) for item in environments],
        }
        if described != self._store.config:
            with _left_as_it_was():
                self._store.extend(config=described, epochs=settings.epochs, checkpoint_capacity=len(plan))

    def raw_notes(self) -> dict[str, Any]:
        """All that is noted, also what this version does not know."""
        return self._store.notes()

    def set_notes(self, title: str | None = None, tags: Sequence[str] | None = None, remark: str | None = None) -> None:
        """Change the notes: None leaves one as it is, empty text takes it away. Raises SettingError, CannotWriteError."""
        before = self._store.notes()
        after = notes.changed(before, title, tags, remark)
        if after != before:
            with _left_as_it_was():
                self._store.set_notes(after)

    def plan_analyses(self, plans: Sequence[store.AnalysisPlan], remove: Sequence[str] = ()) -> None:
        """Make room for results; rows of the same analysis under the same version and parameters stay."""
        with _left_as_it_was():
            self._store.plan_analyses(list(plans), remove)

    def room_beside(self) -> AbstractContextManager[Path]:
        """A path at which to build the file that will take the place of this one; nothing of it is left behind.

        Raises CannotWriteError.
        """
        return self._store.room_beside()

    def give_way(self, other: Path) -> None:
        """Put another file, whole and closed, in the place of this one in one step, and close this one."""
        with _left_as_it_was():
            self._store.give_way(other)

    def append_rows(self, rows: dict[str, dict[str, NDArray[Any]]]) -> None:
        """Store rows of results: analysis -> array -> rows. Safe when this returns."""
        self._store.append_rows(rows)


@contextlib.contextmanager
def _left_as_it_was() -> Iterator[None]:
    """Say, where a file could not be made anew with other contents, what has become of it."""
    try:
        yield
    except CannotWriteError as error:
        raise CannotWriteError(f"{error} What was stored before is as it was.") from error
