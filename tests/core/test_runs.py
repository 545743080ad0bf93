"""A run in its file: created, trained, interrupted, resumed, extended, analyzed, read."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.numpy

import tdw
from tdw import config, store
from tdw.analyses import find
from tdw.analyses.engine import registry as registry_module
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.runner import analyze
from tdw.app.open_runs import OpenRun
from tdw.cli import report
from tdw.errors import (
    AlreadyExistsError,
    AnalysisNotFoundError,
    CannotWriteError,
    CheckpointNotFoundError,
    FileInUseError,
    NotApplicableError,
    NotAProjectError,
    ProjectError,
    SettingError,
    UnknownNameError,
)
from tdw.network import reference
from tdw.network.parameters import shapes


def test_a_run_from_creation_to_its_end(tiny, tmp_path):
    path = tmp_path / "run.tdw"
    tdw.create(path, tiny)
    with tdw.open(path) as run:
        assert (run.state, len(run.epochs), run.checkpoints, run.planned_epochs) == ("new", 0, [], 40)
        assert run.config == tiny
    seen = []
    assert tdw.train(path, progress=seen.append) is True
    assert seen[-1].epoch == 40
    with tdw.open(path) as run:
        assert run.state == "finished"
        assert run.epochs.tolist() == list(range(41))
        assert run.checkpoints == list(range(0, 41, 5))
        assert np.flatnonzero(~np.isnan(run.test_loss)).tolist() == sorted({*range(0, 41, 4), *range(0, 41, 5)})
        assert not np.isnan(run.train_loss).any()
        train, test = run.split
        assert sorted([*train, *test]) == list(range(49))
        assert run.neuron_map(40, 3).shape == (7, 7)
        tables = run.neuron_tables([3, 5])
        assert tables.shape == (9, 2, 1 + 2 * 2 * 7)
        assert run.attention_scores().shape == (9, 2, 2, 7)
        assert run.verify() == []


def test_the_file_reads_with_h5py_and_safetensors_alone(tiny_run):
    with h5py.File(tiny_run) as f:
        loss = f["losses/train"][: f["commit"][:, 1].max()]
        weights = safetensors.numpy.load(f["checkpoints/safetensors"][-1, : f["checkpoints"].attrs["nbytes"]].tobytes())
    with tdw.open(tiny_run) as run:
        assert np.array_equal(loss, run.train_loss)
        assert all(np.array_equal(weights[name], array) for name, array in run.weights(40).items())
        assert len(weights) == 9


def test_what_cannot_change_is_refused(tiny_run):
    for changes, sentence in [
        ({"lr": 0.5}, r"--lr is 0.001 in tiny.tdw and cannot change to 0.5"),
        ({"epochs": 10}, r"--epochs must be at least the 40 that tiny.tdw plans \(got 10; the run is at epoch 40\)"),
        ({"checkpoints": "0:99"}, r"'0:99' reaches epoch 99"),
    ]:
        with pytest.raises(SettingError, match=sentence):
            tdw.train(tiny_run, **changes)
    assert tdw.train(tiny_run, lr=1e-3) is True


def test_analyses_are_stored_and_left_alone_when_current(tiny_run, tiny, monkeypatch):
    names = set(tdw.analyze(tiny_run))
    assert names == {item.name for item in registry_module.usual(tiny)}
    assert tdw.analyze(tiny_run) == []
    with tdw.open(tiny_run) as run:
        stored = run.analysis("neuron_clusters")
        assert (stored.version, stored.parameters, stored.checkpoints) == (1, {"threshold": 0.85}, run.checkpoints)
        revision = run.revision
    assert tdw.analyze(tiny_run, only="events", force=True) == ["events"]
    with tdw.open(tiny_run) as run:
        assert run.revision != revision
        assert not run.info()["analyses"]["events"]["stale"]
    item = find("neuron_clusters")
    changed = registry_module.Analysis(
        item.name, item.title, item.per, 2, item.arrays, item.compute, {"threshold": 0.5}
    )
    monkeypatch.setitem(registry_module.ANALYSES, item.name, changed)
    with tdw.open(tiny_run) as run:
        before = run.array_index()["analysis/neuron_clusters/frequency"]["version"]
        stale = {name for name, at in run.info()["analyses"].items() if at["stale"]}
        assert stale == {"neuron_clusters", "frequency_lottery"}  # the other goes by the first
    assert set(tdw.analyze(tiny_run)) == stale
    with tdw.open(tiny_run) as run:
        assert run.analysis("neuron_clusters").parameters == {"threshold": 0.5}
        assert run.array_index()["analysis/neuron_clusters/frequency"]["version"] != before
        assert run.verify() == []


def test_an_interrupted_analysis_goes_on_where_it_was(tiny_run, monkeypatch):
    monkeypatch.setattr("tdw.analyses.engine.runner.CHECKPOINTS_PER_COMMIT", 2)

    def give_up(at):
        if at.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyze(tiny_run, progress=give_up)
    with tdw.open(tiny_run) as run:
        partial = run.analysis("neuron_frequencies")
        assert partial.checkpoints == run.checkpoints[:4]
    seen = []
    analyze(tiny_run, progress=seen.append)
    assert [at.done for at in seen if "neuron_frequencies" in at.names] == [6, 8, 9]
    with tdw.open(tiny_run) as run:
        assert run.analysis("neuron_frequencies").checkpoints == run.checkpoints
        assert np.array_equal(run.analysis("neuron_frequencies").arrays["share"][:4], partial.arrays["share"])


def test_an_analysis_that_fails_says_where(tiny_run, monkeypatch):
    item = find("neuron_clusters")

    def broken(view, *, threshold):
        raise ZeroDivisionError("planted")

    monkeypatch.setitem(
        registry_module.ANALYSES,
        item.name,
        registry_module.Analysis(item.name, item.title, item.per, 9, item.arrays, broken, item.parameters),
    )
    with pytest.raises(ZeroDivisionError, match="planted") as caught:
        tdw.analyze(tiny_run, only="neuron_clusters")
    assert caught.value.__notes__ == [f"while computing neuron_clusters at epoch 0 of {tiny_run}"]
    with tdw.open(tiny_run) as run:
        assert run.verify() == []


def test_what_is_not_there_is_said(tiny_run, tmp_path):
    with tdw.open(tiny_run) as run:
        with pytest.raises(CheckpointNotFoundError, match=r"no checkpoint at epoch 13: the nearest stored one is 15"):
            run.weights(13)
        with pytest.raises(AnalysisNotFoundError, match=r"tdw analyze tiny.tdw --only events"):
            run.analysis("events")
        with pytest.raises(SettingError, match=r"neuron 12 does not exist: give 0 to 11"):
            run.neuron_map(40, 12)
    with pytest.raises(NotAProjectError, match=r"nothing.tdw"):
        tdw.open(tmp_path / "nothing.tdw")
    with pytest.raises(NotAProjectError):
        tdw.open(tmp_path)


def test_nothing_is_replaced_unasked(tiny, tiny_run):
    before = tiny_run.read_bytes()
    with pytest.raises(AlreadyExistsError, match=r"tiny.tdw"):
        tdw.create(tiny_run, tiny)
    assert tiny_run.read_bytes() == before
    tdw.create(tiny_run, tiny, overwrite=True)
    with tdw.open(tiny_run) as run:
        assert run.state == "new"


def test_a_folder_that_is_missing_leaves_nothing_behind(tiny, tmp_path):
    with pytest.raises(CannotWriteError, match="missing"):
        tdw.create(tmp_path / "missing" / "run.tdw", tiny)
    assert list(tmp_path.iterdir()) == []


def test_one_writer(tiny, tmp_path):
    path = tmp_path / "one.tdw"
    tdw.create(path, tiny)
    with store.open_writer(path):
        with pytest.raises(FileInUseError, match=str(os.getpid())):
            tdw.train(path)
        with tdw.open(path) as run:
            assert run.state == "new"
    assert tdw.train(path) is True
    assert [item.name for item in tmp_path.iterdir()] == ["one.tdw"]


def test_absurd_memory_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda _name: 1024)
    with pytest.raises(
        SettingError, match=r"--p 113 with --d-mlp 512 needs 0.1 GB of memory for training, but this machine has 0.0 GB"
    ):
        tdw.create(tmp_path / "big.tdw", tdw.configure())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("p", [2, 3, 4, 6])
def test_the_smallest_moduli_go_all_the_way(p, tmp_path):
    path = tmp_path / "small.tdw"
    tdw.create(
        path, tdw.configure(p=p, d_model=4, heads=1, d_mlp=4, epochs=20, train_fraction=0.5, checkpoints="even:3")
    )
    tdw.train(path)
    tdw.analyze(path)
    with tdw.open(path) as run:
        norms = run.analysis("embedding_frequencies").arrays["norms"]
        assert norms.shape == (3, p)
        assert run.info()["state"] == "finished"
        for name in ("loss", "embedding_frequencies", "neuron_frequencies"):
            assert run.figure(name, 20).data


def test_a_new_schedule_holds_for_the_epochs_ahead(tiny, tmp_path):
    path = tmp_path / "schedule.tdw"
    tdw.create(path, tiny)
    asked = iter([False] * 11 + [True])
    tdw.train(path, stop=lambda: next(asked))
    tdw.train(path, checkpoints="0:40:3")
    with tdw.open(path) as run:
        assert run.checkpoints == [0, 5, 10, *range(12, 40, 3), 40]
        assert run.planned_checkpoints == run.checkpoints
        assert run.verify() == []


def test_key_frequencies_come_with_the_rule_that_found_them(tmp_path):
    path = tmp_path / "keys.tdw"
    settings = {"p": 11, "d_model": 8, "heads": 1, "d_mlp": 20, "epochs": 1, "train_fraction": 0.5, "checkpoints": ""}
    config = tdw.configure(**settings)
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes(config).items()}
    # Uniform attention copies the embedding; neuron n reads cos 4 (sixteen of them), cos 2 (three) or cos 5 (one).
    x = np.arange(11)
    for column, k in enumerate((4, 2, 5)):
        weights["embed.W_E"][:11, column] = np.cos(2 * np.pi * k * x / 11)
    weights["blocks.0.attn.W_V"][0] = np.eye(8)
    weights["blocks.0.attn.W_O"][0] = np.eye(8)
    for neuron in range(20):
        weights["blocks.0.mlp.W_in"][0 if neuron < 16 else 1 if neuron < 19 else 2, neuron] = 1
    weights["pos_embed.W_pos"][2, :3] = 3  # far enough above zero that no ReLU bends the wave
    tdw.create(path, config, weights=weights)
    tdw.train(path)
    with tdw.open(path) as run:
        assert run.key_frequencies() is None
    tdw.analyze(path, only="neuron_frequencies")
    with tdw.open(path) as run:
        assert run.keys[:2] == ("clusters", [2, 4])  # what a tenth of the neurons follows
        assert run.key_frequencies() == [2, 4]
    tdw.analyze(path)
    with tdw.open(path) as run:
        assert run.keys[:2] == ("logit_cosine", [])  # no neuron is connected to any logit
        last = run.checkpoints[-1]
        found = {"rule": "logit_cosine", "frequencies": [], "epoch": last, "is_stale": False}
        assert run.info()["key_frequencies"] == found
        rules = run.analyses()["key_frequencies"].parameters["rules"]
        stored = run.series("analysis/key_frequencies/key")[-1]
        assert (np.flatnonzero(stored[rules.index("clusters")]) + 1).tolist() == [2, 4]
        assert run.analysis("neuron_clusters").arrays["count"][0].tolist() == [0, 3, 0, 16, 1]


def test_the_first_analysis_uses_the_key_frequencies_that_it_stores(tmp_path):
    """Those of the last checkpoint are needed before any are stored; of a network that memorized, over the test pairs alone."""
    path = tmp_path / "run.tdw"
    config = tdw.configure(
        p=11, d_model=16, heads=2, d_mlp=32, train_fraction=0.5, lr=1e-2, epochs=150, checkpoints="0,150", threads=1
    )
    tdw.create(path, config)
    tdw.train(path)
    tdw.analyze(path)
    with tdw.open(path) as run:
        whole = Checkpoint(config, run.weights_at(1))
        without_split = registry_module.evaluate(find("key_frequencies"), whole, config)["key"]
        keys = run.series("analysis/key_frequencies/key")[-1]
        assert not np.array_equal(without_split, keys), "the split matters here"
        for name in ("restricted_loss", "excluded_loss"):
            assert (run.series(f"analysis/{name}/final_key") == keys).all()
        assert not [name for name, found in run.info()["analyses"].items() if found["stale"]]
    assert tdw.analyze(path) == []


def test_results_that_another_version_stored_once_for_the_whole_run_are_outdated(tiny_run, monkeypatch):
    item = find("baselines")
    per_run = registry_module.Analysis(
        item.name,
        item.title,
        "run",
        1,
        {"random": registry_module.ArraySpec("<f8", (3,))},
        lambda _: {"random": np.ones(3)},
    )
    with monkeypatch.context() as earlier:
        earlier.setitem(registry_module.ANALYSES, "baselines", per_run)
        tdw.analyze(tiny_run)
    with tdw.open(tiny_run) as run:
        found = run.info()["analyses"]["baselines"]
        assert (found["version"], found["stale"], found["checkpoints"]) == (1, True, run.checkpoints)
        with pytest.raises(
            ProjectError, match=r"baselines: Computed by version 1 .* `tdw analyze tiny.tdw` computes it again"
        ):
            run.figure("baselines")
        run.figure("sparsity")
    assert tdw.analyze(tiny_run) == ["baselines"]
    with tdw.open(tiny_run) as run:
        assert run.analysis("baselines").arrays["value"].shape == (len(run.checkpoints), 11)
        assert not run.info()["analyses"]["baselines"]["stale"]
        run.figure("baselines")


def test_key_frequencies_of_a_run_that_went_on_are_those_of_the_last_analyzed_checkpoint(tiny, tmp_path, monkeypatch):
    """To be looked at, nothing is computed, also where the newest checkpoints have no results yet."""
    path = tmp_path / "on.tdw"
    tdw.create(path, tiny)
    asked = iter([False] * 21 + [True])
    tdw.train(path, stop=lambda: next(asked))
    tdw.analyze(path, ["key_frequencies", "neuron_frequencies"])
    with tdw.open(path) as run:
        before = run.keys
        assert run.checkpoints[-1] == 20
        stored = run.series("analysis/key_frequencies/key")
        rules = run.analyses()["key_frequencies"].parameters["rules"]
        row = (np.flatnonzero(stored[-1, rules.index("logit_cosine")]) + 1).tolist()
    assert before == ("logit_cosine", row, 20, False)
    tdw.train(path)
    monkeypatch.setattr(
        "tdw.analyses.engine.checkpoint.Checkpoint.__init__", lambda *_, **__: pytest.fail("a checkpoint was measured")
    )
    with tdw.open(path) as run:
        assert run.checkpoints[-1] == 40
        assert run.keys == before._replace(is_stale=True)
        assert report.summary(run)[-1].endswith("(rule logit_cosine, at epoch 20, stale: the run goes on to epoch 40)")


def test_events_and_verdict_are_the_same_before_and_after_they_are_stored(tiny_run):
    def told():
        with tdw.open(tiny_run) as run:
            return run.events(), run.grokking(), run.info()["grokking"]

    before = told()
    assert before[1] == ("unknown", None, 500, None, 1.0)
    assert before[2] == {"verdict": "unknown", "delay": None, "wanted": 500, "ratio": None, "wanted_ratio": 1.0}
    assert {event.name for event in before[0]} >= {"memorized_0.1", "generalized_0.1", "peak", "onset", "rebound"}
    tdw.analyze(tiny_run, only="events")
    assert told() == before


def test_a_run_analyzed_on_the_way_ends_with_the_results_of_one_analyzed_at_its_end(tiny, tmp_path):
    def results(path):
        with tdw.open(path) as run:
            return {
                f"{name}/{array}": values
                for name in run.analyses()
                for array, values in run.analysis(name).arrays.items()
            }

    quick = replace(tiny, lr=0.05)
    asked = iter([False] * 11 + [True])
    paths = [tmp_path / name for name in ("stopped.tdw", "whole.tdw")]
    for path in paths:
        tdw.create(path, quick)
    tdw.train(paths[0], stop=lambda: next(asked))
    tdw.analyze(paths[0], only=["excluded_loss", "pair_graduation"])
    early = results(paths[0])
    tdw.analyze(paths[0])
    for path in paths:
        tdw.train(path)
        tdw.analyze(path)
    on_the_way, at_the_end = (results(path) for path in paths)
    assert set(on_the_way) == set(at_the_end)
    for name, values in at_the_end.items():
        assert np.array_equal(on_the_way[name], values, equal_nan=values.dtype.kind == "f"), name
    # The key frequencies of the last checkpoint have changed, so its rows were computed again.
    assert not np.array_equal(early["excluded_loss/final_key"][-1], at_the_end["excluded_loss/final_key"][-1])


def test_settings_are_checked_once_however_much_is_asked_of_a_run(tiny_run, tmp_path, monkeypatch):
    """A page manifest and a request for the tables of every checkpoint read the settings many times."""
    path = Path(shutil.copy(tiny_run, tmp_path / "run.tdw"))
    tdw.analyze(path)
    checked = []
    monkeypatch.setattr(config, "from_json", lambda stored, check=config.from_json: checked.append(1) or check(stored))
    opened = OpenRun(path)
    try:
        opened.manifest()
        b"".join(opened.neurons([0, 1]).chunks())
        assert len(checked) == 1
        tdw.train(path, epochs=60)
        checked.clear()
        opened.refresh(asked=True)
        opened.manifest()
        assert opened.project.config.epochs == 60
        assert len(checked) == 1
    finally:
        opened.close()


@pytest.mark.parametrize("name", ["key_frequencies", "frequency_history", "attention_frequency_history"])
def test_a_figure_without_results_says_which_analysis_gives_them(tiny_run, name):
    tdw.analyze(tiny_run, "loss")
    with tdw.open(tiny_run) as run, pytest.raises(AnalysisNotFoundError, match=r"Run `tdw analyze \S+ --only \w+`"):
        run.figure(name)


def test_missing_results_are_only_recommended_where_they_can_be_computed(tiny_run, tmp_path):
    with tdw.open(tiny_run) as run:
        with pytest.raises(UnknownNameError, match="no analysis is named 'nope'"):
            run.analysis("nope")
        with pytest.raises(AnalysisNotFoundError, match="--only attention"):
            run.analysis("attention")
    tdw.new(tmp_path / "hot.tdw", p=7, network="one-hot", d_mlp=8, epochs=2, checkpoints="")
    tdw.train(tmp_path / "hot.tdw")
    with (
        tdw.open(tmp_path / "hot.tdw") as run,
        pytest.raises(
            NotApplicableError, match=r"'attention' does not apply to hot\.tdw\. A one-hot MLP has no attention\.$"
        ),
    ):
        run.analysis("attention")


def test_given_weights_are_epoch_0_and_are_analyzed_without_training(tmp_path):
    config = tdw.configure(p=7, d_model=8, heads=2, d_mlp=8, epochs=20, train_fraction=0.5, threads=1, checkpoints="")
    weights = {name: w.numpy() * 3 for name, w in reference.initial_weights(config).items()}
    tdw.create(tmp_path / "given.tdw", config, weights)
    tdw.analyze(tmp_path / "given.tdw", only=["loss"])
    with tdw.open(tmp_path / "given.tdw") as run:
        assert (run.checkpoints, run.state) == ([0], "unfinished")
        assert all(np.array_equal(run.weights(0)[name], array) for name, array in weights.items())
        assert run.analysis("loss").arrays["loss"][0, 1] == pytest.approx(run.train_loss[0], rel=1e-5)
    tdw.train(tmp_path / "given.tdw")
    tdw.create(tmp_path / "drawn.tdw", config)
    with tdw.open(tmp_path / "given.tdw") as run, tdw.open(tmp_path / "drawn.tdw") as drawn:
        assert (run.checkpoints, run.state) == ([0, 20], "finished")
        assert (drawn.checkpoints, drawn.state) == ([], "new")


def test_fewer_epochs_than_planned_are_refused_with_how_far_the_run_is(tmp_path):
    config = tdw.configure(p=7, d_model=8, heads=2, d_mlp=8, epochs=20, train_fraction=0.5, threads=1, checkpoints="5")
    tdw.create(tmp_path / "run.tdw", config)
    with pytest.raises(
        SettingError, match=r"at least the 20 that run.tdw plans \(got 10; the run is not trained yet\)"
    ):
        tdw.train(tmp_path / "run.tdw", epochs=10)
    tdw.train(tmp_path / "run.tdw", stop=lambda: True)
    with pytest.raises(SettingError, match=r"\(got 10; the run is at epoch 0\)"):
        tdw.train(tmp_path / "run.tdw", epochs=10)
