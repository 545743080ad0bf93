"""Losses whose epochs are not stated: placed where one reading is certain, asked for where there are several or none."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tdw
from tdw.errors import NotImportableError, SettingError
from tdw.interchange.cadence import STRIDES, sensible, strides
from tests.interchange import elsewhere


def at(curve):
    return np.flatnonzero(~np.isnan(curve)).tolist()


def brought(value, folder, **hints):
    if any(name in value for name in ("model", "state_dicts", "epoch")):
        source = elsewhere.saved(value, folder / "theirs.pth")
    else:
        source = folder / "theirs.json"
        source.write_text(json.dumps(value))
    imported = tdw.import_run(source, folder / "run.tdw", overwrite=True, **hints)
    with tdw.open(folder / "run.tdw") as run:
        return imported, run.train_loss, run.test_loss, run.test_accuracy


def test_strides_are_those_of_loops():
    """A loop that records every k-th epoch, the first or the last of each k, has a number of losses that admits k."""
    for epochs in range(2, 130):
        for losses in range(2, epochs):
            plain = {
                every
                for every in range(2, epochs + 1)
                if losses
                in (sum(e % every == 0 for e in range(epochs)), sum((e + 1) % every == 0 for e in range(epochs)))
            }
            assert set(strides(losses, epochs)) == plain
            best = {every for every in plain if every in STRIDES or every * losses == epochs}
            assert set(sensible(losses, epochs)) == (plain if len(plain) == 1 else best)


@pytest.mark.parametrize("losses", [20, 21])
def test_a_table_without_epochs_asks(tmp_path, losses):
    curve = [3 * 0.9**i for i in range(losses)]
    given = {"train_losses": curve, "test_losses": curve, "test_acc": [0.5] * losses, "norm": curve}
    with pytest.raises(
        NotImportableError, match=r"nothing in it tells .* --train-stride 1 .* --train-stride 100 .*`step`"
    ):
        brought(given, tmp_path)
    _, train, _, _ = brought(given, tmp_path, train_stride=1)
    assert at(train) == list(range(losses))
    _, train, test, accuracy = brought(given, tmp_path, train_stride=100)
    for placed in (train, test, accuracy):  # every column of the table is at its rows' epochs
        assert at(placed) == list(range(0, 100 * losses, 100))
    with tdw.open(tmp_path / "run.tdw") as run:
        assert at(run.curve("curves/norm")) == at(train)


def test_accuracies_alone_ask_too(tmp_path):
    for side in ("train", "test"):
        with pytest.raises(NotImportableError, match=rf"--{side}-stride 100"):
            brought({f"{side}_acc": [0.1, 0.5, 0.9]}, tmp_path)


@pytest.mark.parametrize(("planned", "every"), [(20, 1), (19, 1), (2000, 100), (140, 7), (1990, 100)])
def test_a_config_that_tells_the_epochs_decides(tmp_path, planned, every):
    given = {"train_losses": [1 / (i + 1) for i in range(20)], "config": {}, "num_epochs": planned}
    imported, train, _, _ = brought(given, tmp_path)
    assert at(train) == list(range(0, 20 * every, every))
    assert any(f"{planned} epochs were planned" in line or f"{planned} planned" in line for line in imported.inferred)


def test_a_config_that_tells_nothing_of_the_sort_does_not(tmp_path):
    for planned in (
        7,
        30,
        333,
        20.5,
        "many",
    ):  # fewer than there are; a run that was cut short; one that several strides may fit; no number
        with pytest.raises(NotImportableError, match="--train-stride"):
            brought({"train_losses": [0.5] * 20, "num_epochs": planned}, tmp_path)


def at_the_end(trainer, losses, epochs, **more):
    """Weights after so many updates, by the epoch that the file states, and so many train losses."""
    theirs = {"model": trainer.final()["model"], "epoch": epochs - 1, "train_losses": trainer.train_losses[:losses]}
    return theirs | more


def test_readings_of_train_losses(tmp_path):
    trainer = elsewhere.nanda()
    for losses, epochs, every in ((12, 120, 10), (18, 120, 7), (50, 5000, 100), (3, 101, 50)):
        _, train, _, _ = brought(at_the_end(trainer, losses, epochs), tmp_path, task="add", activation="relu")
        assert at(train) == list(range(0, losses * every, every)), (losses, epochs)


@pytest.mark.parametrize(
    ("losses", "epochs", "sentence"),
    [
        (2, 30, r"2 train losses for 30 epochs may be .* --train-stride 20 or --train-stride 25 or --train-stride 15"),
        (40, 100, r"40 train losses for 100 epochs do not fit a constant stride: give --train-stride"),
    ],
)
def test_several_readings_or_none_are_asked_about(tmp_path, losses, epochs, sentence):
    theirs = at_the_end(elsewhere.nanda(), losses, epochs)
    with pytest.raises(NotImportableError, match=sentence):
        brought(theirs, tmp_path)
    _, train, _, _ = brought(theirs, tmp_path, train_stride=2, task="add", activation="relu")
    assert at(train) == list(range(0, 2 * losses, 2))
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.checkpoints == [epochs]
    with pytest.raises(SettingError, match=r"--train-stride must be at most \d+ for"):
        brought(theirs, tmp_path, train_stride=31)


def test_test_losses_with_several_readings_are_asked_about(tmp_path):
    trainer = elsewhere.nanda()
    curves = {"train_losses": trainer.train_losses[:30], "test_losses": trainer.test_losses[:30:20], "num_epochs": 30}
    with pytest.raises(
        NotImportableError, match=r"2 test losses for 30 epochs .* --test-stride 20 or --test-stride 25 or"
    ):
        brought(curves, tmp_path)
    _, _, test, _ = brought(curves, tmp_path, test_stride=20)
    assert at(test) == [0, 20]


def test_the_weights_decide_where_they_have_a_test_loss(tmp_path):
    """2 test losses in 41 epochs: of every 20th or of every 25th. Weights of epoch 20 have the second one, or no weights do."""
    trainer = elsewhere.nanda()
    stored = {epoch - 1: trainer.before[epoch] for epoch in (20, 40)}
    many = elsewhere.many(trainer, stored) | {"train_losses": trainer.train_losses[:41]}
    _, _, test, _ = brought(many | {"test_losses": [trainer.test_losses[at] for at in (0, 20)]}, tmp_path)
    assert at(test) == [0, 20]
    with pytest.raises(NotImportableError, match="--test-stride 20 or --test-stride 25"):
        brought(many | {"test_losses": [trainer.test_losses[0], 2.8]}, tmp_path)
