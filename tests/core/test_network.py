"""The network, twice: the factored engine and the closed form against the plain network and autograd."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import tdw
from tdw import config, tasks
from tdw.errors import SettingError
from tdw.network import factored, reference
from tdw.network.kinds import network_of

KINDS = [
    {"network": kind, "activation": activation, "biases": biases, "classes": classes}
    | ({"attention_rate": rate} if "attention" in declared.capabilities else {})
    for kind, declared in config.NETWORKS.items()
    for activation in config.ACTIVATIONS
    for biases in config.BIASES
    for classes in config.CLASSES
    for rate in (1.0, 0.7, 0.0)
    if "closed form" in declared.capabilities and ("=" in declared.tokens or classes == "answers")
]


def network(p, heads, d_head, d_mlp, seed, scale, kind=None, dtype=torch.float64):
    """Random weights: small `scale` gives flat attention, a large one saturates it. d_model is no multiple of heads."""
    sizes = {"p": p, "heads": heads, "d_head": d_head, "d_model": heads * d_head + 1, "d_mlp": d_mlp}
    config = tdw.configure(**sizes, model_seed=seed, train_fraction=0.5, **(kind or {}))
    drawn = reference.initial_weights(config)
    biases = torch.Generator().manual_seed(seed + 1)
    for name, weight in drawn.items():
        if weight.ndim == 1:  # zero at first
            drawn[name] = torch.empty(weight.shape).normal_(0, 0.3, generator=biases)
    return config, {name: (scale * w).to(dtype).requires_grad_() for name, w in drawn.items()}


def all_pairs(config):
    indices = np.arange(config.p**2)
    a, b = tasks.operands(indices, config.p)
    return tuple(torch.from_numpy(x) for x in (a, b, tasks.answers(indices, config)))


networks = st.tuples(
    st.sampled_from([2, 3, 4, 5, 6, 7, 12, 13]),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 9),
    st.integers(0, 99),
    st.sampled_from([0.05, 1.0, 4.0, 20.0]),
    st.sampled_from(KINDS),
)


def margins(logits, answers):
    """How far the correct logit is ahead of the largest other one, as a share of the larger of the two."""
    found = []
    for row, answer in zip(logits.tolist(), answers.tolist(), strict=True):
        right, wrong = row[answer], max(row[:answer] + row[answer + 1 :])
        size = max(abs(right), abs(wrong))
        found.append((right - wrong) / size if size else 0.0)
    return torch.tensor(found, dtype=torch.float64)


@given(networks, st.sampled_from([0, 1, 2, 5]))
@settings(max_examples=150, deadline=None)
def test_factored_losses_and_gradients_equal_autograd_on_the_plain_network(sizes, at_once):
    config, weights = network(*sizes)
    pairs = all_pairs(config)
    some = torch.randperm(config.p**2, generator=torch.Generator().manual_seed(1))[: max(1, config.p**2 // 2)]
    pairs = tuple(x[some] for x in pairs)

    logits = reference.plain_forward(weights, *pairs[:2], config.nonlinearity)
    loss = functional.cross_entropy(logits, pairs[2])
    expected = torch.autograd.grad(loss, list(weights.values()))

    engine = factored.Pairs(*pairs, config=config, at_once=at_once, dtype=torch.float64)
    tables = factored.tables(weights, config.attention_rate)
    (found, accuracy), gradients = engine.forward_and_backward(tables.detached())
    torch.testing.assert_close(found, loss, rtol=1e-9, atol=1e-12)
    if not (margins(logits, pairs[2]).abs() - 1e-6).abs().min() < 1e-9:  # rounding decides what is tied
        assert accuracy == (margins(logits, pairs[2]) > 1e-6).double().mean()
    torch.autograd.backward(tables.tensors(), gradients.tensors())
    scale = max(gradient.abs().max().item() for gradient in expected)
    for (name, weight), gradient in zip(weights.items(), expected, strict=True):
        torch.testing.assert_close(
            weight.grad, gradient, rtol=1e-7, atol=1e-10 * scale + 1e-15, msg=lambda m, n=name: f"{n}: {m}"
        )


@given(networks)
@settings(max_examples=60, deadline=None)
def test_factored_equals_plain_to_float32_precision(sizes):
    config, weights = network(*sizes, dtype=torch.float32)
    pairs = all_pairs(config)
    exact = functional.cross_entropy(
        reference.plain_forward({k: w.double() for k, w in weights.items()}, *pairs[:2], config.nonlinearity), pairs[2]
    )
    engine = factored.Pairs(*pairs, config=config)
    found, _ = engine.forward(factored.tables(weights, config.attention_rate).detached())
    torch.testing.assert_close(found, exact, rtol=2e-5, atol=1e-6)


@given(networks)
@settings(max_examples=60, deadline=None)
def test_the_closed_form_of_a_neuron_equals_the_plain_network(sizes):
    config, weights = network(*sizes)
    a, b, _ = all_pairs(config)
    neurons = []
    seen = {"relu": "relu", "gelu": "gelu", "quadratic": "square"}[config.activation]
    plain_logits = logits_watching(seen, neurons, lambda: reference.plain_forward(weights, a, b, config.nonlinearity))
    plain = neurons[0] if config.network == "one-hot" else neurons[0][:, -1]
    plain = plain.detach().numpy().reshape(config.p, config.p, -1)
    arrays = {name: w.detach().numpy().astype(np.float32) for name, w in weights.items()}
    tolerance = 3e-5 * max(np.abs(plain).max(), 1e-2)
    found = config.network_kind.computation.activations(arrays, config.nonlinearity)
    assert np.abs(found - plain).max() <= tolerance
    for neuron in range(config.d_mlp):
        assert (
            np.abs(
                network_of(arrays).computation.neuron_map(arrays, neuron, config.nonlinearity) - plain[:, :, neuron]
            ).max()
            <= tolerance
        )
    expected = plain_logits.detach().numpy().reshape(config.p, config.p, -1)
    assert np.abs(
        config.network_kind.computation.logits(arrays, found, config.nonlinearity) - expected
    ).max() <= 1e-4 * max(np.abs(expected).max(), 1e-3)


def logits_watching(name, into, forward):
    """What `forward` returns; what torch's activation function of that name returned on the way is added to `into`."""
    owner = functional if name == "gelu" else torch
    own = getattr(owner, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, lambda x: into.append(own(x)) or into[-1])
        return forward()


