"""Files with other curves, weights and names than those of this program's own networks."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest

from tdw import store
from tdw.errors import NotAProjectError
from tdw.store import ArrayPlan, CurvePlan, salvage
from tdw.store.layout import FilePlan, check_curves
from tdw.store.planner import plan_file
from tests.store.forgery import layout_of

EPOCHS = 5000
CURVES = {"loss": "<f4", "losses/train/mod59": "<f8", "grad_norm/embed": "<f2", "tokens": "<i8", "lr_drops": "|u1"}


def curve(name: str, start: int, stop: int) -> np.ndarray:
    """Values that follow from name and epoch."""
    values = np.random.default_rng(len(name)).standard_normal(EPOCHS + 1) * 50
    return np.abs(values)[start:stop].astype(CURVES[name])


def blob(epoch: int, moments: int = 1) -> bytes:
    """A safetensors file of tensors in types and shapes that no network here has."""
    shapes = {"h.0/w": ("BF16", (3, 5, 2), 2), "scale": ("F64", (), 8), "idx": ("I64", (7,), 8), "q": ("U8", (2, 2), 1)}
    shapes["f8"] = ("F8_E4M3", (4,), 1)
    header, data = {}, b""
    for name, (kind, shape, width) in shapes.items():
        n = int(np.prod(shape, dtype=int)) * width * moments
        header[name] = {
            "dtype": kind,
            "shape": [moments, *shape],
            "data_offsets": [len(data), len(data) + n],
        }
        data += np.random.default_rng([epoch, n]).bytes(n)
    text = json.dumps(header | {"__metadata__": {"step": f"{epoch:08d}"}}).encode()
    return struct.pack("<Q", len(text)) + text + data


def make(path: Path, *, close: bool = True) -> store.Writer:
    writer = store.create(
        path,
        config={"id": "x", "model": "another"},
        split_train=np.arange(3),
        split_test=np.arange(3, 7),
        epochs=EPOCHS,
        checkpoint_capacity=4,
        blob_nbytes=len(blob(0)),
        resume_nbytes=len(blob(0, 3)),
        resume=None,
        curves=[CurvePlan(name, dtype) for name, dtype in CURVES.items()],
    )
    for start, stop in ((0, 1), (1, 1100), (1100, EPOCHS - 100)):
        writer.append(
            curves={name: curve(name, start, stop) for name in CURVES},
            checkpoints=[(stop - 1, blob(stop - 1))],
            resume=(stop - 1, blob(stop - 1, 3)),
        )
    if close:
        writer.close()
    return writer


def check(reader: store.Reader, epochs: int = EPOCHS - 100) -> None:
    assert reader.verify() == []
    assert reader.curves == tuple(CURVES)
    assert reader.n_epochs == epochs
    for name, dtype in CURVES.items():
        values = reader.read(name)
        assert values.dtype.str == dtype
        assert np.array_equal(values, curve(name, 0, epochs))
    assert [bytes(reader.checkpoint(i)) for i in range(reader.n_checkpoints)] == [
        blob(int(epoch)) for epoch in reader.checkpoint_epochs()
    ]
    epoch, state = reader.resume()
    assert state == blob(epoch, 3)


def test_a_file_holds_any_curves_and_any_weights(tmp_path):
    path = tmp_path / "run.tdw"
    make(path)
    with store.open_reader(path) as reader:
        check(reader)
        assert reader.checkpoint_epochs().tolist() == [0, 1099, EPOCHS - 101]
        store.copy(reader, tmp_path / "copy.tdw")
    with store.open_reader(tmp_path / "copy.tdw") as reader:
        check(reader)
    with store.open_writer(path) as writer:  # a change of structure, then more epochs
        writer.set_notes({"title": "kept"})
        writer.append(curves={name: curve(name, EPOCHS - 100, EPOCHS) for name in CURVES})
    with store.open_reader(path) as reader:
        check(reader, EPOCHS)


def test_plain_hdf5_reads_curves_and_how_many_epochs_are_committed(tmp_path):
    """No dataset has a compound type, so readers of plain numbers (jsfive, R, Octave) read all of a file."""
    path = tmp_path / "run.tdw"
    make(path)
    with h5py.File(path) as file:
        kinds: set[str] = set()
        file.visititems(lambda _, item: kinds.add(item.dtype.kind) if isinstance(item, h5py.Dataset) else None)
        assert kinds == {"f", "i", "u"}
        commit = file["commit"]
        columns = commit.attrs["columns"].decode().split("\n")
        assert columns[1:3] == ["n_epochs", "n_checkpoints"]
        assert (commit[:, 1].max(), commit[:, 2].max()) == (EPOCHS - 100, 3)
        assert commit.attrs["curves"].decode().split("\n") == list(CURVES)
        for name in CURVES:
            assert np.array_equal(file[name][: commit[:, 1].max()], curve(name, 0, EPOCHS - 100))


def test_a_kill_in_the_middle_of_a_block_loses_no_committed_value(tmp_path):
    """The last block of every curve is torn, as by a power cut; opening the file for writing repairs it."""
    path = tmp_path / "run.tdw"
    make(path, close=False).abandon()
    layout = layout_of(path)
    with path.open("r+b") as file:
        for name in CURVES:
            extent = layout.extents[name]
            at = extent.offset + (EPOCHS - 100) * extent.row_nbytes // 4096 * 4096
            file.seek(at)
            file.write(b"\xa5" * 64)
    with store.open_writer(path) as writer:
        check(writer.reader)


@pytest.mark.parametrize("name", CURVES)
def test_damaged_values_of_a_curve_are_told_and_the_others_recovered(tmp_path, name):
    path, new = tmp_path / "run.tdw", tmp_path / "new.tdw"
    make(path)
    extent = layout_of(path).extents[name]
    with path.open("r+b") as file:
        file.seek(extent.offset + 5 * extent.row_nbytes)
        file.write(b"\xa5" * 16)
    with path.open("rb") as file:
        found = salvage.survey(file.fileno(), path, salvage.Advice())
        salvage.rebuild(found, new, new)
    assert [sentence for sentence in found.damage if not isinstance(sentence, salvage.Repaired)] == found.damage[-1:]
    assert f"the bytes of {name!r} do not match their checksum" in found.damage[-1]
    with store.open_reader(new) as reader:
        assert reader.verify() == []
        for other in CURVES:
            got, expected = reader.read(other), curve(other, 0, EPOCHS - 100)
            lost = got != expected
            assert lost.any() == (other == name)
            if other == name:
                block = 4096 // extent.row_nbytes
                assert not lost[block:].any(), "only the values of the damaged block are lost"
                assert np.isnan(got[lost]).all() if expected.dtype.kind == "f" else not got[lost].any()
        assert [bytes(reader.checkpoint(i)) for i in range(3)] == [blob(int(e)) for e in reader.checkpoint_epochs()]
        assert reader.resume() == (EPOCHS - 101, blob(EPOCHS - 101, 3))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "at least one curve"),
        (["a", "a"], "a name of its own"),
        (["checkpoints/loss"], "'checkpoints/loss' cannot be the name of a curve"),
        (["commit"], "'commit' cannot be the name of a curve"),
        (["a/../b"], "cannot be the name of a curve"),
        (["a/b/c/d/e"], "cannot be the name of a curve"),
        (["a", "a/b"], "'a' cannot be the name of a curve"),
    ],
)
def test_curves_that_no_file_can_hold_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        check_curves([CurvePlan(name) for name in names])
    with pytest.raises(ValueError, match="curve 'a' has dtype '<c8'; use one of <f8"):
        check_curves([CurvePlan("a", "<c8")])


def test_a_file_that_lists_other_curves_than_it_has_is_refused(tmp_path):
    path = tmp_path / "run.tdw"
    make(path)
    for listed, sentence in (("", "it does not list its curves"), ("loss\nother", "the array 'other' is missing")):
        with h5py.File(path, "r+") as file:
            file["commit"].attrs.modify("curves", np.bytes_(listed))
        with pytest.raises(NotAProjectError, match=sentence):
            store.open_reader(path)


def test_analyses_lie_in_the_file_sorted_by_name_whatever_came_first():
    names = ["summary", "events", "a"]
    arrays = {"z": ArrayPlan("<f4", (2,)), "b": ArrayPlan("<f4", ())}
    layouts = []
    for order in (names, names[::-1]):
        analyses = tuple(store.AnalysisPlan(name, 1, {}, arrays, 3) for name in order)
        plan = FilePlan(b"{}", b"{}", np.arange(2), np.arange(2), 10, 2, len(blob(0)), 100, analyses)
        layouts.append(plan_file(plan).layout)
    first, second = layouts
    assert (first.extents, first.growing) == (second.extents, second.growing)
    stored = [name for name in first.extents if name.startswith("analysis/")]
    assert stored == sorted(stored)
    assert sorted(stored, key=lambda name: first.extents[name].offset) == stored
