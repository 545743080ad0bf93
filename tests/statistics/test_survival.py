"""Kaplan-Meier curves, their quantiles and the log-rank test, compared with lifelines, statsmodels and plain versions."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from tdw.errors import TdwError, UnknownNameError
from tdw.statistics.durations import durations
from tdw.statistics.survival import chi2_tail, kaplan_meier, log_rank
from tests.statistics.conftest import row

#: Made by lifelines 0.30.3 and statsmodels 0.15.0. "remission" are the 42 patients of Freireich et al. 1963, Blood 21, 699.
FIGURES = json.loads((Path(__file__).parent / "lifelines.json").read_text())["cases"]


@pytest.mark.parametrize("case", FIGURES.values(), ids=FIGURES)
def test_curves_intervals_and_quantiles_are_those_of_lifelines(case):
    for group in case["groups"]:
        curve = kaplan_meier(group["time"], group["happened"])
        assert curve.time.tolist() == group["at"]
        np.testing.assert_allclose(curve.share, group["share"], atol=1e-12)
        some = curve.share > 0  # where no run is left, lifelines says 0 to 0, R and this program nothing
        np.testing.assert_allclose(curve.low[some], np.array(group["low"], float)[some], atol=1e-9)
        np.testing.assert_allclose(curve.high[some], np.array(group["high"], float)[some], atol=1e-9)
        assert np.isnan(curve.low[~some]).all()
        for q, value, limits in zip((0.25, 0.5, 0.75), group["quantiles"], group["limits"], strict=True):
            found = curve.quantile(q)
            tied = np.isclose(curve.share[curve.time == found.value], 1 - q)  # lifelines goes by rounding there
            assert found.value == value or tied.all()
            ours = [found.low, found.high]
            last = None if curve.share[-1] else curve.time[-1]
            assert all(
                mine == theirs or (mine is None and theirs == last) for mine, theirs in zip(ours, limits, strict=True)
            )


@pytest.mark.parametrize("case", FIGURES.values(), ids=FIGURES)
def test_the_log_rank_test_is_that_of_lifelines_and_statsmodels(case):
    found = log_rank([(group["time"], group["happened"]) for group in case["groups"]])
    assert found.df == len(case["groups"]) - 1
    for chi2, p in ((case["chi2"], case["p"]), case["statsmodels"]):
        assert found.chi2 == pytest.approx(chi2, rel=1e-10)
        assert found.p == pytest.approx(p, rel=1e-8)
    assert sum(found.expected) == pytest.approx(sum(found.observed))


def test_the_published_figures_of_the_remission_times():
    """The 6-MP group in Kalbfleisch and Prentice (and in every textbook since): S after each time; chi-squared 16.79; median 23."""
    case = FIGURES["remission"]
    six, placebo = ((group["time"], group["happened"]) for group in case["groups"])
    curve = kaplan_meier(*six)
    assert curve.share.round(3).tolist() == [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448]
    assert (curve.quantile().value, kaplan_meier(*placebo).quantile().value) == (23, 8)
    assert round(log_rank([six, placebo]).chi2, 2) == 16.79


def plain_share(times, happened, t):
    """S(t) by walking over the runs one after the other, in order of time, events before censoring."""
    order = sorted(zip(times, [not h for h in happened], strict=True))
    share, left = 1.0, len(order)
    for time, censored in order:
        if time <= t and not censored:
            share *= (left - 1) / left
        left -= 1
    return share


def test_curves_equal_a_plain_version():
    generator = np.random.default_rng(5)
    for _ in range(50):
        times = generator.integers(0, 15, 12)
        happened = generator.random(12) < 0.6
        curve = kaplan_meier(times, happened)
        for t, share in zip(curve.time, curve.share, strict=True):
            assert share == pytest.approx(plain_share(times, happened, t), abs=1e-12)


def test_the_log_rank_test_agrees_with_all_permutations():
    """Exact: of all ways to divide eight runs into two groups, the share whose statistic is as large."""
    times, happened = np.array([3, 5, 6, 8, 11, 14, 20, 20]), np.array([1, 1, 1, 0, 1, 1, 1, 0], dtype=bool)

    def chi2(group):
        inside = np.isin(np.arange(8), group)
        return log_rank([(times[inside], happened[inside]), (times[~inside], happened[~inside])])

    given = chi2((0, 1, 2, 4))
    every = [chi2(group).chi2 for group in itertools.combinations(range(8), 4)]
    assert given.p == pytest.approx(np.mean(np.array(every) >= given.chi2 - 1e-9), abs=0.03)


def test_a_quantile_is_reached_where_the_curve_equals_it_up_to_rounding():
    for number in range(2, 200, 2):
        curve = kaplan_meier(np.arange(1, number + 1), np.ones(number, dtype=bool))
        assert curve.quantile(0.5).value == number / 2


def test_intervals_cover_the_true_share():
    """Planted: exponential times, uniform censoring, S(1) = exp(-1). At 95 % about 950 of 1000 intervals hold it."""
    generator = np.random.default_rng(8)
    held = 0
    for _ in range(1000):
        event, end = generator.exponential(1, 60), generator.uniform(0.5, 3, 60)
        curve = kaplan_meier(np.minimum(event, end), event <= end)
        at = np.searchsorted(curve.time, 1, side="right") - 1
        held += curve.low[at] <= math.exp(-1) <= curve.high[at]
    assert 930 <= held <= 970


def test_chi_squared_tails():
    """Table 26.8 of Abramowitz and Stegun, and the sum of squares of normal numbers."""
    for x, df, p in [(6.6349, 1, 0.01), (9.21034, 2, 0.01), (11.3449, 3, 0.01), (15.0863, 5, 0.01), (18.307, 10, 0.05)]:
        assert chi2_tail(x, df) == pytest.approx(p, rel=1e-4)
    squares = (np.random.default_rng(0).normal(size=(200_000, 7)) ** 2).sum(axis=1)
    assert chi2_tail(8.0, 7) == pytest.approx((squares > 8).mean(), abs=0.004)


def test_nothing_to_compare():
    assert kaplan_meier([], []).quantile() == (None, None, None)
    assert kaplan_meier([5, 9], [False, False]).quantile() == (None, None, None)
    assert log_rank([([5], [False]), ([7], [False])]).p is None
    assert log_rank([([5], [True]), ([], [])]).p is None
    with pytest.raises(TdwError, match=r"two or more groups \(got 1\)"):
        log_rank([([1], [True])])
    with pytest.raises(TdwError, match="must be finite and at least 0"):
        kaplan_meier([1, math.nan], [True, False])
    with pytest.raises(TdwError, match=r"less than 1 \(got 1\)"):
        kaplan_meier([1], [True]).quantile(1)


GROKKED = {
    "memorized_0.1_after": 99, "memorized_0.1": 100, "generalized_0.1_after": 590, "generalized_0.1": 600,
    "delay_min": 491, "delay_max": 500,
}  # fmt: skip


def test_a_run_that_did_not_generalize_is_censored():
    memorized = row(**{"memorized_0.1_after": 199, "memorized_0.1": 200}, test_loss_at=990)
    diverged = row(**{"memorized_0.1_after": 9, "memorized_0.1": 10}, diverged_at=31, test_loss_at=30)
    rows = [row(**GROKKED), memorized, diverged, row(), row(train_loss_at=None), row(test_loss_at=None)]
    delay = durations(rows)
    assert delay.time.tolist() == [500, 790, 20]
    assert delay.happened.tolist() == [True, False, False]
    assert (delay.runs, delay.censored, delay.diverged, delay.unknown, delay.not_at_risk) == (6, 2, 1, 2, 1)
    generalized = durations(rows, "generalized_0.1")
    assert generalized.time.tolist() == [600, 990, 30, 1000, 1000]
    assert (generalized.censored, generalized.unknown, generalized.diverged) == (4, 1, 1)
    memorization = durations(rows, "memorized_0.1")
    assert memorization.time.tolist() == [100, 200, 10, 1000, 1000]
    with pytest.raises(UnknownNameError, match=r"no time of an event is named 'generalised_0.1': did you mean"):
        durations(rows, "generalised_0.1")


def test_leaving_out_what_has_not_generalized_would_be_too_optimistic():
    rows = [row(**GROKKED), *[row(**{"memorized_0.1_after": 99, "memorized_0.1": 100})] * 3]
    curve = durations(rows).survival()
    assert curve.quantile(0.25).value == 500
    assert curve.quantile(0.5).value is None