def test_the_loss_keeps_its_relative_precision_when_it_is_tiny():
    config, weights = network(5, 1, 4, 6, 0, 1.0, dtype=torch.float32)
    pairs = all_pairs(config)
    engine = factored.Pairs(*pairs, config=config)
    tables = factored.tables(weights, config.attention_rate).detached()
    # Right answers are 27 ahead: the loss is 4 exp(-27), 7.5e-12. Plain float32 log-softmax gives 0.
    tables.mixed.zero_()
    tables.direct.zero_()
    tables.direct[:, :] = 0
    one = factored.Pairs(*(x[:1] for x in pairs), config=config)
    tables.mixed[-1, config.d_mlp + int(pairs[2][0])] = 27.0
    found, accuracy = one.forward(tables)
    assert accuracy == 1
    assert found.item() == pytest.approx(4 * np.exp(-27), rel=1e-5)
    assert engine.forward(tables)[0] > 1  # the other pairs have other answers


def test_logits_far_below_zero_do_not_meet_the_padding():
    config, weights = network(5, 1, 4, 6, 0, 1.0)
    pairs = all_pairs(config)
    engine = factored.Pairs(*pairs, config=config, dtype=torch.float64)
    tables = factored.tables(weights, config.attention_rate).detached()
    tables.mixed[-1, config.d_mlp : config.d_mlp + 5] -= 1000  # adding a constant to all answers changes nothing
    shifted, _ = engine.forward(tables)
    tables.mixed[-1, config.d_mlp : config.d_mlp + 5] += 1000
    torch.testing.assert_close(shifted, engine.forward(tables)[0], rtol=1e-9, atol=1e-12)


def test_seeds_mean_what_they_mean_in_transformerlens(reference_run):
    config = tdw.configure(p=29, d_model=32, heads=4, d_mlp=64, model_seed=7, data_seed=11, train_fraction=0.7)
    assert np.array_equal(tasks.draw_split(config).train, reference_run["train_indices"])
    # The reference run's losses start from the weights of seed 7: test_training holds the curves to them.
    assert reference.initial_weights(config)["embed.W_E"].std() == pytest.approx(0.8 / 32**0.5, rel=0.05)


