"""The study in examples/weight_decay, with fewer runs and epochs."""

import importlib.util
import tomllib
from pathlib import Path

import pytest

import tdw
from tests.sweeps.small import alone, content

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "weight_decay"


@pytest.mark.long
def test_a_small_part_of_the_study(tmp_path, capsys):
    grid = tomllib.loads((EXAMPLE / "grid.toml").read_text())
    assert len(tdw.plan_sweep(tmp_path / "all", file=EXAMPLE / "grid.toml").new) == 200
    fewer = {
        "model_seed": "0-2",
        "weight_decay": "0.3,1.2",
        "train_fraction": 0.85,
        "epochs": 1000,
        "checkpoints": "even:5",
    }
    result = tdw.sweep(tmp_path / "runs", file=EXAMPLE / "grid.toml", jobs=2, analyze=True, **fewer)
    assert result.counts == {"finished": 6}
    own = {name: value for name, value in (grid | fewer).items() if name not in {"model_seed", "weight_decay"}}
    path = tmp_path / "runs" / "weight_decay=1.2,model_seed=1.tdw"
    assert content(path) == alone(tmp_path / "alone", **own, model_seed=1, weight_decay=1.2)
    specification = importlib.util.spec_from_file_location("study", EXAMPLE / "study.py")
    study = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(study)
    study.study(tmp_path / "runs", tmp_path / "figures")
    printed = capsys.readouterr().out
    assert "6 runs" in printed
    generalized = dict.fromkeys((0.3, 1.2), 0)
    for file in (tmp_path / "runs").glob("*.tdw"):
        with tdw.open(file) as run:
            generalized[run.config.weight_decay] += bool((run.test_loss < 0.1).any())
    assert generalized[1.2] > 0
    assert sum(generalized.values()) < 6
    for decay, number in generalized.items():
        assert f"\n{decay:<12}     3  {number:>11}  " in printed
    assert f"delays: {6 - sum(generalized.values())} of 6 censored" in printed
    assert sorted(file.name for file in (tmp_path / "figures").iterdir()) == [
        "delay.html",
        "frequencies.html",
        "phase.html",
        "test_loss.html",
    ]
