"""The commit record: how much of a project file is committed, in two slots written alternately.

A record carries its own checksum, so a slot that a power cut interrupted is recognized, and the other one holds. For
every growing array it has the number of committed rows, the CRC-32 of their bytes, and the CRC-32 of the partly filled last
block of 4096 bytes: the next rows go into the same sector, and a torn write would damage the committed rows in it. So a
copy of that block is kept: in format 1.1 in `tails`, a row for each slot, in format 1.0 in the record itself. All data read
must match the array's checksum, with the copy or without it; the copies need no checksums of their own.

The record of 1.1 is small (a block of 4096 bytes up to 167 arrays), so that a program that copies the file slowly from
front to back, while it is written, finds one of the two whole. It consists of 64-bit integers only: any HDF5 reader, also
one without compound types, reads the dataset `commit` as a matrix of two rows (see `slot_dtype` for its columns).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

BLOCK = 4096
Version = tuple[int, ...]  # (major, minor)
#: The last format whose records contain the copies of the last blocks.
WITH_TAILS: Version = (1, 0)
#: What development builds before 0.2.0 wrote and called 1.1: like 1.1, but with records of the compound type of 1.0.
DRAFT_1_1: Version = (1, 0, 1)

_HEADER: tuple[tuple[str, str], ...] = (
    ("sequence", "<u8"),
    ("n_epochs", "<i8"),
    ("n_checkpoints", "<i8"),
    ("resume_epoch", "<i8"),
    ("resume_nbytes", "<i8"),
    ("resume_slot", "<i4"),
    ("resume_crc32", "<u4"),
    ("clean", "<u4"),
    ("seal", "<u4"),
)
#: The first columns of the dataset `commit` (format 1.1), in order; `f["commit"][:, COLUMNS.index("n_epochs")].max()` is
#: the number of committed epochs.
COLUMNS = (*(name for name, _ in _HEADER), "record_crc32")


@dataclass(frozen=True)
class Commit:
    """What a project file holds at one instant.

    sequence: increases with every commit · clean: the file was closed in order · resume_epoch: −1 without a resume state ·
    rows: array name -> committed rows
    """

    sequence: int
    clean: bool
    n_epochs: int
    n_checkpoints: int
    resume_epoch: int
    rows: dict[str, int]


@dataclass(frozen=True)
class Record:
    """A commit record; rows, crc32, tail_crc32 and tails have one entry per growing array, in the file's order.

    tails: copies of the partly filled last blocks; None in format 1.1, which has them elsewhere in the file.
    """

    sequence: int
    clean: bool
    n_epochs: int
    n_checkpoints: int
    resume_epoch: int
    resume_slot: int
    resume_nbytes: int
    resume_crc32: int
    seal: int
    rows: tuple[int, ...]
    crc32: tuple[int, ...]
    tail_crc32: tuple[int, ...]
    tails: tuple[bytes, ...] | None = None

    def encode(self) -> bytes:
        """The slot's bytes, in the current format."""
        slot = np.zeros((), slot_dtype(len(self.rows)))
        for field in ("rows", "crc32", "tail_crc32", *(name for name, _ in _HEADER)):
            slot[field] = getattr(self, field)
        slot["record_crc32"] = zlib.crc32(slot.tobytes())
        return slot.tobytes()

    def next(self, **changes: object) -> Record:
        """The record after this one."""
        return replace(self, sequence=self.sequence + 1, **changes)  # type: ignore[arg-type]

    def public(self, names: Sequence[str]) -> Commit:
        """What the record says, for readers; names: the growing arrays in the file's order."""
        return Commit(
            self.sequence,
            self.clean,
            self.n_epochs,
            self.n_checkpoints,
            self.resume_epoch,
            dict(zip(names, self.rows, strict=True)),
        )


