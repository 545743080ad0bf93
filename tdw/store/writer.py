"""Writes a project file such that a kill, a power cut or a full disk at any time never loses acknowledged data.

Epochs, checkpoints and rows of analyses are committed in place (`commits.py`). A change of structure (more epochs, an
analysis, a note) builds a new file and renames it over the old one. After any failed write the writer refuses everything:
the state of the disk is unknown until the file is opened again.
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from tdw.errors import CannotWriteError, OverwrittenError, ProjectError
from tdw.store import filesystem
from tdw.store.atomic import explained, publish, take_attributes, unused_name
from tdw.store.commit_record import ResumeSlot
from tdw.store.commits import Commits, Piece
from tdw.store.copy import copy
from tdw.store.filesystem import System
from tdw.store.layout import AnalysisPlan, FilePlan, canonical
from tdw.store.lock import Lock
from tdw.store.open_file import OpenFile
from tdw.store.reader import Reader
from tdw.store.restructure import plan_of, restructured
from tdw.store.validate import check_safetensors
from tdw.temporary import temporary_path

#: The slowest copying, in bytes per second, that gets an intact resume state from a file during training; and how much a
#: copying program may read at once before it waits.
SLOWEST_COPY, AT_ONCE = 0.5e6, 1 << 20
WORTH_SAVING = 1 << 20  # bytes for which a finished run is rebuilt
LAST = 2  # the slot of the resume state at the end of training


class Writer:
    """The right to write to an open project file; see `create` and `open_writer`.

    Attributes:
        reader: the same open file, for reading; it shows what this writer has committed.
    """

    def __init__(self, path: Path, real: Path, state: OpenFile, lock: Lock, system: System):
        self.reader = Reader(path, state, system.close)
        self._real = real  # during a build, errors name another path
        self._writing, self._system = lock, system
        self._dead: str | None = None
        self._watch()
        self._resume_written = time.monotonic()

    @property
    def path(self) -> Path:
        """Where the file is: as it was given, or where it was moved to since."""
        return self.reader.path

    @property
    def _state(self) -> OpenFile:
        return self.reader._state  # also of a closed one: an error must name what failed first

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_writing"):
            self._let_go()

    def _watch(self) -> None:
        """Take note of the contents of a file that was just opened or built."""
        state = self._state
        self._commits = Commits(state, self.path, self._system, self._writing)
        self._slots = dict(state.resume_slots())

    # Committing

    def append(
        self,
        *,
        curves: Mapping[str, np.ndarray],
        checkpoints: Sequence[tuple[int, bytes]] = (),
        resume: tuple[int, bytes] | None = None,
        final: bool = False,
    ) -> None:
        """Store the next epochs of every curve, checkpoints and the resume state if given, in one commit; durable on return.

        curves: all curves of the file by name, equally long, from epoch `n_epochs` on; {} appends no epoch.
        checkpoints: (epoch, blob) in order; each epoch must be recorded by then, and later than the last checkpoint.
        final: the resume state is the last one of this training, and has a slot of its own; see `resume_due`.

        Raises CannotWriteError; ValueError for data that is not planned or out of order.
        """
        with self.reader.lock:
            state = self._alive()
            layout = state.layout
            rows = {name: np.asarray(curves.get(name, ()), layout.extents[name].dtype) for name in layout.curves}
            self._check_append(curves, rows, checkpoints, resume)
            changes: dict[str, Any] = {}
            pieces: list[Piece] = []
            if resume is not None:
                slot, about = self._free_slot(final=final), ResumeSlot(resume[0], len(resume[1]), zlib.crc32(resume[1]))
                state = self._state  # the file may have been rebuilt with more slots
                pieces.append(Piece(state.layout.resume_places()[slot], resume[1]))
                pieces.append(Piece(state.layout.trailer_offset(slot), about.encode()))
                changes |= {"resume_epoch": about.epoch, "resume_slot": slot}
                changes |= {"resume_nbytes": about.nbytes, "resume_crc32": about.crc32}
                self._slots[slot] = about
                self._resume_written = time.monotonic()
            if checkpoints:
                extent, at = state.layout.extents["checkpoints/safetensors"], state.record.n_checkpoints
                for row, (_, blob) in enumerate(checkpoints, at):
                    pieces.append(Piece(extent.offset + row * extent.row_nbytes, blob))
                rows["checkpoints/epoch"] = np.array([epoch for epoch, _ in checkpoints], "<i8")
                rows["checkpoints/crc32"] = np.array([zlib.crc32(blob) for _, blob in checkpoints], "<u4")
                changes["n_checkpoints"] = at + len(checkpoints)
            changes["n_epochs"] = state.record.n_epochs + len(rows[layout.curves[0]])
            if pieces or changes["n_epochs"] > state.record.n_epochs:
                self._commit(pieces, rows, changes)

    @property
    def resume_due(self) -> bool:
        """Whether another resume state may be stored without spoiling copies that are being made of the file.

        The two slots are written alternately. While one is written, a slow copy must be able to read all of the other one:
        so both are left alone for as long as it takes to copy them.
        """
        both = 2 * self._state.layout.resume_width
        return time.monotonic() - self._resume_written >= 1.25 * (both + AT_ONCE) / SLOWEST_COPY

    def _free_slot(self, *, final: bool) -> int:
        """The slot for the next resume state: never the one that the commit record names."""
        named = self._state.record.resume_slot
        if final and named != LAST:
            return LAST
        if self._state.layout.resume_places()[0] < 0:  # a finished run has only the last slot
            self._restructure(replace(plan_of(self.reader), finished=False))
            named = self._state.record.resume_slot
        free = [slot for slot in (0, 1) if slot != named]
        return min(free, key=lambda slot: self._slots[slot].epoch if slot in self._slots else -1)

    def _check_append(
        self,
        given: Mapping[str, np.ndarray],
        rows: Mapping[str, np.ndarray],
        checkpoints: Sequence[tuple[int, bytes]],
        resume: tuple[int, bytes] | None,
    ) -> None:
        if unknown := sorted(set(given) - set(rows)):
            raise ValueError(f"{self.path} has no curve {', '.join(unknown)}; its curves are {', '.join(rows)}")
        lengths = {values.shape for values in rows.values()}
        if len(lengths) != 1 or len(next(iter(lengths))) != 1:
            raise ValueError(f"all curves must be one-dimensional and equally long, not {sorted(lengths)}")
        recorded = self.reader.n_epochs + next(iter(lengths))[0]
        if recorded > self.reader.planned_epochs + 1:
            raise ValueError(f"epoch {recorded - 1} exceeds the {self.reader.planned_epochs} planned epochs")
        last = int(self.reader.checkpoint_epochs()[-1]) if checkpoints and self.reader.n_checkpoints else -1
        for epoch, blob in checkpoints:
            if not last < epoch < recorded:
                raise ValueError(f"a checkpoint at epoch {epoch} must be after {last} and before {recorded}")
            check_blob(blob, exactly=self.reader.blob_nbytes)
            last = epoch
        if self.reader.n_checkpoints + len(checkpoints) > self.reader.checkpoint_capacity:
            raise ValueError(
                f"{len(checkpoints)} checkpoints do not fit: {self.reader.n_checkpoints} of {self.reader.checkpoint_capacity} "
                "planned ones are stored"
            )
        if resume is not None:
            epoch, blob = resume
            if not 0 <= epoch <= max(0, recorded - 1):
                raise ValueError(
                    f"a resume state at epoch {epoch} is later than the last recorded epoch, {recorded - 1}"
                )
            check_blob(blob, at_most=self.reader.resume_nbytes)

    def append_rows(self, rows: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Store the next rows of analyses, in one commit: analysis -> array -> (n, *row shape); durable on return.

        All arrays of an analysis must be given, equally long. Raises CannotWriteError; ValueError for rows that are not planned.
        """
        with self.reader.lock:
            state = self._alive()
            values: dict[str, np.ndarray] = {}
            for name, arrays in rows.items():
                plan = state.layout.analyses.get(name)
                if plan is None or set(arrays) != set(plan.arrays):
                    raise ValueError(f"the arrays {sorted(arrays)} are not those planned for analysis {name!r}")
                stored = self.reader.analyses()[name].rows
                counts = set()
                for array, given in arrays.items():
                    wanted = plan.arrays[array]
                    value = np.ascontiguousarray(given, np.dtype(wanted.dtype))
                    if value.shape[1:] != wanted.row_shape or not value.ndim:
                        raise ValueError(
                            f"rows of {name}/{array} must have shape {wanted.row_shape}, not {value.shape[1:]}"
                        )
                    counts.add(len(value))
                    values[f"analysis/{name}/{array}"] = value
                if len(counts) != 1 or stored + max(counts) > plan.capacity:
                    raise ValueError(
                        f"{sorted(counts)} rows of {name!r} do not fit: {stored} of {plan.capacity} are stored"
                    )
            if any(len(value) for value in values.values()):
                self._commit([], values, {})

    def _commit(self, pieces: Sequence[Piece], rows: Mapping[str, np.ndarray], changes: Mapping[str, Any]) -> None:
        """Write pieces and rows, then the record that commits them; durable on return."""
        self._follow()
        with self._fatal():
            self._commits.write(pieces, rows, changes)

    def _follow(self) -> bool:
        """Follow the file to its current path; False where the operating system does not tell that path.

        Raises OverwrittenError where the file was deleted or replaced.
        """
        state = self._state
        if filesystem.names(self._real, state.fd):
            return True
        there = filesystem.where_is(state.fd, self._real)
        if there is not None:
            self._writing.follow(there)
            self._real = self.reader.path = self._commits.path = there
            return True
        if os.path.lexists(self._real):
            what = f"was replaced by another file while being written; the other file was not changed. {self._saved()}"
        elif os.fstat(state.fd).st_nlink:
            return False
        else:
            what = "was deleted while being written: further results would be lost."
        error = OverwrittenError(f"{self.path} {what}")
        self._die(error)
        raise error

    def _found(self) -> Path:
        """The current path, to replace the file there. Raises CannotWriteError, OverwrittenError."""
        if not self._follow():
            raise CannotWriteError(
                f"{self.path} was moved while it was open, and its new path is unknown: open it there."
            )
        return self._real

    def _saved(self) -> str:
        """Copy the open file, which lost its name, to a new file next to it; returns a sentence about that."""
        new = unused_name(self._real, "rescued")
        try:
            self._commits.check()
            copy(self.reader, new)
        except ProjectError as error:
            return f"Its contents could not be saved to another file: {error}"
        return f"Its contents were saved to {new}."

    @contextlib.contextmanager
    def _fatal(self) -> Iterator[None]:
        """After a failure in this block nothing more may be written, be it a disk error or Ctrl-C."""
        try:
            with explained(self.path):
                yield
        except BaseException as error:
            self._die(error)
            raise

    def _die(self, error: BaseException) -> None:
        self._dead = str(error) or type(error).__name__
        self._let_go()

    def _alive(self) -> OpenFile:
        if self._dead is not None:
            raise CannotWriteError(
                f"{self.path} cannot be written to after a failed write ({self._dead}). "
                "Open it again; everything saved before is intact."
            )
        if not self._writing.mine:
            raise CannotWriteError(
                f"{self.path} was opened by the parent of this forked process, which alone may write to it: "
                "reopen the file here when the parent is done."
            )
        return self.reader.state

    # Changing the structure

    def extend(self, *, config: Mapping[str, Any], epochs: int, checkpoint_capacity: int) -> None:
        """Plan more epochs and checkpoints, and store a new config; analyses and notes are kept.

        Raises CannotWriteError, the old file being unchanged; ValueError for less room than is in use.
        """
        with self.reader.lock:
            self._alive()
            if epochs < self.reader.n_epochs - 1 or checkpoint_capacity < self.reader.n_checkpoints:
                raise ValueError(
                    f"{self.reader.n_epochs} loss entries and {self.reader.n_checkpoints} checkpoints are stored already"
                )
            changes = {"config": canonical(config), "epochs": epochs, "checkpoint_capacity": checkpoint_capacity}
            finished = self.reader.n_epochs > epochs
            self._restructure(replace(plan_of(self.reader), finished=finished, **changes))  # type: ignore[arg-type]

    def plan_analyses(self, plans: Sequence[AnalysisPlan], remove: Sequence[str] = ()) -> None:
        """Plan analyses, in one change: those of the same name are replaced, others kept, those in `remove` dropped.

        Rows of an analysis are kept where version, parameters and arrays are unchanged and the capacity suffices. One that is
        both planned and in `remove` starts without rows. Raises CannotWriteError, the old file being unchanged.
        """
        with self.reader.lock:
            plan, before = replace(plan_of(self.reader), analyses=()), self._alive().layout.analyses
            kept = {name: item for name, item in before.items() if name not in remove}
            new = {**kept, **{item.name: item for item in plans}}
            if new != before or kept != before:
                self._restructure(replace(plan, analyses=tuple(new.values())), dropped_rows=set(remove))

    def set_notes(self, notes: Mapping[str, Any]) -> None:
        """Replace the notes. Raises CannotWriteError, the old file being unchanged."""
        with self.reader.lock:
            self._alive()
            self._restructure(replace(plan_of(self.reader), notes=canonical(notes)))

    def rebuild(self) -> None:
        """Replace a file from another computer, or of an earlier format, by a new one with the same contents, all verified.

        Raises DamagedFileError; CannotWriteError, the old file being unchanged.
        """
        with self.reader.lock:
            self._alive()
            self.reader.require_sound(
                "a file from another computer or of an earlier format is only rebuilt when undamaged"
            )
            self._restructure(plan_of(self.reader))

    @contextlib.contextmanager
    def replacement_path(self) -> Iterator[Path]:
        """A path at which to build the file that will replace this one. Raises CannotWriteError."""
        with explained(self.path), temporary_path(self._real) as part:
            yield part

    def replace_by(self, other: Path) -> None:
        """Replace this file by another one, complete and closed, in one step; this writer is closed then.

        Raises CannotWriteError, this file being unchanged.
        """
        with self.reader.lock:
            state = self._alive()
            with explained(self.path):
                real = self._found()
                self._commits.check()
                take_attributes(other, state.fd)
                if not self._system.replaces_open_files:
                    self._let_go()
                try:
                    publish(other, real, self._system, overwrite=True, known_as=self.path)
                finally:
                    if self.reader.closed or not filesystem.names(real, state.fd):
                        self._let_go()

    def _restructure(self, plan: FilePlan, dropped_rows: Collection[str] = ()) -> None:
        """Replace this file by a planned one with the same contents. dropped_rows: analyses whose rows are not copied."""
        old = self._state
        renamed: list[bool] = []
        try:
            with explained(self.path):
                real = self._found()
                self._commits.check()
                new = restructured(
                    old, real, plan, dropped_rows, self._system, self._writing, renamed, known_as=self.path
                )
        except BaseException as error:
            if renamed:  # after a power cut either file could be there: write to neither
                self._die(error)
            raise
        new.path = self.path
        self.reader.adopt(new)
        if self._system.replaces_open_files:
            os.close(old.fd)
        self._watch()

    # The end

    @property
    def is_open(self) -> bool:
        """Whether the file can be written to: not after `close`, after a failed write, or in a forked process."""
        return not self.reader.closed and self._dead is None and self._writing.mine

    def close(self) -> None:
        """Mark the file as closed in order (not after a failed write), and release the lock."""
        with self.reader.lock:
            if self.reader.closed:
                return
            if not self._writing.mine:  # a forked process must not finish the file
                self._let_go()
                return
            self._follow()
            if self.reader.n_epochs > self.reader.planned_epochs and self._has_room_to_spare():
                # A finished run has its last checkpoint at [-1], and needs no more resume states on the way. Without disk
                # space for that now, a later close does it.
                with contextlib.suppress(CannotWriteError):
                    self._restructure(
                        replace(plan_of(self.reader), checkpoint_capacity=max(self.reader.n_checkpoints, 1))
                    )
            if not self.reader.closed:
                with self._fatal():
                    self._commits.write_clean()
            self._let_go()

    def _has_room_to_spare(self) -> bool:
        """Whether rebuilding a finished run saves enough space."""
        layout = self._state.layout
        states = 2 * layout.resume_width if "resume/slots" in layout.extents else 0
        return states > WORTH_SAVING or 0 < self.reader.n_checkpoints < self.reader.checkpoint_capacity

    def _let_go(self) -> None:
        if not self.reader.closed:
            with contextlib.suppress(
                OSError
            ):  # it is closed all the same, and all that was acknowledged is on the disk
                self.reader.close()
            self._writing.release()

    def abandon(self) -> None:
        """Close the file as after a kill: without marking it as closed in order."""
        with self.reader.lock:
            self._let_go()


def check_blob(blob: bytes, *, exactly: int | None = None, at_most: int | None = None) -> None:
    """Raise ValueError for bytes that cannot be stored as a checkpoint or resume state."""
    if exactly is not None and len(blob) != exactly:
        raise ValueError(f"a checkpoint of {len(blob)} bytes was given, {exactly} are planned")
    if at_most is not None and len(blob) > at_most:
        raise ValueError(f"a resume state of {len(blob)} bytes was given, at most {at_most} are planned")
    problem = check_safetensors(memoryview(blob))
    if problem:
        raise ValueError(f"the bytes given are not a safetensors file: {problem}")
