"""Numbers at the ends of what float32 holds: measured as they are where they can be, and said where they cannot."""

import math
from dataclasses import replace

import numpy as np
import pytest

import tdw
from tdw.analyses import find
from tdw.analyses.engine import registry
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ArraySpec
from tdw.cli import main
from tdw.errors import OutOfRangeError
from tdw.network import closed_form, reference
from tdw.network.factored import FactoredEngine
from tdw.network.parameters import shapes
from tests.core.planted import measure, random_split

# What does not change when all activations, or all logits, are multiplied by one number.
OF_NEURONS = {
    "neuron_frequencies": ["share"],
    "neuron_clusters": ["frequency", "count"],
}
OF_LOGITS = {
    "accuracy": None,
    "key_frequencies": ["key"],
    "logit_frequencies": ["explained", "cosine"],
    "distance_irrelevance": None,
}
NETWORKS = [
    {},
    {"task": "subtract", "biases": "mlp", "classes": "tokens"},
    {"task": "multiply", "network": "two-token"},
    {"network": "one-hot", "activation": "quadratic"},
]


def network(**settings):
    """A network of random weights of size 1: its neurons are alive, and no two logits are equal."""
    config = tdw.configure(p=11, d_model=16, heads=2, d_mlp=12, train_fraction=0.5, **settings)
    draw = np.random.default_rng(0)
    return config, {name: draw.standard_normal(shape).astype(np.float32) for name, shape in shapes(config).items()}


def times(weights, **powers):
    """The weights with those whose names end so multiplied by a power of two, which changes no digit."""
    return {
        name: array * np.float32(2.0 ** next((n for end, n in powers.items() if name.endswith(end)), 0))
        for name, array in weights.items()
    }


def assert_same(config, weights, others, wanted):
    one, other = (Checkpoint(config, given, random_split(11, 0)) for given in (weights, others))
    for name, arrays in wanted.items():
        if find(name).inapplicable_reason(config):
            continue
        expected, found = measure(name, one), measure(name, other)
        for array in arrays or expected:
            np.testing.assert_allclose(found[array], expected[array], rtol=1e-4, atol=1e-6, err_msg=f"{name}/{array}")


@pytest.mark.parametrize("settings", NETWORKS, ids=lambda given: "-".join(given.values()) or "transformer")
@pytest.mark.filterwarnings("error")
def test_neurons_as_large_as_one_likes_have_the_same_frequencies(settings):
    config, weights = network(**settings)
    up = 38 if config.activation == "quadratic" else 76  # either way their squares are beyond 2^128
    assert_same(config, weights, times(weights, W_in=up, b_in=up, W_out=-76), OF_NEURONS | OF_LOGITS)


@pytest.mark.parametrize("settings", NETWORKS, ids=lambda given: "-".join(given.values()) or "transformer")
@pytest.mark.parametrize("power", [76, -76])
@pytest.mark.filterwarnings("error")
def test_logits_as_large_or_small_as_one_likes_are_made_of_the_same_frequencies(settings, power):
    config, weights = network(**settings)
    last = {"W_out": power, "b_out": power} if config.network == "one-hot" else {"W_U": power}
    scaled = times(weights, **last)
    assert_same(config, weights, scaled, OF_LOGITS)
    if not find("logit_spectrum").inapplicable_reason(config):
        one, other = (measure("logit_spectrum", Checkpoint(config, given))["norm"] for given in (weights, scaled))
        np.testing.assert_allclose(other, one * 2.0**power, rtol=1e-4, atol=1e-6 * one.max() * 2.0**power)


@pytest.mark.parametrize("settings", NETWORKS[:1] + NETWORKS[2:3], ids=["transformer", "two-token"])
@pytest.mark.filterwarnings("error")
def test_attention_whose_scores_leave_float32_still_sums_to_one(settings):
    config, weights = network(**settings)
    view = Checkpoint(config, times(weights, W_Q=70, W_K=70))
    assert view.attention.sum(axis=0) == pytest.approx(1)
    assert set(np.unique(view.attention.round(12))) == {0, 1}


def test_a_result_too_large_for_its_type_is_said():
    config, weights = network()
    view = Checkpoint(config, weights)

    def compute(_view):
        return {"value": np.float64(1e50)}

    item = registry.Analysis("large", "Large", "checkpoint", 1, {"value": ArraySpec("<f4", ())}, compute, {})
    with pytest.raises(OutOfRangeError, match=r"large/value reaches 1e\+50, which overflows float32"):
        registry.evaluate(item, view, config)
    # A NaN is a mistake in a measure, and nothing a user could act on.
    broken = replace(item, compute=lambda _view: {"value": np.float64(np.nan)})
    with pytest.raises(ValueError, match="not finite"):
        registry.evaluate(broken, view, config)


