"""A run is copied from front to back, slowly, while it is trained, extended or analyzed: every copy is whole.

What copies like that (cp, scp, rsync, backup programs) is stood for by a loop that reads pieces and waits.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import tdw
from tdw.errors import DamagedFileError, TdwError
from tdw.operations import recover
from tdw.store import LOSSES

COPIED = ("-m", "tests.store.copied")
PIECES = (4096, 32 << 10, 128 << 10, 256 << 10, 1 << 20)  # as many bytes are read at once by programs that copy
AT_ONCE = 8


@contextmanager
def at_work(path: Path, what: str, broken: str = "") -> Iterator[None]:
    process = subprocess.Popen([sys.executable, *COPIED, str(path), what, broken], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        yield
        assert process.poll() is None, "it ended by itself"
    finally:
        process.kill()
        process.communicate()


def copy(
    source: Path, target: Path, megabytes_per_second: float, piece: int, stop: threading.Event, slow: float = np.inf
) -> bool:
    """Copy a file, that many bytes of it slowly; False where it was no use to go on."""
    began, done = time.monotonic(), 0
    with source.open("rb", buffering=0) as old, target.open("wb", buffering=0) as new:
        while data := old.read(piece):
            new.write(data)
            done += len(data)
            wait = began + done / (1e6 * megabytes_per_second) - time.monotonic()
            if wait > 0 and done < slow and stop.wait(wait):
                return False
    return True


def wrong_with(path: Path) -> str | None:
    """What is wrong with a copy by itself; its values are compared later, with a run that is finished."""
    try:
        found = recover.damage(path)
        if found:
            return f"verify: {found[0]}"
        with tdw.open(path) as run:
            epoch, _ = run._store.resume()
            if not 0 <= epoch < max(len(run.epochs), 1):
                return f"a state of epoch {epoch} with {len(run.epochs)} epochs"
            for name in run.analyses():
                run.analysis(name)
    except TdwError as error:
        return f"{type(error).__name__}: {error}"
    return None


def made(
    folder: Path, what: str, count: int, seed: int, *, slowest: float, broken: str = ""
) -> tuple[list[Path], list[str]]:
    """Copies of a run that is worked on, and what is wrong with which."""
    source, stop, choose = folder / "run.tdw", threading.Event(), random.Random(seed)
    # What is broken shows in the slowest ones, and at their beginning.
    faster, slow = (0, 2e6) if broken else (np.log(100 / slowest), np.inf)
    plan = [(slowest * np.exp(faster * choose.random() ** 2), choose.choice(PIECES)) for _ in range(count)]
    problems, copies = [], []

    def one(number: int) -> None:
        target = folder / f"copy-{number}.tdw"
        rate, piece = plan[number]
        while not source.exists():
            time.sleep(0.001)
        if not copy(source, target, rate, piece, stop, slow):
            return
        problem = wrong_with(target)
        copies.append(target)
        if problem:
            problems.append(f"{what}, {rate:.1f} MB/s, {piece} bytes at once: {problem}")
            if broken:
                stop.set()

    with at_work(source, what, broken), ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, range(count)))
    return copies, problems


def check_values(copies: list[Path], source: Path) -> None:
    """Compare all that copies hold with the run that they were made of, which has gone on."""
    with tdw.open(source) as whole:
        series = {name: whole.series(name) for name in LOSSES}
        for path in copies:
            with tdw.open(path) as run:
                for name in LOSSES:
                    mine = run.series(name)
                    assert np.array_equal(mine, series[name][: len(mine)], equal_nan=True), (path, name)
                assert run.checkpoints == [epoch for epoch in whole.checkpoints if epoch < len(run.epochs)]
                for epoch in run.checkpoints:
                    theirs = whole.weights(epoch)
                    assert all((array == theirs[name]).all() for name, array in run.weights(epoch).items())


def check_training_goes_on(path: Path, folder: Path) -> None:
    """Training that goes on from a copy repeats what was recorded, and is the run that was never copied."""
    with tdw.open(path) as run:
        reached = len(run.epochs) - 1
    asked = iter(range(10**9))
    tdw.train(path, stop=lambda: next(asked) > reached + 100)
    with tdw.open(path) as run, tdw.open(folder / "run.tdw") as whole:
        assert run.drifts() == []
        n = min(len(run.epochs), len(whole.epochs))
        assert n > reached
        assert np.array_equal(run.train_loss[:n], whole.train_loss[:n])


@pytest.mark.parametrize("what", ["train", "extend", "analyze"])
def test_slow_copies_of_a_run_at_work_are_whole(tmp_path, what):
    copies, problems = made(tmp_path, what, 10, seed=1, slowest=3)
    assert problems == []
    check_values(copies, tmp_path / "run.tdw")
    check_training_goes_on(copies[-1], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("what", "count"), [("train", 80), ("extend", 70), ("analyze", 60)])
def test_two_hundred_slow_copies_are_whole(tmp_path, what, count):
    copies, problems = made(tmp_path, what, count, seed=2, slowest=0.5)
    assert problems == []
    assert len(copies) == count
    check_values(copies, tmp_path / "run.tdw")
    for path in copies[:: count // 5]:
        check_training_goes_on(path, tmp_path)


@pytest.mark.parametrize("broken", ["states", "order"])
def test_what_makes_them_whole_is_missed_when_it_is_gone(tmp_path, broken):
    _, problems = made(tmp_path, "train", 60, seed=3, slowest=0.5, broken=broken)
    assert problems


def test_a_copy_by_the_command_is_one_commit(tmp_path):
    source = tmp_path / "run.tdw"
    with at_work(source, "extend"):
        for number in range(5):
            tdw.copy(source, tmp_path / f"copy-{number}.tdw")
            assert wrong_with(tmp_path / f"copy-{number}.tdw") is None
    check_values(sorted(tmp_path.glob("copy-*.tdw")), source)


def test_a_damaged_run_is_not_copied(tmp_path, tiny_run):
    path = tmp_path / "run.tdw"
    data = bytearray(tiny_run.read_bytes())
    with tdw.open(tiny_run) as run:
        place = run._store.state.layout.extents["checkpoints/safetensors"].offset
    data[place + 999] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match="checkpoint 0"):
        tdw.copy(path, tmp_path / "new.tdw")
    assert [item.name for item in tmp_path.iterdir()] == ["run.tdw"]
