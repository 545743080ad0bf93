"""What is typed or written in a TOML file becomes the runs that it means."""

import math

import pytest

import tdw
from tdw.config import settings
from tdw.errors import SettingError, UnknownNameError
from tdw.sweeps.grid import Grid, configured, grids, values_of

NAMED = {item.name: item for item in settings()}


@pytest.mark.parametrize(
    ("name", "given", "values"),
    [
        ("model_seed", "0-3", (0, 1, 2, 3)),
        ("model_seed", " 0 - 10 : 5 , 7", (0, 5, 10, 7)),
        ("model_seed", "4", (4,)),
        ("model_seed", "3,1,3", (3, 1)),
        ("model_seed", range(2), (0, 1)),
        ("model_seed", ["0-1", 5], (0, 1, 5)),
        ("weight_decay", "0.3,1,3", (0.3, 1.0, 3.0)),
        ("weight_decay", [1, 2.5], (1.0, 2.5)),
        ("lr", "1e-3;1e-4", (1e-3, 1e-4)),
        ("betas", "0.9,0.98", ((0.9, 0.98),)),
        ("betas", "0.9,0.98; 0.9,0.999", ((0.9, 0.98), (0.9, 0.999))),
        ("betas", (0.9, 0.99), ((0.9, 0.99),)),
        ("betas", [[0.9, 0.98], [0.9, 0.99]], ((0.9, 0.98), (0.9, 0.99))),
        ("checkpoints", "0:40:10, 5; even:3", ("0:40:10, 5", "even:3")),
        ("activation", "relu,gelu", ("relu", "gelu")),
        ("p", {"linear": [11, 31, 3]}, (11, 21, 31)),
        ("lr", {"log": [1e-4, 1e-2, 3]}, (1e-4, 1e-3, 1e-2)),
    ],
)
def test_values(name, given, values):
    assert values_of(NAMED[name], given) == values


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("model_seed", "5-3", "5-3 is an empty range"),
        ("model_seed", "0-9:0", "has steps of 0"),
        ("model_seed", "0-999999999", "more than 100000 values"),
        ("model_seed", "a-b", "--model-seed must be an integer"),
        ("model_seed", "1,,2", "--model-seed must be an integer .*got nothing"),
        ("weight_decay", "0.3,-1", "--weight-decay must be a number"),
        ("weight_decay", [], "needs at least one value"),
        ("weight_decay", {"log": [0, 1, 3]}, "ends above 0"),
        ("weight_decay", {"linear": [0, 1, 0]}, "a number of values from 1"),
        ("weight_decay", {"linear": [0, 1]}, "three numbers"),
        (
            "p",
            {"linear": [11, 31, 4]},
            r"must have steps that are whole numbers, as p is an integer: give another number",
        ),
        ("weight_decay", {"logarithmic": [1, 2, 3]}, r"one of \{linear"),
        ("activation", {"linear": [0, 1, 2]}, "three numbers"),
    ],
)
def test_refused_values(name, given, message):
    with pytest.raises(SettingError, match=message):
        values_of(NAMED[name], given)


def test_a_grid_is_all_combinations():
    (grid,) = grids({"weight_decay": "0.3,1", "model_seed": "0-2"})
    assert grid.count == 6
    assert [(run["model_seed"], run["weight_decay"]) for run in grid.runs()] == [
        (seed, decay) for seed in range(3) for decay in (0.3, 1.0)
    ]


def test_a_file_with_several_grids(tmp_path):
    file = tmp_path / "grid.toml"
    file.write_text('p = 7\nheads = 2\n[[grid]]\nmodel-seed = "0-2"\n[[grid]]\nlr = [1e-3, 1e-2]\nmodel_seed = 1\n')
    runs = configured(grids({"d_model": "8"}, file))
    # seed 1 with the default learning rate is in both
    assert sorted((c.model_seed, c.lr) for c, _ in runs.values()) == [(0, 1e-3), (1, 1e-3), (1, 1e-2), (2, 1e-3)]
    assert {(c.p, c.d_model, c.heads) for c, _ in runs.values()} == {(7, 8, 2)}
    assert len(configured(grids({"model_seed": [5]}, file))) == 2  # given settings take the place of the file's


