"""The structure of an HDF5 file in plain values, and the rules by which it is a project file.

The structure may come from a sandbox (`sandbox.py`) or from an earlier time (`seen_files.py`), so nothing in it is trusted:
the rules here only concern numbers and names, and only ranges inside the file result.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tdw.errors import NewerFormatError, NotAProjectError, ProjectError
from tdw.store.commit_record import BLOCK, DRAFT_1_1, WITH_TAILS, Version, slot_dtype
from tdw.store.layout import (
    ATTRIBUTE_LIMIT,
    BLOCK_CRCS,
    CHANGING,
    CHECKPOINTS,
    DTYPES,
    FORMAT,
    FORMAT_VERSION,
    JSON_LIMIT,
    LOSSES,
    MAX_DEPTH,
    NAME,
    RESUME,
    SEALED,
    TAILS,
    AnalysisPlan,
    ArrayPlan,
    CurvePlan,
    Extent,
    Layout,
    block_crc_shape,
    is_curve_name,
    too_large,
)
from tdw.store.validate import CREATE_ONE, parse_json

MAX_OBJECTS = 2000
COMMIT = "commit"


@dataclass(frozen=True)
class Structure:
    """Groups and arrays of a file, as HDF5 describes them.

    attributes: path of a group or array ("" is the root) -> name -> whole number, tuple of them, or text as bytes.
    arrays: path -> (offset, dtype, shape); the dtype of the commit records of format 1.0 is their size in bytes, "|V8192".
    """

    size: int
    attributes: dict[str, dict[str, int | tuple[int, ...] | bytes]]
    arrays: dict[str, tuple[int, str, tuple[int, ...]]]

    def encode(self) -> bytes:
        """As JSON."""
        attributes = {
            path: {
                name: value.decode("latin-1") if isinstance(value, bytes) else value for name, value in found.items()
            }
            for path, found in self.attributes.items()
        }
        return json.dumps({"size": self.size, "attributes": attributes, "arrays": self.arrays}).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Structure:
        """The structure in such JSON. Raises ValueError for anything else."""
        value = json.loads(raw)
        match value:
            case {"size": int(size), "attributes": dict(attributes), "arrays": dict(arrays)} if all(
                isinstance(found, dict) for found in attributes.values()
            ):
                return cls(
                    size,
                    {
                        path: {name: _attribute(item) for name, item in found.items()}
                        for path, found in attributes.items()
                    },
                    {path: _array(item) for path, item in arrays.items()},
                )
        raise ValueError("not the structure of a file")


def _attribute(item: Any) -> int | tuple[int, ...] | bytes:
    match item:
        case str():
            return item.encode("latin-1")
        case int():
            return item
        case list() if all(type(n) is int for n in item):
            return tuple(item)
    raise ValueError(f"not an attribute: {item!r}")


def _array(item: Any) -> tuple[int, str, tuple[int, ...]]:
    match item:
        case [int(offset), str(kind), list(shape)] if all(type(n) is int for n in shape):
            return offset, kind, tuple(shape)
    raise ValueError(f"not an array: {item!r}")


def refusal(path: Path, what: str, version: Version | None = None) -> ProjectError:
    """The error for an HDF5 file that this program never wrote: a newer version did, or none."""
    if version is not None and version > FORMAT_VERSION:
        return NewerFormatError(
            f"{path} was made by a newer version of tdw (format {version[0]}.{version[1]}), and this one cannot read it "
            f"({what}). Upgrade with `pip install -U tdw`; the file was not changed."
        )
    return NotAProjectError(
        f"{path} was refused: {what}. This program never writes such a file; its data was not read."
    )


def check_version(path: Path, attributes: dict[str, Any]) -> Version:
    """The format version in the root's attributes; checked first, as a newer format may differ in all the rest."""
    if attributes.get("format") != FORMAT:
        raise NotAProjectError(f"{path} is an HDF5 file of another program, not a project file.", CREATE_ONE)
    version = attributes.get("format_version")
    if not isinstance(version, tuple) or len(version) != 2:
        raise refusal(path, "its format version is not two numbers")
    major, minor = version
    if major > FORMAT_VERSION[0]:
        raise NewerFormatError(
            f"{path} was made by a newer version of tdw (format {major}.{minor}; this one reads up to "
            f"{FORMAT_VERSION[0]}.x). Upgrade with `pip install -U tdw`; the file was not changed."
        )
    if major != FORMAT_VERSION[0] or minor < 0:
        raise refusal(path, f"there is no format {major}.{minor}")
    return major, minor


def dialect(version: Version, commit: dict[str, Any]) -> Version:
    """The format of a file, where it says this version; commit: the attributes of its commit records."""
    return DRAFT_1_1 if version == (1, 1) and "columns" not in commit else version


def layout_of(structure: Structure, path: Path) -> Layout:
    """The layout in a structure. Raises NotAProjectError or NewerFormatError."""
    return _Reading(structure, path).layout()


