"""A report of recovery says of each part what is true of it, and no more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tdw
from tdw import store
from tdw.errors import DamagedFileError
from tdw.operations import recover
from tests.store.forgery import read_layout

COMMAND = [sys.executable, "-m", "tdw"]


@pytest.fixture
def run(tmp_path) -> Path:
    path = tmp_path / "run.tdw"
    tdw.create(path, tdw.configure(p=7, d_model=8, heads=2, d_mlp=12, epochs=60, checkpoints="0:60:20", threads=1))
    tdw.train(path)
    return path


def overwrite(path: Path, offset: int, data: bytes = b"\xa5\x5a\xa5\x5a") -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def damage_structure(path: Path) -> None:
    """The header of the first array, which HDF5 checks with a checksum of its own."""
    overwrite(path, path.read_bytes().index(b"OHDR", 8192) + 12)


@pytest.mark.parametrize("remembered", [True, False])
@pytest.mark.parametrize("analyzed", [(), None])
def test_rows_that_were_not_damaged_are_not_called_so(run, tmp_path, monkeypatch, remembered, analyzed):
    """Only the structure is damaged; whatever is planned in its place, no row of the file was touched."""
    if analyzed != ():
        tdw.analyze(run, analyzed)
    damage_structure(run)
    if not remembered:
        monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "another"))
    said = recover.recover(run, tmp_path / "new.tdw")
    assert not [sentence for sentence in said if "were damaged" in sentence]
    assert any(sentence.startswith("the structure of the file is damaged; it was restored from") for sentence in said)
    moved = [sentence for sentence in said if "are not where that structure has them" in sentence]
    assert len(moved) <= 1
    assert not set(moved) & set(recover.losses(said))
    assert len(said) < 12, "one sentence for all of them"


def test_rows_that_were_damaged_are_called_so(run, tmp_path):
    with store.open_reader(run) as reader:
        rows = reader.commit.rows["losses/train"]
    with run.open("rb") as file:
        layout = read_layout(file.fileno(), run, run.stat().st_size)
    overwrite(run, layout.extents["losses/train"].offset + 8 * (rows - 1))
    said = recover.recover(run, tmp_path / "new.tdw")
    assert said == ["the last rows of 'losses/train' were damaged, and restored from their copy"]
    assert recover.losses(said) == []
    with tdw.open(run.with_name("new.tdw")) as new:
        assert np.isfinite(new.train_loss).all()


def last_line(run: Path, new: Path) -> str:
    done = subprocess.run([*COMMAND, "recover", str(run), str(new)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()[-1]


def test_the_last_word_is_about_losses(run, tmp_path):
    assert last_line(run, tmp_path / "one.tdw").endswith("the file was not damaged, this is a copy.")
    with run.open("ab") as file:
        file.write(b"more")
    assert last_line(run, tmp_path / "two.tdw").endswith("nothing was lost.")
    with run.open("rb") as file:
        extent = read_layout(file.fileno(), run, run.stat().st_size - 4).extents["checkpoints/safetensors"]
    overwrite(run, extent.offset + extent.row_nbytes + 1000)
    assert last_line(run, tmp_path / "three.tdw").endswith("some data was lost, see above.")


def test_a_file_that_lacks_only_filler_lost_nothing(run, tmp_path):
    size = run.stat().st_size
    os.truncate(run, size - 1)
    said = recover.recover(run, tmp_path / "new.tdw")
    assert said == [f"the file is truncated: it has {size - 1:,} of {size:,} bytes"]
    assert recover.losses(said) == []
    assert last_line(run, tmp_path / "another.tdw").endswith("nothing was lost.")


@pytest.mark.parametrize("share", ["config", "tails", "losses/train"])
def test_a_file_that_ends_too_early_is_said_to_be_truncated(run, tmp_path, share):
    """With its commit records, what is whole is recovered; without them, the report says that these are missing."""
    size = run.stat().st_size
    with run.open("rb") as file:
        at = read_layout(file.fileno(), run, size).extents[share]
    os.truncate(run, at.offset + at.nbytes)
    truncated = f"the file is truncated: it has {at.offset + at.nbytes:,} of {size:,} bytes"
    if share == "config":
        with pytest.raises(DamagedFileError) as raised:
            recover.recover(run, tmp_path / "new.tdw")
        said = str(raised.value)
        assert f"nothing can be recovered. T{truncated[1:]}. Its structure cannot be read, and no commit record" in said
        assert "no record of the file" not in said, "this computer has one"
        return
    sentences = recover.recover(run, tmp_path / "new.tdw")
    assert sentences[0] == truncated
    assert recover.losses(sentences)
    assert "nothing is lost" not in "".join(sentences)
