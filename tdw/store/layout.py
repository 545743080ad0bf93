"""The layout of a project file: format 1.1, which is written, and 1.0, which is read.

The layout is planned: every shape is known before the first byte, so HDF5 generates the metadata once (`planner.py`) and
never writes to the file again. The datasets follow HDF5's metadata in this order:

    dataset                     contents
    config, notes               u1 (n,) JSON
    split/train, split/test     i8 (n,) pair (a, b) at a·p + b
    resume/slots                u1 (2, width) resume states on the way, written alternately; not in a finished run
    commit                      i8 (2, columns) a row for each record, see commit_record.py; attributes: arrays (the
                                growing ones in order), curves (those with a row per epoch), columns (the first ones)
    tails                       u1 (2, arrays, 4096) copies of the partly filled last blocks, a row for each record
    resume/last                 u1 (1, width) the resume state where training ended or was stopped
    block_crc32                 u4 (curves, blocks) of each full block of 4096 bytes of the curves
    losses/train, losses/test   f8 (epochs + 1,); NaN where not evaluated
    accuracy/train, /test       f8 (epochs + 1,)
    any other curve             any number type, (epochs + 1,)
    checkpoints/epoch           i8 (capacity,); −1 where free
    checkpoints/crc32           u4 (capacity,) of the blob
    analysis/NAME/ARRAY         (capacity, …); attributes version, parameters (JSON) of the group
    checkpoints/safetensors     u1 (capacity, nbytes rounded up); attribute nbytes of the group

Analyses are sorted by name. A row of resume states has `nbytes` (attribute of the group) rounded up, and one more block that
describes it (`commit_record.ResumeSlot`). Thanks to this order, a file can be copied slowly, from front to back, while it is
written: committed data lies after its commit record and is never overwritten; the two `resume/slots` lie before it, so the
copy holds none that is newer than its record, and each is left alone long enough (`Writer.resume_due`) for one of them to be
copied intact.

Which process writes to a file, and what kind of work it does ("train", "analyze"), is not in the file but in its lock file,
see `holder.py`.

Format 1.0 has `resume/slots` (2, nbytes rounded up) only, compound commit records that contain the tails, no `block_crc32`,
and exactly the four curves above. Such a file is rebuilt in the current format before it is written to.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tdw.store.commit_record import BLOCK, WITH_TAILS, Version

FORMAT = b"tdw"
FORMAT_VERSION = (1, 1)
#: The curves of a run of this program, and all that a file of format 1.0 has.
LOSSES = ("losses/train", "losses/test", "accuracy/train", "accuracy/test")
CHECKPOINTS = ("checkpoints/epoch", "checkpoints/crc32")
SEALED = ("config", "notes", "split/train", "split/test")
RESUME = ("resume/slots", "resume/last")  # numbered 0 and 1, and 2 in the commit records
TAILS, BLOCK_CRCS = "tails", "block_crc32"
#: Arrays that are written to, but have no row count in the commit records.
CHANGING = ("commit", TAILS, BLOCK_CRCS, *RESUME, "checkpoints/safetensors")
#: First parts of dataset names that a curve may not have.
RESERVED = frozenset({"config", "notes", "split", "resume", "commit", TAILS, BLOCK_CRCS, "checkpoints", "analysis"})
MAX_DEPTH = 4
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
class CurvePlan:
    """One number per epoch: name is the dataset's path, like "losses/train"; dtype like "<f8"."""

    name: str
    dtype: str = "<f8"


DEFAULT_CURVES = tuple(CurvePlan(name) for name in LOSSES)


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
    """Everything that determines the layout of a file."""

    config: bytes
    notes: bytes
    split_train: np.ndarray
    split_test: np.ndarray
    epochs: int
    checkpoint_capacity: int
    blob_nbytes: int
    resume_nbytes: int
    analyses: tuple[AnalysisPlan, ...] = ()
    finished: bool = False  # no more training: leave out the two resume slots
    curves: tuple[CurvePlan, ...] = DEFAULT_CURVES

    def check(self) -> None:
        """Raise ValueError for a plan that has no layout; user input was checked before."""
        if self.epochs < 0 or self.checkpoint_capacity < 1 or self.blob_nbytes < 1 or self.resume_nbytes < 0:
            raise ValueError(f"no room planned: {self.epochs=}, {self.checkpoint_capacity=}, {self.blob_nbytes=}")
        if not len(self.split_train) or not len(self.split_test):
            raise ValueError("the split needs at least one train pair and one test pair")
        if max(len(self.config), len(self.notes)) > JSON_LIMIT:
            raise ValueError(f"config and notes may have at most {JSON_LIMIT} bytes each")
        check_curves(self.curves)
        for plan in self.analyses:
            check_analysis(plan)
        if len({plan.name for plan in self.analyses}) != len(self.analyses):
            raise ValueError("two analyses have the same name")
        pairs = len(self.split_train) + len(self.split_test)
        problem = too_large(self.analyses, pairs, self.blob_nbytes, self.checkpoint_capacity, self.epochs)
        if problem is not None:
            raise ValueError(problem)


def too_large(
    analyses: Iterable[AnalysisPlan], pairs: int, blob_nbytes: int, checkpoints: int, epochs: int
) -> str | None:
    """Why analyses are implausibly large for such a run, or None.

    An array that was never written takes no disk space, so a small file can declare results of any size, and reading or
    rewriting them would take it all. The largest real analyses have eight times the bytes of a checkpoint and its pairs; 64
    times are allowed, in each row and on average.
    """
    one = 64 * (8 * pairs + blob_nbytes)
    rows = max(checkpoints, epochs + 1, BLOCK)
    total = 0
    for plan in analyses:
        for name, array in plan.arrays.items():
            row = np.dtype(array.dtype).itemsize * math.prod(array.row_shape)
            if plan.capacity > rows or row > one + (1 << 20):
                return (
                    f"'analysis/{plan.name}/{name}' declares {plan.capacity:,} rows of {row:,} bytes; results of such a run "
                    f"have at most {rows:,} of {one + (1 << 20):,}"
                )
            total += plan.capacity * row
    if total > one * checkpoints + (64 << 20):
        return (
            f"its results declare {total:,} bytes; those of such a run have at most {one * checkpoints + (64 << 20):,}"
        )
    return None


