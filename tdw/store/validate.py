"""Is this a project file? Answered on one open descriptor, before anything in it is believed.

A file may come from a stranger or a dying disk. HDF5 by default follows links to other files, reads external storage,
loads filter plug-ins and allocates what a file declares; so the structure is walked without following anything, and all
that this program never writes is refused in a sentence. Data are never read through HDF5, only from the ranges found
here.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5s, h5t

from tdw.errors import Damaged, NewerFormat, NotAProject
from tdw.store import osfile
from tdw.store.layout import (
    ATTRIBUTE_LIMIT,
    CHECKPOINTS,
    DTYPES,
    FORMAT,
    FORMAT_VERSION,
    JSON_LIMIT,
    LOSSES,
    NAME,
    SEALED,
    AnalysisPlan,
    ArrayPlan,
    Extent,
    Layout,
)
from tdw.store.slots import BLOCK, slot_dtype

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_DEPTH = 4
MAX_OBJECTS = 2000
MAX_ATTRIBUTES = 64
SAFETENSORS_HEADER_LIMIT = 1 << 20
SAFETENSORS_DTYPES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
#: What h5py raises when HDF5 cannot make sense of a file.
HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, NotImplementedError, MemoryError, OverflowError)


class _Descriptor:
    """The Python file that h5py reads from: one descriptor, no position shared with anybody, no end passed."""

    def __init__(self, fd: int, size: int):
        self._fd, self._size, self._at = fd, size, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        view = view[: max(0, self._size - self._at)]
        count = osfile.read_into(self._fd, view, self._at)
        self._at += count
        return count

    def read(self, count: int = -1) -> bytes:
        buffer = bytearray(self._size - self._at if count < 0 else count)
        return bytes(buffer[: self.readinto(buffer)])

    def flush(self) -> None:
        """Nothing is ever written."""


def read_layout(fd: int, path: Path, size: int) -> Layout:
    """The layout of an open file. Raises NotAProject, NewerFormat or Damaged."""
    _check_superblock(fd, path, size)
    try:
        file = h5py.File(_Descriptor(fd, size), "r")
    except HDF5_ERRORS as error:
        raise Damaged(f"{path} is damaged: its structure cannot be read ({_short(error)}). {_TRY_A_COPY}") from error
    try:
        with file:
            return _Walk(file, path, size).layout()
    except HDF5_ERRORS as error:
        raise Damaged(f"{path} is damaged: its structure cannot be read ({_short(error)}). {_TRY_A_COPY}") from error


_TRY_A_COPY = "Use a copy of it made earlier; this file was not touched."


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _check_superblock(fd: int, path: Path, size: int) -> None:
    """Signature, version 3, and the recorded end of the file, at offset 0."""
    head = osfile.read_some(fd, 48, 0)
    if size == 0:
        raise NotAProject(f"{path} is no project file: it is empty. `tdw new FILE` makes one.")
    if head[:8] != SIGNATURE[: len(head[:8])] or len(head) < 8:
        raise NotAProject(
            f"{path} is no project file: it does not start like one. Project files are made by `tdw new FILE`."
        )
    if len(head) < 48:
        raise Damaged(f"{path} is truncated: only its first {size} bytes are there. {_TRY_A_COPY}")
    version, offset_size, length_size, flags, base, _, end, _ = struct.unpack("<4B4Q", head[8:44])
    if version != 3:
        raise NotAProject(f"{path} is an HDF5 file of some other program, no project file. `tdw new FILE` makes one.")
    if (offset_size, length_size, base) != (8, 8, 0) or flags & ~0x7:
        raise NotAProject(f"{path} is no project file: its first block is none that this program writes.")
    if end > size:
        raise Damaged(f"{path} is truncated: {size:,} of {end:,} bytes are there. {_TRY_A_COPY}")
    if end < size:
        raise Damaged(f"{path} is damaged: {size - end:,} bytes follow its end. {_TRY_A_COPY}")


class _Walk:
    """One walk over all objects of a file; every rule that is broken raises NotAProject with its sentence."""

    def __init__(self, file: h5py.File, path: Path, size: int):
        self._file, self._path, self._size = file, path, size
        self._seen: set[int] = set()
        self._attributes: dict[str, dict[str, Any]] = {}
        self._datasets: dict[str, Extent] = {}
        self._commit_type: Any = None

    def _refuse(self, what: str) -> NotAProject:
        return NotAProject(
            f"{self._path} was refused: {what}. No project file looks like that; nothing in it was read."
        )

    def layout(self) -> Layout:
        """Walk, then put together what was found."""
        root = h5g.open(self._file.id, b"/")
        version = self._version(root)
        self._seen.add(h5o.get_info(root).addr)
        self._walk_group(root, "", 1)
        self._check_overlap()
        return self._assemble(version)

    def _version(self, root: Any) -> tuple[int, int]:
        """The format's version, before anything else is looked at: a newer one may look different."""
        attributes = self._attributes[""] = self._read_attributes(root, "the file")
        if attributes.get("format") != FORMAT:
            raise NotAProject(
                f"{self._path} is an HDF5 file of some other program, no project file. `tdw new FILE` makes one."
            )
        version = attributes.get("format_version")
        if not isinstance(version, np.ndarray) or version.shape != (2,) or version.dtype.kind not in "iu":
            raise self._refuse("its format version is not two numbers")
        major, minor = int(version[0]), int(version[1])
        if major > FORMAT_VERSION[0]:
            raise NewerFormat(
                f"{self._path} was made by a newer version of tdw (format {major}.{minor}; this one reads up to "
                f"{FORMAT_VERSION[0]}.x). Upgrade with `pip install -U tdw`; the file was not touched."
            )
        if major != FORMAT_VERSION[0] or minor < 0:
            raise self._refuse(f"there is no format {major}.{minor}")
        return major, minor

    def _walk_group(self, group: Any, prefix: str, depth: int) -> None:
        names: list[bytes] = []

        def collect(name: bytes) -> int | None:
            names.append(name)
            return 1 if len(names) > MAX_OBJECTS else None  # a number stops the iteration

        group.links.iterate(collect)
        for raw in names:
            name = raw.decode("ascii", "replace")
            if not NAME.fullmatch(name):
                raise self._refuse(f"it holds an object with the name {name[:80]!r}")
            path = f"{prefix}{name}"
            info = group.links.get_info(raw)
            if info.type != h5l.TYPE_HARD:
                raise self._refuse(f"{path!r} is a link to somewhere else")
            if info.u in self._seen:
                raise self._refuse(f"{path!r} is an object that it holds twice")
            self._seen.add(info.u)
            if len(self._seen) > MAX_OBJECTS:
                raise self._refuse(f"it holds more than {MAX_OBJECTS} objects")
            item = h5o.open(group, raw)
            if isinstance(item, h5g.GroupID):
                if depth >= MAX_DEPTH:
                    raise self._refuse(f"{path!r} is nested more than {MAX_DEPTH} deep")
                self._attributes[path] = self._read_attributes(item, path)
                self._walk_group(item, f"{path}/", depth + 1)
            elif isinstance(item, h5d.DatasetID):
                self._attributes[path] = self._read_attributes(item, path)
                self._datasets[path] = self._extent(item, path)
            else:
                raise self._refuse(f"{path!r} is neither a group nor an array")

    def _read_attributes(self, item: Any, path: str) -> dict[str, Any]:
        """Numbers as arrays, fixed strings as bytes."""
        count = h5a.get_num_attrs(item)
        if count > MAX_ATTRIBUTES:
            raise self._refuse(f"{path!r} has {count} attributes")
        found: dict[str, Any] = {}
        for index in range(count):
            attribute = h5a.open(item, index=index)
            name = attribute.name.decode("utf-8", "replace")
            kind, space = attribute.get_type(), attribute.get_space()
            where = f"attribute {name[:80]!r} of {path!r}"
            if space.get_simple_extent_type() not in {h5s.SCALAR, h5s.SIMPLE}:
                raise self._refuse(f"{where} has no value")
            if attribute.get_storage_size() > ATTRIBUTE_LIMIT + 1024:
                raise self._refuse(f"{where} is too large")
            if kind.get_class() == h5t.STRING and not kind.is_variable_str() and space.get_simple_extent_ndims() == 0:
                raw = np.zeros((), f"S{kind.get_size()}")
                attribute.read(raw, mtype=kind)
                found[name] = raw.tobytes().rstrip(b"\0")
            elif _plain_number(kind):
                value = np.zeros(space.shape, kind.dtype)
                attribute.read(value)
                found[name] = value
            else:
                raise self._refuse(f"{where} is neither a number nor a plain string")
        return found

    def _extent(self, dataset: Any, path: str) -> Extent:
        properties = dataset.get_create_plist()
        if properties.get_external_count():
            raise self._refuse(f"{path!r} keeps its values in another file")
        layout = properties.get_layout()
        if layout == h5d.VIRTUAL:
            raise self._refuse(f"{path!r} takes its values from other arrays")
        if layout != h5d.CONTIGUOUS or properties.get_nfilters():
            raise self._refuse(f"{path!r} is compressed or kept in pieces")
        kind, space = dataset.get_type(), dataset.get_space()
        if space.get_simple_extent_type() != h5s.SIMPLE or not 1 <= len(space.shape) <= 6:
            raise self._refuse(f"{path!r} is no array")
        if path == "commit":
            self._commit_type = kind
            dtype = np.dtype(("V", kind.get_size()))
        elif _plain_number(kind):
            dtype = kind.dtype
        else:
            raise self._refuse(f"{path!r} holds something else than numbers")
        shape = tuple(int(n) for n in space.shape)
        if tuple(space.get_simple_extent_dims(maxdims=True)) != shape:
            raise self._refuse(f"{path!r} has no fixed size")
        nbytes = dtype.itemsize * math.prod(shape)
        offset = dataset.get_offset()
        if not nbytes or offset is None or offset + nbytes > self._size:
            raise self._refuse(f"{path!r} declares {nbytes:,} bytes that are not in the file")
        if offset % BLOCK:
            raise self._refuse(f"{path!r} does not start a sector of its own")
        return Extent(int(offset), dtype, shape)

    def _check_overlap(self) -> None:
        ordered = sorted(self._datasets.items(), key=lambda item: item[1].offset)
        for (name, extent), (following, after) in itertools.pairwise(ordered):
            if extent.end > after.offset:
                raise self._refuse(f"{name!r} and {following!r} lie on top of each other")

    # What follows knows which arrays a project file has.

    def _get(self, name: str, kind: str, ndim: int = 1) -> Extent:
        extent = self._datasets.get(name)
        if extent is None:
            raise self._refuse(f"the array {name!r} is missing")
        if extent.dtype.str != kind or len(extent.shape) != ndim:
            raise self._refuse(f"the array {name!r} has dtype {extent.dtype.str} and shape {extent.shape}")
        return extent

    def _nbytes(self, group: str, width: int) -> int:
        value = self._attributes.get(group, {}).get("nbytes")
        if not isinstance(value, np.ndarray) or value.shape != () or not 0 <= int(value) <= width:
            raise self._refuse(f"the attribute 'nbytes' of {group!r} is not a size that fits")
        return int(value)

    def _assemble(self, version: tuple[int, int]) -> Layout:
        losses = [self._get(name, "<f8").shape for name in LOSSES]
        blobs = self._get("checkpoints/safetensors", "|u1", 2)
        resume = self._get("resume/slots", "|u1", 2)
        capacities = [self._get("checkpoints/epoch", "<i8").shape[0], self._get("checkpoints/crc32", "<u4").shape[0]]
        if len(set(losses)) != 1:
            raise self._refuse("its four loss arrays differ in length")
        if {*capacities, blobs.shape[0]} != {blobs.shape[0]} or resume.shape[0] != 2:
            raise self._refuse("its checkpoint arrays differ in length")
        for name in ("config", "notes"):
            if self._get(name, "|u1").nbytes > JSON_LIMIT:
                raise self._refuse(f"{name!r} is larger than {JSON_LIMIT:,} bytes")
        for name in ("split/train", "split/test"):
            self._get(name, "<i8")
        analyses = self._analyses()
        arrays = self._attributes["commit"].get("arrays") if "commit" in self._datasets else None
        if not isinstance(arrays, bytes):
            raise self._refuse("it has no commit records")
        growing = tuple(arrays.decode("ascii", "replace").split("\n"))
        expected = {
            *LOSSES,
            *CHECKPOINTS,
            *(f"analysis/{a.name}/{name}" for a in analyses.values() for name in a.arrays),
        }
        known = {*expected, *SEALED, "commit", "checkpoints/safetensors", "resume/slots"}
        exact = version == FORMAT_VERSION
        if len(set(growing)) != len(growing) or not expected <= set(growing) <= set(self._datasets):
            raise self._refuse("its commit records are about other arrays than it holds")
        if exact and (set(growing) != expected or set(self._datasets) != known):
            extra = sorted({*self._datasets, *growing} - known)
            raise self._refuse(f"it holds {extra[0]!r}" if extra else "its commit records are about other arrays")
        if {*SEALED, "commit", "checkpoints/safetensors", "resume/slots"} & set(growing):
            raise self._refuse("its commit records are about arrays that never grow")
        dtype = slot_dtype(len(growing))
        commit = self._datasets["commit"]
        if commit.shape != (2,) or not self._commit_type == h5t.py_create(dtype):
            raise self._refuse("its commit records have another form")
        self._datasets["commit"] = Extent(commit.offset, dtype, (2,))
        return Layout(
            size=self._size,
            version=version,
            extents=self._datasets,
            growing=growing,
            blob_nbytes=self._nbytes("checkpoints", blobs.shape[1]),
            resume_nbytes=self._nbytes("resume", resume.shape[1]),
            analyses=analyses,
        )

    def _analyses(self) -> dict[str, AnalysisPlan]:
        found: dict[str, AnalysisPlan] = {}
        for path in sorted(self._attributes):
            parts = path.split("/")
            if parts[0] != "analysis" or len(parts) != 2:
                continue
            arrays = {
                name.rpartition("/")[2]: extent
                for name, extent in self._datasets.items()
                if name.startswith(f"{path}/") and name.count("/") == 2
            }
            attributes = self._attributes[path]
            version, parameters = attributes.get("version"), attributes.get("parameters")
            if not isinstance(version, np.ndarray) or version.shape != () or not isinstance(parameters, bytes):
                raise self._refuse(f"{path!r} does not say its version and parameters")
            if len({extent.shape[0] for extent in arrays.values()}) != 1:
                raise self._refuse(f"the arrays of {path!r} differ in length or are missing")
            found[parts[1]] = AnalysisPlan(
                name=parts[1],
                version=int(version),
                parameters=parse_json(parameters, f"{self._path}: parameters of {parts[1]}"),
                arrays={name: ArrayPlan(extent.dtype.str, extent.shape[1:]) for name, extent in arrays.items()},
                capacity=next(iter(arrays.values())).shape[0],
            )
        return found


