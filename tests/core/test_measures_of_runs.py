"""Analyses of a run: events; frequencies, pairs and weights over training."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tdw
from tdw.analyses import events, find, weight_trajectory
from tdw.analyses.engine import registry
from tdw.analyses.engine.run_data import Curves, RunData
from tdw.network import reference
from tdw.network.parameters import shapes
from tdw.text_format import between
from tests.core.planted import SMALL

NAN = math.nan
NO_CURVES = Curves(*(np.empty(0) for _ in range(4)))


def of_run(name, config, checkpoints, *, results=None, weights=None):
    whole = RunData(
        config,
        NO_CURVES,
        checkpoints,
        None if results is None else results.__getitem__,
        None if weights is None else weights.__getitem__,
    )
    return registry.evaluate(find(name), whole, config)


def of_curves(train, test, accuracy=None):
    item = find("events")
    accuracy = np.zeros(len(test)) if accuracy is None else accuracy
    curves = Curves(np.array(train, float), np.array(test, float), np.zeros(len(train)), np.array(accuracy, float))
    config = tdw.configure(**SMALL, p=5)
    return registry.evaluate(item, RunData(config, curves), config)


def found_events(train, test, accuracy=None):
    found = of_curves(train, test, accuracy)
    names = find("events").parameters["events"]
    return {
        event.name: event
        for event in events.described(found["intervals"], found["held"], names, events.CURVE_OF.values())
    }


def verdict(train, test):
    found = of_curves(train, test)
    return events.judged(found, **find("events").parameters)[:3]


def every(stride, values):
    """Values at every `stride`-th epoch, as in a run that evaluates the test pairs there; NaN elsewhere."""
    found = np.full(len(values), NAN)
    found[::stride] = values[::stride]
    return found


def falling(length, at, *, high=4.0, low=1e-6):
    """A loss that is high before an epoch and low from that epoch."""
    return np.where(np.arange(length) < at, high, low)


def test_events_are_intervals_between_recorded_epochs():
    test = [4, NAN, NAN, 5, NAN, NAN, 0.9, NAN, NAN, 0.05]
    found = found_events(
        [4, 3, 2, 1, 0.05, 0.005, 1e-5, 1e-5, 1e-5, 1e-5], test, [0, NAN, NAN, 0, NAN, NAN, 0.5, NAN, NAN, 0.99]
    )
    assert found["memorized_0.1"].first == (3, 4)
    assert found["memorized_0.01"].first == (4, 5)
    assert found["memorized_0.0001"].first == (5, 6)
    assert found["generalized_0.1"].first == (6, 9)
    assert found["generalized_accuracy"].first == (6, 9)
    assert found["peak"].first == (0, 5)
    assert found["onset"].first == (3, 6)
    assert found["rebound"].first is None


def test_slingshots_separate_first_from_last():
    train = falling(5000, 200)
    test = falling(5000, 3000)
    for spike in (900, 2500, 3600, 4400):
        train[spike : spike + 7] = test[spike : spike + 7] = 2.0
    found = found_events(train, every(10, test))
    assert (found["memorized_0.1"].first, found["memorized_0.1"].last) == ((199, 200), (4406, 4407))
    assert found["memorized_0.1"].held
    assert (found["generalized_0.1"].first, found["generalized_0.1"].last) == ((2990, 3000), (4400, 4410))
    assert (found["rebound"].first, found["rebound"].last) == ((3590, 3600), (4390, 4400))
    assert not found["rebound"].held
    assert found["peak"].first == (-1, 9)
    assert found["onset"].first == (2990, 3000)  # 2.0 is above a fifth of 4.0
    assert verdict(train, every(10, test)) == ("yes", (2991 - 200, 3000 - 200), 500)


def test_a_loss_that_rises_again_and_stays_is_not_held():
    train = [4, 0.05, 0.05, 2, 2, 2]
    found = found_events(train, train)
    assert found["memorized_0.1"].first == found["memorized_0.1"].last == (0, 1)
    assert not found["memorized_0.1"].held
    assert found["rebound"].held
    assert found["rebound"].first == (2, 3)


def test_a_spike_between_two_looks_at_the_test_pairs_is_not_seen():
    test = falling(100, 20)
    test[33:37] = 9.0
    found = found_events(test, every(10, test))
    assert found["memorized_0.1"].last == (36, 37)
    assert found["generalized_0.1"].first == found["generalized_0.1"].last == (10, 20)
    assert found["peak"].first == (-1, 9)
    assert found["rebound"].first is None


def test_nothing_is_invented():
    never = found_events([4, 3, 2], [4, 5, 6])
    assert all(never[name].first is None and never[name].last is None for name in never if name != "peak")
    assert never["peak"].first == (1, 2)
    assert not any(event.held for event in never.values())
    at_once = found_events([0.01, 0.01], [0.05, 0.05])
    assert at_once["generalized_0.1"].first == (0, 0)
    assert at_once["generalized_0.1"].held
    empty = found_events([], [])
    assert all(event.first is None and not event.held for event in empty.values())
    unevaluated = found_events([1, 1], [NAN, NAN])
    assert unevaluated["peak"].first is None


def test_what_is_called_grokking():
    late, soon, never = falling(2000, 1500), falling(2000, 300), np.full(2000, 5.0)
    train = falling(2000, 200)
    assert verdict(train, late) == ("yes", (1300, 1300), 500)
    assert verdict(train, soon) == ("no", (100, 100), 500)
    assert verdict(train, train) == ("no", (0, 0), 500)
    assert verdict(soon, train) == ("no", (0, 0), 500)  # generalized first: no delay
    assert verdict(train, never) == ("unknown", None, 500)
    assert verdict(never, never) == ("unknown", None, 500)
    assert verdict([], []) == ("unknown", None, 500)
    # Looked at every 400 epochs: the delay is between 1 + 800 - 200 and 1200 - 200, or, too coarsely, on both sides.
    assert verdict(train, every(400, falling(2000, 900))) == ("yes", (601, 1000), 500)
    assert verdict(train, every(400, falling(2000, 500))) == ("unknown", (201, 600), 500)
    assert verdict(train, every(10, falling(2000, 699))) == ("unknown", (491, 500), 500)


def test_a_delay_that_is_short_next_to_memorizing_is_no_grokking():
    def judged(train, test):
        return events.judged(of_curves(train, test), **find("events").parameters)

    slow, fast = falling(9000, 5000), falling(9000, 20)
    assert judged(slow, falling(9000, 5600)) == ("no", (600, 600), 500, (0.12, 0.12), 1.0)
    assert judged(fast, falling(9000, 300)) == ("no", (280, 280), 500, (14.0, 14.0), 1.0)
    assert judged(fast, falling(9000, 600)) == ("yes", (580, 580), 500, (29.0, 29.0), 1.0)
    # Memorized between 401 and 800, generalized at 1400: the delay is 600 to 999, the ratio 0.75 to 2.49.
    found = judged(every(400, falling(9000, 800)), falling(9000, 1400))
    assert found[:2] == ("unknown", (600, 999))
    assert found.ratio == pytest.approx((600 / 800, 999 / 401))


@pytest.mark.parametrize(
    ("losses", "interval", "said"),
    [
        ([5, NAN, NAN, NAN, NAN, 3, NAN, NAN, NAN, NAN, 1], (-1, 4), "0–4"),
        ([3, NAN, NAN, NAN, NAN, 5, NAN, NAN, NAN, NAN, 1], (0, 9), "1–9"),
        ([1, NAN, NAN, NAN, NAN, 3, NAN, NAN, NAN, NAN, 5], (5, 10), "6–10"),
        ([3, 5, 4], (0, 1), "1"),
        ([5, 4, 3], (0, 0), "0"),
    ],
)
def test_the_highest_loss_lies_between_the_looks_around_it(losses, interval, said):
    first = found_events(losses, losses)["peak"].first
    assert first == interval
    assert between(first) == said


@given(st.lists(st.sampled_from([NAN, 0.05, 0.1, 0.2, 3.0]), max_size=30))
def test_crossings_equal_a_plain_walk(values):
    intervals, before, under = [], None, False
    for epoch, value in enumerate(values):
        if math.isnan(value):
            continue
        if value < 0.1 and not under:
            intervals.append((epoch if before is None else before, epoch))
        before, under = epoch, value < 0.1
    event = found_events(values, values)["generalized_0.1"]
    assert (event.first, event.last) == ((intervals[0], intervals[-1]) if intervals else (None, None))
    assert event.held == (bool(intervals) and under)


@pytest.mark.parametrize("p", [2, 5, 7])
def test_a_pair_has_graduated_when_it_stays_right(p):
    config = tdw.configure(**SMALL, p=p)
    epochs = [0, 10, 25, 100, 400]
    right = np.random.default_rng(p).random((5, p, p)) < 0.7
    right[:, 0, 1] = True
    right[:, 1, 0] = [True, True, True, True, False]
    right[:, 1, 1] = [True, False, True, False, True]
    rows = np.array([np.packbits(row) for row in right])
    found = of_run("pair_graduation", config, epochs, results={"accuracy/correct": rows})["epoch"]
    for a in range(p):
        for b in range(p):
            since = [e for index, e in enumerate(epochs) if right[index:, a, b].all()]
            assert found[a, b] == (since[0] if since else -1)
    assert (found[0, 1], found[1, 0], found[1, 1]) == (0, -1, 400)


def test_the_lottery_of_frequencies():
    config = tdw.configure(**SMALL, p=13)
    count = np.array([[0, 0, 3, 0, 1, 2], [0, 2, 4, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 5, 0, 1, 0]])
    found = of_run("frequency_lottery", config, [0, 10, 20, 50], results={"neuron_clusters/count": count})
    assert found["first_held"].tolist() == [-1, 10, 0, -1, 0, 0]
    assert found["last_held"].tolist() == [-1, 20, 50, -1, 50, 0]
    assert found["came_and_went"].tolist() == [0, 1, 0, 0, 0, 1]


@pytest.mark.parametrize("network", ["transformer", "one-hot"])
@pytest.mark.parametrize("room", [None, 40])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_path_of_the_weights_is_that_of_a_plain_svd(network, room, count, monkeypatch):
    if room:  # the weights go through in many stretches, read in several rounds
        monkeypatch.setattr(weight_trajectory, "NUMBERS_AT_ONCE", room)
        monkeypatch.setattr(weight_trajectory, "NUMBERS_READ_AT_ONCE", 5 * room)
    config = tdw.configure(**SMALL | {"heads": 2}, p=5, network=network, biases="mlp")
    random = np.random.default_rng(count)
    weights = [{n: random.normal(size=s).astype(np.float32) for n, s in shapes(config).items()} for _ in range(count)]
    epochs = [0, 3, 10, 11, 40, 100, 1000][:count]
    found = of_run("weight_trajectory", config, epochs, weights=weights)
    parts = {"all": "", "embedding": r"^(pos_)?embed", "attention": "attn", "mlp": "mlp"}
    for index, group in enumerate(weight_trajectory.GROUPS):
        names = [name for name in shapes(config) if re.search(parts[group], name)]
        if not names:
            assert np.isnan(found["position"][index]).all()
            assert np.isnan(found["explained"][index]).all()
            continue
        theta = np.array([np.concatenate([w[name].ravel() for name in names]) for w in weights], dtype=np.float64)
        centered = theta - theta.mean(axis=0)
        u, s, _ = np.linalg.svd(centered, full_matrices=False)
        for component in range(3):
            if component < count - 1:
                expected = u[:, component] * s[component] * (1 if u[-1, component] > 0 else -1)
                assert found["position"][index][:, component] == pytest.approx(expected, rel=1e-4, abs=1e-4)
                share = s[component] ** 2 / (s**2).sum()
                assert found["explained"][index][component] == pytest.approx(share, rel=1e-6)
            else:
                assert np.abs(found["position"][index][:, component]).max() < 1e-4
                assert found["explained"][index][component] == pytest.approx(0, abs=1e-9)
        if group == "all":
            speed = [NAN, *np.linalg.norm(np.diff(theta, axis=0), axis=1) / np.diff(epochs)]
            assert found["speed"] == pytest.approx(speed, rel=1e-9, nan_ok=True)


def test_a_straight_path_is_one_component():
    config = tdw.configure(**SMALL, p=5)
    start = {name: w.numpy() for name, w in reference.initial_weights(config).items()}
    weights = [{name: w + np.float32(step) for name, w in start.items()} for step in (0, 1, 2, 4)]
    found = of_run("weight_trajectory", config, [0, 1, 2, 4], weights=weights)
    assert found["explained"][:, 0] == pytest.approx([1] * 4)
    steps = np.diff(found["position"][0][:, 0])
    assert steps == pytest.approx(steps[0] * np.array([1, 1, 2]), rel=1e-4)
    assert found["speed"][1:] == pytest.approx([found["speed"][1]] * 3, rel=1e-5)
