"""A reader that stays open while other bytes come to its path, in whatever way: it sees them, or says why it cannot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tdw
from tdw import store
from tdw.errors import DamagedFileError, ProjectError, TdwError
from tests.store import store_runs
from tests.store.store_runs import step

Way = Callable[[Path, Path], Iterator[None]]
BLOCK = 16 * 1024


def cp(new: Path, path: Path) -> Iterator[None]:
    """Cut off, then written from the front: `cp new path`, a shell's `>`."""
    data = new.read_bytes()
    with path.open("wb", buffering=0) as file:
        for at in range(0, len(data), BLOCK):
            yield
            file.write(data[at : at + BLOCK])


def in_place(new: Path, path: Path) -> Iterator[None]:
    """Only blocks that differ, never shorter than needed: `rsync --inplace`, a sync client."""
    data = new.read_bytes()
    fd = os.open(path, os.O_RDWR)
    try:
        for at in range(0, len(data), BLOCK):
            piece = data[at : at + BLOCK]
            if os.pread(fd, len(piece), at) != piece:
                yield
                os.pwrite(fd, piece, at)
        yield
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)


def backwards(new: Path, path: Path) -> Iterator[None]:
    """At its full size from the start, from the last block to the first: downloads in pieces."""
    data = new.read_bytes()
    fd = os.open(path, os.O_RDWR)
    try:
        os.ftruncate(fd, len(data))
        for at in reversed(range(0, len(data), BLOCK)):
            yield
            os.pwrite(fd, data[at : at + BLOCK], at)
    finally:
        os.close(fd)


def allocated(new: Path, path: Path) -> Iterator[None]:
    """All zeros at full size first, the middle last: a copier that reserves the room."""
    data = new.read_bytes()
    with path.open("r+b", buffering=0) as file:
        file.truncate(0)
        file.truncate(len(data))
        places = list(range(0, len(data), BLOCK))
        for at in [*places[::2], *places[1::2]]:
            yield
            file.seek(at)
            file.write(data[at : at + BLOCK])


def rename(new: Path, path: Path) -> Iterator[None]:
    """`mv new path`."""
    yield
    Path(shutil.copy(new, path.with_suffix(".moving"))).replace(path)


def remove_and_make(new: Path, path: Path) -> Iterator[None]:
    """Gone for a while, then another file of the name."""
    path.unlink()
    yield
    shutil.copy(new, path)


WAYS: list[Way] = [cp, in_place, backwards, allocated, rename, remove_and_make]


