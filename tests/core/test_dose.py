"""Dose curves: which branches are made, that they are compared as said, and that an interrupted curve goes on."""

import json
import shutil

import numpy as np
import pytest

import tdw
from tdw.cli import main
from tdw.counterfactual import dose as dosing
from tdw.counterfactual.dose import Delay, compared
from tdw.errors import AlreadyExistsError, ProjectError, SettingError, StoppedError
from tdw.operations import branch as branching
from tdw.sweeps.work import Work

ARGUMENTS = {
    "edits": ["remove-frequency:2@W_E", "scale:W_in=1.1", "reset-optimizer:W_E"],
    "at": [100, 590],
    "random": 2,
}


@pytest.fixture(scope="module")
def grokked(tmp_path_factory):
    """A run that memorizes at epoch 41 and generalizes between 580 and 582."""
    path = tmp_path_factory.mktemp("grokked") / "run.tdw"
    sizes = {"p": 13, "d_model": 32, "heads": 2, "d_mlp": 64, "lr": 0.01, "train_fraction": 0.8, "threads": 1}
    tdw.create(path, tdw.configure(**sizes, epochs=600, evaluate_every=2, checkpoints="0:600:20,590"))
    tdw.train(path)
    with tdw.open(path) as run:
        assert run.grokking().delay is not None
        assert (run.planned_epochs, 590 in run.checkpoints) == (600, True)
    return path


@pytest.fixture(scope="module")
def curve(grokked, tmp_path_factory):
    folder = tmp_path_factory.mktemp("curve") / "doses"
    return tdw.dose(grokked, folder, **ARGUMENTS), folder


def first_below(losses, start=0):
    """The first epoch at which a loss is below 0.1, plainly."""
    return next((epoch for epoch, loss in enumerate(losses) if epoch >= start and loss < 0.1), None)


def test_each_epoch_has_the_edit_and_random_edits_that_change_each_weight_as_much(grokked, curve):
    found, folder = curve
    names = {f"{kind}-at-{at}.tdw" for kind in ("edit", "random-1", "random-2") for at in (100,)}
    assert {path.name for path in folder.iterdir()} == names
    with tdw.open(grokked) as origin:
        for dose in found.doses[:1]:
            before, sizes = origin.weights(dose.at), {}
            for kind in ("edit", "random-1", "random-2"):
                with tdw.open(folder / f"{kind}-at-{dose.at}.tdw") as run:
                    after = run.weights(dose.at)
                    assert np.array_equal(run.train_loss[: dose.at], origin.train_loss[: dose.at])
                    assert run.branched.edits[-1] == {"edit": "reset-optimizer", "weights": ["embed.W_E"]}
                    assert run.checkpoints == [0, *([dose.at] if dose.at else []), 600]
                sizes[kind] = {n: np.linalg.norm(after[n].astype(float) - before[n]) for n in before}
            changed = {name for name, size in sizes["edit"].items() if size}
            assert changed == {"embed.W_E", "blocks.0.mlp.W_in"}
            for kind in ("random-1", "random-2"):
                assert sizes[kind] == pytest.approx(sizes["edit"], rel=1e-5)
            assert dose.norm == pytest.approx(np.sqrt(sum(size**2 for size in sizes["edit"].values())))


def test_delays_are_those_of_the_curves_in_the_files(curve):
    found, folder = curve
    assert [dose.at for dose in found.doses] == [100, 590]
    censored = 0
    for dose in found.doses[:1]:
        for delay in (dose.delay, *dose.null):
            with tdw.open(folder / delay.file) as run:
                memorized, generalized = first_below(run.train_loss), first_below(run.test_loss)
                if generalized is None:
                    censored += 1
                    assert (delay.censored, delay.epochs) == (True, 600 - memorized)
                else:
                    assert (delay.censored, delay.epochs) == (False, generalized - memorized)
    assert found.doses[1].delay is None, "it generalized before"
    assert (found.doses[1].null, found.doses[1].p) == ((), None)
    assert found.edits[0] == "frequency 2 removed from embed.W_E"


def plain_p(own, null):
    """How many of the null are at least as far from the mean of all."""
    pool = np.array([own, *null], float)
    away = np.abs(pool - pool.mean())
    return (away >= away[0] - 1e-9).sum() / len(pool)


def plain_corrected(rows):
    """For each row, how many columns have in any row a distance from its mean, in standard deviations, as large as column 0 here."""
    away = [[abs(value - np.mean(row)) / np.std(row) for value in row] for row in np.array(rows, float)]
    furthest = [max(column) for column in zip(*away, strict=True)]
    return [(1 + sum(far >= row[0] - 1e-9 for far in furthest[1:])) / len(row) for row in away]


