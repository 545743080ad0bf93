"""A run that is stopped, extended or moved resumes as if uninterrupted, or reports what differs."""

import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from msgspec import structs

import tdw
from tdw import store
from tdw.cli import main
from tdw.errors import DamagedFileError, DriftError, OutOfRangeError
from tdw.network import training
from tdw.network.factored import FactoredEngine
from tdw.project.records import Drift
from tdw.project.writer import ProjectWriter
from tdw.store import LOSSES

SERIES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")


def contents(path):
    with tdw.open(path) as run:
        series = {name: getattr(run, name) for name in SERIES}
        weights = {epoch: run.weights(epoch) for epoch in run.checkpoints}
        return series, weights


def assert_same(path, other):
    (series, weights), (series_other, weights_other) = contents(path), contents(other)
    for name in SERIES:
        assert np.array_equal(series[name], series_other[name], equal_nan=True), name
    assert weights.keys() == weights_other.keys()
    for epoch, name in itertools.product(weights, weights[0]):
        assert np.array_equal(weights[epoch][name], weights_other[epoch][name]), (epoch, name)


def train_until(path, epoch, **more):
    """Train to an epoch, and stop there."""
    with tdw.open(path) as run:
        first = max(len(run.epochs) - 1, 0)
    asked = iter([False] * (epoch - first) + [True])
    return tdw.train(path, stop=lambda: next(asked), **more)


def test_stopped_and_resumed_equals_uninterrupted(tiny, tiny_run, tmp_path):
    path = tmp_path / "stopped.tdw"
    tdw.create(path, tiny)
    for epochs in (1, 2, 7, 1):
        asked = iter([False] * epochs + [True])
        assert tdw.train(path, stop=lambda asked=asked: next(asked)) is False
    with tdw.open(path) as run:
        assert (run.state, run.epochs[-1]) == ("unfinished", 11)
    assert tdw.train(path) is True
    assert_same(path, tiny_run)


def test_a_finished_run_is_extended_as_if_it_had_been_longer(tiny, tiny_run, tmp_path):
    tdw.analyze(tiny_run)
    tdw.train(tiny_run, epochs=60, checkpoints="0:60:5")
    longer = tmp_path / "longer.tdw"
    tdw.create(longer, tdw.configure(**tiny.to_json() | {"epochs": 60, "checkpoints": "0:60:5"}))
    tdw.train(longer)
    assert_same(tiny_run, longer)
    with tdw.open(tiny_run) as run:
        assert run.info()["analyses"]["neuron_frequencies"]["stale"]
        before = run.analysis("neuron_frequencies")
        assert before.checkpoints == list(range(0, 41, 5))
    tdw.analyze(tiny_run)
    with tdw.open(tiny_run) as run:
        after = run.analysis("neuron_frequencies")
        assert after.checkpoints == list(range(0, 61, 5))
        assert np.array_equal(after.arrays["share"][: len(before.checkpoints)], before.arrays["share"])
        assert not any(item["stale"] for item in run.info()["analyses"].values())


def test_extending_a_run_only_adds_to_it(tiny, tmp_path):
    """Its last epoch was measured and kept, though the schedule of the longer run names it nowhere."""
    path, whole = tmp_path / "extended.tdw", tmp_path / "whole.tdw"
    tdw.create(path, replace(tiny, epochs=43, checkpoints="0:40:5"))
    tdw.train(path)
    tdw.train(path, epochs=60)
    tdw.create(whole, replace(tiny, epochs=60, checkpoints="0:40:5"))
    tdw.train(whole)
    (series, weights), (series_whole, weights_whole) = contents(path), contents(whole)
    assert weights.keys() - weights_whole.keys() == {43}
    for name in SERIES:
        more = np.isnan(series_whole[name]) & ~np.isnan(series[name])
        assert np.flatnonzero(more).tolist() == ([43] if name.startswith("test") else [])
        assert np.array_equal(np.where(more, np.nan, series[name]), series_whole[name], equal_nan=True)
    for epoch, name in itertools.product(weights_whole, weights[0]):
        assert np.array_equal(weights[epoch][name], weights_whole[epoch][name]), (epoch, name)


@pytest.fixture
def stopped(tiny, tmp_path):
    """A run that was stopped after epoch 10."""
    path = tmp_path / "stopped.tdw"
    tdw.create(path, tiny)
    train_until(path, 10)
    return path