def is_curve_name(name: str) -> bool:
    """Whether a dataset of this name may be a curve: one to four plain parts, in none of the file's own groups."""
    parts = name.split("/")
    return len(parts) <= MAX_DEPTH and all(map(NAME.fullmatch, parts)) and parts[0] not in RESERVED


def check_curves(curves: Sequence[CurvePlan]) -> None:
    """Raise ValueError for curves that do not fit in a file."""
    names = [curve.name for curve in curves]
    if not curves or len(set(names)) != len(names):
        raise ValueError(f"a file needs at least one curve, each with a name of its own (got {names})")
    for curve in curves:
        if not is_curve_name(curve.name) or any(other.startswith(f"{curve.name}/") for other in names):
            raise ValueError(
                f"{curve.name!r} cannot be the name of a curve: use up to {MAX_DEPTH} parts of letters, digits, _ . - "
                f"separated by /, not starting with {', '.join(sorted(RESERVED))}"
            )
        if curve.dtype not in DTYPES:
            raise ValueError(f"curve {curve.name!r} has dtype {curve.dtype!r}; use one of {', '.join(DTYPES)}")


def check_analysis(plan: AnalysisPlan) -> None:
    """Raise ValueError for a plan that does not fit in a file."""
    if not plan.arrays or plan.capacity < 1:
        raise ValueError(f"analysis {plan.name!r} needs an array and a capacity of at least 1 row")
    for name in (plan.name, *plan.arrays):
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of an analysis or array: use letters, digits, _ . - only")
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
    """The location of one dataset: (rows, *row shape) values from offset on."""

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @cached_property
    def row_nbytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

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
    """A file's complete structure, planned or read from the file."""

    size: int
    version: Version
    extents: dict[str, Extent]
    growing: tuple[str, ...]
    blob_nbytes: int
    resume_nbytes: int
    analyses: dict[str, AnalysisPlan] = field(default_factory=dict)
    curves: tuple[str, ...] = LOSSES  # in the order of block_crc32's rows

    @property
    def planned_epochs(self) -> int:
        """The last epoch that the curves have room for."""
        return self.extents[self.curves[0]].shape[0] - 1

    @property
    def checkpoint_capacity(self) -> int:
        """How many checkpoints there is room for."""
        return self.extents["checkpoints/safetensors"].shape[0]

    def curve_plans(self) -> tuple[CurvePlan, ...]:
        """The curves as they were planned."""
        return tuple(CurvePlan(name, self.extents[name].dtype.str) for name in self.curves)

    def slot_offset(self, slot: int) -> int:
        """Offset of one of the two commit records."""
        commit = self.extents["commit"]
        return commit.offset + slot * commit.row_nbytes

    @property
    def has_tails(self) -> bool:
        """Whether the file has copies of last blocks, and descriptions of its resume slots, next to the commit records."""
        return self.version > WITH_TAILS

    def tails_offset(self, slot: int) -> int:
        """Offset of the copies of the last blocks that belong to a commit record (format 1.1)."""
        tails = self.extents[TAILS]
        return tails.offset + slot * tails.row_nbytes

    def resume_places(self) -> list[int]:
        """Offsets of the resume slots, by their number in the commit records; −1 for one that this file does not have."""
        found = []
        for name, count in zip(RESUME, (2, 1), strict=True):
            extent = self.extents.get(name)
            found += [-1 if extent is None else extent.offset + i * extent.row_nbytes for i in range(count)]
        return found

    def trailer_offset(self, slot: int) -> int:
        """Offset of the description of a resume slot (format 1.1)."""
        return self.resume_places()[slot] + self.resume_width - BLOCK

    @property
    def resume_width(self) -> int:
        """Bytes of a resume slot, including its description."""
        return next(self.extents[name].row_nbytes for name in RESUME if name in self.extents)

    def row_bytes(self) -> list[int]:
        """Bytes per row of every growing array, in the file's order."""
        return [self.extents[name].row_nbytes for name in self.growing]

    def sealed(self) -> Iterator[tuple[int, int]]:
        """(start, end) of all bytes that never change: metadata, config, notes, split.

        The rest of a written array's last sector is excluded: a power cut may garble it.
        """
        changing = sorted(
            (self.extents[name] for name in {*CHANGING, *self.growing} & set(self.extents)),
            key=lambda extent: extent.offset,
        )
        at = 0
        for extent in changing:
            if extent.offset > at:
                yield at, extent.offset
            at = round_up(extent.end)
        if self.size > at:
            yield at, self.size


def block_crc_shape(curves: Iterable[CurvePlan], epochs: int) -> tuple[int, int]:
    """Shape of the table of checksums of full blocks: a row for each curve, a column for each block of the widest one."""
    widths = [np.dtype(curve.dtype).itemsize for curve in curves]
    return len(widths), max(1, max(widths) * (epochs + 1) // BLOCK)


def canonical(value: Mapping[str, Any]) -> bytes:
    """Canonical JSON: sorted keys, no spaces, ASCII. Raises ValueError for NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def round_up(n: int) -> int:
    """The next multiple of 4096."""
    return -(-n // BLOCK) * BLOCK
