"""Runs whose every value follows from its place, so that any reader can tell whether what it sees is exact."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from tdw import store
from tdw.store import LOSSES, AnalysisPlan, ArrayPlan, Reader, Writer
from tdw.store.filesystem import SYSTEM, System

EPOCHS = 1400  # 11 kB of each loss: some whole blocks of 4096 bytes and a tail
CAPACITY = 12
SPLIT_TRAIN = np.arange(0, 49, 2)
SPLIT_TEST = np.arange(1, 49, 2)


def losses(start: int, stop: int) -> dict[str, np.ndarray]:
    """The four arrays from epoch start to stop; test ones only at every tenth epoch."""
    epoch = np.arange(start, stop)
    found = {name: np.sin(epoch * (i + 1.0)) / (epoch + 1) for i, name in enumerate(LOSSES)}
    for name in ("losses/test", "accuracy/test"):
        found[name] = np.where(epoch % 10 == 0, found[name], np.nan)
    return found


def blob(epoch: int, what: int = 0, size: int = 700) -> bytes:
    """A checkpoint (what = 0) or a resume state (1): random numbers that follow from the epoch."""
    values = np.random.default_rng([epoch, what]).standard_normal(size * (1 + what)).astype("f4")
    return save({"embed.W_E": values}, {"epoch": f"{epoch:010d}"})


def plan(name: str, threshold: float = 0.5, capacity: int = CAPACITY) -> AnalysisPlan:
    """An analysis with arrays of every width; a row is 8 + 92 + 7 bytes."""
    arrays = {"epoch": ArrayPlan("<i8", ()), "share": ArrayPlan("<f4", (23,)), "dead": ArrayPlan("|u1", (7,))}
    return AnalysisPlan(name, 1, {"threshold": threshold}, arrays, capacity)


def rows(name: str, threshold: float, start: int, stop: int) -> dict[str, np.ndarray]:
    """Rows of such an analysis."""
    seed = [len(name), int(threshold * 1000)]
    values = [np.random.default_rng([*seed, row]).standard_normal(23).astype("f4") for row in range(start, stop)]
    return {
        "epoch": np.arange(start, stop) * 3,
        "share": np.array(values, "f4").reshape(-1, 23),
        "dead": np.repeat(np.arange(start, stop)[:, None], 7, axis=1).astype("u1"),
    }


def create(path: Path, system: System = SYSTEM, **changes: Any) -> Writer:
    """A small run at epoch 0."""
    settings: dict[str, Any] = {
        "config": {"p": 7, "room": EPOCHS},
        "split_train": SPLIT_TRAIN,
        "split_test": SPLIT_TEST,
        "epochs": EPOCHS,
        "checkpoint_capacity": CAPACITY,
        "blob_nbytes": len(blob(0)),
        "resume_nbytes": len(blob(0, 1)),
        "resume": blob(0, 1),
    }
    return store.create(path, system=system, **(settings | changes))


def step(writer: Writer, count: int, *, checkpoint: bool = False, resume: bool = False) -> None:
    """Append the next losses, and what belongs to the last of those epochs."""
    start, last = writer.reader.n_epochs, writer.reader.n_epochs + count - 1
    writer.append(
        curves=losses(start, start + count),
        checkpoints=[(last, blob(last))] if checkpoint else (),
        resume=(last, blob(last, 1)) if resume else None,
    )


def finished(path: Path, epochs: int = 600, notes: dict[str, Any] | None = None) -> Path:
    """A closed file with something of everything in it; losses and one analysis fill more than a block."""
    with create(path, epochs=epochs, checkpoint_capacity=4) as writer:
        for count in (1, 100, 100, epochs - 200):
            step(writer, count, checkpoint=True, resume=True)
        writer.plan_analyses([plan("summary", capacity=60), plan("events", 0.25)])
        writer.append_rows({"summary": rows("summary", 0.5, 0, 50), "events": rows("events", 0.25, 0, 2)})
        writer.set_notes(notes or {"title": "a small run"})
    return path


def check_exact(file: Reader | Writer) -> None:
    """Read everything; assert that each value is the one that belongs there."""
    reader = file.reader if isinstance(file, Writer) else file
    n = reader.n_epochs
    for name, expected in losses(0, n).items():
        assert np.array_equal(reader.read(name), expected, equal_nan=True), name
    assert np.array_equal(reader.read("split/train"), SPLIT_TRAIN)
    assert np.array_equal(reader.read("split/test"), SPLIT_TEST)
    epochs = reader.checkpoint_epochs()
    assert len(epochs) == reader.n_checkpoints
    for i, epoch in enumerate(epochs):
        assert bytes(reader.checkpoint(i)) == blob(int(epoch)), epoch
    for name, found in reader.analyses().items():
        expected_rows = rows(name, found.parameters["threshold"], 0, found.rows)
        for array, values in expected_rows.items():
            assert np.array_equal(reader.read(f"analysis/{name}/{array}"), values), (name, array)
    epoch, state = reader.resume()
    assert state == blob(epoch, 1)


def summary(reader: Reader) -> dict[str, Any]:
    """What a file holds, in numbers that only grow while the analyses stay the same."""
    return {
        "epochs": reader.n_epochs,
        "checkpoints": reader.n_checkpoints,
        "resume": reader.commit.resume_epoch,
        "rows": {f"{a.name} {a.parameters['threshold']}": a.rows for a in reader.analyses().values()},
        "notes": reader.notes(),
        "room": reader.planned_epochs,
    }


def released(path: Path) -> bool:
    """Whether no process writes to a file any more, a few seconds after its writer was killed: a child that the writer had just
    forked, and that has not become another program yet, keeps its locks for that long.
    """
    deadline = time.monotonic() + 10
    while store.locked_by(path) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    return store.locked_by(path) is None
