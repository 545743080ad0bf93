"""Baselines: untrained, relabeled and memorizing networks, and how a checkpoint is compared with them."""

import itertools

import numpy as np
import pytest

import tdw
from tdw import state_dir, tasks
from tdw.analyses import baselines, memorization_baselines, permutation_baselines
from tdw.analyses.engine import cached_values, registry
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.network import reference, training
from tests.core.planted import SMALL, Planted, measure, of_logits

QUANTITIES = list(baselines.QUANTITIES)
LEVEL = 0.05


@pytest.fixture
def state(tmp_path, monkeypatch):
    cached_values.forget()
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def found(name, view, **parameters):
    item = registry.find(name)
    return item.compute(view, **item.parameters | parameters)


def untrained(config, seed):
    weights = {
        name: w.numpy() for name, w in reference.initial_weights(tdw.config.replace(config, model_seed=seed)).items()
    }
    return Checkpoint(config, weights, tasks.draw_split(config))


# ---- p-values --------------------------------------------------------------------------------------------------------


def plain_p_values(values, draws, smallest):
    """The same, by counting."""
    pool = [values, *draws]
    columns = range(len(values))
    mean = [sum(row[q] for row in pool) / len(pool) for q in columns]
    scale = [max((sum((row[q] - mean[q]) ** 2 for row in pool) / len(pool)) ** 0.5, smallest[q]) for q in columns]
    away = [[abs(row[q] - mean[q]) / scale[q] if scale[q] else 0.0 for q in columns] for row in pool]
    return [
        (1 + sum(max(row) >= away[0][q] - 1e-9 for row in away[1:])) / (1 + len(draws)) for q in columns
    ]  # fmt: skip


def test_p_values_are_those_of_a_plain_count():
    random = np.random.default_rng(3)
    for _ in range(50):
        draws = random.normal(size=(random.integers(1, 30), 4)) * [1, 10, 0, 1]
        draws[:, 3] = np.round(draws[:, 3])
        values, smallest = random.normal(size=4) * [2, 10, 0, 1], [0.0, 0.0, 0.0, 1.0]
        assert baselines.p_values(values, draws, np.array(smallest)) == pytest.approx(
            plain_p_values(values, draws, smallest)
        )


def test_what_comes_from_the_draws_is_rarely_far_from_them():
    """However the quantities depend on each other, at most a share α of runs has a p-value up to α."""
    random = np.random.default_rng(0)
    flagged, trials = 0, 4000
    for _ in range(trials):
        common = random.standard_t(2, size=(20, 1))  # heavy tails, and every quantity moves with the others
        pool = common * random.normal(size=(1, 11)) + random.exponential(size=(20, 11))
        flagged += baselines.p_values(pool[0], pool[1:], np.zeros(11)).min() <= LEVEL
    assert flagged / trials <= LEVEL + 3 * (LEVEL / trials) ** 0.5
    assert flagged / trials > LEVEL / 2, "the test can find something"


def test_quantities_without_a_number_are_left_out():
    draws = np.array([[1.0, np.nan], [2.0, np.nan], [3.0, np.nan]])
    p = baselines.p_values(np.array([9.0, np.nan]), draws, np.zeros(2))
    assert p[0] == 0.25
    assert np.isnan(p[1])


def test_one_rare_key_among_the_draws_hides_nothing():
    """One cluster or key in one network of many is not the furthest that a network can be from the others."""
    draws = np.zeros((99, len(QUANTITIES)))
    draws[:, 0] = np.linspace(0.1, 0.2, 99)
    for row, name in enumerate(QUANTITIES):
        if name.startswith("keys_"):
            draws[row, row] = 1
    values = np.zeros(len(QUANTITIES))
    values[0] = 0.3
    p = baselines.compared(values, draws, QUANTITIES)["p"]
    assert p[0] == 0.01
    assert p[1:].min() > LEVEL


# ---- the quantities and the networks ---------------------------------------------------------------------------------


CONTROLS = [
    {"network": "transformer", "classes": "tokens"},
    {"network": "two-token"},
    {"network": "one-hot", "biases": "mlp"},
]


