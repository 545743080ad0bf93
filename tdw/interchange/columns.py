"""Tables of recorded numbers, as trackers and training loops write them: which column is what, and at which epochs.

A column's name says its side (`train`, `test`, `val`, …) and quantity (`loss`, `acc`, …) in any order and notation:
`train_loss`, `loss/val`, `eval_accuracy`. All other columns of numbers are kept as curves under their own names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from tdw.errors import NotImportableError
from tdw.interchange import table_cells
from tdw.interchange.source_run import MOST_EPOCHS, SourceRun
from tdw.interchange.table_cells import as_number, first_wrong, told
from tdw.network.segment import Series
from tdw.recorded import is_recorded
from tdw.safe_text import cut
from tdw.text_format import count

# Columns with the number of updates, best first. W&B's own `_step` counts calls of `log`, so it comes last.
STEPS = (
    *("global_step", "step", "steps", "iteration", "iterations", "iter", "iters", "it", "its", "update", "updates"),
    *("epoch", "epochs", "_step"),
)
TRAIN = frozenset({"train", "training", "trn"})
TEST = ("test", "val", "valid", "validation", "eval", "dev")  # of two, the first one is the test side
LOSS = frozenset({"loss", "losses", "xent", "nll", "ce"})
ACCURACY = frozenset({"acc", "accs", "accuracy", "accuracies"})
NEUTRAL = frozenset({"epoch", "mean", "avg"})
MOST_CURVES = 64


@dataclass(frozen=True)
class Column:
    """A column: its values, and the updates after which they were recorded; None if the table does not say, and then `unplaced` is
    why, or "" where no column is named after steps. wrong: what in it is not a number, and where.
    """

    name: str
    values: Float64[np.ndarray, " row"]
    steps: Float64[np.ndarray, " row"] | None
    unplaced: str = ""
    wrong: str = ""


def of_rows(rows: Sequence[Mapping[str, Any]], places: Sequence[str] | None = None) -> list[Column]:
    """The columns of a table given by rows, which need not have all of them, see `table_cells.columns_of`."""
    return of_table(*table_cells.columns_of(rows, places))


def of_lists(lists: Mapping[str, Any]) -> list[Column]:
    """The columns of a table given by lists (or tuples, or arrays)."""
    table = {name: np.array([as_number(item) for item in items]) for name, items in lists.items()}
    first = {name: first_wrong(items) for name, items in lists.items()}
    return of_table(
        table, {name: f"value {at + 1} is {told(lists[name][at])}" for name, at in first.items() if at is not None}
    )


def of_table(table: Mapping[str, Float64[np.ndarray, " row"]], wrong: Mapping[str, str]) -> list[Column]:
    """The columns of a table given by columns, one of which may say the steps of those that are as long. Columns without a number are
    left out. wrong: by name, what in a column is not a number.
    """
    step = next((name for name in _by_rank(table) if not _why_no_steps(table[name], wrong.get(name, ""))), None)
    why = next(
        (f"its column {cut(name, 40)} {_why_no_steps(table[name], wrong.get(name, ''))}" for name in _by_rank(table)),
        "",
    )
    found = []
    for name, values in table.items():
        if counts_updates(name) or not (is_recorded(values).any() or (name in wrong and role(name))):
            continue
        if step is None or len(table[step]) == len(values):
            unplaced = why if step is None else ""
            found.append(Column(name, values, None if step is None else table[step], unplaced, wrong.get(name, "")))
        else:
            lengths = (
                f"its column {cut(step, 40)} has {count(len(table[step]), 'value')}, {cut(name, 40)} has {len(values)}"
            )
            found.append(Column(name, values, None, lengths, wrong.get(name, "")))
    return found


def _by_rank(table: Iterable[str]) -> list[str]:
    """The columns named after steps, best first."""
    return [name for wanted in STEPS for name in table if _last(name) == wanted]


def _why_no_steps(values: Float64[np.ndarray, " row"], wrong: str) -> str:
    """Why a column does not count updates; "" if it does: whole numbers."""
    known = values[np.isfinite(values)]
    if wrong:
        return f"is not a count of updates: {wrong}"
    if not known.size:
        return "has no numbers"
    broken = known[known % 1 != 0]
    return f"has {broken[0]:g}, which is not a whole number of updates" if broken.size else ""


def counts_updates(name: str) -> bool:
    """Whether a column counts updates or epochs by its name."""
    return _last(name) in STEPS


def role(name: str) -> tuple[str, str] | None:
    """Side and quantity of a column, `("train", "loss")`; None for other columns.

    >>> role("train_loss"), role("Loss/val"), role("eval/accuracy"), role("loss"), role("grad_norm")
    (('train', 'loss'), ('test', 'loss'), ('test', 'accuracy'), ('train', 'loss'), None)
    """
    words = set(re.findall(r"[a-z]+", name.lower())) - NEUTRAL
    sides, quantities = words & {*TRAIN, *TEST}, words & (LOSS | ACCURACY)
    if len(quantities) != 1 or len(sides) > 1 or words - sides - quantities:
        return None
    quantity = "loss" if quantities <= LOSS else "accuracy"
    if not sides and quantity != "loss":
        return None  # an accuracy of unknown pairs
    return ("test" if sides & set(TEST) else "train", quantity)


def add(run: SourceRun, columns: Iterable[Column], source: Path) -> None:
    """Add columns to a run: losses and accuracies by side, everything else as named curves. Raises NotImportableError."""
    columns = list(columns)
    chosen: dict[tuple[str, str], Column] = {}
    for column in columns:
        found = role(column.name)
        if found is not None and (found not in chosen or _rank(column) < _rank(chosen[found])):
            chosen[found] = column
    taken = {column.name for column in chosen.values()}
    if not chosen:
        shown = ", ".join(cut(column.name, 30) for column in columns[:6]) or "none"
        raise NotImportableError(
            f"{source} cannot be imported: it has no column with losses or accuracies of train or test pairs, such as "
            f"train_loss or val/acc (columns of numbers: {shown})."
        )
    for (side, quantity), column in chosen.items():
        if column.wrong:
            raise NotImportableError(
                f"{source} cannot be imported: in its column {cut(column.name, 40)}, {column.wrong}."
            )
        curve = _by_epoch(run, column, source)
        if quantity == "accuracy":
            run.accuracy[side] = _share(run, curve, column.name, source)
        else:
            setattr(run, side, curve)
        run.inferred.append(f"{side} {quantity} is the column {cut(column.name, 60)}")
    others = [column for column in columns if column.name not in taken and not column.name.startswith("_")]  # W&B's own
    for column in others[:MOST_CURVES]:
        if column.wrong:
            run.converted.append(f"of {cut(column.name, 40)} what is not a number was left out: {column.wrong}")
        run.curves[_curve_name(column.name, run.curves)] = _by_epoch(run, column, source)
    if others:
        run.converted.append("kept as curves: " + ", ".join(cut(column.name, 30) for column in others[:MOST_CURVES]))
    if others[MOST_CURVES:]:
        run.converted.append(f"{len(others) - MOST_CURVES} more columns were left out")
    run.unplaced = next((column.unplaced for column in chosen.values() if column.unplaced), "")
    run.stepped = all(column.steps is not None for column in chosen.values())
    # A train curve with steps is in place, also where others have none.
    run.placed = any(side == "train" and column.steps is not None for (side, _), column in chosen.items())


def _by_epoch(run: SourceRun, column: Column, source: Path) -> Series:
    """The values by epoch, as `tdw.recorded` marks them; by row if the table does not say the epochs."""
    if column.steps is None:
        return column.values
    known = is_recorded(column.values) & np.isfinite(column.steps)
    steps = column.steps[known]
    if (without := int(np.count_nonzero(is_recorded(column.values) & ~known))) > 0:
        run.converted.append(
            f"{count(without, 'value')} of {cut(column.name, 60)} without a step {'was' if without == 1 else 'were'} left out"
        )
    if np.any(np.diff(steps) < 0):
        run.converted.append(
            f"{cut(column.name, 60)} was put in the order of its steps, which is another one than that of the rows"
        )
    if steps.size and (steps.min() < 0 or steps.max() > MOST_EPOCHS):
        wrong = steps[(steps < 0) | (steps > MOST_EPOCHS)][0]
        raise NotImportableError(
            f"{source} cannot be imported: the step of a row must be from 0 to {MOST_EPOCHS} (got {wrong:g})."
        )
    curve = np.full(int(steps.max()) + 1 if steps.size else 1, np.nan)
    curve[steps.astype(np.int64)] = column.values[known]  # of several values, the last one
    if (again := steps.size - len(np.unique(steps))) > 0:
        run.converted.append(
            f"{cut(column.name, 60)} has more than one value at {count(again, 'step')}: the last was used"
        )
    return curve


def _share(run: SourceRun, curve: Series, name: str, source: Path) -> Series:
    """Accuracies as shares; given in percent if one is above 1. Raises NotImportableError for anything else."""
    there = ~np.isnan(curve)
    known = curve[there]
    if known.size and (known.min() < 0 or known.max() > 100):
        raise NotImportableError(
            f"{source} cannot be imported: the accuracy {cut(name, 60)} must be from 0 to 1, or in percent (got "
            f"{known.min() if known.min() < 0 else known.max():g})."
        )
    if known.size and known.max() > 1:
        run.converted.append(f"{cut(name, 60)} is in percent: it was divided by 100")
        return np.divide(curve, 100, out=curve.copy(), where=there)
    return curve


def _rank(column: Column) -> tuple[bool, int]:
    """Of several columns for the same, the least one is taken. A single value, such as that of a final test, is no curve."""
    words = re.findall(r"[a-z]+", column.name.lower())
    single = bool(np.count_nonzero(is_recorded(column.values)) < 2)
    return single, min((at for at, side in enumerate(TEST) if side in words), default=0)


def _last(name: str) -> str:
    """The last part of a name, `trainer/global_step`, in small letters."""
    return re.split(r"[/ ]", name.strip().lower())[-1]


def _curve_name(name: str, taken: Mapping[str, Any]) -> str:
    """The name of a curve in a project file, which has letters, digits, `_`, `.` and `-` only."""
    plain = "curves/" + (re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.-")[:60] or "unnamed")
    unique, number = plain, 2
    while unique in taken:
        unique, number = f"{plain}_{number}", number + 1
    return unique
