"""Reads a project file that an HDF5 program rewrote, such as `h5repack`: by the names in it, not by its bytes.

Such a file has the same arrays in other places, so the seal, which covers their places, cannot match. The sandbox reads the
arrays by name (`inspect_hdf5.walk_by_name`), and here they are put where this program would have put them: into an image of
the file as it was, whose checksums then prove every part of it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from tdw.store.filesystem import read_some
from tdw.store.layout import FORMAT_VERSION, FilePlan, Layout
from tdw.store.open_file import CHUNK
from tdw.store.sandbox import named_arrays
from tdw.store.structure import layout_of


def image_of(fd: int, path: Path) -> tuple[IO[bytes], Layout, list[str]]:
    """(temporary file, its layout, names of attributes that were left out) of an open file, read by name.

    Raises NotAProjectError, NewerFormatError or DamagedFileError for a file that is not a rewritten project file.
    """
    from tdw.store.planner import plan_file

    with tempfile.TemporaryFile() as packed:
        structure, foreign = named_arrays(fd, path, packed)
        layout = layout_of(structure, path)
        image: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        try:
            if layout.version == FORMAT_VERSION:
                skeleton = plan_file(plan_of(layout, lambda name: _bytes_of(packed, layout, name)))
                planned = skeleton.layout
                if {n: (e.dtype, e.shape) for n, e in planned.extents.items()} == {
                    n: (e.dtype, e.shape) for n, e in layout.extents.items()
                } and planned.growing == layout.growing:
                    os.truncate(image.fileno(), planned.size)
                    for at, data in skeleton.metadata.items():
                        _write(image, at, data[: planned.size - at])
                    _copy(packed, layout, image, planned)
                    return image, planned, foreign
            os.truncate(image.fileno(), layout.size)
            _copy(packed, layout, image, layout)
        except BaseException:
            image.close()
            raise
        return image, layout, foreign


def plan_of(layout: Layout, sealed: Callable[[str], bytes]) -> FilePlan:
    """The plan of a file with this layout. sealed: the bytes of settings, notes and split, by the name of the dataset."""
    return FilePlan(
        config=sealed("config"),
        notes=sealed("notes"),
        split_train=np.frombuffer(sealed("split/train"), "<i8"),
        split_test=np.frombuffer(sealed("split/test"), "<i8"),
        epochs=layout.planned_epochs,
        checkpoint_capacity=layout.checkpoint_capacity,
        blob_nbytes=layout.blob_nbytes,
        resume_nbytes=layout.resume_nbytes,
        analyses=tuple(layout.analyses.values()),
        finished="resume/slots" not in layout.extents,
        curves=layout.curve_plans(),
    )


def _bytes_of(file: IO[bytes], layout: Layout, name: str) -> bytes:
    extent = layout.extents[name]
    return read_some(file.fileno(), extent.nbytes, extent.offset)


def _copy(source: IO[bytes], old: Layout, target: IO[bytes], new: Layout) -> None:
    for name, extent in old.extents.items():
        for done in range(0, extent.nbytes, CHUNK):
            data = read_some(source.fileno(), min(CHUNK, extent.nbytes - done), extent.offset + done)
            _write(target, new.extents[name].offset + done, data)


def _write(target: IO[bytes], at: int, data: bytes) -> None:
    if any(data):  # the rest is a hole
        target.seek(at)
        target.write(data)
        target.flush()
