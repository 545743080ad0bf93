"""Writing a project file so that a kill, a power cut or a full disk at any instant loses nothing that was reported.

A commit: see that the file is as it was left, write the data in place, wait for the disk, write the commit record into the
other slot, wait for the disk, return. What changes the structure (more epochs, an analysis, a note) builds a new file
beside the old one and renames it over. After any failed write the writer is dead: what the disk holds is known again only
after opening it anew.
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from tdw.errors import CannotWriteError, OverwrittenError, ProjectError
from tdw.store import filesystem
from tdw.store.atomic import explained, publish, take_attributes, temporary_path, unused_name
from tdw.store.commit_record import BLOCK, Record, ResumeSlot
from tdw.store.copy import copy
from tdw.store.fence import Fence
from tdw.store.filesystem import System, write_all
from tdw.store.layout import BLOCK_CRCS, AnalysisPlan, FilePlan, canonical
from tdw.store.lock import Lock
from tdw.store.open_file import OpenFile
from tdw.store.reader import Reader
from tdw.store.restructure import plan_of, restructured
from tdw.store.validate import check_safetensors

#: The slowest copying, in bytes per second, that finds a whole state to resume from in a file that is trained meanwhile;
#: and what a program that copies may read in one go before it waits.
SLOWEST_COPY, AT_ONCE = 0.5e6, 1 << 20
WORTH_SAVING = 1 << 20  # bytes for which a finished run is built anew
LAST = 2  # the slot for the state at the end of training


@dataclass(frozen=True)
class _Piece:
    """Bytes on their way to an offset of the file."""

    offset: int
    data: bytes | memoryview


class Writer:
    """The right to write to an open project file; see `create` and `open_writer`.

    Attributes:
        reader: the same open file, for reading; it shows what this writer has committed.
    """

    def __init__(self, path: Path, real: Path, state: OpenFile, lock: Lock, system: System):
        self.reader = Reader(path, state, system.close)
        self._real = real  # while it is built, a file is not where errors say that it is
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
        """Learn what a file that was opened or built just now holds."""
        state = self._state
        self._fence = Fence(state)
        self._tails = [state.tail_of(name) for name in state.layout.growing]
        # What is known to be in the two rows of copies; nothing, before the first record is written.
        self._copies: list[list[bytes] | None] = [None, None]
        self._slots = dict(state.resume_slots())

    # Committing

    def append(
        self,
        *,
        curves: Mapping[str, np.ndarray],
        checkpoint: tuple[int, bytes] | None = None,
        resume: tuple[int, bytes] | None = None,
        final: bool = False,
    ) -> None:
        """Store the next epochs of every curve, and a checkpoint and the resume state if given; durable on return.

        curves: all curves of the file by name, equally long, from epoch `n_epochs` on; {} appends no epoch. A checkpoint's epoch must be recorded by then, and later than the last.
        final: the resume state is that of the end of this training, and has a place of its own; see `resume_due`.

        Raises CannotWrite; ValueError for what has no room or no order.
        """
        with self.reader.lock:
            state = self._alive()
            layout = state.layout
            rows = {name: np.asarray(curves.get(name, ()), layout.extents[name].dtype) for name in layout.curves}
            self._check_append(curves, rows, checkpoint, resume)
            changes: dict[str, Any] = {}
            pieces: list[_Piece] = []
            if resume is not None:
                slot, about = self._free_slot(final=final), ResumeSlot(resume[0], len(resume[1]), zlib.crc32(resume[1]))
                state = self._state  # it may be another file now, with more slots
                pieces.append(_Piece(state.layout.resume_places()[slot], resume[1]))
                pieces.append(_Piece(state.layout.trailer_offset(slot), about.encode()))
                changes |= {"resume_epoch": about.epoch, "resume_slot": slot}
                changes |= {"resume_nbytes": about.nbytes, "resume_crc32": about.crc32}
                self._slots[slot] = about
                self._resume_written = time.monotonic()
            if checkpoint is not None:
                epoch, blob = checkpoint
                extent, at = state.layout.extents["checkpoints/safetensors"], state.record.n_checkpoints
                pieces.append(_Piece(extent.offset + at * extent.row_nbytes, blob))
                rows["checkpoints/epoch"] = np.array([epoch], "<i8")
                rows["checkpoints/crc32"] = np.array([zlib.crc32(blob)], "<u4")
                changes["n_checkpoints"] = at + 1
            changes["n_epochs"] = state.record.n_epochs + len(rows[layout.curves[0]])
            if pieces or changes["n_epochs"] > state.record.n_epochs:
                self._commit(pieces, rows, changes)

    @property
    def resume_due(self) -> bool:
        """Whether a state on the way may be stored again without harm to those who copy the file meanwhile.

        The two slots for such states are written in turn. While one is written, a slow copy has to find the other one as
        it was, from its start to its end: so they are left alone for as long as it takes to copy both of them.
        """
        both = 2 * self._state.layout.resume_width
        return time.monotonic() - self._resume_written >= 1.25 * (both + AT_ONCE) / SLOWEST_COPY

    def _free_slot(self, *, final: bool) -> int:
        """Where the next state goes: never over the one that the record names."""
        named = self._state.record.resume_slot
        if final and named != LAST:
            return LAST
        if self._state.layout.resume_places()[0] < 0:  # a finished run, which has the last place alone
            self._restructure(replace(plan_of(self.reader), finished=False))
            named = self._state.record.resume_slot
        free = [slot for slot in (0, 1) if slot != named]
        return min(free, key=lambda slot: self._slots[slot].epoch if slot in self._slots else -1)

    def _check_append(
        self,
        given: Mapping[str, np.ndarray],
        rows: Mapping[str, np.ndarray],
        checkpoint: tuple[int, bytes] | None,
        resume: tuple[int, bytes] | None,
    ) -> None:
        if unknown := sorted(set(given) - set(rows)):
            raise ValueError(f"{self.path} has no curve {', '.join(unknown)}; its curves are {', '.join(rows)}")
        lengths = {values.shape for values in rows.values()}
        if len(lengths) != 1 or len(next(iter(lengths))) != 1:
            raise ValueError(f"all curves must be one-dimensional and equally long, not {sorted(lengths)}")
        recorded = self.reader.n_epochs + next(iter(lengths))[0]
        if recorded > self.reader.planned_epochs + 1:
            raise ValueError(
                f"losses up to epoch {recorded - 1} have no room: {self.reader.planned_epochs} epochs are planned"
            )
        if checkpoint is not None:
            epoch, blob = checkpoint
            last = int(self.reader.checkpoint_epochs()[-1]) if self.reader.n_checkpoints else -1
            if not last < epoch < recorded:
                raise ValueError(f"a checkpoint at epoch {epoch} must be after {last} and before {recorded}")
            if self.reader.n_checkpoints >= self.reader.checkpoint_capacity:
                raise ValueError(f"there is room for {self.reader.checkpoint_capacity} checkpoints, and all are there")
            check_blob(blob, exactly=self.reader.blob_nbytes)
        if resume is not None:
            epoch, blob = resume
            if not 0 <= epoch <= max(0, recorded - 1):
                raise ValueError(f"a resume state at epoch {epoch} is beyond the last recorded one, {recorded - 1}")
            check_blob(blob, at_most=self.reader.resume_nbytes)

    def append_rows(self, rows: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Store the next rows of analyses, in one commit: analysis -> array -> (n, *row shape); durable on return.

        All arrays of an analysis must be given, alike in length. Raises CannotWrite; ValueError for what has no room.
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
                        f"{sorted(counts)} rows of {name!r} do not fit: {stored} of {plan.capacity} are there"
                    )
            if any(len(value) for value in values.values()):
                self._commit([], values, {})

    def _commit(self, pieces: list[_Piece], rows: Mapping[str, np.ndarray], changes: dict[str, Any]) -> None:
        """Write pieces and rows, then the record that makes them count; on return they are durable."""
        state, system = self._state, self._system
        self._follow()
        self._take_back_clean()
        counts, crcs, tails = list(state.record.rows), list(state.record.crc32), list(self._tails)
        for name, value in rows.items():
            i, extent, data = state.index(name), state.layout.extents[name], value.tobytes()
            at = counts[i] * extent.row_nbytes
            pieces.append(_Piece(extent.offset + at, data))
            counts[i] += len(value)
            crcs[i] = zlib.crc32(data, crcs[i])
            whole = tails[i] + data
            tails[i] = whole[len(whole) - len(whole) % BLOCK :]
            if name in state.layout.curves and len(whole) >= BLOCK:
                pieces.append(self._block_crcs(name, at // BLOCK, whole))
        summed = tuple(zlib.crc32(tail) for tail in tails)
        record = state.record.next(clean=False, rows=tuple(counts), crc32=tuple(crcs), tail_crc32=summed, **changes)
        with self._fatal():
            self._fence.check(state, self.path)
            for piece in pieces:
                write_all(system, state.fd, piece.data, piece.offset)
            system.datasync(state.fd)
            self._fence.wrote(state)
            self._write_record(record, 1 - state.slot, tails)
        for i, name in enumerate(state.layout.growing):
            state.checked[name] = (counts[i] * state.layout.extents[name].row_nbytes, crcs[i])

    def _block_crcs(self, name: str, first: int, data: bytes) -> _Piece:
        """The checksums of the blocks of a curve that become full with these bytes; first: number of the first one."""
        extent = self._state.layout.extents[BLOCK_CRCS]
        crcs = [zlib.crc32(data[at : at + BLOCK]) for at in range(0, len(data) - len(data) % BLOCK, BLOCK)]
        offset = extent.offset + self._state.layout.curves.index(name) * extent.row_nbytes + 4 * first
        return _Piece(offset, np.array(crcs, "<u4").tobytes())

    def _write_record(self, record: Record, slot: int, tails: list[bytes]) -> None:
        """Make a record hold, with the copies of the last blocks that go with it; durable on return."""
        state, system = self._state, self._system
        encoded, there = record.encode(), self._copies[slot]
        self._copies[slot] = None
        self._fence.check(state, self.path)
        for i, tail in enumerate(tails):
            if tail and (there is None or there[i] != tail):
                write_all(system, state.fd, tail, state.layout.tails_offset(slot) + i * BLOCK)
        write_all(system, state.fd, encoded, state.layout.slot_offset(slot))
        system.datasync(state.fd)
        self._fence.wrote(state, slot, encoded)
        self._copies[slot], self._tails = list(tails), tails
        alike = record == replace(state.record, sequence=record.sequence, clean=record.clean)
        state.adopt(record, slot, alike=alike)

    def _take_back_clean(self) -> None:
        """Before the first commit after an orderly close: say that work goes on.

        A damaged record beside one that is clean is then rot for certain, and none that was under way when the power
        went. The clean one may be written over, because the other one says the same.
        """
        state = self._state
        if not state.record.clean:
            return
        slot = state.slot if state.alike else 1 - state.slot
        with self._fatal():
            self._write_record(state.record.next(clean=False), slot, list(self._tails))

    def _follow(self) -> bool:
        """Go where the file was moved to; whether it is known where that is, which not every system tells.

        Raises OverwrittenError where the file was deleted, or another one has its place.
        """
        state = self._state
        if filesystem.names(self._real, state.fd):
            return True
        there = filesystem.where_is(state.fd, self._real)
        if there is not None:
            self._writing.follow(there)
            self._real = self.reader.path = there
            return True
        if os.path.lexists(self._real):
            what = (
                f"was replaced by another file while it was written to here, which was left as it is. {self._saved()}"
            )
        elif os.fstat(state.fd).st_nlink:
            return False
        else:
            what = "was deleted while it was written to: what follows would be lost."
        error = OverwrittenError(f"{self.path} {what}")
        self._die(error)
        raise error

    def _found(self) -> Path:
        """Where the file is, so that another one can be put in its place. Raises CannotWriteError, OverwrittenError."""
        if not self._follow():
            raise CannotWriteError(
                f"{self.path} was moved while it was open, and the system does not tell where to: open it where it is now."
            )
        return self._real

    def _saved(self) -> str:
        """Copy what the open file holds, which has no name any more, to a new file beside; a sentence about it."""
        new = unused_name(self._real, "rescued")
        try:
            self._fence.check(self._state, self.path)
            copy(self.reader, new)
        except ProjectError as error:
            return f"What was stored here could not be saved elsewhere: {error}"
        return f"What was stored here is in {new}."

    @contextlib.contextmanager
    def _fatal(self) -> Iterator[None]:
        """Nothing may be written after what fails in here, be it by the disk or by Ctrl-C in the middle."""
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
                f"{self.path} takes nothing more after a write that failed ({self._dead}). "
                "Open it again; what was saved is there."
            )
        if not self._writing.mine:
            raise CannotWriteError(
                f"{self.path} was opened by the process that this one was forked from, and only that one may write to it: "
                "open the file again here when it is done."
            )
        return self.reader.state

    # Changing the structure

    def extend(self, *, config: Mapping[str, Any], epochs: int, checkpoint_capacity: int) -> None:
        """Make room for more epochs and checkpoints, and store a new config; analyses and notes stay.

        Raises CannotWriteError, the old file being what it was; ValueError for less room than is in use.
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
        """Make room for analyses, in one change: those of the same name are replaced, others stay; `remove` goes.

        Rows of an analysis are kept where version, parameters and arrays are the same and the capacity holds them, unless
        it is among those to remove as well: then it starts anew.
        Raises CannotWriteError, the old file being what it was.
        """
        with self.reader.lock:
            plan, before = replace(plan_of(self.reader), analyses=()), self._alive().layout.analyses
            kept = {name: item for name, item in before.items() if name not in remove}
            new = {**kept, **{item.name: item for item in plans}}
            if new != before or kept != before:
                self._restructure(replace(plan, analyses=tuple(new.values())), anew=set(remove))

    def set_notes(self, notes: Mapping[str, Any]) -> None:
        """Store new notes instead of the old ones. Raises CannotWriteError, the old file being what it was."""
        with self.reader.lock:
            self._alive()
            self._restructure(replace(plan_of(self.reader), notes=canonical(notes)))

    def rebuild(self) -> None:
        """Put a fresh file in the place of one that was made elsewhere, with all it holds, after comparing every byte.

        Raises DamagedFileError where something does not match its checksum; CannotWriteError, the old file being what it was.
        """
        with self.reader.lock:
            self._alive()
            self.reader.require_sound(
                "a file that was made elsewhere, or is of an earlier format, is taken over whole or not at all"
            )
            self._restructure(plan_of(self.reader))

    @contextlib.contextmanager
    def room_beside(self) -> Iterator[Path]:
        """A path at which to build the file that will take the place of this one. Raises CannotWriteError."""
        with explained(self.path), temporary_path(self._real) as part:
            yield part

    def give_way(self, other: Path) -> None:
        """Put another file, whole and closed, in the place of this one in one step. Nothing can be written here then.

        Raises CannotWriteError, this file being what it was.
        """
        with self.reader.lock:
            state = self._alive()
            with explained(self.path):
                real = self._found()
                self._fence.check(state, self.path)
                take_attributes(other, state.fd)
                if not self._system.replaces_open_files:
                    self._let_go()
                try:
                    publish(other, real, self._system, overwrite=True, known_as=self.path)
                finally:
                    if self.reader.closed or not filesystem.names(real, state.fd):
                        self._let_go()

    def _restructure(self, plan: FilePlan, anew: Collection[str] = ()) -> None:
        """Build the file that a plan asks for out of this one, and put it in its place. anew: analyses without rows."""
        old = self._state
        renamed: list[bool] = []
        try:
            with explained(self.path):
                real = self._found()
                self._fence.check(old, self.path)
                new = restructured(old, real, plan, anew, self._system, self._writing, renamed, known_as=self.path)
        except BaseException as error:
            if renamed:  # which of the two files a power cut would leave is not known: no more writing to either
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
        """Whether the file takes more: not after `close`, a failed write, or in a fork."""
        return not self.reader.closed and self._dead is None and self._writing.mine

    def close(self) -> None:
        """Say in the file that all is well, and let the next writer in. After a failed write: only the latter."""
        with self.reader.lock:
            if self.reader.closed:
                return
            if not self._writing.mine:  # a fork: the file is not its to finish
                self._let_go()
                return
            self._follow()
            state = self._state
            if self.reader.n_epochs > self.reader.planned_epochs and self._has_room_to_spare():
                # A finished run has its last checkpoint at [-1], and states on the way no more. No disk space to do that
                # now: it has to wait.
                with contextlib.suppress(CannotWriteError):
                    self._restructure(
                        replace(plan_of(self.reader), checkpoint_capacity=max(self.reader.n_checkpoints, 1))
                    )
                state = self._state
            if not self.reader.closed and not (state.record.clean and state.alike):
                # Both slots then say the same, so rot in one of them does not bring back the past.
                with self._fatal():
                    self._write_record(state.record.next(clean=True), 1 - state.slot, list(self._tails))
            self._let_go()

    def _has_room_to_spare(self) -> bool:
        """Whether a finished run is worth building anew without what it has no more use for."""
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
    """Refuse what cannot be stored as a checkpoint or a resume state (ValueError)."""
    if exactly is not None and len(blob) != exactly:
        raise ValueError(f"a checkpoint of {len(blob)} bytes was given, {exactly} are planned")
    if at_most is not None and len(blob) > at_most:
        raise ValueError(f"a resume state of {len(blob)} bytes was given, at most {at_most} are planned")
    problem = check_safetensors(memoryview(blob))
    if problem:
        raise ValueError(f"the bytes given are no safetensors file: {problem}")
