"""Finds the layout of a damaged file and its commit records.

Where HDF5 cannot read the structure any more, it is taken from what this computer remembers, or planned again from the
settings. A commit record at the place where such a layout says one is proves that it is the right one.
"""

from __future__ import annotations

import json
import os
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tdw.errors import DamagedFileError, NewerFormatError, ProjectError
from tdw.store import filesystem, seen_files
from tdw.store.commit_record import BLOCK, Record
from tdw.store.layout import FORMAT_VERSION, Layout
from tdw.store.open_file import credible, read_slots
from tdw.store.salvage.wreck import Advice, Config, Repaired, Wreck
from tdw.store.sandbox import examined
from tdw.store.structure import layout_of
from tdw.store.validate import SAFETENSORS_HEADER_LIMIT, SIGNATURE
from tdw.text_format import sentence


def locate(fd: int, path: Path, advice: Advice, damage: list[str]) -> tuple[Layout, list[Record], bool]:
    """The layout, the valid commit records, newest first, and whether the layout comes from elsewhere than the file."""
    walked: Layout | None = None
    refused: ProjectError | None = None
    size = os.fstat(fd).st_size
    recorded = _recorded_size(fd)
    try:
        walked = layout_of(examined(fd, path, recorded or size), path)
    except NewerFormatError:
        raise
    except ProjectError as error:
        refused = error
    if recorded is not None and size < recorded:
        # Zeros are read for what is missing; what of the data that is, other checksums tell.
        damage.append(Repaired(f"the file is truncated: it has {size:,} of {recorded:,} bytes"))
    if walked is not None:
        if size > walked.size:
            damage.append(Repaired(f"{size - walked.size:,} extra bytes follow the end of the file"))
        if walked.version > FORMAT_VERSION:
            raise NewerFormatError(f"{path} was made by a newer version of tdw. Upgrade with `pip install -U tdw`.")
        if records := valid_records(fd, walked):
            return walked, records, False
    best: tuple[int, Layout, list[Record], str] | None = None
    for guess, where in _guesses(fd, path, advice):
        layout = _measured(fd, guess)
        if records := valid_records(fd, layout):
            proven = _proven(fd, path, layout, records)
            if best is None or proven > best[0]:
                best = proven, layout, records, where
            if proven == 2 * len(layout.growing):
                break
    if best is not None:
        _, layout, records, where = best
        damage.append(Repaired(f"the structure of the file is damaged; it was restored from {where}"))
        return layout, records, True
    if walked is not None:
        damage.append("both commit records are damaged: what only they prove is lost")
        return walked, [], False
    assert refused is not None
    reasons = [
        *damage,
        "its structure cannot be read, and no commit record is where this computer's records of files, or settings in the file, place one",
    ]
    raise DamagedFileError(
        f"{path}: nothing can be recovered. {' '.join(map(sentence, reasons))} Opening it failed with: {refused}"
    ) from refused


def _recorded_size(fd: int) -> int | None:
    """The file size that the superblock records; None for an invalid one."""
    head = filesystem.read_some(fd, 48, 0)
    if len(head) < 48 or head[:8] != SIGNATURE or head[8] != 3:
        return None
    (end,) = struct.unpack("<Q", head[28:36])
    return int(end) if BLOCK <= end < 1 << 44 else None


def valid_records(fd: int, layout: Layout) -> list[Record]:
    """The valid commit records, newest first."""
    records = [record for record in read_slots(fd, layout) if record is not None and credible(record, layout)]
    return sorted(records, key=lambda record: -record.sequence)


def _proven(fd: int, path: Path, layout: Layout, records: list[Record]) -> int:
    """How many growing arrays match their checksums under this layout, plus how many last blocks are in place.

    The copies of last blocks prove short arrays at any place; only the blocks themselves prove the place.
    """
    count = 0
    for name in layout.growing:
        at = Wreck(fd, path, 0, 0, layout, records[0], 0, alike=True)
        try:
            at.check(name)
        except DamagedFileError:
            continue
        count += 1 + at.tail_is_whole(name)
    return count


def _guesses(fd: int, path: Path, advice: Advice) -> Iterator[tuple[Layout, str]]:
    """Possible layouts of the file, and the source of each."""
    for structure in seen_files.structures():
        try:
            yield layout_of(structure, path), "this computer's record of it"
        except ProjectError:
            continue  # stored by another version
    from tdw.store.planner import plan_file

    sizes = _safetensors_sizes(fd)
    for config in _configs_in(fd):
        for plan in advice.plans(config, sizes):
            yield plan_file(plan).layout, "its settings"


def _measured(fd: int, layout: Layout) -> Layout:
    """A guessed layout with the lengths of the settings and notes in the file, which end at the first zero byte."""
    extents = dict(layout.extents)
    for name in ("config", "notes"):
        extent = extents[name]
        room = min([other.offset for other in extents.values() if other.offset > extent.offset], default=layout.size)
        text = filesystem.read_some(fd, min(room - extent.offset, 1 << 22), extent.offset).split(b"\0", 1)[0]
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            continue  # damaged, or another structure
        extents[name] = replace(extent, shape=(len(text),))
    return replace(layout, extents=extents)


def _safetensors_sizes(fd: int) -> list[int]:
    """Sizes of the safetensors files that start a sector, most frequent first: of checkpoints and resume states."""
    sizes: Counter[int] = Counter()
    end = os.fstat(fd).st_size
    for at in range(0, end, BLOCK):
        head = filesystem.read_some(fd, 10, at)
        if len(head) < 10 or head[8:9] != b"{":
            continue
        (length,) = struct.unpack("<Q", head[:8])
        if length > min(SAFETENSORS_HEADER_LIMIT, end - at):
            continue
        try:
            header = json.loads(filesystem.read_some(fd, length, at + 8))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
            sizes[8 + length + max(ends, default=0)] += 1
        except (ValueError, RecursionError, TypeError, KeyError, IndexError, AttributeError):
            continue  # damaged, or not a header
    return [size for size, _ in sizes.most_common(4)]


def _configs_in(fd: int) -> Iterator[Config]:
    """JSON objects that start a sector and look like the description of a run."""
    for at in range(0, os.fstat(fd).st_size, BLOCK):
        if filesystem.read_some(fd, 2, at) == b'{"':
            raw = filesystem.read_some(fd, 1 << 20, at)
            try:
                value, _ = json.JSONDecoder().raw_decode(raw.split(b"\0", 1)[0].decode("ascii", "replace"))
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict) and isinstance(value.get("settings"), dict):
                yield value