@pytest.fixture
def altered(monkeypatch):
    """Until called again, runs resume from weights that are not quite those stored."""
    plain = ProjectWriter.resume_state

    def alter(factor):
        def resume_state(project):
            state = plain(project)
            return replace(state, weights={name: array * np.float32(factor) for name, array in state.weights.items()})

        monkeypatch.setattr(ProjectWriter, "resume_state", resume_state)

    return alter


def test_a_run_that_is_not_reproducible_is_refused_and_unchanged(stopped, altered):
    before = stopped.read_bytes()
    (loss,) = contents(stopped)[0]["train_loss"][-1:]
    altered(1.001)
    sentence = (
        rf"^stopped\.tdw is not reproducible here: losses/train at epoch 10 was stored as {loss}, and recomputed as "
        r"[\d.]+ in the same environment\. A run is reproducible bit for bit .*: resume it there, or continue here with "
        r"`tdw train stopped\.tdw --allow-drift`, which keeps what is stored and records"
    )
    for changes in ({}, {"epochs": 60, "checkpoints": "0:60:5"}):
        with pytest.raises(DriftError, match=sentence):
            tdw.train(stopped, **changes)
        assert stopped.read_bytes() == before
    altered(1)
    assert tdw.train(stopped) is True


def test_drift_that_is_allowed_is_recorded_for_ever(stopped, tiny_run, altered, monkeypatch, capsys):
    loss = contents(stopped)[0]["train_loss"].copy()
    altered(1.001)
    assert train_until(stopped, 20, allow_drift=True) is False
    (series, weights), (series_whole, weights_whole) = contents(stopped), contents(tiny_run)
    assert np.array_equal(series["train_loss"][:11], loss)
    assert np.array_equal(series["train_loss"][:11], series_whole["train_loss"][:11])
    assert series["train_loss"][11] != series_whole["train_loss"][11]
    assert np.array_equal(weights[10]["embed.W_E"], weights_whole[10]["embed.W_E"])
    with tdw.open(stopped) as run:
        first, second = run.environments
        assert (first.from_epoch, first.drift) == (0, None)
        found = second.drift
        assert second == structs.replace(first, from_epoch=10, drift=found)
        assert found == Drift(series="losses/train", epoch=10, stored=loss[10], recomputed=found.recomputed, epochs=1)
        assert found.recomputed != loss[10]
        assert found.recomputed == pytest.approx(loss[10], rel=0.01)

    altered(1)  # from here on it repeats itself, here and elsewhere
    train_until(stopped, 25)
    with tdw.open(stopped) as run:
        assert run.environments == [first, second]
    plain = training.environment
    monkeypatch.setattr(
        training, "environment", lambda config, *more: plain(config, *more) | {"threads": 99, "torch": "9.9"}
    )
    train_until(stopped, 30)
    altered(1.002)
    with pytest.raises(DriftError, match=r"stored as [\d.]+, and recomputed as [\d.]+ in the same environment"):
        tdw.train(stopped)
    monkeypatch.setattr(training, "environment", plain)
    versions = rf"threads {first.threads}, torch {torch.__version__.replace('+', '[+]')}"
    with pytest.raises(
        DriftError, match=rf"stored as [\d.]+ under threads 99, torch 9\.9, and .* [\d.]+ under {versions}\. A"
    ):
        tdw.train(stopped)
    assert tdw.train(stopped, allow_drift=True) is True
    with tdw.open(stopped) as run:
        assert run.environments[:2] == [first, second]
        assert [item.from_epoch for item in run.environments] == [0, 10, 25, 30]
        assert [item.drift is not None for item in run.environments] == [False, True, False, True]
        drifts = run.drifts()
        assert run.verify() == []
    assert len(drifts) == 2
    assert f"losses/train at epoch 10 was stored as {loss[10]}, and recomputed as {found.recomputed} in" in drifts[0]
    assert "went on from there all the same (--allow-drift), and what was stored until then was left" in drifts[0]
    assert "at epoch 30 was stored as" in drifts[1]
    assert "under threads 99, torch 9.9, and recomputed" in drifts[1]

    assert main.main(["info", str(stopped)]) == 0
    text = capsys.readouterr().out
    for sentence in drifts:
        assert f"\ndrift: {sentence}\n" in text
    assert main.main(["info", str(stopped), "--json"]) == 0
    information = json.loads(capsys.readouterr().out)
    assert information["drift"] == drifts
    assert information["environments"][1]["drift"] == found.to_json()


