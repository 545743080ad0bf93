"""The time at which a file was created, which HDF5 keeps in the extension of the superblock, and which the seal covers.

This program writes 0 there, so that the structure of a file follows from its plan. Earlier versions left the time that HDF5 wrote, and a
program that rewrites a file sets its own, after which the seal would match no other byte of the structure, settings and split
either. Then every second in question is tried: HDF5's checksum of that header follows from the time, and the seal, a CRC, is
linear in both. Other bytes that are wrong match by accident at one of 2³² seconds; a year has 2²⁵.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import IO

import numpy as np

from tdw.store.filesystem import read_some
from tdw.store.layout import Layout

FIRST = 1_704_067_200  # 2024-01-01, before the first version of this program
STEP = 1 << 20  # seconds tried at once
NONE = 0  # what this program writes
_TIMES = 6  # place of four equal times in a header, after signature, version and flags


def undated(read: Callable[[int, int], bytes]) -> tuple[int, bytes]:
    """(place, header): the extension of the superblock with no time in it. read: `count` bytes at an offset of a new file."""
    place, header = _extension(read)
    return place, _dated(header, NONE, int(lookup3(header, np.array([NONE], np.uint32))[0]))


def restore_creation_time(image: IO[bytes], layout: Layout, seals: Collection[int]) -> int:
    """Write the time that makes the seal of an image match. Returns how many times were tried for that; 0 if none does."""
    place, header = _extension(lambda offset, count: read_some(image.fileno(), count, offset))
    if not header:
        return 0
    pieces = [(start, bytearray(read_some(image.fileno(), end - start, start))) for start, end in layout.sealed()]
    at, data = next((place - start, data) for start, data in pieces if start <= place < start + len(data))

    def seal(second: int, checksum: int) -> int:
        data[at : at + len(header) + 4] = _dated(header, second, checksum)
        crc = 0
        for _, piece in pieces:
            crc = zlib.crc32(piece, crc)
        return crc

    base = seal(0, 0)
    of_time = [base ^ seal(1 << bit, 0) for bit in range(32)]
    of_checksum = [base ^ seal(0, 1 << bit) for bit in range(32)]
    wanted = np.array([value ^ base for value in seals], np.uint32)
    tried = 0
    for seconds in _likely():
        checksums = lookup3(header, seconds)
        found = np.flatnonzero(np.isin(_linear(of_time, seconds) ^ _linear(of_checksum, checksums), wanted))
        tried += len(seconds)
        if len(found):
            image.seek(place)
            image.write(_dated(header, int(seconds[found[-1]]), int(checksums[found[-1]])))
            image.flush()
            return tried
    return 0


def _likely() -> Iterator[np.ndarray]:
    yield np.array([NONE], np.uint32)
    for last in range(int(time.time()) + 86_400, FIRST, -STEP):  # the newest first
        yield np.arange(max(last - STEP, FIRST), last, dtype=np.uint32)


def _extension(read: Callable[[int, int], bytes]) -> tuple[int, bytes]:
    """(place, header without its checksum) of the extension of the superblock; no header where it has no times."""
    (place,) = struct.unpack("<Q", read(20, 8))
    header = read(place, 512)
    if header[:6] != b"OHDR\x02\x20":
        return place, b""
    length = _TIMES + 17 + header[_TIMES + 16]
    return place, header[:length] if length + 4 <= len(header) else b""


def _dated(header: bytes, second: int, checksum: int) -> bytes:
    """A header with this time in it, and its checksum."""
    times = struct.pack("<4I", *4 * [second])
    return header[:_TIMES] + times + header[_TIMES + len(times) :] + struct.pack("<I", checksum)


def _linear(effects: list[int], values: np.ndarray) -> np.ndarray:
    """The exclusive or of the effects of all bits that are set in each value."""
    total = np.zeros(len(values), np.uint32)
    for byte in range(4):
        table = np.zeros(256, np.uint32)
        for bit in range(8):
            table[np.arange(256) >> bit & 1 == 1] ^= np.uint32(effects[8 * byte + bit])
        total ^= table[values >> np.uint32(8 * byte) & np.uint32(255)]
    return total


def lookup3(header: bytes, seconds: np.ndarray) -> np.ndarray:
    """HDF5's checksum of an object header with each of these times in it (Bob Jenkins' hash lookup3, `hashlittle`)."""
    padded = header + bytes(-len(header) % 12)
    dated = np.tile(np.frombuffer(padded, np.uint8), (len(seconds), 1))
    dated[:, _TIMES : _TIMES + 16] = np.tile(seconds.astype("<u4").view(np.uint8).reshape(-1, 4), (1, 4))
    words = np.ascontiguousarray(dated.view("<u4").T)
    start = np.uint32((0xDEADBEEF + len(header)) & 0xFFFFFFFF)
    a, b, c = (np.full(len(seconds), start, np.uint32) for _ in range(3))
    for block in range(0, len(words), 3):
        a, b, c = a + words[block], b + words[block + 1], c + words[block + 2]
        if block + 3 == len(words):
            break
        for left in (4, 6, 8, 16, 19, 4):
            a = (a - c) ^ _rotated(c, left)
            c = c + b
            a, b, c = b, c, a
    for left in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - _rotated(b, left)
        a, b, c = b, c, a
    return b


def _rotated(values: np.ndarray, left: int) -> np.ndarray:
    return values << np.uint32(left) | values >> np.uint32(32 - left)