def test_more_draws_add_runs_and_change_none(tmp_path):
    file = tmp_path / "grid.toml"
    text = (
        "draws = {}\nseed = 3\nlr = {{log_uniform = [1e-5, 1e-1]}}\nweight_decay = {{uniform = [0, 2]}}\n"
        'd_mlp = {{integers = [8, 10]}}\nactivation = {{choice = ["relu", "gelu"]}}\nmodel_seed = "0-1"\n'
    )
    runs = []
    for draws in (50, 400):
        file.write_text(text.format(draws))
        runs.append(list(grids({}, file)[0].runs()))
    assert len(runs[0]) == 100
    assert len(runs[1]) == 800
    assert runs[1][:100] == runs[0]
    found = {name: [run[name] for run in runs[1]] for name in runs[1][0]}
    assert set(found["d_mlp"]) == {8, 9, 10}
    assert set(found["activation"]) == {"relu", "gelu"}
    assert all(1e-5 <= lr <= 1e-1 for lr in found["lr"])
    # Three standard errors of 400 uniform draws around the middle, the learning rate on its logarithmic axis.
    bound = 3 / math.sqrt(12 * 400)
    assert abs(sum(found["weight_decay"]) / 800 / 2 - 0.5) < bound
    assert abs(sum(math.log10(lr) + 5 for lr in found["lr"]) / 800 / 4 - 0.5) < bound
    assert found["lr"][0] == found["lr"][1] != found["lr"][2]  # each draw with both seeds
    file.write_text(text.format(50).replace("seed = 3", "seed = 4"))
    assert all(a != b for a, b in zip(runs[0], grids({}, file)[0].runs(), strict=True))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("lr = {uniform = [0.1, 1]}", SettingError, "say how many times, such as draws = 20"),
        ("draws = 3\nlr = 1", SettingError, "needs a random setting"),
        ("draws = -1\nlr = {uniform = [0.1, 1]}", SettingError, "draws must be an integer"),
        ("draws = 2\nlr = {uniform = [1, 0.1]}", SettingError, "the lower one first"),
        ("draws = 2\nlr = {uniform = [0.1, 99]}", SettingError, "--lr must be"),
        ("draws = 2\nlr = {integers = [1, 2]}", SettingError, "two numbers"),
        ("draws = 2\nlr = {log_uniform = [0, 1]}", SettingError, "the lower one first"),
        ("draws = 2\nactivation = {choice = []}", SettingError, "nothing to choose"),
        ("learning_rate = 1", UnknownNameError, "learning_rate"),
        ("grid = 3", SettingError, r"\[\[grid\]\]"),
        ("p = ", SettingError, "is not TOML"),
        ("model_seed = '0-399'\ndata_seed = '0-399'", SettingError, "at most 100000 runs .*160000"),
    ],
)
def test_refused_files(tmp_path, text, error, message):
    file = tmp_path / "grid.toml"
    file.write_text(text)
    with pytest.raises(error, match=message):
        grids({}, file)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SettingError, match="cannot be read: No such file"):
        grids({}, tmp_path / "none.toml")


def test_a_refused_combination_is_named():
    with pytest.raises(SettingError, match=r"--heads must divide .*\(in the run with d_model 10, heads 4\)"):
        configured(grids({"d_model": "8,10", "heads": "2,4"}))


def test_the_device_and_the_threads_make_no_other_run():
    runs = configured([Grid({"p": (7,), "threads": (1, 2)}), Grid({"p": (7,), "device": ("cpu",)})])
    assert len(runs) == 1
    assert next(iter(runs.values()))[0] == tdw.configure(p=7, threads=1)
