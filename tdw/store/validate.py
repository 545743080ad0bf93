"""What a project file holds beside arrays, checked without HDF5: its first block, JSON, and safetensors headers."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

from tdw.errors import DamagedFileError, NotAProjectError
from tdw.store import filesystem

SIGNATURE = b"\x89HDF\r\n\x1a\n"
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
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "C64": 8,
    "BOOL": 1,
}
CREATE_ONE = "Create one with `tdw new FILE`."
TRY_A_COPY = "Use an earlier copy; this file was not changed."


def short(error: BaseException) -> str:
    """An error of another library in one line."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def check_superblock(fd: int, path: Path, size: int) -> None:
    """Signature, version 3, and the recorded end of the file, at offset 0."""
    head = filesystem.read_some(fd, 48, 0)
    if size == 0:
        raise NotAProjectError(f"{path} is not a project file: it is empty.", CREATE_ONE)
    if head[:8] != SIGNATURE[: len(head[:8])] or len(head) < 8:
        raise NotAProjectError(f"{path} is not a project file: it lacks the HDF5 signature.", CREATE_ONE)
    if len(head) < 48:
        raise DamagedFileError(f"{path} is truncated: only its first {size} bytes are there. {TRY_A_COPY}")
    version, offset_size, length_size, flags, base, _, end, _ = struct.unpack("<4B4Q", head[8:44])
    if version != 3:
        raise NotAProjectError(f"{path} is an HDF5 file of another program, not a project file.", CREATE_ONE)
    if (offset_size, length_size, base) != (8, 8, 0) or flags & ~0x7:
        raise NotAProjectError(f"{path} is not a project file: its first block was not written by this program.")
    if end > size:
        raise DamagedFileError(f"{path} is truncated: {size:,} of {end:,} bytes are there. {TRY_A_COPY}")
    if end < size:
        raise DamagedFileError(f"{path} is damaged: {size - end:,} bytes follow its end. {TRY_A_COPY}")


def parse_json(raw: bytes, what: str) -> dict[str, Any]:
    """A JSON object from a file. Raises DamagedFileError, whatever is in it."""
    try:
        value = json.loads(raw, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{what} cannot be read: {short(error)}") from error
    if not isinstance(value, dict):
        raise DamagedFileError(f"{what} cannot be read: not a JSON object")
    return value


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not a valid number")


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
        return f"its header is not JSON ({short(error)})"
    if not isinstance(header, dict):
        return "its header is not JSON object"
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        return "its metadata values are not strings"
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
        raise ValueError("a name occurs twice")
    return found


def _check_tensor(tensor: Any, spans: list[tuple[int, int]]) -> str | None:
    if not isinstance(tensor, dict) or set(tensor) != {"dtype", "shape", "data_offsets"}:
        return "lacks dtype, shape or data_offsets"
    kind, shape, offsets = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
    if not isinstance(kind, str) or kind not in SAFETENSORS_DTYPES:
        return f"has dtype {str(kind)[:20]!r}"
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2 or len(shape) > 8:
        return "has an invalid shape or data_offsets"
    if not all(type(n) is int and 0 <= n < 1 << 48 for n in (*shape, *offsets)):
        return "has numbers out of range"
    if offsets[1] - offsets[0] != SAFETENSORS_DTYPES[kind] * math.prod(shape):
        return "has a size that differs from its data_offsets"
    spans.append((offsets[0], offsets[1]))
    return None
