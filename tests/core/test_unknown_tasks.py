"""An imported run whose task is not known: what compares with a task's answers does not apply, everything else does."""

from __future__ import annotations

import numpy as np
import pytest

import tdw
from tdw.analyses import ANALYSES
from tdw.cli import main
from tdw.errors import NotApplicableError
from tdw.panels import registry
from tdw.panels.describe import describe
from tdw.project.project import Project
from tests.interchange import elsewhere

PRESUMES = {
    *("loss", "accuracy", "margin", "softmax_collapse", "pair_graduation"),
    *("key_frequencies", "restricted_loss", "excluded_loss", "logit_frequencies"),
    *("baselines", "permutation_baselines", "memorization_baselines"),
    *("distance_irrelevance", "phase_alignment"),
}
WHY = "The task of this run is not known."


def imported(folder, name="run", **hints):
    path = folder / f"{name}.tdw"
    source = elsewhere.saved(elsewhere.lens().state(), folder / "theirs.pt")
    tdw.import_run(source, path, activation="relu", **hints)
    return path


@pytest.fixture
def unknown(tmp_path):
    return imported(tmp_path)


def test_what_presumes_the_task_is_not_computed(unknown):
    done = set(tdw.analyze(unknown))
    assert not done & PRESUMES
    assert {"weight_norms", "stable_rank", "embedding_frequencies", "neuron_frequencies", "logit_spectrum"} <= done
    for name in PRESUMES - {"phase_alignment"}:  # which is of another network
        with pytest.raises(NotApplicableError, match=WHY):
            tdw.analyze(unknown, name)
        with tdw.open(unknown) as run, pytest.raises(NotApplicableError, match=WHY):
            run.analysis(name)


def test_what_is_computed_is_the_same_whatever_the_task_is(unknown, tmp_path):
    """The results of all that applies are, bit for bit, those of the same weights with any task on the numbers modulo p."""
    done = tdw.analyze(unknown)
    for task in ("add", "subtract", "x2+xy+y2"):
        path = imported(tmp_path, task.replace("+", "_"), task=task)
        tdw.analyze(path)
        with tdw.open(path) as known, tdw.open(unknown) as run:
            for name in done:
                for array, values in run.analysis(name).arrays.items():
                    if name in known.analyses():
                        np.testing.assert_array_equal(
                            values, known.analysis(name).arrays[array], err_msg=f"{task} {name}"
                        )


def test_every_analysis_is_decided(unknown, tmp_path):
    path = imported(tmp_path, "known", task="add")
    with tdw.open(unknown) as run, tdw.open(path) as known:
        differ = {
            name
            for name, item in ANALYSES.items()
            if item.inapplicable_reason(run.config, task_known=run.knows_task)
            != item.inapplicable_reason(known.config, task_known=known.knows_task)
        }
    assert differ == PRESUMES


@pytest.fixture
def of_older_version(tmp_path, monkeypatch):
    """A file in which a version before this one stored results that presume the placeholder."""
    path = imported(tmp_path, "older")
    with monkeypatch.context() as patch:
        patch.setattr(Project, "knows_task", True)
        tdw.analyze(path)
    return path


def test_results_of_older_versions_are_not_shown(of_older_version, capsys):
    with tdw.open(of_older_version) as run:
        assert set(run.analyses()) & PRESUMES
        assert run.keys is None
        for name in ("loss", "key_frequencies"):
            with pytest.raises(NotApplicableError, match=WHY):
                run.analysis(name)
        with pytest.raises(NotApplicableError, match=WHY):
            run.figure("restricted_loss")
        run.figure("embedding_frequencies")
        for described in describe(run):
            panel = registry.find(described.header.name)
            state = described.header.state
            if panel.analysis in PRESUMES and panel.required:
                assert state.status == "inapplicable"
                assert described.header.arrays == ()
            assert not any(f"analysis/{name}/" in array for name in PRESUMES for array in described.header.arrays)
    assert main.main(["info", str(of_older_version)]) == 0
    said = capsys.readouterr().out
    results = next(line for line in said.splitlines() if line.startswith("results:"))
    assert "weight_norms" in results
    assert not any(f"{name}," in results for name in PRESUMES)
    assert "key frequencies" not in said
    (line,) = (line for line in said.splitlines() if line.startswith("not applicable:"))
    assert "restricted_loss" in line
    assert line.endswith(WHY)


def test_a_stated_task_has_everything(tmp_path, capsys):
    path = imported(tmp_path, "known", task="add")
    left_out = {"phase_alignment"} | {name for name in PRESUMES if ANALYSES[name].on_request}
    assert PRESUMES - set(tdw.analyze(path)) == left_out
    assert main.main(["info", str(path)]) == 0
    assert "not applicable" not in capsys.readouterr().out
