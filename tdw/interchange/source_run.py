"""The contents of a file of another program, in one form for all readers, before anything is inferred.

In all supported forms, entry i of the train losses was measured before update i + 1, so it is at epoch i. The meaning of
checkpoint labels and test losses differs between forms and is given by the offsets of a `SourceRun`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tdw.errors import NotImportableError
from tdw.network.segment import Series
from tdw.recorded import nan_as_recorded
from tdw.safe_text import cut
from tdw.tasks import Split

Raw = Mapping[str, Any]  # tensors or arrays by their names in the file
MOST_EPOCHS = 10_000_000


@dataclass(frozen=True)
class SourceCheckpoint:
    """One set of weights. label: its epoch in the source, None if not given; what: its name in messages."""

    label: int | None
    load: Callable[[], Raw]
    what: str


@dataclass(frozen=True)
class Rule:
    """How a split is drawn. name: `python` or `torch`; fraction: the training fraction."""

    name: str
    seed: int
    fraction: float


RULES = {
    "python": "Python's random.seed(s) and random.shuffle of the pairs in lexicographic order, the first part for training",
    "torch": "PyTorch's manual_seed(s) and randperm of the pairs, the first part for training",
}


@dataclass
class SourceRun:
    """A run of another program, as read.

    checkpoints:  weights, in the order of their labels
    epoch_offset: our epoch minus the label of a checkpoint (1: the weights include one more update)
    test_offset:  our epoch of the first test loss (1: entry i was measured after update i + 1)
    accuracy:     accuracies by side, by epoch; curves: everything else that was recorded, by its name in a project file
    train_stride: epochs between two train losses, which are in place
    stepped:      the source gives the epochs of its losses, which are in place
    unplaced:     why not, if there is more to say than that nothing tells
    placed:       its train losses are at their epochs, by what the form or the number of epochs tells; planned: epochs, by a config
    averaged:     its train losses are not those of all train pairs with the weights of one epoch, but means or of batches
    settings:     those that the file states, under our names
    claims:       sizes that the file states and that may be wrong
    pairs:        the split, if the file lists it
    rules:        splits that the file names, most likely first; likely_rule: the rule to try first for an unknown split
    optimizer, scheduler: their states after the last update; why_not: why training cannot be resumed from them
    assumed, inferred, converted, contradicted: sentences for the user
    """

    form: str
    checkpoints: list[SourceCheckpoint] = field(default_factory=list)
    epoch_offset: int = 0
    train: Series | None = None
    test: Series | None = None
    test_offset: int = 0
    accuracy: dict[str, Series] = field(default_factory=dict)
    curves: dict[str, Series] = field(default_factory=dict)
    stepped: bool = False
    unplaced: str = ""
    averaged: bool = False
    placed: bool = False
    planned: int | None = None
    train_stride: int = 1
    settings: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    pairs: Split | None = None
    rules: list[Rule] = field(default_factory=list)
    likely_rule: str = "python"
    optimizer: Mapping[str, Any] | None = None
    scheduler: Mapping[str, Any] | None = None
    why_not: str | None = None
    assumed: list[str] = field(default_factory=list)
    inferred: list[str] = field(default_factory=list)
    converted: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)

    @property
    def has_losses(self) -> bool:
        """Whether there is a finite loss, which weights can be compared with."""
        return any(curve is not None and bool(np.isfinite(curve).any()) for curve in (self.train, self.test))


def numbers(value: Any, name: str, what: str) -> Series:
    """A list of losses as float64, all of them recorded, from numbers or tensors of one element, a tensor or an array.

    Raises NotImportableError.
    """
    import torch

    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "fiu":
        return nan_as_recorded(value)
    if isinstance(value, torch.Tensor):
        if value.ndim != 1 or value.is_complex():
            raise NotImportableError(f"{what} cannot be imported: its {name} must be a list of numbers.")
        return nan_as_recorded(value.detach().double().numpy())
    if not isinstance(value, list | tuple):
        raise NotImportableError(f"{what} cannot be imported: its {name} must be a list of numbers.")
    return nan_as_recorded([number(item, name, what) for item in value])


def number(value: Any, name: str, what: str) -> float:
    """A number from a file. Raises NotImportableError."""
    import torch

    if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_complex():
        return float(value.detach())
    if isinstance(value, int | float | np.floating | np.integer) and not isinstance(value, bool):
        return float(value)
    raise NotImportableError(
        f"{what} cannot be imported: its {name} must be numbers (got "
        f"{cut(repr(value), 40) if isinstance(value, str) else type(value).__name__})."
    )


def integer(value: Any, name: str, what: str) -> int:
    """An integer from a file. Raises NotImportableError."""
    result = number(value, name, what)
    if not result.is_integer():
        raise NotImportableError(f"{what} cannot be imported: its {name} must be an integer (got {result:g}).")
    return int(result)
