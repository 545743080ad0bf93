"""Files that cannot be imported are refused with a description of what they look like, and nothing is left behind."""

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
        "a Git LFS pointer instead of the file itself: run `git lfs pull`",
    ),
    "page.pth": (lambda: b"\n<!DOCTYPE html>\n<html><body>Not found</body></html>", r"a web page \(HTML\)"),
    "html.pth": (lambda: b"<html lang=en>", r"a web page \(HTML\)"),
    "cut.pth": (lambda: torch_bytes(FINAL())[:-2000], "a truncated or damaged PyTorch file or zip archive"),
    "short.pth": (lambda: torch_bytes(FINAL())[:300], "a truncated or damaged PyTorch file or zip archive"),
    "text.pth": (lambda: b"epoch,loss\n0,4.7\n", "text, not weights or losses"),
    "noise.pth": (lambda: bytes(range(256)) * 4, "an unknown format"),
    "gzip.pth": (lambda: gzip.compress(b"x" * 99), "a gzip archive: unpack it first"),
    "array.npy": (npy, "a NumPy array"),
    "arrays.npz": (npz, r"a NumPy archive \(\.npz\)"),
    "other.zip": (lambda: zipped(**{"a.txt": "hello"}), "a zip archive that PyTorch did not write"),
    "none.zip": (zipped, "an empty zip archive"),
    "bomb.pth": (
        lambda: zipped(**{"archive/data.pkl": b"\x80\x02}.", "archive/data/0": bytes(64 << 20)}),
        "a zip bomb: .* bytes that unpack to 67 MB",
    ),
    "script.pt": (script, "a TorchScript program"),
    "plain.pth": (lambda: pickle.dumps({"model": 1}), "a Python pickle that PyTorch did not write"),
    "evil.pkl": (lambda: pickle.dumps(Runs()), "a Python pickle that PyTorch did not write"),
    "evil.pth": (
        lambda: torch_bytes({"model": Runs()}),
        r"contains an object \((posix|nt)\.system\), which is refused because it could run arbitrary code",
    ),
    "own.pth": (lambda: torch_bytes({"config": Own()}), "contains an object"),
    "numpy.pth": (
        lambda: torch_bytes({"train_losses": np.random.RandomState(0), "test_losses": np.arange(4.0)}),
        "a PyTorch file that contains NumPy values",
    ),
    "objects.pth": (
        lambda: torch_bytes({"train_losses": np.array([Runs()], object), "test_losses": np.arange(4.0)}),
        "its contents cannot be read",
    ),
    "module.pth": (lambda: torch_bytes(torch.nn.Linear(2, 2)), "contains an object"),
    "list.pth": (
        lambda: torch_bytes([[0.1, 0.2], [[1.0, 0.5], [0.3]]]),
        "a list of 2 items: for the curves of several runs",
    ),
    "tensor.pth": (lambda: torch_bytes(torch.zeros(3, 4)), r"a single tensor of shape \(3, 4\)"),
    "number.pth": (lambda: torch_bytes(4), "a value of type int"),
    "nothing.pth": (lambda: torch_bytes({}), "it contains nothing"),
    "dict.pth": (lambda: torch_bytes({"G": [1], "D": [2]}), "it contains G, D, but no weights or losses"),
    "digits.pth": (
        lambda: torch_bytes(FINAL() | {"config": {"fn_name": "5_digit_addition"}}),
        r"an unsupported task \(5_digit_addition\)",
    ),
    "rand.pth": (lambda: torch_bytes(FINAL() | {"config": {"fn_name": "rand"}}), "a run on random answers"),
    "silu.pth": (
        lambda: torch_bytes(FINAL() | {"config": {"act_type": "SiLU"}}),
        r"an unsupported activation function \(SiLU\)",
    ),
    "long.pth": (
        lambda: torch_bytes({"model": {**FINAL()["model"], "pos_embed.W_pos": torch.zeros(15, 16)}}),
        "a transformer for another task, with 15 positions, 12 tokens and 12 classes",
    ),
    "labels.pth": (
        lambda: torch_bytes({"state_dicts": [FINAL()["model"]], "epochs": [1, 2]}),
        "it has 1 checkpoints without an epoch for each",
    ),
    "twice.pth": (
        lambda: torch_bytes({"state_dicts": [FINAL()["model"]] * 2, "epochs": [3, 3]}),
        "two of its checkpoints have epoch 3",
    ),
    "negative.pth": (
        lambda: torch_bytes({"state_dicts": [FINAL()["model"]] * 2, "epochs": [-7, 3]}),
        r"the epoch of a checkpoint must be from 0 to 10000000 \(got -7\)",
    ),
    "words.pth": (
        lambda: torch_bytes({"train_losses": ["a", "b"], "test_losses": [1.0]}),
        r"its train_losses must be numbers \(got 'a'\)",
    ),
    "brief.pth": (
        lambda: torch_bytes({"train_losses": [1.0] * 100, "test_losses": [1.0] * 60}),
        "60 test losses for 100 epochs do not fit a constant stride: give --test-stride",
    ),
    "cut.safetensors": (
        lambda: (64).to_bytes(8, "little") + b'{"a":' + b" " * 80,
        "a safetensors file that is damaged",
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
        ("folder", r"a folder without a run: it contains no \.pt, \.pth or \.safetensors files"),
        ("missing.pth", "it does not exist"),
        ("pipe.pth", "neither a file nor a folder"),
    ]:
        with pytest.raises(NotImportableError, match=sentence):
            tdw.import_run(tmp_path / name, tmp_path / "run.tdw")
    assert sorted(item.name for item in tmp_path.iterdir()) == before


