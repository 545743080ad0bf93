"""Real training, analyzing, creating and closing, killed at random instants in the same file again and again.

Every number is compared with an uninterrupted run of the same settings, bit for bit; what the killed process had
reported, with what it yielded.
"""

from __future__ import annotations

import contextlib
import io
import random
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest

import tdw
from tdw import store
from tdw.analyses import ANALYSES
from tdw.cli import main
from tdw.store import LOSSES, Reader
from tests.store import store_runs
from tests.store.trained import STEP
from tests.store.workshop import (
    START,
    Held,
    Outcome,
    Whole,
    Workshop,
    analyze,
    look,
    new,
    read,
    same,
    train,
    uninterrupted,
)

# Where a kill has to fall: what was under way, and how many of each 20 kills must have fallen there.
ANYWHERE = 20
NEW, OVER = ("new", "create"), ("new over", "create")
QUOTAS = {
    NEW: 1,
    OVER: 2,
    ("train", "commit"): 4,
    ("train", "structure"): 2,  # more epochs
    ("train", "close"): 1,
    ("train", "close", "structure"): 1,  # compaction
    ("analyze", "structure"): 2,
    ("analyze", "commit"): 1,
}


def check(path: Path, outcome: Outcome, whole: Whole, before: Held | None, asked: int) -> Held | None:
    """After a kill: plain h5py opens the file, all that was reported is there, verify is content."""
    least, creating = before, outcome.under_way == ("new", "create")
    if not path.exists():
        assert before is None
        made = [word for word in outcome.words if word["word"] == "end" and word["stack"] == ["new", "create"]]
        assert not made, "it was said to be there"
        return None
    with store.open_reader(path) as reader:
        for word in outcome.words:
            if word["word"] == "end" and word["stack"] == ["new", "create"]:
                least = Held()
            elif word["word"] == "end" and word["stack"][-1] == "structure" and word["stack"][0] != "analyze":
                assert least is not None
                least = replace(least, planned=asked)
            elif word["word"] == "stored":
                assert least is not None
                least = replace(least, epochs=max(least.epochs, word["last"] + 1), checkpoints=word["checkpoints"])
                check_sums(reader, word)
            elif word["word"] == "rows":
                assert least is not None
                known = {name: word["rows"] for name in word["names"] if name in whole.analyses and name != "events"}
                least = replace(least, rows=least.rows | known)
        found = look(reader, whole)
        assert reader.resume()[0] <= max(found.epochs - 1, 0), "training goes on from what is recorded"
        assert reader.verify() == []
    with h5py.File(path) as file:
        n = int(file["commit"][:, 1].max())
        assert same(file["losses/train"][:n], whole.series["losses/train"][:n])
        assert n >= found.epochs
    with contextlib.redirect_stdout(io.StringIO()):
        assert main.main(["verify", str(path)]) == 0
    assert store_runs.released(path)
    if creating and (least is None or found.epochs == 0):
        assert found == Held()
        return found
    assert least is not None
    assert found.epochs >= least.epochs
    assert found.checkpoints >= least.checkpoints
    changing = "structure" in outcome.under_way
    assert found.planned in ({least.planned, asked} if changing else {least.planned}), outcome.under_way
    for name, rows in least.rows.items():
        # What is measured by the key frequencies of the last checkpoint is computed again when those change.
        assert found.rows[name] >= rows or ANALYSES[name].final_keys, name
    return found


def check_sums(reader: Reader, word: dict[str, Any]) -> None:
    """What is in the file is what the process yielded before it said that this was stored."""
    for name, expected in word["sums"].items():
        assert zlib.crc32(reader.read(name, word["first"], word["last"] + 1).tobytes()) == expected, name
    if word["blob"] is not None:
        index = reader.checkpoint_epochs().tolist().index(word["last"])  # it may have been there before
        assert zlib.crc32(reader.checkpoint(index)) == word["blob"]


def act(path: Path, target: tuple[str, ...] | None, held: Held | None, longer: int) -> tuple[list[list[str]], int]:
    """Commands that come by a target, and how many epochs they plan. The file may be anything a kill has left."""
    if held is None or target == OVER:
        return [new(path, START)], START
    go_on = train(path, longer) if held.epochs > held.planned else train(path)
    asked = longer if held.epochs > held.planned else held.planned
    if target == ("train", "structure"):
        return [train(path, longer)], longer
    if target == ("train", "close", "structure") and held.epochs > 1:
        return [["spare", str(path), str(longer)], train(path)], longer
    if target is None or target[0] == "analyze":
        return [go_on, analyze(path)], asked
    return [go_on], asked


