"""A disk that is written down, and what a power cut would have left of it.

`Recorder` is the operating system as the writer knows it, working on real files and keeping a log. `Cut` replays the log
up to any entry and says what may then be on the disk: all that was synced before, and of everything since, sectors of 512
bytes that landed or did not, in any order; whole blocks of 4096 bytes turned to garbage where a write was under way;
names that changed or did not, in order, and files whose size was not yet recorded.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tdw.store.filesystem import System, read_some, write_all

SECTOR, BLOCK = 512, 4096

Entry = tuple[Any, ...]


class Recorder(System):
    """Does what it is asked, and logs it: files by a number of their own, names without their folder."""

    def __init__(self) -> None:
        self.log: list[Entry] = []
        self._files: dict[int, int] = {}  # descriptor -> file
        self._inodes: dict[str, int] = {}  # name -> file
        self._next = 0

    def open_new(self, path: Path) -> int:
        fd = super().open_new(path)
        self._files[fd] = self._inodes[path.name] = self._next
        self.log.append(("new", path.name, self._next))
        self._next += 1
        return fd

    def open_existing(self, path: Path) -> int:
        fd = super().open_existing(path)
        self._files[fd] = self._inodes[path.name]
        return fd

    def allocate(self, fd: int, size: int) -> None:
        super().allocate(fd, size)
        self.log.append(("allocate", self._files[fd], size))

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        count = super().pwrite(fd, data, offset)
        self.log.append(("write", self._files[fd], offset, bytes(data[:count])))
        return count

    def copy(self, source: int, source_offset: int, target: int, target_offset: int, count: int) -> int:
        data = read_some(source, count, source_offset)
        write_all(self, target, data, target_offset)
        return len(data)

    def datasync(self, fd: int) -> None:
        super().datasync(fd)
        self.log.append(("sync", self._files[fd], "data"))

    def fsync(self, fd: int) -> None:
        super().fsync(fd)
        self.log.append(("sync", self._files[fd], "all"))

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        self._inodes[target.name] = self._inodes.pop(source.name)
        self.log.append(("rename", source.name, target.name))

    def name(self, source: Path, target: Path) -> None:
        super().name(source, target)
        self._inodes[target.name] = self._inodes.pop(source.name)
        self.log.append(("rename", source.name, target.name))

    def sync_folder(self, folder: Path) -> None:
        super().sync_folder(folder)
        self.log.append(("sync folder",))

    def say(self, what: dict[str, Any]) -> None:
        """Note that something was reported as saved."""
        self.log.append(("said", what))


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    size: int = 0
    pending: list[tuple[int, bytes]] = field(default_factory=list)

    def settle(self) -> None:
        """All that was written is on the disk."""
        self.durable.extend(bytes(self.size - len(self.durable)))
        for offset, data in self.pending:
            self.durable[offset : offset + len(data)] = data
        self.pending.clear()


class Cut:
    """The disk after the first `count` entries of a log."""

    def __init__(self, log: list[Entry], count: int):
        self.files: dict[int, _File] = {}
        self.names: dict[str, int] = {}
        self.pending_names: list[Entry] = []
        self.said: dict[str, Any] | None = None
        for entry in log[:count]:
            self._replay(entry)

    def _replay(self, entry: Entry) -> None:
        match entry:
            case ("new", _, number):
                self.files[number] = _File()
                self.pending_names.append(entry)
            case ("allocate", number, size):
                self.files[number].size = size
            case ("write", number, offset, data):
                self.files[number].pending.append((offset, data))
            case ("sync", number, _):
                self.files[number].settle()
            case ("rename", *_):
                self.pending_names.append(entry)
            case ("sync folder",):
                self._settle_names(self.names, self.pending_names)
                self.pending_names = []
            case ("said", what):
                self.said = what

    @staticmethod
    def _settle_names(names: dict[str, int], changes: list[Entry]) -> None:
        for change in changes:
            match change:
                case ("new", name, number):
                    names[name] = number
                case ("rename", source, target):
                    if source in names:
                        names[target] = names.pop(source)

    def states(self, choose: random.Random, random_states: int) -> Iterator[tuple[str, dict[str, bytes]]]:
        """What may be found after the power is back: (in words, name -> bytes), the telling ones first."""
        last = len(self.pending_names)
        yield "nothing since landed", self._disk("none", choose, 0)
        yield "all landed", self._disk("all", choose, last)
        yield "all but the names landed", self._disk("all", choose, 0)
        yield "only the names landed", self._disk("none", choose, last)
        yield "only the last writes landed", self._disk("last", choose, last)
        yield "the last write was torn", self._disk("torn", choose, last)
        yield "every block under way is garbage", self._disk("garbage", choose, choose.randint(0, last))
        for number in range(random_states):
            yield f"random state {number}", self._disk("random", choose, choose.randint(0, last))

    def _disk(self, kind: str, choose: random.Random, name_changes: int) -> dict[str, bytes]:
        names = dict(self.names)
        self._settle_names(names, self.pending_names[:name_changes])
        return {name: self._content(self.files[number], kind, choose) for name, number in names.items()}

    @staticmethod
    def _content(file: _File, kind: str, choose: random.Random) -> bytes:
        data = bytearray(file.durable)
        sized = kind == "all" or (kind in {"random", "garbage"} and choose.random() < 0.7)
        if sized:
            data.extend(bytes(file.size - len(data)))
        pending = file.pending
        if kind == "none":
            return bytes(data)
        if kind in {"last", "torn"}:
            pending = pending[-1:]
        for offset, new in pending:
            for at in range(offset, offset + len(new)):
                # one step per sector: the first byte of the write, then the first byte of each sector
                if at != offset and at % SECTOR:
                    continue
                end = min(offset + len(new), at - at % SECTOR + SECTOR)
                if end > len(data):
                    continue  # beyond a size that was not recorded
                landed = {"torn": at < offset + len(new) // 2, "random": choose.random() < 0.5}.get(kind, True)
                if landed:
                    data[at:end] = new[at - offset : end - offset]
        if kind == "garbage" or (kind == "random" and choose.random() < 0.5):
            for offset, new in pending:
                for block in range(offset // BLOCK, (offset + len(new) - 1) // BLOCK + 1):
                    if choose.random() < (1.0 if kind == "garbage" else 0.3):
                        end = min(len(data), (block + 1) * BLOCK)
                        data[block * BLOCK : end] = choose.randbytes(max(0, end - block * BLOCK))
        return bytes(data)
