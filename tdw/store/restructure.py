"""Copies an open file into another structure: more epochs, another analysis, a note; or the same one."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tdw.store.build import Filled, build
from tdw.store.commit_record import Record, ResumeSlot
from tdw.store.filesystem import System, copy_all, write_all
from tdw.store.layout import FilePlan, Layout, canonical
from tdw.store.lock import Lock
from tdw.store.open_file import OpenFile

if TYPE_CHECKING:
    from tdw.store.reader import Reader


def plan_of(reader: Reader) -> FilePlan:
    """The plan of a file with the same contents."""
    layout = reader.state.layout
    return FilePlan(
        config=canonical(reader.config),
        notes=canonical(reader.notes()),
        split_train=reader.read("split/train"),
        split_test=reader.read("split/test"),
        epochs=reader.planned_epochs,
        checkpoint_capacity=reader.checkpoint_capacity,
        blob_nbytes=layout.blob_nbytes,
        resume_nbytes=layout.resume_nbytes,
        analyses=tuple(layout.analyses.values()),
        finished=reader.n_epochs > reader.planned_epochs,
        curves=layout.curve_plans(),
    )


def restructured(
    old: OpenFile,
    path: Path,
    plan: FilePlan,
    dropped_rows: Collection[str],
    system: System,
    lock: Lock,
    renamed: list[bool],
    *,
    known_as: Path,
    replaces: bool = True,
) -> OpenFile:
    """Build a planned file from the contents of an open one, and give it its name.

    dropped_rows: analyses whose rows are not copied. replaces: the new file replaces the open one; else no file of that name
    may exist. Raises OSError, CannotWriteError, AlreadyExistsError; the old file is unchanged, unless `renamed` has an entry
    (see `build`).
    """
    from tdw.store.planner import plan_file

    skeleton = plan_file(plan)
    layout, record = skeleton.layout, old.record
    kept = _kept(old.layout, layout, record, dropped_rows)
    state = old.resume() if record.resume_slot >= 0 else None

    def fill(fd: int) -> Filled:
        for name, count in kept.items():
            copy_all(system, old.fd, old.layout.extents[name].offset, fd, layout.extents[name].offset, count)
        tails: dict[str, bytes] = {}
        for name in set(kept) & set(layout.growing):
            tails[name] = old.tail_of(name)  # in a file from elsewhere the block on disk may be torn
            write_all(system, fd, tails[name], layout.extents[name].offset + kept[name] - len(tails[name]))
        carried = _carried(old, layout, kept, tails)
        if state is None:
            return Filled(carried, tails)
        slot = 2 if plan.finished else 0
        epoch, data = state
        about = ResumeSlot(epoch, len(data), zlib.crc32(data))
        write_all(system, fd, data, layout.resume_places()[slot])
        write_all(system, fd, about.encode(), layout.trailer_offset(slot))
        named = replace(
            carried, resume_slot=slot, resume_epoch=epoch, resume_nbytes=about.nbytes, resume_crc32=about.crc32
        )
        return Filled(named, tails)

    return build(
        path, plan, skeleton, fill, system, lock, renamed, known_as=known_as, replaced=old.fd if replaces else None
    )


def _kept(old: Layout, new: Layout, record: Record, dropped_rows: Collection[str]) -> dict[str, int]:
    """Bytes to copy into the new file, by dataset."""
    kept: dict[str, int] = {}
    for name, rows in zip(old.growing, record.rows, strict=True):
        analysis = name.split("/")[1] if name.startswith("analysis/") else None
        if analysis is not None:
            plan = new.analyses.get(analysis)
            if plan is None or analysis in dropped_rows or not plan.continues(old.analyses[analysis]):
                continue
            if rows > plan.capacity:
                raise ValueError(f"{rows} rows of {analysis!r} are stored, but only {plan.capacity} are planned")
        kept[name] = rows * old.extents[name].row_nbytes
    kept["checkpoints/safetensors"] = record.n_checkpoints * old.extents["checkpoints/safetensors"].row_nbytes
    return {name: count for name, count in kept.items() if count}


def _carried(old: OpenFile, layout: Layout, kept: Mapping[str, int], tails: Mapping[str, bytes]) -> Record:
    """The old record in the order of the new file's arrays."""
    where = {name: i for i, name in enumerate(old.layout.growing) if name in kept}
    picked = [where.get(name) for name in layout.growing]
    record = old.record
    return record.next(
        clean=False,
        rows=tuple(0 if i is None else record.rows[i] for i in picked),
        crc32=tuple(0 if i is None else record.crc32[i] for i in picked),
        tail_crc32=tuple(zlib.crc32(tails.get(name, b"")) for name in layout.growing),
        tails=None,
    )
