"""What an analysis is, and the one list of them.

An analysis of a checkpoint is a function of a `View` (the network at that checkpoint, each intermediate result computed
once and shared) and of its parameters; an analysis of a run is a function of the recorded `Curves`. Either returns its
arrays by name. The decorator says what they are; the runner, the file, the viewer and the tests read it there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdw.analyses.view import Curves, View
from tdw.config import RunConfig
from tdw.errors import UnknownName

Result = Mapping[str, NDArray[Any]]
Parameters = dict[str, Any]


Compute = Callable[..., "Result"]


@dataclass(frozen=True)
class ArraySpec:
    """One stored array: its number type and its axes, by name or size, of one row."""

    dtype: str
    axes: tuple[str | int, ...]

    def shape(self, config: RunConfig) -> tuple[int, ...]:
        """Sizes of the axes for a run."""
        sizes = {"component": config.p, "frequency": config.frequencies, "neuron": config.d_mlp}
        return tuple(axis if isinstance(axis, int) else sizes[axis] for axis in self.axes)


@dataclass(frozen=True)
class Analysis:
    """A named, versioned measure. `per` is what one row of its arrays is of: "checkpoint" or "run"."""

    name: str
    title: str
    per: str
    version: int
    arrays: Mapping[str, ArraySpec]
    compute: Compute
    parameters: Parameters = field(default_factory=dict)


ANALYSES: dict[str, Analysis] = {}


def analysis(
    *, title: str, version: int, arrays: Mapping[str, ArraySpec], per: str = "checkpoint", **parameters: Any
) -> Callable[[Compute], Compute]:
    """Register the decorated function under its own name. A name taken twice is a mistake, and says so."""

    def register(compute: Compute) -> Compute:
        name = compute.__name__
        if name in ANALYSES:
            first = ANALYSES[name].compute
            raise ValueError(f"two analyses are named {name!r}: {first.__module__} and {compute.__module__}")
        ANALYSES[name] = Analysis(name, title, per, version, arrays, compute, parameters)
        return compute

    return register


def find(name: str) -> Analysis:
    """The analysis of that name. Raises UnknownName, with the nearest one."""
    if name not in ANALYSES:
        raise UnknownName("analysis", name, ANALYSES)
    return ANALYSES[name]


def evaluate(item: Analysis, subject: View | Curves, config: RunConfig) -> dict[str, NDArray[Any]]:
    """Run one analysis and hold its result to what it declared: names, shapes, types, finite numbers."""
    result = item.compute(subject, **item.parameters)
    checked = {}
    for name, spec in item.arrays.items():
        array = np.ascontiguousarray(result[name], dtype=spec.dtype)
        if array.shape != spec.shape(config):
            raise ValueError(f"{item.name}/{name} came out as {array.shape}, declared as {spec.shape(config)}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{item.name}/{name} holds numbers that are not finite")
        checked[name] = array
    return checked
