"""Frozen weights stay as they are, in every network, with every optimizer, and everything else is trained as without them."""

import itertools
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import tdw
from tdw import config, tasks
from tdw.errors import SettingError
from tdw.network import kinds, reference, training
from tdw.network.losses import cross_entropy
from tdw.network.optimizers import OPTIMIZERS
from tdw.network.parameters import shapes
from tdw.network.segment import State

PYTORCH = {
    "adamw": lambda settings, weights: torch.optim.AdamW(
        weights, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay
    ),
    "sgd": lambda settings, weights: torch.optim.SGD(
        weights, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    ),
}


def settings_of(tiny, network, optimizer, **more):
    given = {"network": network, "optimizer": optimizer, "lr": 0.01, "weight_decay": 0.5, "biases": "mlp", "threads": 1}
    frozen = "W_in, b_out" if network == "one-hot" else "W_E, W_out"
    return config.changed(tiny, {**given, "freeze": frozen, **more})


@pytest.mark.parametrize("optimizer", PYTORCH)
@pytest.mark.parametrize("network", kinds.NETWORKS)
def test_training_with_frozen_weights_is_that_of_pytorch_without_their_gradients(tiny, network, optimizer):
    settings = settings_of(tiny, network, optimizer)
    assert settings.frozen
    split, initial = tasks.draw_split(settings), reference.initial_weights(settings)
    (*_, last) = training.train(settings, training.start(settings, initial), split, [])
    weights = {name: tensor.clone().requires_grad_(name not in settings.frozen) for name, tensor in initial.items()}
    plain = PYTORCH[optimizer](settings, list(weights.values()))
    a, b = (torch.from_numpy(part) for part in tasks.operands(split.train, settings.p))
    answers = torch.from_numpy(tasks.answers(split.train, settings))
    for _ in range(settings.epochs):
        logits = settings.network_kind.computation.forward(weights, a, b, settings.nonlinearity)
        plain.zero_grad()
        cross_entropy(logits, answers).backward()
        plain.step()
    for name, tensor in weights.items():
        if name in settings.frozen:
            assert np.array_equal(last.state.weights[name], initial[name].numpy()), name
            assert not any(part[name].any() for part in last.state.slots.values()), name
        else:
            assert np.allclose(last.state.weights[name], tensor.detach().numpy(), atol=2e-4), name
            assert not np.array_equal(last.state.weights[name], initial[name].numpy()), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", kinds.NETWORKS)
def test_it_equals_putting_them_back_after_every_update_bit_for_bit(tiny, network, optimizer):
    """From a state with momentum, which a frozen weight keeps."""
    settings = settings_of(tiny, network, optimizer, freeze="none")
    frozen = settings_of(tiny, network, optimizer)
    split = tasks.draw_split(settings)
    start = training.start(settings, reference.initial_weights(settings))
    (*_, warm) = training.train(replace(settings, epochs=7), start, split, [])
    (*_, last) = training.train(frozen, warm.state, split, [])
    state = warm.state
    for epoch in range(8, settings.epochs + 1):
        (*_, after) = training.train(replace(settings, epochs=epoch), state, split, [])
        back = [
            {name: (old if name in frozen.frozen else new)[name] for name in shapes(settings)}
            for old, new in zip(
                [warm.state.weights, *warm.state.slots.values()],
                [after.state.weights, *after.state.slots.values()],
                strict=True,
            )
        ]
        state = State(epoch, back[0], dict(zip(after.state.slots, back[1:], strict=True)))
    for name in shapes(settings):
        assert np.array_equal(last.state.weights[name], state.weights[name]), name
        for slot, part in state.slots.items():
            assert np.array_equal(last.state.slots[slot][name], part[name]), (slot, name)


def test_a_stopped_run_a_branch_and_added_checkpoints_keep_them_frozen(tiny, tmp_path):
    settings = config.changed(tiny, {"freeze": "W_E,W_U", "threads": 1})
    whole, stopped, branch, thawed = (tmp_path / f"{name}.tdw" for name in ("whole", "stopped", "branch", "thawed"))
    for path in (whole, stopped):
        tdw.create(path, settings)
    tdw.train(whole)
    for updates in (7, 12):
        asked = itertools.chain([False] * updates, itertools.repeat(True))
        tdw.train(stopped, stop=lambda asked=asked: next(asked))
    tdw.train(stopped)
    tdw.branch(whole, branch, 15)
    tdw.train(branch)
    tdw.densify(branch, "7,33")
    with tdw.open(whole) as run, tdw.open(stopped) as again, tdw.open(branch) as forked:
        for other in (again, forked):
            assert other.config.frozen == ["embed.W_E", "unembed.W_U"]
            assert np.array_equal(run.train_loss, other.train_loss)
        first = run.weights(0)
        for epoch in forked.checkpoints:
            assert all(np.array_equal(forked.weights(epoch)[name], first[name]) for name in run.config.frozen)
        assert not np.array_equal(forked.weights(40)["pos_embed.W_pos"], first["pos_embed.W_pos"])
    tdw.branch(branch, thawed, 15, freeze="none")
    tdw.train(thawed)
    with tdw.open(thawed) as run:
        assert not np.array_equal(run.weights(40)["embed.W_E"], run.weights(15)["embed.W_E"])
    copied = tmp_path / "copy.tdw"
    shutil.copy(branch, copied)
    with pytest.raises(SettingError, match=r"--freeze is .* cannot change to none"):
        tdw.train(copied, freeze="none")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("none", []),
        ("", []),
        ("W_E", ["embed.W_E"]),
        (" unembed.W_U ,W_E", ["embed.W_E", "unembed.W_U"]),
        ("W_Q", ["blocks.0.attn.W_Q", "blocks.1.attn.W_Q"]),
        ("blocks.1.attn.W_Q", ["blocks.1.attn.W_Q"]),
    ],
)
def test_names_of_weights(given, meant):
    settings = tdw.configure(network="deep-transformer", freeze=given)
    assert settings.frozen == meant
    assert config.from_json(settings.to_json()) == settings


def test_an_unknown_weight_is_refused_with_those_that_there_are():
    with pytest.raises(
        SettingError, match=r"--freeze must name weights .* no weight is named 'W_gate': there are W_in, W_out, all"
    ):
        tdw.configure(network="one-hot", freeze="W_gate")
    assert "freeze" not in tdw.configure().to_json()  # so that earlier versions read the file


@pytest.mark.parametrize("network", kinds.NETWORKS)
def test_the_axes_of_operands_are_those_along_which_a_renamed_network_is_permuted(network):
    settings = tdw.configure(p=5, network=network, d_model=4, heads=2, d_mlp=6, biases="mlp", train_fraction=0.5)
    generator = np.random.default_rng(0)
    weights = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes(settings).items()}
    order = np.array([3, 0, 4, 1, 2])
    expected = settings.network_kind.computation.renamed(weights, order, order)
    for name, weight in settings.network_kind.weights(settings).items():
        permuted = weights[name]
        if weight.by_operand is not None:
            rows = np.arange(weight.shape[weight.by_operand.axis])
            for start in weight.by_operand.starts:
                rows[start : start + 5] = start + order
            permuted = permuted.take(rows, axis=weight.by_operand.axis)
        assert np.array_equal(permuted, expected[name]), name
