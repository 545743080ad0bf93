"""What of a damaged project file is sound: every part that is proven by a checksum, and a sentence for every other.

A reader refuses a damaged file as a whole; here each part is judged by itself. Where HDF5 cannot read the structure any
more it is taken from what this computer remembers, or planned again from the settings; that it is the right one is
proven by a commit record at the place where it says one is. The settings, notes and split share one checksum with the
structure: when it does not match, each of them is replaced by what it should be until it does.
"""

from __future__ import annotations

import itertools
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tdw.errors import DamagedFileError, NewerFormatError, ProjectError
from tdw.store import filesystem, seen_files
from tdw.store.commit_record import BLOCK, Record
from tdw.store.layout import BLOCK_CRCS, CHECKPOINTS, FORMAT_VERSION, LOSSES, AnalysisPlan, FilePlan, Layout
from tdw.store.open_file import State, credible, read_slots
from tdw.store.sandbox import examined
from tdw.store.structure import layout_of
from tdw.store.validate import SIGNATURE, check_safetensors, parse_json

Config = dict[str, Any]
Split = tuple[np.ndarray, np.ndarray]


class Repaired(str):
    """A sentence about something that was damaged and is whole again: nothing of it is lost."""

    __slots__ = ()


@dataclass(frozen=True)
class Advice:
    """What those who know what a run is can say about a file of which settings are left.

    plans: files that a run with these settings may have; split: the split that these settings draw, if they do.
    """

    plans: Callable[[Config], Iterable[FilePlan]] = lambda _: ()
    split: Callable[[Config], Split | None] = lambda _: None


class Wreck(State):
    """A file that may end early or have unreadable sectors: zeros stand for what is not there."""

    def read(self, offset: int, count: int) -> bytearray:
        """Bytes of the file, zeros where there are none."""
        data = bytearray(count)
        try:
            filesystem.read_into(self.fd, memoryview(data), offset)
        except OSError:  # then sector by sector: the others may be whole, and a checksum tells what is missing
            for at in range(0, count, BLOCK):
                piece = memoryview(data)[at : at + BLOCK]
                try:
                    filesystem.read_into(self.fd, piece, offset + at)
                except OSError:
                    piece[:] = bytes(len(piece))
        return data

    def tail_copy(self, name: str) -> bytes:
        """The copy of a last block that matches its checksum, whichever commit record it was made for."""
        copy = b""
        for slot in (0, 1):
            self.slot = slot
            copy = super().tail_copy(name)
            if zlib.crc32(copy) == self.record.tail_crc32[self.index(name)]:
                break
        return copy


@dataclass
class Salvage:
    """The sound parts of a file. Epochs of losses that are lost are NaN; `damage` has a sentence for each loss."""

    path: Path
    layout: Layout
    config: Config
    notes: dict[str, Any]
    split: Split
    losses: dict[str, np.ndarray]
    checkpoints: list[tuple[int, int]]  # (epoch, row)
    resume: tuple[int, bytes] | None
    analyses: dict[str, tuple[AnalysisPlan, dict[str, np.ndarray]]]
    damage: list[str] = field(default_factory=list)
    wreck: Wreck | None = None

    def checkpoint(self, row: int) -> bytes:
        """The safetensors file in one row."""
        assert self.wreck is not None
        extent = self.layout.extents["checkpoints/safetensors"]
        return bytes(self.wreck.read(extent.offset + row * extent.row_nbytes, self.layout.blob_nbytes))


def survey(fd: int, path: Path, advice: Advice) -> Salvage:
    """Judge every part of an open file by itself. Raises NewerFormatError, and ProjectError where nothing can be saved."""
    damage: list[str] = []
    layout, records, planned = _structure(fd, path, advice, damage)
    wreck = Wreck(fd, path, 0, 0, layout, records[0] if records else _nothing(layout), 0, alike=True)
    return _Survey(wreck, records, advice, damage, planned=planned).salvage()


def _nothing(layout: Layout) -> Record:
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


# The structure


