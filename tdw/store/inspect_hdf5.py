"""Walks over all objects of an HDF5 file without following any link, and returns its structure.

A file may be malicious or come from a failing disk. HDF5 by default follows links to other files, reads external storage,
loads filter plug-ins and allocates whatever a file declares; here everything that this program never writes is refused with
a sentence. Data is never read through HDF5, only its location.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5s, h5t, h5z

from tdw.errors import DamagedFileError
from tdw.store import filesystem
from tdw.store.commit_record import BLOCK, DRAFT_1_1, Version, slot_dtype
from tdw.store.layout import ATTRIBUTE_LIMIT, DTYPES, FORMAT, MAX_DEPTH, NAME, round_up
from tdw.store.structure import COMMIT, MAX_OBJECTS, Structure, check_version, dialect, refusal
from tdw.store.validate import TRY_A_COPY, short

MAX_ATTRIBUTES = 64
#: All that this program writes.
KNOWN_ATTRIBUTES = frozenset(
    {"format", "format_version", "arrays", "curves", "columns", "nbytes", "version", "parameters"}
)
#: Filters that are part of HDF5; any other one would load a plug-in.
FILTERS = frozenset(
    {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32, h5z.FILTER_SCALEOFFSET, h5z.FILTER_NBIT}
)
PIECE = 8 << 20  # bytes of an array that are read at once
#: What h5py raises when HDF5 cannot make sense of a file.
HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, NotImplementedError, MemoryError, OverflowError)


class _Descriptor:
    """The Python file object that h5py reads from: one descriptor with a position of its own.

    Where the file is shorter than `size`, zeros follow, so that a truncated file can still be walked.
    """

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
        count = filesystem.read_into(self._fd, view, self._at)
        view[count:] = bytes(len(view) - count)
        self._at += len(view)
        return len(view)

    def read(self, count: int = -1) -> bytes:
        buffer = bytearray(self._size - self._at if count < 0 else count)
        return bytes(buffer[: self.readinto(buffer)])

    def flush(self) -> None:
        """Nothing to do: the file is only read."""


def walk(fd: int, path: Path, size: int) -> Structure:
    """The structure of an open file of the expected size. Raises NotAProjectError, NewerFormatError or DamagedFileError."""
    try:
        with h5py.File(_Descriptor(fd, size), "r") as file:
            return _Walk(file, path, size).structure()
    except HDF5_ERRORS as error:
        raise DamagedFileError(
            f"{path} is damaged: its structure cannot be read ({short(error)}). {TRY_A_COPY}"
        ) from error


def walk_by_name(fd: int, path: Path, size: int, output: BinaryIO | None) -> tuple[Structure, list[str]]:
    """The structure that an open file would have with its arrays one after the other, and the attributes left out.

    For a file that another HDF5 program rewrote: arrays may be compressed, in pieces and in any place. `output` receives
    their values in the order of the structure, each padded to whole blocks. Raises what `walk` raises.
    """
    try:
        with h5py.File(_Descriptor(fd, size), "r") as file:
            found = _WalkByName(file, path, size)
            structure = found.structure()
            if output is not None:
                for name, (_, kind, shape) in structure.arrays.items():
                    _send(file[name], np.dtype(kind), shape, output)
            return structure, found.foreign
    except HDF5_ERRORS as error:
        raise DamagedFileError(
            f"{path} is damaged: it cannot be read by name ({short(error)}). {TRY_A_COPY}"
        ) from error


def _send(dataset: h5py.Dataset, dtype: np.dtype[Any], shape: tuple[int, ...], output: BinaryIO) -> None:
    row = max(1, dtype.itemsize * math.prod(shape[1:]))
    step = max(1, PIECE // row)
    for start in range(0, shape[0], step):
        values = np.ascontiguousarray(dataset[start : start + step])
        output.write(values.tobytes())
    output.write(bytes(-row * shape[0] % BLOCK))


class _Walk:
    """One walk over all objects of a file; a violated rule raises NotAProjectError with its sentence."""

    def __init__(self, file: h5py.File, path: Path, size: int):
        self._file, self._path, self._size = file, path, size
        self._seen: set[int] = set()
        self._attributes: dict[str, dict[str, Any]] = {}
        self._arrays: dict[str, tuple[int, str, tuple[int, ...]]] = {}
        self._version: Version | None = None

    def _refuse(self, what: str) -> Exception:
        return refusal(self._path, what, self._version)

    def structure(self) -> Structure:
        """Walk, and return the structure."""
        root = h5g.open(self._file.id, b"/")
        self._attributes[""] = self._read_attributes(root, "the file")
        # Before anything else: a newer format may look different.
        self._version = check_version(self._path, self._attributes[""])
        self._seen.add(h5o.get_info(root).addr)
        self._walk_group(root, "", 1)
        return Structure(self._size, self._attributes, self._arrays)

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
                self._arrays[path] = self._place(item, path)
            else:
                raise self._refuse(f"{path!r} is neither a group nor an array")

    def _read_attributes(self, item: Any, path: str) -> dict[str, Any]:
        """Integers and fixed-length strings; other numbers are checked and left out."""
        count = h5a.get_num_attrs(item)
        if count > MAX_ATTRIBUTES:
            raise self._refuse(f"{path!r} has {count} attributes")
        found: dict[str, Any] = {}
        for index in range(count):
            attribute = h5a.open(item, index=index)
            name = attribute.name.decode("utf-8", "replace")
            if not self._wants(path, name):
                continue
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
                if value.dtype.kind in "iu" and value.ndim < 2:
                    found[name] = tuple(value.tolist()) if value.ndim else int(value)
            else:
                raise self._refuse(f"{where} is neither a number nor a plain string")
        return found

    def _place(self, dataset: Any, path: str) -> tuple[int, str, tuple[int, ...]]:
        """Offset, dtype and shape of a contiguous array inside the file."""
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
            raise self._refuse(f"{path!r} is not an array")
        dtype = self._dtype(kind, path)
        shape = tuple(int(n) for n in space.shape)
        if tuple(space.get_simple_extent_dims(maxdims=True)) != shape:
            raise self._refuse(f"{path!r} has no fixed size")
        offset = dataset.get_offset()
        if offset is None:
            nbytes = dtype.itemsize * math.prod(shape)
            raise self._refuse(f"{path!r} declares {nbytes:,} bytes that are not in the file")
        return int(offset), dtype.str, shape

    def _dtype(self, kind: Any, path: str) -> np.dtype[Any]:
        if path == COMMIT and self._records_version() <= DRAFT_1_1:
            self._check_records(kind)
            return np.dtype(("V", kind.get_size()))
        if not _plain_number(kind):
            raise self._refuse(f"{path!r} does not hold plain numbers")
        dtype: np.dtype[Any] = kind.dtype
        return dtype

    def _wants(self, path: str, name: str) -> bool:  # noqa: ARG002 - the walk by name asks
        """Whether an attribute is read, rather than left out."""
        return True

    def _records_version(self) -> Version:
        assert self._version is not None
        return dialect(self._version, self._attributes[COMMIT])

    def _check_records(self, kind: Any) -> None:
        """Compound commit records must read as such in plain h5py as well."""
        arrays = self._attributes[COMMIT].get("arrays")
        if not isinstance(arrays, bytes):
            raise self._refuse("it has no commit records")
        count = arrays.count(b"\n") + 1
        if count > MAX_OBJECTS or not kind == h5t.py_create(slot_dtype(count, self._records_version())):
            raise self._refuse("its commit records do not match its arrays, or have an unexpected layout")


COPIED = ("commit", "config", "notes", "checkpoints", "split", "resume")


class _WalkByName(_Walk):
    """The same walk over a file whose arrays may be anywhere; attributes that this program does not write are left out."""

    def __init__(self, file: h5py.File, path: Path, size: int):
        super().__init__(file, path, size)
        self.foreign: list[str] = []
        self._end = BLOCK
        self._most = max(64 * size, 1 << 28)

    def structure(self) -> Structure:
        found = super().structure()
        return Structure(self._end, found.attributes, found.arrays)

    def _read_attributes(self, item: Any, path: str) -> dict[str, Any]:
        """As there; of a root that lost its own when all groups were copied one by one, those that the arrays show."""
        found = super()._read_attributes(item, path)
        if path == "the file" and not found and all(name in self._file for name in COPIED):
            return {"format": FORMAT, "format_version": (1, 1) if "tails" in self._file else (1, 0)}
        return found

    def _wants(self, path: str, name: str) -> bool:
        if name in KNOWN_ATTRIBUTES:
            return True
        self.foreign.append(name if path == "the file" else f"{path}: {name}")
        return False

    def _place(self, dataset: Any, path: str) -> tuple[int, str, tuple[int, ...]]:
        properties = dataset.get_create_plist()
        if properties.get_external_count():
            raise self._refuse(f"{path!r} keeps its values in another file")
        if properties.get_layout() == h5d.VIRTUAL:
            raise self._refuse(f"{path!r} takes its values from other arrays")
        for index in range(properties.get_nfilters()):
            if properties.get_filter(index)[0] not in FILTERS:
                raise self._refuse(f"{path!r} is compressed by a filter that is not part of HDF5")
        space = dataset.get_space()
        if space.get_simple_extent_type() != h5s.SIMPLE or not 1 <= len(space.shape) <= 6:
            raise self._refuse(f"{path!r} is not an array")
        dtype, shape = self._dtype(dataset.get_type(), path), tuple(int(n) for n in space.shape)
        offset = self._end
        self._end += round_up(dtype.itemsize * math.prod(shape))
        if self._end > self._most:
            raise self._refuse(f"its arrays declare {self._end:,} bytes, more than 64 times the size of the file")
        return offset, dtype.str, shape


def _plain_number(kind: Any) -> bool:
    """Whether it is a plain integer or float type of a usual width."""
    if kind.get_class() not in {h5t.INTEGER, h5t.FLOAT}:
        return False
    dtype = kind.dtype
    return dtype.str in DTYPES and bool(kind == h5t.py_create(dtype))
