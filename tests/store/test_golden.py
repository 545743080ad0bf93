"""Every format ever released stays readable: `golden/` keeps a file of each one, never rewritten after its release.

`format-MAJOR.MINOR.tdw` holds arbitrary values and was made by `make_file`, `run-MAJOR.MINOR.tdw` is a small unfinished run
with analyses, made by `make_run`, each by the last program that wrote that format. What development builds called 1.1 before it was released is kept as well, as
`…-1.1-draft.tdw`:

    python tests/store/test_golden.py file|run PATH
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors.numpy import load, save

import tdw
from tdw import store
from tdw.network.training import environment
from tdw.store import LOSSES, AnalysisPlan, ArrayPlan

GOLDEN = Path(__file__).with_name("golden")
SETTINGS = {"p": 5, "d_model": 8, "heads": 2, "d_mlp": 16, "train_fraction": 0.6, "evaluate_every": 5, "threads": 1}
EPOCHS, STOPPED, STEP = 60, 40, 20
RESULTS = ("embedding_frequencies", "neuron_frequencies")


def _blob(epoch: int) -> bytes:
    return save({"embed.W_E": np.full((4, 8), epoch, "f4")}, {"epoch": f"{epoch:010d}"})


def make_file(path: Path) -> None:
    plan = AnalysisPlan("embedding_frequencies", 1, {"threshold": 0.85}, {"norms": ArrayPlan("<f4", (7,))}, 2)
    with store.create(
        path,
        config={"p": 7, "task": "add"},
        split_train=np.arange(20),
        split_test=np.arange(20, 49),
        epochs=30,
        checkpoint_capacity=2,
        blob_nbytes=len(_blob(0)),
        resume_nbytes=len(_blob(0)),
        resume=_blob(0),
    ) as writer:
        for first, last in ((0, 0), (1, 30)):
            epochs = np.arange(first, last + 1)
            curves = {name: np.exp2(-epochs) * (i + 1) for i, name in enumerate(LOSSES)}
            writer.append(curves=curves, checkpoints=[(last, _blob(last))], resume=(last, _blob(last)))
        writer.plan_analyses([plan])
        writer.append_rows({plan.name: {"norms": np.arange(14).reshape(2, 7)}})
        writer.set_notes({"title": "the first of its kind"})


def new_run(path: Path, epochs: int) -> None:
    tdw.create(path, tdw.configure(**SETTINGS, epochs=epochs, checkpoints=f"0:{epochs}:{STEP}"))


def make_run(path: Path) -> None:
    new_run(path, EPOCHS)
    asked = iter(range(EPOCHS))
    tdw.train(path, stop=lambda: next(asked) == STOPPED)
    tdw.analyze(path, RESULTS)


def committed_epochs(file: h5py.File) -> int:
    """As the documentation says for plain h5py: format 1.0 has compound commit records, later ones plain integers."""
    commit = file["commit"]
    return int(commit["n_epochs"].max() if commit.dtype.names else commit[:, 1].max())


def golden(kind: str) -> Any:
    return pytest.mark.parametrize("path", sorted(GOLDEN.glob(f"{kind}-*.tdw")), ids=lambda path: path.stem)


@golden("format")
def test_every_released_format_opens(tmp_path, path):
    with store.open_reader(path) as reader:
        assert reader.verify() == []
        major, minor = reader.format_version
        assert f"format-{major}.{minor}" == path.stem.removesuffix("-draft")
        assert reader.config == {"p": 7, "task": "add"}
        assert reader.notes() == {"title": "the first of its kind"}
        assert (reader.n_epochs, reader.planned_epochs) == (31, 30)
        assert reader.curves == LOSSES
        for i, name in enumerate(LOSSES):
            assert reader.read(name).tolist() == [(i + 1) / 2**epoch for epoch in range(31)]
        assert reader.read("split/train").tolist() == list(range(20))
        assert reader.read("split/test").tolist() == list(range(20, 49))
        assert reader.checkpoint_epochs().tolist() == [0, 30]
        for i, epoch in enumerate((0, 30)):
            weights = load(bytes(reader.checkpoint(i)))
            assert weights["embed.W_E"].tolist() == np.full((4, 8), epoch).tolist()
        epoch, state = reader.resume()
        assert (epoch, load(state)["embed.W_E"][0, 0]) == (30, 30)
        analysis = reader.analyses()["embedding_frequencies"]
        assert (analysis.version, analysis.parameters, analysis.rows) == (1, {"threshold": 0.85}, 2)
        assert reader.read("analysis/embedding_frequencies/norms").tolist() == np.arange(14).reshape(2, 7).tolist()
    with h5py.File(path) as file:
        assert file["losses/train"][: committed_epochs(file)].tolist() == [1 / 2**epoch for epoch in range(31)]
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    with store.open_writer(copy) as writer:  # writing upgrades the file to the current format
        writer.extend(config={"p": 7, "task": "add"}, epochs=40, checkpoint_capacity=3)
    with store.open_reader(copy) as reader:
        assert (reader.planned_epochs, reader.format_version) == (40, store.FORMAT_VERSION)
        assert reader.verify() == []


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The same run, trained to the end and extended without a stop."""
    path = tmp_path_factory.mktemp("uninterrupted") / "run.tdw"
    new_run(path, EPOCHS)
    tdw.train(path)
    tdw.train(path, epochs=EPOCHS + STEP, checkpoints=f"0:{EPOCHS + STEP}:{STEP}")
    tdw.analyze(path, RESULTS)
    with tdw.open(path) as run:
        yield run


