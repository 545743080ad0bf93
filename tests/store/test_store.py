"""What a reader and a writer offer, on files of a few hundred epochs."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest

from tdw import store
from tdw.errors import CannotWriteError, OverwrittenError
from tdw.store import AnalysisPlan, ArrayPlan, filesystem
from tdw.store.commit_record import Record, decode
from tdw.store.filesystem import System
from tdw.store.layout import BLOCK, FilePlan
from tdw.store.planner import plan_file
from tests.store import store_runs
from tests.store.forgery import read_layout
from tests.store.store_runs import blob, check_exact, losses, plan, rows, step


def test_a_new_file_holds_its_plan_and_nothing_else(tmp_path):
    path = tmp_path / "run.tdw"
    with store_runs.create(path) as writer:
        assert [item.name for item in tmp_path.iterdir()] == ["run.tdw", "run.tdw.lock"]
        assert (writer.reader.n_epochs, writer.reader.n_checkpoints) == (0, 0)
    with store.open_reader(path) as reader:
        assert reader.config == {"p": 7, "room": store_runs.EPOCHS}
        assert reader.planned_epochs == store_runs.EPOCHS
        assert reader.checkpoint_capacity == store_runs.CAPACITY
        assert reader.size_bytes == path.stat().st_size
        assert reader.commit.clean
        assert reader.resume() == (0, blob(0, 1))
        assert reader.notes() == {}
        assert reader.analyses() == {}
        assert reader.read("losses/train").shape == (0,)
        assert reader.checkpoint_epochs().shape == (0,)
        assert reader.verify() == []
        assert reader.path == path
    assert [item.name for item in tmp_path.iterdir()] == ["run.tdw"]


def test_what_is_appended_is_read_back(tmp_path):
    path = tmp_path / "run.tdw"
    with store_runs.create(path) as writer:
        for count, checkpoint, resume in ((1, True, True), (511, False, False), (1, True, False), (600, False, True)):
            step(writer, count, checkpoint=checkpoint, resume=resume)
            check_exact(writer.reader)
        assert writer.reader.n_epochs == 1113
        assert writer.reader.checkpoint_epochs().tolist() == [0, 512]
        assert writer.reader.commit.resume_epoch == 1112
    with store.open_reader(path) as reader:
        check_exact(reader)
        assert np.array_equal(reader.read("losses/train", 500, 520), losses(500, 520)["losses/train"])
        assert np.array_equal(reader.read("losses/train", -3), losses(1110, 1113)["losses/train"])
        assert reader.read("losses/train", 20, 10).shape == (0,)
        assert reader.read("losses/train", 1000, 10**9).shape == (113,)


def test_an_append_of_nothing_commits_nothing(tmp_path):
    with store_runs.create(tmp_path / "run.tdw") as writer:
        before = writer.reader.revision
        writer.append(curves={})
        assert writer.reader.revision == before
        writer.append(curves={}, resume=(0, blob(0, 1)))
        assert writer.reader.revision != before


def test_analyses_keep_their_rows_where_they_may(tmp_path):
    path = tmp_path / "run.tdw"
    with store_runs.create(path) as writer:
        step(writer, 10, checkpoint=True)
        writer.plan_analyses([plan("summary"), plan("events")])
        writer.append_rows({"summary": rows("summary", 0.5, 0, 5), "events": rows("events", 0.5, 0, 2)})
        sequence = writer.reader.commit.sequence
        writer.plan_analyses([plan("summary")])  # is planned already
        assert writer.reader.commit.sequence == sequence
        writer.plan_analyses([plan("summary", capacity=40), plan("events", 0.25)])
        found = writer.reader.analyses()
        assert (found["summary"].rows, found["summary"].capacity) == (5, 40)
        assert (found["events"].rows, found["events"].parameters) == (0, {"threshold": 0.25})
        writer.append_rows({"summary": rows("summary", 0.5, 5, 40)})
        writer.plan_analyses([plan("clusters")], remove=["events"])
        assert set(writer.reader.analyses()) == {"summary", "clusters"}
        check_exact(writer.reader)
        with pytest.raises(ValueError, match="40 rows of 'summary' are stored, but only 12 are planned"):
            writer.plan_analyses([plan("summary")])
        check_exact(writer.reader)
    with store.open_reader(path) as reader:
        check_exact(reader)
        assert reader.analyses()["summary"].arrays == plan("summary").arrays


def test_extend_keeps_everything_and_changes_the_settings(tmp_path):
    path = store_runs.finished(tmp_path / "run.tdw")
    with store.open_writer(path) as writer:
        writer.extend(config={"p": 7, "more": True}, epochs=900, checkpoint_capacity=9)
        assert (writer.reader.planned_epochs, writer.reader.checkpoint_capacity) == (900, 9)
        step(writer, 300, checkpoint=True, resume=True)
        check_exact(writer.reader)
    with store.open_reader(path) as reader:
        assert reader.config == {"p": 7, "more": True}
        assert reader.notes() == {"title": "a small run"}
        assert reader.analyses()["summary"].rows == 50
        check_exact(reader)
        with h5py.File(path) as file:
            assert np.isnan(file["losses/train"][:]).sum() == 0
            assert file["checkpoints/epoch"][:].tolist() == [0, 100, 200, 600, 900]


def test_a_finished_run_is_compacted_when_it_is_closed(tmp_path):
    path = tmp_path / "run.tdw"
    with store_runs.create(path, epochs=50, checkpoint_capacity=9) as writer:
        step(writer, 1, checkpoint=True)
        step(writer, 50, checkpoint=True, resume=True)
    with store.open_reader(path) as reader:
        assert reader.checkpoint_capacity == 2
        check_exact(reader)


RECIPE = """
    import sys
    import h5py
    from safetensors.numpy import load

    f = h5py.File(sys.argv[1])
    loss = f["losses/train"][: f["commit"][:, 1].max()]
    weights = load(f["checkpoints/safetensors"][-1, : f["checkpoints"].attrs["nbytes"]].tobytes())
    assert "tdw" not in sys.modules
    print(len(loss), repr(float(loss[-1])), weights["embed.W_E"].tobytes().hex()[:40])
