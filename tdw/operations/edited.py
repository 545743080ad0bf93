"""Make the edits of `tdw.project.edits`: on the state from which a branch starts, or again when it is replayed.

Frequencies. The entries of a weight along an axis of operands or answers are, for everything else fixed, a function on the
task's group (`tdw.tasks.Group`). With the orthonormal rows c_k and s_k of its Fourier basis (`tdw.analyses.fourier`), removing
frequency k makes of a function f

    f - (f · c_k) c_k - (f · s_k) s_k

as Nanda et al. 2023 ("Progress measures for grokking via mechanistic interpretability", section 4) do with activations and
logits; here it is done with weights. Rows that belong to no element of the group stay as they are: that of '=', and in products
that of operand 0.

All sums are made in float64 by NumPy's own loops, whose result does not depend on the number of threads, and rounded once. An edit
that changes nothing returns the same bits.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32, Float64
from msgspec.structs import replace as with_fields

from tdw import tasks
from tdw.analyses import fourier
from tdw.analyses.engine.registry import NEEDS
from tdw.errors import NotApplicableError, SettingError, UnknownNameError
from tdw.network.parameters import ALL, named, shapes
from tdw.network.segment import Arrays, State
from tdw.project import edits
from tdw.project.edits import Edit
from tdw.project.project import Project

if TYPE_CHECKING:
    from tdw.config import RunConfig


@dataclass(frozen=True)
class Edits:
    """Edits of a run with all that they need, checked.

    edits: with the full names of their weights
    taken: for each of them, the weights that it takes from a checkpoint; None for other edits than `swap`
    """

    edits: tuple[Edit, ...] = ()
    taken: tuple[Arrays | None, ...] = ()

    @classmethod
    def of(cls, given: Iterable[str | Edit], source: Project, config: RunConfig) -> Edits:
        """These edits, as text or as objects, of a run with these settings.

        Raises SettingError, NotApplicableError, CheckpointNotFoundError, and what opening another run raises.
        """
        found = [
            _resolved(edits.parse(one) if isinstance(one, str) else edits.checked(one), source, config) for one in given
        ]
        return cls(tuple(edit for edit, _ in found), tuple(taken for _, taken in found))

    @classmethod
    def stored(cls, stored: Iterable[Mapping[str, object]], after: Arrays) -> Edits:
        """Edits that a file describes. after: the weights that they led to, which stand for those taken from other runs."""
        found = tuple(edit for edit in map(edits.of_json, stored) if edit is not None)
        return cls(found, tuple(after if isinstance(edit, edits.Swap) else None for edit in found))

    @property
    def fresh(self) -> bool:
        """Whether the whole optimizer starts again."""
        return any(isinstance(edit, edits.ResetOptimizer) and edit.weights == (ALL,) for edit in self.edits)

    def settings(self, config: RunConfig) -> RunConfig:
        """The settings with the weights that they freeze."""
        frozen = [name for edit in self.edits if isinstance(edit, edits.Freeze) for name in edit.weights]
        return replace(config, freeze=",".join(named([*config.frozen, *frozen], config))) if frozen else config

    def touched(self, config: RunConfig) -> list[str]:
        """The names of the weights that they may change."""
        changing = (edits.FrequencyEdit, edits.Swap, edits.Scale, edits.Random)
        return named((name for edit in self.edits if isinstance(edit, changing) for name in edit.weights), config)

    def applied(self, state: State, config: RunConfig) -> State:
        """The state after them; the given one is not changed."""
        weights = dict(state.weights)
        slots = {slot: dict(part) for slot, part in state.slots.items()}
        for edit, taken in zip(self.edits, self.taken, strict=True):
            for name in named(edit.weights, config):
                if isinstance(edit, edits.ResetOptimizer):
                    for part in slots.values():
                        part[name] = np.zeros_like(part[name])
                elif not isinstance(edit, edits.Freeze):
                    weights[name] = _changed(weights[name], name, edit, taken, config)
        return State(state.epoch, weights, slots)

    def reproduce(self, before: Arrays, after: Arrays, config: RunConfig) -> bool:
        """Whether they make these weights of those, bit for bit; weights taken from elsewhere are not compared."""
        swapped = [name for edit in self.edits if isinstance(edit, edits.Swap) for name in named(edit.weights, config)]
        made = self.applied(State(0, before, {}), config).weights
        return all(np.array_equal(made[name], after[name]) for name in shapes(config) if name not in swapped)


def differ(before: Arrays, after: Arrays) -> bool:
    """Whether any weight differs in any bit."""
    return any(array.tobytes() != after[name].tobytes() for name, array in before.items())


def _changed(
    weight: Float32[np.ndarray, ...], name: str, edit: Edit, taken: Arrays | None, config: RunConfig
) -> Float32[np.ndarray, ...]:
    """One weight after an edit that changes weights."""
    match edit:
        case edits.Swap():
            assert taken is not None, "a swap has its weights"
            return taken[name].copy()
        case edits.Scale():
            return _rounded(weight * np.float64(edit.factor))
        case edits.Random():
            drawn = _direction(weight.shape, name, edit.seed)
            return _rounded(weight + edit.norm * drawn) if edit.norm else weight
        case edits.FrequencyEdit():
            kept = isinstance(edit, edits.KeepFrequency)
            removed = [k for k in range(1, config.frequencies + 1) if (k in edit.frequencies) != kept]
            return _without(weight, name, removed, config)
    raise AssertionError(f"no other edit changes weights: {edit!r}")


def _rounded(values: Float[np.ndarray, ...]) -> Float32[np.ndarray, ...]:
    """Values in float32; those beyond its range are infinite, which is reported as a loss that is not finite."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _direction(shape: Sequence[int], name: str, seed: int) -> Float64[np.ndarray, ...]:
    """A random direction, float64 of norm 1, another one for each weight.

    Uses NumPy's legacy generator, because its numbers are the same in every version.
    """
    drawn = np.random.RandomState([seed, zlib.crc32(name.encode())]).standard_normal(shape)
    return drawn / norm(drawn)


