"""Writing a project file so that a kill, a power cut or a full disk at any instant loses nothing that was reported.

A commit: write the data in place, wait for the disk, write the commit record into the other slot, wait for the disk,
return. What changes the structure (more epochs, an analysis, a note) builds a new file beside the old one and renames
it over. After any failed write the writer is dead: what the disk holds is known again only after opening it anew.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tdw.errors import AlreadyExists, CannotWrite, NewerFormat, OpenElsewhere
from tdw.store.build import build, explained, temporary
from tdw.store.layout import (
    FORMAT_VERSION,
    LOSSES,
    AnalysisPlan,
    FilePlan,
    Layout,
    canonical,
)
from tdw.store.lock import Lock
from tdw.store.osfile import SYSTEM, System, copy_all, write_all
from tdw.store.reader import Reader, open_reader
from tdw.store.slots import BLOCK, Record
from tdw.store.state import State, load, real_path
from tdw.store.validate import check_safetensors


@dataclass(frozen=True)
class _Piece:
    """Bytes on their way to an offset of the file."""

    offset: int
    data: bytes | memoryview


class Writer(Reader):
    """An open project file, and the right to write to it; see `create` and `open_writer`."""

    def __init__(self, path: Path, state: State, lock: Lock, system: System):
        super().__init__(path, state)
        self._writing, self._system = lock, system
        self._dead: str | None = None

    # Committing

    def append(
        self,
        *,
        losses: Mapping[str, np.ndarray],
        checkpoint: tuple[int, bytes] | None = None,
        resume: tuple[int, bytes] | None = None,
    ) -> None:
        """Store the next epochs' losses, and a checkpoint and the resume state if given; durable on return.

        losses: the four arrays `losses/train`, `losses/test`, `accuracy/train`, `accuracy/test`, alike in length (0 is
        allowed), from epoch `n_epochs` on. A checkpoint's epoch must be recorded by then, and later than the last.

        Raises CannotWrite; ValueError for what has no room or no order.
        """
        with self._lock:
            state = self._alive()
            rows = {name: np.asarray(losses.get(name, ()), "<f8") for name in LOSSES}
            self._check_append(losses, rows, checkpoint, resume)
            changes: dict[str, Any] = {}
            pieces: list[_Piece] = []
            if checkpoint is not None:
                epoch, blob = checkpoint
                extent, at = state.layout.extents["checkpoints/safetensors"], state.record.n_checkpoints
                pieces.append(_Piece(extent.offset + at * extent.row_nbytes, blob))
                rows["checkpoints/epoch"] = np.array([epoch], "<i8")
                rows["checkpoints/crc32"] = np.array([zlib.crc32(blob)], "<u4")
                changes["n_checkpoints"] = at + 1
            if resume is not None:
                epoch, blob = resume
                extent, slot = state.layout.extents["resume/slots"], int(state.record.resume_slot == 0)
                pieces.append(_Piece(extent.offset + slot * extent.row_nbytes, blob))
                changes |= {"resume_epoch": epoch, "resume_slot": slot}
                changes |= {"resume_nbytes": len(blob), "resume_crc32": zlib.crc32(blob)}
            changes["n_epochs"] = state.record.n_epochs + len(rows[LOSSES[0]])
            if pieces or changes["n_epochs"] > state.record.n_epochs:
                self._commit(pieces, rows, changes)

    def _check_append(
        self,
        given: Mapping[str, np.ndarray],
        rows: Mapping[str, np.ndarray],
        checkpoint: tuple[int, bytes] | None,
        resume: tuple[int, bytes] | None,
    ) -> None:
        if set(given) - set(LOSSES):
            raise ValueError(f"append takes {', '.join(LOSSES)}, not {', '.join(sorted(set(given) - set(LOSSES)))}")
        lengths = {values.shape for values in rows.values()}
        if len(lengths) != 1 or len(next(iter(lengths))) != 1:
            raise ValueError(f"the four loss arrays must be alike in length, not {sorted(lengths)}")
        recorded = self.n_epochs + next(iter(lengths))[0]
        if recorded > self.planned_epochs + 1:
            raise ValueError(
                f"losses up to epoch {recorded - 1} have no room: {self.planned_epochs} epochs are planned"
            )
        if checkpoint is not None:
            epoch, blob = checkpoint
            last = int(self.checkpoint_epochs()[-1]) if self.n_checkpoints else -1
            if not last < epoch < recorded:
                raise ValueError(f"a checkpoint at epoch {epoch} must be after {last} and before {recorded}")
            if self.n_checkpoints >= self.checkpoint_capacity:
                raise ValueError(f"there is room for {self.checkpoint_capacity} checkpoints, and all are there")
            self._check_blob(blob, exactly=self.blob_nbytes)
        if resume is not None:
            epoch, blob = resume
            if not 0 <= epoch <= max(0, recorded - 1):
                raise ValueError(f"a resume state at epoch {epoch} is beyond the last recorded one, {recorded - 1}")
            self._check_blob(blob, at_most=self.resume_nbytes)

    @staticmethod
    def _check_blob(blob: bytes, *, exactly: int | None = None, at_most: int | None = None) -> None:
        if exactly is not None and len(blob) != exactly:
            raise ValueError(f"a checkpoint of {len(blob)} bytes was given, {exactly} are planned")
        if at_most is not None and len(blob) > at_most:
            raise ValueError(f"a resume state of {len(blob)} bytes was given, at most {at_most} are planned")
        problem = check_safetensors(memoryview(blob))
        if problem:
            raise ValueError(f"the bytes given are no safetensors file: {problem}")

    def append_rows(self, rows: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Store the next rows of analyses, in one commit: analysis -> array -> (n, *row shape); durable on return.

        All arrays of an analysis must be given, alike in length. Raises CannotWrite; ValueError for what has no room.
        """
        with self._lock:
            state = self._alive()
            values: dict[str, np.ndarray] = {}
            for name, arrays in rows.items():
                plan = state.layout.analyses.get(name)
                if plan is None or set(arrays) != set(plan.arrays):
                    raise ValueError(f"the arrays {sorted(arrays)} are not those planned for analysis {name!r}")
                stored = self.analyses()[name].rows
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
        self._take_back_clean()
        counts, crcs, tails = list(state.record.rows), list(state.record.crc32), list(state.record.tails)
        for name, value in rows.items():
            i, extent, data = state.index(name), state.layout.extents[name], value.tobytes()
            at = counts[i] * extent.row_nbytes
            pieces.append(_Piece(extent.offset + at, data))
            counts[i] += len(value)
            crcs[i] = zlib.crc32(data, crcs[i])
            whole = tails[i] + data
            tails[i] = whole[len(whole) - len(whole) % BLOCK :]
        record = state.record.next(clean=False, rows=tuple(counts), crc32=tuple(crcs), tails=tuple(tails), **changes)
        with self._fatal():
            if not os.fstat(state.fd).st_nlink:
                raise CannotWrite(f"{self.path} was deleted while it was written to: what follows would be lost.")
            for piece in pieces:
                write_all(system, state.fd, piece.data, piece.offset)
            system.datasync(state.fd)
            slot = 1 - state.slot
            write_all(system, state.fd, record.encode(), state.layout.slot_offset(slot))
            system.datasync(state.fd)
            state.record, state.slot, state.alike = record, slot, False
        for i, name in enumerate(state.layout.growing):
            state.checked[name] = (counts[i] * state.layout.extents[name].row_nbytes, crcs[i])

    def _take_back_clean(self) -> None:
        """Before the first commit after an orderly close: say that work goes on.

        A damaged record beside one that is clean is then rot for certain, and none that was under way when the power
        went. The clean one may be written over, because the other one says the same.
        """
        state = self._state
        if not state.record.clean:
            return
        slot = state.slot if state.alike else 1 - state.slot
        record = state.record.next(clean=False)
        with self._fatal():
            write_all(self._system, state.fd, record.encode(), state.layout.slot_offset(slot))
            self._system.datasync(state.fd)
        state.record, state.slot, state.alike = record, slot, True

    @contextlib.contextmanager
    def _fatal(self) -> Iterator[None]:
        """Nothing may be written after what fails in here, be it by the disk or by Ctrl-C in the middle."""
        try:
            with explained(self.path):
                yield
        except BaseException as error:
            self._dead = str(error) or type(error).__name__
            self._let_go()
            raise

    def _alive(self) -> State:
        if self._dead is not None:
            raise CannotWrite(
                f"{self.path} takes nothing more after a write that failed ({self._dead}). "
                "Open it again; what was saved is there."
            )
        if not self._writing.mine:
            raise CannotWrite(
                f"{self.path} was opened by the process that this one was forked from, and only that one may write to it: "
                "open the file again here when it is done."
            )
        return self._open_state()

    # Changing the structure

    def _plan(self) -> FilePlan:
        layout = self._state.layout
        return FilePlan(
            config=canonical(self._config),
            notes=canonical(self._notes),
            split_train=self.read("split/train"),
            split_test=self.read("split/test"),
            epochs=self.planned_epochs,
            checkpoint_capacity=self.checkpoint_capacity,
            blob_nbytes=layout.blob_nbytes,
            resume_nbytes=layout.resume_nbytes,
            analyses=tuple(layout.analyses.values()),
        )

    def extend(self, *, config: Mapping[str, Any], epochs: int, checkpoint_capacity: int) -> None:
        """Make room for more epochs and checkpoints, and store a new config; analyses and notes stay.

        Raises CannotWrite, the old file being what it was; ValueError for less room than is in use.
        """
        with self._lock:
            self._alive()
            if epochs < self.n_epochs - 1 or checkpoint_capacity < self.n_checkpoints:
                raise ValueError(
                    f"{self.n_epochs} loss entries and {self.n_checkpoints} checkpoints are stored already"
                )
            changes = {"config": canonical(config), "epochs": epochs, "checkpoint_capacity": checkpoint_capacity}
            self._restructure(replace(self._plan(), **changes))  # type: ignore[arg-type]

    def plan_analyses(self, plans: Sequence[AnalysisPlan], remove: Sequence[str] = ()) -> None:
        """Make room for analyses, in one change: those of the same name are replaced, others stay; `remove` goes.

        Rows of an analysis are kept where version, parameters and arrays are the same and the capacity holds them, unless
        it is among those to remove as well: then it starts anew.
        Raises CannotWrite, the old file being what it was.
        """
        with self._lock:
            plan, before = replace(self._plan(), analyses=()), self._alive().layout.analyses
            kept = {name: item for name, item in before.items() if name not in remove}
            new = {**kept, **{item.name: item for item in plans}}
            if new != before or kept != before:
                self._restructure(replace(plan, analyses=tuple(new.values())), anew=set(remove))

    def set_notes(self, notes: Mapping[str, Any]) -> None:
        """Store new notes instead of the old ones. Raises CannotWrite, the old file being what it was."""
        with self._lock:
            self._alive()
            self._restructure(replace(self._plan(), notes=canonical(notes)))

    def rebuild(self) -> None:
        """Put a fresh file in the place of one that was made elsewhere, with all it holds, after comparing every byte.

        Raises Damaged where something does not match its checksum; CannotWrite, the old file being what it was.
        """
        with self._lock:
            self._alive()
            wrong = self.verify()
            if wrong:
                raise self._state.damaged(
                    f"{wrong[0]}, and a file that was made elsewhere is taken over whole or not at all"
                )
            self._restructure(self._plan())

    def give_way(self, other: Path) -> None:
        """Put another file, whole and closed, in the place of this one in one step. Nothing can be written here then.

        Raises CannotWrite, this file being what it was.
        """
        with self._lock:
            self._alive()
            with explained(self.path):
                self._still_there()
                if not self._system.replaces_open_files:
                    self._let_go()
                self._system.replace(other, self._real)
                self._system.sync_folder(self._real.parent)
            self._let_go()

    def _still_there(self) -> None:
        """Refuse to put a new file in the place of one that is not ours."""
        try:
            there = self._real.stat()
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (self._state.device, self._state.inode):
            raise CannotWrite(
                f"{self.path} was moved, deleted or replaced while it was open: open it again, or where it is now."
            )

    def _restructure(self, plan: FilePlan, anew: Collection[str] = ()) -> None:
        """Build the file that a plan asks for out of this one, and put it in its place. anew: analyses without rows."""
        from tdw.store.skeleton import plan_file

        old = self._state
        skeleton = plan_file(plan)
        kept = _kept(old.layout, skeleton.layout, old.record, anew)

        def fill(fd: int) -> Record:
            for name, count in kept.items():
                source, target = old.layout.extents[name], skeleton.layout.extents[name]
                copy_all(self._system, old.fd, source.offset, fd, target.offset, count)
                if not old.made and name in old.layout.growing:  # else it was mended when it was opened
                    tail = old.record.tails[old.index(name)]
                    write_all(self._system, fd, tail, target.offset + count - len(tail))
            return _carried(old, skeleton.layout, kept)

        renamed: list[bool] = []
        try:
            with explained(self.path, skeleton.layout.size):
                self._still_there()
                new = build(self._real, plan, skeleton, fill, self._system, renamed, lambda: self._system.close(old.fd))
        except BaseException as error:
            if renamed:  # which of the two files a power cut would leave is not known: no more writing to either
                self._dead = str(error) or type(error).__name__
                self._let_go()
            raise
        new.path = self.path
        self._adopt(new)
        if self._system.replaces_open_files:
            os.close(old.fd)

    # The end

    def close(self) -> None:
        """Say in the file that all is well, and let the next writer in. After a failed write: only the latter."""
        with self._lock:
            if self._closed:
                return
            if not self._writing.mine:  # a fork: the file is not its to finish
                self._let_go()
                return
            state = self._state
            if self.n_epochs > self.planned_epochs and 0 < self.n_checkpoints < self.checkpoint_capacity:
                # A finished run has its last checkpoint at [-1]. No room to do that now: it has to wait.
                with contextlib.suppress(CannotWrite):
                    self._restructure(replace(self._plan(), checkpoint_capacity=self.n_checkpoints))
                state = self._state
            if not self._closed and not (state.record.clean and state.alike):
                # Both slots then say the same, so rot in one of them does not bring back the past.
                record = state.record.next(clean=True)
                with self._fatal():
                    write_all(self._system, state.fd, record.encode(), state.layout.slot_offset(1 - state.slot))
                    self._system.datasync(state.fd)
            self._let_go()

    def _let_go(self) -> None:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(OSError):  # it is closed all the same, and all that was reported is on the disk
                self._system.close(self._state.fd)
            self._writing.release()

    def abandon(self) -> None:
        """Let go of the file without a word in it."""
        with self._lock:
            self._let_go()

    def refresh(self) -> bool:
        """Nobody else writes: there is nothing new to see."""
        return False


