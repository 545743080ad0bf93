"""Settings, their limits, and the checkpoint schedule."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tdw
from tdw import config, schedule
from tdw.cli import parser
from tdw.errors import ScheduleError, SettingError, UnknownNameError
from tdw.estimate import estimate
from tdw.interchange.hints import check_hints


def test_the_defaults_are_the_published_run():
    settings = tdw.configure()
    assert (settings.p, settings.train_fraction, settings.epochs) == (113, 0.3, 25_000)
    assert (settings.d_model, settings.heads, settings.d_head, settings.d_mlp) == (128, 4, 32, 512)
    assert (settings.lr, settings.weight_decay, settings.betas) == (1e-3, 1.0, (0.9, 0.98))
    assert (settings.model_seed, settings.data_seed) == (999, 598)
    assert schedule.parse(settings.checkpoints, 25_000) == schedule.parse("0:1500:100, 9000:13000:100, log:40", 25_000)


def test_a_setting_is_described_once_and_survives_its_json():
    described = {item.name: item for item in config.settings()}
    assert set(described) == {item.name for item in fields(tdw.RunConfig)}
    assert all(item.help and item.group for item in described.values())
    settings = tdw.configure(p=59, heads="2", betas="0.9, 0.95", checkpoints=[5, 0, 9], epochs=20)
    assert config.from_json(settings.to_json()) == settings
    assert settings.checkpoints == "5, 0, 9"


@pytest.mark.parametrize(
    ("given", "setting", "sentence"),
    [
        ({"p": 1}, "p", r"^--p must be an integer from 2 to 1000 \(got 1\)$"),
        ({"p": "eleven"}, "p", r"--p must be an integer from 2 to 1000 \(got eleven\)"),
        ({"p": 11.5}, "p", r"--p must be an integer from 2 to 1000 \(got 11.5\)"),
        ({"train_fraction": 0}, "train_fraction", r"a number greater than 0 and less than 1 \(got 0\)"),
        ({"train_fraction": "1"}, "train_fraction", r"a number greater than 0 and less than 1 \(got 1\)"),
        ({"train_fraction": "nan"}, "train_fraction", r"--train-fraction must be a number .* \(got nan\)"),
        (
            {"p": 2, "train_fraction": 0.1},
            "train_fraction",
            r"must be at least 0.25 and less than 1 for 4 pairs \(got 0.1, which leaves no training pairs\)",
        ),
        ({"heads": 3}, "heads", r"--heads must divide --d-model 128 \(got 3\)"),
        ({"d_mlp": -5}, "d_mlp", r"an integer from 1 to 16384"),
        ({"d_model": 10**9}, "d_model", r"from 1 to 4096"),
        ({"epochs": 0}, "epochs", r"from 1 to 10000000"),
        ({"lr": "inf"}, "lr", r"--lr must be a number .* \(got inf\)"),
        ({"betas": "0.9"}, "betas", r"two comma-separated numbers"),
        ({"betas": (0.9, 1.0)}, "betas", r"of at least 0 and less than 1 \(got 0.9,1\)"),
        ({"task": "cube"}, "task", r"must be one of add"),
        ({"device": "tpu"}, "device", r"one of auto, cpu, cuda"),
        ({"model_seed": -1}, "model_seed", r"from 0 to"),
        ({"p": "\u0663"}, "p", "--p must be an integer from 2 to 1000 \\(got \u0663\\)"),  # ARABIC-INDIC DIGIT THREE
        ({"p": "\uff15\uff19"}, "p", r"--p must be an integer"),  # fullwidth 59
        ({"lr": "0.\u0661"}, "lr", r"--lr must be a number"),
        ({"betas": "0.9,0.\u0669"}, "betas", r"two comma-separated numbers"),
        ({"p": True}, "p", r"--p .* \(got True\)"),
        ({"p": None}, "p", r"--p .* \(got None\)"),
    ],
)
def test_invalid_settings_are_refused(given, setting, sentence):
    with pytest.raises(SettingError, match=sentence) as caught:
        tdw.configure(**given)
    assert caught.value.setting == setting


def test_an_unknown_name_suggests_the_closest_one():
    with pytest.raises(UnknownNameError, match=r"no setting is named 'epoch': did you mean 'epochs'\?"):
        tdw.configure(epoch=5)


@pytest.mark.parametrize(
    ("text", "epochs", "kept"),
    [
        ("", 10, [0, 10]),
        ("5", 10, [0, 5, 10]),
        ("9, 3,3 ,", 10, [0, 3, 9, 10]),
        ("0:10:5", 12, [0, 5, 10, 12]),
        ("2:4", 12, [0, 2, 3, 4, 12]),
        ("log:3", 100, [0, 1, 10, 100]),
        ("even:3", 100, [0, 50, 100]),
        ("even:1", 100, [0, 100]),
        ("log:4", 1, [0, 1]),
    ],
)
def test_schedules(text, epochs, kept):
    assert schedule.parse(text, epochs) == kept


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0:9:x", r"invalid checkpoint schedule '0:9:x': each piece must be an epoch"),
        ("1, two", r"invalid checkpoint schedule 'two'"),
        ("-5", r"invalid checkpoint schedule '-5'"),
        ("1.5", r"invalid checkpoint schedule '1.5'"),
        ("0:100:0", r"'0:100:0' has step 0"),
        ("50:10:5", r"'50:10:5' ends before it starts: write 10:50:5"),
        ("0:200:10", r"'0:200:10' reaches epoch 200, but the run ends at 100"),
        ("101", r"'101' reaches epoch 101"),
        ("\u0661\u0662", r"invalid checkpoint schedule"),
        ("0:\u0669:1", r"invalid checkpoint schedule"),
        ("log:\u0664", r"invalid checkpoint schedule"),
        ("log:0", r"'log:0': N must be an integer from 1 to 100000"),
        ("0:999999999999:1", r"at most 100000 are allowed"),
    ],
)
def test_refused_schedules_quote_the_piece(text, sentence):
    with pytest.raises(ScheduleError, match=sentence):
        schedule.parse(text, 100)


@given(st.lists(st.integers(0, 500)), st.integers(500, 1000))
def test_any_list_of_epochs_is_sorted_and_includes_first_and_last(epochs, last):
    assert schedule.parse(schedule.text_of(epochs), last) == sorted({0, last, *epochs})


def test_estimated_sizes_are_those_of_a_finished_run(tmp_path):
    settings = tdw.configure(p=59, d_mlp=256, epochs=20, checkpoints="even:3", train_fraction=0.5)
    expected, path = estimate(settings), tmp_path / "run.tdw"
    tdw.create(path, settings)
    assert path.stat().st_size == pytest.approx(1e6 * expected.training_megabytes, rel=0.05)
    tdw.train(path)
    assert path.stat().st_size == pytest.approx(1e6 * expected.megabytes, rel=0.1)
    tdw.analyze(path)
    assert path.stat().st_size == pytest.approx(1e6 * expected.analyzed_megabytes, rel=0.05)


def test_estimates_grow_with_the_run_and_name_its_checkpoints():
    small, large = (estimate(tdw.configure(p=p, epochs=1000, checkpoints="even:11")) for p in (29, 113))
    assert small.checkpoints == large.checkpoints == 11
    assert 0 < small.megabytes < large.megabytes
    assert 0 < small.analyzed_megabytes < large.analyzed_megabytes
    assert 0 < small.seconds < large.seconds


@pytest.mark.parametrize(
    "words", ["branch a b --at \u0663", "export a b --as x --epoch \u0663", "open --port \u0667\u0669\u0669\u0665"]
)
def test_digits_of_other_scripts_are_no_numbers_of_commands(words, capsys):
    with pytest.raises(SystemExit):
        parser.parse(words.split())
    assert "must be an integer (got " in capsys.readouterr().err


def test_digits_of_other_scripts_are_no_hints():
    for name in ("epoch", "test_stride", "data_seed"):
        with pytest.raises(SettingError, match=f"--{name.replace('_', '-')} must be"):
            check_hints({name: "\u0663"})
