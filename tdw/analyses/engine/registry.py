"""What an analysis is, and the one list of them.

An analysis of a checkpoint is a function of a `View` (the network at that checkpoint, each intermediate result computed
once and shared) and of its parameters; an analysis of a run is a function of a `Whole` (curves, weights and stored
results of all checkpoints). Either returns its arrays by name. The decorator says what they are, and what a run must be
like for the question to make sense; the runner, the file, the viewer and the tests read it there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdw.analyses.engine.checkpoint import View, Whole
from tdw.config import RunConfig
from tdw.errors import OutOfRangeError, UnknownNameError
from tdw.network.parameters import shapes

Result = Mapping[str, NDArray[Any] | np.generic]
Parameters = dict[str, Any]


Compute = Callable[..., "Result"]


@dataclass(frozen=True)
class ArraySpec:
    """One stored array: its number type and its axes, by name or size, of one row. Only with `gaps` may it hold NaN,
    which stands for what was not measured.

    component  Fourier components, the constant among them · frequency · neuron · head · token · operand 0 .. p-1
    tensor     weights, in the order of `tdw.network.parameters.shapes` · matrix  those that are no biases · checkpoint
    bitmap     bytes that hold a bit for each pair
    """

    dtype: str
    axes: tuple[str | int, ...]
    gaps: bool = False

    def shape(self, config: RunConfig, checkpoints: int = 0) -> tuple[int, ...]:
        """Sizes of the axes for a run."""
        weights = shapes(config).values()
        sizes = {
            "component": config.order,
            "frequency": config.frequencies,
            "neuron": config.d_mlp,
            "head": config.heads,
            "token": config.positions,
            "operand": config.p,
            "tensor": len(weights),
            "matrix": sum(len(shape) > 1 for shape in weights),
            "checkpoint": checkpoints,
            "bitmap": -(-(config.p**2) // 8),
        }
        return tuple(axis if isinstance(axis, int) else sizes[axis] for axis in self.axes)


@dataclass(frozen=True)
class Analysis:
    """A named, versioned measure. `per` is what one row of its arrays is of: "checkpoint" or "run".

    needs: what a run must be like, names of `NEEDS` · after: analyses whose stored results it reads
    final_keys: it also measures by the key frequencies of the last checkpoint (`View.final_key`), and stores them with
                its results as `final_key`
    reads_weights: an analysis of a run that looks at the weights of its checkpoints
    """

    name: str
    title: str
    per: str
    version: int
    arrays: Mapping[str, ArraySpec]
    compute: Compute
    parameters: Parameters = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    final_keys: bool = False
    reads_weights: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the analyses that come before this one."""
        return (*self.after, "key_frequencies") if self.final_keys else self.after

    def unfit(self, config: RunConfig) -> str | None:
        """Why this analysis makes no sense for a run, in words; None where it does."""
        return next((why for why in (NEEDS[need](config) for need in self.needs) if why), None)


def _frequencies(config: RunConfig) -> str | None:
    if config.task_kind.group.elements(config.p) is None:
        return f"Products modulo {config.p} have no frequencies: {config.p} is no prime."
    return None if config.frequencies else f"With p = {config.p} the task {config.task} has no frequencies."


def _sum(config: RunConfig) -> str | None:
    if config.task_kind.sign is not None:
        return _frequencies(config)
    return f"The answers of the task {config.task} are no sum of the operands, so no wave of the operands gives them."


def _attention(config: RunConfig) -> str | None:
    return "An MLP on one-hot pairs has no attention." if "attention" not in config.network_kind.capabilities else None


def _embedding(config: RunConfig) -> str | None:
    if "embedding" not in config.network_kind.capabilities:
        return "An MLP on one-hot pairs has weights of its own for a and for b, and no embedding that both share."
    return None


def _one_hot(config: RunConfig) -> str | None:
    return (
        None
        if "operand weights" in config.network_kind.capabilities
        else "It is about an MLP on one-hot pairs; this run is of a transformer."
    )


def _odd_sum(config: RunConfig) -> str | None:
    if not (config.task_kind.group.natural and config.task_kind.sign == 1):
        return f"It is about sums; the task is {config.task}."
    return None if config.p % 2 else f"It needs an odd modulus; p is {config.p}."


NEEDS: Mapping[str, Callable[[RunConfig], str | None]] = {
    "frequencies": _frequencies,
    "sum": _sum,
    "attention": _attention,
    "embedding": _embedding,
    "one_hot": _one_hot,
    "odd_sum": _odd_sum,
}


ANALYSES: dict[str, Analysis] = {}


def analysis(
    *,
    title: str,
    version: int,
    arrays: Mapping[str, ArraySpec],
    per: str = "checkpoint",
    needs: tuple[str, ...] = (),
    after: tuple[str, ...] = (),
    final_keys: bool = False,
    reads_weights: bool = False,
    **parameters: Any,
) -> Callable[[Compute], Compute]:
    """Register the decorated function under its own name. A name taken twice is a mistake, and says so."""

    def register(compute: Compute) -> Compute:
        name = compute.__name__
        if name in ANALYSES:
            first = ANALYSES[name].compute
            raise ValueError(f"two analyses are named {name!r}: {first.__module__} and {compute.__module__}")
        ANALYSES[name] = Analysis(
            name, title, per, version, arrays, compute, parameters, needs, after, final_keys, reads_weights
        )
        return compute

    return register


def find(name: str) -> Analysis:
    """The analysis of that name. Raises UnknownNameError, with the nearest one."""
    if name not in ANALYSES:
        raise UnknownNameError("analysis", name, ANALYSES)
    return ANALYSES[name]


def evaluate(item: Analysis, subject: View | Whole, config: RunConfig) -> dict[str, NDArray[Any]]:
    """Run one analysis and hold its result to what it declared: names, shapes, types, numbers that are finite.

    Raises OutOfRangeError where a number is too large for the type that it was declared with.
    """
    result = item.compute(subject, **item.parameters)
    checkpoints = len(subject.checkpoints) if isinstance(subject, Whole) else 0
    checked = {}
    for name, spec in item.arrays.items():
        given = np.asarray(result[name])
        with np.errstate(over="ignore"):  # said below, in words
            array = np.ascontiguousarray(given, dtype=spec.dtype).reshape(given.shape)
        if array.shape != spec.shape(config, checkpoints):
            raise ValueError(
                f"{item.name}/{name} came out as {array.shape}, declared as {spec.shape(config, checkpoints)}"
            )
        wrong = np.isinf(array) if spec.gaps else ~np.isfinite(array)
        if array.dtype.kind == "f" and wrong.any():
            if np.isfinite(given[wrong]).all():
                most = np.abs(given[wrong]).max()
                raise OutOfRangeError(f"{item.name}/{name} reaches {most:.3g}, and {array.dtype} holds no such number")
            raise ValueError(f"{item.name}/{name} holds numbers that are not finite")
        checked[name] = array
    return checked