def diverging(path, factor):
    """The file of a run with weights `factor` times as large as they should be."""
    config = tdw.configure(
        p=5, d_model=8, heads=2, d_mlp=8, activation="quadratic", train_fraction=0.5, epochs=12, checkpoints="0:12:4"
    )
    weights = {name: array.numpy() * np.float32(factor) for name, array in reference.initial_weights(config).items()}
    tdw.create(path, config, weights=weights)
    return config


def test_all_that_can_be_stored_is_stored(tmp_path, capsys):
    path = tmp_path / "large.tdw"
    diverging(path, 3e3)
    tdw.train(path)
    with pytest.raises(OutOfRangeError) as raised:
        tdw.analyze(path)
    assert str(raised.value).startswith(f"{path}: at epoch 0 neuron_summary/variance reaches ")
    assert str(raised.value).endswith("which overflows float32. Everything else was stored.")
    with tdw.open(path) as run:
        analyses = run.info()["analyses"]
        assert analyses["neuron_summary"]["checkpoints"] == []
        assert {"neuron_clusters", "logit_spectrum", "baselines", "events"} < analyses.keys()
        assert [name for name, item in analyses.items() if item["stale"]] == ["neuron_summary"]
        assert np.isfinite(run.series("analysis/logit_spectrum/norm")).all()
        assert run.verify() == []
    assert main.main(["analyze", str(path)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == f"tdw: {raised.value}"


@pytest.mark.parametrize("index", [2, 3])
def test_weights_that_are_no_numbers_are_measured_nowhere(tmp_path, monkeypatch, index):
    path = tmp_path / "run.tdw"
    diverging(path, 1)
    tdw.train(path)
    read = tdw.Project.weights_at

    def damaged(project, at):
        found = read(project, at)
        if at >= index:
            found["unembed.W_U"][0, 0] = np.nan
        return found

    monkeypatch.setattr(tdw.Project, "weights_at", damaged)
    said = f"{path}: unembed.W_U is not finite at epoch {{}}, so this checkpoint cannot be analyzed"
    with pytest.raises(OutOfRangeError) as raised:
        tdw.analyze(path)
    assert str(raised.value).startswith(said.format(12))  # those that need the key frequencies of the last one
    assert str(raised.value).endswith("Everything else was stored.")
    with tdw.open(path) as run:
        stored = run.info()["analyses"]
        assert stored["accuracy"]["checkpoints"] == stored["logit_spectrum"]["checkpoints"] == [0, 4, 8, 12][:index]
        # What rests on results that are not there, on key frequencies or on all weights, is left out; events rest on none.
        assert not stored.keys() & {"pair_graduation", "frequency_lottery", "restricted_loss", "weight_trajectory"}
        assert stored["events"]["stale"] is False
        assert run.verify() == []
    with pytest.raises(OutOfRangeError) as raised:
        tdw.analyze(path, only="pair_graduation")
    assert str(raised.value) == said.format([0, 4, 8, 12][index]) + ". Everything else was stored."
    monkeypatch.undo()
    assert tdw.analyze(path, only="pair_graduation") == ["accuracy", "pair_graduation"]


def test_training_ends_where_a_loss_is_no_number(tmp_path, capsys):
    path = tmp_path / "run.tdw"
    diverging(path, 1e10)
    assert main.main(["train", str(path)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("tdw: training diverged at epoch 0: train loss is not finite.")
    assert "lower --lr" in said
    with tdw.open(path) as run:
        assert (len(run.epochs), run.checkpoints, run.verify()) == (0, [], [])
        assert run.diverged.epoch == 0


def test_what_was_recorded_before_a_loss_was_no_number_stays(tiny_run, monkeypatch):
    measure_test = FactoredEngine.measure_test
    calls = []

    def breaks(engine):
        calls.append(engine)
        return measure_test(engine) * (np.nan if len(calls) == 4 else 1)

    with tdw.open(tiny_run) as run:
        before = run.train_loss
    monkeypatch.setattr(FactoredEngine, "measure_test", breaks)
    # The test losses of 40 (again), 44, 45 and 48 are measured: the last of them is not there.
    with pytest.raises(OutOfRangeError, match="training diverged at epoch 48: test loss is not finite"):
        tdw.train(tiny_run, epochs=60, checkpoints="0:60:5")
    with tdw.open(tiny_run) as run:
        assert run.checkpoints[-1] == 45
        assert np.array_equal(run.train_loss[:41], before)
        assert len(run.epochs) == 48
        assert run.resumes_from == 45
        assert (run.diverged.epoch, run.diverged.side) == (48, "test")
        assert run.verify() == []
    monkeypatch.undo()
    assert tdw.train(tiny_run)


@pytest.mark.filterwarnings("error")
def test_the_error_function_takes_numbers_of_any_size():
    x = np.array([0, 1e-30, 0.3, 1, 3, 5.99, 6.01, 9, 20, 1e30, np.inf], dtype=np.float32)
    expected = [math.erf(number) for number in x]
    np.testing.assert_allclose(closed_form.erf(x), expected, atol=2e-7)
    np.testing.assert_allclose(closed_form.erf(-x), -np.array(expected), atol=2e-7)