def grown(path: Path, *counts: int) -> Path:
    with store.open_writer(path) as writer:
        for count in counts:
            step(writer, count, checkpoint=True, resume=True)
    return path


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The run that is open, and what may come in its place."""
    folder = tmp_path_factory.mktemp("family")
    found = {"older": folder / "older.tdw"}
    with store_runs.create(found["older"]) as writer:
        step(writer, 300, checkpoint=True, resume=True)
    for name, counts in {"open": (200, 100), "twin": (100, 200), "newer": (200, 100, 300)}.items():
        found[name] = grown(Path(shutil.copy(found["older"], folder / f"{name}.tdw")), *counts)
    found["another"] = store_runs.finished(folder / "another.tdw", epochs=700)
    found["smaller"] = folder / "smaller.tdw"
    with store_runs.create(found["smaller"], epochs=90, checkpoint_capacity=1) as writer:
        step(writer, 91, checkpoint=True)
    with store_runs.create(folder / "alike.tdw", config={"p": 7, "room": 1401}) as writer:  # the same size, another run
        for count in (300, 200, 100):
            step(writer, count, checkpoint=True, resume=True)
    found["alike"] = folder / "alike.tdw"
    return found


def held(reader: store.Reader) -> tuple[object, ...]:
    """Everything that a reader gives."""
    arrays = {name: reader.read(name).tobytes() for name in reader.names()}
    blobs = [bytes(reader.checkpoint(i)) for i in range(reader.n_checkpoints)]
    return (reader.config, reader.notes(), reader.commit, reader.planned_epochs, arrays, blobs)


def test_the_family_is_what_the_tests_below_are_about(family):
    with store.open_reader(family["open"]) as a, store.open_reader(family["twin"]) as b:
        assert (a.commit.sequence, a.n_epochs, a.size_bytes) == (b.commit.sequence, b.n_epochs, b.size_bytes)
        assert a._state.record.seal == b._state.record.seal
        assert a.revision.split("-")[1:3] == b.revision.split("-")[1:3]
        assert a.revision.split("-")[3] != b.revision.split("-")[3]
    assert family["alike"].stat().st_size == family["open"].stat().st_size


@pytest.mark.parametrize("what", ["older", "twin", "newer", "another", "smaller", "alike"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_whatever_comes_in_place_of_an_open_file_is_seen(family, tmp_path, way, what):
    path = Path(shutil.copy(family["open"], tmp_path / "run.tdw"))
    with store.open_reader(family[what]) as other:
        new = held(other)
    with store.open_reader(path) as reader:
        revision = reader.revision
        assert not reader.refresh()
        refused = 0
        for _ in way(family[what], path):
            # Half of it is there: a sentence, or values that are right, be it of one of the two or a commit before.
            try:
                reader.refresh()
                store_runs.check_exact(reader)
            except ProjectError as error:
                refused += "run.tdw" in str(error)
        reader.refresh()
        assert held(reader) == new
        assert reader.revision != revision
        assert reader.generation or what == "newer", "only a longer copy may pass for what its writer added"
        assert not reader.refresh()
        assert not reader.verify()
        assert refused or way not in {cp, allocated}
        with store.open_writer(path) as writer:  # and what follows is followed
            step(writer, 0, resume=True) if writer.reader.n_epochs > writer.reader.planned_epochs else step(writer, 1)
        assert reader.refresh()


def test_a_copy_that_went_on_from_other_values_is_not_taken_for_more_of_the_same(family, tmp_path):
    """Every number in its record is higher, and the structure is the same; only the rows tell."""
    path, other = tmp_path / "run.tdw", tmp_path / "other.tdw"
    for place in (path, other):
        shutil.copy(family["older"], place)
    grown(path, 100)
    with store.open_writer(other) as writer:
        drifted = {name: values * 2 for name, values in store_runs.losses(300, 500).items()}
        writer.append(curves=drifted)
    grown(other, 100)
    with store.open_reader(path) as reader:
        before = reader.commit
        assert not reader.refresh()
        shutil.copyfile(other, path)
        assert reader.refresh()
        assert reader.commit.sequence > before.sequence
        assert all(now >= then for now, then in zip(reader.commit.rows.values(), before.rows.values(), strict=True))
        assert reader.generation == 1
    with store.open_reader(path) as reader, store.open_writer(path) as writer:  # and this is more of the same
        step(writer, 10)
        assert reader.refresh()
        assert reader.generation == 0


def test_other_results_under_the_same_number_are_another_file(tmp_path):
    """As many commits, the same curves and checkpoints: only an analysis has other rows."""
    path, other = (store_runs.finished(tmp_path / f"{name}.tdw") for name in ("run", "unused"))
    shutil.copy(path, other)
    for place, threshold in ((path, 0.5), (other, 0.25)):
        with store.open_writer(place) as writer:
            writer.append_rows({"summary": store_runs.rows("summary", threshold, 50, 55)})
    with store.open_reader(path) as reader:
        before, sequence = reader.read("analysis/summary/share"), reader.commit.sequence
        shutil.copyfile(other, path)
        assert reader.refresh()
        assert (reader.commit.sequence, reader.generation) == (sequence, 1)
        assert not np.array_equal(reader.read("analysis/summary/share"), before)


def look(reader: store.Reader, name: str) -> np.ndarray:
    reader.refresh()
    return reader.read(name)


def test_bytes_that_were_compared_before_are_compared_again_when_the_file_was_touched(tmp_path):
    """Nothing is committed, the record says what it said: only the file's times tell."""
    path = store_runs.finished(tmp_path / "run.tdw")
    with store.open_reader(path) as reader:
        for name in ("analysis/summary/share", "losses/train"):
            before = reader.read(name)
            at = reader._state.layout.extents[name].offset + 5
            with path.open("r+b", buffering=0) as file:
                file.seek(at)
                byte = file.read(1)
                file.seek(at)
                file.write(bytes([byte[0] ^ 1]))
                if name == "losses/train":  # what a look compares by itself
                    with pytest.raises(DamagedFileError, match=f"the bytes of '{name}' do not match"):
                        reader.refresh()
                for _ in range(2):  # and not only once
                    with pytest.raises(DamagedFileError, match=f"the bytes of '{name}' do not match"):
                        look(reader, name)
                file.seek(at)
                file.write(byte)
            assert np.array_equal(look(reader, name), before)


