"""Analyses against planted values and direct implementations."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tdw
from tdw import panels, tasks
from tdw.analyses import ANALYSES, events, find, fourier
from tdw.analyses.engine import registry
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.run_data import Curves, RunData
from tdw.analyses.neuron_clusters import UNASSIGNED
from tdw.errors import UnknownNameError
from tdw.network import reference
from tests.core.planted import MODULI, measure, of_neurons

SETTINGS = [
    {},
    {"task": "subtract", "biases": "mlp", "classes": "tokens", "activation": "gelu"},
    {"task": "multiply", "activation": "quadratic", "network": "two-token"},
    {"task": "multiply", "p": 6},
    {"task": "x2+xy+y2"},
    {"task": "random", "network": "one-hot"},
    {"network": "one-hot", "biases": "mlp", "activation": "quadratic"},
    {"p": 2},
    {"p": 6},
    {"p": 3, "task": "multiply"},
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [*range(2, 10), 59])
def test_a_transform_is_the_product_with_the_basis(p, dtype):
    values = np.random.default_rng(p).normal(size=(3, p, 4)).astype(dtype)
    transform, rounding = fourier.Transform(), 10 * float(np.finfo(dtype).eps)
    transform(np.ones((2, 12, 12), np.float32))  # memory of another size is no matter
    found = transform(values)[:, fourier.places(p)]
    assert found == pytest.approx(fourier.basis(p) @ values.astype(float), rel=rounding, abs=rounding)


@pytest.mark.parametrize("p", [2, 5, 6])
def test_a_spectrum_by_blocks_of_answers_is_that_of_all(p):
    logits = np.random.default_rng(p).normal(size=(p, p, p))
    basis = fourier.basis(p)
    expected = np.einsum("ia,jb,abc->ijc", basis, basis, logits)
    k = np.arange(p // 2)
    for at_once in (1, 2, p):
        found = fourier.spectrum(lambda answers: logits[:, :, answers], p, at_once)
        assert found.norm == pytest.approx(np.linalg.norm(expected, axis=2))
        assert found.of_a == pytest.approx(expected[:, 0])
        assert found.of_b == pytest.approx(expected[0])
        assert found.within[:, 0, 0] == pytest.approx(expected[2 * k + 1, 2 * k + 1])
        k = k[: (p - 1) // 2]
        for i, j in ((0, 1), (1, 0), (1, 1)):
            assert found.within[: len(k), i, j] == pytest.approx(expected[2 * k + 1 + i, 2 * k + 1 + j])
            assert not found.within[len(k) :, i, j].any()
        k = np.arange(p // 2)


def test_means_and_variances_of_neurons_far_from_zero_keep_their_digits():
    p = 59
    random = np.random.default_rng(0)
    neurons = np.stack([np.full((p, p), 5.3), 1000 + random.normal(size=(p, p)), np.zeros((p, p))], axis=2)
    neurons[0, 0, 2] = 1e4  # one pair alone
    view = of_neurons(neurons)
    exact = view.activations.astype(float)
    assert view.mean == pytest.approx(exact.mean(axis=(0, 1)), rel=1e-6)  # stored in float32
    assert view.mean[:2] == pytest.approx(exact.mean(axis=(0, 1))[:2], rel=1e-9)
    assert view.variance == pytest.approx(exact.var(axis=(0, 1)), rel=1e-5, abs=1e-12)
    assert view.dead.tolist() == [True, False, False]


def slow_shares(neuron):
    """Share of each frequency by plain sums over all pairs and the definition of the 3 x 3 block; none if constant."""
    p = len(neuron)
    centered = neuron - neuron.mean()
    if not centered.any():
        return [0.0] * (p // 2)
    waves = {0: [[1.0] * p]}
    for k in range(1, p // 2 + 1):
        waves[k] = [[f(2 * math.pi * k * x / p) for x in range(p)] for f in (math.cos, math.sin)]
        if 2 * k == p:
            waves[k] = waves[k][:1]
    shares = []
    for k in range(1, p // 2 + 1):
        energy = 0.0
        block = waves[0] + waves[k]
        for i, u in enumerate(block):
            for j, v in enumerate(block):
                if (i, j) != (0, 0):
                    u_norm, v_norm = math.hypot(*u), math.hypot(*v)
                    energy += (np.array(u) / u_norm @ centered @ np.array(v) / v_norm) ** 2
        shares.append(energy / (centered**2).sum())
    return shares


@pytest.mark.parametrize("p", MODULI)
def test_the_basis_is_square_and_orthonormal(p):
    basis = fourier.basis(p)
    assert np.allclose(basis @ basis.T, np.eye(p), atol=1e-12)
    names = fourier.component_names(p)
    assert len(names) == p
    x = np.arange(p)
    for row, name in zip(basis[1:], names[1:], strict=True):
        wave, k = name.split()
        expected = getattr(np, wave)(2 * np.pi * int(k) * x / p)
        assert np.allclose(row, expected / np.linalg.norm(expected), atol=1e-12), name


@pytest.mark.parametrize("p", MODULI)
def test_a_pure_wave_in_the_embedding_lights_its_own_bar(p):
    x = np.arange(p)
    for k in {1, p // 2}:
        for wave in ("cos", "sin")[: 1 if 2 * k == p else 2]:
            embedding = np.zeros((p + 1, 4), np.float32)
            embedding[:p, 2] = getattr(np, wave)(2 * np.pi * k * x / p)
            config = tdw.configure(p=p, d_model=4, heads=1, d_mlp=4, train_fraction=0.5)
            weights = {"embed.W_E": embedding, "pos_embed.W_pos": np.ones((3, 4), np.float32)}
            found = measure("embedding_frequencies", Checkpoint(config, weights))
            assert fourier.component_names(p)[found["norms"].argmax()] == f"{wave} {k}"
            assert found["norms"].max() == pytest.approx(np.linalg.norm(embedding), rel=1e-6)
            assert np.sort(found["norms"])[-2] < 1e-5
            assert found["frequency_norms"].argmax() + 1 == k


@pytest.mark.parametrize("p", MODULI)
def test_planted_neurons_come_out_as_planted(p):
    a, b = np.indices((p, p))
    w = 2 * np.pi / p
    frequencies = sorted({1, p // 2})
    neurons = [f(w * k * x) for k in frequencies for f, x in ((np.cos, a), (np.cos, b), (np.cos, a + b))]
    constant, dead = np.full((p, p), 3.0), np.zeros((p, p))
    view = of_neurons(np.stack([*neurons, constant, dead], axis=-1))
    share = measure("neuron_frequencies", view)["share"]
    summary = measure("neuron_summary", view)
    for index in range(len(neurons)):
        k = frequencies[index // 3]
        assert share[k - 1, index] == pytest.approx(1, abs=1e-5)
        assert share[:, index].sum() == pytest.approx(1, abs=1e-5)
        assert summary["frequency"][index] == k
    assert summary["dead"].tolist() == [0] * len(neurons) + [1, 1]
    assert (share[:, -2:] == 0).all()
    assert (summary["frequency"][-2:] == -1).all()
    assert summary["mean"][-2:].tolist() == [3, 0]
    assert summary["maximum"][-2:].tolist() == [3, 0]
    assert summary["active_share"][-2:].tolist() == [1, 0]
    clusters = measure("neuron_clusters", view)
    assert clusters["frequency"][-2:].tolist() == [UNASSIGNED] * 2
    assert clusters["count"][p // 2 - 1] >= 3
    assert clusters["count"].sum() == len(neurons)


@given(st.sampled_from([2, 3, 4, 5, 6, 7, 12]), st.integers(0, 1000))
def test_shares_equal_their_plain_definition(p, seed):
    neurons = np.random.default_rng(seed).normal(size=(p, p, 3)).clip(min=-0.5)
    share = measure("neuron_frequencies", of_neurons(neurons))["share"]
    for index in range(3):
        assert np.allclose(share[:, index], slow_shares(neurons[:, :, index]), atol=2e-6)


def test_a_neuron_between_two_frequencies_belongs_to_neither():
    a, _ = np.indices((11, 11))
    mixed = np.cos(2 * np.pi * a / 11) + np.cos(2 * np.pi * 2 * a / 11)
    mostly = mixed + 3 * np.cos(2 * np.pi * 2 * a / 11)
    found = measure("neuron_clusters", of_neurons(np.stack([mixed, mostly], axis=-1)))
    assert found["frequency"].tolist() == [UNASSIGNED, 2]
    assert found["count"].tolist() == [0, 1, 0, 0, 0]


def test_a_small_neuron_lives_and_a_constant_one_with_rounding_is_dead():
    a, _ = np.indices((7, 7))
    small = 1e-4 * np.cos(2 * np.pi * a / 7)
    rounded = np.float32(1000) + np.random.default_rng(0).integers(0, 2, (7, 7)).astype(np.float32) * 1e-4
    found = measure("neuron_summary", of_neurons(np.stack([small, rounded], axis=-1)))
    assert found["dead"].tolist() == [0, 1]
    assert found["frequency"].tolist() == [1, -1]


def test_summaries_of_a_neuron():
    neuron = np.zeros((5, 5))
    neuron[0, :4] = 2.0
    found = measure("neuron_summary", of_neurons(neuron[:, :, None]))
    assert found["mean"][0] == pytest.approx(8 / 25)
    assert found["maximum"][0] == 2
    assert found["variance"][0] == pytest.approx(neuron.var(), rel=1e-5)
    assert found["active_share"][0] == pytest.approx(4 / 25)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(map(str, settings.values())) or "usual")
@pytest.mark.parametrize("item", ANALYSES.values(), ids=lambda item: item.name)
def test_every_analysis_keeps_its_promises(item, settings, tiny):
    config = tdw.configure(**{**tiny.to_json(), **settings})
    assert item.title
    assert item.compute.__doc__
    if why := item.inapplicable_reason(config):
        assert why.endswith(".")
        return
    checkpoints = [0, 5]
    weights = [
        {name: w.numpy() for name, w in reference.initial_weights(replace(config, model_seed=seed)).items()}
        for seed in checkpoints
    ]
    key = np.ones((4, config.frequencies), np.uint8)
    if item.per == "run":
        curve = np.linspace(3, 0, 41)
        views = [Checkpoint(config, w, tasks.draw_split(config), key) for w in weights]
        rows = {
            f"{name}/{array}": np.stack([registry.evaluate(find(name), view, config)[array] for view in views])
            for name in item.after
            for array in find(name).arrays
        }
        curves = Curves(curve, curve, 1 - curve / 3, 1 - curve / 3)
        subjects = [RunData(config, curves, checkpoints, rows.__getitem__, weights.__getitem__)] * 2
    else:
        subjects = [Checkpoint(config, weights[0], tasks.draw_split(config), key) for _ in range(2)]
    first, again = (registry.evaluate(item, subject, config) for subject in subjects)
    assert set(first) == set(item.arrays)
    for name, spec in item.arrays.items():
        assert first[name].shape == spec.shape(config, len(checkpoints))
        assert first[name].dtype == np.dtype(spec.dtype)
        assert np.array_equal(first[name], again[name], equal_nan=first[name].dtype.kind == "f")
    json.dumps(item.parameters)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(map(str, settings.values())) or "usual")
def test_the_loss_of_a_checkpoint_is_the_recorded_one(settings, tiny, tmp_path):
    path = tmp_path / "run.tdw"
    config = tdw.configure(**{**tiny.to_json(), **settings, "classes": "answers"})
    tdw.create(path, config)
    tdw.train(path)
    done = tdw.analyze(path)
    assert set(done) == {item.name for item in registry.usual(config)}
    with tdw.open(path) as run:
        for name in ("loss", "accuracy"):
            stored = run.analysis(name)
            at = stored.checkpoints
            sides = getattr(run, f"train_{name}")[at], getattr(run, f"test_{name}")[at]
            measured = stored.arrays[name]
            assert measured[:, 1] == pytest.approx(sides[0], rel=1e-5)
            seen = ~np.isnan(sides[1])
            assert seen.any()
            assert measured[seen, 2] == pytest.approx(sides[1][seen], rel=1e-5)
        assert run.verify() == []


def test_names_are_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'neuron_clusters'"):
        find("neuron_cluster")
    with pytest.raises(ValueError, match="two analyses are named 'events'"):
        registry.analysis(title="again", version=1, arrays={})(events.events)
    assert set(panels.PANELS) >= {"loss", "embedding_frequencies", "neuron_frequencies"}