@pytest.mark.parametrize("settings", CONTROLS, ids=lambda settings: settings["network"])
def test_a_relabeled_network_is_the_same_network_under_other_names(settings):
    config = tdw.configure(**SMALL, p=7, **settings)
    view = Planted(config)
    renamed = permutation_baselines.permuted(view, 3)
    random = np.random.RandomState(3)
    operands, answers = random.permutation(7), random.permutation(7)
    assert (operands != np.arange(7)).any()
    assert (answers != np.arange(7)).any()
    assert np.array_equal(renamed.logits, view.logits[operands][:, operands][:, :, answers])
    computed = Checkpoint(config, renamed.weights, view.split)
    assert computed.logits == pytest.approx(renamed.logits, abs=1e-6)
    assert computed.activations == pytest.approx(renamed.activations, abs=1e-6)


def test_bands_and_values_are_those_of_the_measures(state):
    p = 23
    config = tdw.configure(**SMALL | {"d_model": 8, "d_mlp": 16}, p=p)
    view = untrained(config, 5)
    view.weights["embed.W_E"][:p] = np.cos(2 * np.pi * 5 * np.arange(p) / p)[:, None]
    arrays = found("baselines", view, networks=9)
    rows = dict(zip(QUANTITIES, arrays["band"], strict=True))
    values = dict(zip(QUANTITIES, arrays["value"], strict=True))
    assert (
        values["embedding_gini"] == measure("sparsity", view)["embedding_gini"] == pytest.approx(1 - 1 / 11, abs=1e-6)
    )
    assert rows["embedding_gini"][2] < 0.5
    assert arrays["p"][QUANTITIES.index("embedding_gini")] == 0.1
    drawn = []
    for seed in range(9):
        one = tdw.config.replace(config, data_seed=baselines.FIRST_SEED + seed)
        drawn.append(untrained(one, baselines.FIRST_SEED + seed))
    for name in ("embedding_gini", "unembedding_participation"):
        numbers = [float(measure("sparsity", one)[name]) for one in drawn]
        assert rows[name] == pytest.approx([min(numbers), np.median(numbers), max(numbers)])
    keys = [measure("key_frequencies", one)["key"].sum(axis=1) for one in drawn]
    assert rows["keys_embedding"][1] == np.median([row[3] for row in keys])
    shares = [measure("neuron_summary", one) for one in drawn]
    means = [float(one["share"][one["dead"] == 0].mean()) for one in shares]
    assert rows["neuron_share"] == pytest.approx([min(means), np.median(means), max(means)])


def test_what_is_explained_of_the_test_pairs_is_that_of_plain_sums():
    p = 11
    config = tdw.configure(**SMALL, p=p)
    split = tasks.draw_split(config)
    logits = np.random.default_rng(0).normal(size=(p, p, p)).astype(np.float32)
    a, b, c = np.indices((p, p, p))
    logits += np.cos(2 * np.pi * 3 * (a + b - c) / p) - 2 * np.cos(2 * np.pi * 4 * (a + b - c) / p)
    view = of_logits(logits, config, split=split)
    explained = 0.0
    for k in range(1, 6):
        along = square = size = 0.0
        for pair in split.test:
            i, j = divmod(int(pair), p)
            wave = np.cos(2 * np.pi * k * (i + j - np.arange(p)) / p)
            centered = logits[i, j] - logits[i, j].mean()
            along, square, size = along + wave @ centered, square + (centered**2).sum(), size + (wave**2).sum()
        explained += max(along / (square * size) ** 0.5, 0) ** 2
    assert baselines.measured(view, ["explained_test"])[0] == pytest.approx(explained, rel=1e-4)


def test_tasks_without_sums_have_no_variance_to_explain(state):
    config = tdw.configure(**SMALL, p=7, task="x2+y2")
    arrays = found("baselines", Planted(config), networks=5)
    explained = QUANTITIES.index("explained_test")
    for name in ("value", "band", "p"):
        assert np.isnan(arrays[name][explained]).all()
        assert not np.isnan(np.delete(arrays[name], explained, axis=0)).any()


