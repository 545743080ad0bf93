"""Analyses of logits against planted values and direct implementations."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tdw
from tdw import tasks
from tdw.analyses import excluded_loss, find, fourier, key_parts, restricted_loss
from tdw.analyses.engine.cross_entropy import cross_entropy, means
from tdw.analyses.key_frequencies import RULES
from tdw.analyses.restricted_loss import VARIANTS
from tdw.tasks import Split
from tests.core.planted import MODULI, SMALL, Planted, Slow, arithmetic, cosine_sum, measure, of_logits, random_split

ARITHMETIC = list(arithmetic())


def named(config):
    return f"{config.task}-{config.p}"


def planted_frequencies(order):
    """1, the middle one, and K, without duplicates."""
    return sorted({1, order // 2, max(order // 3, 1)})


@pytest.mark.parametrize(
    "config",
    [
        *(tdw.configure(**SMALL, p=p, task=task) for p in MODULI for task in ("add", "subtract")),
        *(tdw.configure(**SMALL, p=p, task="multiply") for p in (3, 5, 7, 59, 113)),
    ],
    ids=named,
)
def test_logits_that_are_a_sum_of_cosines(config):
    keys = planted_frequencies(config.order)
    coefficients = {k: 0.7 + index for index, k in enumerate(keys)}
    view = of_logits(cosine_sum(config, coefficients), config, split=random_split(config.p, 0), keys=keys)
    found = measure("logit_frequencies", view)
    assert found["explained"] == pytest.approx(1, abs=1e-5)
    assert (np.flatnonzero(np.abs(found["cosine"]) > 1e-3) + 1).tolist() == keys
    size = {k: config.order**1.5 * (1 if 2 * k == config.order else 0.5**0.5) for k in keys}
    for k in keys:
        assert found["coefficient"][k - 1] == pytest.approx(coefficients[k] * size[k], rel=1e-4)
    by_rule = measure("key_frequencies", view)["key"]
    assert (np.flatnonzero(by_rule[RULES.index("logit_cosine")]) + 1).tolist() == keys

    full = means(cross_entropy(view.grid_rows(np.arange(config.order**2)), view.grid_answers), view.grid_split_masks)
    restricted = measure("restricted_loss", view)["loss"]
    assert restricted[0] == pytest.approx(np.broadcast_to(full, (4, 4, 3)), rel=1e-4, nan_ok=True)
    assert restricted[1, 0] == pytest.approx(np.broadcast_to(full, (4, 3)), rel=1e-4, nan_ok=True)
    excluded = measure("excluded_loss", view)
    if view.grid_split_masks[0].any():
        assert excluded["together"][0] == pytest.approx([math.log(config.order)] * 4, rel=1e-4)
        assert not np.isnan(excluded["alone"][np.array(keys) - 1]).any()


@pytest.mark.parametrize("config", ARITHMETIC, ids=named)
def test_restricted_and_excluded_losses_equal_explicit_projections(config):
    random = np.random.default_rng(config.p)
    logits = 3 * random.normal(size=[config.p] * 3).astype(np.float32)
    split = random_split(config.p, config.p)
    slow = Slow(config, logits, split)
    every = range(1, config.frequencies + 1)
    for keys in itertools.chain([(), tuple(every)], itertools.combinations(every, 2)):
        view = of_logits(logits, config, split=split, keys=keys)
        restricted, excluded = measure("restricted_loss", view), measure("excluded_loss", view)
        for index, variant in enumerate(VARIANTS):
            expected = slow.restricted(variant, keys)
            assert restricted["loss"][0, 0, index] == pytest.approx(expected, rel=2e-5, nan_ok=True), variant
        without = slow.losses(slow.logits - slow.of_sums(keys))[1] if keys else slow.losses(slow.logits)[1]
        assert excluded["together"][0] == pytest.approx([without] * 4, rel=2e-5, nan_ok=True)
        by_any = set(keys) | set(np.flatnonzero(measure("key_frequencies", view)["key"].any(axis=0)) + 1)
        for k in every:
            alone = slow.losses(slow.logits - slow.of_sums([k]))[1] if k in by_any else math.nan
            assert excluded["alone"][k - 1] == pytest.approx(alone, rel=2e-5, nan_ok=True)
        assert np.array_equal(restricted["final_key"], view.final_key)


@pytest.mark.parametrize("config", ARITHMETIC, ids=named)
def test_logit_frequencies_equal_their_plain_definition(config):
    logits = np.random.default_rng(config.p).normal(size=[config.p] * 3).astype(np.float32)
    slow = Slow(config, logits, random_split(config.p, 1))
    found = measure("logit_frequencies", of_logits(logits, config))
    every = range(1, config.frequencies + 1)
    differing = slow.logits - slow.logits.mean(axis=1, keepdims=True)
    templates = slow.templates(every)
    units = templates / np.linalg.norm(templates, axis=(1, 2), keepdims=True)
    assert found["coefficient"] == pytest.approx((units * slow.logits).sum(axis=(1, 2)), rel=1e-4, abs=1e-5)
    cosines = (units * differing).sum(axis=(1, 2)) / np.linalg.norm(differing)
    assert found["cosine"] == pytest.approx(cosines, rel=1e-4, abs=1e-5)
    assert found["explained"] == pytest.approx((cosines**2).sum(), rel=1e-4, abs=1e-6)
    # Σ similarity² is the share of the variance that the least-squares fit by all templates explains.
    design = templates.reshape(len(templates), -1).T
    rest = differing.ravel() - design @ np.linalg.lstsq(design, differing.ravel(), rcond=None)[0]
    assert found["explained"] == pytest.approx(1 - rest @ rest / (differing**2).sum(), rel=1e-4, abs=1e-5)


def test_key_sets_of_the_last_checkpoint_and_of_this_one_are_separate():
    config = tdw.configure(**SMALL, p=11)
    logits = cosine_sum(config, {2: 3.0, 5: 2.0})
    view = of_logits(logits, config, split=random_split(11, 0), keys=[5])
    restricted, excluded = measure("restricted_loss", view), measure("excluded_loss", view)
    with_both = measure("loss", view)["loss"]
    rule = RULES.index("logit_cosine")
    assert restricted["loss"][1, rule, 0] == pytest.approx(with_both, rel=1e-4)
    alone = of_logits(cosine_sum(config, {5: 2.0}), config, split=view.split)
    assert restricted["loss"][0, rule, 0] == pytest.approx(measure("loss", alone)["loss"], rel=1e-4)
    assert excluded["together"][1, rule] == pytest.approx(math.log(11), rel=1e-4)
    assert excluded["together"][0, rule] == pytest.approx(excluded["alone"][4], rel=1e-6)
    assert excluded["alone"][1] == pytest.approx(measure("loss", alone)["loss"][1], rel=1e-4)
    empty = of_logits(logits, config, split=view.split, keys=[5])
    empty.weights = {
        name: np.zeros_like(w) for name, w in view.weights.items()
    }  # no key frequency by weights or neurons
    assert (np.flatnonzero(~np.isnan(measure("excluded_loss", empty)["alone"])) + 1).tolist() == [2, 5]
    missing = Planted(config, view.split, logits=logits)
    with pytest.raises(LookupError, match="key frequencies of the last checkpoint"):
        measure("restricted_loss", missing)


def test_what_the_published_variants_keep_differs():
    config = tdw.configure(**SMALL, p=11)
    a, b = np.indices((11, 11))
    w = 2 * np.pi * 3 / 11
    logits = 5 * cosine_sum(config, {3: 1.0})
    logits[:, :, 0] += 4 * np.cos(w * (a - b))  # a product of waves of a and b, and no function of a + b
    logits[:, :, 1] += 4 * np.cos(w * a)  # of a alone
    view = of_logits(logits, config, split=random_split(11, 0), keys=[3])
    found = measure("restricted_loss", view)["loss"][0, 0, :, 0]
    sums, two, three, fit = found
    assert three == pytest.approx(measure("loss", view)["loss"][0], rel=1e-4)
    assert len({round(float(x), 6) for x in (sums, two, three)}) == 3
    clean = of_logits(5 * cosine_sum(config, {3: 1.0}), config, keys=[3])
    # The template is met by neither of them on average, so both of these see the clean part.
    assert [sums, fit] == pytest.approx([measure("loss", clean)["loss"][0]] * 2, rel=1e-3)


def test_an_unknown_split_gives_nan():
    config = tdw.configure(**SMALL, p=7)
    view = of_logits(cosine_sum(config, {2: 1.0}), config, keys=[2])
    for name in ("loss", "accuracy"):
        assert np.isnan(measure(name, view)[name]).tolist() == [False, True, True]
    assert np.isnan(measure("restricted_loss", view)["loss"]).mean() == pytest.approx(2 / 3)
    assert np.isnan(measure("excluded_loss", view)["together"]).all()


@given(st.integers(0, 10_000), st.sampled_from([1e-3, 1.0, 40.0, 3000.0]))
def test_excluded_losses_by_one_product_equal_those_set_by_set(seed, size):
    config = tdw.configure(**SMALL, p=7)
    random = np.random.default_rng(seed)
    logits = size * random.normal(size=(7, 7, 7)).astype(np.float32)
    view = of_logits(logits, config, split=random_split(7, seed))
    keys = random.integers(0, 2, (5, 3)).astype(bool)
    directly = excluded_loss.without_directly(view, keys)
    assert excluded_loss.without(view, keys) == pytest.approx(directly, rel=1e-5, abs=1e-12)


@given(st.integers(0, 10_000), st.sampled_from([1e-3, 1.0, 40.0, 3000.0]), st.sampled_from([5, 6, 7]), st.booleans())
def test_restricted_losses_by_factors_equal_those_pair_by_pair(seed, size, p, add):
    config = tdw.configure(**SMALL, p=p, task="add" if add else "subtract")
    random = np.random.default_rng(seed)
    view = of_logits(size * random.normal(size=(p, p, p)).astype(np.float32), config, split=random_split(p, seed))
    key = random.integers(0, 2, config.frequencies).astype(bool)
    for constant in (False, True):
        factors = key_parts.block(view, key, with_constant=constant)
        directly = restricted_loss.of_block_directly(view, factors)
        assert restricted_loss.of_block(view, factors) == pytest.approx(directly, rel=1e-9, abs=1e-300)


def test_products_of_factors_that_underflow_are_not_used():
    config = tdw.configure(**SMALL, p=7)
    view = of_logits(np.random.default_rng(0).normal(size=(7, 7, 7)), config)
    factors = key_parts.block(view, np.ones(3, bool), with_constant=True)
    far = 800 * np.eye(7)[[0, 1, 2, 3, 4, 5, 6]]  # largest at other answers: their product is below all numbers but 0
    factors = factors._replace(of_both=factors.of_both + np.stack([far, np.roll(far, 1, axis=1)]))
    found = restricted_loss.of_block(view, factors)
    assert np.isfinite(found).all()
    assert found == pytest.approx(restricted_loss.of_block_directly(view, factors), rel=1e-12)


def test_cross_entropy_keeps_its_digits():
    for gap in (0.0, 5.0, 20.0, 27.6):  # the last is a loss of 1e-12
        logits = np.array([[1.0, 1 + gap, 0.5, 0.0]], np.float32)
        expected = slow = math.log1p(sum(math.exp(float(x) - float(logits[0, 1])) for x in (1.0, 0.5, 0.0)))
        assert cross_entropy(logits.copy(), np.array([1]))[0] == pytest.approx(expected, rel=1e-6)
        assert cross_entropy(logits.astype(np.float64), np.array([1]))[0] == pytest.approx(slow, rel=1e-13)
    far = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 0]], np.float32)
    assert cross_entropy(far, np.array([1, 1])).tolist() == [2e4, 0]


@pytest.mark.parametrize("task", tasks.TASKS)
@pytest.mark.parametrize("p", [2, 4, 7])
def test_loss_accuracy_and_margin_equal_plain_loops(p, task):
    if tasks.TASKS[task].refusal(p):
        pytest.skip("no such task modulo a composite number")
    config = tdw.configure(**SMALL, p=p, task=task)
    logits = np.random.default_rng(p).normal(size=(p, p, p)).astype(np.float32)
    logits[0, 0] = 1.0  # all equal: none is correct
    logits[0, 1] = logits[1, 0] = 500 + 1e-4 * np.arange(p)  # equal up to rounding
    split = Split(np.arange(0, p * p, 2), np.arange(1, p * p, 2))
    view = of_logits(logits, config, split=split)
    answers = tasks.answers(np.arange(p * p), config)
    rows = logits.reshape(p * p, p).astype(float)
    losses = np.array(
        [-row[y] + math.log(math.fsum(math.exp(x) for x in row)) for row, y in zip(rows, answers, strict=True)]
    )
    margins = [row[y] - max(np.delete(row, y)) for row, y in zip(rows, answers, strict=True)]
    right = np.array([margin > 1e-6 * max(abs(row)) for row, margin in zip(rows, margins, strict=True)])
    assert not right[[0, 1, p]].any()
    for name, values in (("loss", losses), ("accuracy", right)):
        expected = [values.mean(), values[::2].mean(), values[1::2].mean()]
        assert measure(name, view)[name] == pytest.approx(expected, rel=1e-6)
    bits = np.unpackbits(measure("accuracy", view)["correct"])
    assert bits[: p * p].astype(bool).tolist() == right.tolist()
    assert not bits[p * p :].any()
    found = measure("margin", view)
    assert found["minimum"] == pytest.approx(min(margins), rel=1e-6)
    assert found["mean"] == pytest.approx(np.mean(margins), rel=1e-6)
    ordered = sorted(margins)
    at = 0.001 * (len(ordered) - 1)
    assert found["quantile"] == pytest.approx(ordered[0] + at * (ordered[1] - ordered[0]), rel=1e-6)


@pytest.mark.parametrize("p", MODULI[:6])
@pytest.mark.parametrize("task", ["add", "subtract", "multiply", "x2+y2"])
def test_the_logit_spectrum_equals_products_with_f(p, task):
    config = tdw.configure(**SMALL, p=p, task=task)
    if why := find("logit_spectrum").inapplicable_reason(config):
        pytest.skip(why)
    logits = np.random.default_rng(p).normal(size=(p, p, p)).astype(np.float32)
    order = config.order
    elements = list(range(p)) if task != "multiply" else tasks.elements(config).tolist()
    f = fourier.basis(order)
    grid = np.array([[[float(logits[a, b, c]) for c in elements] for b in elements] for a in elements])
    expected = np.sqrt(np.einsum("ia,jb,abc->ijc", f, f, grid) ** 2 @ np.ones(order))
    assert measure("logit_spectrum", of_logits(logits, config))["norm"] == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("p", [3, 5, 7, 59, 113])
def test_clock_pizza_and_what_is_between(p):
    config = tdw.configure(**SMALL, p=p)
    a, b = np.indices((p, p))
    c = np.arange(p)
    w = 2 * np.pi * max(p // 3, 1) / p
    clock = np.cos(w * (a[:, :, None] + b[:, :, None] - c))
    # A pizza's logit is the clock's times a function of the distance a − b.
    pizza = np.abs(np.cos(w * (a - b) * ((p + 1) // 2)))[:, :, None] * clock

    def value(logits):
        return measure("distance_irrelevance", of_logits(logits, config))["value"]

    assert np.isnan(value(clock))  # the right logit is the same for all pairs: nothing depends on anything
    assert value(pizza) == pytest.approx(0, abs=1e-5)
    of_sum, of_distance = np.random.default_rng(p).normal(size=(2, p))
    slanted = clock + of_sum[(a + b) % p][:, :, None]
    assert value(slanted) == pytest.approx(1, rel=1e-5)
    mixed = slanted + of_distance[(a - b) % p][:, :, None]
    expected = of_sum.std() / math.hypot(of_sum.std(), of_distance.std())
    assert value(mixed) == pytest.approx(expected, rel=1e-4)


def test_distance_irrelevance_equals_plain_loops():
    p = 7
    logits = np.random.default_rng(3).normal(size=(p, p, p)).astype(np.float32)
    o = np.array([[logits[a, b, s] for d in range(p) for a, b in [pair_of(s, d, p)]] for s in range(p)])
    expected = np.mean([o[:, d].std() for d in range(p)]) / o.std()
    config = tdw.configure(**SMALL, p=p)
    assert measure("distance_irrelevance", of_logits(logits, config))["value"] == pytest.approx(expected, rel=1e-6)


def pair_of(s, d, p):
    return next((a, b) for a in range(p) for b in range(p) if (a + b) % p == s and (a - b) % p == d)


def test_equal_logits_have_similarity_zero():
    config = tdw.configure(**SMALL, p=6)
    view = of_logits(np.full((6, 6, 6), 0.1) + np.random.default_rng(0).normal(size=(6, 6, 1)), config)
    found = measure("logit_frequencies", view)
    assert np.abs(found["cosine"]).max() < 1e-6
    assert found["explained"] == pytest.approx(0, abs=1e-10)
    assert measure("loss", view)["loss"][0] == pytest.approx(math.log(6))
    assert not measure("key_frequencies", view)["key"][RULES.index("logit_cosine")].any()
    assert np.abs(measure("restricted_loss", view)["loss"][:, :, :, 0] - math.log(6)).max() < 1e-6
    # What differs by no more than rounding has the form of a template by accident at most.
    rounded = of_logits(1000 + cosine_sum(config, {2: 1e-4}), config)
    assert np.ptp(rounded.logits) > 0
    assert not measure("logit_frequencies", rounded)["cosine"].any()
    odd = tdw.configure(**SMALL, p=5)
    assert np.isnan(measure("distance_irrelevance", of_logits(np.zeros((5, 5, 5)), odd))["value"])


@pytest.mark.parametrize("scale", [1, 30, 60, 200])
def test_softmax_collapse_is_the_share_of_losses_that_are_zero_in_pytorchs_float32(scale):
    p = 7
    logits = np.random.default_rng(scale).normal(size=(p, p, p)).astype(np.float32) * scale
    split = Split(np.arange(20), np.arange(20, p * p))
    view = of_logits(logits, tdw.configure(**SMALL | {"p": p}), split=split)
    answers = torch.from_numpy(view.answers)
    each = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).reshape(p * p, p), answers, reduction="none"
    ).numpy()
    expected = [(each[side] == 0).mean() for side in (slice(None), split.train, split.test)]
    found = measure("softmax_collapse", view)["share"]
    assert found == pytest.approx(expected)
    assert (found[0] > 0) == (scale > 1)
