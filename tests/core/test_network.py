"""The network, twice: the factored engine and the closed form against the plain network and autograd."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import tdw
from tdw import closed_form, factored, model, tasks
from tdw.errors import SettingError


def network(p, heads, d_head, d_mlp, seed, scale, dtype=torch.float64):
    """Random weights: small `scale` gives flat attention, a large one saturates it."""
    config = tdw.configure(p=p, heads=heads, d_model=heads * d_head, d_mlp=d_mlp, model_seed=seed, train_fraction=0.5)
    weights = {name: (scale * w).to(dtype).requires_grad_() for name, w in model.initial_weights(config).items()}
    return config, weights


def all_pairs(config):
    indices = np.arange(config.p**2)
    a, b = tasks.operands(indices, config.p)
    return tuple(torch.from_numpy(x) for x in (a, b, tasks.answers(indices, config)))


def factored_pairs(config, pairs, dtype):
    return factored.Pairs(*pairs, p=config.p, heads=config.heads, d_mlp=config.d_mlp, dtype=dtype)


def plain_tables(weights):
    tables = factored.tables(weights)
    return tables, factored.Tables(*(tensor.detach() for tensor in tables.tensors()))


networks = st.tuples(
    st.sampled_from([2, 3, 4, 5, 6, 7, 12, 13]),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 9),
    st.integers(0, 99),
    st.sampled_from([0.05, 1.0, 4.0, 20.0]),
)


@given(networks)
@settings(max_examples=60, deadline=None)
def test_factored_losses_and_gradients_equal_autograd_on_the_plain_network(sizes):
    config, weights = network(*sizes)
    pairs = all_pairs(config)
    some = torch.randperm(config.p**2, generator=torch.Generator().manual_seed(1))[: max(1, config.p**2 // 2)]
    pairs = tuple(x[some] for x in pairs)

    logits = model.plain_forward(weights, *pairs[:2])
    loss = functional.cross_entropy(logits, pairs[2])
    expected = torch.autograd.grad(loss, list(weights.values()))

    engine = factored_pairs(config, pairs, torch.float64)
    tables, detached = plain_tables(weights)
    found, accuracy = engine.forward(detached)
    torch.testing.assert_close(found, loss, rtol=1e-9, atol=1e-12)
    top_two = logits.topk(2, dim=1).values
    if (top_two[:, 0] - top_two[:, 1]).min() > 1e-9:  # where two answers tie, either may be taken
        assert accuracy == (logits.argmax(1) == pairs[2]).double().mean()
    torch.autograd.backward(tables.tensors(), engine.backward())
    scale = max(gradient.abs().max().item() for gradient in expected)
    for (name, weight), gradient in zip(weights.items(), expected, strict=True):
        torch.testing.assert_close(
            weight.grad, gradient, rtol=1e-7, atol=1e-10 * scale + 1e-15, msg=lambda m, n=name: f"{n}: {m}"
        )


@given(networks)
@settings(max_examples=30, deadline=None)
def test_factored_equals_plain_to_float32_precision(sizes):
    config, weights = network(*sizes, dtype=torch.float32)
    pairs = all_pairs(config)
    exact = functional.cross_entropy(
        model.plain_forward({k: w.double() for k, w in weights.items()}, *pairs[:2]), pairs[2]
    )
    engine = factored_pairs(config, pairs, torch.float32)
    found, _ = engine.forward(plain_tables(weights)[1])
    torch.testing.assert_close(found, exact, rtol=2e-5, atol=1e-6)


@given(networks)
@settings(max_examples=40, deadline=None)
def test_the_closed_form_of_a_neuron_equals_the_plain_network(sizes):
    config, weights = network(*sizes)
    a, b, _ = all_pairs(config)
    tokens = torch.stack([a, b, torch.full_like(a, config.p)], 1)
    residual = weights["embed.W_E"][tokens] + weights["pos_embed.W_pos"]
    residual = residual + model.plain_attention(weights, residual)
    plain = torch.relu(residual @ weights["blocks.0.mlp.W_in"])[:, -1].detach().numpy().reshape(config.p, config.p, -1)
    arrays = {name: w.detach().numpy().astype(np.float32) for name, w in weights.items()}
    tolerance = 2e-5 * max(np.abs(plain).max(), 1e-3)
    assert np.abs(closed_form.activations(arrays) - plain).max() <= tolerance
    for neuron in range(config.d_mlp):
        assert np.abs(closed_form.neuron_map(arrays, neuron) - plain[:, :, neuron]).max() <= tolerance


def test_the_loss_keeps_its_relative_precision_when_it_is_tiny():
    config, weights = network(5, 1, 4, 6, 0, 1.0, dtype=torch.float32)
    pairs = all_pairs(config)
    engine = factored_pairs(config, pairs, torch.float32)
    _, tables = plain_tables(weights)
    # Right answers are 27 ahead: the loss is 4 exp(-27), 7.5e-12. Plain float32 log-softmax gives 0.
    tables.mixed.zero_()
    tables.direct.zero_()
    tables.direct[:, :] = 0
    one = factored_pairs(config, tuple(x[:1] for x in pairs), torch.float32)
    tables.mixed[-1, config.d_mlp + int(pairs[2][0])] = 27.0
    found, accuracy = one.forward(tables)
    assert accuracy == 1
    assert found.item() == pytest.approx(4 * np.exp(-27), rel=1e-5)
    assert engine.forward(tables)[0] > 1  # the other pairs have other answers


def test_logits_far_below_zero_do_not_meet_the_padding():
    config, weights = network(5, 1, 4, 6, 0, 1.0)
    pairs = all_pairs(config)
    engine = factored_pairs(config, pairs, torch.float64)
    _, tables = plain_tables(weights)
    tables.mixed[-1, config.d_mlp : config.d_mlp + 5] -= 1000  # adding a constant to all answers changes nothing
    shifted, _ = engine.forward(tables)
    tables.mixed[-1, config.d_mlp : config.d_mlp + 5] += 1000
    torch.testing.assert_close(shifted, engine.forward(tables)[0], rtol=1e-9, atol=1e-12)


def test_seeds_mean_what_they_mean_in_transformerlens(reference):
    config = tdw.configure(p=29, d_model=32, heads=4, d_mlp=64, model_seed=7, data_seed=11, train_fraction=0.7)
    assert np.array_equal(tasks.draw_split(config).train, reference["train_indices"])
    # The reference run's losses start from the weights of seed 7: test_training holds the curves to them.
    assert model.initial_weights(config)["embed.W_E"].std() == pytest.approx(0.8 / 32**0.5, rel=0.05)


def test_given_weights_are_checked():
    config, weights = network(5, 2, 4, 6, 0, 1.0, dtype=torch.float32)
    given = {name: w.detach().numpy() for name, w in weights.items()}
    zero_bias = {"blocks.0.mlp.b_in": np.zeros(6), "blocks.0.attn.mask": np.ones((3, 3))}
    assert set(model.check_weights(given | zero_bias, config)) == set(weights)
    for changed, sentence in [
        ({"blocks.0.mlp.W_in": np.zeros((3, 3))}, r"W_in has shape \(3, 3\), but these settings make it \(8, 6\)"),
        ({"blocks.0.mlp.b_in": np.ones(6)}, r"biases other than zero are not part"),
        ({"blocks.1.mlp.W_in": np.ones(6)}, r"blocks.1.mlp.W_in is not known"),
        ({"embed.W_E": np.full((6, 8), np.nan)}, r"not finite"),
    ]:
        with pytest.raises(SettingError, match=sentence):
            model.check_weights(given | changed, config)
    with pytest.raises(SettingError, match=r"weight unembed\.W_U is missing"):
        model.check_weights({name: w for name, w in given.items() if name != "unembed.W_U"}, config)


def test_given_splits_are_checked():
    assert tasks.check_split([0, 3], np.array([1]), 2).train.tolist() == [0, 3]
    for train, test, sentence in [
        ([0, 1], [1, 2], "holds pair 1 twice"),
        ([], [1], "train side of the split must be a list"),
        ([0], [4], r"holds 4: with p = 2 give 0 to 3"),
        ([0.5], [1], "train side"),
    ]:
        with pytest.raises(SettingError, match=sentence):
            tasks.check_split(train, test, 2)
