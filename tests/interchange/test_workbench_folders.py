"""Folders of an earlier workbench."""

import json

import numpy as np
import pytest
import torch

import tdw
from tdw.errors import NotImportableError
from tests.interchange import elsewhere


def test_a_complete_run(tmp_path):
    states = elsewhere.workbench(tmp_path / "theirs")
    metadata = json.loads((tmp_path / "theirs" / "metadata.json").read_text())
    imported = tdw.import_run(tmp_path / "theirs", tmp_path / "run.tdw")
    assert imported.form == "a folder of an earlier workbench"
    assert (imported.split.rule, imported.contradicted) == ("listed in the file", [])
    assert imported.split.error < 1e-4
    assert {"lr", "weight_decay", "betas"} <= set(imported.unknown)
    assert not {"model_seed", "data_seed", "train_fraction", "p", "activation"} & set(imported.unknown)
    assert any("they are at epoch e + 1 here" in sentence for sentence in imported.converted)
    assert any("it is at epoch i + 1 here" in sentence for sentence in imported.converted)
    with tdw.open(tmp_path / "run.tdw") as run:
        assert (run.config.p, run.config.data_seed, run.config.model_seed, run.config.train_fraction) == (
            11,
            598,
            4,
            0.5,
        )
        assert run.config.biases == "none"
        assert run.checkpoints == [1, 11, 26, 60]
        assert run.train_loss[:60].tolist() == metadata["train_losses"]
        assert np.isnan(run.train_loss[60])
        assert run.test_loss[1:61].tolist() == metadata["test_losses"]
        assert np.isnan(run.test_loss[0])
        for epoch in (1, 11, 26):
            assert elsewhere.loss_here(run, epoch, run.split.train) == pytest.approx(run.train_loss[epoch], rel=1e-4)
        for epoch in run.checkpoints:
            assert elsewhere.loss_here(run, epoch, run.split.test) == pytest.approx(run.test_loss[epoch], rel=1e-4)
            theirs = states[epoch - 1]
            assert all(np.array_equal(array, theirs[name].numpy()) for name, array in run.weights(epoch).items())
        assert run.known_split.train.tolist() == metadata["train_indices"]
        assert run.verify() == []


def test_the_last_weights_are_a_checkpoint_too(tmp_path):
    states = elsewhere.workbench(tmp_path / "theirs", kept=(10, 20))
    tdw.import_run(tmp_path / "theirs", tmp_path / "run.tdw")
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.checkpoints == [11, 21, 60]
        assert np.array_equal(run.weights(60)["embed.W_E"], states["last"]["embed.W_E"].numpy())


def test_test_losses_from_before_the_update_are_found_out(tmp_path):
    elsewhere.workbench(tmp_path / "theirs", test_after=False)
    imported = tdw.import_run(tmp_path / "theirs", tmp_path / "run.tdw")
    assert any("labeled differently than usual" in sentence for sentence in imported.contradicted)
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.checkpoints == [1, 11, 26, 60]
        assert elsewhere.loss_here(run, 11, run.split.test) == pytest.approx(run.test_loss[11], rel=1e-4)


def test_a_run_that_was_broken_off_has_its_checkpoints_alone(tmp_path):
    elsewhere.workbench(tmp_path / "theirs")
    for name in ("config.json", "metadata.json", "modulo_addition_p11_seed4.safetensors"):
        (tmp_path / "theirs" / name).unlink()
    imported = tdw.import_run(tmp_path / "theirs", tmp_path / "run.tdw")
    assert imported.split is None
    assert any("interrupted run" in sentence for sentence in imported.inferred)
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.checkpoints == [1, 11, 26, 60]
        assert run.known_split is None


