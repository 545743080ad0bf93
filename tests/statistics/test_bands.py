"""Bands of planted curves, by epoch and by an event."""

from __future__ import annotations

import numpy as np
import pytest

import tdw
from tdw.errors import TdwError, UnknownNameError
from tdw.statistics.bands import band


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "state"))


def step(at, length=601, every=10):
    """A test loss that falls from 4 to 0.01 at an epoch, recorded at every tenth."""
    values = np.where(np.arange(length) < at, 4.0, 0.01)
    values[np.arange(length) % every != 0] = np.nan
    return values


@pytest.fixture
def runs(planted, tmp_path):
    train = np.linspace(3, 0.01, 601)
    for number, at in enumerate((100, 205, 300)):
        planted(f"runs/{number}.tdw", train * (number + 1), step(at))
    planted("runs/never.tdw", train, step(10_000))
    return tdw.runs(tmp_path / "runs")


def test_by_epoch(runs):
    found = band(runs, "train_loss", share=0.5)
    line = np.linspace(3, 0.01, 601)
    assert found.epoch.tolist() == list(range(601))
    np.testing.assert_allclose(found.mean, line * (1 + 2 + 3 + 1) / 4)
    np.testing.assert_allclose(found.median, line * 1.5)
    np.testing.assert_allclose(found.low, line * 1)
    np.testing.assert_allclose(found.high, line * 2.25)
    assert (found.used, found.left_out, found.runs.min(), found.runs.max()) == (4, 0, 4, 4)


def test_the_geometric_mean(runs):
    found = band(runs, "train_loss", log=True)
    np.testing.assert_allclose(found.mean, np.linspace(3, 0.01, 601) * 6 ** (1 / 4))


def test_sparse_curves_are_shown_where_they_were_recorded(runs):
    found = band(runs)
    assert found.epoch.tolist() == list(range(0, 601, 10))
    np.testing.assert_allclose(found.mean[[0, 15, 25, 60]], [4, (0.01 + 12) / 4, (0.02 + 8) / 4, (0.03 + 4) / 4])


def test_by_event_all_fall_at_0(runs):
    found = band(runs, align="generalized_0.1")
    assert (found.used, found.left_out) == (3, 1)
    at = found.epoch.tolist()
    before, there = at.index(-10), at.index(0)
    for side in (found.mean, found.low, found.high):
        assert (side[before], side[there]) == pytest.approx((4, 0.01))
    assert found.epoch[0] == -300
    assert found.runs[[0, there, -1]].tolist() == [1, 3, 1]


def test_a_run_that_ends_earlier_does_not_count_later(planted, tmp_path):
    planted("two/a.tdw", np.full(101, 1.0), step(50, 101))
    planted("two/b.tdw", np.full(201, 3.0), step(50, 201))
    found = band(tdw.runs(tmp_path / "two"), "train_loss")
    assert (found.mean[100], found.mean[101]) == (2, 3)
    assert (found.runs[100], found.runs[101]) == (2, 1)


def test_stored_results_of_checkpoints(tiny_run, tmp_path):
    import shutil

    (tmp_path / "one").mkdir()
    shutil.copy(tiny_run, tmp_path / "one" / "run.tdw")
    found = band(tdw.runs(tmp_path / "one"), "analysis/weight_norms/total")
    with tdw.open(tiny_run) as run:
        stored = run.analysis("weight_norms")
        np.testing.assert_allclose(found.mean, stored.arrays["total"], rtol=1e-6)
        assert found.epoch.tolist() == stored.checkpoints
    with pytest.raises(TdwError, match=r"is not a number for each checkpoint"):
        band(tdw.runs(tmp_path / "one"), "analysis/neuron_frequencies/share")


def test_what_is_not_there_is_said(runs):
    with pytest.raises(TdwError, match=r"none of 4 runs has curves/nothing"):
        band(runs, "curves/nothing")
    with pytest.raises(UnknownNameError, match=r"no alignment is named 'generalized': did you mean 'generalized_"):
        band(runs, align="generalized")
    with pytest.raises(TdwError, match=r"greater than 0 and less than 1 \(got 90\)"):
        band(runs, share=90)