"""


def test_three_lines_without_this_package_read_a_finished_run(tmp_path):
    path = store_runs.finished(tmp_path / "run.tdw")
    command = [sys.executable, "-c", textwrap.dedent(RECIPE), str(path)]
    n, last, weights = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert (int(n), float(last)) == (601, losses(600, 601)["losses/train"][0])
    assert bytes.fromhex(weights) == blob(600)[-2800:-2780]


def test_a_reader_in_the_same_process_sees_progress_and_structural_changes(tmp_path):
    path = tmp_path / "run.tdw"
    with store_runs.create(path) as writer, store.open_reader(path) as reader:
        seen = {reader.revision}
        assert not reader.refresh()
        step(writer, 20, checkpoint=True, resume=True)
        assert reader.n_epochs == 0  # as of its last refresh
        assert reader.refresh()
        assert reader.n_epochs == 20
        seen.add(reader.revision)
        inode = path.stat().st_ino
        writer.plan_analyses([plan("events")])
        assert path.stat().st_ino != inode
        assert reader.refresh()
        assert not reader.refresh()
        seen.add(reader.revision)
        writer.append_rows({"events": rows("events", 0.5, 0, 3)})
        assert reader.refresh()
        check_exact(reader)
        seen.add(reader.revision)
        assert len(seen) == 4


def test_a_reader_finds_the_resume_state_again_when_its_place_was_used(tmp_path):
    path = tmp_path / "run.tdw"
    with store_runs.create(path) as writer, store.open_reader(path) as reader:
        for _ in range(3):
            step(writer, 5, resume=True)
        assert reader.resume() == (14, blob(14, 1))


def test_a_deleted_file_takes_no_more_commits(tmp_path):
    path = tmp_path / "run.tdw"
    writer = store_runs.create(path)
    path.unlink()
    with pytest.raises(store.writer.CannotWriteError, match=r"run\.tdw was deleted while being written"):
        step(writer, 5)


def test_a_moved_file_is_followed(tmp_path):
    path, moved = tmp_path / "run.tdw", tmp_path / "elsewhere" / "moved.tdw"
    moved.parent.mkdir()
    store_runs.create(path).close()
    with store.open_writer(path) as writer:
        path.rename(moved)
        step(writer, 5)
        assert writer.path == moved
        assert store.locked_by(moved) == os.getpid()
        assert store.locked_by(path) is None
        writer.set_notes({"title": "in its new place"})
        moved.rename(path)
        writer.set_notes({"title": "and back"})
        step(writer, 5)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["elsewhere", "run.tdw"]
    assert list(moved.parent.iterdir()) == []
    with store.open_reader(path) as reader:
        assert (reader.n_epochs, reader.notes()) == (10, {"title": "and back"})
        check_exact(reader)


def test_a_file_that_keeps_another_name_is_followed_to_it(tmp_path):
    path, other = tmp_path / "run.tdw", tmp_path / "other.tdw"
    with store_runs.create(path) as writer:
        other.hardlink_to(path)
        path.unlink()
        step(writer, 5)
        assert writer.path == other
    with store.open_reader(other) as reader:
        assert reader.n_epochs == 5


def test_where_the_system_does_not_tell_where_a_file_is_training_goes_on(tmp_path, monkeypatch):
    path, moved = tmp_path / "run.tdw", tmp_path / "moved.tdw"
    monkeypatch.setattr(filesystem, "where_is", lambda *_: None)
    with store_runs.create(path) as writer:
        path.rename(moved)
        step(writer, 5)
        with pytest.raises(
            CannotWriteError, match=r"run\.tdw was moved while it was open, and its new path is unknown"
        ):
            writer.set_notes({"title": "x"})
        step(writer, 5)
    assert [item.name for item in tmp_path.iterdir()] == ["moved.tdw"]
    with store.open_reader(moved) as reader:
        assert reader.n_epochs == 10


@pytest.mark.parametrize("put", [True, False])
def test_a_file_that_was_replaced_or_deleted_takes_nothing_more(tmp_path, put):
    path = tmp_path / "run.tdw"
    other = store_runs.finished(tmp_path / "other.tdw")
    was = other.read_bytes()
    writer = store_runs.create(path)
    step(writer, 5)
    if put:
        other.replace(path)
    else:
        path.unlink()
    what = "was replaced by another file .* was not changed" if put else "was deleted while being written"
    with pytest.raises(OverwrittenError, match=rf"run\.tdw {what}"):
        step(writer, 5)
    with pytest.raises(CannotWriteError, match="cannot be written to after a failed write"):
        writer.set_notes({})
    writer.close()
    assert (path.read_bytes() == was) if put else not path.exists()
    assert store.locked_by(path) is None


def test_links_are_followed_once_and_survive_a_structural_change(tmp_path):
    path = store_runs.finished(tmp_path / "run.tdw")
    link = tmp_path / "link.tdw"
    link.symlink_to(path)
    with store.open_writer(link) as writer:
        assert store.locked_by(path) == os.getpid() == store.locked_by(link)
        writer.set_notes({"title": "through a link"})
    assert link.is_symlink()
    with store.open_reader(path) as reader:
        assert reader.notes() == {"title": "through a link"}


def test_overwriting_replaces_in_one_step(tmp_path):
    path = store_runs.finished(tmp_path / "run.tdw")
    with store.open_reader(path) as old:
        with store_runs.create(path, config={"p": 5}, overwrite=True) as writer:
            step(writer, 3)
            check_exact(old)
        assert old.refresh()
        assert (old.config, old.n_epochs) == ({"p": 5}, 3)


def test_a_system_that_renames_over_no_open_file(tmp_path):
    """Windows: the writer closes both files before the rename, and opens the new one."""

    class Closing(System):
        replaces_open_files = False

    path = tmp_path / "run.tdw"
    with store_runs.create(path, Closing()) as writer:
        step(writer, 300, checkpoint=True, resume=True)
        writer.plan_analyses([plan("events")])
        writer.append_rows({"events": rows("events", 0.5, 0, 3)})
        check_exact(writer.reader)
    with store.open_reader(path) as reader:
        check_exact(reader)


def test_a_system_without_the_newer_calls(tmp_path, monkeypatch):
    """Plain fallbacks write the same file: zeros instead of posix_fallocate, copies, fsync, seek and read."""
    modern = store_runs.finished(tmp_path / "modern.tdw")
    for name in ("posix_fallocate", "copy_file_range", "fdatasync", "pread", "preadv", "pwrite"):
        monkeypatch.delattr(os, name)
    plain = store_runs.finished(tmp_path / "plain.tdw")
    with store.open_reader(plain) as reader:
        check_exact(reader)
    assert plain.stat().st_size == modern.stat().st_size


def test_the_space_is_taken_when_the_run_is_created(tmp_path):
    with store_runs.create(tmp_path / "run.tdw", checkpoint_capacity=200):
        status = (tmp_path / "run.tdw").stat()
        assert status.st_blocks * 512 >= status.st_size


@pytest.mark.parametrize("capacity", [1, 95, 1024])
@pytest.mark.parametrize("row_shape", [(), (1,), (29, 256), (57, 513), (113,)])
def test_no_array_shares_a_sector_and_the_plan_is_what_is_read(tmp_path, capacity, row_shape):
    analysis = AnalysisPlan(
        "x", 3, {"a": [1, "ü"]}, {"v": ArrayPlan("<i2", row_shape), "w": ArrayPlan("|u1", ())}, capacity
    )
    skeleton = plan_file(FilePlan(b"{}", b"{}", np.arange(3), np.arange(2), 13, 2, 700, 900, (analysis,)))
    path = tmp_path / "skeleton"
    with path.open("wb") as file:
        file.truncate(skeleton.layout.size)
        for offset, data in skeleton.metadata.items():
            file.seek(offset)
            file.write(data[: skeleton.layout.size - offset])
    with path.open("rb") as file:
        assert read_layout(file.fileno(), path, skeleton.layout.size) == skeleton.layout
    sectors = [offset // BLOCK for offset in skeleton.metadata]
    for extent in skeleton.layout.extents.values():
        assert extent.offset % BLOCK == 0
        taken = range(extent.offset // BLOCK, (extent.end - 1) // BLOCK + 1)
        sectors += [taken[0]] if len(taken) == 1 else [taken[0], taken[-1]]
    assert len(set(sectors)) == len(sectors)


def test_a_record_is_read_back_and_one_changed_bit_is_noticed():
    record = Record(7, False, 513, 2, 512, 1, 99, 0xFFFFFFFF, 5, (513, 2), (1, 0xFFFFFFFF), (2, 0xFFFFFFFE))
    raw = record.encode()
    assert len(raw) == BLOCK
    assert decode(raw, [8, 4], store.FORMAT_VERSION) == record
    for bit in range(0, len(raw) * 8, 131):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        assert decode(bytes(changed), [8, 4], store.FORMAT_VERSION) is None


def test_a_rotten_record_in_a_closed_file_is_reported_and_loses_nothing(tmp_path):
    for slot in (0, 1):
        path = store_runs.finished(tmp_path / f"{slot}.tdw")
        with store.open_reader(path) as reader:
            offset = reader._state.layout.slot_offset(slot)
        with path.open("r+b") as file:
            file.seek(offset + 500)
            file.write(b"rot")
        with store.open_reader(path) as reader:
            check_exact(reader)
            assert reader.n_epochs == 601
            said = "one of the two commit records is damaged; the other one is intact and says the same"
            assert reader.verify() == ([said] if reader.commit.clean else [])
        with store.open_writer(path):
            pass
        with store.open_reader(path) as reader:
            assert reader.commit.clean
            assert reader.verify() == []
            check_exact(reader)


def test_appending_refuses_what_has_no_room_or_no_order(tmp_path):
    with store_runs.create(tmp_path / "run.tdw", epochs=20, checkpoint_capacity=2) as writer:
        step(writer, 5, checkpoint=True)
        before = writer.reader.revision
        for message, arguments in {
            "equally long": {"curves": {"losses/train": np.zeros(3)}},
            "has no curve loss; its curves are losses/train": {"curves": {"loss": np.zeros(3)}},
            "epoch 21 exceeds the 20 planned epochs": {"curves": losses(5, 22)},
            "a checkpoint at epoch 4 must be after 4 and before 7": {
                "curves": losses(5, 7),
                "checkpoints": [(4, blob(4))],
            },
            "a checkpoint at epoch 7 must be": {"curves": losses(5, 7), "checkpoints": [(7, blob(7))]},
            "bytes was given, .* are planned": {"curves": losses(5, 7), "checkpoints": [(6, blob(6, 1))]},
            "not a safetensors file": {"curves": losses(5, 7), "checkpoints": [(6, bytes(len(blob(6))))]},
            "a resume state at epoch 9 is later than the last": {"curves": losses(5, 7), "resume": (9, blob(9, 1))},
            "at most .* are planned": {"curves": losses(5, 7), "resume": (6, blob(6, 2))},
        }.items():
            with pytest.raises(ValueError, match=message):
                writer.append(**arguments)
        writer.plan_analyses([plan("events", capacity=3)])
        for message, given in {
            "not those planned": {"events": {"epoch": np.arange(2)}},
            "not those planned for analysis 'other'": {"other": {}},
            "4 rows? of 'events'|do not fit": {"events": rows("events", 0.5, 0, 4)},
            "must have shape": {"events": rows("events", 0.5, 0, 2) | {"share": np.zeros((2, 5))}},
        }.items():
            with pytest.raises(ValueError, match=message):
                writer.append_rows(given)
        step(writer, 2, checkpoint=True)
        with pytest.raises(ValueError, match="1 checkpoints do not fit: 2 of 2 planned ones are stored"):
            step(writer, 2, checkpoint=True)
        with pytest.raises(ValueError, match="are stored already"):
            writer.extend(config={}, epochs=3, checkpoint_capacity=2)
        assert before != writer.reader.revision
        check_exact(writer.reader)


def test_an_analysis_starts_anew_in_one_change(tmp_path):
    """Else a disk that fills between taking the old rows away and making room for new ones would lose both."""
    path = tmp_path / "run.tdw"
    with store_runs.create(path) as writer:
        writer.plan_analyses([store_runs.plan("events"), store_runs.plan("summary")])
        for name in ("events", "summary"):
            writer.append_rows({name: store_runs.rows(name, 0.5, 0, 3)})
        before = writer.reader.commit.sequence
        writer.plan_analyses([store_runs.plan("events")], remove=["events"])
        assert {name: item.rows for name, item in writer.reader.analyses().items()} == {"events": 0, "summary": 3}
        assert writer.reader.commit.sequence - before <= 2
        writer.append_rows({"events": store_runs.rows("events", 0.5, 0, 2)})
        store_runs.check_exact(writer.reader)


def test_opening_loads_neither_torch_nor_any_plug_in(tmp_path):
    path = store_runs.finished(tmp_path / "run.tdw")
    code = (
        "import sys, os, json; from tdw import store; r = store.open_reader(sys.argv[1]); r.verify();"
        "print(json.dumps([sorted(sys.modules), os.environ['HDF5_PLUGIN_PRELOAD']]))"
    )
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    modules, preload = json.loads(out)
    assert preload == "::"
    assert "h5py" not in modules
    assert not {"torch", "gradio", "plotly"} & set(modules)


def test_a_file_is_made_with_the_permissions_of_any_other(tmp_path):
    mask = os.umask(0o027)
    try:
        store_runs.create(tmp_path / "run.tdw").close()
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "run.tdw").stat().st_mode) == 0o640


def test_a_last_block_that_rotted_is_read_from_its_copy_and_mended(tmp_path):
    path = store_runs.finished(tmp_path / "run.tdw")
    sound = path.read_bytes()
    with h5py.File(path) as file:
        offset = file["losses/train"].id.get_offset() + 600 * 8  # in the second block, which is not full
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"rot")
    with store.open_reader(path) as reader:
        check_exact(reader)
        assert reader.verify() == [
            "the last rows of 'losses/train' are damaged; opening the file for writing repairs them"
        ]
    store.open_writer(path).close()
    assert path.read_bytes() == sound
