"""A split is found if the losses determine it, and unknown if they do not."""

import random

import numpy as np
import pytest
import torch

from tdw.interchange import split_search
from tdw.interchange.source_run import Rule
from tdw.interchange.split_search import Anchor, Stored

PAIRS = 23 * 23


def anchor(losses, train, test, *, off=0.0, tolerance=split_search.EXACT):
    means = {"train": losses[train].mean() * np.exp(off), "test": losses[test].mean() * np.exp(off)}
    return Anchor(5, losses, {side: Stored(float(mean), tolerance, exact=True) for side, mean in means.items()})


def python_order(seed):
    drawn = list(range(PAIRS))
    random.seed(seed)
    random.shuffle(drawn)
    return np.array(drawn)


def torch_order(seed):
    torch.manual_seed(seed)
    return torch.randperm(PAIRS).numpy()


@pytest.mark.parametrize("rule", ["python", "torch"])
@pytest.mark.parametrize(("seed", "fraction"), [(0, 0.3), (999, 0.9), (598, 1 / 3), (12345, 0.01)])
def test_a_planted_split(rule, seed, fraction):
    drawn = (python_order if rule == "python" else torch_order)(seed)
    cut = int(fraction * PAIRS)
    losses = np.random.RandomState(1).exponential(size=PAIRS)
    losses[drawn[:cut]] *= 1e-4  # memorized
    found = split_search.find([anchor(losses, drawn[:cut], drawn[cut:], off=1e-4)], "python")
    assert (found.rule.name, found.rule.seed) == (rule, seed)
    assert found.split.train.tolist() == drawn[:cut].tolist()
    assert found.split.test.tolist() == drawn[cut:].tolist()
    assert found.error == pytest.approx(1e-4, rel=1e-3)
    assert found.within
    assert found.chance < split_search.CHANCE


def test_losses_that_are_alike_everywhere_name_no_split():
    losses = 1 + 1e-6 * np.random.RandomState(2).standard_normal(PAIRS)
    drawn = python_order(3)
    assert split_search.find([anchor(losses, drawn[:200], drawn[200:])], "python") is None


def test_a_split_that_is_not_among_the_candidates_is_not_found():
    losses = np.random.RandomState(4).exponential(size=PAIRS)
    drawn = python_order(10**9)
    losses[drawn[:200]] *= 1e-3
    assert split_search.find([anchor(losses, drawn[:200], drawn[200:])], "python") is None


@pytest.mark.parametrize("world", range(8))
def test_a_chance_match_is_not_accepted(world):
    """Losses so alike that hundreds of orders reproduce them within the tolerance."""
    losses = 1 + 0.01 * np.random.RandomState(world).standard_normal(PAIRS)
    drawn = python_order(10**9 + world)
    assert split_search.find([anchor(losses, drawn[:200], drawn[200:], tolerance=0.01)], "python") is None


def test_a_named_split_is_believed_earlier_than_one_that_is_looked_for():
    """The same closeness that is nothing among hundreds says something for the one that the source names."""
    losses = 1 + 0.1 * np.random.RandomState(6).standard_normal(PAIRS)
    drawn = python_order(77_777)
    given = anchor(losses, drawn[: int(0.4 * PAIRS)], drawn[int(0.4 * PAIRS) :])
    assert split_search.find([given], "python") is None
    found = split_search.find([given], "python", [Rule("python", 77_777, 0.4)])
    assert found.rule == Rule("python", 77_777, 0.4)


def test_losses_between_two_measurements():
    curve = np.array([4.0, 2.0, 1.0, np.nan, np.nan])
    assert split_search.stored_at(curve, 1) == Stored(2.0, split_search.EXACT, exact=True)
    assert split_search.stored_at(np.array([1.0, 0.9, 0.81]), 4).value == pytest.approx(0.9**4)
    assert not split_search.stored_at(np.array([1.0, 0.9, 0.81]), 3).exact
    assert split_search.stored_at(np.array([4.0, 1.0, 2.0]), 3) is None  # up and down: nothing can be said of the next
    assert split_search.stored_at(np.array([4.0, 1.0]), 2) is None
    assert split_search.stored_at(np.array([1.0]), 3) is None
    assert split_search.stored_at(None, 3) is None
    assert split_search.stored_at(np.array([np.nan, 0.0, -1.0]), 2) is None


def test_of_neighboring_shares_that_all_do_the_rounder_one_was_meant():
    losses = np.random.RandomState(3).exponential(size=PAIRS)
    drawn = python_order(1)
    cut = int(0.8 * PAIRS)
    losses[drawn[:cut]] *= 0.7
    given = anchor(losses, drawn[:cut], drawn[cut:], off=0.02, tolerance=0.06)
    near = split_search._distance([given], drawn, np.array([int(share / 100 * PAIRS) for share in range(70, 90)]))
    assert int(near.argmin()) + 70 == 84
    assert split_search.find([given], "python", [Rule("python", 1, 0.5)]).rule == Rule("python", 1, 0.8)
    assert split_search.find([given], "python", [Rule("python", 1, 0.84)]).rule == Rule("python", 1, 0.84)
