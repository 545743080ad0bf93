"""The commit record: what counts in a project file, in two slots written in turn.

A record carries a checksum of itself, so a slot that was being written when the power went is known to be none, and
the other one holds. For every growing array it has the number of rows that count, the CRC-32 of their bytes, and a copy
of the last block of 4096 bytes where that is only partly filled: the next rows go into the same sector, and a sector
torn while they are written would take its committed neighbours with it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

BLOCK = 4096

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
    """A commit record; rows, crc32 and tails have one entry per growing array, in the file's order."""

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
    tails: tuple[bytes, ...]

    def encode(self) -> bytes:
        """The slot's bytes."""
        slot = np.zeros((), slot_dtype(len(self.rows)))
        for field in ("rows", "crc32", *(name for name, _ in _HEADER)):
            slot[field] = getattr(self, field)
        for i, tail in enumerate(self.tails):
            slot["tails"][i, : len(tail)] = np.frombuffer(tail, "u1")
        slot["record_crc32"] = zlib.crc32(slot.tobytes())
        return slot.tobytes()

    def next(self, **changes: object) -> Record:
        """The record that follows this one."""
        return replace(self, sequence=self.sequence + 1, **changes)  # type: ignore[arg-type]

    def public(self, names: Sequence[str]) -> Commit:
        """The part a reader is told."""
        return Commit(
            self.sequence,
            self.clean,
            self.n_epochs,
            self.n_checkpoints,
            self.resume_epoch,
            dict(zip(names, self.rows, strict=True)),
        )


def slot_dtype(n_arrays: int) -> np.dtype[np.void]:
    """The record of a file with that many growing arrays; a multiple of 4096 bytes, so that slots share no sector."""
    fields: list[tuple[str, str, tuple[int, ...]]] = [(name, kind, ()) for name, kind in _HEADER]
    fields += [("record_crc32", "<u4", ()), ("rows", "<i8", (n_arrays,)), ("crc32", "<u4", (n_arrays,))]
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


def decode(raw: bytes, row_bytes: Sequence[int]) -> Record | None:
    """The record in a slot's bytes, given the bytes per row of every growing array; None when the slot holds none."""
    dtype = slot_dtype(len(row_bytes))
    if len(raw) != dtype.itemsize:
        return None
    slot = np.frombuffer(bytearray(raw), dtype)[0]
    stored = int(slot["record_crc32"])
    slot["record_crc32"] = 0
    if zlib.crc32(slot.tobytes()) != stored:
        return None
    header = {name: int(slot[name]) for name, _ in _HEADER}
    rows = tuple(int(n) for n in slot["rows"])
    # Forged counts are refused by the caller, who knows the capacities; here they must only not lead anywhere.
    tails = tuple(
        slot["tails"][i, : max(0, n) * size % BLOCK].tobytes()
        for i, (n, size) in enumerate(zip(rows, row_bytes, strict=True))
    )
    return Record(
        **{**header, "clean": bool(header["clean"])},  # type: ignore[arg-type]
        rows=rows,
        crc32=tuple(int(c) for c in slot["crc32"]),
        tails=tails,
    )
