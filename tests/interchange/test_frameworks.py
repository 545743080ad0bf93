"""What Lightning, Hugging Face's Trainer and Accelerate store: their files in small, written by a plain loop that notes
every loss with the number of updates of its weights.
"""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import tdw
from tdw.app.auto_import import is_foreign
from tdw.errors import NotImportableError, SettingError
from tests.interchange import elsewhere

P, UPDATES, EVERY, SEED, FRACTION = 11, 40, 10, 5, 0.6
ADAMW = {"lr": 5e-3, "weight_decay": 0.5, "betas": (0.9, 0.98)}


@pytest.fixture(scope="module")
def loop():
    """A run: train[e], test[e] are losses of the weights after e updates, states and optimizers by e."""
    model = elsewhere.lens(p=P)
    order = torch.randperm(P * P, generator=torch.Generator().manual_seed(SEED))
    sides = order[: int(FRACTION * P * P)], order[int(FRACTION * P * P) :]
    optimizer = torch.optim.AdamW(list(model.w.values()), **ADAMW)
    run = SimpleNamespace(train=[], test=[], states={}, optimizers={}, split=sides, names=list(model.w))

    def loss(pairs):
        return elsewhere.loss_of(model(pairs), (pairs // P + pairs % P) % P)

    for updates in range(UPDATES + 1):
        now, held_out = loss(sides[0]), loss(sides[1])
        run.train.append(now.item())
        run.test.append(held_out.item())
        if updates % EVERY == 0:
            run.states[updates] = {name: tensor.detach().clone() for name, tensor in model.w.items()}
            run.optimizers[updates] = torch.load(_saved(optimizer.state_dict()), weights_only=True)
        optimizer.zero_grad()
        now.backward()
        optimizer.step()
    return run


def _saved(value):
    import io

    torch.save(value, stream := io.BytesIO())
    stream.seek(0)
    return stream


def ckpt(loop, step, *, prefix="model._orig_mod.", per_epoch=1, **more):
    """A checkpoint of Lightning 2.6 (its other entries, on loops and callbacks, are left out)."""
    return {
        "epoch": step // per_epoch - 1,
        "global_step": step,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {prefix + name: tensor for name, tensor in loop.states[step].items()},
        "loops": {"fit_loop": {"epoch_loop.state_dict": {"_batches_that_stepped": step}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"kth_value": torch.tensor(np.inf), "best_k_models": {}}},
        "optimizer_states": [loop.optimizers[step]],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"p": P, "seed": SEED, "frac_train": FRACTION},
    } | more


def metrics(loop, path, *, every=1):
    """The rows of its CSV logger: at step i, train loss before update i + 1 and, in a row of its own, validation after it."""
    with path.open("w", newline="") as file:
        rows = csv.DictWriter(file, ["epoch", "step", "train_loss", "val_acc", "val_loss"])
        rows.writeheader()
        for step in range(UPDATES):
            rows.writerow({"epoch": step, "step": step, "train_loss": loop.train[step]})
            if (step + 1) % every == 0:
                rows.writerow({"epoch": step, "step": step, "val_loss": loop.test[step + 1], "val_acc": step / UPDATES})
    return path


@pytest.fixture
def version(loop, tmp_path):
    """A folder that Lightning made: checkpoints/ and metrics.csv."""
    folder = tmp_path / "version_0"
    (folder / "checkpoints").mkdir(parents=True)
    metrics(loop, folder / "metrics.csv")
    for step in range(EVERY, UPDATES + 1, EVERY):
        torch.save(ckpt(loop, step), folder / "checkpoints" / f"epoch={step - 1}-step={step}.ckpt")
    return folder


def check_curves(run, loop, *, last_train=False):
    """Every loss is at the number of updates of its weights."""
    assert run.train_loss[:UPDATES].tolist() == pytest.approx(loop.train[:UPDATES], abs=0)
    assert run.test_loss[1 : UPDATES + 1].tolist() == pytest.approx(loop.test[1:], abs=0)
    assert np.isnan(run.test_loss[0])
    assert np.isnan(run.train_loss[UPDATES]) != last_train


@pytest.mark.parametrize("given", ["version_0", "version_0/checkpoints", "."])
def test_a_run_of_lightning(loop, version, tmp_path, given):
    imported = tdw.import_run(version.parent / given, tmp_path / "run.tdw")
    assert imported.form == "checkpoints of Lightning"
    assert (imported.unknown, imported.contradicted, imported.assumed) == (["model_seed", "warmup"], [], [])
    assert (imported.split.seed, imported.split.error) == (SEED, pytest.approx(0, abs=1e-5))
    assert imported.resumable
    said = "\n".join([*imported.inferred, *imported.converted])
    assert "epoch=9-step=10.ckpt is epoch 10" in said
    assert "'model._orig_mod.'" in said
    assert "it is at epoch i + 1 here" in said
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.checkpoints == [10, 20, 30, 40]
        for epoch in run.checkpoints:
            weights = run.weights(epoch)
            assert all(np.array_equal(weights[name], tensor) for name, tensor in loop.states[epoch].items())
        check_curves(run, loop)
        assert run.test_accuracy[40] == pytest.approx(39 / 40)
        assert run.known_split.train.tolist() == loop.split[0].tolist()
        settings = run.config
        assert (settings.task, settings.lr, settings.weight_decay, settings.betas) == ("add", *ADAMW.values())


def test_training_goes_on_as_lightnings_did(loop, tmp_path):
    """From update 30 on, both train alike: the weights at update 40 are those of the other loop."""
    torch.save(ckpt(loop, 30), tmp_path / "epoch=29-step=30.ckpt")
    hints = {"task": "add", "activation": "relu", "data_seed": SEED, "train_fraction": FRACTION, "split_rule": "torch"}
    imported = tdw.import_run(tmp_path / "epoch=29-step=30.ckpt", tmp_path / "run.tdw", **hints)
    assert imported.form == "a checkpoint of Lightning"
    assert imported.resumable
    tdw.train(tmp_path / "run.tdw", epochs=40)
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.train_loss[31:40].tolist() == pytest.approx(loop.train[31:40], rel=1e-4)
        weights = run.weights(40)
        for name, tensor in loop.states[40].items():
            assert np.abs(weights[name] - tensor.numpy()).max() < 1e-4


def test_what_keeps_training_from_going_on_is_said(loop, tmp_path):
    file = tmp_path / "last.ckpt"
    hints = {"task": "add", "activation": "relu", "data_seed": SEED, "train_fraction": FRACTION}
    for more, why in (
        ({"epoch": 5}, "several updates an epoch"),
        ({"lr_schedulers": [{"lr_lambdas": [None], "base_lrs": [1]}]}, "learning rate schedule"),
        ({"optimizer_states": loop.optimizers[0]}, "no optimizer state"),
    ):
        torch.save(ckpt(loop, 30, **more), file)
        imported = tdw.import_run(file, tmp_path / "run.tdw", overwrite=True, **hints)
        assert not imported.resumable
        assert why in imported.why_not
        assert not any("warmup of Nanda" in line for line in imported.inferred)
        with tdw.open(tmp_path / "run.tdw") as run:
            assert run.checkpoints == [30]


def test_batches_are_counted_as_updates_and_their_losses_are_not_those_of_weights(loop, version, tmp_path):
    for file in (version / "checkpoints").iterdir():
        step = int(file.stem.rpartition("=")[2])
        torch.save(ckpt(loop, step, per_epoch=5), file.with_name(f"epoch={step // 5 - 1}-step={step}.ckpt"))
        file.unlink()
    rows = (version / "metrics.csv").read_text().replace(f"{loop.train[20]!r}", "9.5")  # the loss of a batch
    assert "9.5" in rows
    (version / "metrics.csv").write_text(rows)
    imported = tdw.import_run(version, tmp_path / "run.tdw")
    assert any("losses are those of batches" in line for line in imported.assumed)
    assert imported.split.seed == SEED  # found by validation alone
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.checkpoints == [10, 20, 30, 40]


def test_of_two_files_of_one_state_one_is_taken(loop, version, tmp_path):
    torch.save(ckpt(loop, 40), version / "checkpoints" / "last.ckpt")
    imported = tdw.import_run(version, tmp_path / "run.tdw")
    assert any("last.ckpt repeats epoch=39-step=40.ckpt" in line for line in imported.converted)
    other = ckpt(loop, 40, state_dict=ckpt(loop, 30)["state_dict"])
    torch.save(other, version / "checkpoints" / "last.ckpt")
    with pytest.raises(NotImportableError, match="both saved after 40 updates, with different weights"):
        tdw.import_run(version, tmp_path / "other.tdw")


def test_several_runs_of_lightning_are_not_mixed(loop, version, tmp_path):
    (tmp_path / "version_1" / "checkpoints").mkdir(parents=True)
    torch.save(ckpt(loop, 10), tmp_path / "version_1" / "checkpoints" / "last.ckpt")
    with pytest.raises(NotImportableError, match=r"2 runs \(version_0, version_1\): give one of these folders"):
        tdw.import_run(tmp_path, tmp_path / "run.tdw")


@pytest.mark.parametrize("other", ["model.pt", "theirs/model.safetensors"])
def test_a_run_of_lightning_next_to_other_weights_is_not_taken_for_all_there_is(version, tmp_path, other):
    (tmp_path / other).parent.mkdir(exist_ok=True)
    (tmp_path / other).write_bytes(b"weights of something else")
    name = other.split("/")[0]
    with pytest.raises(
        NotImportableError, match=rf"besides a run of Lightning, version_0, it holds {name}: give one of them"
    ):
        tdw.import_run(tmp_path, tmp_path / "run.tdw")
    assert not (tmp_path / "run.tdw").exists()


def test_the_logs_of_lightning_alone(loop, tmp_path):
    metrics(loop, tmp_path / "metrics.csv", every=4)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write(f"{UPDATES},{UPDATES},,,\n")
    text = (tmp_path / "metrics.csv").read_text().splitlines()
    text[0] += ",test_loss"  # a final test is no curve
    text[1:] = [*(f"{line}," for line in text[1:-1]), f"{UPDATES},{UPDATES},,,,7.5"]
    (tmp_path / "metrics.csv").write_text("\n".join(text))
    imported = tdw.import_run(tmp_path / "metrics.csv", tmp_path / "run.tdw")
    assert any("test loss is the column val_loss" in line for line in imported.inferred)
    with tdw.open(tmp_path / "run.tdw") as run:
        at = np.flatnonzero(~np.isnan(run.test_loss))
        assert at.tolist() == list(range(4, UPDATES + 1, 4))
        assert run.test_loss[at].tolist() == pytest.approx([loop.test[epoch] for epoch in at], abs=0)
        assert run.train_loss[:UPDATES].tolist() == pytest.approx(loop.train[:UPDATES], abs=0)


def test_small_losses_that_float32_rounded_are_recognized(loop, version, tmp_path):
    """At a train loss of 1e-5, rounding by 4e-8 is more than the usual tolerance; the split is found all the same."""
    sure = {name: tensor * (3 if "W_U" in name else 1) for name, tensor in loop.states[40].items()}
    model = elsewhere.lens(p=P)
    # A network with a small train loss: the unembedding is fitted further on the train pairs alone.
    for name, tensor in sure.items():
        model.w[name] = tensor.clone().requires_grad_()
    optimizer = torch.optim.AdamW(list(model.w.values()), lr=2e-2, weight_decay=0)
    train, test = loop.split
    for _ in range(600):
        loss = elsewhere.loss_of(model(train), (train // P + train % P) % P)
        if loss.item() < 1e-5:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    held_out = elsewhere.loss_of(model(test), (test // P + test % P) % P).item()
    assert loss.item() < 1e-5
    for file in (version / "checkpoints").iterdir():
        file.unlink()
    state = {f"model.{name}": tensor.detach() for name, tensor in model.w.items()}
    more = {"state_dict": state, "hyper_parameters": {}, "optimizer_states": []}
    torch.save(ckpt(loop, 40, **more), version / "checkpoints" / "epoch=39-step=40.ckpt")
    (version / "metrics.csv").write_text(
        f"epoch,step,train_loss,val_loss\n39,39,,{held_out!r}\n40,40,{loss.item() + 4e-8!r},\n"
    )
    imported = tdw.import_run(version, tmp_path / "run.tdw", task="add", activation="relu")
    assert imported.split is not None
    assert imported.split.seed == SEED


@pytest.fixture
def saved_by_trainer(loop, tmp_path):
    """A folder of Hugging Face's Trainer, which logs train and test loss at the number of updates after the step."""
    folder = tmp_path / "out"
    history = []
    for step in range(1, UPDATES + 1):
        row = {"epoch": float(step), "step": step}
        history.append(row | {"loss": loop.train[step - 1], "grad_norm": 0.1, "learning_rate": 5e-3})
        if step % EVERY == 0:
            history.append(row | {"eval_loss": loop.test[step], "eval_runtime": 0.1})
            _checkpoint(folder / f"checkpoint-{step}", loop, step, "model.safetensors", "optimizer.pt", "net.")
            state = {"global_step": step, "epoch": float(step), "log_history": history, "max_steps": UPDATES}
            (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
            (folder / f"checkpoint-{step}" / "training_args.bin").write_bytes(b"a pickle")
    return folder


def _checkpoint(folder, loop, step, weights, optimizer, prefix=""):
    folder.mkdir(parents=True)
    state = {prefix + name: tensor for name, tensor in loop.states[step].items()}
    if weights.endswith(".safetensors"):
        save_file(state, folder / weights)
    else:
        torch.save(state, folder / weights)
    torch.save(loop.optimizers[step], folder / optimizer)
    torch.save({}, folder / "rng_state.pth")


def test_a_run_of_hugging_faces_trainer(loop, saved_by_trainer, tmp_path):
    imported = tdw.import_run(saved_by_trainer, tmp_path / "run.tdw")
    assert imported.form == "checkpoints of Hugging Face's Trainer"
    assert (imported.unknown, imported.assumed, imported.contradicted) == (
        ["model_seed", "data_seed", "warmup"] if imported.split is None else ["model_seed", "warmup"],
        [],
        [],
    )
    assert imported.split.seed == SEED
    assert imported.split.error < 1e-5
    assert not imported.resumable
    assert "clips gradients" in imported.why_not
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.checkpoints == [10, 20, 30, 40]
        assert run.train_loss[:UPDATES].tolist() == pytest.approx(loop.train[:UPDATES], abs=0)
        assert np.flatnonzero(~np.isnan(run.test_loss)).tolist() == [10, 20, 30, 40]
        assert run.test_loss[20] == loop.test[20]
        weights = run.weights(30)
        assert all(np.array_equal(weights[name], tensor) for name, tensor in loop.states[30].items())


def test_a_single_folder_of_the_trainer_says_which_loss_is_missing(saved_by_trainer, tmp_path):
    imported = tdw.import_run(saved_by_trainer / "checkpoint-40", tmp_path / "run.tdw")
    assert any("did not record the train loss of its last weights" in line for line in imported.converted)


def test_means_between_logs_are_said_and_not_taken_for_losses_of_weights(loop, saved_by_trainer, tmp_path):
    file = saved_by_trainer / "checkpoint-40" / "trainer_state.json"
    state = json.loads(file.read_text())
    rows = [row for row in state["log_history"] if "loss" not in row or row["step"] % 11 == 0]
    for row in rows:
        if "loss" in row:
            row["loss"] = float(np.mean(loop.train[row["step"] - 11 : row["step"]]))
    file.write_text(json.dumps(state | {"log_history": rows}))
    imported = tdw.import_run(saved_by_trainer, tmp_path / "run.tdw")
    assert any("mean over the 11 updates" in line for line in imported.assumed)
    assert imported.split.seed == SEED
    assert imported.split.error < 1e-5
    with tdw.open(tmp_path / "run.tdw") as run:
        assert np.flatnonzero(~np.isnan(run.train_loss)).tolist() == [
            10,
            21,
            32,
        ]  # among them an epoch with a checkpoint


def test_the_window_takes_such_folders(version, saved_by_trainer, tmp_path):
    assert all(map(is_foreign, (version, version / "checkpoints", saved_by_trainer)))
    (tmp_path / "plain" / "checkpoints").mkdir(parents=True)
    assert not is_foreign(tmp_path / "plain")


def test_the_names_of_folders_may_be_explained(loop, tmp_path):
    for name, step in (("a7_x_10", 10), ("b3_y_40", 40)):
        _checkpoint(tmp_path / "p" / name, loop, step, "model.safetensors", "optimizer.bin")
        (tmp_path / "p" / name / "optimizer.bin").unlink()
    with pytest.raises(NotImportableError, match="do not tell their epochs"):
        tdw.import_run(tmp_path / "p", tmp_path / "run.tdw")
    tdw.import_run(tmp_path / "p", tmp_path / "run.tdw", epochs_from="_{epoch}", task="add", activation="relu")
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.checkpoints == [10, 40]


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_folders_of_accelerate(loop, tmp_path, weights):
    """Named by a count of the saves, which is no epoch: what the optimizer counted is."""
    for at, step in enumerate((0, 10, 40)):
        _checkpoint(tmp_path / "p" / "checkpoints" / f"checkpoint_{at}", loop, step, weights, "optimizer.bin")
    hints = {"task": "add", "activation": "relu", "data_seed": SEED, "train_fraction": FRACTION}
    imported = tdw.import_run(tmp_path / "p", tmp_path / "run.tdw", **hints)
    assert any("checkpoint_1 is epoch 10, checkpoint_2 is epoch 40" in line for line in imported.inferred)
    assert imported.resumable == (weights == "pytorch_model.bin")
    assert imported.resumable or "do not keep the order" in imported.why_not
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.checkpoints == [0, 10, 40]
        weights_of = run.weights(10)
        assert all(np.array_equal(weights_of[name], tensor) for name, tensor in loop.states[10].items())


def test_folders_without_an_optimizer_are_named_by_their_epochs(loop, tmp_path):
    for step in (10, 40):
        _checkpoint(tmp_path / "p" / f"epoch_{step}", loop, step, "model.safetensors", "optimizer.bin")
        (tmp_path / "p" / f"epoch_{step}" / "optimizer.bin").unlink()
    imported = tdw.import_run(tmp_path / "p", tmp_path / "run.tdw", task="add", activation="relu")
    assert any("the number in its name: epoch_10 is epoch 10" in line for line in imported.inferred)


def test_the_form_of_pytorchs_tutorial(loop, tmp_path):
    """`epoch` of a loop from 0 or from 1: the optimizer tells the number of updates."""
    for label in (39, 40):
        stored = {"epoch": label, "model_state_dict": loop.states[40], "optimizer_state_dict": loop.optimizers[40]}
        torch.save(stored | {"loss": loop.train[39]}, tmp_path / "net.pt")
        tdw.import_run(tmp_path / "net.pt", tmp_path / "run.tdw", overwrite=True, task="add", activation="relu")
        with tdw.open(tmp_path / "run.tdw") as run:
            assert run.checkpoints == [40]
            assert run.config.lr == 5e-3


def test_a_wrapped_mlp_on_one_hot_pairs(tmp_path):
    generator = torch.Generator().manual_seed(2)
    state = {
        "model._orig_mod.mlp.W_in": torch.randn(2 * P, 7, generator=generator),
        "model._orig_mod.mlp.W_out": torch.randn(7, P, generator=generator),
    }
    torch.save(state, tmp_path / "net.pt")
    imported = tdw.import_run(tmp_path / "net.pt", tmp_path / "run.tdw", task="add", activation="relu")
    assert any("'model._orig_mod.'" in line for line in imported.converted)
    with tdw.open(tmp_path / "run.tdw") as run:
        assert np.array_equal(run.weights(1)["mlp.W_in"], state["model._orig_mod.mlp.W_in"])


def test_a_template_does_not_apply_where_checkpoints_count_their_updates(version, tmp_path):
    with pytest.raises(SettingError, match="--epochs-from does not apply"):
        tdw.import_run(version / "checkpoints", tmp_path / "run.tdw", epochs_from="step={epoch}")