def _kept(old: Layout, new: Layout, record: Record, anew: Collection[str]) -> dict[str, int]:
    """Bytes to copy into the new file, per dataset."""
    kept: dict[str, int] = {}
    for name, rows in zip(old.growing, record.rows, strict=True):
        analysis = name.split("/")[1] if name.startswith("analysis/") else None
        if analysis is not None:
            plan = new.analyses.get(analysis)
            if plan is None or analysis in anew or not plan.continues(old.analyses[analysis]):
                continue
            if rows > plan.capacity:
                raise ValueError(f"{rows} rows of {analysis!r} are stored, {plan.capacity} would have room")
        kept[name] = rows * old.extents[name].row_nbytes
    kept["checkpoints/safetensors"] = record.n_checkpoints * old.extents["checkpoints/safetensors"].row_nbytes
    if record.resume_slot >= 0:
        kept["resume/slots"] = old.extents["resume/slots"].nbytes
    return {name: count for name, count in kept.items() if count}


def _carried(old: State, layout: Layout, kept: Mapping[str, int]) -> Record:
    """The old record in the order of the new file's arrays."""
    where = {name: i for i, name in enumerate(old.layout.growing) if name in kept}
    picked = [where.get(name) for name in layout.growing]
    record = old.record
    return record.next(
        clean=False,
        rows=tuple(0 if i is None else record.rows[i] for i in picked),
        crc32=tuple(0 if i is None else record.crc32[i] for i in picked),
        tails=tuple(b"" if i is None else record.tails[i] for i in picked),
    )


