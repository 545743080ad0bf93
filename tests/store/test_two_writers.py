"""Two processes want to write to one file, by whatever names and in whatever order; and files overwritten in place.

One trains. Its file is renamed, linked or loses its lock file, it is paused or not, and another process is told to train
it. In the end both are killed. Nothing that either had reported may be lost, and at no time may both have written.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tdw.errors import TdwError
from tdw.operations import recover
from tdw.store import LOSSES, lock
from tests.store.workshop import Whole, Workshop, new, read, same, train, uninterrupted

EPOCHS = 400
KINDS = ("rename", "link", "lock removed", "rename and lock removed", "overwritten", "replaced")
REFUSED = re.compile(r"is being written to by (process \d+|another process)|was overwritten by another program")


@contextlib.contextmanager
def workshops(broken: str = "") -> Iterator[tuple[Workshop, Workshop]]:
    pair = Workshop(broken), Workshop(broken)
    try:
        yield pair
    finally:
        for one in pair:
            one.close()


def stored(words: list[dict[str, Any]]) -> int:
    """Epochs that a process had reported as stored."""
    return max((word["last"] + 1 for word in words if word["word"] == "stored"), default=0)


def until(workshop: Workshop, epochs: int) -> list[dict[str, Any]]:
    """Words until so many epochs are reported."""
    words: list[dict[str, Any]] = []
    while stored(words) < epochs:
        words.append(workshop.word())
    return words


class Trial:
    """One file, one process that trains it, and what happens to them."""

    def __init__(self, pair: tuple[Workshop, Workshop], folder: Path, whole: Whole, seed: int):
        self.one, self.other = pair
        self.folder, self.whole = folder, whole
        self.choose = random.Random(seed)
        self.path = folder / "run.tdw"
        self.problem: str | None = None

    def run(self, kind: str) -> str | None:
        """What went wrong; None when nothing did."""
        self.one.do(new(self.path, EPOCHS))
        pid = self.one.begin(train(self.path))
        words = until(self.one, self.choose.randrange(20, EPOCHS // 3))
        paused = kind in {"overwritten", "replaced"} or self.choose.random() < 0.5
        if paused:
            os.kill(pid, signal.SIGSTOP)
        if kind in {"overwritten", "replaced"}:
            return self.overwrite(kind, pid, words)
        there = self.disturb(kind)
        said = self.other.attempt(train(there, EPOCHS + 10))
        if paused:
            os.kill(pid, signal.SIGCONT)
            time.sleep(self.choose.random() * 0.1)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        words += self.one.to_the_end()
        if said is None and stored(words) >= EPOCHS:
            return self.problem  # the first had finished before the second began, which then extended the run
        if said is None:
            self.note("a second process trained it")
        elif not REFUSED.search(said):
            self.note(f"the second process said {said!r}")
        self.check(there, stored(words))
        if self.problem is None:
            self.other.do(train(there))
            self.check(there, EPOCHS + 1)
        return self.problem

    def disturb(self, kind: str) -> Path:
        """Do something to the file that is written to; where to find it then."""
        there = self.path
        if "lock removed" in kind:
            lock.sidecar(self.path).unlink(missing_ok=True)
        if "rename" in kind:
            there = self.folder / "moved.tdw"
            self.path.rename(there)
        if kind == "link":
            there = self.folder / "linked.tdw"
            there.hardlink_to(self.path)
        return there

    def overwrite(self, kind: str, pid: int, words: list[dict[str, Any]]) -> str | None:
        """Put another run in the file, or a file in its place, while its writer is paused; then let that one go on."""
        mine = self.folder / "other.tdw"
        shutil.copyfile(self.folder.parent / "other.tdw", mine)
        put = mine.read_bytes()
        if kind == "overwritten":
            with self.path.open("r+b") as file:
                file.truncate(len(put) if self.choose.random() < 0.5 else max(len(put), self.path.stat().st_size))
                file.write(put)
                file.truncate(len(put))
        else:
            mine.replace(self.path)
        os.kill(pid, signal.SIGCONT)
        words += self.one.to_the_end()
        failed = [word for word in words if word["word"] == "failed"]
        if not failed:
            self.note("it trained to its end in a file that another program had overwritten")
        elif self.path.read_bytes() != put:
            self.note("something was written to the file that was put there")
        else:
            rescued = self.folder / "run-rescued.tdw"
            if str(rescued) not in failed[0]["said"]:
                self.note(f"it said {failed[0]['said']!r}")
            else:
                self.check(rescued, stored(words), checkpoints=kind == "replaced")
                self.one.do(train(rescued))
                self.check(rescued, EPOCHS + 1, checkpoints=kind == "replaced")
        return self.problem

    def check(self, path: Path, least: int, *, checkpoints: bool = True) -> None:
        """Everything that was reported is in the file, all of it right, and it is sound."""
        try:
            damage = recover.damage(path)
            end = read(path)
        except TdwError as error:
            self.note(f"{type(error).__name__}: {error}")
            return
        n = len(end.series[LOSSES[0]])
        if damage:
            self.note(f"verify says {damage}")
        if n < least:
            self.note(f"{least} epochs were reported as stored, {n} are there")
        compared = min(n, EPOCHS + 1)
        for name in LOSSES:
            if not same(end.series[name][:compared], self.whole.series[name][:compared]):
                self.note(f"{name} has other values")
        wrong = [epoch for epoch, blob in end.blobs.items() if self.whole.blobs.get(epoch, blob) != blob]
        if wrong or (checkpoints and len(end.blobs) < len([e for e in self.whole.blobs if e < min(least, EPOCHS)])):
            self.note(f"checkpoints are wrong or missing: {wrong}, {len(end.blobs)} are there")

    def note(self, problem: str) -> None:
        self.problem = self.problem or problem


def trials(
    pair: tuple[Workshop, Workshop], folder: Path, whole: Whole, count: int, seed: int, kinds=KINDS
) -> list[str]:
    """What went wrong in so many trials."""
    problems, done = [], Counter()
    if not (folder / "other.tdw").exists():
        pair[0].do(new(folder / "other.tdw", 50), train(folder / "other.tdw"))
    for number in range(count):
        kind = kinds[number % len(kinds)]
        place = folder / f"trial-{number}"
        place.mkdir()
        problem = Trial(pair, place, whole, seed + number).run(kind)
        if problem:
            problems.append(f"{kind} (seed {seed + number}): {problem}")
        done[kind] += 1
        shutil.rmtree(place)
    print(f"{done.total()} trials, {len(problems)} problems: {done}")
    return problems


def test_no_two_processes_write_to_one_file(whole, tmp_path):
    with workshops() as pair:
        assert trials(pair, tmp_path, whole, len(KINDS), seed=0) == []


@pytest.mark.slow
def test_no_two_processes_write_to_one_file_in_two_hundred_trials(tmp_path_factory, tmp_path):
    with workshops() as pair:
        whole = uninterrupted(pair[0], tmp_path_factory.mktemp("whole"), 1000)
        assert trials(pair, tmp_path, whole, 204, seed=1000) == []


WRITERS = tuple(kind for kind in KINDS if kind not in {"overwritten", "replaced"})


def test_without_a_lock_on_the_file_the_second_writer_is_found_before_it_does_harm(whole, tmp_path):
    """As on a system that has no such lock: both may open the file; the second to write sees the other's work."""
    with workshops("no lock on the file") as pair:
        problems = trials(pair, tmp_path, whole, 4, seed=0, kinds=("rename", "link"))
    assert [problem for problem in problems if "a second process trained it" not in problem] == []


@pytest.mark.parametrize(
    ("broken", "kinds"), [("no lock on the file, no fence", ("rename", "link")), ("no fence", ("overwritten",))]
)
def test_the_trials_notice_what_is_missing(whole, tmp_path, broken, kinds):
    with workshops(broken) as pair:
        assert trials(pair, tmp_path, whole, 2, seed=0, kinds=kinds)
