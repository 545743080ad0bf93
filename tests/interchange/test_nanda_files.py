"""Files of Nanda's grokking code: what is read, inferred and reported."""

import json
import math
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import tdw
from tdw.cli import report
from tdw.errors import NotImportableError, ProjectError, SettingError
from tdw.interchange import split_search
from tests.interchange import elsewhere

FOREIGN = Path(os.environ.get("TDW_FOREIGN", Path(__file__).parents[3] / "shared" / "foreign"))


@pytest.fixture
def trainer():
    return elsewhere.nanda()


def brought(value, folder, **hints):
    """What an import says, and the run; `value` is what torch.save wrote."""
    path = folder / "run.tdw"
    imported = tdw.import_run(elsewhere.saved(value, folder / "theirs.pth"), path, **hints)
    return imported, tdw.open(path)


def test_the_last_weights(trainer, tmp_path):
    imported, run = brought(trainer.final(), tmp_path)
    assert imported.split.seed == 3
    assert "random.shuffle" in imported.split.rule
    assert imported.split.error < 0.05  # the last weights have had one more update than the last losses
    assert imported.split.chance < 0.01
    assert (imported.unknown, imported.contradicted, imported.resumable) == (["model_seed"], [], True)
    with run:
        assert run.imported == imported
        settings = run.config
        assert (settings.p, settings.d_model, settings.heads, settings.d_head, settings.d_mlp) == (11, 16, 2, 8, 24)
        assert (settings.task, settings.activation, settings.biases, settings.classes) == (
            "add",
            "relu",
            "mlp",
            "tokens",
        )
        assert (settings.lr, settings.weight_decay, settings.betas, settings.warmup) == (5e-3, 0.5, (0.9, 0.98), 10)
        assert (settings.data_seed, settings.train_fraction, settings.epochs) == (3, 0.5, 120)
        assert run.known_split.train.tolist() == trainer.train.tolist()
        assert run.known_split.test.tolist() == trainer.test.tolist()
        # Entry i was measured before update i + 1; the weights contain all updates, and their loss was never measured.
        assert run.train_loss[:-1].tolist() == trainer.train_losses
        assert run.test_loss[:-1].tolist() == trainer.test_losses
        assert np.isnan([run.train_loss[-1], run.test_loss[-1]]).all()
        assert np.isnan(run.train_accuracy).all()
        assert (run.checkpoints, run.state) == ([120], "finished")
        found = elsewhere.loss_here(run, 120, run.split.train)
        assert found == pytest.approx(trainer.loss(trainer.train).item(), rel=1e-4)
        theirs = trainer.model.state_dict()
        weights = run.weights(120)
        assert np.array_equal(weights["embed.W_E"], theirs["embed.W_E"].numpy().T)
        heads_of_o = [weights["blocks.0.attn.W_O"][head].T for head in range(2)]
        assert np.array_equal(np.concatenate(heads_of_o, 1), theirs["blocks.0.attn.W_O"].numpy())
        assert run.verify() == []


def test_resumed_training_matches_the_source_program(tmp_path):
    trainer = elsewhere.trained()
    path = tmp_path / "run.tdw"
    tdw.import_run(elsewhere.saved(trainer.final(), tmp_path / "theirs.pth"), path)
    tdw.train(path, epochs=160)
    for _ in range(40):
        trainer.epoch()
    with tdw.open(path) as run:
        assert run.checkpoints == [120, 160]
        assert np.allclose(run.train_loss[121:160], trainer.train_losses[121:160], rtol=1e-4)
        assert np.allclose(run.test_loss[130:160:10], trainer.test_losses[130:160:10], rtol=1e-3)
        there = trainer.model.state_dict()
        assert np.allclose(run.weights(160)["embed.W_E"], there["embed.W_E"].numpy().T, atol=1e-4)
        assert np.allclose(run.weights(160)["blocks.0.mlp.b_in"], there["blocks.0.mlp.b_in"].numpy(), atol=1e-4)
        assert not np.allclose(run.weights(160)["embed.W_E"], run.weights(120)["embed.W_E"], atol=1e-2)
        assert [item.from_epoch for item in run.environments] == [0, 120]