def test_given_weights_are_checked():
    config, weights = network(5, 2, 4, 6, 0, 1.0, dtype=torch.float32)
    given = {name: w.detach().numpy() for name, w in weights.items()}
    zero_bias = {"blocks.0.mlp.b_in": np.zeros(6), "blocks.0.attn.mask": np.ones((3, 3))}
    assert set(reference.check_weights(given | zero_bias, config)) == set(weights)
    for changed, sentence in [
        (
            {"blocks.0.mlp.W_in": np.zeros((3, 3))},
            r"W_in must have shape \(9, 6\) with these settings \(got \(3, 3\)\)",
        ),
        ({"blocks.0.mlp.b_in": np.ones(6)}, r"this network has no nonzero bias blocks.0.mlp.b_in"),
        ({"blocks.1.mlp.W_in": np.ones(6)}, r"this network has no weight blocks.1.mlp.W_in"),
        ({"embed.W_E": np.full((6, 9), np.nan)}, r"embed.W_E holds NaN or infinite values"),
    ]:
        with pytest.raises(SettingError, match=sentence):
            reference.check_weights(given | changed, config)
    with pytest.raises(SettingError, match=r"weight unembed\.W_U is missing"):
        reference.check_weights({name: w for name, w in given.items() if name != "unembed.W_U"}, config)


def test_given_splits_are_checked():
    assert tasks.check_split([0, 3], np.array([1]), 2).train.tolist() == [0, 3]
    for train, test, sentence in [
        ([0, 1], [1, 2], "holds pair 1 twice"),
        ([], [1], "train side of the split must be a non-empty list"),
        ([0], [4], r"must hold integers from 0 to 3 for p = 2 \(got 4\)"),
        ([0.5], [1], "train side"),
    ]:
        with pytest.raises(SettingError, match=sentence):
            tasks.check_split(train, test, 2)


@pytest.mark.parametrize("loss", ["float32", "float64"])
def test_losses_of_pytorchs_arithmetic_and_their_gradients_are_pytorchs(loss):
    """On the same logits, to the last bit in the loss, to rounding of float32 in the gradient."""
    config, weights = network(7, 2, 3, 8, 3, 4.0, {"loss": loss, "classes": "tokens"}, dtype=torch.float32)
    pairs = all_pairs(config)
    engine = factored.Pairs(*pairs, config=config)
    tables = factored.tables(weights, config.attention_rate)
    found, accuracy = engine.forward(tables.detached())
    (block,) = engine.blocks
    logits = block.logits[:, : block.classes].clone().requires_grad_()
    expected = functional.cross_entropy(logits.double() if loss == "float64" else logits, pairs[2])
    assert found.item() == expected.item()
    assert accuracy.item() == (logits.argmax(1) == pairs[2]).double().mean().item()
    expected.backward()
    gradient = block._gradient_in(block.loss_dtype)
    torch.testing.assert_close(gradient[:, : block.classes], logits.grad, rtol=1e-6, atol=0)
    assert not gradient[:, block.classes :].any()


@pytest.mark.parametrize(("loss", "expected"), [("stable", 7.5), ("float64", 7.5), ("float32", 0)])
def test_an_answer_far_ahead_has_no_loss_and_pulls_no_more_in_float32_only(loss, expected):
    config, weights = network(5, 1, 4, 6, 0, 1.0, {"loss": loss}, dtype=torch.float32)
    pairs = [x[:1] for x in all_pairs(config)]
    engine = factored.Pairs(*pairs, config=config)
    tables = factored.tables(weights, config.attention_rate).detached()
    tables.mixed.zero_()
    tables.direct.zero_()
    tables.mixed[-1, config.d_mlp + int(pairs[2][0])] = 27.0  # the loss is 4 exp(-27)
    (found, _), _ = engine.forward_and_backward(tables)
    assert found.item() == pytest.approx(expected * 1e-12, rel=2e-3)
    assert bool(engine.blocks[0].logits[0, pairs[2][0]]) == (expected > 0)
