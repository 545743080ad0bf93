"""Forecasts: the model, its scores, what it may know of a run, and when it says that it knows nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import tdw
from tdw.cli.main import main
from tdw.statistics import cure_model, forecaster, landmark
from tdw.statistics.brier import brier_scores, known_until
from tdw.statistics.forecast import Forecasts, forecast
from tdw.statistics.judgment import HELD_OUT, Estimate, estimate, folds, indicators, judge, resampled, why_not, wilson
from tests.statistics.sweeps_at_risk import HORIZON, sweep

#: Made by scikit-survival's `brier_score` from these times and S(t) = exp(−rate t).
FIGURES = json.loads((Path(__file__).parent / "scikit_survival.json").read_text())


def sample(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, rng.uniform(0.05, 1, n), rng.random(n) < 0.6


def test_the_likelihood_is_the_plain_one_and_its_gradient_that_of_finite_differences():
    x, time, happened = sample(30, 2)
    at = np.array([0.3, 0.5, -0.4, -0.8, 0.2, 0.1, -0.6])

    def plain(at: np.ndarray) -> float:
        total = 0.0
        for row, t, event in zip(x, time, happened, strict=True):
            some = 1 / (1 + math.exp(-(at[0] + at[1] * row[0] + at[2] * row[1])))
            alpha, shape = math.exp(at[3] + at[4] * row[0] + at[5] * row[1]), math.exp(-at[6])
            power = (t / alpha) ** shape
            density = shape / t * power / (1 + power) ** 2
            total += math.log(some * density) if event else math.log(1 - some * power / (1 + power))
        return total / len(time)

    value, gradient = cure_model.log_likelihood(at, x, time, happened)
    assert value == pytest.approx(plain(at), rel=1e-12)
    slopes = [(plain(at + step) - plain(at - step)) / 2e-6 for step in 1e-6 * np.eye(7)]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-8)


def test_planted_parameters_are_found_from_censored_times():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20_000, 1))
    planted = np.array([0.5, 1.0, -1.2, 0.4, np.log(0.3)])
    u = rng.random(len(x))
    time = np.exp(planted[2] + planted[3] * x[:, 0] + 0.3 * np.log(u / (1 - u)))
    time[rng.random(len(x)) > 1 / (1 + np.exp(-planted[0] - planted[1] * x[:, 0]))] = np.inf
    end = rng.uniform(0.5, 1.5, len(x))
    found = cure_model.fit(x, np.minimum(time, end), time <= end, ridge=1e-6).parameters
    np.testing.assert_allclose(found, planted, atol=0.1)


def test_brier_scores_are_those_of_scikit_survival_and_of_a_plain_version():
    time, happened, rate, at = (np.array(FIGURES[name]) for name in ("time", "happened", "rate", "at"))
    survival = np.exp(-rate[:, None] * at)
    scores = brier_scores(survival, time, happened, at)
    np.testing.assert_allclose(scores.mean(axis=0), FIGURES["brier"], rtol=1e-9)

    time = np.ceil(time / 20)  # with ties, of events and ends, and grid times at the end of observation
    at = np.array([1.0, 2.0, 4.0])

    def followed(t: float) -> float:
        share = 1.0
        for end in sorted({float(s) for s, event in zip(time, happened, strict=True) if not event and s < t}):
            share *= 1 - ((time == end) & ~happened).sum() / (time >= end).sum()
        return share

    plain = np.zeros((len(time), len(at)))
    for i, (t, event) in enumerate(zip(time, happened, strict=True)):
        for j, moment in enumerate(at):
            if event and t <= moment:
                plain[i, j] = (0 - survival[i, j]) ** 2 / followed(t)
            elif t >= moment:
                plain[i, j] = (1 - survival[i, j]) ** 2 / followed(moment)
    np.testing.assert_allclose(brier_scores(survival[:, :3], time, happened, at), plain, rtol=1e-12)


def test_the_true_survival_has_the_expected_brier_score_though_half_of_the_runs_are_censored():
    rng = np.random.default_rng(3)
    n, at = 20_000, np.array([0.5, 1.0])
    time, end = rng.exponential(1, n), rng.exponential(1.5, n)
    truth = np.broadcast_to(np.exp(-at), (n, 2))
    scores = brier_scores(truth, np.minimum(time, end), time <= end, at).mean(axis=0)
    np.testing.assert_allclose(scores, np.exp(-at) * (1 - np.exp(-at)), atol=0.006)
    assert known_until(end, np.zeros(n, dtype=bool), end, np.zeros(n, dtype=bool), at).min() > 0


@pytest.mark.parametrize("lost", [0.0, 0.3])
def test_intervals_of_new_runs_hold_80_percent_of_the_times(lost):
    """Of a model that is wrong: the spread of the times depends on what it does not know."""
    covered = []
    for seed in range(4):
        at = sweep(seed, seeds=100, settings=1, by_measures=0.3, lost=lost)
        odd = np.exp(0.6 * np.random.default_rng(seed).standard_t(3, len(at.time)))
        time = np.where(at.happened, np.minimum(at.time * odd, HORIZON), at.time)
        unit = list(range(50))
        known = np.zeros(at.measures.shape[1], dtype=bool)
        trained = forecaster.train(at.measures[:50], known, time[:50], at.happened[:50], unit, HORIZON)
        covered += trained.covers(at.measures[50:], time[50:])[at.happened[50:]].tolist()
    assert 0.7 < np.mean(covered) < 0.92


def test_ends_of_an_interval_are_where_it_stops_to_cover():
    at = sweep(0, by_measures=0.3)
    trained = at.trained("both")
    low, high = trained.interval(at.everything("both"))
    inside = high < HORIZON - 1e-6
    for end, sign in ((low, 1), (high, -1)):
        assert trained.covers(at.everything("both"), end * (1 + sign * 1e-6))[inside].all()
        assert not trained.covers(at.everything("both"), end * (1 - sign * 1e-6))[inside].any()


def test_a_planted_relation_to_the_measures_is_found_on_held_out_runs():
    judged = [judge(sweep(seed, seeds=60, by_measures=0.5, by_setting=0.1), "seeds") for seed in range(3)]
    for one in judged:
        assert all(gain.low > 0 for gain in one.gains.values())
        assert set(one.gains) == {"losses", "base_rate", "same_settings"}
    assert sum(one.knows for one in judged) >= 2


@pytest.mark.parametrize(
    "planted", [{}, {"by_losses": 0.4}, {"by_setting": 0.4}], ids=["nothing", "losses", "settings"]
)
def test_nothing_is_known_where_the_measures_say_nothing(planted):
    """No more than one in twenty such sweeps may be said to be foreseen; docs/STATISTICS.md has the number of 200."""
    for seed in range(4):
        found = judge(sweep(seed, **planted), "seeds")
        assert not found.knows
        assert found.why_not


def test_runs_that_are_not_held_out_do_not_judge():
    """A measure that tells the seed apart, but not new ones, knows nothing."""
    at = sweep(0, settings=2)
    at.measures[:] = np.eye(40)[[one[0] for one in at.seed]][:, :6]
    assert not judge(at, "seeds").knows


@pytest.mark.parametrize("held_out", HELD_OUT)
def test_every_run_is_predicted_once_by_runs_that_differ_in_what_is_held_out(held_out):
    at = sweep(0, seeds=7)
    predicted = np.zeros(len(at.time), dtype=int)
    for trained, tested in folds(at, held_out):
        predicted += tested
        for labels, kind in ((at.seed, "seeds"), (at.setting, "settings")):
            of = [{label for label, used in zip(labels, side, strict=True) if used} for side in (trained, tested)]
            assert of[0].isdisjoint(of[1]) == (held_out in {kind, "both"})
    assert (predicted == 1).all()


def test_too_few_runs_say_what_is_missing():
    for seeds in (8, 14):  # too few to train on, and too few to judge by
        assert "it takes 30" in (judge(sweep(0, seeds=seeds, settings=2), "seeds").why_not or "")
    assert "do not differ in their settings" in (judge(sweep(0, settings=1), "settings").why_not or "")


def test_intervals_that_cover_too_much_or_too_little_know_nothing_within_the_band():
    """A band with one standard error of a true 80 %: of 100 runs 71 to 89 may be covered."""
    better = {"losses": Estimate(0.1, 0.05, 0.2), "base_rate": Estimate(0.1, 0.05, 0.2)}
    known = [covered for covered in range(101) if why_not(better, wilson(covered, 100), 100) is None]
    assert known == list(range(71, 90))
    assert why_not(better | {"losses": Estimate(0.1, 0.0, 0.2)}, wilson(80, 100), 100) == (
        "on held-out runs it is not clearly better than the losses alone"
    )


def test_runs_of_one_seed_are_drawn_together():
    """Copies of a run say nothing new: the interval is that of the seeds, 1.96 standard errors of their mean."""
    of_seed = np.random.default_rng(0).normal(size=50)
    found = estimate(np.repeat(of_seed, 4), resampled([(i // 4,) for i in range(200)], 0))
    assert found.value == pytest.approx(of_seed.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * of_seed.std() / 50**0.5, rel=0.1)


def test_indicators_of_settings():
    assert indicators([(1,), (2,), (9,)], [(2,), (1,), (2,)]).tolist() == [[1, 0], [0, 1], [0, 0]]
    assert indicators([(1,)], [(1,)]).shape == (1, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Runs of two weight decays, analyzed; one that is longer than another of the same settings; one that was not analyzed."""
    place = tmp_path_factory.mktemp("runs")
    sizes = {"network": "one-hot", "p": 7, "d_mlp": 16, "train_fraction": 0.7, "lr": 1e-2, "threads": 1}
    for decay in (0.3, 1.0):
        for seed in (0, 1):
            made(place / f"{decay}-{seed}.tdw", **sizes, epochs=60, model_seed=seed, weight_decay=decay)
    made(place / "other" / "short.tdw", **sizes, epochs=40, model_seed=0, weight_decay=1.0)
    made(place / "bare.tdw", analyzed=False, **sizes, epochs=60, model_seed=2, weight_decay=1.0)
    return place


