"""SIGKILL at random instants of writing, structural changes, create and close, on the same file again and again."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tdw import store
from tests.store import store_runs

TORTURED = ("-m", "tests.store.tortured")


def killed(path: Path, seed: int, delay: float) -> list[dict[str, Any]]:
    """Start the process, kill it `delay` seconds after its first words, return all it said."""
    process = subprocess.Popen([sys.executable, *TORTURED, str(path), str(seed)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended by itself, so something failed in it"
    whole = (first + rest).split(b"\n")[:-1]  # what the kill cut off was not said
    return [json.loads(line) for line in whole if line]


def check_against(path: Path, words: list[dict[str, Any]], before: dict[str, Any] | None) -> dict[str, Any]:
    """Everything that was said to be done is there, and what was being done is there whole or not at all."""
    done = [word for word in words if word["word"] == "done"]
    last = {key: value for key, value in done[-1].items() if key != "word"} if done else before
    doing = words[-1] if words and words[-1]["word"] != "done" else {"word": "nothing"}
    with store.open_reader(path) as reader:
        store_runs.check_exact(reader)
        assert reader.verify() == []
        found = store_runs.summary(reader)
    if last is None or (doing["word"] == "create" and found["epochs"] == 0):
        return found
    assert found["epochs"] >= last["epochs"]
    assert found["checkpoints"] >= last["checkpoints"]
    assert found["resume"] >= last["resume"]
    assert found["notes"] in ([last["notes"], doing["notes"]] if doing["word"] == "notes" else [last["notes"]])
    assert found["room"] in ([last["room"], doing["room"]] if doing["word"] == "extend" else [last["room"]])
    for name, count in last["rows"].items():
        planned = doing["word"] == "plan" and name.split()[0] in {doing["name"], *doing["removed"]}
        assert planned or found["rows"][name] >= count, name
    return found


def survive(path: Path, kills: int, seed: int) -> None:
    choose = random.Random(seed)
    before: dict[str, Any] | None = None
    for kill in range(kills):
        words = killed(path, seed + kill, choose.random() ** 2 * 0.25)
        if not path.exists():
            assert not [word for word in words if word["word"] == "done"]
            continue
        before = check_against(path, words, before)
        with h5py.File(path) as file:  # plain h5py sees the same epochs, or some more that were not reported yet
            n = int(file["commit"][:, 1].max())
            assert n >= before["epochs"]
            expected = store_runs.losses(0, before["epochs"])["losses/train"]
            assert np.array_equal(file["losses/train"][: before["epochs"]], expected)
        assert store_runs.released(path)
    with store.open_writer(path) as writer:
        store_runs.step(writer, 5, resume=True)
        assert store.locked_by(path) is not None
    with store.open_reader(path) as reader:
        store_runs.check_exact(reader)
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_twenty_kills_lose_nothing_that_was_reported(tmp_path):
    survive(tmp_path / "run.tdw", kills=20, seed=1)


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing_that_was_reported(tmp_path):
    survive(tmp_path / "run.tdw", kills=220, seed=1000)


def test_a_killed_create_leaves_a_whole_file_or_none(tmp_path):
    """Killed within a few milliseconds of its start, again and again over the same name."""
    path = tmp_path / "run.tdw"
    for kill in range(6):
        path.unlink(missing_ok=True)
        killed(path, kill, kill * 0.004)
        if path.exists():
            with store.open_reader(path) as reader:
                store_runs.check_exact(reader)
    with store_runs.create(path, overwrite=True):  # removes what the killed ones left next to it
        pass
    assert [item.name for item in tmp_path.iterdir()] == ["run.tdw"]