def test_a_reproducible_run_records_no_drift(stopped, tiny_run, capsys):
    assert main.main(["train", str(stopped), "--allow-drift"]) == 0
    assert "not repeat" not in capsys.readouterr().out
    assert_same(stopped, tiny_run)
    with tdw.open(stopped) as run:
        assert run.drifts() == []
        assert len(run.environments) == 1
    before = stopped.read_bytes()
    with pytest.MonkeyPatch.context() as patch:  # a finished run is not trained elsewhere by asking for it
        patch.setattr(training, "environment", lambda *_given: {"torch": "9.9"})
        assert tdw.train(stopped) is True
    assert stopped.read_bytes() == before


def test_drift_at_the_very_first_epoch_keeps_who_recorded_it(tiny, tmp_path, altered, monkeypatch):
    path = tmp_path / "first.tdw"
    tdw.create(path, tiny)
    train_until(path, 0)
    plain = training.environment
    monkeypatch.setattr(training, "environment", lambda config, *more: plain(config, *more) | {"torch": "9.9"})
    altered(1.5)
    with pytest.raises(DriftError, match=rf"at epoch 0 was stored as .* under torch {torch.__version__[0]}"):
        tdw.train(path)
    tdw.train(path, allow_drift=True)
    with tdw.open(path) as run:
        assert [(item.from_epoch, item.torch) for item in run.environments] == [
            (0, torch.__version__),
            (0, "9.9"),
        ]
        assert run.environments[1].drift.epoch == 0
        assert len(run.drifts()) == 1


def test_all_epochs_that_are_computed_again_are_compared(stopped, tiny_run):
    """Here the state to resume from is older than the last loss, which our own commits never leave behind."""
    whole = contents(tiny_run)[0]
    sound = {name: whole[series][11:18] for name, series in zip(LOSSES, SERIES, strict=True)}
    before = stopped.read_bytes()
    with store.open_writer(stopped) as writer:
        writer.append(curves=sound)
    assert tdw.train(stopped) is True
    assert_same(stopped, tiny_run)

    stopped.write_bytes(before)
    wrong = {name: values.copy() for name, values in sound.items()}
    wrong["losses/train"][2:] += 1e-9  # epochs 13 to 17, on both sides of the checkpoint at 15
    with store.open_writer(stopped) as writer:
        writer.append(curves=wrong)
    with pytest.raises(
        DriftError, match=r"losses/train at epoch 13 was .* in the same environment \(3 recomputed epochs"
    ):
        tdw.train(stopped)
    assert tdw.train(stopped, allow_drift=True) is True
    with tdw.open(stopped) as run:
        drift = run.environments[-1].drift
        assert (drift.series, drift.epoch, drift.epochs) == ("losses/train", 13, 5)
        assert "(5 recomputed epochs differ)" in run.drifts()[0]
        assert np.array_equal(run.train_loss[11:18], wrong["losses/train"])
        assert run.checkpoints == list(range(0, 41, 5))


def test_a_nan_loss_counts_as_drift(stopped, altered):
    altered(float("nan"))
    with pytest.raises(
        DriftError, match=r"losses/train at epoch 10 was stored as [\d.]+, and recomputed as not finite in"
    ):
        tdw.train(stopped)
    before = stopped.read_bytes()
    with pytest.raises(OutOfRangeError, match="training diverged at epoch 10: train loss is not finite"):
        tdw.train(stopped, allow_drift=True)  # a diverged run does not recover
    assert stopped.read_bytes() == before
    altered(1)
    with store.open_writer(stopped) as writer:  # as if epochs 11 and 12 had been recorded before, without a loss
        writer.append(curves={name: np.full(2, np.nan) for name in LOSSES})
    with pytest.raises(
        DriftError, match=r"losses/train at epoch 11 was stored as not finite, and recomputed as [\d.]+"
    ):
        tdw.train(stopped)


