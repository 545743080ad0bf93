"""What cannot be imported is refused with a sentence that says what it looks like, and leaves nothing behind."""

import gzip
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import tdw
from tdw.errors import AlreadyExistsError, CannotWriteError, NotImportableError
from tdw.interchange.importers import state_dicts
from tests.interchange import elsewhere


class Runs:
    """What unpickles to a call of a program."""

    def __reduce__(self):
        return os.system, ("touch PWNED",)


class Own:
    """Something of a program of one's own."""


def torch_bytes(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def zipped(**entries):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


def npz():
    file = io.BytesIO()
    np.savez(file, a=np.ones(3))
    return file.getvalue()


def npy():
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


def script():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}.")
        archive.writestr("model/code/__torch__.py", "def forward(self): pass")
    return file.getvalue()


FINAL = elsewhere.nanda().final
REFUSED = {
    "empty.pth": (lambda: b"", "an empty file: it has 0 bytes"),
    "pointer.pth": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:16\nsize 2823225\n",
        "a Git-LFS pointer, a few lines in the place of the file itself: get that with `git lfs pull`",
    ),
    "page.pth": (lambda: b"\n<!DOCTYPE html>\n<html><body>Not found</body></html>", r"a web page \(HTML\)"),
    "html.pth": (lambda: b"<html lang=en>", r"a web page \(HTML\)"),
    "cut.pth": (lambda: torch_bytes(FINAL())[:-2000], "a PyTorch file or zip archive that is cut off or damaged"),
    "short.pth": (lambda: torch_bytes(FINAL())[:300], "a PyTorch file or zip archive that is cut off or damaged"),
    "text.pth": (lambda: b"epoch,loss\n0,4.7\n", "text, not weights or losses"),
    "noise.pth": (lambda: bytes(range(256)) * 4, "nothing that is known"),
    "gzip.pth": (lambda: gzip.compress(b"x" * 99), "a gzip archive: unpack it first"),
    "array.npy": (npy, "a NumPy array"),
    "arrays.npz": (npz, r"a NumPy archive \(\.npz\)"),
    "other.zip": (lambda: zipped(**{"a.txt": "hello"}), "a zip archive that PyTorch did not write"),
    "none.zip": (zipped, "an empty zip archive"),
    "bomb.pth": (
        lambda: zipped(**{"archive/data.pkl": b"\x80\x02}.", "archive/data/0": bytes(64 << 20)}),
        "a trap: .* bytes that say they unpack to 67 MB",
    ),
    "script.pt": (script, "a TorchScript program"),
    "plain.pth": (lambda: pickle.dumps({"model": 1}), "a Python pickle that PyTorch did not write"),
    "evil.pkl": (lambda: pickle.dumps(Runs()), "a Python pickle that PyTorch did not write"),
    "evil.pth": (
        lambda: torch_bytes({"model": Runs()}),
        r"with an object inside \((posix|nt)\.system\), and reading it could run any program",
    ),
    "own.pth": (lambda: torch_bytes({"config": Own()}), "with an object inside"),
    "numpy.pth": (
        lambda: torch_bytes({"train_losses": np.arange(4.0), "test_losses": np.arange(4.0)}),
        "a PyTorch file with NumPy values inside",
    ),
    "module.pth": (lambda: torch_bytes(torch.nn.Linear(2, 2)), "with an object inside"),
    "list.pth": (
        lambda: torch_bytes([[0.1, 0.2], [[1.0, 0.5], [0.3]]]),
        "a list of 2 things: perhaps the curves of several runs",
    ),
    "tensor.pth": (lambda: torch_bytes(torch.zeros(3, 4)), r"a single tensor of shape \(3, 4\)"),
    "number.pth": (lambda: torch_bytes(4), "a int alone"),
    "nothing.pth": (lambda: torch_bytes({}), "it holds nothing"),
    "dict.pth": (lambda: torch_bytes({"G": [1], "D": [2]}), "it holds G, D, and neither weights nor losses"),
    "digits.pth": (
        lambda: torch_bytes(FINAL() | {"config": {"fn_name": "5_digit_addition"}}),
        r"another task \(5_digit_addition\)",
    ),
    "rand.pth": (lambda: torch_bytes(FINAL() | {"config": {"fn_name": "rand"}}), "a run on random answers"),
    "silu.pth": (lambda: torch_bytes(FINAL() | {"config": {"act_type": "SiLU"}}), r"another activation \(SiLU\)"),
    "long.pth": (
        lambda: torch_bytes({"model": {**FINAL()["model"], "pos_embed.W_pos": torch.zeros(15, 16)}}),
        "a transformer for another task, with 15 positions, 12 tokens and 12 classes",
    ),
    "labels.pth": (
        lambda: torch_bytes({"state_dicts": [FINAL()["model"]], "epochs": [1, 2]}),
        "it holds 1 checkpoints and does not say the epoch of each",
    ),
    "twice.pth": (
        lambda: torch_bytes({"state_dicts": [FINAL()["model"]] * 2, "epochs": [3, 3]}),
        "two of its checkpoints are of epoch 3",
    ),
    "negative.pth": (
        lambda: torch_bytes({"state_dicts": [FINAL()["model"]] * 2, "epochs": [-7, 3]}),
        "a checkpoint of epoch -7",
    ),
    "words.pth": (
        lambda: torch_bytes({"train_losses": ["a", "b"], "test_losses": [1.0]}),
        "among its train_losses is 'a', not a number",
    ),
    "brief.pth": (
        lambda: torch_bytes({"train_losses": [1.0] * 100, "test_losses": [1.0] * 60}),
        "60 test losses for 100 epochs, which fits no even distance: give --test-stride",
    ),
    "cut.safetensors": (
        lambda: (64).to_bytes(8, "little") + b'{"a":' + b" " * 80,
        "a safetensors file, but a damaged one",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, sentence = REFUSED[name]
    Path(name).write_bytes(make())
    with pytest.raises(NotImportableError, match=sentence) as refused:
        tdw.import_run(name, "run.tdw")
    assert str(refused.value).startswith(f"{name} cannot be imported: ")
    assert "\n" not in str(refused.value)
    assert [item.name for item in tmp_path.iterdir()] == [name]


def test_paths_that_hold_no_run(tmp_path):
    project = tmp_path / "ours.tdw"
    tdw.create(project, tdw.configure(p=5, d_model=4, heads=1, d_mlp=4, epochs=5, train_fraction=0.5))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.pth")
    before = sorted(item.name for item in tmp_path.iterdir())
    for name, sentence in [
        ("ours.tdw", r"an HDF5 file; if it is a project file of this program, open it with `tdw open`"),
        ("folder", r"a folder without a run: no \.pt, \.pth or \.safetensors file is in it"),
        ("missing.pth", "nothing is there"),
        ("pipe.pth", "neither a file nor a folder"),
    ]:
        with pytest.raises(NotImportableError, match=sentence):
            tdw.import_run(tmp_path / name, tmp_path / "run.tdw")
    assert sorted(item.name for item in tmp_path.iterdir()) == before


def test_nothing_is_overwritten_unless_asked(tmp_path):
    source = elsewhere.saved(elsewhere.lens().state(), tmp_path / "theirs.pt")
    target = tmp_path / "run.tdw"
    target.write_text("mine")
    with pytest.raises(AlreadyExistsError, match="was left as it is: choose another name, or --force"):
        tdw.import_run(source, target)
    assert target.read_text() == "mine"
    bad = tmp_path / "bad.pth"
    bad.write_text("text")
    with pytest.raises(NotImportableError):
        tdw.import_run(bad, target, overwrite=True)
    assert target.read_text() == "mine"
    tdw.import_run(source, target, overwrite=True)
    with tdw.open(target) as run:
        assert run.imported["source"] == "theirs.pt"
    with pytest.raises(AlreadyExistsError, match="is what is to be imported"):
        tdw.import_run(source, source, overwrite=True)
    with pytest.raises(CannotWriteError, match="there is no folder"):
        tdw.import_run(source, tmp_path / "no" / "run.tdw")
    with pytest.raises(CannotWriteError, match="it is a folder"):
        tdw.import_run(source, tmp_path)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["bad.pth", "run.tdw", "theirs.pt"]


def test_a_source_that_changes_meanwhile_leaves_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "runs"
    folder.mkdir()
    for epoch in (1, 2, 3):
        elsewhere.saved(elsewhere.lens().state(), folder / f"{epoch}.pt")
    honest, calls = state_dicts.state_of, []

    def fickle(file):
        load = honest(file)

        def again():
            calls.append(file.name)
            if calls.count("2.pt") > 1:  # by now the first checkpoint is written
                file.write_bytes(b"")
            return load()

        return again

    monkeypatch.setattr(state_dicts, "state_of", fickle)
    with pytest.raises(NotImportableError, match="an empty file"):
        tdw.import_run(folder, tmp_path / "run.tdw")
    assert [item.name for item in tmp_path.iterdir()] == ["runs"]