def create(
    path: Path | str,
    *,
    config: Mapping[str, Any],
    split_train: np.ndarray,
    split_test: np.ndarray,
    epochs: int,
    checkpoint_capacity: int,
    blob_nbytes: int,
    resume_nbytes: int,
    resume: bytes | None,
    resume_epoch: int = 0,
    overwrite: bool = False,
    system: System = SYSTEM,
) -> Writer:
    """Make a project file with room for all that is planned, and open it for writing.

    epochs: the last epoch; losses have epochs + 1 entries. blob_nbytes: size of every checkpoint. resume_nbytes: the
    largest resume state; resume: the first one, at resume_epoch, or None for a run that was trained elsewhere. The file is there complete, or not at all.

    Raises AlreadyExists unless overwrite, OpenElsewhere, CannotWrite.
    """
    from tdw.store.skeleton import plan_file

    given, real = Path(path), real_path(path)
    plan = FilePlan(
        config=canonical(config),
        notes=canonical({}),
        split_train=np.asarray(split_train),
        split_test=np.asarray(split_test),
        epochs=epochs,
        checkpoint_capacity=checkpoint_capacity,
        blob_nbytes=blob_nbytes,
        resume_nbytes=resume_nbytes,
    )
    skeleton = plan_file(plan)
    if resume is not None:
        Writer._check_blob(resume, at_most=resume_nbytes)
    _refuse_existing(given, real, overwrite=overwrite)

    def fill(fd: int) -> Record:
        write_all(system, fd, resume or b"", skeleton.layout.extents["resume/slots"].offset)
        none = tuple(0 for _ in skeleton.layout.growing)
        return Record(
            sequence=1,
            clean=False,
            n_epochs=0,
            n_checkpoints=0,
            resume_epoch=-1 if resume is None else resume_epoch,
            resume_slot=-1 if resume is None else 0,
            resume_nbytes=len(resume or b""),
            resume_crc32=zlib.crc32(resume or b""),
            seal=0,
            rows=none,
            crc32=none,
            tails=tuple(b"" for _ in none),
        )

    with explained(given, skeleton.layout.size):
        lock = Lock(real)
        renamed: list[bool] = []
        try:
            _refuse_existing(given, real, overwrite=overwrite)  # somebody may have been quicker
            state = build(real, plan, skeleton, fill, system, renamed)
            state.path = given
        except BaseException:
            lock.release()
            raise
    return Writer(given, state, lock, system)