def test_many_checkpoints(trainer, tmp_path):
    imported, run = brought(elsewhere.many(trainer), tmp_path)
    assert imported.split.error < 1e-4
    assert not imported.resumable
    with run:
        assert run.checkpoints == [epoch + 1 for epoch in trainer.stored]
        assert run.known_split.train.tolist() == trainer.train.tolist()
        for epoch in (21, 101):
            assert elsewhere.loss_here(run, epoch, trainer.train.numpy()) == pytest.approx(
                run.train_loss[epoch], rel=1e-4
            )
            assert elsewhere.loss_here(run, epoch, trainer.test.numpy()) == pytest.approx(
                run.test_loss[epoch], rel=1e-4
            )
            assert np.array_equal(run.weights(epoch)["embed.W_E"], trainer.stored[epoch - 1]["embed.W_E"].numpy().T)
        assert "model_seed" in imported.unknown
    with pytest.raises(
        ProjectError, match=r"cannot be trained further: it was imported, and it has no optimizer state"
    ):
        tdw.train(run.path, epochs=200)


def test_labels_that_mean_something_else_are_found_out(trainer, tmp_path):
    imported, run = brought(elsewhere.many(trainer, trainer.before), tmp_path)
    assert any("labeled differently than usual" in sentence for sentence in imported.contradicted)
    assert run.checkpoints == list(trainer.before)
    assert elsewhere.loss_here(run, 20, trainer.train.numpy()) == pytest.approx(run.train_loss[20], rel=1e-4)
    run.close()


def test_test_losses_of_every_tenth_epoch(trainer, tmp_path):
    theirs = elsewhere.many(trainer) | {"test_losses": trainer.test_losses[::10]}
    imported, run = brought(theirs, tmp_path)
    recorded = np.flatnonzero(~np.isnan(run.test_loss))
    assert recorded.tolist() == list(range(0, 120, 10))
    assert run.test_loss[recorded].tolist() == trainer.test_losses[::10]
    assert run.config.evaluate_every == 10
    assert any("every 10th epoch" in sentence for sentence in imported.converted)
    assert run.known_split.train.tolist() == trainer.train.tolist()
    run.close()


def test_the_split_is_searched_for_once_however_many_settings_are_open(trainer, tmp_path, monkeypatch):
    """Task and activation function are told by the losses; with each guess at them the split is the same."""
    search, calls = split_search.find, []
    monkeypatch.setattr(split_search, "find", lambda *given, **more: calls.append(given) or search(*given, **more))
    imported, run = brought(trainer.final(), tmp_path)
    assert any("with it the weights have the stored losses" in line for line in imported.inferred)
    assert len(calls) == 1
    run.close()


def test_train_losses_of_every_tenth_epoch_too(trainer, tmp_path):
    theirs = trainer.final()
    for name in ("train_losses", "test_losses"):
        theirs[name] = theirs[name][::10]
    imported, run = brought(theirs, tmp_path)
    assert (run.checkpoints, len(run.train_loss)) == ([120], 121)
    for curve, whole in ((run.train_loss, trainer.train_losses), (run.test_loss, trainer.test_losses)):
        assert np.flatnonzero(~np.isnan(curve)).tolist() == list(range(0, 120, 10))
        assert curve[:120:10].tolist() == whole[::10]
    assert "the source has train losses for every 10th epoch, starting with epoch 0" in imported.converted
    run.close()


def test_an_unusual_stride_needs_a_hint(trainer, tmp_path):
    theirs = elsewhere.many(trainer) | {"test_losses": trainer.test_losses[::7]}
    _, run = brought(theirs, tmp_path, test_stride=7)
    assert np.flatnonzero(~np.isnan(run.test_loss)).tolist() == list(range(0, 120, 7))
    run.close()
    with pytest.raises(
        SettingError, match=r"--test-stride must be at most 7 for 18 test losses in 120 epochs \(got 50\)"
    ):
        brought(theirs, tmp_path / "..", test_stride=50)