@pytest.mark.parametrize("old", [True, False])
def test_bytes_that_were_written_over_are_not_read_before_a_look_either(tmp_path, monkeypatch, old):
    path = store_runs.finished(tmp_path / "run.tdw")
    if old:
        monkeypatch.setattr("tdw.store.reader.JUST_NOW", -1)
    with store.open_reader(path) as reader:
        sound = path.read_bytes()
        for name in ("losses/train", "analysis/summary/share", "split/test"):
            before = reader.read(name)
            assert np.array_equal(reader.read(name), before)
            with path.open("r+b") as file:
                file.seek(reader._state.layout.extents[name].offset)
                file.write(b"\x01\x02\x03")
            for _ in range(2):
                with pytest.raises(DamagedFileError, match=r"do not match their checksum"):
                    reader.read(name)
            path.write_bytes(sound)
            assert np.array_equal(reader.read(name), before)


def test_a_split_that_was_written_over_is_not_read(tmp_path):
    path = store_runs.finished(tmp_path / "run.tdw")
    with store.open_reader(path) as reader:
        at = reader._state.layout.extents["split/train"].offset
        with path.open("r+b", buffering=0) as file:
            file.seek(at)
            file.write(b"\x30")
        with pytest.raises(ProjectError):
            reader.refresh()


def test_a_link_that_leads_elsewhere_now_is_followed(family, tmp_path, monkeypatch):
    for name in ("open", "another"):
        shutil.copy(family[name], tmp_path / f"{name}.tdw")
    monkeypatch.chdir(tmp_path)
    Path("latest.tdw").symlink_to("open.tdw")
    with store.open_reader("latest.tdw") as reader:
        monkeypatch.chdir("/")  # a relative path means what it meant
        assert not reader.refresh()
        Path(tmp_path / "latest.tdw").unlink()
        assert not reader.refresh()
        Path(tmp_path / "latest.tdw").symlink_to("another.tdw")
        assert reader.refresh()
        assert reader.n_epochs == 701


def test_no_descriptor_is_kept_of_what_was_refused(family, tmp_path):
    if not Path("/proc/self/fd").exists():
        pytest.skip("nothing here counts descriptors")
    path = Path(shutil.copy(family["open"], tmp_path / "run.tdw"))
    with store.open_reader(path) as reader:
        before = len(list(Path("/proc/self/fd").iterdir()))
        path.write_bytes(b"no project file")
        for _ in range(20):
            with pytest.raises(ProjectError):
                reader.refresh()
        shutil.copy(family["another"], path)
        for _ in range(5):
            reader.refresh()
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_run_that_is_replaced_is_another_run(tiny_run, tmp_path):
    """What `tdw.open` gives: settings, curves, checkpoints and figures are those of the new file."""
    path = Path(shutil.copy(tiny_run, tmp_path / "run.tdw"))
    other = tmp_path / "other.tdw"
    tdw.create(other, tdw.configure(p=7, d_model=16, heads=2, d_mlp=8, epochs=30, checkpoints="0:30:10", threads=1))
    tdw.train(other)
    with tdw.open(path) as run:
        first = run.id
        shutil.copyfile(other, path)
        assert run.refresh()
        assert run.id != first
        assert (run.config.p, run.checkpoints, run.generation) == (7, [0, 10, 20, 30], 1)
        assert run.neuron_map(30, 7).shape == (7, 7)


def test_a_contradictory_file_is_refused_however_it_comes_to_the_path(tiny_run, tmp_path, monkeypatch):
    """A file from elsewhere whose parts do not belong together, renamed over one that is open."""
    path, bad = Path(shutil.copy(tiny_run, tmp_path / "run.tdw")), tmp_path / "bad.tdw"
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TDW_STATE_DIR", str(tmp_path / "elsewhere"))
        with store_runs.create(bad, config={"p": 7, "room": 1733}) as writer:
            step(writer, 1)
    with tdw.open(path) as run:
        bad.replace(path)
        for _ in range(2):
            with pytest.raises(TdwError, match=r"run\.tdw is not a valid project file: it has no valid run id"):
                run.refresh()
        shutil.copy(tiny_run, path)
        run.refresh()
        assert run.config.p == 11
