"""What a reader finds in somebody else's file: the same for every form, before anything is concluded from it.

Their losses come as lists. Entry i of the train losses was measured before update i + 1 in every form that is read here,
so it is that of epoch i. What a checkpoint's label and an entry of the test losses mean differs, and is said here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tdw.errors import NotImportableError
from tdw.network.segment import Series
from tdw.safe_text import cut
from tdw.tasks import Split

Raw = Mapping[str, Any]  # tensors or arrays by the names they have in the file


@dataclass(frozen=True)
class Piece:
    """One set of weights. label: the epoch that it has there, None where there is none; what: its name in sentences."""

    label: int | None
    load: Callable[[], Raw]
    what: str


@dataclass(frozen=True)
class Rule:
    """How a split is drawn. name: `python` or `torch`; fraction: the share of pairs trained on."""

    name: str
    seed: int
    fraction: float


RULES = {
    "python": "Python's random.seed(s) and random.shuffle of the pairs in lexicographic order, the first share for training",
    "torch": "PyTorch's manual_seed(s) and randperm of the pairs, the first share for training",
}


@dataclass
class Foreign:
    """A run of another program, as found. Lists of sentences: what was inferred, converted, contradicted.

    pieces:      weights, in the order of their labels
    late:        by how much an epoch here is more than a label there (1: the weights contain one more update)
    late_test:   the same of test losses: entry i was measured after update i + 1
    settings:    those that the file states, under our names; claims: what else it says about sizes and may be wrong in
    pairs:       the split where the file lists it; rules: splits that it names, likely ones first
    """

    form: str
    pieces: list[Piece] = field(default_factory=list)
    late: int = 0
    train: Series | None = None
    test: Series | None = None
    late_test: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    pairs: Split | None = None
    rules: list[Rule] = field(default_factory=list)
    likely_rule: str = "python"
    optimizer: Mapping[str, Any] | None = None
    scheduler: Mapping[str, Any] | None = None
    inferred: list[str] = field(default_factory=list)
    converted: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)


def numbers(value: Any, name: str, what: str) -> Series:
    """A list of losses as float64: floats, whole numbers or tensors of one number each. Raises NotImportableError."""
    import torch

    if isinstance(value, torch.Tensor):
        if value.ndim != 1 or value.is_complex():
            raise NotImportableError(f"{what} cannot be imported: its {name} are no list of numbers.")
        return value.detach().double().numpy().copy()
    if not isinstance(value, list | tuple):
        raise NotImportableError(f"{what} cannot be imported: its {name} are no list of numbers.")
    return np.array([number(item, name, what) for item in value], dtype=np.float64)


def number(value: Any, name: str, what: str) -> float:
    """One number of a file. Raises NotImportableError."""
    import torch

    if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_complex():
        return float(value.detach())
    if isinstance(value, int | float | np.floating | np.integer) and not isinstance(value, bool):
        return float(value)
    raise NotImportableError(
        f"{what} cannot be imported: among its {name} is {cut(repr(value), 40) if isinstance(value, str) else type(value).__name__}"
        ", not a number."
    )


def whole(value: Any, name: str, what: str) -> int:
    """One whole number of a file. Raises NotImportableError."""
    found = number(value, name, what)
    if not found.is_integer():
        raise NotImportableError(f"{what} cannot be imported: its {name} is {found:g}, not a whole number.")
    return int(found)
