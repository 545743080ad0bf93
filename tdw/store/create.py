"""Creates a project file, and opens one for writing."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tdw.errors import FileInUseError, NewerFormatError
from tdw.store import filesystem
from tdw.store.atomic import explained, name_locked, refuse_existing, replaced_file
from tdw.store.build import Filled, build
from tdw.store.commit_record import Record, ResumeSlot
from tdw.store.filesystem import SYSTEM, System, write_all
from tdw.store.layout import DEFAULT_CURVES, FORMAT_VERSION, CurvePlan, FilePlan, canonical
from tdw.store.open_file import OpenFile, load, real_path
from tdw.store.reader import Reader, open_reader
from tdw.store.writer import Writer, check_blob


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
    known_as: Path | None = None,
    curves: Sequence[CurvePlan] = DEFAULT_CURVES,
) -> Writer:
    """Create a project file with room for everything planned, and open it for writing.

    epochs: the last epoch; every curve has epochs + 1 entries. blob_nbytes: size of every checkpoint. resume_nbytes: the
    largest resume state; resume: the first one, at resume_epoch, or None for a run that was trained elsewhere. known_as:
    the path that errors give. curves: their names and types. The file appears complete, or not at all.

    Raises AlreadyExistsError unless overwrite, FileInUseError, CannotWriteError.
    """
    from tdw.store.planner import plan_file

    given, real = known_as or Path(path), real_path(path)
    plan = FilePlan(
        config=canonical(config),
        notes=canonical({}),
        split_train=np.asarray(split_train),
        split_test=np.asarray(split_test),
        epochs=epochs,
        checkpoint_capacity=checkpoint_capacity,
        blob_nbytes=blob_nbytes,
        resume_nbytes=resume_nbytes,
        curves=tuple(curves),
    )
    skeleton = plan_file(plan)
    layout = skeleton.layout
    if resume is not None:
        check_blob(resume, at_most=resume_nbytes)
    refuse_existing(given, real, overwrite=overwrite)

    def fill(fd: int) -> Filled:
        about = ResumeSlot(resume_epoch, len(resume or b""), zlib.crc32(resume or b""))
        if resume is not None:
            write_all(system, fd, resume, layout.resume_places()[0])
            write_all(system, fd, about.encode(), layout.trailer_offset(0))
        none = tuple(0 for _ in layout.growing)
        record = Record(
            sequence=1,
            clean=False,
            n_epochs=0,
            n_checkpoints=0,
            resume_epoch=-1 if resume is None else resume_epoch,
            resume_slot=-1 if resume is None else 0,
            resume_nbytes=about.nbytes,
            resume_crc32=about.crc32,
            seal=0,
            rows=none,
            crc32=none,
            tail_crc32=none,
        )
        return Filled(record, {})

    with (
        explained(given, layout.size),
        name_locked(given, real) as lock,
        replaced_file(given, real, overwrite=overwrite) as replaced,
    ):
        state = build(real, plan, skeleton, fill, system, lock, [], known_as=given, replaced=replaced)
        state.path = given
    return Writer(given, real, state, lock, system)


def open_writer(path: Path | str, *, check: Callable[[Reader], None] | None = None, system: System = SYSTEM) -> Writer:
    """Open a project file for writing; more is verified than for reading.

    A file from another computer, or of an earlier format, is first rebuilt, once `check` has accepted it: a structure that
    was not written here is never written to.

    Raises FileInUseError, NotAProjectError, NewerFormatError, DamagedFileError, CannotWriteError.
    """
    given, real = Path(path), real_path(path)
    if not os.path.isfile(real):  # noqa: PTH113 – False for a name that is too long, where Path raises OSError
        open_reader(given).close()  # raises the right error
    with explained(given), name_locked(given, real) as lock:
        fd = system.open_existing(real)
        try:
            lock.hold(fd, given)
            state = _ready(fd, given, real, system)
            writer = Writer(given, real, state, lock, system)
        except BaseException:
            with contextlib.suppress(OSError):
                system.close(fd)
            raise
        if not writer.reader.made_here or state.layout.version < FORMAT_VERSION:
            try:
                if not writer.reader.made_here and check is not None:
                    check(writer.reader)
                writer.rebuild()
            except BaseException:
                writer.abandon()
                raise
        return writer


def _ready(fd: int, given: Path, real: Path, system: System) -> OpenFile:
    """Validate a file for writing, and repair blocks that a power cut tore."""
    if not system.lock_shared(fd):
        raise FileInUseError(f"{given} is open for writing in another program (h5py?): close it there.")
    state = load(fd, given)
    if not filesystem.names(real, fd):
        raise FileInUseError(f"{given} was replaced by another file just now: open it again.")
    if state.layout.version > FORMAT_VERSION:
        raise NewerFormatError(
            f"{given} was made by a newer version of tdw; this version can only read it. "
            "Upgrade with `pip install -U tdw`."
        )
    torn = False
    for name in state.layout.growing:
        state.check(name)
        torn |= state.made and state.layout.has_tails and _mend_tail(state, name, system)
    if torn:
        system.datasync(fd)
    if state.record.resume_slot >= 0:
        state.resume()
    return state


def _mend_tail(state: OpenFile, name: str, system: System) -> bool:
    """Restore the committed part of a growing array's last block from its copy where it is damaged."""
    if state.tail_is_whole(name):
        return False
    tail = state.tail_of(name)
    write_all(system, state.fd, tail, state.layout.extents[name].offset + state.committed(name) - len(tail))
    state.torn.pop(name, None)
    return True
