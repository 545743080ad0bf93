"""Where everything lies in a project file: format 1.0.

The layout is planned: every shape is known before the first byte, so HDF5 is asked once for the metadata and never
again writes to the file. It builds them in memory (`plan_file`); the writer puts them on the disk like other bytes.

Every block that HDF5 allocates, metadata or array, starts a sector of 4096 bytes of its own (file space strategy
"none", alignment 4096), so that no write to an array can tear anything but that array. `plan_file` checks it.

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

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g, h5p, h5s, h5t

from tdw.store.slots import BLOCK, slot_dtype

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


class _Sketch(io.RawIOBase):
    """A file in memory that keeps only the sectors that were written: HDF5 draws the metadata into it."""

    def __init__(self) -> None:
        self.sectors: dict[int, bytearray] = {}
        self.size = 0
        self._at = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def truncate(self, size: int | None = None) -> int:
        self.size = self._at if size is None else size
        return self.size

    def _pieces(self, count: int) -> Iterator[tuple[int, int, int, int]]:
        """(sector, first byte in it, first byte in the buffer, length) of the next count bytes."""
        done = 0
        while done < count:
            sector, start = divmod(self._at + done, BLOCK)
            length = min(BLOCK - start, count - done)
            yield sector, start, done, length
            done += length

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self.size - self._at))
        for sector, start, at, length in self._pieces(count):
            view[at : at + length] = self.sectors.get(sector, bytes(BLOCK))[start : start + length]
        self._at += count
        return count

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for sector, start, at, length in self._pieces(len(view)):
            self.sectors.setdefault(sector, bytearray(BLOCK))[start : start + length] = view[at : at + length]
        self._at += len(view)
        self.size = max(self.size, self._at)
        return len(view)


def _shapes(plan: FilePlan) -> dict[str, tuple[str, tuple[int, ...], float | None]]:
    """Every dataset but `commit`: name -> (dtype, shape, value where nothing is written yet)."""
    nan = float("nan")
    shapes: dict[str, tuple[str, tuple[int, ...], float | None]] = {
        "config": ("|u1", (len(plan.config),), None),
        "notes": ("|u1", (len(plan.notes),), None),
        "split/train": ("<i8", (len(plan.split_train),), None),
        "split/test": ("<i8", (len(plan.split_test),), None),
    }
    shapes |= dict.fromkeys(LOSSES, ("<f8", (plan.epochs + 1,), nan))
    shapes["checkpoints/epoch"] = ("<i8", (plan.checkpoint_capacity,), -1)
    shapes["checkpoints/crc32"] = ("<u4", (plan.checkpoint_capacity,), None)
    shapes |= {
        f"analysis/{analysis.name}/{name}": (array.dtype, (analysis.capacity, *array.row_shape), None)
        for analysis in plan.analyses
        for name, array in analysis.arrays.items()
    }
    shapes["resume/slots"] = ("|u1", (2, round_up(max(plan.resume_nbytes, 1))), None)
    shapes["checkpoints/safetensors"] = ("|u1", (plan.checkpoint_capacity, round_up(plan.blob_nbytes)), None)
    return shapes


def _create(file: h5py.File, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], fill: float | None) -> int:
    """Make one contiguous dataset whose place is fixed at once; returns its offset."""
    folder, _, last = name.rpartition("/")
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_layout(h5d.CONTIGUOUS)
    properties.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5d.FILL_TIME_NEVER)  # the writer fills; HDF5 would write through its own buffers
    properties.set_obj_track_times(False)
    if fill is not None:
        properties.set_fill_value(np.array(fill, dtype))
    dataset = h5d.create(
        _group(file, folder), last.encode(), h5t.py_create(dtype), h5s.create_simple(shape), properties
    )
    return int(dataset.get_offset())


def _group(file: h5py.File, path: str) -> Any:
    at = h5g.open(file.id, b"/")
    for part in filter(None, path.split("/")):
        if part.encode() in at:
            at = h5g.open(at, part.encode())
        else:
            properties = h5p.create(h5p.GROUP_CREATE)
            properties.set_obj_track_times(False)
            at = h5g.create(at, part.encode(), gcpl=properties)
    return at


@dataclass(frozen=True)
class Skeleton:
    """A file before its data: the layout, and the sectors that HDF5's metadata fill (offset -> bytes)."""

    layout: Layout
    metadata: dict[int, bytes]
    fills: dict[str, float]


def plan_file(plan: FilePlan) -> Skeleton:
    """Lay out a file; nothing is written to any disk."""
    plan.check()
    shapes = _shapes(plan)
    growing = (*LOSSES, *CHECKPOINTS, *sorted(name for name in shapes if name.startswith("analysis/")))
    sketch = _Sketch()
    extents: dict[str, Extent] = {}
    with h5py.File(
        sketch,
        "w",
        libver=("v110", "v110"),
        fs_strategy="none",
        alignment_threshold=1,
        alignment_interval=BLOCK,
    ) as file:
        for name, (kind, shape, fill) in shapes.items():
            if name == "resume/slots":  # the large arrays come last
                dtype = slot_dtype(len(growing))
                extents["commit"] = Extent(_create(file, "commit", dtype, (2,), None), dtype, (2,))
            extents[name] = Extent(_create(file, name, np.dtype(kind), shape, fill), np.dtype(kind), shape)
        file.attrs["format"] = np.bytes_(FORMAT)
        file.attrs["format_version"] = np.array(FORMAT_VERSION, "<i8")
        file["commit"].attrs["arrays"] = np.bytes_("\n".join(growing))
        file["checkpoints"].attrs["nbytes"] = np.int64(plan.blob_nbytes)
        file["resume"].attrs["nbytes"] = np.int64(plan.resume_nbytes)
        for analysis in plan.analyses:
            group = file["analysis"][analysis.name]
            group.attrs["version"] = np.int64(analysis.version)
            group.attrs["parameters"] = np.bytes_(canonical(analysis.parameters))
    layout = Layout(
        size=sketch.size,
        version=FORMAT_VERSION,
        extents=extents,
        growing=growing,
        blob_nbytes=plan.blob_nbytes,
        resume_nbytes=plan.resume_nbytes,
        analyses={analysis.name: analysis for analysis in plan.analyses},
    )
    _check_sectors(layout, sketch.sectors)
    return Skeleton(
        layout,
        {sector * BLOCK: bytes(data) for sector, data in sorted(sketch.sectors.items())},
        {name: fill for name, (_, _, fill) in shapes.items() if fill is not None},
    )


def _check_sectors(layout: Layout, metadata: Iterable[int]) -> None:
    """Make sure that nothing shares a sector with an array; HDF5's allocator is not ours to trust."""
    taken = dict.fromkeys(metadata, "HDF5 metadata")
    for name, extent in layout.extents.items():
        if extent.offset % BLOCK:
            raise AssertionError(f"{name} does not start a sector")
        first, last = extent.offset // BLOCK, (extent.end - 1) // BLOCK
        other = next((taken[sector] for sector in range(first, last + 1) if sector in taken), None)
        if other is not None:
            raise AssertionError(f"{name} shares a sector with {other}")
        taken[first] = taken[last] = name
    if max(taken) * BLOCK >= layout.size + BLOCK:
        raise AssertionError("a block lies outside the file")
