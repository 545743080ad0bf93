"""The registry of analyses.

An analysis of a checkpoint is a function of a `Checkpoint` and of its parameters; an analysis of a run is a function of a
`RunData` and of its parameters. Both return their arrays by name. The decorator declares names, types and shapes of the
arrays, and which runs the analysis applies to; the runner, the file format, the viewer and the tests read the declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.run_data import RunData
from tdw.config import RunConfig
from tdw.errors import OutOfRangeError, UnknownNameError
from tdw.network.parameters import shapes

Result = Mapping[str, NDArray[Any] | np.generic]
Parameters = dict[str, Any]
Compute = Callable[..., Result]
# (run, its split or None, report, jobs, **parameters): report is called with what is done, and of how much
Prepare = Callable[..., None]
LARGE = ("activations", "logits", "spectrum")


@dataclass(frozen=True)
class ArraySpec:
    """One stored array: its dtype, and the axes of one row by name or size. `gaps`: NaN is allowed, for values that
    were not measured.

    component  Fourier components, including the constant · frequency · neuron · head · token · operand 0 .. p-1
    tensor     weights and biases, in the order of `tdw.network.parameters.shapes` · matrix  weights only · checkpoint
    bitmap     bytes with one bit per pair
    """

    dtype: str
    axes: tuple[str | int, ...]
    gaps: bool = False

    def shape(self, config: RunConfig, checkpoints: int = 0) -> tuple[int, ...]:
        """Shape of one row for a run with these settings and this many checkpoints."""
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
    """A named, versioned measure. `per`: whether one row of its arrays belongs to a "checkpoint" or to the "run".

    needs: conditions on the run, names from `NEEDS` · after: analyses whose stored results it reads
    final_keys: it also uses the key frequencies of the last checkpoint (`Checkpoint.final_key`), and stores them with its
                results as `final_key`
    reads_weights: an analysis of a run that reads the weights of its checkpoints
    on_request: it takes long, and is computed only where it is named
    prepare: computes what all checkpoints share, up to `jobs` at a time, and reports progress
    trains: it trains networks to compare with
    holds: checkpoints that it computes on at a time
    per_neuron: bytes that it takes for each neuron, besides what it reads
    reads: the large intermediate results of a `Checkpoint` that it reads, names from `LARGE`
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
    on_request: bool = False
    prepare: Prepare | None = None
    reads: tuple[str, ...] = ()
    trains: bool = False
    holds: int = 1
    per_neuron: int = 0

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the analyses that must be computed before this one."""
        return (*self.after, "key_frequencies") if self.final_keys else self.after

    def inapplicable_reason(self, config: RunConfig, *, task_known: bool = True) -> str | None:
        """Why this analysis does not apply to a run with these settings, as a sentence; None if it applies.

        task_known: whether the task in the settings is that of the run, and not what stands for an unknown one
        """
        if not task_known and presumes_task(self.name):
            return UNKNOWN_TASK
        return next((reason for reason in (NEEDS[need](config) for need in self.needs) if reason), None)


def _frequencies(config: RunConfig) -> str | None:
    if config.task_kind.group.elements(config.p) is None:
        return f"Not defined for composite p = {config.p}."
    return None if config.frequencies else f"The task {config.task} has no frequencies for p = {config.p}."


def _sum(config: RunConfig) -> str | None:
    if config.task_kind.sign is not None:
        return _frequencies(config)
    return f"It needs an additive task; the task is {config.task}."


def _capability(name: str) -> Callable[[RunConfig], str | None]:
    """Why an analysis that needs this capability of the network does not apply."""
    return lambda config: None if name in config.network_kind.capabilities else config.network_kind.lacks[name]


def _odd_sum(config: RunConfig) -> str | None:
    if not (config.task_kind.group.natural and config.task_kind.sign == 1):
        return f"It needs the task add; the task is {config.task}."
    return None if config.p % 2 else f"It needs an odd modulus; p = {config.p}."


UNKNOWN_TASK = "The task of this run is not known."
# Needs of what compares with the task's answers or its formula. The other frequencies are those of the numbers 0 … p - 1 in
# their order, which hold whatever the task is.
PRESUME_TASK = frozenset({"task", "sum", "odd_sum"})

NEEDS: Mapping[str, Callable[[RunConfig], str | None]] = {
    "task": lambda _: None,  # any one, if it is known
    "frequencies": _frequencies,
    "sum": _sum,
    "attention": _capability("attention"),
    "closed_form": _capability("closed form"),
    "embedding": _capability("embedding"),
    "one_hot": _capability("operand weights"),
    "odd_sum": _odd_sum,
}


ANALYSES: dict[str, Analysis] = {}


def presumes_task(name: str) -> bool:
    """Whether an analysis of this name compares with the answers or the formula of a task."""
    return name in ANALYSES and not PRESUME_TASK.isdisjoint(ANALYSES[name].needs)


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
    on_request: bool = False,
    prepare: Prepare | None = None,
    reads: tuple[str, ...] = (),
    trains: bool = False,
    holds: int = 1,
    per_neuron: int = 0,
    **parameters: Any,
) -> Callable[[Compute], Compute]:
    """Register the decorated function under its own name. Raises ValueError if the name is taken."""

    def register(compute: Compute) -> Compute:
        name = compute.__name__
        if name in ANALYSES:
            first = ANALYSES[name].compute
            raise ValueError(f"two analyses are named {name!r}: {first.__module__} and {compute.__module__}")
        ANALYSES[name] = Analysis(
            name,
            title,
            per,
            version,
            arrays,
            compute,
            parameters,
            needs,
            after,
            final_keys=final_keys,
            reads_weights=reads_weights,
            on_request=on_request,
            prepare=prepare,
            reads=reads,
            trains=trains,
            holds=holds,
            per_neuron=per_neuron,
        )
        return compute

    return register


def find(name: str) -> Analysis:
    """The analysis with this name. Raises UnknownNameError, which suggests the closest name."""
    if name not in ANALYSES:
        raise UnknownNameError("analysis", name, ANALYSES)
    return ANALYSES[name]


def usual(config: RunConfig) -> list[Analysis]:
    """The analyses that apply to a run with these settings, without those that are computed on request."""
    return [item for item in ANALYSES.values() if not item.on_request and not item.inapplicable_reason(config)]


def evaluate(item: Analysis, subject: Checkpoint | RunData, config: RunConfig) -> dict[str, NDArray[Any]]:
    """Run one analysis and check its arrays against the declaration: names, shapes, dtypes, finite values.

    Raises OutOfRangeError if a value overflows the declared dtype, ValueError if the analysis breaks its declaration.
    """
    result = item.compute(subject, **item.parameters)
    checkpoints = len(subject.checkpoints) if isinstance(subject, RunData) else 0
    checked = {}
    for name, spec in item.arrays.items():
        given = np.asarray(result[name])
        with np.errstate(over="ignore"):  # reported below
            array = np.ascontiguousarray(given, dtype=spec.dtype).reshape(given.shape)
        if array.shape != spec.shape(config, checkpoints):
            raise ValueError(
                f"{item.name}/{name} has shape {array.shape}, declared as {spec.shape(config, checkpoints)}"
            )
        wrong = np.isinf(array) if spec.gaps else ~np.isfinite(array)
        if array.dtype.kind == "f" and wrong.any():
            if np.isfinite(given[wrong]).all():
                most = np.abs(given[wrong]).max()
                raise OutOfRangeError(f"{item.name}/{name} reaches {most:.3g}, which overflows {array.dtype}")
            raise ValueError(f"{item.name}/{name} contains values that are not finite")
        checked[name] = array
    return checked