@cache
def slot_dtype(n_arrays: int, version: Version | None = None) -> np.dtype[np.void]:
    """The fields of a record with that many growing arrays; a multiple of 4096 bytes, so that slots share no sector.

    In format 1.1 every field is an <i8, so the same bytes are a row of the plain integer dataset `commit`, whose
    columns are those of `COLUMNS`, then `rows`, `crc32` and `tail_crc32` of every growing array. In earlier formats the
    dataset had this compound type, with narrower fields.

    version: of the format; None for the current one.
    """
    with_tails = version is not None and version <= WITH_TAILS
    narrow = version is not None and version <= DRAFT_1_1
    fields: list[tuple[str, str, tuple[int, ...]]] = [(name, kind if narrow else "<i8", ()) for name, kind in _HEADER]
    fields += [
        ("record_crc32", "<u4" if narrow else "<i8", ()),
        ("rows", "<i8", (n_arrays,)),
        ("crc32", "<u4" if narrow else "<i8", (n_arrays,)),
    ]
    if not with_tails:
        fields.append(("tail_crc32", "<u4" if narrow else "<i8", (n_arrays,)))
    names, formats, offsets, at = [], [], [], 0
    for name, kind, shape in fields:
        item = np.dtype((kind, shape))
        names.append(name)
        formats.append(item)
        offsets.append(at)
        at += item.itemsize
    at = -(-at // BLOCK) * BLOCK
    if with_tails:
        names.append("tails")
        formats.append(np.dtype(("|u1", (n_arrays, BLOCK))))
        offsets.append(at)
        at += n_arrays * BLOCK
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": at})


def record_columns(n_arrays: int) -> int:
    """Columns of the dataset `commit` (format 1.1): a record as a row of <i8."""
    return slot_dtype(n_arrays).itemsize // 8


def decode(raw: bytes, row_bytes: Sequence[int], version: Version) -> Record | None:
    """The record in a slot's bytes, given the bytes per row of every growing array; None for an invalid slot."""
    dtype = slot_dtype(len(row_bytes), version)
    if len(raw) != dtype.itemsize:
        return None
    slot = np.frombuffer(bytearray(raw), dtype)[0]
    stored = int(slot["record_crc32"])
    slot["record_crc32"] = 0
    if zlib.crc32(slot.tobytes()) != stored:
        return None
    header = {name: int(slot[name]) for name, _ in _HEADER}
    rows = tuple(int(n) for n in slot["rows"])
    # Forged counts are refused by the caller, which knows the capacities; here they must only do no harm.
    tails = None
    if "tails" in (dtype.names or ()):
        tails = tuple(
            slot["tails"][i, : tail_length(n, size)].tobytes()
            for i, (n, size) in enumerate(zip(rows, row_bytes, strict=True))
        )
        tail_crc32 = tuple(zlib.crc32(tail) for tail in tails)
    else:
        tail_crc32 = tuple(int(c) for c in slot["tail_crc32"])
    return Record(
        **{**header, "clean": bool(header["clean"])},  # type: ignore[arg-type]
        rows=rows,
        crc32=tuple(int(c) for c in slot["crc32"]),
        tail_crc32=tail_crc32,
        tails=tails,
    )


def tail_length(rows: int, row_nbytes: int) -> int:
    """Bytes of a growing array that lie in a last block that is only partly filled."""
    return max(0, rows) * row_nbytes % BLOCK


_TRAILER = np.dtype([("epoch", "<i8"), ("nbytes", "<i8"), ("crc32", "<u4"), ("trailer_crc32", "<u4")])


@dataclass(frozen=True)
class ResumeSlot:
    """Describes the contents of a resume slot, at the start of its row's last block (format 1.1).

    In a copy made while the file was written, a slot may be newer or older than the commit record says; this identifies it.
    """

    epoch: int
    nbytes: int
    crc32: int

    def encode(self) -> bytes:
        """The trailer's bytes."""
        trailer = np.zeros((), _TRAILER)
        trailer["epoch"], trailer["nbytes"], trailer["crc32"] = self.epoch, self.nbytes, self.crc32
        trailer["trailer_crc32"] = zlib.crc32(trailer.tobytes())
        return trailer.tobytes()

    @classmethod
    def decode(cls, raw: bytes) -> ResumeSlot | None:
        """The trailer in these bytes; None when they are not one."""
        if len(raw) < _TRAILER.itemsize:
            return None
        trailer = np.frombuffer(bytearray(raw[: _TRAILER.itemsize]), _TRAILER)[0]
        stored = int(trailer["trailer_crc32"])
        trailer["trailer_crc32"] = 0
        if zlib.crc32(trailer.tobytes()) != stored:
            return None
        return cls(int(trailer["epoch"]), int(trailer["nbytes"]), int(trailer["crc32"]))
