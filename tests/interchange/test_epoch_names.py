"""Which number in a file's name is an epoch, and which is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tdw
from tdw.cli import main
from tdw.errors import NotImportableError, SettingError
from tdw.interchange.epoch_names import epoch_of, epochs_of
from tests.interchange import elsewhere

KNOWN = {
    "the number alone": (["0", "100", "2000"], [0, 100, 2000]),
    "a padded number": (["epoch-00000", "epoch-00005"], [0, 5]),
    "epoch and loss": (["epoch_0_loss_2.5630", "epoch_100_loss_1.8070"], [0, 100]),
    "Lightning's names": (["epoch=0-val_loss=4.20", "epoch=100-val_loss=4.16"], [0, 100]),
    "epoch and step, of which the latter counts updates": (["epoch=12-step=300", "epoch=13-step=325"], [300, 325]),
    "several steps of an epoch": (["epoch=0-step=300", "epoch=0-step=600"], [300, 600]),
    "a step that repeats": (["epoch=1-step=5", "epoch=2-step=5"], [1, 2]),
    "a trainer's checkpoints": (["checkpoint-500", "checkpoint-1000"], [500, 1000]),
    "short": (["ckpt_00100", "ckpt_00200"], [100, 200]),
    "dated": (["ckpt_0_2024-05-11", "ckpt_100_2024-05-12"], [0, 100]),
    "another word": (["net_100_b", "net_200_b"], [100, 200]),
    "sizes that are equal": (["grok_p113_at_10", "grok_p113_at_20"], [10, 20]),
}
UNKNOWN = {
    "unrelated names": ["alice_1", "bob_5"],
    "losses": ["model_loss_2.51", "model_loss_1.80"],
    "accuracies": ["acc_93", "acc_97"],
    "a decimal after": ["w2.5", "w3.5"],
    "dates": ["run_2024-05-11", "run_2024-05-12"],
    "dates without dashes": ["net_20240511", "net_20240512"],
    "seeds": ["net_seed1", "net_seed2"],
    "ids": ["x7fa", "x9fa"],
    "two numbers that vary": ["a1_b2", "a2_b3"],
    "a name without a number": ["1", "2", "last"],
}


@pytest.mark.parametrize("name", KNOWN)
def test_an_epoch_is_found(name):
    stems, epochs = KNOWN[name]
    assert list(epochs_of([Path(f"{stem}.pt") for stem in stems]).values()) == epochs


@pytest.mark.parametrize("name", UNKNOWN)
def test_other_numbers_are_no_epochs(name):
    with pytest.raises(NotImportableError, match=r"do not tell their epochs\. .* --epochs-from"):
        epochs_of([Path(f"runs/{stem}.pt") for stem in UNKNOWN[name]])


@pytest.mark.parametrize(
    ("stem", "epoch"),
    [
        ("epoch_300", 300),
        ("5000", 5000),
        ("model-checkpoint-40", 40),
        ("resnet50", None),
        ("loss_0.25", None),
        ("p113", None),
    ],
)
def test_a_single_file(stem, epoch):
    assert epoch_of(stem) == epoch


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / "runs"
    place.mkdir()
    for name in ("a7_100_2.51.pt", "b9_200_0.12.pt"):
        elsewhere.saved(elsewhere.lens().state(), place / name)
    return place


def test_names_that_do_not_tell_are_refused_until_the_user_says_where_the_epoch_is(folder, tmp_path, capsys):
    assert main.main(["import", str(folder), str(tmp_path / "run.tdw")]) == 2
    assert "(a7_100_2.51, b9_200_0.12) do not tell their epochs" in capsys.readouterr().err
    assert main.main(["import", str(folder), str(tmp_path / "run.tdw"), "--epochs-from", "_{epoch}_"]) == 0
    assert (
        "numbers in the file names: a7_100_2.51.pt is epoch 100, b9_200_0.12.pt is epoch 200" in capsys.readouterr().out
    )
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.checkpoints == [100, 200]


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("epoch_", '--epochs-from must contain {epoch}, as in "{epoch}_loss" (got epoch_)'),
        ("step{epoch}", "--epochs-from step{epoch} does not fit the name a7_100_2.51"),
    ],
)
def test_a_template_that_does_not_fit_is_refused(folder, tmp_path, template, sentence):
    with pytest.raises(SettingError, match=re.escape(sentence)):
        tdw.import_run(folder, tmp_path / "run.tdw", epochs_from=template)


def test_two_files_of_one_epoch_are_refused():
    with pytest.raises(NotImportableError, match=r"a2\.pt and b2\.pt both have epoch 2"):
        epochs_of([Path("a2.pt"), Path("b2.pt")], "{epoch}")


def test_a_template_is_for_folders(folder, tmp_path):
    with pytest.raises(SettingError, match="--epochs-from applies to a folder of files"):
        tdw.import_run(folder / "a7_100_2.51.pt", tmp_path / "run.tdw", epochs_from="{epoch}")
