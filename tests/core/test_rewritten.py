"""Files that another HDF5 program rewrote, or added an attribute to: named as that, read by name, recovered whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tdw import store
from tdw.errors import DamagedFileError
from tdw.operations.recover import losses, recover
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


def test_a_wrong_value_in_a_rewritten_file_is_told(whole, tmp_path):
    changed = tmp_path / "changed.tdw"
    REWRITES["gzip"](whole, changed)
    with h5py.File(changed, "r+") as file:
        file["losses/train"][3] += 1
    assert any("losses/train" in sentence for sentence in losses(recover(changed, tmp_path / "new.tdw")))
