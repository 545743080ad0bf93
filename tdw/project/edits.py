"""Edits of the state from which a branch starts: how they are written, stored and told. `tdw.operations.edited` makes them.

An edit is one of these, with the names of weights separated by commas, or `all`:

    remove-frequency:5,8[@W_E,W_U]   project frequencies out of weights along operands and answers (default: all that have such an axis)
    keep-frequency:5,8[@W_E,W_U]     project all other frequencies out; the constant stays
    swap:W_E=OTHER.tdw@3000          take weights from a checkpoint of another run, or with `@3000` of the same one
    scale:W_E=0.5                    multiply weights by a number
    random:W_E=1.5[,SEED]            add a random change with this Euclidean norm to each of the weights
    reset-optimizer[:W_E]            set the optimizer's state to zero (default: all of it, as at its start)
    freeze:W_E                       keep weights as they are from then on: the setting `freeze`
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import msgspec

from tdw import arguments
from tdw.errors import SettingError
from tdw.network.parameters import ALL
from tdw.safe_text import cut
from tdw.setting import as_text, finite, integer

SEEDS = (0, 2**32 - 1)


class Edit(msgspec.Struct, frozen=True, kw_only=True, tag_field="edit"):
    """An edit. weights: names of weights, short or full; a stored edit has the full ones, or `all`."""

    form: ClassVar[str]
    weights: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Edit:
        """The edit from what follows its name. Raises ValueError."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise ValueError for values that are of the right type, and mean nothing. Stored edits are not checked so."""
        if not self.weights:
            raise ValueError

    @property
    def sentence(self) -> str:
        """What it does, in words."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """What kind of edit it is, as it is typed."""
        return str(self.__struct_config__.tag)

    def to_json(self) -> dict[str, Any]:
        """The edit as it is stored."""
        return dict(msgspec.json.decode(msgspec.json.encode(self)))

    @property
    def told(self) -> str:
        """The names of its weights, in words."""
        if self.weights == (ALL,):
            return "all weights"
        shown = [cut(name, 60) for name in self.weights[:12]]
        shown += [f"{len(self.weights) - 12} more"] * (len(self.weights) > 12)
        return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown) or "no weight"


class FrequencyEdit(Edit, frozen=True, kw_only=True):
    """An edit of frequencies. weights: () stands for all weights along operands and answers."""

    frequencies: tuple[int, ...]
    weights: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Edit:
        """See `Edit`."""
        given, at, of = text.partition("@")
        frequencies = tuple(sorted({integer(part) for part in _parts(given)}))
        return cls(frequencies=frequencies, weights=_names(of) if at else ())

    def check(self) -> None:
        """See `Edit`."""
        if not self.frequencies:
            raise ValueError

    @property
    def listed(self) -> str:
        """The frequencies, in words."""
        if not self.frequencies:
            return "no frequency"
        return f"{'frequency' if len(self.frequencies) == 1 else 'frequencies'} {', '.join(map(str, self.frequencies[:100]))}"


class RemoveFrequency(FrequencyEdit, frozen=True, kw_only=True, tag="remove-frequency"):
    """Frequencies are projected out of weights."""

    form: ClassVar[str] = "remove-frequency:5,8[@W_E,W_U]"

    @property
    def sentence(self) -> str:
        """See `Edit`."""
        return f"{self.listed} removed from {self.told}"


class KeepFrequency(FrequencyEdit, frozen=True, kw_only=True, tag="keep-frequency"):
    """All other frequencies are projected out of weights; the constant is none."""

    form: ClassVar[str] = "keep-frequency:5,8[@W_E,W_U]"

    @property
    def sentence(self) -> str:
        """See `Edit`."""
        return f"only the constant and {self.listed} kept in {self.told}"


class Swap(Edit, frozen=True, kw_only=True, tag="swap"):
    """Weights are taken from a checkpoint.

    file: of the run that has it; "" for the same run. A stored edit has its name, and the id of the run
    """

    form: ClassVar[str] = "swap:W_E=[OTHER.tdw]@EPOCH"
    file: str = ""
    run: str = ""
    epoch: int

    @classmethod
    def parse(cls, text: str) -> Edit:
        """See `Edit`."""
        names, rest = _halves(text, "=")
        file, at, epoch = rest.rpartition("@")
        if not at:
            raise ValueError
        return cls(weights=_names(names), file=file, epoch=integer(epoch))

    @property
    def sentence(self) -> str:
        """See `Edit`."""
        return f"{self.told} taken from {cut(self.file) or 'this run'} at epoch {self.epoch}"


class Scale(Edit, frozen=True, kw_only=True, tag="scale"):
    """Weights are multiplied by a number."""

    form: ClassVar[str] = "scale:W_E=FACTOR"
    factor: float

    @classmethod
    def parse(cls, text: str) -> Edit:
        """See `Edit`."""
        names, factor = _halves(text, "=")
        return cls(weights=_names(names), factor=finite(factor))

    def check(self) -> None:
        """See `Edit`."""
        super().check()
        finite(self.factor)

    @property
    def sentence(self) -> str:
        """See `Edit`."""
        return f"{self.told} multiplied by {as_text(self.factor)}"


class Random(Edit, frozen=True, kw_only=True, tag="random"):
    """A change in a random direction, with Euclidean norm `norm`, is added to each of the weights."""

    form: ClassVar[str] = "random:W_E=NORM[,SEED]"
    norm: float
    seed: int = 0

    @classmethod
    def parse(cls, text: str) -> Edit:
        """See `Edit`."""
        names, rest = _halves(text, "=")
        norm, comma, seed = rest.partition(",")
        return cls(weights=_names(names), norm=finite(norm), seed=integer(seed) if comma else 0)

    def check(self) -> None:
        """See `Edit`."""
        super().check()
        if finite(self.norm) < 0 or not SEEDS[0] <= self.seed <= SEEDS[1]:
            raise ValueError

    @property
    def sentence(self) -> str:
        """See `Edit`."""
        return f"a random change of norm {as_text(self.norm)} added to {self.told} (seed {self.seed})"


class ResetOptimizer(Edit, frozen=True, kw_only=True, tag="reset-optimizer"):
    """The optimizer's state of weights is zero; if it is that of all weights, the optimizer starts there, with its warm-up."""

    form: ClassVar[str] = "reset-optimizer[:W_E]"
    weights: tuple[str, ...] = (ALL,)

    @classmethod
    def parse(cls, text: str) -> Edit:
        """See `Edit`."""
        return cls(weights=_names(text)) if text else cls()

    @property
    def sentence(self) -> str:
        """See `Edit`."""
        return "optimizer started again" if self.weights == (ALL,) else f"optimizer state of {self.told} set to zero"


