"""Reading a file that may end early or have unreadable sectors, and the types that all of salvage shares."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tdw.store import filesystem
from tdw.store.commit_record import BLOCK, Record
from tdw.store.layout import FilePlan, Layout
from tdw.store.open_file import OpenFile

Config = dict[str, Any]
Split = tuple[np.ndarray, np.ndarray]


class Repaired(str):
    """A sentence about damage that was repaired: nothing is lost."""

    __slots__ = ()


@dataclass(frozen=True)
class Advice:
    """What the layers above know about the file of a run with given settings.

    plans: the plans that the file of a run with these settings may have, given the sizes in bytes of the safetensors files
        that were found in it, most frequent first
    split: the split that these settings draw, if they do
    """

    plans: Callable[[Config, list[int]], Iterable[FilePlan]] = lambda *_: ()
    split: Callable[[Config], Split | None] = lambda _: None


class Wreck(OpenFile):
    """A file that may end early or have unreadable sectors; missing bytes read as zeros."""

    def read(self, offset: int, count: int) -> bytearray:
        """Bytes of the file, zeros where they are missing."""
        data = bytearray(count)
        try:
            filesystem.read_into(self.fd, memoryview(data), offset)
        except OSError:  # then sector by sector: the others may be intact, and checksums tell what is missing
            for at in range(0, count, BLOCK):
                piece = memoryview(data)[at : at + BLOCK]
                try:
                    filesystem.read_into(self.fd, piece, offset + at)
                except OSError:
                    piece[:] = bytes(len(piece))
        return data

    def tail_copy(self, name: str) -> bytes:
        """The copy of a last block that matches its checksum, from either commit record."""
        copy = b""
        for slot in (0, 1):
            self.slot = slot
            copy = super().tail_copy(name)
            if zlib.crc32(copy) == self.record.tail_crc32[self.index(name)]:
                break
        return copy

    def at(self, record: Record) -> Wreck:
        """The same file as of another commit record."""
        return Wreck(self.fd, self.path, 0, 0, self.layout, record, 0, alike=True)


def empty_record(layout: Layout) -> Record:
    """The record of a file in which nothing is proven."""
    none = tuple(0 for _ in layout.growing)
    return Record(
        sequence=0,
        clean=False,
        n_epochs=0,
        n_checkpoints=0,
        resume_epoch=-1,
        resume_slot=-1,
        resume_nbytes=0,
        resume_crc32=0,
        seal=0,
        rows=none,
        crc32=none,
        tail_crc32=none,
    )
