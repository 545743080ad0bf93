"""Networks that only memorized, or were not trained at all, have no key frequencies by the default rule."""

import numpy as np
import pytest

import tdw
from tdw import tasks
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.key_frequencies import RULES
from tdw.network import reference, training
from tests.core.planted import SMALL, measure, of_logits

RULE = RULES.index("logit_cosine")


def keys(view):
    return np.flatnonzero(measure("key_frequencies", view)["key"][RULE]) + 1


def memorizer(p, seed, fraction=0.3, noise=0.3):
    """Logits that are right on the train pairs by one number each, and noise on the others."""
    config = tdw.configure(**SMALL | {"p": p, "train_fraction": fraction, "data_seed": seed})
    split = tasks.draw_split(config)
    random = np.random.default_rng(seed)
    logits = random.normal(scale=noise, size=(p * p, p)).astype(np.float32)
    answers = tasks.answers(np.arange(p * p), config)
    logits[split.train, answers[split.train]] += 10
    return of_logits(logits.reshape(p, p, p), config, split=split)


def test_the_published_threshold_alone_calls_all_frequencies_of_a_perfect_memorizer_key():
    view = memorizer(113, 0, noise=0.01)
    expected = np.sqrt(2 * 0.3 / 112)
    assert view.logit_cosine.mean() == pytest.approx(expected, rel=0.05)
    assert (view.logit_cosine > 0.005).all()
    assert keys(view).size == 0


@pytest.mark.parametrize("p", [5, 12, 13, 29])
def test_perfect_memorizers_have_no_key_frequencies(p):
    flagged = sum(keys(memorizer(p, seed)).size > 0 for seed in range(60))
    assert flagged <= 1


@pytest.mark.parametrize("p", [12, 13, 29])
def test_what_generalizes_is_found_next_to_what_is_memorized(p):
    view = memorizer(p, 1)
    a, b, c = np.indices((p, p, p))
    for k in (2, 5):
        view.logits = view.logits + 0.4 * np.cos(2 * np.pi * k * (a + b - c) / p).astype(np.float32)
    assert keys(view).tolist() == [2, 5]


@pytest.mark.parametrize("p", [7, 12, 13])
@pytest.mark.parametrize("task", ["add", "subtract"])
def test_similarities_over_test_pairs_are_those_of_plain_sums(p, task):
    config = tdw.configure(**SMALL | {"p": p, "task": task, "train_fraction": 0.4})
    split = tasks.draw_split(config)
    logits = np.random.default_rng(p).normal(size=(p, p, p)).astype(np.float32)
    view = of_logits(logits, config, split=split)
    for k in range(1, config.frequencies + 1):
        for row, wave in enumerate((np.cos, np.sin)):
            along, square, size = 0.0, 0.0, 0.0
            for pair in split.test:
                a, b = divmod(int(pair), p)
                right = (a + b if task == "add" else a - b) % p
                values = logits[a, b].astype(np.float64)
                template = wave(2 * np.pi * k * (right - np.arange(p)) / p)
                along += template @ (values - values.mean())
                square += ((values - values.mean()) ** 2).sum()
                size += (np.cos(2 * np.pi * k * (right - np.arange(p)) / p) ** 2).sum()
            assert view.unseen_cosine[row, k - 1] == pytest.approx(along / np.sqrt(square * size), abs=1e-6)


def trained(seed, epochs):
    """A small network after some epochs on few pairs without weight decay, with its test accuracy."""
    config = tdw.configure(
        p=23, d_model=16, heads=2, d_mlp=32, train_fraction=0.25, weight_decay=0.0, lr=3e-3, epochs=max(epochs, 1),
        model_seed=seed, data_seed=seed, checkpoints="", evaluate_every=10_000, threads=1,
    )  # fmt: skip
    split = tasks.draw_split(config)
    weights = reference.initial_weights(config)
    if not epochs:
        return Checkpoint(config, {name: w.numpy() for name, w in weights.items()}, split), 0.0, 0.0
    segments = list(training.train(config, training.start(config, weights), split, []))
    last = segments[-1]
    return Checkpoint(config, last.state.weights, split), last.train_accuracy[-1], last.test_accuracy[-1]


def check(untrained, memorizing):
    assert sum(keys(trained(seed, 0)[0]).size > 0 for seed in range(untrained)) <= max(1, untrained // 100)
    flagged = 0
    for seed in range(memorizing):
        view, train, test = trained(seed, 800)
        assert train > 0.98
        assert test < 0.2
        flagged += keys(view).size > 0
    assert flagged <= max(1, memorizing // 25)


def test_untrained_and_memorizing_networks_have_no_key_frequencies():
    check(untrained=40, memorizing=8)


@pytest.mark.slow
def test_hundreds_of_untrained_and_memorizing_networks_have_no_key_frequencies():
    check(untrained=200, memorizing=50)