def test_untrained_networks_are_measured_once_for_each_size(state, monkeypatch):
    view = Planted(tdw.configure(**SMALL, p=5))
    same = Planted(tdw.configure(**SMALL, p=5, epochs=7, data_seed=3, model_seed=8))
    other = Planted(tdw.configure(**SMALL, p=6))
    made = []
    monkeypatch.setattr(
        reference, "initial_weights", lambda config, make=reference.initial_weights: made.append(1) or make(config)
    )
    first = found("baselines", view, networks=8)
    assert len(made) == 8
    (kept,) = (state / "baselines").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    cached_values.forget()
    again = found("baselines", same, networks=8)
    assert len(made) == 8
    assert np.array_equal(first["band"], again["band"])
    whole = kept.read_bytes()
    for damage in (b"", b"nonsense", whole[:-9], whole[:-1] + bytes([whole[-1] ^ 1])):
        made.clear()
        cached_values.forget()
        kept.write_bytes(damage)
        assert np.array_equal(found("baselines", view, networks=8)["band"], first["band"])
        assert len(made) == 8
    found("baselines", other, networks=8)
    assert len(list((state / "baselines").iterdir())) == 2


def test_a_user_without_a_private_folder_gets_bands_all_the_same(state, monkeypatch):
    view = Planted(tdw.configure(**SMALL, p=5))
    first = found("baselines", view, networks=8)
    blocked = state.parent / "file"
    blocked.write_bytes(b"")
    monkeypatch.setenv("TDW_STATE_DIR", str(blocked))
    cached_values.forget()
    assert np.array_equal(found("baselines", view, networks=8)["band"], first["band"])

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("TDW_STATE_DIR", str(state.parent / "other"))
    monkeypatch.setattr(state_dir, "write_private", full)
    cached_values.forget()
    assert np.array_equal(found("baselines", view, networks=8)["band"], first["band"])


# ---- memorizing networks ---------------------------------------------------------------------------------------------


SIZES = {
    "p": 11, "d_model": 16, "heads": 2, "d_mlp": 32, "train_fraction": 0.4, "weight_decay": 0.0, "lr": 1e-2, "threads": 1,
    "evaluate_every": 10_000, "checkpoints": "",
}  # fmt: skip


def memorized(seed, epochs=250, **settings):
    """A network after some epochs on the task, which it has memorized, with its accuracies."""
    config = tdw.configure(**SIZES | settings, epochs=epochs, model_seed=seed, data_seed=seed)
    split = tasks.draw_split(config)
    start = training.start(config, reference.initial_weights(config))
    last = list(training.train(config, start, split, []))[-1]
    return Checkpoint(config, last.state.weights, split), last.train_accuracy[-1], last.test_accuracy[-1]


def trajectories(config, wanted, networks=1, epochs=20_000):
    return memorization_baselines.trajectories(
        config, wanted, quantities=QUANTITIES, networks=networks, epochs=epochs, definitions=baselines.DEFINITIONS
    )


def test_answers_are_shuffled_among_the_train_pairs():
    config = tdw.configure(**SIZES, epochs=1)
    split = tasks.draw_split(config)
    answers = memorization_baselines.shuffled(config, split)
    right = tasks.answers(np.arange(121), config)
    assert np.array_equal(answers[split.test], right[split.test])
    assert (answers[split.train] != right[split.train]).mean() > 0.7
    assert np.array_equal(
        np.bincount(answers[split.train], minlength=11), np.bincount(right[split.train], minlength=11)
    )


def test_training_on_other_answers_is_that_of_a_task_that_has_them():
    config = tdw.configure(**SIZES, epochs=30, task="random", data_seed=4)
    split = tasks.draw_split(config)
    state = training.start(config, reference.initial_weights(config))
    other = tdw.config.replace(config, task="add")
    curves = [
        np.concatenate([part.train_loss for part in training.train(one, state, split, [], answers=answers)])
        for one, answers in ((config, None), (other, tasks.random_answers(config)), (other, None))
    ]
    assert np.array_equal(curves[0], curves[1])
    assert not np.array_equal(curves[0], curves[2])


def test_memorizing_networks_are_taken_at_the_train_loss_of_the_checkpoint(state):
    trained = [np.array([[4.0, 0, 0], [1.0, 0, 10], [0.01, 0, 20]]), np.array([[4.0, 0, 5], [0.1, 1, 5]])]
    for loss, values, losses in (
        (9.0, [0, 5], [4, 4]),
        (1.0, [10, 5], [1, 1]),
        (0.1, [15, 5], [0.1, 0.1]),
        (0.0, [20, 5], [0.01, 0.1]),
    ):
        draws, at = memorization_baselines.at_loss(trained, loss)
        assert draws[:, 0] == pytest.approx(values)
        assert at == pytest.approx(losses)
    view, *_ = memorized(3)
    arrays = found("memorization_baselines", view, networks=3)
    expected = -np.log(np.exp(view.logits.reshape(-1, 11).astype(float)))[np.arange(121), view.answers]
    expected += np.log(np.exp(view.logits.reshape(-1, 11).astype(float)).sum(axis=1))
    assert arrays["loss"] == pytest.approx(expected[view.split.train].mean(), rel=1e-3)
    assert len(list((state / "baselines").iterdir())) == 3


