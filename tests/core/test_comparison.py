"""Comparing runs: differences are found, equal values are reported as equal, unknown values as unknown."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

import tdw
from tdw import text_format
from tdw.cli import main, report
from tdw.errors import NotAProjectError, TdwError
from tdw.network import parameters
from tdw.operations import compare


@pytest.fixture
def branch(tiny_run, tmp_path):
    """A branch of the tiny run at epoch 20, without weight decay from there on, trained to its end."""
    path = tmp_path / "branch.tdw"
    tdw.branch(tiny_run, path, 20, weight_decay=0)
    tdw.train(path)
    return path


def trained(path, **settings):
    tdw.create(path, tdw.configure(**settings))
    tdw.train(path)
    return path


def test_a_branch_is_its_origin_up_to_where_it_left(tiny_run, branch):
    found = tdw.compare(tiny_run, branch)
    assert found.paths == [str(tiny_run), str(branch)]
    assert found.different == {"weight_decay": ["1", "0"]}
    assert found.same["p"] == "7"
    assert found.facts["origin"] == ["new run", "branch"]
    (against,) = found.against
    with tdw.open(tiny_run) as one, tdw.open(branch) as other:
        # The first epoch whose weights differ is the one after the branch; all written out, one epoch at a time.
        for curve in against.curves:
            pairs = enumerate(zip(getattr(one, curve.name), getattr(other, curve.name), strict=True))
            both = {epoch: abs(x - y) for epoch, (x, y) in pairs if not np.isnan(x + y)}
            assert curve.epochs == len(both)
            assert curve.differs == next((epoch for epoch, gap in both.items() if gap), None)
            assert curve.largest == max(both.values())
            assert curve.at is None or both[curve.at] == curve.largest
        assert against.curves[0].name == "train_loss"
        assert against.curves[0].differs == 21
        assert (against.weights.checkpoints, against.weights.differs, against.weights.last) == (9, 25, 40)
        first, second = (
            np.concatenate([run.weights(40)[name].ravel() for name in parameters.shapes(run.config)]).astype(float)
            for run in (one, other)
        )
        apart = np.linalg.norm(first - second) / np.linalg.norm(first)
        assert against.weights.distance == pytest.approx(apart, rel=1e-12)
        assert 0 < apart < 1


def test_facts_are_those_of_each_run(tiny_run, branch):
    found = tdw.compare(tiny_run, branch)
    for index, path in enumerate((tiny_run, branch)):
        with tdw.open(path) as run:
            told_of = {name: texts[index] for name, texts in found.facts.items()}
            assert told_of["last train loss"] == f"{run.train_loss[-1]:.6g}"
            for event in run.events():
                expected = event.missing if event.first is None else text_format.between(event.first)
                assert told_of[event.label] == expected
            assert told_of["key frequencies"] == "not measured"
    tdw.analyze(branch, only="key_frequencies")
    with tdw.open(branch) as run:
        keys = run.keys
    assert tdw.compare(tiny_run, branch).facts["key frequencies"] == [
        "not measured",
        f"{', '.join(map(str, keys.frequencies)) or 'none'} ({keys.rule})",
    ]


def test_a_repeated_run_is_equal(tiny, tiny_run, tmp_path):
    again = trained(tmp_path / "again.tdw", **tiny.to_json())
    for other in (again, tiny_run):
        found = tdw.compare(tiny_run, other)
        assert found.different == {}
        (against,) = found.against
        assert [(curve.differs, curve.largest, curve.at) for curve in against.curves] == [(None, 0.0, None)] * 4
        assert [curve.epochs for curve in against.curves] == [41, 17, 41, 17]
        assert asdict(against.weights) == {"checkpoints": 9, "differs": None, "last": 40, "distance": 0.0}


def test_runs_of_other_shapes_lengths_and_checkpoints(tiny, tiny_run, tmp_path):
    wider = trained(tmp_path / "wider.tdw", **{**tiny.to_json(), "d_mlp": 16})
    shorter = trained(tmp_path / "shorter.tdw", **{**tiny.to_json(), "epochs": 12, "checkpoints": "3,12"})
    found = tdw.compare(tiny_run, wider, shorter)
    assert found.different["d_mlp"] == ["12", "16", "12"]
    assert found.against[0].weights is None
    assert found.against[1].curves[0].epochs == 13
    assert found.against[1].curves[0].differs is None
    # Epoch 0 is always kept; no other checkpoint is in both.
    assert asdict(found.against[1].weights) == {"checkpoints": 1, "differs": None, "last": 0, "distance": 0.0}


def test_missing_settings_of_an_imported_run_are_unknown(tiny_run, tmp_path):
    torch = pytest.importorskip("torch")
    source = tmp_path / "losses.pth"
    torch.save({"train_losses": [2.0, 1.0, 0.05], "test_losses": [2.0, 3.0, 0.01]}, source)
    tdw.import_run(source, tmp_path / "losses.tdw")
    found = tdw.compare(tiny_run, tmp_path / "losses.tdw")
    assert found.different["p"] == ["7", "unknown"]
    assert found.different["lr"] == ["0.001", "unknown"]
    assert not found.same.keys() & {"task", "d_model", "network"}
    assert found.facts["origin"] == ["new run", "import"]
    assert found.facts["test accuracy at least 0.99"] == ["not reached", "not recorded"]
    train, test, *accuracies = found.against[0].curves
    with tdw.open(tiny_run) as run:
        gap = np.abs(run.train_loss[:3] - [2.0, 1.0, 0.05])
        assert (train.epochs, train.differs, train.largest) == (3, 0, gap.max())
        assert (test.epochs, test.at) == (1, 0)
    assert [(curve.epochs, curve.differs, curve.largest) for curve in accuracies] == [(0, None, None)] * 2
    # Settings that are unknown in both runs do not count as equal.
    assert "lr" not in tdw.compare(tmp_path / "losses.tdw", tmp_path / "losses.tdw").same


def test_the_distance_from_zero_weights_is_undefined(tiny, tiny_run, tmp_path):
    path = tmp_path / "zero.tdw"
    zero = {name: np.zeros(shape, np.float32) for name, shape in parameters.shapes(tiny).items()}
    tdw.create(path, replace(tiny, epochs=1, checkpoints=""), weights=zero)
    tdw.train(path, stop=lambda: True)
    (against,) = tdw.compare(path, tiny_run).against
    assert asdict(against.weights) == {"checkpoints": 1, "differs": 0, "last": 0, "distance": None}
    assert "  weights: differ from checkpoint 0" in report.comparison(tdw.compare(path, tiny_run))


def test_a_comparison_needs_two_runs(tiny_run, tmp_path):
    with pytest.raises(TdwError, match=r"needs at least two runs \(got 1\)"):
        tdw.compare(tiny_run)
    with pytest.raises(TdwError, match=r"needs at least two runs \(got 0\)"):
        tdw.compare()
    with pytest.raises(NotAProjectError, match=r"nothing\.tdw does not exist"):
        tdw.compare(tiny_run, tmp_path / "nothing.tdw")


def test_the_command_in_columns_and_as_json(tiny_run, branch, capsys):
    before = [path.read_bytes() for path in (tiny_run, branch)]
    assert main.main(["compare", str(tiny_run), str(branch)]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0].split() == ["tiny.tdw", "branch.tdw"]
    assert lines[1].split() == ["weight_decay", "1", "0"]
    assert lines[1].index("1") == lines[0].index("tiny.tdw")
    assert lines[1].index("0") == lines[0].index("branch.tdw")
    assert "branch.tdw compared with tiny.tdw:" in lines
    assert any(line.startswith("  train loss: differs from epoch 21, by at most ") for line in lines)
    assert any(line.startswith("  weights: differ from checkpoint 25; relative distance ") for line in lines)
    assert main.main(["compare", str(tiny_run), str(branch), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == asdict(compare.compare(tiny_run, branch))
    assert main.main(["compare", str(tiny_run)]) == 2
    assert "at least two runs" in capsys.readouterr().err
    assert [path.read_bytes() for path in (tiny_run, branch)] == before


def test_files_of_the_same_name_are_distinguished_and_names_are_escaped(tiny_run, tmp_path, capsys):
    folder = tmp_path / "other"
    folder.mkdir()
    copy = folder / tiny_run.name
    copy.write_bytes(tiny_run.read_bytes())
    lines = report.comparison(tdw.compare(tiny_run, copy))
    assert lines[0].split() == [report.cut(str(tiny_run), report.COLUMN), report.cut(str(copy), report.COLUMN)]
    assert "  weights: equal bit for bit at all 9 common checkpoints" in lines
    strange = tmp_path / "a\x1b[31mb.tdw"
    strange.write_bytes(tiny_run.read_bytes())
    assert main.main(["compare", str(tiny_run), str(strange)]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "a␛[31mb.tdw" in printed


def test_only_settings_that_apply_to_a_run_are_compared(tiny_run, tmp_path):
    same = tdw.compare(tiny_run, tiny_run).same
    assert not {"layers", "momentum", "lion_betas"} & same.keys()
    assert same["betas"] == "0.9,0.98"
    with tdw.open(tiny_run) as run:
        other = {**run.config.to_json(), "optimizer": "sgd"}
    other.pop("betas")
    tdw.new(tmp_path / "sgd.tdw", **other)
    different = tdw.compare(tiny_run, tmp_path / "sgd.tdw").different
    assert different["betas"] == ["0.9,0.98", "does not apply"]
    assert different["momentum"] == ["does not apply", "0.9"]
    assert "layers" not in different
