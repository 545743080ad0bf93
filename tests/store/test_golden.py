"""Every format that was ever released is opened for ever: `golden/format-MAJOR.MINOR.tdw`, never written again.

`format-1.0.tdw` was made by `python tests/store/test_golden.py FILE` when format 1.0 was new.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import load, save

from tdw import store
from tdw.store import LOSSES, AnalysisPlan, ArrayPlan

GOLDEN = Path(__file__).with_name("golden")


def _blob(epoch: int) -> bytes:
    return save({"embed.W_E": np.full((4, 8), epoch, "f4")}, {"epoch": f"{epoch:010d}"})


def make(path: Path) -> None:
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
            losses = {name: np.exp2(-epochs) * (i + 1) for i, name in enumerate(LOSSES)}
            writer.append(losses=losses, checkpoint=(last, _blob(last)), resume=(last, _blob(last)))
        writer.plan_analyses([plan])
        writer.append_rows({plan.name: {"norms": np.arange(14).reshape(2, 7)}})
        writer.set_notes({"title": "the first of its kind"})


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.tdw")), ids=lambda path: path.stem)
def test_every_format_ever_written_still_opens(tmp_path, path):
    with store.open_reader(path) as reader:
        assert reader.verify() == []
        assert f"format-{reader.format_version[0]}.{reader.format_version[1]}" == path.stem
        assert reader.config == {"p": 7, "task": "add"}
        assert reader.notes() == {"title": "the first of its kind"}
        assert (reader.n_epochs, reader.planned_epochs) == (31, 30)
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
        assert file["losses/train"][: file["commit"]["n_epochs"].max()].tolist() == [
            1 / 2**epoch for epoch in range(31)
        ]
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    with store.open_writer(copy) as writer:  # and work goes on
        writer.extend(config={"p": 7, "task": "add"}, epochs=40, checkpoint_capacity=3)
    with store.open_reader(copy) as reader:
        assert reader.planned_epochs == 40
        assert reader.verify() == []


def test_the_format_written_now_has_its_golden_file():
    major, minor = store.FORMAT_VERSION
    assert (GOLDEN / f"format-{major}.{minor}.tdw").exists()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