def changed(folder, name, **changes):
    stored = json.loads((folder / name).read_text())
    (folder / name).write_text(
        json.dumps({key: value for key, value in (stored | changes).items() if value is not ...})
    )


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("config.json", {"n_layers": 2}, "a transformer of 2 layers"),
        ("config.json", {"normalization_type": "LN"}, r"with normalization \(LN\)"),
        ("config.json", {"act_fn": "silu"}, r"an unsupported activation function \(silu\)"),
        (
            "metadata.json",
            {"train_indices": [0, 1], "test_indices": [2]},
            "lists 3 pairs instead of 121 for p = 11",
        ),
        ("metadata.json", {"test_indices": list(range(121))}, "split that it lists is invalid .*twice"),
        ("metadata.json", {"train_indices": [0, 500]}, "split that it lists is invalid"),
        ("metadata.json", {"train_indices": "all"}, "its train_indices and test_indices must be lists"),
        ("metadata.json", {"train_losses": ["low", "lower"]}, r"its train_losses must be numbers \(got 'low'\)"),
        ("metadata.json", {"test_losses": {"0": 1.0}}, "its test_losses must be a list of numbers"),
    ],
)
def test_what_is_refused(tmp_path, name, changes, sentence):
    elsewhere.workbench(tmp_path / "theirs", epochs=5, kept=(1, 3))
    changed(tmp_path / "theirs", name, **changes)
    with pytest.raises(NotImportableError, match=sentence):
        tdw.import_run(tmp_path / "theirs", tmp_path / "run.tdw")
    assert [item.name for item in tmp_path.iterdir()] == ["theirs"]


def test_a_damaged_metadata(tmp_path):
    elsewhere.workbench(tmp_path / "theirs", epochs=5, kept=(1, 3))
    text = (tmp_path / "theirs" / "metadata.json").read_text()
    for damaged in (text[:200], "[" * 100_000, "[1, 2]"):
        (tmp_path / "theirs" / "metadata.json").write_text(damaged)
        with pytest.raises(NotImportableError, match=r"metadata\.json cannot be imported: it looks like"):
            tdw.import_run(tmp_path / "theirs", tmp_path / "run.tdw")


def test_a_config_that_contradicts_the_weights(tmp_path):
    elsewhere.workbench(tmp_path / "theirs", extra={"prime": 13})
    imported = tdw.import_run(tmp_path / "theirs", tmp_path / "run.tdw")
    assert any("says p 13, but the weights have 11" in sentence for sentence in imported.contradicted)


def test_the_file_of_the_demonstration_that_it_grew_from(tmp_path):
    """The grokking demo of TransformerLens stores the same data in one file."""
    states = elsewhere.workbench(tmp_path / "theirs")
    metadata = json.loads((tmp_path / "theirs" / "metadata.json").read_text())
    theirs = {
        "model": states["last"],
        "checkpoints": [states[epoch] for epoch in (0, 10, 25)],
        "checkpoint_epochs": [0, 10, 25],
        "train_losses": metadata["train_losses"],
        "test_losses": metadata["test_losses"],
    }
    listed = {name: torch.tensor(metadata[name]) for name in ("train_indices", "test_indices")}
    for given in (theirs | listed, theirs):
        source = elsewhere.saved(given, tmp_path / "grokking_demo.pth")
        imported = tdw.import_run(source, tmp_path / "run.tdw", overwrite=True)
        assert imported.form == "a file of TransformerLens' grokking demo"
        assert imported.split.error < 1e-4
        assert imported.contradicted == []
        with tdw.open(tmp_path / "run.tdw") as run:
            assert run.checkpoints == [1, 11, 26, 60]
            assert run.known_split.train.tolist() == metadata["train_indices"]
            assert run.test_loss[1:].tolist() == metadata["test_losses"]
            assert run.config.biases == "none"
            assert elsewhere.loss_here(run, 60, run.split.test) == pytest.approx(run.test_loss[60], rel=1e-4)
    assert imported.split.seed == 598


def test_the_folder_of_its_checkpoints_stands_for_the_run(tmp_path):
    elsewhere.workbench(tmp_path / "theirs", epochs=8, kept=(1, 5))
    imported = tdw.import_run(tmp_path / "theirs" / "checkpoints", tmp_path / "run.tdw")
    assert imported.form == "a folder of an earlier workbench"
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.checkpoints == [2, 6, 8]
    again = tmp_path / "theirs" / "checkpoints" / "checkpoint_epoch_5.safetensors"
    again.write_bytes((tmp_path / "theirs" / "checkpoints" / "checkpoint_epoch_00005.safetensors").read_bytes())
    with pytest.raises(NotImportableError, match="there is another checkpoint at epoch 5"):
        tdw.import_run(tmp_path / "theirs", tmp_path / "twice.tdw")
