"""Settings, their limits, and the checkpoint schedule."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tdw
from tdw import config, schedule
from tdw.errors import ScheduleError, SettingError, UnknownNameError
from tdw.estimate import estimate


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
        ({"p": 1}, "p", r"--p must be an integer from 2 to 1000 \(got 1\)"),
        ({"p": "eleven"}, "p", r"--p must be an integer .*\(got eleven\)"),
        ({"p": 11.5}, "p", r"--p must be an integer .*\(got 11\.5\)"),
        ({"train_fraction": 0}, "train_fraction", r"greater than 0 and less than 1"),
        ({"train_fraction": "1"}, "train_fraction", r"greater than 0 and less than 1"),
        ({"train_fraction": "nan"}, "train_fraction", r"--train-fraction must be .*\(got nan\)"),
        ({"p": 2, "train_fraction": 0.1}, "train_fraction", r"of the 4 pairs leaves no train pair: give at least 0.25"),
        ({"heads": 3}, "heads", r"--heads 3 does not divide --d-model 128"),
        ({"d_mlp": -5}, "d_mlp", r"an integer from 1 to 16384"),
        ({"d_model": 10**9}, "d_model", r"from 1 to 4096"),
        ({"epochs": 0}, "epochs", r"from 1 to 10000000"),
        ({"lr": "inf"}, "lr", r"--lr must be .*\(got inf\)"),
        ({"betas": "0.9"}, "betas", r"two numbers separated by a comma"),
        ({"betas": (0.9, 1.0)}, "betas", r"1 excluded"),
        ({"task": "cube"}, "task", r"must be one of add"),
        ({"device": "tpu"}, "device", r"one of auto, cpu, cuda"),
        ({"model_seed": -1}, "model_seed", r"from 0 to"),
        ({"p": True}, "p", r"\(got True\)"),
        ({"p": None}, "p", r"\(got None\)"),
    ],
)
def test_what_is_refused_and_why(given, setting, sentence):
    with pytest.raises(SettingError, match=sentence) as caught:
        tdw.configure(**given)
    assert caught.value.setting == setting


def test_an_unknown_name_is_answered_with_the_nearest():
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
        ("0:9:x", r"'0:9:x' is not understood: each piece is an epoch"),
        ("1, two", r"'two' is not understood"),
        ("-5", r"'-5' is not understood"),
        ("1.5", r"'1.5' is not understood"),
        ("0:100:0", r"'0:100:0' has step 0"),
        ("50:10:5", r"'50:10:5' runs backwards: write 10:50:5"),
        ("0:200:10", r"'0:200:10' reaches epoch 200, but the run ends at 100"),
        ("101", r"'101' reaches epoch 101"),
        ("log:0", r"'log:0': N must lie between"),
        ("0:999999999999:1", r"at most 100000 are allowed"),
    ],
)
def test_refused_schedules_quote_the_piece(text, sentence):
    with pytest.raises(ScheduleError, match=sentence):
        schedule.parse(text, 100)


@given(st.lists(st.integers(0, 500)), st.integers(500, 1000))
def test_any_list_of_epochs_comes_back_sorted_with_first_and_last(epochs, last):
    assert schedule.parse(schedule.text_of(epochs), last) == sorted({0, last, *epochs})


def test_estimates_grow_with_the_run_and_name_its_checkpoints():
    small, large = (estimate(tdw.configure(p=p, epochs=1000, checkpoints="even:11")) for p in (29, 113))
    assert small.checkpoints == large.checkpoints == 11
    assert 0 < small.megabytes < large.megabytes
    assert 0 < small.analyzed_megabytes < large.analyzed_megabytes
    assert 0 < small.seconds < large.seconds