def test_the_optimizer_is_right_where_the_config_contradicts_it(trainer, tmp_path):
    theirs = trainer.final() | {"config": trainer.config | {"weight_decay": 1.0, "d_model": 99, "num_epochs": 50_000}}
    imported, run = brought(theirs, tmp_path)
    said = " / ".join(imported.contradicted)
    assert "weight_decay 1, but the optimizer used 0.5: the value of the optimizer was used" in said
    assert "d_model 99, but the weights have 16: the value of the weights was used" in said
    assert "plans 50000 epochs, but 120 train losses were recorded" in said
    assert (run.config.weight_decay, run.config.d_model) == (0.5, 16)
    run.close()


def test_a_seed_in_the_config_that_contradicts_the_split(trainer, tmp_path):
    imported, run = brought(elsewhere.many(trainer) | {"config": trainer.config | {"seed": 8}}, tmp_path)
    assert run.known_split.train.tolist() == trainer.train.tolist()
    assert any("says seed 8" in sentence for sentence in imported.contradicted)
    run.close()


def test_a_split_drawn_by_torch(tmp_path):
    trainer = elsewhere.nanda(rule="torch", seed=598, fraction=0.3)
    imported, run = brought(elsewhere.many(trainer) | {"config": {}}, tmp_path)
    assert (imported.split.seed, run.config.train_fraction) == (598, 0.3)
    assert "randperm" in imported.split.rule
    assert run.known_split.train.tolist() == trainer.train.tolist()
    run.close()


@pytest.mark.parametrize(("fn", "task"), [("subtract", "subtract"), ("x2xyy2", "x2+xy+y2")])
@pytest.mark.parametrize("stated", [True, False])
def test_other_tasks(fn, task, stated, tmp_path):
    trainer = elsewhere.nanda(fn=fn, epochs=200)
    theirs = trainer.final() | ({"config": trainer.config} if stated else {})
    imported, run = brought(theirs, tmp_path)
    assert run.config.task == task
    assert any(sentence.startswith(f"task {task}") for sentence in imported.inferred) == (not stated)
    assert run.known_split.train.tolist() == trainer.train.tolist()
    run.close()


def test_losses_may_be_numbers_and_arrays_of_numpy(tmp_path):
    trainer = elsewhere.nanda()
    plain = trainer.final()
    losses = {
        "train_losses": [np.float64(loss) for loss in plain["train_losses"]],
        "test_losses": np.array(plain["test_losses"], np.float32),
        "epoch": np.int64(plain["epoch"]),
    }
    _, run = brought(plain | losses, tmp_path)
    assert run.train_loss[:-1].tolist() == plain["train_losses"]
    assert run.test_loss[:-1].tolist() == np.float32(plain["test_losses"]).tolist()
    assert run.known_split.train.tolist() == trainer.train.tolist()
    run.close()


@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_the_stored_losses_tell_relu_from_gelu(name, tmp_path):
    """The answers do not: nearly as many are correct with either."""
    trainer = elsewhere.nanda(fraction=0.92, epochs=300, activation=getattr(functional, name))
    imported, run = brought(trainer.final(), tmp_path)
    assert run.config.activation == name
    assert any(f"activation {name}: with it the weights have the stored losses" in said for said in imported.inferred)
    assert (imported.assumed, "activation" in imported.unknown) == ([], False)
    assert run.known_split.train.tolist() == trainer.train.tolist()
    run.close()
    tdw.import_run(elsewhere.saved(trainer.weights(), tmp_path / "alone.pth"), tmp_path / "alone.tdw")
    with tdw.open(tmp_path / "alone.tdw") as run:
        assert "activation" in run.imported.unknown
        said = next(one for one in run.imported.assumed if "activation" in one)
        assert re.fullmatch(
            r"activation relu: the activation function is not known\. Correct answers with it: relu [\d.]+%, gelu [\d.]+%; "
            "--activation states it",
            said,
        )
        assert f"assumed: {said}" in report.run_info(run, run.info())


