"""Judges every part of a damaged file on its own, by the checksums that the commit records hold."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tdw.errors import DamagedFileError
from tdw.store.by_name import image_of
from tdw.store.commit_record import BLOCK, Record
from tdw.store.creation_time import restore_creation_time
from tdw.store.layout import BLOCK_CRCS, CHECKPOINTS, AnalysisPlan, Layout
from tdw.store.open_file import rewritten
from tdw.store.salvage.locate import locate, valid_records
from tdw.store.salvage.sealed import Sealed
from tdw.store.salvage.wreck import Advice, Config, Repaired, Split, Wreck, empty_record
from tdw.store.validate import check_safetensors

SURE = 1e-8  # the probability with which a checksum of 32 bits may be right by accident: some tries of one


@dataclass
class Salvage:
    """The intact parts of a file.

    Lost values of a curve are NaN, or 0 in a curve of integers; `damage` has a sentence for each loss.
    """

    path: Path
    layout: Layout
    config: Config
    notes: dict[str, Any]
    split: Split
    curves: dict[str, np.ndarray]
    checkpoints: list[tuple[int, int]]  # (epoch, row)
    resume: tuple[int, bytes] | None
    analyses: dict[str, tuple[AnalysisPlan, dict[str, np.ndarray]]]
    damage: list[str] = field(default_factory=list)
    wreck: Wreck | None = None

    def checkpoint(self, row: int) -> bytes:
        """The safetensors file in a row."""
        assert self.wreck is not None
        extent = self.layout.extents["checkpoints/safetensors"]
        return bytes(self.wreck.read(extent.offset + row * extent.row_nbytes, self.layout.blob_nbytes))


def survey(fd: int, path: Path, advice: Advice) -> Salvage:
    """Judge every part of an open file by itself. The descriptor may then be that of a copy in the file's own order. Raises NewerFormatError, and ProjectError where nothing can be recovered."""
    damage: list[str] = []
    layout, records, planned = _by_name(fd, path, damage) or locate(fd, path, advice, damage)
    wreck = Wreck(fd, path, 0, 0, layout, records[0] if records else empty_record(layout), 0, alike=True)
    return _Survey(wreck, records, advice, damage, planned=planned).salvage()


def _by_name(fd: int, path: Path, damage: list[str]) -> tuple[Layout, list[Record], bool] | None:
    """What `locate` returns, for a file that another HDF5 program rewrote; the descriptor is then that of its image."""
    if not rewritten(fd, path):
        return None
    image, layout, foreign = image_of(fd, path)
    with image:
        records = valid_records(image.fileno(), layout)
        if not records:
            return None
        seals = {record.seal for record in records}
        chance = len(seals) * restore_creation_time(image, layout, seals) / 2**32
        os.dup2(image.fileno(), fd, inheritable=False)
    damage.append(Repaired("the file was rewritten or changed by another HDF5 program; its arrays were read by name"))
    if chance > SURE:
        damage.append(
            "settings, notes and split match their checksum, but an earlier version of tdw, which made the file, put the time "
            f"of its creation under it, and that was replaced: with a probability of {100 * chance:.1g} % wrong ones "
            "would match as well. They were copied unchanged, check them before training"
        )
    if foreign:
        damage.append(Repaired(f"attributes of another program were left out: {', '.join(foreign[:10])}"))
    return layout, records, False


