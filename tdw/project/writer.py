"""A run's project file, open for writing."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Num, Shaped

from tdw import arguments, config, store
from tdw.config import RunConfig
from tdw.errors import CannotWriteError, NewerFormatError
from tdw.network.parameters import shapes
from tdw.network.segment import Arrays, Segment, State
from tdw.project import consistency, notes, serialization, waiting_notes
from tdw.project.project import Project
from tdw.project.records import Description, Diverged, Environment, ImportedFrom
from tdw.project.series import SERIES, series_of
from tdw.tasks import Split

log = logging.getLogger("tdw.store")  # whose notes commands print


class ProjectWriter(Project):
    """A run's file, open for writing by one process at a time."""

    _reached: State | None = None  # by training; not yet stored as resume state

    def __init__(self, writer: store.Writer):
        super().__init__(writer.reader)
        self._writer = writer

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open for writing. Raises FileInUseError where another process has the file open, and what `Project.open` raises."""
        writer = store.open_writer(arguments.path("path", path), check=_check_writable)
        project = cls(writer)
        try:
            refuse_newer(project.path, project.description)
            project._store_waiting_notes()
        except BaseException:
            writer.close()
            raise
        return project

    @classmethod
    def create(
        cls,
        path: str | Path,
        settings: RunConfig,
        plan: Sequence[int],
        split: Split,
        state: State,
        environment: Environment,
        *,
        overwrite: bool = False,
    ) -> Self:
        """A new run: its split, its initial state, and room for all the epochs and checkpoints that the settings plan.

        Raises what `create_from` raises.
        """
        description = describe_new(settings, plan, environment)
        return cls.create_from(path, description, split, state, overwrite=overwrite)

    @classmethod
    def create_imported(
        cls,
        path: str | Path,
        settings: RunConfig,
        plan: Sequence[int],
        split: Split,
        imported: ImportedFrom,
        *,
        curves: Sequence[str] = SERIES,
        known_as: Path | None = None,
    ) -> Self:
        """A run of another program, still without epochs, checkpoints and resume state.

        imported: its origin and what was inferred. curves: see `create_from`. Raises what `create_from` raises.
        """
        description = describe_new(settings, plan, Environment(from_epoch=0, program=imported.form))
        return cls.create_from(
            path, description | {"imported": imported.to_json()}, split, curves=curves, known_as=known_as
        )

    @classmethod
    def create_from(
        cls,
        path: str | Path,
        description: Mapping[str, Any],
        split: Split,
        state: State | None = None,
        *,
        curves: Sequence[str] = SERIES,
        overwrite: bool = False,
        known_as: Path | None = None,
    ) -> Self:
        """The file of a run with this description, with room for all the epochs and checkpoints that it plans.

        state: the resume state to store, if there is one yet. curves: their names, those of training among them.
        known_as: the path that errors give.
        Raises AlreadyExistsError (unless overwrite), FileInUseError, and CannotWriteError for a missing folder, a missing
        permission or a full disk; nothing is left behind then.
        """
        settings = config.from_json(description["settings"])
        # An imported run gets room for what it has: weights at some epochs or none, and a state to resume from or none.
        imported = description.get("imported")
        has_weights = imported is None or bool(description["plan"])
        is_resumable = imported is None or imported.get("resumable", True)
        zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes(settings).items()} if has_weights else {}
        slots = settings.optimizer_kind.slots
        writer = store.create(
            Path(path),
            config=description,
            split_train=split.train,
            split_test=split.test,
            epochs=settings.epochs,
            checkpoint_capacity=max(len(description["plan"]), 1),
            blob_nbytes=serialization.nbytes(zeros),
            resume_nbytes=len(serialization.pack_state(State.fresh(0, zeros, slots))) if is_resumable else 0,
            resume=None if state is None else serialization.pack_state(state),
            resume_epoch=0 if state is None else state.epoch,
            overwrite=overwrite,
            known_as=known_as,
            curves=[store.CurvePlan(name) for name in curves],
        )
        return cls(writer)

    def append_stored(
        self,
        curves: Mapping[str, Num[np.ndarray, " epoch"]],
        checkpoint: tuple[int, Arrays] | None = None,
        resume: State | None = None,
    ) -> None:
        """Store epochs, a checkpoint and a resume state that another file had; durable when this returns.

        curves: by name, equally long, from the first epoch on that is not recorded; NaN where one is missing.
        """
        self._writer.append(
            curves=self._with_others(curves),
            checkpoints=()
            if checkpoint is None
            else [(checkpoint[0], serialization.pack(checkpoint[1], checkpoint[0]))],
            resume=None if resume is None else (resume.epoch, serialization.pack_state(resume)),
        )

    def append(self, *segments: Segment) -> None:
        """Store consecutive segments of training in one commit; their curves and checkpoints are durable when this returns.

        The resume state is stored from time to time, and at the end (`close`): after a kill in between, training repeats the
        epochs from there on. Already recorded epochs are not changed: `drift` tells whether they came out the same.
        """
        stored = max(self.checkpoints, default=-1)
        checkpoints = [
            (segment.state.epoch, serialization.pack(segment.state.weights, segment.state.epoch))
            for segment in segments
            if segment.keep and segment.state.epoch > stored
        ]
        state, resume = segments[-1].state, None
        if state.slots:
            self._reached = state
            if self._writer.resume_due:
                resume = (state.epoch, serialization.pack_state(state))
        parts = [(series_of(segment), self._again(segment)) for segment in segments]
        losses = {name: np.concatenate([series[name][again:] for series, again in parts]) for name in SERIES}
        self._writer.append(curves=self._with_others(losses), checkpoints=checkpoints, resume=resume)
        self._store_waiting_notes()

    def _with_others(self, curves: Mapping[str, Num[np.ndarray, " epoch"]]) -> dict[str, Num[np.ndarray, " epoch"]]:
        """Curves, and NaN for those of the file that are not among them, such as those that another program recorded."""
        if not curves:
            return {}
        unrecorded = np.full(len(next(iter(curves.values()))), np.nan)
        return {name: curves.get(name, unrecorded) for name in self.curves}

    def append_before(self, segment: Segment, epoch: int) -> None:
        """Store the epochs of a segment before `epoch`, where training diverged; durable when this returns.

        Its state is of a later epoch and is not stored: the resume state remains that of an earlier segment.
        """
        start, stop = self._again(segment), epoch - segment.epochs.start
        self._writer.append(
            curves=self._with_others({name: values[start:stop] for name, values in series_of(segment).items()})
        )

    def close(self) -> None:
        """Store the state that training has reached, if any, and close the file."""
        state, self._reached = self._reached, None
        try:
            if state is not None and self._writer.is_open:
                self._writer.append(curves={}, resume=(state.epoch, serialization.pack_state(state)), final=True)
            if self._writer.is_open:
                self._store_waiting_notes()
        finally:
            self._writer.close()

    def describe(
        self,
        settings: RunConfig,
        plan: Sequence[int],
        environments: Iterable[Environment],
        diverged: Diverged | None = None,
    ) -> None:
        """Change the description: more epochs or checkpoints, another device, another environment from here on, and where
        training diverged, if it did.
        """
        before = {name: value for name, value in self._store.config.items() if name != "diverged"}
        described = before | ({} if diverged is None else {"diverged": diverged.to_json()})
        described |= {
            "settings": settings.to_json(),
            "plan": list(plan),
            "environments": [item.to_json() for item in environments],
        }
        if described != self._store.config:
            with _unchanged_on_error():
                self._writer.extend(config=described, epochs=settings.epochs, checkpoint_capacity=len(plan))

    def set_raw_notes(self, stored: Mapping[str, Any]) -> None:
        """Store notes as another file had them."""
        self._writer.set_notes(stored)

    def _store_waiting_notes(self) -> None:
        """Store notes that other processes gave meanwhile. If they cannot be stored now, they wait for the next writer."""
        try:
            with waiting_notes.taken(self.path) as changes:
                if changes:
                    self.set_notes(**changes)
        except (CannotWriteError, OSError) as error:
            log.info("notes on %s wait to be stored: %s", self.path, error)

    def set_notes(self, title: str | None = None, tags: Sequence[str] | None = None, remark: str | None = None) -> None:
        """Change the notes: None keeps one, "" removes it. Raises SettingError, CannotWriteError."""
        before = self._store.notes()
        after = notes.changed(before, title, tags, remark)
        if after != before:
            with _unchanged_on_error():
                self._writer.set_notes(after)

    def plan_analyses(self, plans: Sequence[store.AnalysisPlan], remove: Sequence[str] = ()) -> None:
        """Plan analyses; rows of the same analysis with the same version and parameters are kept."""
        with _unchanged_on_error():
            self._writer.plan_analyses(list(plans), remove)

    def replacement_path(self) -> AbstractContextManager[Path]:
        """A path at which to build the file that will replace this one; it is removed in the end.

        Raises CannotWriteError.
        """
        return self._writer.replacement_path()

    def replace_by(self, other: Path) -> None:
        """Replace this file by another one, complete and closed, in one step, and close this one."""
        with _unchanged_on_error():
            self._writer.replace_by(other)

    def append_rows(self, rows: dict[str, dict[str, Shaped[np.ndarray, "row ..."]]]) -> None:
        """Store rows of analyses: analysis -> array -> rows. Durable when this returns."""
        self._writer.append_rows(rows)


def _check_writable(stored: store.Reader) -> None:
    consistency.check(stored)
    refuse_newer(stored.path, Description.of(stored.config))


def refuse_newer(path: Path, description: Description) -> None:
    """Raise NewerFormatError for a run with settings or edits that this version does not know, which it would drop."""
    if newer := description.newer:
        names = ", ".join(newer[:5])
        raise NewerFormatError(
            f"{path} was made by a newer version of tdw, which has {names}: it can be read, but not changed or branched here. Update "
            "tdw."
        )


def describe_new(settings: RunConfig, plan: Sequence[int], environment: Environment) -> dict[str, Any]:
    """The description that is stored of a new run, with an id of its own."""
    return {
        "id": str(uuid.uuid4()),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": settings.to_json(),
        "plan": list(plan),
        "environments": [environment.to_json()],
    }


@contextlib.contextmanager
def _unchanged_on_error() -> Iterator[None]:
    """Add to CannotWriteError that the old contents are unchanged."""
    try:
        yield
    except CannotWriteError as error:
        raise CannotWriteError(f"{error} What was stored before is unchanged.") from error