def _refuse_existing(given: Path, real: Path, *, overwrite: bool) -> None:
    if real.is_dir():
        raise CannotWrite(f"{given} cannot be written: it is a folder. Give the name of a file in it.")
    if not overwrite and os.path.lexists(real):
        raise AlreadyExists(
            f"{given} is there already and was left as it is: choose another name, or --force to replace it."
        )


def open_writer(path: Path | str, *, check: Callable[[Reader], None] | None = None, system: System = SYSTEM) -> Writer:
    """Open a project file to write to it; more is checked than for reading.

    One that was not made on this computer is rebuilt as a fresh file first, once `check` has let it pass: what a stranger
    laid out is never written to.

    Raises OpenElsewhere, NotAProject, NewerFormat, Damaged, CannotWrite.
    """
    given, real = Path(path), real_path(path)
    if not os.path.isfile(real):  # noqa: PTH113 – a name that is too long is no file, and no OSError
        open_reader(given).close()  # says what is there instead
    with explained(given):
        lock = Lock(real)
        try:
            fd = system.open_existing(real)
            try:
                with contextlib.suppress(FileNotFoundError):
                    system.unlink(temporary(real))  # of a process that was killed
                writer = Writer(given, _ready(fd, given, real, system), lock, system)
            except BaseException:
                with contextlib.suppress(OSError):
                    system.close(fd)
                raise
        except BaseException:
            lock.release()
            raise
        if not writer.made_here:
            try:
                if check is not None:
                    check(writer)
                writer.rebuild()
            except BaseException:
                writer.abandon()
                raise
        return writer


