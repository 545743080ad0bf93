"""The commit record: what counts in a project file, in two slots written in turn.

A record has a checksum of itself, so a slot that was being written when the power failed is recognized, and the other one
is valid. For every growing array it has the number of committed rows, their CRC-32, and the CRC-32 of the last block of
4096 bytes if that is only partly filled: the next rows go into the same sector, and a sector torn while they are written
would damage its committed neighbors. So a copy of that block is kept: in format 1.1 in `tails`, one row per slot, in format
1.0 in the record itself. Data must match the array's checksum, with or without the copy; copies need no checksum of their
own.

In format 1.1 a record is a row of plain 64-bit integers, readable by any program that reads integers: the ten of `COLUMNS`,
then for all growing arrays in order their `rows`, then their `crc32`, then their `tail_crc32`, then zeros up to a multiple of
4096 bytes. In format 1.0 it is an HDF5 compound. A record takes one block for up to 167 arrays, so that a program that
copies the file slowly from front to back while it is written gets at least one of the two intact.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

BLOCK = 4096
Version = tuple[int, int]
#: The last format whose records hold copies of the last blocks themselves.
WITH_TAILS: Version = (1, 0)

#: The first ten integers of a record. `record_crc32` is the CRC-32 of the record with 0 in its place; `clean` is 1 after an
#: orderly close; `seal` is the CRC-32 of all bytes that never change; resume_epoch and resume_slot are −1 without a state.
COLUMNS = (
    "sequence",
    "n_epochs",
    "n_checkpoints",
    "resume_epoch",
    "resume_nbytes",
    "resume_slot",
    "resume_crc32",
    "clean",
    "seal",
    "record_crc32",
)
_CRC = COLUMNS.index("record_crc32")
_INTEGERS = BLOCK // 8  # in a block

# The types of the same fields in the compound of format 1.0.
_COMPOUND = ("<u8", "<i8", "<i8", "<i8", "<i8", "<i4", "<u4", "<u4", "<u4", "<u4")


@dataclass(frozen=True)
class Commit:
    """What a project file holds at one instant.

    sequence grows with every commit; clean after an orderly close; resume_epoch −1 where there is no resume state;
    rows: array name -> rows that count.
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

    tails: copies of the partly filled last blocks; None where they lie elsewhere in the file (format 1.1).
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
        """The slot's bytes, in the format that is written now."""
        slot = np.zeros(width(len(self.rows)), "<i8")
        header = [int(getattr(self, name)) for name in COLUMNS if name != "record_crc32"]
        values = [*header, 0, *self.rows, *self.crc32, *self.tail_crc32]
        slot[: len(values)] = values
        slot[_CRC] = zlib.crc32(slot.tobytes())
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


def width(n_arrays: int) -> int:
    """Integers in a record of a file with that many growing arrays; whole blocks, so that slots share no sector."""
    return -(-(len(COLUMNS) + 3 * n_arrays) // _INTEGERS) * _INTEGERS


def compound_dtype(n_arrays: int) -> np.dtype[np.void]:
    """The record of format 1.0, which has the copies of the last blocks in it; a multiple of 4096 bytes."""
    fields: list[tuple[str, str, tuple[int, ...]]] = [(n, kind, ()) for n, kind in zip(COLUMNS, _COMPOUND, strict=True)]
    fields += [("rows", "<i8", (n_arrays,)), ("crc32", "<u4", (n_arrays,))]
    names, formats, offsets, at = [], [], [], 0
    for name, kind, shape in fields:
        item = np.dtype((kind, shape))
        names.append(name)
        formats.append(item)
        offsets.append(at)
        at += item.itemsize
    at = -(-at // BLOCK) * BLOCK
    names.append("tails")
    formats.append(np.dtype(("|u1", (n_arrays, BLOCK))))
    offsets.append(at)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": at + n_arrays * BLOCK})


def decode(raw: bytes, row_bytes: Sequence[int], version: Version) -> Record | None:
    """The record in a slot's bytes, given the bytes per row of every growing array; None if the slot has no valid one.

    Forged counts are refused by the caller, who knows the capacities.
    """
    return (_decode_compound if version <= WITH_TAILS else _decode_integers)(raw, row_bytes)


def _decode_integers(raw: bytes, row_bytes: Sequence[int]) -> Record | None:
    n = len(row_bytes)
    if len(raw) != 8 * width(n):
        return None
    slot = np.frombuffer(bytearray(raw), "<i8")
    stored = int(slot[_CRC])
    slot[_CRC] = 0
    if zlib.crc32(slot.tobytes()) != stored:
        return None
    values = slot.tolist()
    first = len(COLUMNS)
    rows, crc32, tail_crc32 = (tuple(values[first + i * n : first + (i + 1) * n]) for i in range(3))
    return _record(dict(zip(COLUMNS, values[:first], strict=True)), rows, crc32, tail_crc32)


def _decode_compound(raw: bytes, row_bytes: Sequence[int]) -> Record | None:
    dtype = compound_dtype(len(row_bytes))
    if len(raw) != dtype.itemsize:
        return None
    slot = np.frombuffer(bytearray(raw), dtype)[0]
    stored = int(slot["record_crc32"])
    slot["record_crc32"] = 0
    if zlib.crc32(slot.tobytes()) != stored:
        return None
    rows = tuple(int(n) for n in slot["rows"])
    tails = tuple(
        slot["tails"][i, : tail_length(n, size)].tobytes()
        for i, (n, size) in enumerate(zip(rows, row_bytes, strict=True))
    )
    header = {name: int(slot[name]) for name in COLUMNS}
    tail_crc32 = tuple(zlib.crc32(tail) for tail in tails)
    return _record(header, rows, tuple(int(c) for c in slot["crc32"]), tail_crc32, tails)


def _record(
    header: dict[str, int],
    rows: tuple[int, ...],
    crc32: tuple[int, ...],
    tail_crc32: tuple[int, ...],
    tails: tuple[bytes, ...] | None = None,
) -> Record:
    return Record(
        sequence=header["sequence"],
        clean=bool(header["clean"]),
        n_epochs=header["n_epochs"],
        n_checkpoints=header["n_checkpoints"],
        resume_epoch=header["resume_epoch"],
        resume_slot=header["resume_slot"],
        resume_nbytes=header["resume_nbytes"],
        resume_crc32=header["resume_crc32"],
        seal=header["seal"],
        rows=rows,
        crc32=crc32,
        tail_crc32=tail_crc32,
        tails=tails,
    )


def tail_length(rows: int, row_nbytes: int) -> int:
    """Bytes of a growing array that lie in a last block that is only partly filled."""
    return max(0, rows) * row_nbytes % BLOCK


_TRAILER = np.dtype([("epoch", "<i8"), ("nbytes", "<i8"), ("crc32", "<u4"), ("trailer_crc32", "<u4")])


@dataclass(frozen=True)
class ResumeSlot:
    """What a slot for a state to resume from says of itself, at the start of its row's last block (format 1.1).

    A program that copies the file while it is written may find a slot that is newer, or older, than the commit record
    knows; by this it is still known for what it is.
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
        """The trailer in these bytes; None when they hold none."""
        if len(raw) < _TRAILER.itemsize:
            return None
        trailer = np.frombuffer(bytearray(raw[: _TRAILER.itemsize]), _TRAILER)[0]
        stored = int(trailer["trailer_crc32"])
        trailer["trailer_crc32"] = 0
        if zlib.crc32(trailer.tobytes()) != stored:
            return None
        return cls(int(trailer["epoch"]), int(trailer["nbytes"]), int(trailer["crc32"]))