def test_a_network_that_cannot_memorize_is_given_up():
    config = tdw.configure(**SIZES | {"d_model": 2, "heads": 1, "d_mlp": 1, "lr": 1e-3}, epochs=1)
    last = next(trajectories(config, 1e-3, epochs=400))[-1]
    assert last[0] > 1
    assert last[1] == 1
    diverging = tdw.config.replace(config, lr=1e30)
    table = next(trajectories(diverging, 1e-3, epochs=400))
    assert np.isfinite(table).all()
    assert table[-1, 1] == 1


def test_networks_are_trained_no_further_than_needed_and_further_when_needed(state):
    config = tdw.configure(**SIZES, epochs=1)
    (short,) = trajectories(config, 0.5)
    (deep,) = trajectories(config, 1e-3)
    (again,) = trajectories(config, 0.5)
    assert short[-2, 0] > 0.5 >= short[-1, 0]
    assert deep[-2, 0] > 1e-3 >= deep[-1, 0]
    assert (np.diff(deep[:, 0]) < 0).all()
    assert np.array_equal(again, deep), "what was kept is deep enough"
    assert np.array_equal(deep[: len(short) - 1], short[:-1])
    assert not deep[:, 1].any()


def outside(view, networks, draws=19):
    """The quantities that all three baselines call unusual."""
    p = [
        found("baselines", view)["p"],
        found("permutation_baselines", view, draws=draws)["p"],
        found("memorization_baselines", view, networks=networks)["p"],
    ]
    return [name for name, row in zip(QUANTITIES, np.array(p).T, strict=True) if (row <= LEVEL).all()]


def most(runs):
    """Of so many runs, two standard deviations above the number that may be flagged."""
    return LEVEL * runs + 2 * (LEVEL * (1 - LEVEL) * runs) ** 0.5


def check(untrained_runs, memorizing_runs):
    config = tdw.configure(**SIZES, epochs=1)
    seeds = range(untrained_runs)
    flagged = sum(bool(outside(untrained(tdw.config.replace(config, data_seed=seed), seed), 19)) for seed in seeds)
    assert flagged <= most(untrained_runs)
    flagged = 0
    for seed in range(memorizing_runs):
        view, train, test = memorized(seed)
        assert train > 0.98
        assert test < 0.25
        flagged += bool(outside(view, 19))
    assert flagged <= most(memorizing_runs)


def test_networks_that_learned_nothing_of_the_task_are_not_outside_the_baselines():
    check(untrained_runs=20, memorizing_runs=5)


@pytest.mark.slow
def test_hundreds_of_networks_that_learned_nothing_of_the_task_are_not_outside_the_baselines():
    check(untrained_runs=200, memorizing_runs=50)


@pytest.mark.slow
def test_a_network_that_generalized_is_outside_all_baselines():
    settings = {"p": 23, "lr": 5e-3, "weight_decay": 1.0, "train_fraction": 0.7, "d_model": 32, "d_mlp": 64}
    view, _, test = memorized(1, 2500, **settings)
    assert test > 0.95
    assert {"explained_test", "neuron_share"} <= set(outside(view, 19))


def test_what_takes_long_is_computed_where_it_is_named(state, tiny_run):
    def stored():
        with tdw.open(tiny_run) as run:
            return set(run.analyses())

    slow = {"permutation_baselines", "memorization_baselines"}
    assert "baselines" in set(tdw.analyze(tiny_run))
    assert not stored() & slow
    seen = []
    assert tdw.analyze(tiny_run, only="memorization_baselines", progress=seen.append) == ["memorization_baselines"]
    assert [(at.units, at.done, at.total) for at in seen[:19]] == [("networks", i, 19) for i in range(1, 20)]
    assert seen[-1].units == "checkpoints"
    assert stored() & slow == {"memorization_baselines"}
    assert tdw.analyze(tiny_run) == []
    for one, other in itertools.pairwise(seen[:19]):
        assert one.seconds <= other.seconds
