"""A new project file of the intact parts of a damaged one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tdw.store.create import create
from tdw.store.salvage.parts import Salvage


def rebuild(found: Salvage, path: Path, known_as: Path) -> None:
    """Write the intact parts to a new file, which says where it is from and what was damaged.

    known_as: the path that errors give. Raises AlreadyExistsError, CannotWriteError.
    """
    kept = {name: (plan, _of_kept_checkpoints(found, name, rows)) for name, (plan, rows) in found.analyses.items()}
    with create(
        path,
        config={**found.config, "recovered": {"from": found.path.name, "damage": found.damage}},
        split_train=found.split[0],
        split_test=found.split[1],
        epochs=found.layout.planned_epochs,
        checkpoint_capacity=found.layout.checkpoint_capacity,
        blob_nbytes=found.layout.blob_nbytes,
        resume_nbytes=found.layout.resume_nbytes,
        resume=None,
        known_as=known_as,
        curves=found.layout.curve_plans(),
    ) as writer:
        writer.append(curves=found.curves)
        for epoch, row in found.checkpoints:
            writer.append(curves={}, checkpoints=[(epoch, found.checkpoint(row))])
        if found.resume is not None:
            writer.append(curves={}, resume=found.resume)
        if kept:
            writer.plan_analyses([plan for plan, _ in kept.values()])
            writer.append_rows({name: rows for name, (_, rows) in kept.items()})
        if found.notes:
            writer.set_notes(found.notes)


def _of_kept_checkpoints(found: Salvage, name: str, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows of an analysis without those of lost checkpoints: rows and checkpoints go together."""
    if "epoch" not in rows or rows["epoch"].ndim != 1:  # of the whole run, whatever it calls so
        return rows
    kept = np.isin(rows["epoch"], [epoch for epoch, _ in found.checkpoints])
    if not kept.all():
        found.damage.append(f"{(~kept).sum()} rows of {name} are dropped: their checkpoints are lost")
    return {array: values[kept] for array, values in rows.items()}
