"""Curves of any names and number: planned, committed, checksummed, read, rebuilt and recovered like the four of our own training."""

import os

import h5py
import numpy as np
import pytest

import tdw
from tdw import store
from tdw.errors import DamagedFileError, NotAProjectError
from tdw.project import consistency
from tdw.store import salvage
from tdw.store.commit_record import BLOCK, COLUMNS
from tdw.store.salvage_structure import Advice, Repaired
from tests.store import store_runs

CURVES = ("losses/train", "curves/gradient_norm", "curves/lr")
EPOCHS = 1500  # 12 kB of each curve: two full blocks and a partly filled one


def values(name, start, stop):
    return np.arange(start, stop) * (1.0 + CURVES.index(name)) + 0.5


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run.tdw"
    with store_runs.create(path, curves=CURVES, epochs=EPOCHS) as writer:
        for start, stop in ((0, 1), (1, 700), (700, 1400)):
            writer.append(losses={name: values(name, start, stop) for name in CURVES})
    return path


def test_named_curves_are_read_back_and_rebuilt(path):
    with store.open_writer(path) as writer:
        writer.extend(config={"p": 7}, epochs=EPOCHS + 100, checkpoint_capacity=store_runs.CAPACITY)
        writer.append(losses={name: values(name, 1400, 1600) for name in CURVES})
    with store.open_reader(path) as reader:
        assert reader.curves == CURVES
        assert reader.planned_epochs == EPOCHS + 100
        assert reader.verify() == []
        for name in CURVES:
            assert np.array_equal(reader.read(name), values(name, 0, 1600))


def test_a_curve_that_was_not_planned_has_no_room(path):
    with store.open_writer(path) as writer, pytest.raises(ValueError, match="append takes losses/train, curves/grad"):
        writer.append(losses={"curves/other": np.zeros(1)})
    with pytest.raises(ValueError, match="curves need different names"):
        store_runs.create(path.with_name("other.tdw"), curves=("checkpoints/epoch",))


def test_programs_that_read_integers_know_how_much_counts(path):
    with h5py.File(path) as file:
        commit = file["commit"]
        assert commit.dtype == "<i8"
        assert tuple(commit.attrs["columns"].decode().split("\n")) == COLUMNS
        newest = commit[commit[:, COLUMNS.index("sequence")].argmax()]
        assert newest[COLUMNS.index("n_epochs")] == 1400
        arrays = commit.attrs["arrays"].decode().split("\n")
        assert newest[len(COLUMNS) + arrays.index("curves/lr")] == 1400
        assert np.array_equal(file["curves/lr"][:1400], values("curves/lr", 0, 1400))


def test_damage_to_a_named_curve_costs_one_block_of_it(path):
    with store.open_reader(path) as reader:
        offset = reader.state.layout.extents["curves/gradient_norm"].offset
    data = bytearray(path.read_bytes())
    data[offset + BLOCK + 8] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match="the bytes of 'curves/gradient_norm' do not match"):
        store.open_reader(path)
    fd = os.open(path, os.O_RDONLY)
    try:
        found = salvage.survey(fd, path, Advice())
    finally:
        os.close(fd)
    assert [str(one) for one in found.damage if not isinstance(one, Repaired)] == [
        "the bytes of 'curves/gradient_norm' do not match their checksum: 512 of its 1,400 values are lost, of epochs 512 to 1,023"
    ]
    kept = values("curves/gradient_norm", 0, 1400)
    kept[512:1024] = np.nan
    assert np.array_equal(found.losses["curves/gradient_norm"], kept, equal_nan=True)
    assert np.array_equal(found.losses["curves/lr"], values("curves/lr", 0, 1400))


def test_a_file_without_our_own_curves_is_not_a_run_of_ours(tmp_path):
    tdw.create(tmp_path / "ours.tdw", tdw.configure(p=7, d_model=8, heads=2, d_mlp=8, epochs=30, checkpoints=""))
    with store.open_reader(tmp_path / "ours.tdw") as ours:
        store_runs.create(tmp_path / "other.tdw", curves=CURVES, config=ours.config).close()
    with (
        store.open_reader(tmp_path / "other.tdw") as reader,
        pytest.raises(NotAProjectError, match="it lacks the curve 'losses/test'"),
    ):
        consistency.check(reader)