class _Survey:
    def __init__(self, wreck: Wreck, records: list[Record], advice: Advice, damage: list[str], *, planned: bool):
        self._wreck, self._layout, self._records = wreck, wreck.layout, records
        self._advice, self._damage, self._planned = advice, damage, planned

    def salvage(self) -> Salvage:
        config, notes, split = Sealed(self._wreck, self._records, self._advice, self._damage).read()
        if len(self._records) == 1 and self._records[0].clean:
            self._damage.append(
                Repaired("one of the two commit records is damaged; the other one is intact and says the same")
            )
        self._tails()
        epochs = self._column("checkpoints/epoch")
        checkpoints = self._checkpoints(epochs)
        n_epochs = max([self._records[0].n_epochs if self._records else 0, *(epoch + 1 for epoch, _ in checkpoints)])
        curves = {name: self._curve(name, n_epochs) for name in self._layout.curves}
        resume = self._resume()
        analyses = {
            plan.name: (plan, rows)
            for plan in self._layout.analyses.values()
            if (rows := self._results(plan)) is not None
        }
        salvage = Salvage(self._wreck.path, self._layout, config, notes, split, curves, checkpoints, resume, analyses)
        salvage.damage, salvage.wreck = self._damage, self._wreck
        return salvage

    def _tails(self) -> None:
        """Report which last rows were read from their copies."""
        if not self._records or not self._records[0].clean:  # uncommitted rows may have been written over them
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
        """The rows of a growing array that the newest possible record proves; None where none does."""
        extent = self._layout.extents[name]
        for record in self._records:
            at = self._wreck.at(record)
            try:
                at.check(name)
            except DamagedFileError:
                continue
            data = at.read_array(name, 0, at.committed(name))
            return np.frombuffer(data, extent.dtype).reshape(-1, *extent.shape[1:])
        return None

    def _newest_count(self, name: str) -> int:
        return self._records[0].rows[self._layout.growing.index(name)] if self._records else 0

    def _curve(self, name: str, n_epochs: int) -> np.ndarray:
        rows, dtype = self._rows(name), self._layout.extents[name].dtype
        kept, proven = np.full(n_epochs, np.nan if dtype.kind == "f" else 0, dtype), np.zeros(n_epochs, bool)
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
        """(first row, rows) of the intact blocks of a curve (format 1.1)."""
        if not self._layout.has_tails or not self._records:
            return
        at = self._wreck.at(self._records[0])
        extent, table = self._layout.extents[name], self._layout.extents[BLOCK_CRCS]
        committed = at.committed(name)
        crcs = np.frombuffer(
            at.read(table.offset + self._layout.curves.index(name) * table.row_nbytes, table.row_nbytes), "<u4"
        )
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
        """A column of the checkpoint table where it is proven."""
        rows = self._rows(name)
        if rows is None or len(rows) < self._newest_count(name):
            self._damage.append(f"the bytes of {name!r} do not match their checksum")
        return rows

    def _checkpoints(self, epochs: np.ndarray | None) -> list[tuple[int, int]]:
        """(epoch, row) of every intact checkpoint, in increasing order."""
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
                problem = "its epoch is unknown"
            named = f" (epoch {int(epochs[row])})" if epochs is not None and row < len(epochs) else ""
            self._damage.append(f"checkpoint {row}{named}: {problem}")
        return found

    def _resume(self) -> tuple[int, bytes] | None:
        wanted = False
        for record in self._records:
            if record.resume_slot < 0:
                continue
            at = self._wreck.at(record)
            try:
                epoch, data = at.resume()
            except DamagedFileError:
                wanted = True
                continue
            if check_safetensors(memoryview(data)) is None:
                if wanted or epoch != record.resume_epoch:
                    self._damage.append(
                        f"the resume state does not match its checksum; an earlier one, of epoch {epoch}, does"
                    )
                return epoch, bytes(data)
            wanted = True
        if wanted or not self._records:
            self._damage.append("the resume state does not match its checksum: training cannot be resumed")
        return None

    def _results(self, plan: AnalysisPlan) -> dict[str, np.ndarray] | None:
        found = {array: self._rows(f"analysis/{plan.name}/{array}") for array in plan.arrays}
        lengths = {None if rows is None else len(rows) for rows in found.values()}
        newest = self._newest_count(f"analysis/{plan.name}/{next(iter(plan.arrays))}")
        if lengths == {newest} and self._records:
            return {array: rows for array, rows in found.items() if rows is not None}
        self._damage.append(f"the results of {plan.name} do not match their checksum; `tdw analyze` recomputes them")
        return None


def _epoch_in(blob: memoryview) -> int | None:
    """The epoch in a checkpoint's own metadata."""
    (length,) = struct.unpack("<Q", blob[:8])
    text = json.loads(bytes(blob[8 : 8 + length])).get("__metadata__", {}).get("epoch", "")
    return int(text) if text.isdigit() and len(text) < 19 else None