def _ready(fd: int, given: Path, real: Path, system: System) -> State:
    """Validate a file that is to be written to, and mend blocks that a power cut tore."""
    if not system.lock_shared(fd):
        raise OpenElsewhere(f"{given} is open for writing in another program (h5py?): close it there.")
    state = load(fd, given)
    there = real.stat()
    if (there.st_dev, there.st_ino) != (state.device, state.inode):
        raise OpenElsewhere(f"{given} was replaced by another file just now: open it again.")
    if state.layout.version > FORMAT_VERSION:
        raise NewerFormat(
            f"{given} was made by a newer version of tdw and can only be read by this one. "
            "Upgrade with `pip install -U tdw`."
        )
    torn = False
    for name in state.layout.growing:
        state.check(name)
        torn |= state.made and _mend_tail(state, name, system)
    if torn:
        system.datasync(fd)
    if state.record.resume_slot >= 0:
        state.resume()
    return state


def _mend_tail(state: State, name: str, system: System) -> bool:
    """Put the committed part of a growing array's last block back from its copy, where the disk has something else."""
    if state.tail_is_whole(name):
        return False
    tail = state.record.tails[state.index(name)]
    write_all(system, state.fd, tail, state.layout.extents[name].offset + state.committed(name) - len(tail))
    return True
