"""The HDF5 metadata of a new project file, generated in memory; the writer writes them like any other bytes.

Every block that HDF5 allocates, metadata or array, starts a sector of 4096 bytes of its own (file space strategy "none",
alignment 4096), so that a torn write to an array can damage only that array. `plan_file` checks this.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g, h5p, h5s, h5t

from tdw.store.commit_record import BLOCK, COLUMNS, record_columns
from tdw.store.creation_time import undated
from tdw.store.layout import (
    BLOCK_CRCS,
    CHECKPOINTS,
    FORMAT,
    FORMAT_VERSION,
    TAILS,
    Extent,
    FilePlan,
    Layout,
    block_crc_shape,
    canonical,
    round_up,
)


class _Sketch(io.RawIOBase):
    """A sparse file in memory, into which HDF5 writes the metadata: only written sectors take space."""

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

    def bytes_at(self, offset: int, count: int) -> bytes:
        self.seek(offset)
        return self.read(count) or b""

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for sector, start, at, length in self._pieces(len(view)):
            self.sectors.setdefault(sector, bytearray(BLOCK))[start : start + length] = view[at : at + length]
        self._at += len(view)
        self.size = max(self.size, self._at)
        return len(view)


def _growing(plan: FilePlan) -> tuple[str, ...]:
    """The growing arrays, in the order of the commit records."""
    results = (f"analysis/{analysis.name}/{name}" for analysis in plan.analyses for name in analysis.arrays)
    return (*(curve.name for curve in plan.curves), *CHECKPOINTS, *sorted(results))


def _shapes(plan: FilePlan) -> dict[str, tuple[str, tuple[int, ...], float | None]]:
    """Every dataset but `commit`: name -> (dtype, shape, fill value)."""
    nan = float("nan")
    shapes: dict[str, tuple[str, tuple[int, ...], float | None]] = {
        "config": ("|u1", (len(plan.config),), None),
        "notes": ("|u1", (len(plan.notes),), None),
        "split/train": ("<i8", (len(plan.split_train),), None),
        "split/test": ("<i8", (len(plan.split_test),), None),
    }
    width = round_up(max(plan.resume_nbytes, 1)) + BLOCK
    if not plan.finished:
        shapes["resume/slots"] = ("|u1", (2, width), None)
    growing = _growing(plan)
    shapes[TAILS] = ("|u1", (2, len(growing), BLOCK), None)
    shapes["resume/last"] = ("|u1", (1, width), None)
    shapes[BLOCK_CRCS] = ("<u4", block_crc_shape(plan.curves, plan.epochs), None)
    shapes |= {
        curve.name: (curve.dtype, (plan.epochs + 1,), nan if np.dtype(curve.dtype).kind == "f" else None)
        for curve in plan.curves
    }
    shapes["checkpoints/epoch"] = ("<i8", (plan.checkpoint_capacity,), -1)
    shapes["checkpoints/crc32"] = ("<u4", (plan.checkpoint_capacity,), None)
    shapes |= {
        f"analysis/{analysis.name}/{name}": (array.dtype, (analysis.capacity, *array.row_shape), None)
        for analysis in sorted(plan.analyses, key=lambda item: item.name)  # independent of the order of computing them
        for name, array in sorted(analysis.arrays.items())
    }
    shapes["checkpoints/safetensors"] = ("|u1", (plan.checkpoint_capacity, round_up(plan.blob_nbytes)), None)
    return shapes


def _create(file: h5py.File, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], fill: float | None) -> int:
    """Create one contiguous, early allocated dataset; returns its offset."""
    folder, _, last = name.rpartition("/")
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_layout(h5d.CONTIGUOUS)
    properties.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5d.FILL_TIME_NEVER)  # the writer does it; HDF5 would use its own buffers
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
    """A file without its data: layout, metadata sectors (offset -> bytes), and fill values by dataset."""

    layout: Layout
    metadata: dict[int, bytes]
    fills: dict[str, float]


def plan_file(plan: FilePlan) -> Skeleton:
    """Lay out a file; nothing is written to disk. The same plan gives the same bytes."""
    plan.check()
    shapes = _shapes(plan)
    growing = _growing(plan)
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
            if name == TAILS:  # after the resume slots, before all committed data: see layout.py
                integer, table = np.dtype("<i8"), (2, record_columns(len(growing)))
                extents["commit"] = Extent(_create(file, "commit", integer, table, None), integer, table)
            extents[name] = Extent(_create(file, name, np.dtype(kind), shape, fill), np.dtype(kind), shape)
        file.attrs["format"] = np.bytes_(FORMAT)
        file.attrs["format_version"] = np.array(FORMAT_VERSION, "<i8")
        file["commit"].attrs["arrays"] = np.bytes_("\n".join(growing))
        file["commit"].attrs["curves"] = np.bytes_("\n".join(curve.name for curve in plan.curves))
        file["commit"].attrs["columns"] = np.bytes_("\n".join(COLUMNS))
        file["checkpoints"].attrs["nbytes"] = np.int64(plan.blob_nbytes)
        file["resume"].attrs["nbytes"] = np.int64(plan.resume_nbytes)
        for analysis in sorted(plan.analyses, key=lambda item: item.name):
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
        analyses={analysis.name: analysis for analysis in sorted(plan.analyses, key=lambda item: item.name)},
        curves=tuple(curve.name for curve in plan.curves),
    )
    place, header = undated(sketch.bytes_at)
    sketch.seek(place)
    sketch.write(header)
    _check_sectors(layout, sketch.sectors)
    return Skeleton(
        layout,
        {sector * BLOCK: bytes(data) for sector, data in sorted(sketch.sectors.items())},
        {name: fill for name, (_, _, fill) in shapes.items() if fill is not None},
    )


def _check_sectors(layout: Layout, metadata: Iterable[int]) -> None:
    """Check that nothing shares a sector with an array, whatever HDF5's allocator did."""
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