def _structure(fd: int, path: Path, advice: Advice, damage: list[str]) -> tuple[Layout, list[Record], bool]:
    """The layout, the commit records that hold, newest first, and whether the layout is not what the file itself says."""
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
        damage.append(f"the file was cut off: {size:,} of {recorded:,} bytes are there")
    if walked is not None:
        if size > walked.size:
            damage.append(Repaired(f"{size - walked.size:,} bytes follow the end of the file, and are none of it"))
        if walked.version > FORMAT_VERSION:
            raise NewerFormatError(f"{path} was made by a newer version of tdw. Upgrade with `pip install -U tdw`.")
        if records := _records(fd, walked):
            return walked, records, False
    best: tuple[int, Layout, list[Record], str] | None = None
    for guess, where in _guesses(fd, path, advice):
        layout = _measured(fd, guess)
        if records := _records(fd, layout):
            proven = _proven(fd, path, layout, records)
            if best is None or proven > best[0]:
                best = proven, layout, records, where
            if proven == 2 * len(layout.growing):
                break
    if best is not None:
        _, layout, records, where = best
        damage.append(Repaired(f"the structure of the file is damaged; it was taken from {where}"))
        return layout, records, True
    if walked is not None:
        damage.append("neither of the two commit records is whole: what they alone could prove is lost")
        return walked, [], False
    assert refused is not None
    raise DamagedFileError(
        f"{path}: nothing can be saved. Its structure cannot be read, this computer does not remember the file, and no "
        f"settings of a run were found in it that fit. What opening it said: {refused}"
    ) from refused


def _recorded_size(fd: int) -> int | None:
    """How long the file says it is."""
    head = filesystem.read_some(fd, 48, 0)
    if len(head) < 48 or head[:8] != SIGNATURE or head[8] != 3:
        return None
    (end,) = struct.unpack("<Q", head[28:36])
    return int(end) if BLOCK <= end < 1 << 44 else None


def _records(fd: int, layout: Layout) -> list[Record]:
    found = [one for one in read_slots(fd, layout) if one is not None and credible(one, layout)]
    return sorted(found, key=lambda record: -record.sequence)


