"""Where everything lies in a project file: format 1.0.

The layout is planned: every shape is known before the first byte, so HDF5 is asked once for the metadata (`skeleton.py`)
and never again writes to the file.

    dataset                                         what it holds
    commit                                          (2,) records, see slots.py; attribute arrays: growing ones in order
    config, notes                                   u1 (n,) JSON
    losses/train, losses/test                       f8 (epochs + 1,); NaN where not evaluated
    accuracy/train, accuracy/test                   f8 (epochs + 1,)
    split/train, split/test                         i8 (n,) pair (a, b) at a·p + b
    checkpoints/epoch                               i8 (capacity,); −1 where free
    checkpoints/crc32                               u4 (capacity,) of the blob
    checkpoints/safetensors                         u1 (capacity, nbytes rounded up); attribute nbytes of the group
    resume/slots                                    u1 (2, nbytes rounded up)
    analysis/NAME/ARRAY                             (capacity, …); attributes version, parameters (JSON) of the group
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tdw.store.slots import BLOCK

FORMAT = b"tdw"
FORMAT_VERSION = (1, 0)
LOSSES = ("losses/train", "losses/test", "accuracy/train", "accuracy/test")
CHECKPOINTS = ("checkpoints/epoch", "checkpoints/crc32")
SEALED = ("config", "notes", "split/train", "split/test")
DTYPES = ("<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
JSON_LIMIT = 4 << 20
ATTRIBUTE_LIMIT = 60_000


@dataclass(frozen=True)
class ArrayPlan:
    """One growing array, rows appended in order: dtype like "<f4", row_shape () for a scalar per row."""

    dtype: str
    row_shape: tuple[int, ...]


@dataclass(frozen=True)
class AnalysisPlan:
    """Arrays of one analysis, with room for `capacity` rows each; they grow together."""

    name: str
    version: int
    parameters: dict[str, Any]
    arrays: dict[str, ArrayPlan]
    capacity: int

    def continues(self, other: AnalysisPlan) -> bool:
        """Whether rows of the other plan may be kept under this one."""
        return (self.name, self.version, self.parameters, self.arrays) == (
            other.name,
            other.version,
            other.parameters,
            other.arrays,
        )


@dataclass(frozen=True)
class FilePlan:
    """All that decides the layout of a file."""

    config: bytes
    notes: bytes
    split_train: np.ndarray
    split_test: np.ndarray
    epochs: int
    checkpoint_capacity: int
    blob_nbytes: int
    resume_nbytes: int
    analyses: tuple[AnalysisPlan, ...] = ()

    def check(self) -> None:
        """Refuse what cannot be laid out; ValueError, since no user's input comes here unchecked."""
        if self.epochs < 0 or self.checkpoint_capacity < 1 or self.blob_nbytes < 1 or self.resume_nbytes < 0:
            raise ValueError(f"no room planned: {self.epochs=}, {self.checkpoint_capacity=}, {self.blob_nbytes=}")
        if not len(self.split_train) or not len(self.split_test):
            raise ValueError("a split needs train pairs and test pairs")
        if max(len(self.config), len(self.notes)) > JSON_LIMIT:
            raise ValueError(f"config and notes may have {JSON_LIMIT} bytes each")
        for plan in self.analyses:
            check_analysis(plan)
        if len({plan.name for plan in self.analyses}) != len(self.analyses):
            raise ValueError("two analyses have the same name")


def check_analysis(plan: AnalysisPlan) -> None:
    """Refuse a plan that no file can hold (ValueError)."""
    if not plan.arrays or plan.capacity < 1:
        raise ValueError(f"analysis {plan.name!r} needs an array and a capacity of at least 1 row")
    for name in (plan.name, *plan.arrays):
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for an analysis or array: letters, digits, _ . - only")
    for name, array in plan.arrays.items():
        if array.dtype not in DTYPES:
            raise ValueError(f"array {name!r} has dtype {array.dtype!r}; one of {', '.join(DTYPES)} is needed")
        if any(n < 1 for n in array.row_shape) or len(array.row_shape) > 5:
            raise ValueError(
                f"array {name!r} has rows of shape {array.row_shape}: 1 to 5 axes of at least 1 are possible"
            )
    if len(canonical(plan.parameters)) > ATTRIBUTE_LIMIT:
        raise ValueError(f"the parameters of analysis {plan.name!r} are longer than {ATTRIBUTE_LIMIT} bytes as JSON")


@dataclass(frozen=True)
class Extent:
    """Where one dataset lies: (rows, *row shape) values from offset on."""

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def row_nbytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return self.row_nbytes * self.shape[0]

    @property
    def end(self) -> int:
        """Offset after the last byte."""
        return self.offset + self.nbytes


@dataclass(frozen=True)
class Layout:
    """The whole of a file's structure; the same whether planned here or read from a file."""

    size: int
    version: tuple[int, int]
    extents: dict[str, Extent]
    growing: tuple[str, ...]
    blob_nbytes: int
    resume_nbytes: int
    analyses: dict[str, AnalysisPlan] = field(default_factory=dict)

    def slot_offset(self, slot: int) -> int:
        """Where one of the two commit records lies."""
        commit = self.extents["commit"]
        return commit.offset + slot * commit.row_nbytes

    def row_bytes(self) -> list[int]:
        """Bytes per row of every growing array, in the file's order."""
        return [self.extents[name].row_nbytes for name in self.growing]

    def sealed(self) -> Iterator[tuple[int, int]]:
        """(start, end) of all bytes that never change: metadata, config, notes, split.

        The rest of the last sector of an array that is written to is none of them: a power cut may garble all of it.
        """
        changing = sorted(
            (self.extents[name] for name in ("commit", *self.growing, "checkpoints/safetensors", "resume/slots")),
            key=lambda extent: extent.offset,
        )
        at = 0
        for extent in changing:
            if extent.offset > at:
                yield at, extent.offset
            at = round_up(extent.end)
        if self.size > at:
            yield at, self.size


def canonical(value: Mapping[str, Any]) -> bytes:
    """JSON with one spelling per value: sorted keys, no blanks, ASCII; NaN is refused with ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def round_up(n: int) -> int:
    """The next multiple of 4096."""
    return -(-n // BLOCK) * BLOCK
