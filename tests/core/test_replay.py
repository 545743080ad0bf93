"""A branch repeats its origin until its settings differ; checkpoints added afterwards are those that would have been."""

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tdw
from tdw import tasks
from tdw.cli import main
from tdw.errors import (
    AlreadyExistsError,
    ArgumentError,
    CheckpointNotFoundError,
    DamagedFileError,
    NotReproducibleError,
    ScheduleError,
    SettingError,
    StoppedError,
    UnknownNameError,
)
from tdw.network import reference
from tdw.network.losses import cross_entropy
from tdw.operations import replay
from tdw.project.writer import ProjectWriter

SERIES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")


def contents(path):
    with tdw.open(path) as run:
        return {name: getattr(run, name) for name in SERIES}, {epoch: run.weights(epoch) for epoch in run.checkpoints}


def same_weights(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


def assert_same_run(one, other):
    for name in SERIES:
        assert np.array_equal(one[0][name], other[0][name], equal_nan=True), name
    assert one[1].keys() == other[1].keys()
    assert [epoch for epoch in one[1] if not same_weights(one[1][epoch], other[1][epoch])] == []


@pytest.mark.parametrize("at", [0, 15, 40])
def test_a_branch_without_changes_repeats_its_origin(tiny, tiny_run, tmp_path, at):
    new = tmp_path / "branch.tdw"
    before = tiny_run.read_bytes()
    tdw.branch(tiny_run, new, at, epochs=60, checkpoints="0:60:5")
    assert tiny_run.read_bytes() == before
    with tdw.open(new) as run:
        assert (len(run.epochs) - 1, run.checkpoints[-1], run.resumes_from) == (at, at, at)
    assert tdw.train(new)
    longer = tmp_path / "longer.tdw"
    tdw.create(longer, tdw.configure(**{**tiny.to_json(), "epochs": 60, "checkpoints": "0:60:5"}))
    tdw.train(longer)
    (series, weights), (expected, expected_weights) = contents(new), contents(longer)
    for name in ("train_loss", "train_accuracy"):
        assert np.array_equal(series[name], expected[name]), name
    assert weights.keys() == expected_weights.keys()
    assert all(same_weights(weights[epoch], expected_weights[epoch]) for epoch in weights)
    with tdw.open(new) as run, tdw.open(tiny_run) as origin:
        assert run.id != origin.id
        assert run.branched.run == origin.id
        assert (run.branched.file, run.branched.at) == (tiny_run.name, at)


def plain_continuation(config, weights, moments, split, first, last, *, updates):
    """Train losses of a plainly written continuation with PyTorch's AdamW."""
    weights = {name: torch.tensor(array).requires_grad_() for name, array in weights.items()}
    optimizer = torch.optim.AdamW(weights.values(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)
    if moments:
        for name, weight in weights.items():
            of = {part: torch.tensor(moments[part][name]) for part in ("exp_avg", "exp_avg_sq")}
            optimizer.state[weight] = {"step": torch.tensor(float(updates)), **of}
    a, b = (torch.from_numpy(x) for x in tasks.operands(split.train, config.p))
    answers = torch.from_numpy(tasks.answers(split.train, config))
    losses = []
    for done in range(first, last + 1):
        loss = cross_entropy(reference.plain_forward(weights, a, b, config.nonlinearity), answers)
        losses.append(loss.item())
        if config.warmup:
            optimizer.param_groups[0]["lr"] = config.lr * min((done - first + updates) / config.warmup, 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def test_changed_settings_hold_from_the_branch_on(tiny_run, tmp_path):
    new, state_at = tmp_path / "branch.tdw", tmp_path / "state.tdw"
    tdw.branch(tiny_run, new, 20, weight_decay=0, lr=3e-3)
    tdw.branch(tiny_run, state_at, 20)
    with tdw.open(state_at) as run:
        state, split = run.resume_state(), run.split
    assert state.epoch == 20
    assert any(moment.any() for moment in state.slots["exp_avg"].values())
    tdw.train(new)
    with tdw.open(new) as run, tdw.open(tiny_run) as origin:
        assert np.array_equal(run.train_loss[:21], origin.train_loss[:21])
        assert run.config.weight_decay == 0
        assert run.branched.settings["weight_decay"] == 1
        moments = state.slots
        expected = plain_continuation(run.config, state.weights, moments, split, 20, 40, updates=20)
        assert np.allclose(run.train_loss[20:], expected, rtol=2e-4)
        assert not np.allclose(run.train_loss[25:], origin.train_loss[25:], rtol=1e-3)


def test_a_fresh_optimizer_restarts_its_warm_up(tiny_run, tmp_path):
    new, stopped = tmp_path / "branch.tdw", tmp_path / "stopped.tdw"
    tdw.branch(tiny_run, new, 20, fresh_optimizer=True, warmup=10)
    shutil.copy(new, stopped)
    tdw.train(new)
    with tdw.open(new) as run, tdw.open(tiny_run) as origin:
        expected = plain_continuation(run.config, origin.weights(20), None, run.split, 20, 40, updates=0)
        assert np.allclose(run.train_loss[20:], expected, rtol=2e-4)
        whole = run.train_loss
    asked = iter([False] * 7 + [True])
    tdw.train(stopped, stop=lambda: next(asked))
    tdw.train(stopped)
    with tdw.open(stopped) as run:
        assert np.array_equal(run.train_loss, whole), (
            "a resumed branch must remember how many updates its optimizer made"
        )


def test_branches_of_branches_are_repeated_under_the_settings_of_each(tiny_run, tmp_path):
    first, second, third, fourth = (tmp_path / f"{name}.tdw" for name in ("first", "second", "third", "fourth"))
    tdw.branch(tiny_run, first, 10, weight_decay=0)
    tdw.train(first)
    tdw.branch(first, second, 25, lr=5e-4, fresh_optimizer=True)
    tdw.train(second)
    tdw.branch(second, third, 35)  # replayed from epoch 25, where the optimizer was reset
    tdw.train(third)
    assert same_weights(contents(third)[1][40], contents(second)[1][40])
    tdw.branch(second, fourth, 25)  # AdamW begins there, as in its origin
    tdw.train(fourth)
    assert_same_run(contents(fourth), contents(second))


def test_a_branch_in_shared_history_keeps_the_optimizer_state(tiny_run, tmp_path):
    first, second, third, fourth = (tmp_path / f"{name}.tdw" for name in ("first", "second", "third", "fourth"))
    tdw.branch(tiny_run, first, 10, weight_decay=0)
    tdw.train(first)
    tdw.branch(first, second, 25, lr=5e-4, fresh_optimizer=True)
    tdw.train(second)
    tdw.branch(second, third, 20)  # repeated from 0, with other weight decay after 10
    with tdw.open(third) as run:
        state, split, settings = run.resume_state(), run.split, run.config
        assert run.optimizer_from == 0
    assert same_weights(state.weights, contents(first)[1][20])
    assert settings.lr == 5e-4
    tdw.train(third)
    moments = state.slots
    expected = plain_continuation(settings, state.weights, moments, split, 20, 40, updates=20)
    assert np.allclose(contents(third)[0]["train_loss"][20:], expected, rtol=2e-4)
    assert tdw.densify(third, "7, 13, 22, 37") == [7, 13, 22, 37]
    tdw.branch(first, fourth, 20, lr=5e-4)
    tdw.train(fourth)
    tdw.densify(fourth, "7, 13, 22, 37")
    assert_same_run(contents(third), contents(fourth))


def test_a_run_that_is_not_reproducible_is_not_branched(tiny_run, tmp_path, monkeypatch):
    true = replay.training.train

    def other(settings, *rest, **more):
        return true(replace(settings, lr=2e-3), *rest, **more)

    monkeypatch.setattr(replay.training, "train", other)
    with pytest.raises(NotReproducibleError, match=r"losses/train at epoch 1 was stored as .* --fresh-optimizer"):
        tdw.branch(tiny_run, tmp_path / "new.tdw", 20)
    before = tiny_run.read_bytes()
    with pytest.raises(NotReproducibleError, match="Nothing was changed"):
        tdw.densify(tiny_run, "3, 7")
    assert tiny_run.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.tdw"]


def test_weights_that_do_not_come_out_again_are_noticed_too(tiny_run, tmp_path, monkeypatch):
    true = replay.training.train

    def other(*rest, **more):
        for segment in true(*rest, **more):
            if segment.state.epoch == 10:
                segment.state.weights["unembed.W_U"][0, 0] += np.float32(1e-6)
            yield segment

    monkeypatch.setattr(replay.training, "train", other)
    with pytest.raises(NotReproducibleError, match="the weights at epoch 10 differ from the stored ones"):
        tdw.densify(tiny_run, "3, 7")


def test_added_checkpoints_are_those_that_would_have_been(tiny, tiny_run, tmp_path):
    tdw.analyze(tiny_run, ["neuron_frequencies", "events"])
    with ProjectWriter.open(tiny_run) as project:
        project.set_notes(title="mine")
    with tdw.open(tiny_run) as run:
        before, id_before = run.analysis("neuron_frequencies"), run.id
    assert tdw.densify(tiny_run, "3, 7, 30:33") == [3, 7, 31, 32, 33]
    dense = tmp_path / "dense.tdw"
    tdw.create(dense, tdw.configure(**{**tiny.to_json(), "checkpoints": "0:40:5, 3, 7, 30:33"}))
    tdw.train(dense)
    (series, weights), (expected, expected_weights) = contents(tiny_run), contents(dense)
    assert weights.keys() == expected_weights.keys()
    assert all(same_weights(weights[epoch], expected_weights[epoch]) for epoch in weights)
    # The test loss is measured at every checkpoint, so here it is at those that were added.
    assert all(np.array_equal(series[name], expected[name], equal_nan=True) for name in SERIES)
    with tdw.open(tiny_run) as run:
        assert (run.id, run.notes.title, run.verify()) == (id_before, "mine", [])
        after = run.analysis("neuron_frequencies")
        assert after.checkpoints == run.checkpoints
        for epoch, share in zip(before.checkpoints, before.arrays["share"], strict=True):
            assert np.array_equal(after.arrays["share"][after.checkpoints.index(epoch)], share)
    assert tdw.densify(tiny_run, "7, 31") == []
    tdw.train(tiny_run, epochs=45, checkpoints="45")
    longer = tmp_path / "longer.tdw"
    tdw.create(longer, tdw.configure(**{**tiny.to_json(), "epochs": 45, "checkpoints": "45"}))
    tdw.train(longer)
    assert same_weights(contents(tiny_run)[1][45], contents(longer)[1][45])


def test_a_branch_with_a_fresh_optimizer_is_densified_on_both_sides_of_its_beginning(tiny_run, tmp_path):
    new = tmp_path / "branch.tdw"
    tdw.branch(tiny_run, new, 20, fresh_optimizer=True, lr=5e-4)
    tdw.train(new)
    before = contents(new)[1]
    tdw.densify(tiny_run, "7")
    assert tdw.densify(new, "22") == [22]  # repeated from 20 alone
    assert tdw.densify(new, "7, 33") == [7, 33]  # and from 0, under the settings of its origin
    after = contents(new)[1]
    assert sorted(after) == sorted({*before, 7, 22, 33})
    assert all(same_weights(after[epoch], before[epoch]) for epoch in before)
    assert same_weights(after[7], contents(tiny_run)[1][7])


def test_the_past_of_an_unfinished_run_is_densified_up_to_where_it_is(tiny, tmp_path):
    path = tmp_path / "unfinished.tdw"
    tdw.create(path, tdw.configure(**{**tiny.to_json(), "checkpoints": ""}))
    asked = iter([False] * 21 + [True])
    tdw.train(path, stop=lambda: next(asked))
    assert tdw.densify(path, "12") == [12, 21]  # the last recorded epoch belongs to every schedule
    tdw.train(path)
    with tdw.open(path) as run:
        assert (run.checkpoints, run.state) == ([0, 12, 21, 40], "finished")


def test_an_existing_branch_is_kept(tiny_run, tmp_path):
    """A process that was killed as it ended had made it; the same command then goes on to the next one."""
    new = tmp_path / "branch.tdw"
    tdw.branch(tiny_run, new, 15, lr=0.01)
    made = new.read_bytes()
    tdw.branch(tiny_run, new, 15, lr=0.01)
    assert new.read_bytes() == made
    for changes in ({"at": 20, "lr": 0.01}, {"at": 15, "lr": 0.02}, {"at": 15, "lr": 0.01, "fresh_optimizer": True}):
        with pytest.raises(AlreadyExistsError):
            tdw.branch(tiny_run, new, **changes)
    asked = iter(range(100))
    tdw.train(new, stop=lambda: next(asked) > 5)
    with pytest.raises(AlreadyExistsError):
        tdw.branch(tiny_run, new, 15, lr=0.01)


def test_a_run_behind_a_link_to_another_disk_is_densified_there(tiny_run, tmp_path):
    other, tmp_path = Path("/dev/shm"), tmp_path / "here"
    tmp_path.mkdir()
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=other) as folder:
        path, link = Path(folder) / "run.tdw", tmp_path / "link.tdw"
        shutil.copy(tiny_run, path)
        link.symlink_to(path)
        assert tdw.densify(link, "0:12:3") == [3, 6, 9, 12]
        assert link.is_symlink()
        assert [item.name for item in Path(folder).iterdir()] == ["run.tdw"]
        with tdw.open(link) as run:
            assert run.checkpoints[:6] == [0, 3, 5, 6, 9, 10]
    assert [item.name for item in tmp_path.iterdir()] == ["link.tdw"]


def test_an_interrupted_replay_changes_nothing(tiny_run, tmp_path):
    before = tiny_run.read_bytes()
    asked = iter([False] * 5 + [True] * 5)
    with pytest.raises(StoppedError, match="nothing was changed"):
        tdw.densify(tiny_run, "33", stop=lambda: next(asked))
    assert tiny_run.read_bytes() == before
    asked = iter([False] * 5 + [True] * 5)
    with pytest.raises(StoppedError):
        tdw.branch(tiny_run, tmp_path / "new.tdw", 35, stop=lambda: next(asked))
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.tdw"]


def test_invalid_requests_are_refused(tiny_run, tmp_path):
    new = tmp_path / "new.tdw"
    for error, at, changes, sentence in [
        (
            SettingError,
            5000,
            {},
            r"--at must be an epoch up to \d+, the last that tiny.tdw has recorded \(got 5000\): use an earlier",
        ),
        (ArgumentError, -1, {}, r"at must be an integer of at least 0 \(got -1\)"),
        (SettingError, 20, {"p": 11}, r"--p cannot change in a branch"),
        (SettingError, 20, {"train_fraction": 0.4}, "--train-fraction cannot change in a branch"),
        (SettingError, 20, {"epochs": 20, "checkpoints": ""}, "--epochs must be greater than 20"),
        (SettingError, 20, {"lr": -1}, r"--lr must be a number .* \(got -1\)"),
        (UnknownNameError, 20, {"weight_deca": 0}, "did you mean 'weight_decay'"),
    ]:
        with pytest.raises(error, match=sentence):
            tdw.branch(tiny_run, new, at, **changes)
        assert not new.exists()
    new.write_text("mine")
    with pytest.raises(AlreadyExistsError):
        tdw.branch(tiny_run, new, 20)
    assert new.read_text() == "mine"
    with pytest.raises(ScheduleError):
        tdw.densify(tiny_run, "50")


def test_an_invalid_description_of_a_branch_is_damage(tiny_run, tmp_path):
    new = tmp_path / "new.tdw"
    tdw.branch(tiny_run, new, 20)
    with ProjectWriter.open(new) as project:
        project._writer.extend(
            config=project.described | {"branched": {"at": "soon"}},
            epochs=project.planned_epochs,
            checkpoint_capacity=len(project.planned_checkpoints),
        )
    with pytest.raises(DamagedFileError, match="the description of the run it was branched from is invalid"):
        tdw.branch(new, tmp_path / "more.tdw", 10)


def test_the_commands(tiny_run, tmp_path, capsys):
    new = tmp_path / "new.tdw"
    assert main.main(["branch", str(tiny_run), str(new), "--at", "20", "--weight-decay", "0"]) == 0
    assert "forked from" in capsys.readouterr().out
    assert main.main(["train", str(new)]) == 0
    assert main.main(["densify", str(new), "--checkpoints", "22:24"]) == 0
    assert "3 checkpoints added." in capsys.readouterr().out
    assert main.main(["info", str(new), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["branched"]["at"] == 20
    assert {22, 23, 24} <= set(told["checkpoints"])
    assert main.main(["info", str(new)]) == 0
    assert "forked from tiny.tdw at epoch 20: weight decay 0 instead of 1" in capsys.readouterr().out
    assert main.main(["branch", str(tiny_run), str(new), "--at", "20"]) == 2
    assert "already exists" in capsys.readouterr().err


def test_info_says_what_a_branch_does_otherwise_also_where_the_origin_has_no_such_setting(tiny_run, tmp_path, capsys):
    new = tmp_path / "new.tdw"
    tdw.branch(tiny_run, new, 20, fresh_optimizer=True, optimizer="sgd", lr=0.5)
    assert main.main(["info", str(new)]) == 0
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("forked from")]
    assert "optimizer sgd instead of adamw" in line
    assert "lr 0.5 instead of" in line
    assert ", momentum 0" in line
    assert "betas" not in line


def content(path):
    with tdw.open(path) as run:
        found = {name: run.curve(name).tobytes() for name in run.curves}
        found |= {(at, name): array.tobytes() for at in run.checkpoints for name, array in run.weights(at).items()}
        state = run.resume_state()
        found |= {(slot, name): array.tobytes() for slot, part in state.slots.items() for name, array in part.items()}
        return found, state.epoch, run.checkpoints


@pytest.mark.parametrize("edits", [[], ["scale:W_E=1.5"], ["reset-optimizer"], ["scale:W_E=1.5", "reset-optimizer"]])
def test_a_branch_at_an_epoch_without_checkpoint_is_that_of_the_run_with_one(tiny_run, tmp_path, edits):
    dense = tmp_path / "dense.tdw"
    tdw.copy(tiny_run, dense)
    with tdw.open(tiny_run) as run:
        assert 13 not in run.checkpoints
    tdw.densify(dense, "13")
    for name, path in (("a", tiny_run), ("b", dense)):
        before = path.read_bytes()
        tdw.branch(path, tmp_path / f"{name}.tdw", 13, edits=edits)
        assert path.read_bytes() == before
    assert content(tmp_path / "a.tdw") == content(tmp_path / "b.tdw")
    for name in "ab":
        assert tdw.train(tmp_path / f"{name}.tdw")
    assert content(tmp_path / "a.tdw") == content(tmp_path / "b.tdw")
    assert tdw.densify(tmp_path / "a.tdw", "17") == [17]  # the branch can be replayed in its turn
    tdw.branch(tmp_path / "a.tdw", tmp_path / "c.tdw", 16)
    assert tdw.train(tmp_path / "c.tdw")
    assert content(tmp_path / "c.tdw")[0].keys() >= {"losses/train", "losses/test"}
    if not edits:
        with tdw.open(tiny_run) as run, tdw.open(tmp_path / "a.tdw") as branch:
            assert np.array_equal(run.train_loss, branch.train_loss)
            last = run.checkpoints[-1]
            assert all(np.array_equal(array, branch.weights(last)[name]) for name, array in run.weights(last).items())


def test_states_of_several_epochs_come_from_one_replay(tiny_run, monkeypatch):
    from tdw.operations import branch

    plain, calls = branch.replayed, []
    monkeypatch.setattr(branch, "replayed", lambda *given, **more: calls.append(given[1:2]) or plain(*given, **more))
    with tdw.open(tiny_run) as run:
        split, last = run.known_split, len(run.epochs) - 1
        together = list(branch.states_at(run, [17, 0, 13, last, 20], split))
        assert [state.epoch for state in together] == [0, 13, 17, 20, last]
        assert calls == [(20,)]
        for state in together:
            (alone,) = branch.states_at(run, [state.epoch], split)
            assert all(np.array_equal(state.weights[name], array) for name, array in alone.weights.items())
            assert all(
                np.array_equal(state.slots[slot][name], array)
                for slot, part in alone.slots.items()
                for name, array in part.items()
            )


def test_an_unfinished_run_is_branched_as_far_as_it_is(tmp_path):
    path = tmp_path / "run.tdw"
    tdw.create(path, tdw.configure(p=7, d_model=8, heads=2, d_mlp=8, epochs=100, checkpoints="even:3"))
    with pytest.raises(CheckpointNotFoundError, match="no checkpoint is stored yet"):
        tdw.branch(path, tmp_path / "new.tdw", 5)
    tdw.train(path, stop=iter([False] * 20 + [True] * 100).__next__)
    with tdw.open(path) as run:
        recorded = len(run.epochs) - 1
    assert 0 < recorded < 60
    with pytest.raises(
        SettingError,
        match=rf"up to {recorded}, the last .* \(got 60\): it is not finished; train it first, `tdw train run.tdw`",
    ):
        tdw.branch(path, tmp_path / "new.tdw", 60)
    tdw.branch(path, tmp_path / "new.tdw", recorded - 1)
    assert tdw.train(tmp_path / "new.tdw")
    assert tdw.train(path)
    with tdw.open(path) as run, tdw.open(tmp_path / "new.tdw") as new:
        assert np.array_equal(run.train_loss, new.train_loss)