def made(path: Path, *, analyzed: bool = True, **settings) -> None:
    path.parent.mkdir(exist_ok=True)
    tdw.create(path, tdw.configure(**settings, checkpoints=f"0:{settings['epochs']}:10"))
    tdw.train(path)
    if analyzed:
        tdw.analyze(path)


class Altered:
    """A run of which everything after an epoch is different, and so is what depends on its last checkpoint."""

    def __init__(self, run: tdw.Run, epoch: int):
        self._run, self._epoch = run, epoch

    def __getattr__(self, name: str):
        value = getattr(self._run, name)
        if name in landmark.CURVES:
            value = value.copy()
            value[self._epoch + 1 :] = np.nan
        return value

    @property
    def checkpoints(self) -> list[int]:
        return [at for at in self._run.checkpoints if at <= self._epoch] + [self._epoch + 1]

    def series(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        values = self._run.series(name).copy()
        values[len(self.checkpoints) - 1 :] = 99
        if name in {"analysis/restricted_loss/loss", "analysis/excluded_loss/together"}:
            values[:, 0] = 99
        if name == "analysis/excluded_loss/alone":
            values[:] = 99
        return values[start:stop]


def known(run, epoch: int) -> dict[str, float]:
    return landmark.curve_features(run, epoch) | landmark.measure_features(run, epoch, epoch // 20 * 10)


def test_features_know_nothing_of_what_comes_later(folder):
    with tdw.open(folder / "1.0-0.tdw") as long, tdw.open(folder / "other" / "short.tdw") as short:
        expected = known(long, 40)
        assert set(landmark.measures()) <= set(expected) | {"gradient_symmetricity"}
        assert sum(map(math.isfinite, expected.values())) > 25
        assert known(short, 40) == pytest.approx(expected, nan_ok=True, abs=0)
        assert known(Altered(long, 40), 40) == pytest.approx(expected, nan_ok=True, abs=0)


def test_curve_features_are_levels_and_slopes_on_logarithmic_axes(planted):
    at = np.arange(201.0)
    test = np.where(at % 10 == 0, 100 * np.maximum(at, 1) ** -1.5, np.nan)
    with tdw.open(planted("run.tdw", np.full(201, 0.01), test)) as run:
        found = landmark.curve_features(run, 105)
    assert found["test_loss_slope"] == pytest.approx(-1.5)
    assert found["test_loss"] == pytest.approx(math.log10(100 * 100**-1.5))  # of epoch 100 alone
    assert (found["train_loss"], found["train_loss_slope"]) == pytest.approx((-2, 0))
    assert math.isnan(found["test_accuracy"])


def test_runs_at_risk_times_and_labels(planted, tmp_path, monkeypatch):
    at = np.arange(101.0)
    for name, generalized, decay in (("early", 30, 1.0), ("late", 70, 1.0), ("never", 999, 0.5)):
        planted(f"{name}.tdw", np.full(101, 0.01), np.where(at >= generalized, 0.05, 2.0), weight_decay=decay)
    long = np.arange(201)
    planted("over.tdw", np.full(201, 0.01), np.where(long >= 150, 0.05, 2.0))  # after the horizon, which is epoch 100
    planted("short.tdw", np.full(41, 0.01), np.full(41, 2.0))
    monkeypatch.setattr(landmark, "measure_features", lambda *_: {"size": 1.0})
    monkeypatch.setattr(Forecasts, "_checkpoints", (40, None))
    found = Forecasts(tdw.runs(tmp_path), 40)
    assert found.landmark.time.tolist() == [30, 60, 60]
    assert found.landmark.happened.tolist() == [True, False, False]
    assert found.landmark.setting == [(1.0,), (0.5,), (1.0,)]
    np.testing.assert_allclose(found.landmark.settings, [[0], [math.log10(0.5)], [0]])
    assert dict(found.left_out) == {"that had generalized by epoch 40": 1, "without a test loss after epoch 40": 1}
    with tdw.open(tmp_path / "early.tdw") as run:
        assert found.of(run).known == "generalized"


def test_few_runs_know_nothing_and_a_run_is_not_learned_from_when_it_is_forecast(folder, tmp_path):
    (one,), found = forecast(folder, folder / "1.0-1.tdw", at=20)
    assert (one.known, one.probability) == ("nothing", None)
    assert "held-out" in (one.why or "")
    assert found.left_out["without measures of epoch 20, which `tdw analyze` computes"] == 1
    assert found.runs == 4  # without it, and without the one that was not analyzed
    assert found.settings == ["weight_decay"]
    with pytest.raises(tdw.TdwError, match="at must be an integer of at least 1"):
        forecast(folder, at=0)
    none, empty = forecast(folder, at=5000)
    assert (none, empty.judgments) == ([], {})
    assert "6 without a test loss after epoch 5000" in (empty.why_none or "")
    with pytest.raises(tdw.TdwError, match="no run can be learned from"):
        assert empty.landmark
    made(tmp_path / "wide.tdw", network="one-hot", p=7, d_mlp=24, train_fraction=0.7, epochs=30, threads=1)
    (other,), _ = forecast(folder, tmp_path / "wide.tdw", at=20)
    assert "d_mlp" in (other.why or "")


def test_the_command_says_what_is_missing(folder, capsys):
    assert main(["forecast", str(folder), str(folder / "1.0-1.tdw"), "--at", "20"]) in (0, None)
    said = capsys.readouterr().out
    assert "as of epoch 20, nothing is known: " in said
    assert "it takes 30" in said
    assert "with the settings weight_decay" in said
    assert main(["forecast", str(folder), "--at", "20", "--json", "--without-settings"]) in (0, None)
    plain = json.loads(capsys.readouterr().out)
    assert plain["settings"] == []
    assert plain["judgments"]["seeds"]["knows"] is False


def test_a_forecast_is_given_where_it_was_good(folder, monkeypatch):
    """With a planted sweep in place of the folder's runs."""
    found = Forecasts(tdw.runs(folder), 20, with_settings=False)
    names = found._columns
    at = sweep(1, seeds=60, by_measures=0.5, settings=2, with_settings=False)
    wide = np.zeros((len(at.time), len(names[1])))
    wide[:, : at.measures.shape[1]] = at.measures
    planted = type(at)(**{**vars(at), "epoch": 20, "measures": wide, "curves": np.zeros((len(at.time), len(names[0])))})
    monkeypatch.setattr(Forecasts, "landmark", planted)
    monkeypatch.setattr("tdw.statistics.judgment.why_not", lambda *_: None)
    with tdw.open(folder / "0.3-1.tdw") as run:
        one = found.of(run)
    assert one.known == "forecast"
    assert one.held_out in {"seeds", "settings", "both"}
    assert one.low is not None
    assert one.median is not None
    assert one.high is not None
    assert 20 < one.low < one.median < one.high <= 1020
    assert 0 < (one.probability or 0) < 1