@golden("run")
def test_a_run_of_every_released_format_opens_resumes_and_extends(tmp_path, path, uninterrupted):
    whole = uninterrupted
    with tdw.open(path) as run:
        assert run.verify() == []
        # Training repeats bit for bit in the environment that recorded the run; elsewhere only closely.
        same = run.environments[-1].place == environment(run.config)
        equal = np.array_equal if same else np.allclose
        assert (len(run.epochs), run.checkpoints) == (STOPPED + 1, [0, 20, 40])
        assert list(run.analyses()) == sorted(RESULTS)
        for name in LOSSES:
            assert equal(run.series(name), whole.series(name)[: STOPPED + 1], equal_nan=True)
        split = run.split
        with h5py.File(path) as file:
            n = committed_epochs(file)
            assert n == STOPPED + 1
            for name in LOSSES:
                assert np.array_equal(file[name][:n], run.series(name), equal_nan=True)
            assert np.array_equal(file["split/train"][:], split.train)
            nbytes = file["checkpoints"].attrs["nbytes"]
            weights = load(file["checkpoints/safetensors"][2, :nbytes].tobytes())
            assert all(np.array_equal(weights[name], array) for name, array in run.weights(40).items())
            for name in RESULTS:
                for array, values in run.analysis(name).arrays.items():
                    assert np.array_equal(file[f"analysis/{name}/{array}"][: len(values)], values)
    copy = Path(shutil.copy(path, tmp_path / "run.tdw"))
    assert tdw.train(copy, allow_drift=not same)
    assert tdw.train(copy, epochs=EPOCHS + STEP, checkpoints=f"0:{EPOCHS + STEP}:{STEP}", allow_drift=not same)
    tdw.analyze(copy, RESULTS)
    with tdw.open(copy) as run:
        assert run.verify() == []
        assert run.checkpoints == whole.checkpoints
        for name in LOSSES:
            assert equal(run.series(name), whole.series(name), equal_nan=True), name
        for epoch in run.checkpoints:
            before, after = whole.weights(epoch), run.weights(epoch)
            assert all(equal(before[name], after[name]) for name in before), epoch
        for name in RESULTS:
            before, after = whole.analysis(name).arrays, run.analysis(name).arrays
            assert all(equal(before[array], after[array]) for array in before), name
    with store.open_reader(copy) as reader:
        assert reader.format_version == store.FORMAT_VERSION


@pytest.mark.parametrize("kind", ["format", "run"])
def test_the_current_format_has_its_golden_files(kind):
    major, minor = store.FORMAT_VERSION
    assert (GOLDEN / f"{kind}-{major}.{minor}.tdw").exists()


if __name__ == "__main__":
    {"file": make_file, "run": make_run}[sys.argv[1]](Path(sys.argv[2]))
