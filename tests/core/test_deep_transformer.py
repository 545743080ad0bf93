"""Transformers of several layers against a loop over pairs, positions and heads."""

import numpy as np
import pytest
import torch

import tdw
from tdw import tasks
from tdw.network import reference
from tdw.network.kinds import Nonlinearity

SMALL = {
    "p": 5,
    "d_model": 8,
    "heads": 2,
    "d_head": 3,
    "d_mlp": 6,
    "train_fraction": 0.5,
    "network": "deep-transformer",
}


def by_loops(w, tokens, layers, biases):
    """Logits, and activations of the last MLP, at the last position of one sequence, in float64."""
    stream = [w["embed.W_E"][token] + w["pos_embed.W_pos"][place] for place, token in enumerate(tokens)]
    for layer in range(layers):
        block = f"blocks.{layer}."
        after = []
        for to in range(len(tokens)):
            total = stream[to].copy()
            for head in range(w[f"{block}attn.W_Q"].shape[0]):
                query, key, value, output = (w[f"{block}attn.W_{name}"][head] for name in "QKVO")
                scores = [(stream[to] @ query) @ (stream[at] @ key) / query.shape[1] ** 0.5 for at in range(to + 1)]
                pattern = np.exp(scores) / np.exp(scores).sum()
                total += sum(share * (stream[at] @ value) for at, share in enumerate(pattern)) @ output
            after.append(total)
        neurons = [np.maximum(x @ w[f"{block}mlp.W_in"] + (w[f"{block}mlp.b_in"] if biases else 0), 0) for x in after]
        bias = w[f"{block}mlp.b_out"] if biases else 0
        stream = [x + n @ w[f"{block}mlp.W_out"] + bias for x, n in zip(after, neurons, strict=True)]
    return stream[-1] @ w["unembed.W_U"], neurons[-1]


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("biases", ["none", "mlp"])
def test_logits_and_neurons_equal_loops(layers, biases):
    config = tdw.configure(**SMALL, layers=layers, biases=biases)
    random = np.random.default_rng(layers)
    weights = {n: random.normal(size=w.shape) / 2 for n, w in config.network_kind.weights(config).items()}
    assert sum(name.endswith("W_Q") for name in weights) == layers
    computation = config.network_kind.computation
    neurons = computation.activations(weights, Nonlinearity())
    logits = computation.logits(weights, neurons, Nonlinearity())
    tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    for a in range(5):
        for b in range(5):
            expected, of_neurons = by_loops(weights, (a, b, 5), layers, biases == "mlp")
            assert neurons[a, b] == pytest.approx(of_neurons, abs=1e-12)
            assert logits[a, b] == pytest.approx(expected, abs=1e-11)
            plain = reference.plain_forward(tensors, torch.tensor([a]), torch.tensor([b]), Nonlinearity())
            assert plain[0].numpy() == pytest.approx(expected, abs=1e-11)


def test_it_learns_and_a_file_keeps_it(tmp_path):
    path = tmp_path / "deep.tdw"
    config = tdw.configure(**SMALL, epochs=150, lr=0.01, checkpoints="even:4")
    tdw.create(path, config)
    tdw.train(path)
    tdw.analyze(path)
    with tdw.open(path) as run:
        assert run.train_loss[-1] < 0.1 < run.train_loss[0]
        loss = run.analysis("loss").arrays["loss"]
        rows = [run.checkpoints.index(epoch) for epoch in run.checkpoints]
        # Analyses measure from the stored weights what training recorded.
        assert loss[rows, 1] == pytest.approx(run.train_loss[run.checkpoints], rel=1e-4)
        assert loss[rows, 2] == pytest.approx(run.test_loss[run.checkpoints], rel=1e-4)
        assert run.weights(150)["blocks.1.mlp.W_in"].shape == (8, 6)
        assert run.neuron_map(150, 3).shape == (5, 5)
        assert "neuron_frequencies" in run.analyses()
        assert "attention" not in run.analyses()
    assert tasks.draw_split(config).train.size == 12


def test_settings_of_layers():
    assert tdw.configure(network="deep-transformer").layers == 2
    with pytest.raises(tdw.TdwError, match="--layers only applies to --network deep-transformer"):
        tdw.configure(layers=2)
