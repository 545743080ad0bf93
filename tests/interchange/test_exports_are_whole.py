"""An export is complete or absent, and does not touch other files."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest
import torch

import tdw
from tdw.errors import AlreadyExistsError, CannotWriteError
from tdw.interchange.exporters import transformer_lens
from tdw.network.kinds import Nonlinearity
from tdw.network.reference import transformer_logits
from tdw.store.filesystem import SYSTEM

SETTINGS = {"p": 7, "d_model": 8, "heads": 2, "d_mlp": 12, "epochs": 40, "train_fraction": 0.5, "threads": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run.tdw"
    tdw.create(path, tdw.configure(**SETTINGS, checkpoints="0:40:10"))
    tdw.train(path)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def failing(monkeypatch, owner: object, name: str, at: int, error: BaseException) -> list[int]:
    """Let the `at`-th call of a function fail; counts the calls."""
    plain, calls = getattr(owner, name), [0]

    def function(*given, **more):
        calls[0] += 1
        if calls[0] == at:
            raise error
        return plain(*given, **more)

    monkeypatch.setattr(owner, name, function)
    return calls


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("name", ["out", "out.pt", "out.safetensors"])
@pytest.mark.parametrize("error", [FULL, OSError(errno.EFBIG, "File too large"), KeyboardInterrupt()])
@pytest.mark.parametrize("there", [False, True])
def test_a_failed_export_leaves_nothing_behind(run, tmp_path, monkeypatch, name, error, there):
    out = tmp_path / name
    if there and name == "out":
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    before = sorted(path for path in tmp_path.rglob("*"))
    calls = failing(monkeypatch, SYSTEM, "fsync", 3 if name == "out" else 1, error)
    with pytest.raises(CannotWriteError if isinstance(error, OSError) else KeyboardInterrupt) as said:
        tdw.export_run(run, out)
    assert calls[0] >= 1
    if isinstance(error, OSError):
        assert str(out) in str(said.value)
        assert ("the disk is full" in str(said.value)) == (error.errno == errno.ENOSPC)
        assert str(said.value).endswith("Nothing was exported.")
    assert sorted(path for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("at", range(1, 6))
def test_replaced_files_are_restored_after_a_failure(run, tmp_path, monkeypatch, at):
    """Some of the names are taken, some are new: the failure comes at each of them in turn."""
    out = tmp_path / "out"
    tdw.export_run(run, out)
    for path in sorted(out.iterdir())[::2]:
        path.write_text(f"an older {path.name}")
    (out / "epoch-00010.safetensors").unlink()
    (out / "mine.txt").write_text("mine")
    before = files(tmp_path)
    calls = [0]
    plain = {"replace": Path.replace, "name": SYSTEM.name}

    def counted(which):
        def function(*given):
            if sys._getframe(1).f_code.co_name == "_move_into" and "new" in str(given[0]):
                calls[0] += 1
                if calls[0] == at:
                    raise OSError(errno.EIO, "Input/output error")
            return plain[which](*given)

        return function

    monkeypatch.setattr(Path, "replace", counted("replace"))
    monkeypatch.setattr(SYSTEM, "name", counted("name"))
    with pytest.raises(CannotWriteError, match="Nothing was exported"):
        tdw.export_run(run, out, overwrite=True)
    assert calls[0] == at
    assert files(tmp_path) == before
    monkeypatch.undo()
    assert len(tdw.export_run(run, out, overwrite=True)) == 5
    assert "an older" not in str(files(out).values())
    assert (out / "mine.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert len(list(out.iterdir())) == 6


def test_replaced_files_that_cannot_be_restored_are_kept(run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    tdw.export_run(run, out)
    for path in out.iterdir():
        path.write_text(f"an older {path.name}")
    plain, calls = Path.replace, [0]

    def replace(self, target):
        calls[0] += 1
        if calls[0] >= 2:
            raise OSError(errno.EIO, "Input/output error")
        return plain(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(CannotWriteError, match=r"\.tmp holds replaced files that could not be restored: .*00010"):
        tdw.export_run(run, out, overwrite=True)
    everything = [data.decode("latin-1") for data in files(out).values()]
    for epoch in range(0, 50, 10):
        assert f"an older epoch-{epoch:05d}.safetensors" in everything


def test_a_file_created_during_the_export_is_not_replaced(run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    plain = transformer_lens._save

    def save(state, target):
        plain(state, target)
        (out / "epoch-00020.safetensors").write_text("another's")

    monkeypatch.setattr(transformer_lens, "_save", save)
    with pytest.raises(
        AlreadyExistsError, match=r"was created by another program meanwhile.* or overwrite=True to replace it"
    ):
        tdw.export_run(run, out)
    assert files(tmp_path) == {"out/epoch-00020.safetensors": b"another's"}


def test_other_files_of_the_user_are_not_touched(run, tmp_path):
    """Names that temporary files had in the past, as files and as folders."""
    for name in ("out.pt.part", "out.pt.tmp", "out.part"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "two.pt.part").mkdir()
    before = files(tmp_path)
    tdw.export_run(run, tmp_path / "out.pt")
    tdw.export_run(run, tmp_path / "two.pt")
    tdw.export_run(run, tmp_path / "out")
    after = files(tmp_path)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2 + 5


def test_exported_files_follow_the_umask_and_are_private_until_then(run, tmp_path, monkeypatch):
    seen = []
    plain = transformer_lens._save

    def save(state, target):
        plain(state, target)
        seen.append(stat.S_IMODE(target.parent.parent.stat().st_mode))

    monkeypatch.setattr(transformer_lens, "_save", save)
    before = os.umask(0o027)
    try:
        tdw.export_run(run, tmp_path / "out")
        tdw.export_run(run, tmp_path / "out.pt")
    finally:
        os.umask(before)
    assert set(seen) == {0o700}
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "out.pt").stat().st_mode) == 0o640
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()} == {0o640}


def test_refused_exports_give_the_reason(run, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "link.pt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder" / "epoch-00000.safetensors").mkdir(parents=True)
    for out, kind, sentence in (
        (tmp_path / "no" / "such" / "out", CannotWriteError, "no/such does not exist. Create it"),
        (tmp_path / "file", CannotWriteError, "part of its path is not a folder"),
        (tmp_path / "file" / "x.pt", CannotWriteError, "part of its path is not a folder"),
        (tmp_path / ("x" * 300), CannotWriteError, "too long"),
    ):
        with pytest.raises(kind, match=sentence):
            tdw.export_run(run, out)
    with pytest.raises(AlreadyExistsError, match="is a folder: use another name"):
        tdw.export_run(run, tmp_path / "folder", overwrite=True)
    tdw.export_run(run, tmp_path / "link.pt", overwrite=True)  # the link is replaced, and what it names is not made
    assert (tmp_path / "link.pt").is_file()
    assert not (tmp_path / "link.pt").is_symlink()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("biases", ["none", "mlp"])
def test_a_transformer_of_several_layers_is_exported_under_the_names_of_transformer_lens(tmp_path, biases):
    path, layers, p = tmp_path / "deep.tdw", 3, 7
    tdw.new(
        path, p=p, network="deep-transformer", layers=layers, d_model=8, heads=2, d_head=3, d_mlp=10, biases=biases,
        train_fraction=0.5, epochs=3, checkpoints="",
    )  # fmt: skip
    tdw.train(path)
    tdw.export_run(path, tmp_path / "deep.pt")
    exported = torch.load(tmp_path / "deep.pt", weights_only=True)
    into, out = (2, 8, 3), (2, 3, 8)
    each = {
        "attn.W_Q": into, "attn.W_K": into, "attn.W_V": into, "attn.W_O": out, "mlp.W_in": (8, 10), "mlp.W_out": (10, 8),
        "attn.b_Q": (2, 3), "attn.b_K": (2, 3), "attn.b_V": (2, 3), "attn.b_O": (8,), "mlp.b_in": (10,), "mlp.b_out": (8,),
        "attn.mask": (3, 3), "attn.IGNORE": (),
    }  # fmt: skip
    expected = {"embed.W_E": (p + 1, 8), "pos_embed.W_pos": (3, 8), "unembed.W_U": (8, p), "unembed.b_U": (p,)}
    expected |= {f"blocks.{layer}.{name}": shape for layer in range(layers) for name, shape in each.items()}
    assert {name: tuple(tensor.shape) for name, tensor in exported.items()} == expected
    with tdw.open(path) as run:
        own = {name: torch.from_numpy(array) for name, array in run.weights(3).items()}
    pairs = torch.arange(p * p)
    theirs, ours = (transformer_logits(weights, pairs // p, pairs % p, Nonlinearity()) for weights in (exported, own))
    assert torch.equal(theirs, ours)
