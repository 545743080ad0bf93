"""Numbers of lines, read from a run: stored series, and reductions of a stored array to one number per checkpoint.

A reduction is named `reduced/HOW/ANALYSIS/ARRAY` and options, in this order:

    HOW              sum, mean or median over the last axis; NaN is left out
    /unless/ARRAY    leaves out entries where `analysis/ARRAY` (ANALYSIS/ARRAY, of the same shape) is not 0
    /over/N          divided by N

The page fetches reductions like stored arrays, so that it draws the very numbers of the figures. They are computed here only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tdw.errors import ProjectError, UnknownNameError

if TYPE_CHECKING:
    from tdw.project.project import Project, StoredResult

Array: TypeAlias = NDArray[Any]
How: TypeAlias = Literal["sum", "mean", "median"]

PREFIX = "reduced/"
BLOCK = 1 << 20  # numbers that are read at a time
_NAME = re.compile(
    r"reduced/(?P<how>sum|mean|median)/(?P<array>\w+/\w+)(/unless/(?P<unless>\w+/\w+))?(/over/(?P<over>\d+))?"
)


class Reduction(NamedTuple):
    """A parsed name; `array` and `unless` are names of stored arrays."""

    how: str
    array: str
    unless: str | None
    over: int

    @property
    def sources(self) -> tuple[str, ...]:
        """The stored arrays it is computed from."""
        return (self.array,) if self.unless is None else (self.array, self.unless)


def reduced(how: How, array: str, *, unless: str | None = None, over: int = 1) -> str:
    """The name of a reduction of `analysis/…` arrays.

    >>> reduced("mean", "analysis/neuron_summary/share", unless="analysis/neuron_summary/dead")
    'reduced/mean/neuron_summary/share/unless/neuron_summary/dead'
    """
    name = f"{PREFIX}{how}/{array.removeprefix('analysis/')}"
    name += f"/unless/{unless.removeprefix('analysis/')}" if unless is not None else ""
    return name + (f"/over/{over}" if over != 1 else "")


def parse(name: str) -> Reduction:
    """The reduction of that name. Raises UnknownNameError.

    >>> parse("reduced/sum/neuron_clusters/count/over/8").over
    8
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UnknownNameError("reduced array", name, ())
    unless, over = match["unless"], match["over"]
    return Reduction(
        match["how"],
        f"analysis/{match['array']}",
        None if unless is None else f"analysis/{unless}",
        1 if over is None else int(over),
    )


def analysis_of(name: str) -> str:
    """The analysis that an array is of, or is reduced from.

    >>> analysis_of("analysis/loss/loss"), analysis_of("reduced/sum/neuron_clusters/count")
    ('loss', 'neuron_clusters')
    """
    return name.split("/")[2 if name.startswith(PREFIX) else 1]


def entry(project: Project, name: str) -> dict[str, Any] | None:
    """What `Project.array_index` tells of a stored array, for that array or a reduction; None where it is not stored."""
    stored = project.array_index()
    if not name.startswith(PREFIX):
        return stored.get(name)
    sources = [stored.get(source) for source in parse(name).sources]
    if None in sources:
        return None
    return {
        "dtype": "<f8",
        "shape": [min(source["shape"][0] for source in sources if source)],
        "version": " ".join(source["version"] for source in sources if source),
    }


def is_stored(project: Project, name: str) -> bool:
    """Whether an array, or every source of a reduction, is stored."""
    return entry(project, name) is not None


def index(project: Project, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """`Project.array_index`, and the same for the reductions among `names`."""
    reductions = {name: entry(project, name) for name in names if name.startswith(PREFIX)}
    return project.array_index() | {name: found for name, found in reductions.items() if found is not None}


def series(project: Project, name: str, start: int = 0, stop: int | None = None) -> Array:
    """Rows of a stored array or of a reduction by its name. Raises UnknownNameError."""
    if not name.startswith(PREFIX):
        return project.series(name, start, stop)
    reduction = parse(name)
    found = entry(project, name)
    if found is None:
        raise UnknownNameError("stored array", reduction.array, project.array_index())
    (rows,) = found["shape"]
    end = rows if stop is None else min(stop, rows)
    shape = project.array_index()[reduction.array]["shape"][1:]
    step = max(1, BLOCK // max(1, math.prod(shape)))  # the source may be far larger than what it is reduced to
    blocks = [_reduced(project, reduction, at, min(at + step, end)) for at in range(start, end, step)]
    return np.concatenate(blocks) if blocks else np.empty(0)


def _reduced(project: Project, reduction: Reduction, start: int, stop: int) -> Array:
    """The numbers of some rows. Raises UnknownNameError where the array has another shape."""
    rows = project.series(reduction.array, start, stop)
    left_out = np.isnan(rows)
    if reduction.unless is not None:
        marks = project.series(reduction.unless, start, stop).astype(bool)
        if marks.shape != rows.shape:
            raise UnknownNameError("stored array", f"{reduction.unless} of the shape of {reduction.array}", ())
        left_out |= marks
    reduce = _REDUCE[reduction.how]
    return np.array([reduce(row[~out]) for row, out in zip(rows, left_out, strict=True)], float) / reduction.over


def _mean(row: Array) -> float:
    return float(row.mean(dtype=float)) if row.size else np.nan


def _median(row: Array) -> float:
    return float(np.median(row.astype(float))) if row.size else np.nan


def _sum(row: Array) -> float:
    return float(row.sum(dtype=float))


_REDUCE: dict[str, Callable[[Array], float]] = {"sum": _sum, "mean": _mean, "median": _median}


def result_at(project: Project, analysis: str, epoch: int) -> tuple[StoredResult, int]:
    """Stored results of an analysis and the row of `epoch` in them. Raises AnalysisNotFoundError or ProjectError."""
    stored = project.analysis(analysis)
    if epoch not in stored.checkpoints:
        raise ProjectError(
            f"{project.path.name} has {analysis} at {len(stored.checkpoints)} of its {len(project.checkpoints)} "
            f"checkpoints, not at epoch {epoch}. `tdw analyze {project.path.name}` computes the rest."
        )
    return stored, stored.checkpoints.index(epoch)


def has_row(project: Project, analysis: str, epoch: int) -> bool:
    """Whether an analysis of checkpoints is stored at an epoch."""
    return analysis in project.analyses() and epoch in project.analysis(analysis).checkpoints


def row_of(project: Project, name: str, epoch: int) -> Array:
    """The row of an analysis's array at a checkpoint; its only row where the analysis covers the whole run. Raises
    AnalysisNotFoundError or ProjectError.
    """
    from tdw.analyses import ANALYSES

    _, analysis, array = name.split("/")
    if ANALYSES[analysis].per == "run":
        whole: Array = project.series(name)[0]
        return whole
    result, row = result_at(project, analysis, epoch)
    at_epoch: Array = result.arrays[array][row]
    return at_epoch
