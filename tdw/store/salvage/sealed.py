"""Settings, notes and split of a damaged file, which share one checksum, the seal, with the structure.

When the seal does not match, each of them is replaced by what it should be until it does.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tdw.errors import DamagedFileError
from tdw.store import seen_files
from tdw.store.by_name import plan_of
from tdw.store.commit_record import Record
from tdw.store.salvage.wreck import Advice, Config, Repaired, Split, Wreck
from tdw.store.validate import parse_json


class Sealed:
    """The parts of one file that the seal covers; `damage` takes a sentence for each that is wrong."""

    def __init__(self, wreck: Wreck, records: list[Record], advice: Advice, damage: list[str]):
        self._wreck, self._layout, self._records = wreck, wreck.layout, records
        self._advice, self._damage = advice, damage

    def read(self) -> tuple[Config, dict[str, Any], Split]:
        """Settings, notes and split, proven by the seal where possible."""
        stored = {name: self._wreck.sealed(name) for name in ("config", "notes", "split/train", "split/test")}
        seals = {record.seal for record in self._records}
        if self._wreck.seal() in seals:
            return self._parsed(stored)
        whole = self._image()
        for words, replaced in self._replacements(stored):
            if _crc(whole, replaced) in seals:
                names = {offset: name for name, offset in ((n, self._layout.extents[n].offset) for n in stored)}
                self._damage.append(Repaired(f"{words} damaged and restored: the checksum matches again"))
                mended = {names[at]: data for at, data in replaced.items() if at in names}
                return self._parsed(stored | mended)
        self._damage.append(
            "the structure, settings, notes or split do not match their checksum, and which of them is unknown: "
            "they were copied unchanged, check them before training"
        )
        return self._parsed(stored)

    def _image(self) -> list[tuple[int, bytearray]]:
        return [(start, self._wreck.read(start, end - start)) for start, end in self._layout.sealed()]

    def _replacements(self, stored: Mapping[str, bytes]) -> Iterator[tuple[str, dict[int, bytes]]]:
        """Possible damage, in words, and the correct bytes by offset."""
        extents = self._layout.extents
        as_it_is = stored["config"]
        others = [text for text in seen_files.configs() if len(text) == len(as_it_is) and text != as_it_is]
        configs = [("", as_it_is), *(("the settings were", text) for text in others)]
        for config_words, config in configs:
            with_config = {extents["config"].offset: config} if config_words else {}
            for split_words, split in [("", {}), *self._split_of(config)]:
                for structure_words, structure in self._structure_of(config, stored, split):
                    words = [text for text in (config_words, split_words, structure_words) if text]
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
        """The metadata as stored, and as this program would write it now."""
        from tdw.store.planner import plan_file

        yield "", {}
        layout = self._layout
        pieces = {**stored, "config": config}
        pieces |= {name: split[layout.extents[name].offset] for name in pieces if layout.extents[name].offset in split}
        skeleton = plan_file(plan_of(layout, pieces.__getitem__))
        if {n: e.offset for n, e in skeleton.layout.extents.items()} == {
            n: e.offset for n, e in layout.extents.items()
        }:
            yield "the structure was", {at: data for at, data in skeleton.metadata.items() if at < layout.size}

    def _parsed(self, stored: Mapping[str, bytes]) -> tuple[Config, dict[str, Any], Split]:
        config = parse_json(stored["config"], f"{self._wreck.path}: nothing can be recovered, its settings")
        try:
            notes = parse_json(stored["notes"], "notes")
        except DamagedFileError:
            self._damage.append("the notes are lost")
            notes = {}
        return config, notes, (np.frombuffer(stored["split/train"], "<i8"), np.frombuffer(stored["split/test"], "<i8"))


def _crc(image: list[tuple[int, bytearray]], replaced: Mapping[int, bytes]) -> int:
    """The seal of the file with these bytes replaced."""
    crc = 0
    for start, data in image:
        changed = bytearray(data)
        for at, piece in replaced.items():
            if start <= at < start + len(data):
                whole = piece[: len(data) - (at - start)]
                changed[at - start : at - start + len(whole)] = whole
        crc = zlib.crc32(changed, crc)
    return crc