def test_a_task_is_inferred_only_if_the_weights_answer_it(tmp_path):
    """A network that only memorized its train pairs answers three in ten."""
    trainer = elsewhere.nanda(fraction=0.3, epochs=300)
    imported = tdw.import_run(elsewhere.saved(trainer.weights(), tmp_path / "alone.pth"), tmp_path / "alone.tdw")
    assert "task" in imported.unknown
    assert any(
        said.startswith("task add: the task is not known. The most correct answers, ") for said in imported.assumed
    )


def test_a_split_with_an_unusual_seed_is_unknown(tmp_path):
    trainer = elsewhere.nanda(seed=987_654_321)
    imported, run = brought(trainer.final(), tmp_path)
    assert imported.split is None
    assert run.known_split is None
    assert not imported.resumable
    assert "the train/test split is unknown" in imported.why_not
    assert {"data_seed", "train_fraction"} <= set(imported.unknown)
    run.close()


def test_a_split_from_hints_is_checked_against_the_losses(tmp_path):
    trainer = elsewhere.nanda(seed=987_654_321)
    with pytest.raises(SettingError, match=r"--data-seed 5 with --train-fraction 0.5 is not the split of .*theirs.pth"):
        brought(trainer.final(), tmp_path, data_seed=5, train_fraction=0.5)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["theirs.pth"]
    imported, run = brought(trainer.final(), tmp_path, data_seed="987654321", train_fraction="0.5")
    assert run.known_split.train.tolist() == trainer.train.tolist()
    assert imported.split.error < 0.05
    assert imported.resumable
    run.close()