def test_comparison_with_planted_delays():
    null = [Delay("r", epochs) for epochs in (480, 500, 510, 520, 530, 490, 505, 515, 525)]
    cut_off = [*null[:4], *(Delay("c", 900, censored=True) for _ in range(5))]
    found = {
        0: [Delay("e", 900), *null],
        100: [Delay("e", 507), *null],
        200: [Delay("e", 950, censored=True), *null],
        300: [Delay("e", 905), *cut_off],
        400: [Delay("e", 700)],
    }
    norms = dict.fromkeys([*found, 500], 1.5)
    doses = {dose.at: dose for dose in compared(found, norms)}
    assert (doses[0].median, doses[0].low, doses[0].high) == ("510", "480", "530")
    assert (doses[300].median, doses[300].low, doses[300].high) == (">900", "480", ">900")
    for at in (0, 100, 200, 300):
        own, *others = found[at]
        assert doses[at].p == pytest.approx(plain_p(own.epochs, [other.epochs for other in others])), at
    corrected = plain_corrected([[delay.epochs for delay in found[at]] for at in (0, 100, 200, 300)])
    assert [doses[at].corrected for at in (0, 100, 200, 300)] == pytest.approx(corrected)
    assert doses[0].p == pytest.approx(0.1)
    assert doses[100].p == 1
    assert (doses[400].p, doses[400].median, doses[400].delay.epochs) == (None, "", 700)
    assert (doses[500].delay, doses[500].norm) == (None, 1.5)


def test_under_the_null_p_values_are_not_small_more_often_than_they_say():
    generator, small, corrected = np.random.default_rng(0), 0, 0
    for _ in range(400):
        draws = generator.integers(300, 900, (3, 20))
        found = {at: [Delay("x", int(d), censored=bool(d > 800)) for d in row] for at, row in enumerate(draws)}
        doses = compared(found, dict.fromkeys(found, 1.0))
        small += sum(dose.p <= 0.1 for dose in doses)
        corrected += any(dose.corrected <= 0.1 for dose in doses)
    assert small / 1200 == pytest.approx(0.1, abs=0.03)
    assert corrected / 400 <= 0.14


def test_a_stopped_curve_goes_on_with_what_is_missing(grokked, curve, tmp_path, monkeypatch):
    found, made = curve
    folder = tmp_path / "doses"
    with pytest.raises(StoppedError, match=r"0 of 3 branches in .*doses are finished. Run the same command again"):
        tdw.dose(grokked, folder, **ARGUMENTS, stop=lambda: len(list(folder.glob("*.tdw"))) == 3)
    states = {}
    for path in folder.iterdir():
        with tdw.open(path) as run:
            states[path.name] = (run.state, len(run.epochs) > 101)
    assert states == {
        "edit-at-100.tdw": ("unfinished", False),
        "random-1-at-100.tdw": ("unfinished", False),
        "random-2-at-100.tdw": ("unfinished", False),
    }
    shutil.copy(made / "random-1-at-100.tdw", folder)  # finished meanwhile
    before = (folder / "random-1-at-100.tdw").read_bytes()
    (folder / "random-2-at-100.tdw").unlink()
    told = []
    assert tdw.dose(grokked, folder, **ARGUMENTS, progress=told.append) == found
    assert (folder / "random-1-at-100.tdw").read_bytes() == before
    assert told[-1].counts == {"finished": 2}  # one was finished meanwhile
    for path in folder.iterdir():
        with tdw.open(path) as run, tdw.open(made / path.name) as other:
            assert np.array_equal(run.train_loss, other.train_loss), path.name
    trained = []
    monkeypatch.setattr(dosing, "work", lambda *_, only, **__: trained.append(only))
    assert tdw.dose(grokked, folder, **ARGUMENTS) == found
    assert trained == []
    with pytest.raises(AlreadyExistsError, match=r"edit-at-100.tdw already exists"):
        tdw.dose(grokked, folder, **ARGUMENTS | {"edits": ["scale:W_E=2"]})


def test_branches_can_be_densified(curve, tmp_path):
    _, folder = curve
    shutil.copy(folder / "random-1-at-100.tdw", tmp_path / "copy.tdw")
    assert tdw.densify(tmp_path / "copy.tdw", "60,300") == [60, 300]