def aim(choose: random.Random, lacking: list[tuple[str, ...]], *, early: bool) -> tuple[str, ...] | None:
    """Where the next kill is to fall: mostly where there were too few, sometimes anywhere. Creating again ends the run
    that is there, so it comes early.
    """
    if NEW in lacking:
        return NEW
    if choose.random() < 0.3:
        return None
    if OVER in lacking and (not early or choose.random() < 0.4):
        return OVER
    return choose.choice(
        [kind for kind in lacking if kind != OVER] or [kind for kind in QUOTAS if kind not in {NEW, OVER}]
    )


def survive(workshop: Workshop, folder: Path, kills: int, whole: Whole, seed: int) -> None:
    """Kill until there were so many kills and enough of every kind; then finish the run and compare it as a whole."""
    epochs = len(whole.series[LOSSES[0]]) - 1
    path = folder / "run.tdw"
    choose = random.Random(seed)
    held: Held | None = None
    fell: Counter[tuple[str, ...]] = Counter()
    since_created = reports = 0
    for _ in range(5 * kills):
        lacking = [kind for kind, quota in QUOTAS.items() if fell[kind] < quota * kills // ANYWHERE]
        if fell.total() >= kills and not lacking:
            break
        if NEW in lacking:
            path.unlink(missing_ok=True)
            held = None
        elif held is None:
            workshop.do(new(path, START))
            held = Held()
        target = aim(choose, lacking, early=fell.total() < kills // 2)
        longer = (held.planned if held else START) + choose.randrange(2, 5) * STEP
        assert longer <= epochs, "the uninterrupted run is too short to compare with"
        commands, asked = act(path, target, held, longer)
        nth = choose.randrange(1, 5) if target and target[-1] == "commit" else 1
        if target and target[-1] in {"commit", "structure", "create"} and choose.random() < 0.5:
            # Between two writes there is least that holds together, and it is soon over.
            target, nth = (*target, "write"), choose.randrange(1, 20)
        part = choose.random() ** 2 if target is None else choose.random() * 1.2
        within = None if target is None else tuple(name.removesuffix(" over") for name in target)
        outcome = workshop.kill(*commands, within=within, nth=nth, part=part)
        kind = outcome.under_way if held is None or outcome.under_way != NEW else OVER
        held = check(path, outcome, whole, held, asked)
        reports += sum(word["word"] in {"stored", "rows"} for word in outcome.words)
        if outcome.killed:
            fell[kind] += 1
            since_created = 0 if held is None or held == Held() else since_created + 1
    assert fell.total() >= kills
    assert not lacking, f"{lacking} was never hit: {fell}"
    assert since_created >= kills // 3, "the run at the end is hardly one that was killed"
    assert reports > kills // 3, "hardly anything was reported that could have been lost"

    workshop.do(train(path, epochs), analyze(path))
    end = read(path)
    for name in LOSSES:
        assert same(end.series[name], whole.series[name]), name
    assert end.blobs == whole.blobs
    assert end.resume == whole.resume
    for name, arrays in whole.analyses.items():
        for array, values in arrays.items():
            assert same(end.analyses[name][array], values), (name, array)
    with tdw.open(path) as run:
        assert (run.state, run.drifts(), run.verify()) == ("finished", [], [])
        assert len(run.environments) == 1
    assert [item.name for item in path.parent.iterdir() if item.is_file()] == [path.name]
    print(
        f"{fell.total()} kills, {reports} reports held; the last {since_created} in one run of {held.epochs} epochs: {fell}"
    )


def test_twenty_kills_of_real_training_lose_nothing(workshop, whole, tmp_path):
    survive(workshop, tmp_path, 20, whole, seed=1)


@pytest.mark.slow
def test_two_hundred_kills_of_real_training_lose_nothing(workshop, tmp_path_factory, tmp_path):
    survive(workshop, tmp_path, 220, uninterrupted(workshop, tmp_path_factory.mktemp("whole"), 4500), seed=1000)


def test_the_command_itself_killed_and_started_again_comes_to_the_same_end(workshop, whole, tmp_path):
    path = tmp_path / "run.tdw"
    workshop.do(new(path, 600))
    held: Held | None = Held(planned=600)
    for further in (130, 210):
        assert held is not None
        process = subprocess.Popen([sys.executable, "-m", "tdw", *train(path)], stdout=subprocess.DEVNULL)
        with tdw.open(path) as run:
            while len(run.epochs) < held.epochs + further:
                assert process.poll() is None, "it ended by itself"
                time.sleep(0.01)
                run.refresh()
            seen = replace(held, epochs=len(run.epochs), checkpoints=len(run.checkpoints))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        held = check(path, Outcome([], killed=True), whole, seen, 600)
    workshop.do(train(path))
    end = read(path)
    assert len(end.series["losses/train"]) == 601
    assert all(same(end.series[name], whole.series[name][:601]) for name in LOSSES)
    assert end.blobs == {epoch: blob for epoch, blob in whole.blobs.items() if epoch <= 600}
