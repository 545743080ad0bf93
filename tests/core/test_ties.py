"""Pairs whose correct logit is tied with another one count as wrong: while training, in measures and in imports."""

import numpy as np
import pytest
import torch

import tdw
from tdw import tasks
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.interchange import split_search
from tdw.network import reference, training
from tdw.network.correctness import is_correct
from tests.core.planted import SMALL, measure

LOSSES = ["stable", "float32", "float64"]
KINDS = [{}, {"network": "one-hot"}, {"network": "deep-transformer"}]


def doubled(config, tie):
    """Weights with which every answer y is tied with y + 1 (mod p), up to rounding or exactly, and ahead of all others."""
    weights = {name: w.numpy().copy() for name, w in reference.initial_weights(config).items()}
    name = "unembed.W_U" if "unembed.W_U" in weights else "mlp.W_out"
    weights[name][:] = 0
    if "mlp.b_out" in weights:
        weights["mlp.b_out"][:] = np.float32(1 + tie) if tie else 1
        weights["mlp.b_out"][0] = 1
    return weights


@pytest.mark.parametrize("settings", KINDS, ids=lambda settings: settings.get("network", "transformer"))
@pytest.mark.parametrize("loss", LOSSES)
def test_a_network_whose_logits_are_all_equal_answers_nothing(settings, loss):
    config = tdw.configure(**SMALL, p=7, epochs=1, checkpoints="", loss=loss, threads=1, **settings)
    weights = doubled(config, 0)
    split = tasks.draw_split(config)
    state = training.start(config, {name: torch.from_numpy(w) for name, w in weights.items()})
    segment = next(training.train(config, state, split, [0]))
    assert (segment.train_accuracy[0], segment.test_accuracy[0]) == (0, 0)
    assert measure("accuracy", Checkpoint(config, weights, split))["accuracy"].tolist() == [0, 0, 0]
    predicted, _ = split_search.pair_losses(weights, config.nonlinearity, [config])
    assert (predicted == -1).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_answers_tied_by_rounding_are_wrong_and_those_ahead_are_right(loss):
    config = tdw.configure(
        **SMALL, p=7, epochs=1, checkpoints="", loss=loss, network="one-hot", biases="mlp", threads=1
    )
    for ahead, expected in ((0.0, 0.0), (3e-6, 0.0), (1e-4, 1.0)):
        weights = {name: 0 * w.numpy() for name, w in reference.initial_weights(config).items()}
        weights["mlp.b_out"][:] = 5
        weights["mlp.b_out"][3] = np.float32(5 + ahead)
        split = tasks.draw_split(config)
        to_3 = tasks.answers(np.arange(49), config) == 3
        state = training.start(config, {name: torch.from_numpy(w) for name, w in weights.items()})
        segment = next(training.train(config, state, split, [0]))
        assert segment.train_accuracy[0] == pytest.approx(expected * to_3[split.train].mean())
        assert segment.test_accuracy[0] == pytest.approx(expected * to_3[split.test].mean())
        found = measure("accuracy", Checkpoint(config, weights, split))["accuracy"]
        assert found == pytest.approx([expected / 7, segment.train_accuracy[0], segment.test_accuracy[0]])


def test_correct_is_ahead_of_all_others_by_more_than_rounding():
    random = np.random.default_rng(0)
    logits = random.normal(size=(500, 9)) * 10.0 ** random.integers(-3, 6, size=(500, 1))
    for row in range(0, 500, 2):  # every second row has a tie for the top
        first, second = np.argsort(logits[row])[-2:]
        logits[row, first] = logits[row, second] * (1 + random.choice([0, 5e-7, -5e-7]))
    answers = np.where(random.random(500) < 0.8, logits.argmax(axis=1), random.integers(0, 9, 500))
    found = is_correct(torch.from_numpy(logits), torch.from_numpy(answers)).tolist()
    plain = []
    for row, answer in zip(logits.tolist(), answers.tolist(), strict=True):
        others = row[:answer] + row[answer + 1 :]
        plain.append(all(row[answer] - other > 1e-6 * max(abs(row[answer]), abs(other)) for other in others))
    assert found == plain
    assert not any(found[::2])
    assert sum(found) > 150
