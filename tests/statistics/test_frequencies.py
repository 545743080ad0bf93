"""Chosen frequencies against chance: exact p-values compared with enumeration and simulation, and planted preferences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tdw.analyses.key_frequencies import DEFAULT_RULE
from tdw.errors import TdwError
from tdw.statistics.collection import Runs
from tdw.statistics.frequencies import frequency_choices, holm, poisson_binomial


def made_up(sets, size, **more):
    rows = [{"key_frequencies": keys, "key_rule": DEFAULT_RULE, "frequencies": size} | more for keys in sets]
    return Runs(lambda: (rows, []), lambda: ())


def test_counts_and_exact_p_values():
    """Runs with 1, 2 and 2 of 4 frequencies, with all 4 · 6 · 6 possibilities of them enumerated."""
    found = frequency_choices(made_up([[1], [1, 2], [1, 4]], 4))
    assert found.count.tolist() == [3, 1, 0, 1]
    assert found.expected.tolist() == [5 / 4] * 4
    numbers = [
        sum(1 in some for some in sets)
        for sets in itertools.product(*(list(itertools.combinations(range(1, 5), size)) for size in (1, 2, 2)))
    ]
    chance = np.bincount(numbers, minlength=4) / len(numbers)
    expected = [sum(other for other in chance if other <= chance[n] + 1e-12) for n in (3, 1, 0, 1)]
    np.testing.assert_allclose(found.p, expected)
    assert (found.runs, found.left_out) == (3, 0)


def test_the_simulated_p_value_is_that_of_all_possibilities():
    sets = [[1], [1, 2], [1, 4]]

    def chi2(some):
        count = np.bincount(list(itertools.chain(*some)), minlength=5)[1:]
        return ((count - 1.25) ** 2).sum() / 1.25

    every = [
        chi2(some)
        for some in itertools.product(*(list(itertools.combinations(range(1, 5), size)) for size in (1, 2, 2)))
    ]
    found = frequency_choices(made_up(sets, 4), draws=40_000)
    assert found.chi2 == pytest.approx(chi2(sets))
    assert found.chi2_p == pytest.approx(np.mean(np.array(every) >= found.chi2 - 1e-9), abs=0.01)
    assert frequency_choices(made_up([[1, 2, 3, 4]] * 2, 4)).chi2_p == 1
    assert frequency_choices(made_up([[], []], 4)).chi2_p == 1


def test_chance_is_rarely_significant_and_a_preference_is():
    generator = np.random.default_rng(2)

    def drawn(weights):
        return [sorted(generator.choice(20, 4, replace=False, p=weights) + 1) for _ in range(40)]

    flat, tilted = np.full(20, 1 / 20), np.where(np.arange(20) == 6, 0.3, 0.7 / 19)
    by_chance = [frequency_choices(made_up(drawn(flat), 20), draws=500, seed=n) for n in range(100)]
    assert np.mean([found.chi2_p <= 0.1 for found in by_chance]) == pytest.approx(0.1, abs=0.07)
    assert np.mean([(found.adjusted <= 0.05).any() for found in by_chance]) <= 0.1
    found = frequency_choices(made_up(drawn(tilted), 20))
    assert np.flatnonzero(found.adjusted < 0.001).tolist() == [6]
    assert found.chi2_p < 0.001


def test_the_distribution_of_a_number_of_successes():
    chances = np.array([0.1, 0.5, 0.7])
    plain = np.zeros(4)
    for outcome in itertools.product([0, 1], repeat=3):
        plain[sum(outcome)] += np.prod([c if hit else 1 - c for c, hit in zip(chances, outcome, strict=True)])
    np.testing.assert_allclose(poisson_binomial(chances), plain)


def test_correction_for_several_tests():
    """An example by hand: 4 · 0.01, 3 · 0.02, 2 · 0.04 and 0.05, each at least the one before."""
    np.testing.assert_allclose(holm(np.array([0.05, 0.01, 0.04, 0.02])), [0.08, 0.04, 0.08, 0.06])


def test_runs_that_cannot_be_compared():
    stored = made_up([[1]], 3).rows
    others = made_up([[1]], 5).rows
    by_clusters = made_up([[2]], 3, key_rule="clusters").rows
    missing = [{"key_frequencies": None, "key_rule": None, "frequencies": 3}]
    with pytest.raises(TdwError, match=r"the runs have 3, 5 frequencies: compare runs with one"):
        frequency_choices(Runs(lambda: (stored + others, []), lambda: ()))
    with pytest.raises(TdwError, match=r"no run has stored key frequencies by the rule .*tdw analyze"):
        frequency_choices(Runs(lambda: (missing, []), lambda: ()))
    found = frequency_choices(Runs(lambda: (stored + by_clusters + missing, []), lambda: ()))
    assert (found.runs, found.left_out, found.count.tolist()) == (1, 2, [1, 0, 0])
