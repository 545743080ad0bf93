"""A long curve as points, against a plain version and against what a picture of it has to show."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tdw.panels import curve_points, extremes, off_scale
from tdw.recorded import RECORDED_NAN, is_recorded


def hostile_curve(rng: np.random.Generator, length: int) -> np.ndarray:
    """Gaps, zeros, negative numbers and infinities, in runs and alone."""
    values = rng.normal(size=length) ** 2
    for what in (0.0, -1.0, math.inf, -math.inf, math.nan, RECORDED_NAN):
        for _ in range(rng.integers(0, 4)):
            at = rng.integers(0, length)
            values[at : at + rng.integers(1, 1 + length // 5)] = what
        values[rng.integers(0, length, rng.integers(0, 4))] = what
    return values


def bits(value):
    return np.float64(value).tobytes()


def read(values):
    return lambda begin, end: values[begin:end]


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("every", [1, 7, 16, 500])
def test_every_bucket_keeps_what_a_picture_shows_of_it(seed, every, monkeypatch):
    monkeypatch.setattr(curve_points, "BLOCK", 512)  # so that there are several blocks
    values = hostile_curve(np.random.default_rng(seed), 1501)
    epochs, kept = curve_points.points(read(values), 0, len(values), every)
    assert np.all(np.diff(epochs) > 0)
    np.testing.assert_array_equal(kept, values[epochs])
    for start in range(0, len(values), every):
        there = values[start : start + every]
        there = there[[value == value or bits(value) == bits(RECORDED_NAN) for value in there]]  # noqa: PLR0124
        mine = kept[(epochs >= start) & (epochs < start + every)]
        assert len(mine) <= 33
        if not len(there):
            assert not len(mine)
            continue
        assert (bits(mine[0]), bits(mine[-1])) == (bits(there[0]), bits(there[-1]))
        assert np.isnan(mine).any() == np.isnan(there).any()
        assert set(np.sign(mine[np.isinf(mine)])) == set(np.sign(there[np.isinf(there)]))
        assert (0 in mine) == (0 in there)
        for part in (lambda v: v[np.isfinite(v)], lambda v: v[np.isfinite(v) & (v > 0)]):
            one, other = part(mine), part(there)
            assert (one.min(), one.max()) == (other.min(), other.max()) if len(other) else not len(one)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("is_log", [True, False])
def test_what_is_off_the_scale_is_named_alike(seed, is_log):
    values = hostile_curve(np.random.default_rng(1000 + seed), 900)
    there = np.flatnonzero(is_recorded(values))
    epochs, kept = curve_points.points(read(values), 0, len(values), 32)

    def named(at, numbers):
        found = off_scale.named(off_scale.stretches(off_scale.kinds(numbers, is_log=is_log, is_curve=True)))
        return [stretch.words(at) for stretch in found]

    assert named(epochs, kept) == named(there, values[there])


@pytest.mark.parametrize("seed", range(20))
def test_the_value_at_a_checkpoint_is_the_last_one_evaluated(seed, monkeypatch):
    monkeypatch.setattr(curve_points, "BLOCK", 64)
    rng = np.random.default_rng(seed)
    values = hostile_curve(rng, 700)
    values[: rng.integers(0, 200)] = math.nan
    epochs = np.unique(rng.integers(0, 700, 25)).tolist()
    for row, epoch in zip(curve_points.at_epochs(read(values), epochs, 700), epochs, strict=True):
        e = epoch
        while e >= 0 and math.isnan(values[e]) and bits(values[e]) != bits(RECORDED_NAN):
            e -= 1
        np.testing.assert_array_equal(row, [values[e], e] if e >= 0 else [math.nan, math.nan])
    assert curve_points.at_epochs(read(values), [], 0).shape == (0, 2)


def test_extremes_are_those_of_all_rows_in_any_portions():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(40, 3, 2)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.2] = np.nan
    rows[:, 0, 0] = np.nan
    rows[5, 1, 1], rows[6, 1, 1], rows[7, 2, 0] = np.inf, -np.inf, 0
    found = extremes.none_yet((3, 2))
    for start, stop in [(0, 0), (0, 1), (1, 17), (17, 40)]:
        found = extremes.with_rows(found, rows[start:stop])
    for j, i in np.ndindex(3, 2):
        column = rows[:, j, i].astype(float)
        finite = column[np.isfinite(column)]
        wanted = [min(finite), max(finite), min(finite[finite > 0])] if len(finite) else [math.nan] * 3
        np.testing.assert_array_equal(found[:, j, i], [*wanted, np.sum(~np.isnan(column))])
