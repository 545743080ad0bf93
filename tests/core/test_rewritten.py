"""Files that another HDF5 program rewrote, or added an attribute to: named as that, read by name, recovered whole."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tdw import store
from tdw.errors import DamagedFileError
from tdw.operations.recover import losses, recover
from tdw.store import creation_time
from tests.core.test_recovery import make

Rewrite = Callable[[Path, Path], None]


def copied(**how: object) -> Rewrite:
    def rewrite(old: Path, new: Path) -> None:
        with h5py.File(old) as source, h5py.File(new, "w", **how) as target:
            for name in source:
                source.copy(name, target)
            for name, value in source.attrs.items():
                target.attrs[name] = value

    return rewrite


def filtered(**how: object) -> Rewrite:
    """As `h5repack -f …` does."""

    def rewrite(old: Path, new: Path) -> None:
        with h5py.File(old) as source, h5py.File(new, "w") as target:

            def put(name: str, item: h5py.Group | h5py.Dataset) -> None:
                if isinstance(item, h5py.Dataset):
                    made: h5py.Group | h5py.Dataset = target.create_dataset(name, data=item[()], **how)
                else:
                    made = target.require_group(name)
                for key, value in item.attrs.items():
                    made.attrs[key] = value

            source.visititems(put)
            for key, value in source.attrs.items():
                target.attrs[key] = value

    return rewrite


def groups_only(old: Path, new: Path) -> None:
    """As `h5copy` of one group after the other: the file's own attributes stay behind."""
    with h5py.File(old) as source, h5py.File(new, "w") as target:
        for name in source:
            source.copy(name, target)


def annotated(value: object, where: str = "/") -> Rewrite:
    def rewrite(old: Path, new: Path) -> None:
        new.write_bytes(old.read_bytes())
        with h5py.File(new, "r+") as file:
            file[where].attrs["author"] = value

    return rewrite


REWRITES = {
    "superblock 0": copied(libver="earliest"),
    "superblock 3": copied(libver=("v110", "v110")),
    "latest": copied(libver="latest"),
    "track_order": copied(track_order=True),
    "all groups": groups_only,
    "gzip": filtered(compression="gzip", compression_opts=5),
    "shuffle and checksums": filtered(chunks=True, shuffle=True, fletcher32=True),
    "text attribute": annotated("x"),
    "number attribute": annotated(7),
    "attribute of an array": annotated("x", "losses/train"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("whole") / "run.tdw")


def contents(path: Path) -> dict[str, bytes]:
    """Everything that counts in a file, read through this program."""
    with store.open_reader(path) as reader:
        names = [
            *reader.curves,
            "split/train",
            "split/test",
            *(f"analysis/{name}/{array}" for name, found in reader.analyses().items() for array in found.arrays),
        ]
        found = {name: np.asarray(reader.read(name)).tobytes() for name in names}
        found |= {f"checkpoint {i}": bytes(reader.checkpoint(i)) for i in range(reader.n_checkpoints)}
        return found | {"resume": bytes(reader.resume()[1]), "notes": json.dumps(reader.notes()).encode()}


@pytest.mark.parametrize("known", [True, False], ids=["known here", "from elsewhere"])
@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=REWRITES)
def test_a_rewritten_file_says_so_and_is_recovered_whole(whole, tmp_path, monkeypatch, rewrite, known):
    changed, new = tmp_path / "changed.tdw", tmp_path / "new.tdw"
    rewrite(whole, changed)
    expected = contents(whole)
    if not known:
        monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "another"))
    with pytest.raises(
        DamagedFileError, match=r"rewritten or changed by another HDF5 program.*`tdw recover changed.tdw NEW`"
    ):
        store.open_reader(changed)
    sentences = recover(changed, new)
    assert losses(sentences) == []
    assert any("read by name" in sentence for sentence in sentences)
    assert contents(new) == expected


def test_what_only_one_of_many_times_of_creation_proves_is_said(whole, tmp_path, monkeypatch):
    """Earlier versions put that time under the checksum of settings, notes and split, and rewriting replaces it. At one of 2³²
    seconds wrong ones match by accident, and a search tries 2²⁶ of them.
    """
    monkeypatch.setattr(creation_time, "NONE", int(time.time()) - 10_000_000)
    earlier, changed, new = tmp_path / "earlier.tdw", tmp_path / "changed.tdw", tmp_path / "new.tdw"
    with store.open_reader(whole) as reader:
        store.copy(reader, earlier)
    monkeypatch.undo()
    REWRITES["gzip"](earlier, changed)
    (said,) = losses(recover(changed, new))
    assert re.search(r"with a probability of 0\.\d+ % wrong ones would match as well", said)
    assert float(said.split("probability of ")[1].split(" %")[0]) == pytest.approx(100 * 10_086_400 / 2**32, rel=0.3)
    assert contents(new) == contents(whole)


@pytest.mark.parametrize("known", [True, False], ids=["known here", "from elsewhere"])
def test_wrong_settings_in_a_rewritten_file_are_put_right_or_told(whole, tmp_path, monkeypatch, known):
    if not known:
        monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "another"))
    changed = tmp_path / "changed.tdw"
    REWRITES["gzip"](whole, changed)
    with h5py.File(changed, "r+") as file:
        text = bytes(file["config"][:]).replace(b'"weight_decay":1.0', b'"weight_decay":1.5')
        assert text != bytes(file["config"][:])
        file["config"][:] = np.frombuffer(text, "u1")
    sentences = recover(changed, tmp_path / "new.tdw")
    if known:
        assert losses(sentences) == []
        assert any("the settings were damaged and restored" in sentence for sentence in sentences)
        assert contents(tmp_path / "new.tdw") == contents(whole)
    else:
        assert any("settings, notes or split do not match their checksum" in one for one in losses(sentences))


def test_a_wrong_value_in_a_rewritten_file_is_told(whole, tmp_path):
    changed = tmp_path / "changed.tdw"
    REWRITES["gzip"](whole, changed)
    with h5py.File(changed, "r+") as file:
        file["losses/train"][3] += 1
    assert any("losses/train" in sentence for sentence in losses(recover(changed, tmp_path / "new.tdw")))
