"""Numbers that other people's programs computed: the small fixture always, the whole folder where it is."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import tdw
from tdw import closed_form, model, tasks
from tdw.analyses import ANALYSES, registry
from tdw.analyses.view import View

FOLDER = Path(os.environ.get("TDW_REFERENCE", Path(__file__).parents[3] / "shared" / "reference"))
CONFIG = {
    "p": 29,
    "d_model": 32,
    "heads": 4,
    "d_mlp": 64,
    "train_fraction": 0.7,
    "model_seed": 7,
    "data_seed": 11,
    "lr": 3e-3,
}


def close(found, expected, tolerance=1e-4):
    return np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def result(name, weights):
    config = tdw.configure(**CONFIG)
    return registry.evaluate(ANALYSES[name], View(config, weights), config)


def weights_of(arrays, epoch):
    prefix = f"epoch{epoch}/weights/"
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix) and ".b_" not in name
    }


def test_the_fixture(reference):
    weights = weights_of(reference, 2500)
    assert close(result("embedding_frequencies", weights)["norms"], reference["epoch2500/embedding_norms"])
    assert close(result("neuron_frequencies", weights)["share"], reference["epoch2500/neuron_share"])
    maps = np.stack([closed_form.neuron_map(weights, neuron, "relu") for neuron in range(3)])
    assert close(maps, reference["epoch2500/neuron_activations"])
    index = np.arange(0, 29 * 29, 29)
    logits = model.plain_forward(
        {k: torch.from_numpy(v) for k, v in weights.items()}, *map(torch.from_numpy, (index // 29, index % 29)), "relu"
    )
    assert close(logits.numpy(), reference["epoch2500/logits"])


@pytest.fixture(scope="module")
def folder():
    if not FOLDER.is_dir():
        pytest.skip(f"the reference figures are not at {FOLDER}")
    return json.loads((FOLDER / "reference_p29.json").read_text()), load_file(FOLDER / "reference_p29.safetensors")


@pytest.mark.parametrize("epoch", [0, 100, 2500])
def test_arrays_from_given_weights(folder, epoch):
    arrays = folder[1]
    weights = weights_of(arrays, epoch)
    # In these reference norms, sine comes before cosine.
    norms = arrays[f"epoch{epoch}/embedding_fourier_norms"].copy()
    norms[1::2], norms[2::2] = norms[2::2].copy(), norms[1::2].copy()
    assert close(result("embedding_frequencies", weights)["norms"], norms)
    assert close(result("neuron_frequencies", weights)["share"], arrays[f"epoch{epoch}/neuron_frequency_shares"])
    activations = closed_form.activations(weights, "relu").transpose(2, 0, 1)
    assert close(activations, arrays[f"epoch{epoch}/neuron_activations"])
    to_a, to_b = closed_form.attention_pattern(closed_form.attention_scores(weights))
    pattern = np.stack([to_a, to_b, 1 - to_a - to_b], axis=-1).transpose(1, 2, 0, 3).reshape(29 * 29, 4, 3)
    assert close(pattern, arrays[f"epoch{epoch}/attention_pattern"])


def test_seeds_mean_what_they_mean_in_transformerlens(folder):
    figures, arrays = folder
    config = tdw.configure(**CONFIG)
    theirs = weights_of(arrays, 0)
    ours = model.initial_weights(config)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name].numpy(), array) for name, array in theirs.items())
    train, test = tasks.draw_split(config)
    assert (train.tolist(), test.tolist()) == (figures["train_indices"], figures["test_indices"])


def test_a_file_made_from_given_weights_and_split_repeats_the_losses(folder, tmp_path):
    figures, arrays = folder
    prefix = "epoch0/weights/"
    weights = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    config = tdw.configure(**CONFIG, epochs=40, evaluate_every=1, checkpoints="0, 40")
    path = tmp_path / "reference.tdw"
    tdw.create(path, config, weights=weights, split=(figures["train_indices"], figures["test_indices"]))
    tdw.train(path)
    with tdw.open(path) as run:
        for name in ("train_loss", "test_loss"):
            assert np.abs(getattr(run, name) / np.array(figures[name][:41]) - 1).max() < 1e-4
        assert run.split.train.tolist() == figures["train_indices"]
        assert np.array_equal(run.weights(0)["embed.W_E"], weights["embed.W_E"])