def test_a_branch_that_diverges_is_censored_and_not_trained_again(grokked, tmp_path):
    given = {"edits": ["scale:all=1"], "at": "100", "random": 0, "lr": 9.9, "weight_decay": 100, "epochs": 700}
    found = tdw.dose(grokked, tmp_path / "doses", **given)
    (dose,) = found.doses
    with tdw.open(tmp_path / "doses" / "edit-at-100.tdw") as run:
        assert run.diverged is not None
        assert dose.delay == Delay("edit-at-100.tdw", 700 - first_below(run.train_loss), censored=True, diverged=True)
    assert tdw.dose(grokked, tmp_path / "doses", **given) == found


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"at": ""}, r"--at must name epochs: .* \(got nothing\)"),
        ({"at": "700"}, "reaches epoch 700, but the run ends at 600"),
        (
            {"at": "600"},
            r"--epochs must be greater than 600, where the branch starts \(got 600\): give more, or branch earlier",
        ),
        ({"random": -1}, r"--random must be a number of branches from 0 to 100000 \(got -1\)"),
        ({"random": "many"}, "--random must be a number of branches"),
        ({"edits": ["freeze:W_E"]}, r"--random needs edits that change weights, .* \(got 2\): give --random 0"),
        ({"edits": ["scale"]}, "--edit scale must have the form"),
        ({"lr": -1}, "--lr must be"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(grokked, tmp_path, changes, sentence):
    with pytest.raises(SettingError, match=sentence):
        tdw.dose(grokked, tmp_path / "doses", **ARGUMENTS | changes)
    assert not any(tmp_path.iterdir())


def test_the_command_prints_the_table(grokked, curve, capsys):
    found, folder = curve
    given = [item for text in ARGUMENTS["edits"] for item in ("--edit", text)]
    line = ["dose", str(grokked), str(folder), *given, "--at", "100,590", "--random", "2"]
    assert main.main(line) == 0
    said = capsys.readouterr().out.splitlines()
    header = next(index for index, text in enumerate(said) if text.split()[:2] == ["edited", "at"])
    rows = [text.split() for text in said[header + 1 : header + 3]]
    assert [row[0] for row in rows] == ["100", "590"]
    assert [row[2] for row in rows[:1]] == [dose.delay.text for dose in found.doses[:1]]
    assert rows[1][2:] == ["generalized", "before"]
    assert rows[0][3] == found.doses[0].median
    assert any("edit: frequency 2 removed from embed.W_E" in text for text in said)
    censored = sum(delay.censored for dose in found.doses[:1] for delay in (dose.delay, *dose.null))
    assert any(text.startswith(f"> {censored} of 3 branches did not generalize") for text in said) == (censored > 0)
    assert main.main([*line, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["doses"][0]["delay"]["epochs"] == found.doses[0].delay.epochs


def test_without_an_event_there_is_no_p_value():
    none = [Delay(f"{number}.tdw", 100 + number, censored=True) for number in range(20)]
    some = [Delay("edit.tdw", 50), *none[1:]]
    without, with_one = compared({0: none, 50: some}, {0: 1.0, 50: 1.0})
    assert (without.p, without.corrected, len(without.null)) == (None, None, 19)
    assert with_one.p == with_one.corrected == 0.05


def test_a_stop_does_not_hide_a_branch_that_failed(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in ("a", "b")]
    done = Work(tmp_path, {paths[0]: ("failed", "no room"), paths[1]: ("stopped", "")})
    monkeypatch.setattr(dosing, "work", lambda *_, **__: done)
    monkeypatch.setattr(dosing, "_is_over", lambda _: False)
    with pytest.raises(ProjectError, match=r"a is not finished \(no room\)\."):
        dosing._finish(paths, tmp_path, 1, None, None)
    del done.outcomes[paths[0]]
    with pytest.raises(StoppedError, match="0 of 1 branches"):
        dosing._finish(paths[1:], tmp_path, 1, None, None)


def test_epochs_without_checkpoints_are_as_those_of_a_run_that_has_them(grokked, tmp_path, monkeypatch):
    dense = tmp_path / "run.tdw"
    tdw.copy(grokked, dense)
    tdw.densify(dense, "33,101")
    given = {"edits": "scale:W_in=1.1", "at": [33, 100, 101], "random": 1}
    calls, plain = [], branching.replayed
    monkeypatch.setattr(branching, "replayed", lambda *of, **more: calls.append(of[1]) or plain(*of, **more))
    found = tdw.dose(grokked, tmp_path / "a", **given)
    assert calls == [101]  # all epochs in one replay
    assert found == tdw.dose(dense, tmp_path / "b", **given)
    assert [dose.at for dose in found.doses] == [33, 100, 101]
    assert all(dose.norm > 0 for dose in found.doses)
    del calls[:]
    assert found == tdw.dose(grokked, tmp_path / "a", **given)
    assert tdw.dose(dense, tmp_path / "b", **given) == found
    assert calls == [101]  # for the norms; the one with checkpoints needs none


def test_what_is_wrong_with_the_run_is_told(grokked, tmp_path, capsys):
    given = {"edits": "scale:W_in=1.1", "random": 0}
    new = tmp_path / "new.tdw"
    tdw.create(new, tdw.configure(p=7, d_model=8, heads=2, d_mlp=8, epochs=100))
    with pytest.raises(SettingError, match=r"new.tdw has not been trained: train it first, `tdw train new.tdw`"):
        tdw.dose(new, tmp_path / "doses", at=0, **given)
    tdw.train(new, stop=iter([False] * 5 + [True] * 100).__next__)
    with pytest.raises(
        SettingError, match=r"--at must be an epoch up to \d, .* \(got 90\): it is not finished; train it first"
    ):
        tdw.dose(new, tmp_path / "doses", at="0,90", **given)
    assert not (tmp_path / "doses").exists()
    with tdw.open(new) as run:
        assert run.grokking().delay is None
    assert tdw.dose(new, tmp_path / "doses", at=0, **given).delay.censored  # never generalized: compared all the same
    line = ["dose", str(grokked), str(tmp_path / "late"), "--edit", "scale:W_in=1.1", "--at", "590,595"]
    assert main.main(line) == 0
    assert (
        "had generalized before all of these epochs, so nothing is left to delay: give earlier ones"
        in capsys.readouterr().out
    )
    assert not (tmp_path / "late").exists()