def test_files_are_only_overwritten_with_overwrite(tmp_path):
    source = elsewhere.saved(elsewhere.lens().state(), tmp_path / "theirs.pt")
    target = tmp_path / "run.tdw"
    target.write_text("mine")
    with pytest.raises(
        AlreadyExistsError, match=r"run\.tdw already exists: use another name, or overwrite=True to replace it\."
    ):
        tdw.import_run(source, target)
    assert target.read_text() == "mine"
    bad = tmp_path / "bad.pth"
    bad.write_text("text")
    with pytest.raises(NotImportableError):
        tdw.import_run(bad, target, overwrite=True)
    assert target.read_text() == "mine"
    tdw.import_run(source, target, overwrite=True)
    with tdw.open(target) as run:
        assert run.imported.source == "theirs.pt"
    with pytest.raises(AlreadyExistsError, match="is the file to import"):
        tdw.import_run(source, source, overwrite=True)
    with pytest.raises(CannotWriteError, match=r"folder .*/no does not exist"):
        tdw.import_run(source, tmp_path / "no" / "run.tdw")
    with pytest.raises(CannotWriteError, match="it is a folder"):
        tdw.import_run(source, tmp_path)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["bad.pth", "run.tdw", "theirs.pt"]


def test_a_source_that_changes_during_import_leaves_nothing_behind(tmp_path, monkeypatch):
    folder = tmp_path / "runs"
    folder.mkdir()
    for epoch in (1, 2, 3):
        elsewhere.saved(elsewhere.lens().state(), folder / f"{epoch}.pt")
    honest, calls = state_dicts.state_of, []

    def fickle(file):
        load = honest(file)

        def again():
            calls.append(file.name)
            if calls.count("2.pt") > 1:  # the first checkpoint has been written before
                file.write_bytes(b"")
            return load()

        return again

    monkeypatch.setattr(state_dicts, "state_of", fickle)
    with pytest.raises(NotImportableError, match="an empty file"):
        tdw.import_run(folder, tmp_path / "run.tdw")
    assert [item.name for item in tmp_path.iterdir()] == ["runs"]