def test_diverged_training_keeps_what_was_recorded(tiny, tmp_path, capsys):
    path = tmp_path / "diverged.tdw"
    tdw.create(path, replace(tiny, lr=1.0, weight_decay=6.0))
    assert main.main(["train", str(path)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        r"tdw: training diverged at epoch \d+: train loss is not finite\. .* with a lower --lr or --weight-decay\.",
        said,
    )
    epoch = int(re.search(r"epoch (\d+)", said)[1])
    with tdw.open(path) as run:
        assert len(run.epochs) == epoch > 5, "every epoch before it"
        assert np.isfinite(run.train_loss).all()
        assert run.checkpoints == list(range(0, epoch, 5))
        assert run.resumes_from == run.checkpoints[-1]
        assert run.verify() == []
        assert run.info()["diverged"] == {"epoch": epoch, "side": "train"}
    assert main.main(["train", str(path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == said
    assert main.main(["info", str(path)]) == 0
    assert f"training diverged at epoch {epoch}: train loss is not finite" in capsys.readouterr().out.splitlines()
    tdw.copy(path, tmp_path / "copy.tdw")
    assert tdw.info(tmp_path / "copy.tdw")["diverged"] == {"epoch": epoch, "side": "train"}


def test_epochs_before_the_first_segment_ends_survive_divergence(tiny, tmp_path):
    path = tmp_path / "diverged.tdw"
    tdw.create(path, replace(tiny, lr=1.0, weight_decay=6.0, checkpoints=""))  # one segment, which is not finite
    with pytest.raises(OutOfRangeError, match=r"diverged at epoch \d+: .* All epochs before it are stored"):
        tdw.train(path)
    with tdw.open(path) as run:
        assert (len(run.epochs), run.resumes_from) == (run.diverged.epoch, 0)
        assert len(run.epochs) > 5
        assert np.isfinite(run.train_loss).all()


def test_a_run_that_comes_past_its_divergence_no_longer_says_it(tiny_run, monkeypatch):
    plain = FactoredEngine.measure_train
    monkeypatch.setattr(FactoredEngine, "measure_train", lambda engine: plain(engine) * np.nan)
    with tdw.open(tiny_run) as run:
        last = len(run.epochs) - 1
    with pytest.raises(OutOfRangeError):
        tdw.train(tiny_run, epochs=last + 20, allow_drift=True)  # at an epoch that is recorded
    calls = []
    monkeypatch.setattr(
        FactoredEngine,
        "measure_train",
        lambda engine: plain(engine) * (calls.append(0) or (np.nan if len(calls) > 3 else 1)),
    )
    with pytest.raises(OutOfRangeError):
        tdw.train(tiny_run, epochs=last + 20)
    with tdw.open(tiny_run) as run:
        assert (run.diverged.epoch, len(run.epochs)) == (last + 3, last + 3)
    monkeypatch.undo()
    assert tdw.train(tiny_run)
    with tdw.open(tiny_run) as run:
        assert run.diverged is None
        assert run.info()["diverged"] is None
        assert len(run.epochs) == last + 21


def test_settings_that_do_not_say_where_are_refused(stopped):
    for environments in ([], [7], [{"from_epoch": "0"}], [{"from_epoch": 0, "drift": 1}], {}):
        with store.open_writer(stopped) as writer:
            described = writer.reader.config | {"environments": environments}
            writer.extend(config=described, epochs=40, checkpoint_capacity=9)
        with (
            tdw.open(stopped) as run,
            pytest.raises(
                DamagedFileError, match=r"stopped\.tdw was not written by this program: it does not record where"
            ),
        ):
            run.info()


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="there is one way to compute here")
def test_a_run_resumed_by_other_instructions_of_the_processor(tmp_path):
    """Real drift: without vector instructions sums come out otherwise in the last digits."""
    path = tmp_path / "vectors.tdw"
    settings = {"p": 11, "d_model": 16, "heads": 2, "d_mlp": 16, "train_fraction": 0.6, "threads": 1}
    tdw.create(path, tdw.configure(**settings, epochs=60, checkpoints="0:60:5", evaluate_every=1))
    train_until(path, 20)
    before = contents(path)[0]

    def command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "tdw", "train", path, *arguments],
            env=os.environ | {"ATEN_CPU_CAPABILITY": "default"}, capture_output=True, text=True,
        )  # fmt: skip

    refused = command()
    assert refused.returncode == 2
    processor = torch.backends.cpu.get_cpu_capability()
    assert f" under processor {processor}, and recomputed as " in refused.stderr
    assert " under processor DEFAULT. A run is reproducible bit for bit on the same machine" in refused.stderr
    assert refused.stderr.count("\n") == 1
    allowed = command("--allow-drift")
    assert allowed.returncode == 0, allowed.stderr
    assert "\ndrift: " in allowed.stdout
    with tdw.open(path) as run:
        assert [item.processor for item in run.environments] == [processor, "DEFAULT"]
        assert run.environments[1].drift.epoch == 20
        assert run.state == "finished"
    for name, values in contents(path)[0].items():
        assert np.array_equal(values[:21], before[name]), name
