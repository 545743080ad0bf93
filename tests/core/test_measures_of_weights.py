"""Analyses of weights, neurons and attention against planted values and direct implementations."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tdw
from tdw.analyses import fourier
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.gradient_symmetricity import logit_gradients
from tdw.analyses.key_frequencies import RULES
from tdw.analyses.sparsity import gini, participation
from tdw.network import kinds, reference
from tdw.network.parameters import shapes
from tests.core.planted import MODULI, SMALL, Planted, measure, of_neurons, places

NETWORKS = [
    {"network": "transformer", "activation": "relu"},
    {"network": "transformer", "activation": "gelu", "biases": "mlp", "classes": "tokens"},
    {"network": "transformer", "activation": "quadratic", "d_head": 3},
    {"network": "two-token", "activation": "relu", "biases": "mlp"},
    {"network": "two-token", "activation": "gelu", "d_head": 5},
    {"network": "two-token", "attention_rate": 0.0},
    {"network": "transformer", "activation": "gelu", "attention_rate": 0.6},
]


def random_weights(config, seed=0, size=1.0):
    random = np.random.default_rng(seed)
    return {name: (size * random.normal(size=shape)).astype(np.float32) for name, shape in shapes(config).items()}


def zeros(config):
    return {name: np.zeros(shape, np.float32) for name, shape in shapes(config).items()}


def torn(weights):
    return {name: torch.from_numpy(w).double() for name, w in weights.items()}


def described(settings):
    return "-".join(str(value) for value in settings.values())


@pytest.mark.parametrize("p", MODULI)
@pytest.mark.parametrize("network", ["transformer", "two-token", "one-hot"])
def test_a_pure_wave_in_the_unembedding_lights_its_own_bar(p, network):
    config = tdw.configure(**SMALL, p=p, network=network, classes="tokens" if network == "transformer" else "answers")
    out, through = ("mlp.W_out", None) if network == "one-hot" else ("unembed.W_U", "blocks.0.mlp.W_out")
    x = np.arange(p)
    for k in {1, p // 2}:
        for wave in ("cos", "sin")[: 1 if 2 * k == p else 2]:
            weights = zeros(config)
            weights[out][1, :p] = getattr(np, wave)(2 * np.pi * k * x / p)
            if network == "transformer":
                weights[out][1, p] = 100  # the class of '=' is none of the answers
            if through:
                weights[through][2, 1] = 1
            found = measure("unembedding_frequencies", Checkpoint(config, weights))
            assert fourier.component_names(p)[found["norms"].argmax()] == f"{wave} {k}"
            assert found["norms"].max() == pytest.approx(np.linalg.norm(weights[out][1, :p]), rel=1e-6)
            assert np.sort(found["norms"])[-2] < 1e-5
            assert found["frequency_norms"].argmax() + 1 == k


@pytest.mark.parametrize("p", [3, 5, 7, 59, 113])
def test_frequencies_of_products_are_counted_along_powers(p):
    config = tdw.configure(**SMALL | {"d_mlp": 3}, p=p, task="multiply")
    order, where = p - 1, places(config)
    k = order // 2
    wave = {x: math.cos(2 * math.pi * k * place / order) for x, place in where.items()}
    weights = zeros(config)
    for x, value in wave.items():
        weights["embed.W_E"][x, 1] = value
    weights["embed.W_E"][0] = 50  # 0 is no power
    found = measure("embedding_frequencies", Checkpoint(config, weights))
    assert fourier.component_names(order)[found["norms"].argmax()] == f"cos {k}"
    assert np.sort(found["norms"])[-2] < 1e-5 if order > 1 else True
    neurons = np.full((p, p, 3), 7.0)
    for (a, at_a), (b, at_b) in itertools.product(where.items(), where.items()):
        neurons[a, b, 0] = math.cos(2 * math.pi * k * (at_a + at_b) / order)
        neurons[a, b, 1] = wave[a]
        neurons[a, b, 2] = 0
    share = measure("neuron_frequencies", of_neurons(neurons, task="multiply"))["share"]
    assert share[k - 1, :2] == pytest.approx([1, 1], abs=1e-5)
    assert share[:, 2].tolist() == [0] * (order // 2)  # it differs between pairs with 0 and without, and nowhere else
    assert measure("neuron_summary", of_neurons(neurons, task="multiply"))["frequency"].tolist() == [k, k, -1]


def test_neurons_of_tasks_without_frequencies_are_summed_up_all_the_same():
    neurons = np.random.default_rng(0).normal(size=(6, 6, 2))
    found = measure("neuron_summary", of_neurons(neurons, task="multiply"))
    assert found["frequency"].tolist() == [-1, -1]
    assert found["share"].tolist() == [0, 0]
    assert found["active_share"] == pytest.approx((neurons > 0).mean(axis=(0, 1)))
    assert found["maximum"] == pytest.approx(neurons.max(axis=(0, 1)))


@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=60))
def test_sparsity_equals_its_plain_definition(values):
    x = [float(value) for value in values]
    n, total = len(x), math.fsum(x)
    expected = math.fsum(abs(u - v) for u in x for v in x) / (2 * n * total) if total else 0
    assert gini(np.array(x)) == pytest.approx(expected, abs=1e-9)
    energy = math.fsum(v * v for v in x)
    expected = math.fsum(v**4 for v in x) / energy**2 if energy > 1e-140 else None
    if expected is not None:
        assert participation(np.array(x)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("p", MODULI)
def test_sparsity_leaves_the_constant_out(p):
    config = tdw.configure(**SMALL, p=p)
    weights = zeros(config)
    weights["embed.W_E"][:p, 0] = np.cos(2 * np.pi * np.arange(p) / p) + 1000
    weights["embed.W_E"][p] = 30
    weights["blocks.0.mlp.W_out"][0, 0] = 1
    weights["unembed.W_U"][0] = sum(row for row in fourier.basis(p)[1::2])  # every cosine alike
    found = measure("sparsity", Checkpoint(config, weights))
    frequencies = p // 2
    assert found["embedding_gini"] == pytest.approx(1 - 1 / frequencies, abs=1e-4)
    assert found["embedding_participation"] == pytest.approx(1, abs=1e-4)
    assert found["unembedding_gini"] == pytest.approx(0, abs=1e-5)
    assert found["unembedding_participation"] == pytest.approx(1 / frequencies, abs=1e-5)
    nothing = measure("sparsity", Checkpoint(config, zeros(config)))
    assert all(value == 0 for value in nothing.values())


@pytest.mark.parametrize("settings", [*NETWORKS, {"network": "one-hot", "biases": "mlp"}], ids=described)
def test_norms_and_effective_dimensions_of_every_weight(settings):
    config = tdw.configure(p=6, d_model=6, heads=2, d_mlp=5, train_fraction=0.5, **settings)
    weights = random_weights(config)
    view = Checkpoint(config, weights)
    norms = measure("weight_norms", view)
    squares = [math.fsum(float(x) ** 2 for x in weights[name].ravel()) for name in shapes(config)]
    assert norms["squares"] == pytest.approx(squares, rel=1e-12)
    assert norms["total"] == pytest.approx(math.fsum(squares), rel=1e-12)
    expected = []
    for name, shape in shapes(config).items():
        matrix = weights[name].astype(np.float64)
        if len(shape) == 3:  # heads beside one another where they read, below one another where they write
            matrix = np.concatenate(matrix, axis=0 if name.endswith("W_O") else 1)
        if len(shape) > 1:
            s = np.linalg.svd(matrix, compute_uv=False)
            expected.append((s**2).sum() ** 2 / (s**4).sum())
    assert measure("effective_dimension", view)["dimension"] == pytest.approx(expected, rel=1e-9)
    assert measure("effective_dimension", Checkpoint(config, zeros(config)))["dimension"].tolist() == [0] * len(
        expected
    )


def of_every_kind(kind):
    """Settings of a small network of a kind, and the names of its matrices in their order."""
    config = tdw.configure(p=6, d_model=6, heads=2, d_head=4, d_mlp=5, train_fraction=0.5, biases="mlp", network=kind)
    return config, [name for name, shape in shapes(config).items() if len(shape) > 1]


@pytest.mark.parametrize("kind", kinds.NETWORKS)
def test_the_stable_rank_of_planted_singular_values(kind):
    config, names = of_every_kind(kind)
    random = np.random.default_rng(0)
    weights, expected = zeros(config), []
    for place, name in enumerate(names):
        *heads, rows, columns = shapes(config)[name]
        writes = name.endswith("W_O")
        if heads:  # all heads as one matrix
            rows, columns = (heads[0] * rows, columns) if writes else (rows, heads[0] * columns)
        singular = random.uniform(0.1, 1, min(rows, columns)) * 10.0 ** (place - 3)
        left, right = (np.linalg.qr(random.normal(size=(size, len(singular))))[0] for size in (rows, columns))
        matrix = (left * singular) @ right.T
        weights[name][:] = np.split(matrix, heads[0], axis=0 if writes else 1) if heads else matrix
        expected.append(sum(singular**2) / max(singular) ** 2)
    assert measure("stable_rank", Checkpoint(config, weights))["rank"] == pytest.approx(expected, rel=1e-5)
    assert measure("stable_rank", Checkpoint(config, zeros(config)))["rank"].tolist() == [0] * len(names)


@pytest.mark.parametrize("kind", kinds.NETWORKS)
def test_the_stable_rank_is_the_square_sum_over_what_power_iteration_finds(kind):
    config, names = of_every_kind(kind)
    weights, expected = random_weights(config), []
    for name in names:
        heads = weights[name].astype(np.float64)
        heads = heads if heads.ndim == 3 else heads[None]
        # Heads that read lie beside one another, heads that write below one another: W Wᵀ, or Wᵀ W, is a sum over them.
        product = sum(head.T @ head if name.endswith("W_O") else head @ head.T for head in heads)
        vector = np.ones(len(product))
        for _ in range(3000):
            vector = product @ vector
            largest = np.linalg.norm(vector)
            vector /= largest
        expected.append(math.fsum(float(x) ** 2 for x in weights[name].ravel()) / largest)
    assert measure("stable_rank", Checkpoint(config, weights))["rank"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("settings", NETWORKS, ids=described)
@pytest.mark.parametrize("p", [2, 5, 6])
def test_attention_is_what_a_plain_softmax_gives(settings, p):
    config = tdw.configure(p=p, d_model=6, heads=2, d_mlp=5, train_fraction=0.5, **settings)
    weights = random_weights(config)
    rate = config.attention_rate
    pattern = rate * plain_pattern(weights, p) + (1 - rate)  # (head, token, a, b)
    found = measure("attention", Checkpoint(config, weights))
    assert found["mean"] == pytest.approx(pattern.mean(axis=(2, 3)), abs=1e-6)
    assert found["variance"] == pytest.approx(pattern.var(axis=(2, 3)), abs=1e-6)
    on_a = pattern[:, 0].transpose(1, 2, 0)
    assert found["share"] == pytest.approx(measure("neuron_frequencies", of_neurons(on_a))["share"], abs=1e-4)


def plain_pattern(weights, p):
    tokens = weights["pos_embed.W_pos"].shape[0]
    query, key = (weights[f"blocks.0.attn.W_{name}"].astype(float) for name in "QK")
    pattern = np.zeros((len(query), tokens, p, p))
    for a, b, head in itertools.product(range(p), range(p), range(len(query))):
        stream = weights["embed.W_E"][[a, b, p][:tokens]] + weights["pos_embed.W_pos"]
        scores = [float(stream[-1] @ query[head] @ (token @ key[head])) for token in stream]
        weight = [math.exp(score / query.shape[2] ** 0.5) for score in scores]
        pattern[head, :, a, b] = np.array(weight) / sum(weight)
    return pattern


def test_frequency_of_a_planted_head_and_of_one_that_does_not_look():
    config = tdw.configure(**SMALL | {"heads": 2}, p=7)
    a, b = np.indices((7, 7))
    on_a = np.stack([0.3 + 0.2 * np.cos(2 * np.pi * 3 * (a + b) / 7), np.full((7, 7), 0.5)])
    view = Planted(config, attention=np.stack([on_a, 0.5 * (1 - on_a), 0.5 * (1 - on_a)]))
    found = measure("attention", view)
    assert pytest.approx(np.array([[0, 0, 1], [0, 0, 0]]), abs=1e-5) == found["share"].T
    assert found["mean"].T[0] == pytest.approx([0.3, 0.5], abs=1e-6)
    assert found["variance"].T[0] == pytest.approx([0.02, 0], abs=1e-6)


@pytest.mark.parametrize("settings", NETWORKS, ids=described)
def test_gradients_are_those_of_autograd_on_the_plain_network(settings):
    p, count = 7, 30
    config = tdw.configure(p=p, d_model=6, heads=2, d_mlp=9, train_fraction=0.5, **settings)
    weights = random_weights(config, size=0.6)
    a, b, c = np.random.default_rng(1).integers(0, p, (3, count))
    b[:3] = a[:3]
    # Each operand gets a row of its own, so that the gradients of a = b are told apart.
    twice = torn(weights)
    rows = twice["embed.W_E"]
    twice["embed.W_E"] = torch.cat([rows[:p], rows[:p], rows[p:]]).requires_grad_()
    expected = []
    for triple in range(count):
        logits = reference.plain_forward(
            twice, torch.tensor([a[triple]]), torch.tensor([p + b[triple]]), config.nonlinearity
        )
        (gradient,) = torch.autograd.grad(logits[0, c[triple]], twice["embed.W_E"])
        expected.append(gradient[[a[triple], p + b[triple]]].numpy())
    found = logit_gradients(weights, config.nonlinearity, a, b, c)
    assert found == pytest.approx(np.array(expected).transpose(1, 0, 2), rel=1e-5, abs=1e-6)

    found = measure("gradient_symmetricity", Checkpoint(config, weights))
    a, b, c = np.unravel_index(np.arange(p**3), (p, p, p))
    pairs = logit_gradients(weights, config.nonlinearity, a, b, c)
    cosines = [
        u @ v / (np.linalg.norm(u) * np.linalg.norm(v)) for u, v in zip(*pairs, strict=True) if u.any() and v.any()
    ]
    assert found["value"] == pytest.approx(np.mean(cosines), rel=1e-9)
    assert found["error"] == 0


def test_sampled_gradient_symmetricity_is_as_close_to_that_of_all_triples_as_its_error_says():
    p = 19
    off = []
    for seed in range(12):
        config = tdw.configure(p=p, d_model=6, heads=2, d_mlp=5, train_fraction=0.5)
        weights = random_weights(config, seed)
        found = measure("gradient_symmetricity", Checkpoint(config, weights))
        a, b, c = np.unravel_index(np.arange(p**3), (p, p, p))
        u, v = logit_gradients(weights, config.nonlinearity, a, b, c)
        lengths = np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
        exact = ((u * v).sum(axis=1)[lengths > 0] / lengths[lengths > 0]).mean()
        assert 0.003 < found["error"] <= 0.01
        off.append((found["value"] - exact) / found["error"])
    assert 0.4 < np.std(off) < 1.6
    assert np.abs(off).max() < 4


@pytest.mark.parametrize("p", MODULI)
def test_gradient_symmetricity_of_networks_whose_symmetry_is_known(p):
    config = tdw.configure(**SMALL | {"heads": 2, "d_head": 4}, p=p)

    def value(second):
        weights = random_weights(config)
        for name in "QKVO":
            weights[f"blocks.0.attn.W_{name}"][:] = 0
        weights["blocks.0.mlp.W_in"][:] = 0
        # Head 0 looks at a alone, head 1 at b alone, by their positions; each moves one direction into another.
        weights["embed.W_E"][:, 2:] = 0
        weights["pos_embed.W_pos"][:] = [[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
        weights["embed.W_E"][p] = [0, 0, -1, -1]
        query, key = weights["blocks.0.attn.W_Q"], weights["blocks.0.attn.W_K"]
        query[:, 2, 0] = -30
        key[0, 2, 0] = key[1, 3, 0] = 30
        weights["blocks.0.attn.W_V"][0, 0, 1] = 1
        weights["blocks.0.attn.W_V"][1][second[0], 1] = second[1]
        weights["blocks.0.attn.W_O"][:, 1, 0] = 1
        return measure("gradient_symmetricity", Checkpoint(config, weights))["value"]

    assert value((0, 1.0)) == pytest.approx(1)
    assert value((0, -1.0)) == pytest.approx(-1)
    assert value((1, 1.0)) == pytest.approx(0, abs=1e-9)
    assert np.isnan(measure("gradient_symmetricity", Checkpoint(config, zeros(config)))["value"])


@pytest.mark.parametrize("p", MODULI)
@pytest.mark.parametrize("task", ["add", "subtract", "multiply", "divide"])
def test_planted_phases_are_found(p, task):
    if task in ("multiply", "divide") and p not in {3, 5, 7, 59, 113}:
        pytest.skip("no frequencies")
    config = tdw.configure(**SMALL | {"d_mlp": 6}, p=p, task=task, network="one-hot", biases="mlp")
    where, order = places(config), config.order
    random = np.random.default_rng(p)
    weights = zeros(config)
    expected = np.full(6, np.nan)
    weights["mlp.b_in"][5] = -100  # it is never above zero, so its phases mean nothing
    for neuron in range(6):
        k = [1, order // 2, max(order // 3, 1)][neuron % 3]
        phase_a, phase_b, off = random.uniform(-3, 3, 3)
        if 2 * k == order:
            phase_a, phase_b, off = 0.0, math.pi, 0.0
        expected[neuron] = abs(math.sin(off)) if neuron < 5 else math.nan
        phase_c = (phase_a - phase_b if task in ("subtract", "divide") else phase_a + phase_b) + off
        for x, place in where.items():
            angle = 2 * math.pi * k * place / order
            weights["mlp.W_in"][x, neuron] = 0.4 * math.cos(angle + phase_a)
            weights["mlp.W_in"][p + x, neuron] = 2 * math.cos(angle + phase_b)
            weights["mlp.W_out"][neuron, x] = 3 * math.cos(angle + phase_c)
    found = measure("phase_alignment", Checkpoint(config, weights))
    assert found["neuron"] == pytest.approx(expected, abs=1e-4, nan_ok=True)
    assert found["misalignment"] == pytest.approx(np.nanmean(expected), abs=1e-4)


def test_phases_of_a_network_without_living_neurons_are_not_measured():
    config = tdw.configure(**SMALL, p=7, network="one-hot")
    found = measure("phase_alignment", Checkpoint(config, zeros(config)))
    assert np.isnan(found["neuron"]).all()
    assert np.isnan(found["misalignment"])


def test_each_rule_of_key_frequencies_sees_what_it_looks_at():
    p = 23
    config = tdw.configure(**SMALL | {"d_mlp": 20, "d_model": 8}, p=p)
    x = np.arange(p)

    def wave(k):
        return np.cos(2 * np.pi * k * x / p)

    weights = zeros(config)
    for column, (k, size) in enumerate([(2, 4.0), (5, 1.1), (7, 0.9)]):  # a quarter of the largest is 1
        weights["embed.W_E"][:p, column] = size * wave(k)
    for column, (k, size) in enumerate([(3, 8.0), (9, 2.1), (11, 1.9)]):
        weights["blocks.0.mlp.W_out"][column, column] = 1
        weights["unembed.W_U"][column] = size * wave(k)
    a, b = np.indices((p, p))
    neurons = np.zeros((p, p, 20))
    neurons[:, :, 0] = np.cos(2 * np.pi * 4 * a / p)  # one of twenty
    neurons[:, :, 1:3] = np.cos(2 * np.pi * 6 * b / p)[:, :, None]  # a tenth
    neurons[:, :, 3:9] = (np.cos(2 * np.pi * 8 * b / p) + np.cos(2 * np.pi * 10 * b / p))[:, :, None]  # half and half
    angle = 2 * np.pi * (a[:, :, None] + b[:, :, None] - x) / p
    other = np.cos(2 * np.pi * 11 * (2 * a[:, :, None] - x) / p)  # of no sum
    logits = np.cos(angle) + 0.0055 * np.cos(2 * angle) + 0.0045 * np.cos(3 * angle) - other
    logits /= 2**0.5  # so that the small ones are about their own cosine similarity
    view = Planted(config, activations=neurons, logits=logits * 2**0.5)
    view.weights = weights
    found = {
        rule: (np.flatnonzero(row) + 1).tolist()
        for rule, row in zip(RULES, measure("key_frequencies", view)["key"], strict=True)
    }
    cosines = measure("logit_frequencies", view)["cosine"]
    assert cosines[1:3] == pytest.approx([0.0055 / 2**0.5, 0.0045 / 2**0.5], rel=1e-3)
    assert found == {"logit_cosine": [1], "neuron_map": [3, 9], "clusters": [6], "embedding": [2, 5]}
    strong = Planted(config, activations=neurons, logits=np.cos(angle) + 0.0055 * np.cos(2 * angle))
    assert (np.flatnonzero(measure("key_frequencies", strong)["key"][0]) + 1).tolist() == [1, 2]
    nothing = Checkpoint(config, zeros(config))
    assert not measure("key_frequencies", nothing)["key"].any()


def test_tasks_that_are_not_additive_have_no_key_frequency_by_the_logits():
    config = tdw.configure(**SMALL, p=7, task="x2+y2")
    logits = np.cos(2 * np.pi * np.add.outer(np.add.outer(np.arange(7), np.arange(7)), -np.arange(7)) / 7)
    rows = measure("key_frequencies", Planted(config, logits=logits))["key"]
    assert not rows[RULES.index("logit_cosine")].any()
    assert rows[RULES.index("embedding")].any()