class _Reading:
    """Checks one structure against the rules; a violation raises NotAProjectError with its sentence."""

    def __init__(self, structure: Structure, path: Path):
        self._size, self._path = structure.size, path
        self._attributes, self._arrays = structure.attributes, structure.arrays
        self._extents: dict[str, Extent] = {}
        self._version: Version | None = None

    def _refuse(self, what: str) -> ProjectError:
        return refusal(self._path, what, self._version)

    def layout(self) -> Layout:
        version = self._version = check_version(self._path, self._attributes.get("", {}))
        version = dialect(version, self._attributes.get(COMMIT, {}))
        if len(self._arrays) > MAX_OBJECTS:
            raise self._refuse(f"it holds more than {MAX_OBJECTS} objects")
        for path, (offset, kind, shape) in self._arrays.items():
            self._extents[path] = self._extent(path, offset, kind, shape)
        self._check_overlap()
        return self._assemble(version)

    def _extent(self, path: str, offset: int, kind: str, shape: tuple[int, ...]) -> Extent:
        parts = path.split("/")
        if len(parts) > MAX_DEPTH or not all(NAME.fullmatch(part) for part in parts):
            raise self._refuse(f"it holds an array with the name {path[:80]!r}")
        if path == COMMIT and kind.startswith("|V") and kind[2:].isdigit() and len(kind) < 12:
            dtype: np.dtype[Any] = np.dtype(("V", int(kind[2:])))
        elif kind in DTYPES:
            dtype = np.dtype(kind)
        else:
            raise self._refuse(f"{path!r} does not hold plain numbers")
        if not 1 <= len(shape) <= 6:
            raise self._refuse(f"{path!r} is not an array")
        nbytes = dtype.itemsize * math.prod(shape)
        if min(shape) < 1 or offset < 0 or not 0 < nbytes <= self._size - offset:
            raise self._refuse(f"{path!r} declares {nbytes:,} bytes that are not in the file")
        if offset % BLOCK:
            raise self._refuse(f"{path!r} does not start a sector of its own")
        return Extent(offset, dtype, shape)

    def _check_overlap(self) -> None:
        ordered = sorted(self._extents.items(), key=lambda item: item[1].offset)
        for (name, extent), (following, after) in itertools.pairwise(ordered):
            if extent.end > after.offset:
                raise self._refuse(f"{name!r} and {following!r} overlap")

    def _get(self, name: str, kind: str, ndim: int = 1) -> Extent:
        extent = self._extents.get(name)
        if extent is None:
            raise self._refuse(f"the array {name!r} is missing")
        if extent.dtype.str != kind or len(extent.shape) != ndim:
            raise self._refuse(f"the array {name!r} has dtype {extent.dtype.str} and shape {extent.shape}")
        return extent

    def _nbytes(self, group: str, width: int) -> int:
        value = self._attributes.get(group, {}).get("nbytes")
        if not isinstance(value, int) or not 0 <= value <= width:
            raise self._refuse(f"the attribute 'nbytes' of {group!r} is not a size that fits")
        return value

    def _assemble(self, version: Version) -> Layout:
        curves = self._curves(version)
        epochs = self._extents[curves[0]].shape[0] - 1
        blobs = self._get("checkpoints/safetensors", "|u1", 2)
        resume = self._resume(version)
        capacities = [self._get("checkpoints/epoch", "<i8").shape[0], self._get("checkpoints/crc32", "<u4").shape[0]]
        if len({self._extents[name].shape for name in curves}) != 1:
            raise self._refuse("its curves differ in length")
        if {*capacities, blobs.shape[0]} != {blobs.shape[0]}:
            raise self._refuse("its checkpoint arrays differ in length")
        for name in ("config", "notes"):
            if self._get(name, "|u1").nbytes > JSON_LIMIT:
                raise self._refuse(f"{name!r} is larger than {JSON_LIMIT:,} bytes")
        for name in ("split/train", "split/test"):
            self._get(name, "<i8")
        analyses = self._analyses()
        pairs = sum(self._extents[name].shape[0] for name in ("split/train", "split/test"))
        if large := too_large(analyses.values(), pairs, blobs.shape[1], blobs.shape[0], epochs):
            raise self._refuse(large)
        growing = self._growing(curves, analyses, version)
        commit, dtype = self._extents[COMMIT], slot_dtype(len(growing), version)
        compound = version <= DRAFT_1_1
        if (
            commit.row_nbytes != dtype.itemsize
            or commit.shape != ((2,) if compound else (2, dtype.itemsize // 8))
            or (not compound and commit.dtype.str != "<i8")
        ):
            raise self._refuse("its commit records have an unexpected layout")
        if version > WITH_TAILS:
            if self._get(TAILS, "|u1", 3).shape != (2, len(growing), BLOCK):
                raise self._refuse("its tail copies have an unexpected shape")
            plans = [CurvePlan(name, self._extents[name].dtype.str) for name in curves]
            if self._get(BLOCK_CRCS, "<u4", 2).shape != block_crc_shape(plans, epochs):
                raise self._refuse("its block checksums have an unexpected shape")
        return Layout(
            size=self._size,
            version=version,
            extents=self._extents,
            growing=growing,
            blob_nbytes=self._nbytes("checkpoints", blobs.shape[1]),
            resume_nbytes=self._nbytes("resume", resume.shape[1] - (BLOCK if version > WITH_TAILS else 0)),
            analyses=analyses,
            curves=curves,
        )

    def _curves(self, version: Version) -> tuple[str, ...]:
        """Names of the curves: listed in the file since format 1.1."""
        if version <= DRAFT_1_1:
            for name in LOSSES:
                self._get(name, "<f8")
            return LOSSES
        if COMMIT not in self._extents:
            raise self._refuse("it has no commit records")
        text = self._attributes.get(COMMIT, {}).get("curves")
        names = tuple(text.decode("ascii", "replace").split("\n")) if isinstance(text, bytes) else ()
        if not names or len(set(names)) != len(names) or not all(map(is_curve_name, names)):
            raise self._refuse("it does not list its curves")
        for name in names:
            if name not in self._extents:
                raise self._refuse(f"the array {name!r} is missing")
            self._get(name, self._extents[name].dtype.str)
        return names

    def _resume(self, version: Version) -> Extent:
        """One of the arrays of resume slots, which are equally wide."""
        if version <= WITH_TAILS:
            resume = self._get("resume/slots", "|u1", 2)
            if resume.shape[0] != 2:
                raise self._refuse("it does not have two resume states")
            return resume
        last = self._get("resume/last", "|u1", 2)
        shapes = {name: self._get(name, "|u1", 2).shape for name in RESUME if name in self._extents}
        expected = {name: (rows, last.shape[1]) for name, rows in zip(RESUME, (2, 1), strict=True) if name in shapes}
        if shapes != expected or last.shape[1] % BLOCK or last.shape[1] < 2 * BLOCK:
            raise self._refuse("its resume states have an unexpected shape")
        return last

    def _growing(self, curves: tuple[str, ...], analyses: dict[str, AnalysisPlan], version: Version) -> tuple[str, ...]:
        """Names of the growing arrays in the order of the commit records; others only in a newer format."""
        arrays = self._attributes.get(COMMIT, {}).get("arrays")
        if not isinstance(arrays, bytes) or COMMIT not in self._extents:
            raise self._refuse("it has no commit records")
        growing = tuple(arrays.decode("ascii", "replace").split("\n"))
        fixed = {*SEALED, "checkpoints/safetensors", COMMIT, "resume/slots"}
        if version > WITH_TAILS:
            fixed |= set(CHANGING)
            if "resume/slots" not in self._extents:  # a finished run needs none
                fixed.discard("resume/slots")
        results = {f"analysis/{analysis.name}/{name}" for analysis in analyses.values() for name in analysis.arrays}
        expected = {*curves, *CHECKPOINTS, *results}
        if len(set(growing)) != len(growing) or not expected <= set(growing) <= set(self._extents):
            raise self._refuse("its commit records do not match its arrays")
        exact = version <= FORMAT_VERSION
        if exact and (set(growing) != expected or set(self._extents) != expected | fixed):
            extra = sorted({*self._extents, *growing} - expected - fixed)
            raise self._refuse(f"it holds {extra[0]!r}" if extra else "its commit records do not match its arrays")
        if fixed & set(growing):
            raise self._refuse("its commit records list arrays that never grow")
        return growing

    def _analyses(self) -> dict[str, AnalysisPlan]:
        found: dict[str, AnalysisPlan] = {}
        for path in sorted(self._attributes):
            parts = path.split("/")
            if parts[0] != "analysis" or len(parts) != 2:
                continue
            arrays = {
                name.rpartition("/")[2]: extent
                for name, extent in self._extents.items()
                if name.startswith(f"{path}/") and name.count("/") == 2
            }
            version, parameters = self._attributes[path].get("version"), self._attributes[path].get("parameters")
            if not isinstance(version, int) or not isinstance(parameters, bytes) or len(parameters) > ATTRIBUTE_LIMIT:
                raise self._refuse(f"{path!r} does not say its version and parameters")
            if len({extent.shape[0] for extent in arrays.values()}) != 1:
                raise self._refuse(f"the arrays of {path!r} differ in length or are missing")
            found[parts[1]] = AnalysisPlan(
                name=parts[1],
                version=version,
                parameters=parse_json(parameters, f"{self._path}: parameters of {parts[1]}"),
                arrays={name: ArrayPlan(extent.dtype.str, extent.shape[1:]) for name, extent in arrays.items()},
                capacity=next(iter(arrays.values())).shape[0],
            )
        return found
