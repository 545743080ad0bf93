"""Detect the type of a file by its bytes: types that can be imported, and descriptions of those that cannot.

Files are only unpickled after this check, and only by PyTorch's restricted unpickler.
"""

from __future__ import annotations

import contextlib
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tdw.errors import NotImportableError
from tdw.safe_text import cut

HEAD = 4096
LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before it used zip files
BOMB = 4  # largest ratio of unpacked to packed size: torch does not compress, so a genuine file has a ratio of 1
MARGIN = 1 << 20

MAGIC = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file; if it is a project file of this program, open it with `tdw open`"),
    (
        b"version https://git-lfs",
        "a Git LFS pointer instead of the file itself: run `git lfs pull`",
    ),
    (b"\x93NUMPY", "a NumPy array, not a run"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"\xfd7zXZ", "an xz archive: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive: unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
)


def refused(path: Path, looks: str) -> NotImportableError:
    """The error for a source that cannot be imported."""
    return NotImportableError(f"{path} cannot be imported: it looks like {looks}.")


def form_of(path: Path) -> str:
    """`torch`, `legacy torch` or `safetensors`. Raises NotImportableError, which says what the file looks like instead."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise refused(path, "neither a file nor a folder")
        with path.open("rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError:
        raise NotImportableError(f"{path} cannot be imported: it does not exist.") from None
    except OSError as error:
        raise NotImportableError(f"{path} cannot be imported: it cannot be read ({error.strerror}).") from error
    if not head:
        raise refused(path, "an empty file: it has 0 bytes")
    for magic, looks in MAGIC:
        if head.startswith(magic):
            raise refused(path, looks)
    if head.startswith(b"PK\x03\x04"):
        _check_zip(path, size)
        return "torch"
    if head.startswith(LEGACY_TORCH):
        return "legacy torch"
    if _begins_like_safetensors(head, size):  # before pickles: the size of its header may begin with the same two bytes
        return "safetensors"
    if re.match(rb"\x80[\x02-\x05]", head):
        raise refused(
            path, "a Python pickle that PyTorch did not write, which is refused because it could run arbitrary code"
        )
    if re.match(rb"\s*<(!doctype|html|\?xml|head|body)", head, re.IGNORECASE):
        raise refused(path, "a web page (HTML) instead of the file: download the file itself")
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        raise refused(path, "text, not weights or losses")
    raise refused(path, "an unknown format, neither a PyTorch file nor a safetensors file")


def _begins_like_safetensors(head: bytes, size: int) -> bool:
    """Whether a header of JSON follows whose size is the first 8 bytes."""
    if not re.match(rb'\{\s*["}]', head[8:]):
        return False
    return bool(struct.unpack("<Q", head[:8])[0] <= size - 8)


def _check_zip(path: Path, size: int) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error):
        raise refused(path, "a truncated or damaged PyTorch file or zip archive: download it again") from None
    names = [entry.filename for entry in entries]
    if any(name.endswith(".npy") for name in names):
        raise refused(path, "a NumPy archive (.npz), not a run")
    if any("/code/" in name for name in names):
        raise refused(path, "a TorchScript program: save its state_dict() instead")
    if not any(name.endswith("data.pkl") for name in names):
        raise refused(path, "a zip archive that PyTorch did not write")
    declared = sum(entry.file_size for entry in entries)
    if declared > BOMB * size + MARGIN:
        raise refused(path, f"a zip bomb: {size} bytes that unpack to {declared / 1e6:.0f} MB")


def load_torch(path: Path, form: str) -> Any:
    """The contents of a PyTorch file, with tensors on the CPU. Raises NotImportableError.

    Uses the restricted unpickler, which only creates tensors, plain containers, and here also NumPy's numbers and arrays. Tensors in a zip are memory-mapped, so
    a file of many checkpoints takes the memory of one.
    """
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside torch, of no use to users
            with named_in_utf8(path) as name, torch.serialization.safe_globals(_numpy_values()):
                return torch.load(name, map_location="cpu", weights_only=True, mmap=form == "torch")
    except Exception as error:  # malformed input can make the unpickler raise anything
        raise refused(path, _unpickled(str(error))) from error


def _numpy_values() -> list[Any]:
    """What NumPy's numbers and arrays are made of in a pickle, under the names of its versions 1 and 2."""
    from numpy import dtype, ndarray
    from numpy._core import multiarray

    functions = (multiarray.scalar, multiarray._reconstruct)
    names = [(function, f"numpy.core.multiarray.{function.__name__}") for function in functions]
    return [*functions, *names, ndarray, dtype, *(type(dtype(kind)) for kind in "?bhilqBHILQefd")]


@contextlib.contextmanager
def named_in_utf8(path: Path) -> Iterator[Path]:
    """A path to the file for libraries that only accept UTF-8 names."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield Path(f"/dev/fd/{file.fileno()}")
    else:
        yield path


def _unpickled(message: str) -> str:
    """What a file looks like that the restricted unpickler refused, judged by its message."""
    match = re.search(r"GLOBAL ([\w.]+)", message) or re.search(r"class ([\w.]+)", message)
    if match is None:
        return "a damaged PyTorch file: its contents cannot be read"
    name = cut(match[1], 100)
    if name.startswith("numpy"):
        return (
            f"a PyTorch file that contains NumPy values ({name}), which are refused because they could run arbitrary code: "
            "save it again with lists and tensors only"
        )
    if name.startswith("transformer_lens"):
        return (
            f"a PyTorch file that contains an object of TransformerLens ({name}), which is refused because it could run "
            "arbitrary code: save it again without it"
        )
    return (
        f"a PyTorch file that contains an object ({name}), which is refused because it could run arbitrary code: save it "
        "again with lists and tensors only"
    )