def _plain_number(kind: Any) -> bool:
    """An integer or float type of the usual widths, and nothing clever about it."""
    if kind.get_class() not in {h5t.INTEGER, h5t.FLOAT}:
        return False
    dtype = kind.dtype
    return dtype.str in DTYPES and bool(kind == h5t.py_create(dtype))


def parse_json(raw: bytes, what: str) -> dict[str, Any]:
    """A JSON object from a file. Raises Damaged, whatever is in it."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{what} cannot be read: {_short(error)}") from error
    if not isinstance(value, dict):
        raise Damaged(f"{what} cannot be read: no JSON object")
    return value


def check_safetensors(blob: memoryview) -> str | None:
    """What is wrong with the header of a safetensors file; None when its tensors fill the rest without a gap."""
    if len(blob) < 8:
        return "it is shorter than a header"
    (length,) = struct.unpack("<Q", blob[:8])
    if length > min(len(blob) - 8, SAFETENSORS_HEADER_LIMIT):
        return f"its header claims {length:,} bytes"
    try:
        header = json.loads(bytes(blob[8 : 8 + length]), object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        return f"its header is no JSON ({_short(error)})"
    if not isinstance(header, dict):
        return "its header is no JSON object"
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        return "its metadata are not texts"
    spans: list[tuple[int, int]] = []
    for name, tensor in header.items():
        problem = _check_tensor(tensor, spans)
        if problem:
            return f"tensor {name[:80]!r} {problem}"
    at = 0
    for start, end in sorted(spans):
        if start != at:
            return "its tensors leave a gap or overlap"
        at = end
    return None if at == len(blob) - 8 - length else "its tensors do not fill it"


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _check_tensor(tensor: Any, spans: list[tuple[int, int]]) -> str | None:
    if not isinstance(tensor, dict) or set(tensor) != {"dtype", "shape", "data_offsets"}:
        return "does not say dtype, shape and data_offsets"
    kind, shape, offsets = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
    if not isinstance(kind, str) or kind not in SAFETENSORS_DTYPES:
        return f"has dtype {str(kind)[:20]!r}"
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2 or len(shape) > 8:
        return "has no shape or no place"
    if not all(type(n) is int and 0 <= n < 1 << 48 for n in (*shape, *offsets)):
        return "has impossible numbers"
    if offsets[1] - offsets[0] != SAFETENSORS_DTYPES[kind] * math.prod(shape):
        return "does not fit its place"
    spans.append((offsets[0], offsets[1]))
    return None