def _proven(fd: int, path: Path, layout: Layout, records: list[Record]) -> int:
    """How many growing arrays match their checksums if the file has this layout, and how many last blocks are in place.

    The copies of last blocks prove short arrays wherever the layout has them; only the blocks themselves tell the place.
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
    """Layouts that the file may have, and where each comes from."""
    for structure in seen_files.structures():
        try:
            yield layout_of(structure, path), "what this computer remembers of it"
        except ProjectError:
            continue  # remembered by another version
    from tdw.store.planner import plan_file

    for config in _configs_in(fd):
        for plan in advice.plans(config):
            yield plan_file(plan).layout, "its settings, from which it was planned again"


def _measured(fd: int, layout: Layout) -> Layout:
    """A guessed layout with the lengths of settings and notes that are in the file: they say themselves where they end."""
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


def _configs_in(fd: int) -> Iterator[Config]:
    """JSON objects that start a sector and read like the settings of a run."""
    for at in range(0, os.fstat(fd).st_size, BLOCK):
        if filesystem.read_some(fd, 2, at) == b'{"':
            raw = filesystem.read_some(fd, 1 << 20, at)
            try:
                value, _ = json.JSONDecoder().raw_decode(raw.split(b"\0", 1)[0].decode("ascii", "replace"))
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict) and isinstance(value.get("settings"), dict):
                yield value


# The parts


class _Survey:
    def __init__(self, wreck: Wreck, records: list[Record], advice: Advice, damage: list[str], *, planned: bool):
        self._wreck, self._layout, self._records = wreck, wreck.layout, records
        self._advice, self._damage, self._planned = advice, damage, planned

    def salvage(self) -> Salvage:
        config, notes, split = self._sealed()
        if len(self._records) == 1 and self._records[0].clean:
            self._damage.append(
                Repaired("one of the two commit records is damaged; the other one holds, nothing is lost")
            )
        self._tails()
        epochs = self._column("checkpoints/epoch")
        checkpoints = self._checkpoints(epochs)
        n_epochs = max([self._records[0].n_epochs if self._records else 0, *(epoch + 1 for epoch, _ in checkpoints)])
        losses = {name: self._losses(name, n_epochs) for name in LOSSES}
        resume = self._resume()
        analyses = {
            plan.name: (plan, rows)
            for plan in self._layout.analyses.values()
            if (rows := self._results(plan)) is not None
        }
        salvage = Salvage(self._wreck.path, self._layout, config, notes, split, losses, checkpoints, resume, analyses)
        salvage.damage, salvage.wreck = self._damage, self._wreck
        return salvage

    def _tails(self) -> None:
        """Say which last rows were read from the copy that is kept of them, and no more than is known of why."""
        if not self._records or not self._records[0].clean:  # rows that do not count yet may stand over them
            return
        copied = [
            name
            for name in self._layout.growing
            if not self._wreck.tail_is_whole(name) and self._rows(name) is not None
        ]
        if not self._planned:
            for name in copied:
                self._damage.append(Repaired(f"the last rows of {name!r} were damaged, and restored from their copy"))
        elif copied:
            self._damage.append(
                Repaired(
                    f"the last rows of {len(copied)} arrays are not where that structure has them: they were read from the "
                    f"copies that are kept of them, and match their checksums ({', '.join(copied[:3])}"
                    f"{', …' if len(copied) > 3 else ''})"
                )
            )

    def _rows(self, name: str) -> np.ndarray | None:
        """The rows of a growing array that a record proves, newest record first; None where none does."""
        extent = self._layout.extents[name]
        for record in self._records:
            at = Wreck(self._wreck.fd, self._wreck.path, 0, 0, self._layout, record, 0, alike=True)
            try:
                at.check(name)
            except DamagedFileError:
                continue
            data = at.read_array(name, 0, at.committed(name))
            return np.frombuffer(data, extent.dtype).reshape(-1, *extent.shape[1:])
        return None

    def _newest_count(self, name: str) -> int:
        return self._records[0].rows[self._layout.growing.index(name)] if self._records else 0

    def _losses(self, name: str, n_epochs: int) -> np.ndarray:
        rows = self._rows(name)
        kept, proven = np.full(n_epochs, np.nan), np.zeros(n_epochs, bool)
        if rows is not None:
            kept[: len(rows)], proven[: len(rows)] = rows[:n_epochs], True
        if not proven.all():
            for start, values in self._blocks(name):
                kept[start : start + len(values)] = values[: n_epochs - start]
                proven[start : start + len(values)] = True
        missing = np.flatnonzero(~proven)
        if len(missing):
            self._damage.append(
                f"the bytes of {name!r} do not match their checksum: {len(missing):,} of its {n_epochs:,} values are lost"
                + (f", of epochs {missing[0]:,} to {missing[-1]:,}" if len(missing) < n_epochs else "")
            )
        return kept

    def _blocks(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, rows) of the blocks of a curve that match checksums of their own (format 1.1)."""
        if not self._layout.current or not self._records:
            return
        at = Wreck(self._wreck.fd, self._wreck.path, 0, 0, self._layout, self._records[0], 0, alike=True)
        extent, table = self._layout.extents[name], self._layout.extents[BLOCK_CRCS]
        committed = at.committed(name)
        crcs = np.frombuffer(at.read(table.offset + LOSSES.index(name) * table.row_nbytes, table.row_nbytes), "<u4")
        for number in range(committed // BLOCK):
            block = at.read(extent.offset + number * BLOCK, BLOCK)
            if number < len(crcs) and zlib.crc32(block) == crcs[number]:
                yield number * BLOCK // extent.row_nbytes, np.frombuffer(block, extent.dtype)
        start = committed - committed % BLOCK
        for last in (at.read(extent.offset + start, committed - start), at.tail_copy(name)):
            if last and zlib.crc32(last) == at.record.tail_crc32[at.index(name)]:
                yield start // extent.row_nbytes, np.frombuffer(last, extent.dtype)
                break

    def _column(self, name: str) -> np.ndarray | None:
        """A column of the checkpoints' table where it is proven."""
        rows = self._rows(name)
        if rows is None or len(rows) < self._newest_count(name):
            self._damage.append(f"the bytes of {name!r} do not match their checksum")
        return rows

    def _checkpoints(self, epochs: np.ndarray | None) -> list[tuple[int, int]]:
        """(epoch, row) of every checkpoint whose bytes match the checksum in its row; increasing epochs."""
        blobs, table = self._layout.extents["checkpoints/safetensors"], self._layout.extents["checkpoints/crc32"]
        count = self._records[0].n_checkpoints if self._records else blobs.shape[0]
        crcs = np.frombuffer(self._wreck.read(table.offset, count * 4), "<u4").copy()
        proven = self._rows(CHECKPOINTS[1])
        if proven is not None:
            crcs[: len(proven)] = proven
        found: list[tuple[int, int]] = []
        for row in range(count):
            data = memoryview(self._wreck.read(blobs.offset + row * blobs.row_nbytes, self._layout.blob_nbytes))
            if not self._records and not any(data[:8]):
                continue  # a row that was never written
            problem = "it does not match its checksum" if zlib.crc32(data) != crcs[row] else check_safetensors(data)
            if problem is None:
                epoch = int(epochs[row]) if epochs is not None and row < len(epochs) else _epoch_in(data)
                if epoch is not None and epoch > (found[-1][0] if found else -1):
                    found.append((epoch, row))
                    continue
                problem = "its epoch is not known"
            named = f" (epoch {int(epochs[row])})" if epochs is not None and row < len(epochs) else ""
            self._damage.append(f"checkpoint {row}{named}: {problem}")
        return found

    def _resume(self) -> tuple[int, bytes] | None:
        wanted = False
        for record in self._records:
            if record.resume_slot < 0:
                continue
            at = Wreck(self._wreck.fd, self._wreck.path, 0, 0, self._layout, record, 0, alike=True)
            try:
                epoch, data = at.resume()
            except DamagedFileError:
                wanted = True
                continue
            if check_safetensors(memoryview(data)) is None:
                if wanted or epoch != record.resume_epoch:
                    self._damage.append(
                        "the state that training resumes from does not match its checksum; an earlier one, of epoch "
                        f"{epoch}, does"
                    )
                return epoch, bytes(data)
            wanted = True
        if wanted or not self._records:
            self._damage.append(
                "the state that training resumes from does not match its checksum: the run cannot be trained on"
            )
        return None

    def _results(self, plan: AnalysisPlan) -> dict[str, np.ndarray] | None:
        found = {array: self._rows(f"analysis/{plan.name}/{array}") for array in plan.arrays}
        lengths = {None if rows is None else len(rows) for rows in found.values()}
        newest = self._newest_count(f"analysis/{plan.name}/{next(iter(plan.arrays))}")
        if lengths == {newest} and self._records:
            return {array: rows for array, rows in found.items() if rows is not None}
        self._damage.append(f"the results of {plan.name} do not match their checksum; `tdw analyze` makes them again")
        return None

    # What the seal covers

    def _sealed(self) -> tuple[Config, dict[str, Any], Split]:
        """Settings, notes and split, proven by the seal where that can be done."""
        stored = {name: self._wreck.sealed(name) for name in ("config", "notes", "split/train", "split/test")}
        seals = {record.seal for record in self._records}
        if self._wreck.seal() in seals:
            return self._parsed(stored)
        whole = self._image()
        for said, replaced in self._replacements(stored):
            if _crc(whole, replaced) in seals:
                names = {offset: name for name, offset in ((n, self._layout.extents[n].offset) for n in stored)}
                self._damage.append(Repaired(f"{said} damaged, and restored: the checksum matches again"))
                mended = {names[at]: data for at, data in replaced.items() if at in names}
                return self._parsed(stored | mended)
        self._damage.append(
            "the structure, settings, notes or split do not match their checksum, and which of them is not known: they are "
            "as they stand, look at them before you train on"
        )
        return self._parsed(stored)

    def _image(self) -> list[tuple[int, bytearray]]:
        return [(start, self._wreck.read(start, end - start)) for start, end in self._layout.sealed()]

    def _replacements(self, stored: Mapping[str, bytes]) -> Iterator[tuple[str, dict[int, bytes]]]:
        """What may have been damaged, in words, and the bytes that would be right, by offset."""
        extents = self._layout.extents
        as_it_is = stored["config"]
        others = [text for text in seen_files.configs() if len(text) == len(as_it_is) and text != as_it_is]
        configs = [("", as_it_is), *(("the settings were", text) for text in others)]
        for said, config in configs:
            with_config = {extents["config"].offset: config} if said else {}
            for split_said, split in [("", {}), *self._split_of(config)]:
                for structure_said, structure in self._structure_of(config, stored, split):
                    words = [word for word in (said, split_said, structure_said) if word]
                    if words:
                        yield " and ".join(words), {**structure, **with_config, **split}

    def _split_of(self, config: bytes) -> list[tuple[str, dict[int, bytes]]]:
        try:
            drawn = self._advice.split(json.loads(config))
        except (ValueError, RecursionError):
            drawn = None
        if drawn is None:
            return []
        pieces: dict[int, bytes] = {}
        for name, values in zip(("split/train", "split/test"), drawn, strict=True):
            extent = self._layout.extents[name]
            if len(values) != extent.shape[0]:
                return []
            pieces[extent.offset] = np.asarray(values, "<i8").tobytes()
        return [("the split was", pieces)]

    def _structure_of(
        self, config: bytes, stored: Mapping[str, bytes], split: Mapping[int, bytes]
    ) -> Iterator[tuple[str, dict[int, bytes]]]:
        """The metadata as they are, and as HDF5 would write them now."""
        from tdw.store.planner import plan_file

        yield "", {}
        layout = self._layout
        sides = [
            np.frombuffer(split.get(layout.extents[name].offset, stored[name]), "<i8")
            for name in ("split/train", "split/test")
        ]
        plan = FilePlan(
            config=config,
            notes=stored["notes"],
            split_train=sides[0],
            split_test=sides[1],
            epochs=layout.extents[LOSSES[0]].shape[0] - 1,
            checkpoint_capacity=layout.extents["checkpoints/safetensors"].shape[0],
            blob_nbytes=layout.blob_nbytes,
            resume_nbytes=layout.resume_nbytes,
            analyses=tuple(layout.analyses.values()),
        )
        for analyses in itertools.islice(itertools.permutations(plan.analyses), 24):
            skeleton = plan_file(replace(plan, analyses=analyses))
            if {n: e.offset for n, e in skeleton.layout.extents.items()} == {
                n: e.offset for n, e in layout.extents.items()
            }:
                yield "the structure was", {at: data for at, data in skeleton.metadata.items() if at < layout.size}
                return

    def _parsed(self, stored: Mapping[str, bytes]) -> tuple[Config, dict[str, Any], Split]:
        config = parse_json(stored["config"], f"{self._wreck.path}: nothing can be saved, its settings")
        try:
            notes = parse_json(stored["notes"], "notes")
        except DamagedFileError:
            self._damage.append("the notes are lost")
            notes = {}
        return config, notes, (np.frombuffer(stored["split/train"], "<i8"), np.frombuffer(stored["split/test"], "<i8"))


def _crc(image: list[tuple[int, bytearray]], replaced: Mapping[int, bytes]) -> int:
    """The seal of a file in which these bytes stand."""
    crc = 0
    for start, data in image:
        changed = bytearray(data)
        for at, piece in replaced.items():
            if start <= at < start + len(data):
                whole = piece[: len(data) - (at - start)]
                changed[at - start : at - start + len(whole)] = whole
        crc = zlib.crc32(changed, crc)
    return crc


def _epoch_in(blob: memoryview) -> int | None:
    """The epoch that a checkpoint itself says it is of."""
    (length,) = struct.unpack("<Q", blob[:8])
    text = json.loads(bytes(blob[8 : 8 + length])).get("__metadata__", {}).get("epoch", "")
    return int(text) if text.isdigit() and len(text) < 19 else None
