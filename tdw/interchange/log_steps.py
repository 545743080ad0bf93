"""The epochs of what Lightning and Hugging Face's Trainer log, which both number differently than weights.

Lightning logs the train loss of a step and validation after it at the same number, that of the updates before the step. The
Trainer logs both at the number of updates after it. The train loss is in both that of the weights before the update; between
two logs, the Trainer takes the mean. (lightning.pytorch.loops.training_epoch_loop, transformers.trainer)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tdw.interchange.columns import Column, role
from tdw.interchange.source_run import SourceRun
from tdw.recorded import is_recorded

LIGHTNING_CSV = "metrics.csv"
TRAINER_ROW = frozenset({"loss", "learning_rate", "epoch", "step"})


def is_lightning(names: Collection[str], path: Path) -> bool:
    """Whether Lightning wrote a table with these names: by its CSV, TensorBoard or W&B logger."""
    if path.name == LIGHTNING_CSV:
        return {"epoch", "step"} <= set(names)
    if {"trainer/global_step", "epoch"} <= set(names):  # W&B
        return True
    return "epoch" in names and path.name.startswith("events.") and (path.parent / "hparams.yaml").is_file()


def is_trainer(names: Collection[str]) -> bool:
    """Whether Hugging Face's Trainer logged these names: its own history, or by TensorBoard or W&B."""
    return set(names) >= TRAINER_ROW or {"train/loss", "train/learning_rate", "train/epoch"} <= set(names)


def of_updates(run: SourceRun, columns: Sequence[Column], names: Collection[str], path: Path) -> list[Column]:
    """The columns with the numbers of updates that their losses and accuracies belong to, and sentences in the run for what
    was changed. names: of all that was logged, steps included.
    """
    if is_lightning(names, path):
        moved = [_moved(column, 1) if _is(column, "test") else column for column in columns]
        if any(_is(column, "test") and column.steps is not None for column in columns):
            run.converted.append(
                "Lightning logs validation after update i + 1 at step i: it is at epoch i + 1 here; train loss i is of the "
                "weights before that update, at epoch i"
            )
        return moved
    if not is_trainer(names):
        return list(columns)
    for column in columns:
        if _is(column, "train") and column.steps is not None:
            known = column.steps[np.isfinite(column.steps) & is_recorded(column.values)]
            apart = int(np.diff(known, prepend=0).max(initial=0))
            if apart > 1:
                run.averaged = True
                run.assumed.append(
                    f"each train loss is the mean over the {apart} updates since the last log, as Hugging Face's Trainer "
                    "computes it; it is at the last of their epochs (logging_steps=1 logs the loss of every epoch)"
                )
            run.converted.append(
                "Hugging Face's Trainer logs the train loss before update i at step i: it is at epoch i - 1 here"
            )
            break
    return [_moved(column, -1) if _is(column, "train") else column for column in columns]


def _is(column: Column, side: str) -> bool:
    found = role(column.name)
    return found is not None and found[0] == side


def _moved(column: Column, by: int) -> Column:
    """Later or earlier by some updates; what would be before the first one is there."""
    return column if column.steps is None else replace(column, steps=np.maximum(column.steps + by, 0))
