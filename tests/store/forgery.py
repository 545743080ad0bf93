"""Files that HDF5 itself would never write: its metadata changed by hand, with the checksums made right again."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from tdw.store import structure
from tdw.store.inspect_hdf5 import walk
from tdw.store.layout import Layout

WORD = 0xFFFFFFFF


def read_layout(fd: int, path: Path, size: int) -> Layout:
    """The layout of an open file that was built here."""
    return structure.layout_of(walk(fd, path, size), path)


def _rotated(x: int, bits: int) -> int:
    return ((x << bits) | (x >> (32 - bits))) & WORD


def lookup3(data: bytes) -> int:
    """Bob Jenkins' hash (public domain), HDF5's checksum of metadata."""
    a = b = c = (0xDEADBEEF + len(data)) & WORD
    at = 0
    while len(data) - at > 12:
        x, y, z = struct.unpack_from("<3I", data, at)
        a, b, c = (a + x) & WORD, (b + y) & WORD, (c + z) & WORD
        a = ((a - c) & WORD) ^ _rotated(c, 4)
        c = (c + b) & WORD
        b = ((b - a) & WORD) ^ _rotated(a, 6)
        a = (a + c) & WORD
        c = ((c - b) & WORD) ^ _rotated(b, 8)
        b = (b + a) & WORD
        a = ((a - c) & WORD) ^ _rotated(c, 16)
        c = (c + b) & WORD
        b = ((b - a) & WORD) ^ _rotated(a, 19)
        a = (a + c) & WORD
        c = ((c - b) & WORD) ^ _rotated(b, 4)
        b = (b + a) & WORD
        at += 12
    rest = data[at:]
    if not rest:
        return c
    x, y, z = struct.unpack("<3I", rest.ljust(12, b"\0"))
    a, b, c = (a + x) & WORD, (b + y) & WORD, (c + z) & WORD
    for one, other, bits in ((2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24)):
        state = [a, b, c]
        state[one] = ((state[one] ^ state[other]) - _rotated(state[other], bits)) & WORD
        a, b, c = state
    return c


def layout_of(path: Path) -> Layout:
    """Where things are, before they are forged."""
    with path.open("rb") as file:
        return read_layout(file.fileno(), path, path.stat().st_size)


def headers(data: bytes) -> list[tuple[int, int, int]]:
    """(start, first message, end) of the first chunk of every object header, version 2."""
    found, start = [], -1
    while (start := data.find(b"OHDR", start + 1)) >= 0:
        flags = data[start + 5]
        at = start + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        end = at + width + int.from_bytes(data[at : at + width], "little")
        if end + 4 <= len(data) and lookup3(data[start:end]) == struct.unpack_from("<I", data, end)[0]:
            found.append((start, at + width, end))
    return found


def forge_header(path: Path, wanted: bytes, change: Callable[[bytearray, int], None]) -> None:
    """Change the one object header (version 2, first chunk) that holds `wanted`; change(data, place of wanted)."""
    data, done = bytearray(path.read_bytes()), 0
    for start, first, end in headers(bytes(data)):
        place = data.find(wanted, first, end)
        if place >= 0:
            change(data, place)
            struct.pack_into("<I", data, end, lookup3(bytes(data[start:end])))
            done += 1
    assert done == 1, f"{done} headers hold {wanted!r}"
    path.write_bytes(data)


def move_array(path: Path, name: str, to: int, nbytes: int | None = None) -> None:
    """Let a dataset say that its values lie elsewhere, and are of another length."""
    extent = layout_of(path).extents[name]
    place = struct.pack("<2Q", extent.offset, extent.nbytes)

    def change(data: bytearray, at: int) -> None:
        struct.pack_into("<2Q", data, at, to, extent.nbytes if nbytes is None else nbytes)

    forge_header(path, place, change)