def test_the_pairs_that_a_file_lists(trainer, tmp_path):
    listed = {
        f"{name}_data": [(int(pair) // 11, int(pair) % 11, 11) for pair in side]
        for name, side in (("train", trainer.train), ("test", trainer.test))
    }
    imported, run = brought(elsewhere.many(trainer) | {"config": {}} | listed, tmp_path)
    assert run.known_split.train.tolist() == trainer.train.tolist()
    assert imported.split.rule == "listed in the file"
    assert imported.split.error < 1e-4
    assert "data_seed" in imported.unknown
    run.close()
    swapped = {"train_data": listed["test_data"], "test_data": listed["train_data"]}
    (tmp_path / "other").mkdir()
    imported, run = brought(elsewhere.many(trainer) | {"config": {}} | swapped, tmp_path / "other")
    assert any("the losses of the weights are only within" in sentence for sentence in imported.contradicted)
    run.close()


def shapes_of_a_list(losses):
    return [
        losses,
        tuple(losses),
        [torch.tensor(x, dtype=torch.float64) for x in losses],
        [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in losses],
        torch.tensor(losses, dtype=torch.float64),
    ]


@pytest.mark.parametrize("shape", range(5))
def test_losses_of_any_shape(trainer, tmp_path, shape):
    theirs = trainer.final()
    theirs["train_losses"] = shapes_of_a_list(trainer.train_losses)[shape]
    theirs["model"] = {
        name: tensor.clone().requires_grad_(tensor.dtype.is_floating_point) for name, tensor in theirs["model"].items()
    }
    _, run = brought(theirs, tmp_path)
    assert run.train_loss[:-1].tolist() == trainer.train_losses
    run.close()


@pytest.mark.parametrize("legacy", [True, False])
def test_tensors_that_lay_on_a_graphics_card(trainer, tmp_path, legacy):
    source = elsewhere.saved(trainer.final(), tmp_path / "cpu.pth", _use_new_zipfile_serialization=not legacy)
    tagged = tmp_path / "cuda.pth"
    if legacy:
        tagged.write_bytes(source.read_bytes().replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"))
    else:
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(tagged, "w") as new:
            for entry in old.infolist():
                data = old.read(entry)
                if entry.filename.endswith("data.pkl"):
                    assert b"X\x03\x00\x00\x00cpu" in data
                    data = data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
                new.writestr(entry.filename, data)
    tdw.import_run(tagged, tmp_path / "run.tdw")
    with tdw.open(tmp_path / "run.tdw") as run:
        assert np.array_equal(run.weights(120)["embed.W_E"], trainer.model.state_dict()["embed.W_E"].numpy().T)


def test_losses_alone(trainer, tmp_path):
    theirs = {"train_losses": trainer.train_losses, "test_losses": trainer.test_losses}
    imported, run = brought(theirs, tmp_path)
    assert "losses without weights" in imported.form
    assert {"p", "task", "d_model", "lr", "data_seed"} <= set(imported.unknown)
    assert (run.checkpoints, run.known_split, run.state) == ([], None, "finished")
    assert run.train_loss.tolist() == trainer.train_losses
    assert run.test_loss.tolist() == trainer.test_losses
    assert run.verify() == []
    found = {event.name: event for event in run.events()}
    assert found["peak"].first is not None
    # Nothing tells whether an accuracy that was never written down was reached; the loss tells that it did not fall.
    assert (found["generalized_accuracy"].first, found["generalized_accuracy"].missing) == (None, "not recorded")
    assert (found["generalized_0.01"].first, found["generalized_0.01"].missing) == (None, "not reached")
    run.close()
    assert "events" in tdw.analyze(run.path)
    with tdw.open(run.path) as run:
        assert run.info()["imported"] == imported.to_json()
    (tmp_path / "told").mkdir()
    imported, run = brought(theirs, tmp_path / "told", p=11, task="add")
    assert run.config.p == 11
    assert {"p", "task"} & set(imported.unknown) == set()
    run.close()


def test_losses_that_are_infinite_or_nan_are_kept(tmp_path):
    theirs = {"train_losses": [2.0, -1e-8, math.inf], "test_losses": [2.0, math.nan, math.inf]}
    _, run = brought(theirs, tmp_path)
    np.testing.assert_array_equal(run.train_loss, [2.0, -1e-8, math.inf])
    np.testing.assert_array_equal(run.test_loss, [2.0, math.nan, math.inf])
    assert run.recorded("losses/test").all()
    run.close()
    (tmp_path / "one").mkdir()
    _, run = brought({"train_losses": [2.0, 1.0], "test_losses": [math.nan, math.inf]}, tmp_path / "one")
    assert {event.name: event.missing for event in run.events()}["generalized_0.1"] == "not reached"
    run.close()


@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        ({"train_losses": [], "test_losses": []}, "it has neither weights nor finite losses"),
        (
            {"train_losses": [math.inf], "test_losses": [math.nan]},
            "it has neither weights nor finite losses",
        ),
        (
            {"train_losses": [1.0, -0.5], "test_losses": [1.0, 1.0]},
            "its train losses contain -0.5, but a cross-entropy",
        ),
        ({"train_losses": [1.0, 0.5], "test_losses": [1.0, -3]}, "its test losses contain -3, but a cross-entropy"),
    ],
)
def test_invalid_losses_are_refused(tmp_path, theirs, sentence):
    with pytest.raises(NotImportableError, match=sentence):
        brought(theirs, tmp_path)
    assert not list(tmp_path.glob("*.tdw"))


def test_a_folder_as_that_code_writes_it_while_it_trains(trainer, tmp_path):
    folder = tmp_path / "grok_1"
    folder.mkdir()
    sides = {
        f"{name}_data": [(int(pair) // 11, int(pair) % 11, 11) for pair in side]
        for name, side in (("train", trainer.train), ("test", trainer.test))
    }
    elsewhere.saved({"model": trainer.before[0], **sides}, folder / "init.pth")
    for epoch, state in trainer.stored.items():
        elsewhere.saved(
            {
                "model": state,
                "train_loss": trainer.train_losses[epoch],
                "test_loss": trainer.test_losses[epoch],
                "epoch": epoch,
            },
            folder / f"{epoch}.pth",
        )
    tdw.import_run(folder, tmp_path / "part.tdw")
    with tdw.open(tmp_path / "part.tdw") as run:
        assert run.checkpoints == [0, *(epoch + 1 for epoch in trainer.stored)]
        assert np.flatnonzero(~np.isnan(run.train_loss)).tolist() == list(trainer.stored)
    elsewhere.saved(trainer.final() | {"epoch": 120}, folder / "final.pth")
    imported = tdw.import_run(folder, tmp_path / "run.tdw")
    assert imported.resumable
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.checkpoints == [0, *(epoch + 1 for epoch in trainer.stored), 120]
        assert run.known_split.train.tolist() == trainer.train.tolist()
        assert run.train_loss[:-1].tolist() == trainer.train_losses


def spoiled(optimizer, kind):
    group = optimizer["param_groups"][0]
    if kind == "amsgrad":
        group["amsgrad"] = True
    elif kind == "eps":
        group["eps"] = 1e-6
    elif kind == "adam":
        group["decoupled_weight_decay"] = False
    elif kind == "lr":
        group["lr"] = group["initial_lr"] / 2
    elif kind == "steps":
        optimizer["state"][0]["step"] = torch.tensor(7.0)
    elif kind == "shape":
        optimizer["state"][0]["exp_avg"] = torch.zeros(3, 3)
    elif kind == "nan":
        optimizer["state"][2]["exp_avg_sq"][0, 0, 0] = torch.nan
    elif kind == "missing":
        del optimizer["state"][4]
    return optimizer


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("amsgrad", "its AdamW has options that are not supported (amsgrad True)"),
        ("eps", "its AdamW has options that are not supported (eps 1e-06)"),
        ("adam", "its optimizer is Adam with L2 weight decay"),
        ("lr", "its learning rate schedule is not supported"),
        ("steps", "counted a different number of updates"),
        ("shape", "a different shape than its weight"),
        ("nan", "holds NaN or infinite values"),
        ("missing", "do not match the network"),
    ],
)
def test_an_optimizer_from_which_training_cannot_resume(trainer, tmp_path, kind, sentence):
    theirs = trainer.final()
    spoiled(theirs["optimizer"], kind)
    imported, run = brought(theirs, tmp_path)
    assert not imported.resumable
    assert sentence in imported.why_not
    assert run.checkpoints == [120]
    run.close()


def test_an_invalid_learning_rate_is_left_out(trainer, tmp_path):
    theirs = trainer.final()
    theirs["optimizer"]["param_groups"][0] |= {"initial_lr": 0.0, "lr": 0.0}
    imported, run = brought(theirs, tmp_path)
    assert "lr" in imported.unknown
    assert any("is not allowed here and was left out (--lr must be" in sentence for sentence in imported.contradicted)
    assert imported.why_not == "its optimizer settings are unknown"
    run.close()


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    if not (FOREIGN / "mod_addition_no_wd.pth").is_file():
        pytest.skip(f"the public file of the grokking code is not at {FOREIGN}")
    path = tmp_path_factory.mktemp("foreign") / "run.tdw"
    imported = tdw.import_run(FOREIGN / "mod_addition_no_wd.pth", path)
    return path, imported, json.loads((FOREIGN / "mod_addition_no_wd.json").read_text())


def test_a_public_file(foreign):
    path, imported, figures = foreign
    split = figures["split"]
    assert (imported.split.seed, imported.split.train, imported.split.test) == (
        split["seed"], split["n_train"], split["n_test"],
    )  # fmt: skip
    assert imported.split.error < 1e-4
    assert imported.split.chance < 1e-4
    with tdw.open(path) as run:
        assert run.config.train_fraction == split["frac"]
        assert run.train_loss[4999] == figures["stored_last_train"]
        assert run.test_loss[4999] == figures["stored_last_test"]
        assert len(run.train_loss) == figures["n_train_losses"] + 1
        assert elsewhere.loss_here(run, 5000, run.split.train) == pytest.approx(figures["loss_train_114way"], rel=1e-3)
        assert elsewhere.loss_here(run, 5000, run.split.test) == pytest.approx(figures["loss_test_114way"], rel=1e-3)
        for name, sum_of_squares in figures["sum_sq_weights"].items():
            assert float((run.weights(5000)[name].astype(float) ** 2).sum()) == pytest.approx(sum_of_squares, abs=1e-3)
        peak = next(event for event in run.events() if event.name == "peak")
        assert peak.first[1] == figures["curve"]["test_peak_epoch"]


def test_training_of_a_public_file_resumes(foreign, tmp_path):
    path, imported, _ = foreign
    assert imported.resumable
    copy = tmp_path / "copy.tdw"
    copy.write_bytes(path.read_bytes())
    tdw.train(copy, epochs=5003)
    with tdw.open(copy) as run:
        # The recorded losses fell by 2.9e-4 an update, and go on doing so.
        falls = np.diff(np.log(run.train_loss[[4998, 4999, 5001, 5002, 5003]])) / [1, 2, 1, 1]
        assert np.allclose(falls, falls[0], rtol=0.05)


def test_a_public_file_is_measured_as_others_measured_it(foreign, tmp_path):
    path, _, figures = foreign
    copy = tmp_path / "copy.tdw"
    copy.write_bytes(path.read_bytes())
    named = ("loss", "restricted_loss", "excluded_loss", "distance_irrelevance", "margin")
    tdw.analyze(copy, only=[*named, "key_frequencies"])
    with tdw.open(copy) as run:
        found = {
            name: {key: rows[0] for key, rows in run.analysis(name).arrays.items()}
            for name in (*named, "key_frequencies")
        }
    assert (np.flatnonzero(found["key_frequencies"]["key"][0]) + 1).tolist() == figures["key_freqs_cos_sim_gt_0.005"]
    assert found["loss"]["loss"][1:] == pytest.approx(
        [figures["loss_train_114way"], figures["loss_test_114way"]], rel=1e-3
    )
    variants = list(figures["mask_variants"].values())[:3]
    for at, theirs in enumerate(variants):
        measured = found["restricted_loss"]["loss"][0, 0, at]
        assert measured == pytest.approx([theirs[f"restricted_{side}"] for side in ("all", "train", "test")], rel=1e-3)
    assert found["excluded_loss"]["together"][0, 0] == pytest.approx(variants[0]["excluded_train"], rel=1e-4)
    assert found["distance_irrelevance"]["value"] == pytest.approx(figures["distance_irrelevance"], abs=1e-5)
    assert found["margin"]["minimum"] == pytest.approx(figures["margin_min_mean_max"][0], rel=1e-4)
    assert found["margin"]["mean"] == pytest.approx(figures["margin_min_mean_max"][1], rel=1e-4)


def test_files_of_other_forms_are_refused(tmp_path):
    with pytest.raises(NotImportableError, match="answers"):
        brought(elsewhere.nanda().final() | {"config": {"fn_name": "rand"}}, tmp_path)


def test_losses_alone_take_no_room_for_weights(tmp_path):
    torch.save({"train_losses": [2 / (i + 1) for i in range(400)], "test_losses": [3.0] * 400}, tmp_path / "x.pth")
    path = tmp_path / "x.tdw"
    tdw.import_run(tmp_path / "x.pth", path)
    assert path.stat().st_size < 400_000, "it had room for the weights and resume state of the default network"
    tdw.note(path, title="losses")  # rebuilds the file
    assert path.stat().st_size < 400_000
    assert tdw.verify(path) == []
    with tdw.open(path) as run:
        np.testing.assert_array_equal(run.train_loss, [2 / (i + 1) for i in range(400)])
        assert run.checkpoints == []
