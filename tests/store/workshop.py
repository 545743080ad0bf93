"""Real training in processes that can be killed, and the run that it is compared with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tdw import store
from tdw.store import LOSSES, Reader
from tests.store.trained import STEP

TRAINED = ("-m", "tests.store.trained")
SETTINGS = {"p": 7, "d_model": 8, "heads": 2, "d_mlp": 8, "train_fraction": 0.5, "evaluate_every": 7, "threads": 1}
START = 40  # epochs of a run when it is made; training extends it


def new(path: Path, epochs: int) -> list[str]:
    given = SETTINGS | {"epochs": epochs, "checkpoints": f"0:{epochs}:{STEP}"}
    return ["new", str(path), "--force"] + [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]


def train(path: Path, epochs: int | None = None) -> list[str]:
    return ["train", str(path), *([] if epochs is None else [f"--epochs={epochs}", f"--checkpoints=0:{epochs}:{STEP}"])]


def analyze(path: Path) -> list[str]:
    return ["analyze", str(path)]


@dataclass
class Outcome:
    """What a process said, and whether it was killed, rather than having come to its end."""

    words: list[dict[str, Any]]
    killed: bool

    @property
    def under_way(self) -> tuple[str, ...]:
        """What had begun and not ended, single writes apart."""
        marks = [word for word in self.words if word["word"] in {"begin", "end"}]
        if not marks:
            return ()
        stack = marks[-1]["stack"]
        return tuple(name for name in (stack if marks[-1]["word"] == "begin" else stack[:-1]) if name != "write")


class Workshop:
    """Does `tdw` commands in processes of their own; see trained.py."""

    def __init__(self, broken: str = "") -> None:
        one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TDW_TEST_BROKEN": broken}
        self.process = subprocess.Popen(
            [sys.executable, *TRAINED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | one,
            text=True,
        )
        self.lengths: dict[tuple[str, ...], float] = {}

    def begin(self, *commands: list[str]) -> int:
        self._tell(json.dumps(commands))
        said = self.word()
        assert said["word"] == "started", said
        return int(said["pid"])

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def word(self) -> dict[str, Any]:
        said = self.any_word()
        assert said["word"] != "failed", said.get("why")
        return said

    def any_word(self) -> dict[str, Any]:
        """The next word, also that the commands failed."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "trained.py has ended"
        return json.loads(line)

    def to_the_end(self) -> list[dict[str, Any]]:
        """All words of the child until it has ended by itself or been killed; the last one says how."""
        self._tell("")
        words = []
        while (said := self.any_word())["word"] != "ended":
            words.append(said)
        return words

    def attempt(self, *commands: list[str]) -> str | None:
        """Do commands; what the command line said when one of them failed."""
        self.begin(*commands)
        failed = [word for word in self.to_the_end() if word["word"] == "failed"]
        return failed[0]["said"] if failed else None

    def rest(self, words: list[dict[str, Any]] | None = None) -> Outcome:
        """Wait for the end of the child; what it says meanwhile is added to the words."""
        self._tell("")
        words = [] if words is None else words
        while (said := self.word())["word"] != "ended":
            words.append(said)
        assert said["status"] in {0, -signal.SIGKILL}
        self._learn_lengths(words)
        return Outcome(words, killed=said["status"] != 0)

    def do(self, *commands: list[str]) -> None:
        self.begin(*commands)
        assert not self.rest().killed

    def kill(self, *commands: list[str], within: tuple[str, ...] | None, nth: int, part: float) -> Outcome:
        """Kill the process when this has begun for the nth time and a part of its usual length is over (None: after
        that part of a quarter of a second, whatever it does then).
        """
        pid = self.begin(*commands)
        words = []
        while True:
            words.append(said := self.word())
            if said["word"] == "over":
                break
            if within is None or (said["word"] == "begin" and tuple(said["stack"]) == within):
                nth -= 1
                if not nth:
                    time.sleep(part * (0.25 if within is None else self.lengths.get(within, 0.002)))
                    break
        os.kill(pid, signal.SIGKILL)
        return self.rest(words)

    def _learn_lengths(self, words: list[dict[str, Any]]) -> None:
        begun = {}
        for word in words:
            if word["word"] == "begin":
                begun[tuple(word["stack"])] = word["at"]
            elif word["word"] == "end" and (stack := tuple(word["stack"])) in begun:
                length = word["at"] - begun[stack]
                self.lengths[stack] = 0.5 * (length + self.lengths.get(stack, length))

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait() == 0


@dataclass
class Whole:
    """Everything in the file of a run that was never interrupted."""

    series: dict[str, np.ndarray]
    blobs: dict[int, bytes]
    analyses: dict[str, dict[str, np.ndarray]]
    resume: tuple[int, bytes]


def read(path: Path) -> Whole:
    with store.open_reader(path) as reader:
        series = {name: reader.read(name) for name in LOSSES}
        kept = {int(epoch): bytes(reader.checkpoint(i)) for i, epoch in enumerate(reader.checkpoint_epochs())}
        return Whole(series, kept, dict(of_checkpoints(reader)), reader.resume())


def of_checkpoints(reader: Reader) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Arrays of the analyses that have a row for each checkpoint; others say something else after each epoch."""
    for name, stored in reader.analyses().items():
        if "per" not in stored.parameters:
            yield name, {array: reader.read(f"analysis/{name}/{array}") for array in stored.arrays}


def uninterrupted(workshop: Workshop, folder: Path, epochs: int) -> Whole:
    path = folder / "whole.tdw"
    workshop.do(new(path, epochs), train(path), analyze(path))
    return read(path)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


@dataclass
class Held:
    """How much is in a file."""

    epochs: int = 0
    checkpoints: int = 0
    planned: int = START
    rows: dict[str, int] = field(default_factory=dict)


def look(reader: Reader, whole: Whole) -> Held:
    """How much is in a file, all of it compared with the uninterrupted run."""
    n = reader.n_epochs
    for name in LOSSES:
        assert same(reader.read(name), whole.series[name][:n]), name
    epochs = [int(epoch) for epoch in reader.checkpoint_epochs()]
    assert epochs == list(range(0, n, STEP))
    for i, epoch in enumerate(epochs):
        assert bytes(reader.checkpoint(i)) == whole.blobs[epoch], epoch
    rows = {}
    for name, arrays in of_checkpoints(reader):
        rows[name] = len(arrays["epoch"])
        # A shorter run may have ended with other key frequencies, and was then measured by those.
        comparable = np.ones(rows[name], bool)
        if "final_key" in arrays:
            of_whole = whole.analyses[name]["final_key"][: rows[name]]
            comparable = (arrays["final_key"] == of_whole).all(axis=(1, 2))
        for array, values in arrays.items():
            assert same(values[comparable], whole.analyses[name][array][: rows[name]][comparable]), (name, array)
    return Held(n, reader.n_checkpoints, reader.planned_epochs, rows)