class Freeze(Edit, frozen=True, kw_only=True, tag="freeze"):
    """Weights are added to those that training does not change (the setting `freeze`)."""

    form: ClassVar[str] = "freeze:W_E"

    @classmethod
    def parse(cls, text: str) -> Edit:
        """See `Edit`."""
        return cls(weights=_names(text))

    @property
    def sentence(self) -> str:
        """See `Edit`."""
        return f"{self.told} frozen"


EDITS: dict[str, type[Edit]] = {
    str(kind.__struct_config__.tag): kind
    for kind in (RemoveFrequency, KeepFrequency, Swap, Scale, Random, ResetOptimizer, Freeze)
}


def parse(text: str) -> Edit:
    """The edit from its text.

    >>> parse("scale:W_E,W_U=0.5").sentence
    'W_E and W_U multiplied by 0.5'
    >>> parse("remove-frequency:8, 5@W_E").sentence
    'frequencies 5, 8 removed from W_E'

    Raises SettingError.
    """
    name, _, rest = text.strip().partition(":")
    if name not in EDITS:
        raise SettingError("edit", f"--edit must be one of {_forms()} (got {cut(text) or 'nothing'})")
    try:
        found = EDITS[name].parse(rest.strip())
        found.check()
    except ValueError:
        raise SettingError("edit", f"--edit {name} must have the form {_limits(name)} (got {cut(text)})") from None
    return found


def several(given: str | Edit | Iterable[str | Edit]) -> list[str | Edit]:
    """Edits as a list, given as a list, or as one edit alone. Raises ArgumentError."""
    if isinstance(given, (str, Edit)):
        return [given]
    return arguments.several("edits", given, f"a list of edits, each as text or as an object: {_forms()}")


def checked(given: object) -> Edit:
    """An edit that was given as an object. Raises ArgumentError."""
    if not isinstance(given, Edit) or type(given) not in EDITS.values():
        raise arguments.refused("edits", given, f"edits, each as text or as an object: {_forms()}")
    try:
        found = msgspec.convert(msgspec.to_builtins(given), type(given))
        found.check()
    except (ValueError, TypeError):  # ValidationError is a ValueError
        raise arguments.refused("edits", given, f"like {_limits(given.name)}") from None
    return found


def of_json(stored: Mapping[str, Any]) -> Edit | None:
    """A stored edit; None for one that only a newer version knows. Raises msgspec.ValidationError."""
    kind = EDITS.get(str(stored.get("edit")))
    return None if kind is None else msgspec.convert(stored, kind)


def sentences(stored: Iterable[Mapping[str, Any]]) -> list[str]:
    """What stored edits do, in words."""
    found = [(edit, of_json(edit)) for edit in stored]
    return [
        f"an edit of a newer version, {cut(str(edit.get('edit')), 40)}" if known is None else known.sentence
        for edit, known in found
    ]


def _forms() -> str:
    return ", ".join(kind.form for kind in EDITS.values())


def _limits(name: str) -> str:
    limits = {
        "remove-frequency": ", with one frequency or more",
        "keep-frequency": ", with one frequency or more",
        "scale": ", where FACTOR is a finite number",
        "random": f", where NORM is a number of at least 0 and SEED an integer from 0 to {SEEDS[1]}",
        "swap": ", where EPOCH is that of a checkpoint",
    }
    return EDITS[name].form + limits.get(name, "")


def _parts(text: str) -> list[str]:
    return [found for part in text.split(",") if (found := part.strip())]


def _names(text: str) -> tuple[str, ...]:
    found = tuple(_parts(text))
    if not found:
        raise ValueError
    return found


def _halves(text: str, mark: str) -> tuple[str, str]:
    first, found, second = text.partition(mark)
    if not found:
        raise ValueError
    return first, second.strip()