def norm(values: Float[np.ndarray, ...]) -> float:
    """The Euclidean norm over all entries."""
    return float(np.sqrt(np.square(values, dtype=np.float64).sum()))


def _without(
    weight: Float32[np.ndarray, ...], name: str, removed: Sequence[int], config: RunConfig
) -> Float32[np.ndarray, ...]:
    """A weight without frequencies along operands or answers."""
    by_operand, elements = config.network_kind.weights(config)[name].by_operand, tasks.elements(config)
    assert by_operand is not None, "checked before"
    assert elements is not None, "checked before"
    if not removed:
        return weight
    out = np.moveaxis(weight.copy(), by_operand.axis, 0)
    wanted = {row for k in removed for row in (2 * k - 1, 2 * k)}
    waves = np.stack([wave for row, wave in enumerate(fourier.basis(len(elements))) if row in wanted])
    for start in by_operand.starts:
        of_group = out[start + elements].astype(np.float64)
        amplitudes = np.einsum("wx,x...->w...", waves, of_group)
        out[start + elements] = _rounded(of_group - np.einsum("wx,w...->x...", waves, amplitudes))
    return np.ascontiguousarray(np.moveaxis(out, 0, by_operand.axis))


def _resolved(edit: Edit, source: Project, config: RunConfig) -> tuple[Edit, Arrays | None]:
    """An edit with the full names of its weights, and the weights that it takes from a checkpoint."""
    if isinstance(edit, edits.FrequencyEdit):
        return _checked_frequencies(edit, source, config), None
    edit = with_fields(edit, weights=_full(edit, config))
    return _taken(edit, source, config) if isinstance(edit, edits.Swap) else (edit, None)


def _full(edit: Edit, config: RunConfig) -> tuple[str, ...]:
    try:
        found = named(edit.weights, config)
    except UnknownNameError as error:
        raise SettingError("edit", f"--edit {edit.name}: {error}") from None
    return (ALL,) if len(found) == len(shapes(config)) else tuple(found)


def _checked_frequencies(edit: edits.FrequencyEdit, source: Project, config: RunConfig) -> Edit:
    if (reason := NEEDS["frequencies"](config)) is not None:
        raise NotApplicableError(source.path, edit.name, reason)
    with_axis = [name for name, weight in config.network_kind.weights(config).items() if weight.by_operand is not None]
    weights = named(_full(edit, config), config) if edit.weights else with_axis
    if other := [name for name in weights if name not in with_axis]:
        raise SettingError(
            "edit",
            f"--edit {edit.name} applies to weights along operands or answers, which are {', '.join(with_axis)} (got {other[0]})",
        )
    if wrong := [k for k in edit.frequencies if not 1 <= k <= config.frequencies]:
        raise SettingError(
            "edit",
            f"--edit {edit.name} takes frequencies from 1 to {config.frequencies}, because k and {config.order} - k are the same "
            f"(got {wrong[0]})",
        )
    return with_fields(edit, weights=tuple(weights))


def _taken(edit: edits.Swap, source: Project, config: RunConfig) -> tuple[Edit, Arrays]:
    """A swap with the run that it takes weights from, and these weights."""
    if not edit.file:
        return with_fields(edit, run=source.id), source.weights(edit.epoch)
    with Project.open(edit.file) as other:
        theirs, ours = other.config, config
        if (theirs.p, theirs.task_kind.group.name) != (ours.p, ours.task_kind.group.name):
            raise SettingError(
                "edit",
                f"--edit swap takes weights from runs with the same p and group, here p = {ours.p} and the "
                f"{ours.task_kind.group.name} group ({other.path.name} has p = {theirs.p} and the {theirs.task_kind.group.name} group)",
            )
        known, needed = shapes(theirs), shapes(config)
        for name in named(edit.weights, config):
            if known.get(name) != needed[name]:
                has = f"has it as {known[name]}" if name in known else f"has {', '.join(known)}"
                raise SettingError(
                    "edit",
                    f"--edit swap needs {name} of shape {needed[name]} ({other.path.name} {has}): name weights that both "
                    "networks have, or take a run of the same sizes",
                )
        return with_fields(edit, file=other.path.name, run=other.id), other.weights(edit.epoch)
