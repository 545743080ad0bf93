"""A damaged file gives back all that is sound, says what it does not, and never a wrong value."""

from __future__ import annotations

import random
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tdw
from tdw import store
from tdw.analyses import ANALYSES
from tdw.analyses.engine import registry
from tdw.errors import AlreadyExistsError, DamagedFileError, NotAProjectError, TdwError
from tdw.operations import recover
from tdw.store.layout import Layout
from tests.store.forgery import read_layout

SETTINGS = {"p": 7, "d_model": 8, "heads": 2, "d_mlp": 128, "epochs": 600, "checkpoints": "0:600:100", "threads": 1}
RESULTS = [f"{item.name} " for item in registry.usual(tdw.configure(**SETTINGS))]


def make(path: Path) -> Path:
    """A finished run, analyzed, with a note; the losses fill more than a block."""
    tdw.create(path, tdw.configure(**SETTINGS, train_fraction=0.6))
    tdw.train(path)
    tdw.analyze(path)
    with store.open_writer(path) as writer:
        writer.set_notes({"title": "a run"})
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("whole") / "run.tdw")


@pytest.fixture
def run(whole, tmp_path) -> Path:
    return Path(shutil.copy(whole, tmp_path / "run.tdw"))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> None:
    """A computer that remembers nothing of the file."""
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "another"))


def layout_of(path: Path) -> Layout:
    with path.open("rb") as file:
        return read_layout(file.fileno(), path, path.stat().st_size)


def overwrite(path: Path, offset: int, data: bytes = b"\xa5\x5a\xa5\x5a") -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def contents(path: Path) -> dict[str, object]:
    """All that is in a file: values by name; NaN where a loss is not known."""
    with tdw.open(path) as run:
        found: dict[str, object] = {name: run.series(name) for name in store.LOSSES}
        found |= {f"weights {epoch}": run.weights(epoch)["embed.W_E"].tobytes() for epoch in run.checkpoints}
        for name in run.analyses():
            result = run.analysis(name)
            for array, values in result.arrays.items():
                if ANALYSES[name].per == "run":
                    found[f"{name} {array}"] = values.tobytes()
                else:
                    rows = zip(result.checkpoints, values, strict=True)
                    found |= {f"{name} {array} {epoch}": row.tobytes() for epoch, row in rows}
        found |= {"train": run.split.train.tobytes(), "test": run.split.test.tobytes(), "notes": str(run.notes)}
        settings = run.config.to_json()
        found["settings"] = str(settings)
        with store.open_reader(path) as reader:
            if reader.commit.resume_epoch >= 0:
                found["resume"] = reader.resume()
        return found


def compare_with(whole: Path, new: Path) -> list[str]:
    """Every value of the new file is that of the whole one, or unknown; returns the names of what is missing."""
    before, after = contents(whole), contents(new)
    missing = []
    for name, value in before.items():
        if name not in after:
            missing.append(name)
        elif isinstance(value, np.ndarray):
            got = after[name]
            assert isinstance(got, np.ndarray)
            assert got.shape == value.shape, name
            assert ((got == value) | np.isnan(got)).all(), f"{name} has a wrong value"
            if np.isnan(got).sum() > np.isnan(value).sum():
                missing.append(name)
        else:
            assert after[name] == value, f"{name} is wrong"
    assert not set(after) - set(before)
    with store.open_reader(new) as reader:
        assert reader.verify() == []
    return missing


def test_a_sound_file_is_copied_and_nothing_is_said(run, whole, tmp_path):
    assert recover.damage(run) == []
    assert recover.recover(run, tmp_path / "new.tdw") == []
    assert compare_with(whole, tmp_path / "new.tdw") == []
    assert sorted(item.name for item in tmp_path.iterdir()) == ["new.tdw", "run.tdw"]


def _at(name: str, add: int = 100) -> Callable[[Path], None]:
    return lambda path: overwrite(path, layout_of(path).extents[name].offset + add)


def _blob(row: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        extent = layout_of(path).extents["checkpoints/safetensors"]
        overwrite(path, extent.offset + row * extent.row_nbytes + 1000)

    return change


def _all_of(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        for one in changes:
            one(path)

    return change


def _both_slots(path: Path) -> None:
    layout = layout_of(path)
    for slot in (0, 1):
        overwrite(path, layout.slot_offset(slot) + 8)


def _resume(path: Path) -> None:
    """Whichever state counts."""
    for place in layout_of(path).resume_places():
        if place >= 0:
            overwrite(path, place + 1000)


def _split(path: Path) -> None:
    overwrite(path, layout_of(path).extents["split/train"].offset + 16)


def _cut(share: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        extent = layout_of(path).extents["checkpoints/safetensors"]
        with path.open("r+b") as file:
            file.truncate(extent.offset + int(share * extent.nbytes))

    return change


def _metadata(path: Path) -> None:
    """The header of the first array, which HDF5 checks with a checksum of its own."""
    data = path.read_bytes()
    overwrite(path, data.index(b"OHDR", 8192) + 12)


CURVES = ["losses/train", "losses/test", "accuracy/train", "accuracy/test"]
OF_CHECKPOINT_3 = "300"
# what is damaged -> (how, sentence, what the new file lacks: a name, or a word in it)
CASES: dict[str, tuple[Callable[[Path], None], str, list[str]]] = {
    "a curve": (
        _at("losses/train"),
        "'losses/train' do not match their checksum: 512 of its 601 values are lost, of epochs 0 to 511",
        ["losses/train"],
    ),
    "a checkpoint": (_blob(3), r"checkpoint 3 \(epoch 300\): it does not match its checksum", [OF_CHECKPOINT_3]),
    "the table's epochs": (_at("checkpoints/epoch", 8), "the last rows of 'checkpoints/epoch' (are|were) damaged", []),
    "the table's checksums": (_at("checkpoints/crc32", 12), "the last rows of 'checkpoints/crc32' (are|were)", []),
    "the table and its copy": (
        _all_of(_at("checkpoints/epoch", 8), _at("checkpoints/crc32", 12), _both_slots),
        "checkpoint 3: it does not match its checksum",
        [*CURVES, "resume", *RESULTS, OF_CHECKPOINT_3],
    ),
    "the state": (
        _resume,
        "the resume state does not match its checksum",
        ["resume"],
    ),
    "results": (
        _at("analysis/neuron_frequencies/share"),
        "(the results of neuron_frequencies|'analysis/neuron_frequencies/share') do not match their checksum",
        ["neuron_frequencies"],
    ),
    "the split": (_split, "the split was damaged and restored: the checksum matches again", []),
    "the structure": (
        _metadata,
        "the structure of the file is damaged; it was restored from this computer's record of it",
        [],
    ),
    "the first block": (
        lambda path: overwrite(path, 0, bytes(4096)),
        "the structure of the file is damaged; it was restored from this computer's record of it",
        [],
    ),
    "one record": (
        lambda path: overwrite(path, layout_of(path).slot_offset(0) + 8),
        "one of the two commit records is damaged; the other one is intact and says the same",
        [],
    ),
    "both records": (
        _both_slots,
        "both commit records are damaged",
        [*CURVES, "resume", *RESULTS],
    ),
    "the end": (_cut(0.5), r"the file is truncated: it has [\d,]+ of [\d,]+ bytes", ["300", "400", "500", "600"]),
    "bytes behind it": (
        lambda path: path.write_bytes(path.read_bytes() + b"more"),
        "4 extra bytes follow the end of the file",
        [],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_all_that_is_sound_is_saved_and_the_rest_is_named(run, whole, tmp_path, name):
    change, sentence, lacks = CASES[name]
    change(run)
    data = run.read_bytes()
    said = recover.damage(run)
    assert any(re.search(sentence, line) for line in said), said
    new = tmp_path / "new.tdw"
    lost = recover.recover(run, new)
    assert all(line.isprintable() for line in lost)
    assert any(re.search(sentence, line) for line in lost), lost
    missing = compare_with(whole, new)
    assert all(any(word in item for word in lacks) for item in missing), missing
    assert all(any(word in item for item in missing) for word in lacks), missing
    assert run.read_bytes() == data
    assert sorted(item.name for item in tmp_path.iterdir()) == ["new.tdw", "run.tdw"]


@pytest.mark.parametrize("name", ["the structure", "the first block"])
def test_without_a_memory_the_structure_is_planned_again_from_the_settings(run, whole, tmp_path, elsewhere, name):
    with store.open_writer(run) as writer:  # as training leaves it: results come later
        writer.plan_analyses([], remove=list(writer.reader.analyses()))
    shutil.rmtree(tmp_path / "another")
    CASES[name][0](run)
    lost = recover.recover(run, tmp_path / "new.tdw")
    assert any("restored from its settings" in line for line in lost), lost
    missing = compare_with(whole, tmp_path / "new.tdw")
    assert missing
    assert all(item.startswith(tuple(RESULTS)) for item in missing), missing


def test_with_all_results_it_is_planned_again_as_well(run, whole, tmp_path, elsewhere):
    _metadata(run)
    lost = recover.recover(run, tmp_path / "new.tdw")
    assert any("restored from its settings" in line for line in lost), lost
    assert any("the structure was damaged and restored: the checksum matches again" in line for line in lost), lost
    assert recover.losses(lost) == [], "the same plan gives the same bytes, which the seal proves"
    assert compare_with(whole, tmp_path / "new.tdw") == []


def test_settings_that_were_damaged_are_taken_from_what_is_remembered(run, whole, tmp_path):
    at = run.read_bytes().index(b'"weight_decay":1')
    overwrite(run, at + len('"weight_decay":'), b"7")
    lost = recover.recover(run, tmp_path / "new.tdw")
    assert "the settings were damaged and restored: the checksum matches again" in lost
    assert compare_with(whole, tmp_path / "new.tdw") == []


def test_what_cannot_be_proven_is_said(run, tmp_path, elsewhere):
    at = run.read_bytes().index(b'"weight_decay":1')
    overwrite(run, at + len('"weight_decay":'), b"7")
    lost = recover.recover(run, tmp_path / "new.tdw")
    assert any("which of them is unknown: they were copied unchanged, check them before training" in x for x in lost)
    with tdw.open(tmp_path / "new.tdw") as new, store.open_reader(tmp_path / "new.tdw") as reader:
        assert new.config.weight_decay == 7
        assert reader.config["recovered"] == {"from": "run.tdw", "damage": lost}


def test_a_recovered_run_goes_on_exactly(tmp_path):
    """Killed, then damaged: what is trained from the recovered file is the uninterrupted run."""
    straight = make(tmp_path / "straight.tdw")
    path = tmp_path / "run.tdw"
    tdw.create(path, tdw.configure(**SETTINGS, train_fraction=0.6))
    asked = iter([False] * 550 + [True])
    tdw.train(path, stop=lambda: next(asked))
    _at("losses/train")(path)
    lost = recover.recover(path, tmp_path / "new.tdw")
    assert len(lost) == 1
    assert "512 of its 551 values are lost, of epochs 0 to 511" in lost[0]
    assert tdw.train(tmp_path / "new.tdw")
    with tdw.open(straight) as one, tdw.open(tmp_path / "new.tdw") as other:
        assert other.checkpoints == one.checkpoints
        for epoch in one.checkpoints:
            assert {n: w.tobytes() for n, w in one.weights(epoch).items()} == {
                n: w.tobytes() for n, w in other.weights(epoch).items()
            }
        assert np.isnan(other.train_loss[:512]).all()
        assert np.array_equal(other.train_loss[512:], one.train_loss[512:])
        assert np.array_equal(other.test_loss, one.test_loss, equal_nan=True)


def test_nothing_is_overwritten_and_nothing_is_made_up(run, tmp_path):
    other = tmp_path / "there.tdw"
    other.write_text("mine")
    with pytest.raises(AlreadyExistsError, match=r"there\.tdw already exists: use another name"):
        recover.recover(run, other)
    assert other.read_text() == "mine"
    with pytest.raises(NotAProjectError, match="does not exist"):
        recover.recover(tmp_path / "none.tdw", tmp_path / "new.tdw")
    (tmp_path / "text").write_bytes(b"epoch,loss\n" * 9999)
    with pytest.raises(
        DamagedFileError, match=r"nothing can be recovered\. Its structure cannot be read, and no commit record"
    ):
        recover.recover(tmp_path / "text", tmp_path / "new.tdw")
    with pytest.raises(TdwError, match="it is a folder"):
        recover.recover(tmp_path, tmp_path / "new.tdw")
    (tmp_path / "empty").touch()
    with pytest.raises(NotAProjectError, match="it is empty"):
        recover.recover(tmp_path / "empty", tmp_path / "new.tdw")
    with pytest.raises(TdwError, match=r"the folder .* does not exist"):
        recover.recover(run, tmp_path / "no" / "new.tdw")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["empty", "run.tdw", "text", "there.tdw"]


def test_the_command(run, tmp_path):
    _blob(3)(run)
    command = [sys.executable, "-m", "tdw"]
    verify = subprocess.run([*command, "verify", str(run)], capture_output=True, text=True)
    assert (verify.returncode, verify.stdout) == (2, "")
    assert verify.stderr == f"tdw: {run}: checkpoint 3 (epoch 300): it does not match its checksum\n"
    done = subprocess.run([*command, "recover", str(run), str(tmp_path / "new.tdw")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"{run}: checkpoint 3 (epoch 300): it does not match its checksum"
    saved = f"6 of 7 checkpoints, 601 recorded epochs, {len(RESULTS)} results; some data was lost"
    assert saved in done.stdout
    verify = subprocess.run([*command, "verify", str(tmp_path / "new.tdw")], capture_output=True, text=True)
    assert verify.returncode == 0


def test_verify_lists_everything_even_where_the_file_does_not_open(run):
    _all_of(_at("losses/train"), _at("losses/test"), _blob(1), _split)(run)
    with pytest.raises(DamagedFileError):
        tdw.open(run)
    said = " | ".join(recover.damage(run))
    for part in ("'losses/train'", "'losses/test'", "checkpoint 1 (epoch 100)", "the split was damaged"):
        assert part in said


# Random damage: run in a process of its own, which a crash or a bomb may not survive.


def try_many(whole: Path, folder: Path, start: int, count: int) -> None:
    import faulthandler

    from tests.store.test_damage import KINDS, damage

    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    data = whole.read_bytes()
    telling = [at for at, byte in enumerate(data) if byte]
    path, new = folder / "run.tdw", folder / "new.tdw"
    saved = refused = complete = 0
    for seed in range(start, start + count):
        choose = random.Random(seed)
        kind = KINDS[seed % len(KINDS)]
        path.write_bytes(damage(data, kind, choose, telling))
        print(seed, kind, end=" ", flush=True)
        new.unlink(missing_ok=True)
        print(flush=True)
        try:
            lost = recover.recover(path, new)
        except TdwError:
            refused += 1
            continue
        if any("which of them is not known" in line for line in lost):
            saved += 1
            continue  # it was said that settings and split are as they stand
        missing = compare_with(whole, new)
        assert bool(lost) >= bool(missing), (missing, lost)
        saved, complete = saved + 1, complete + (not missing)
    print("all", refused, saved, complete)


def run_many(whole: Path, folder: Path, start: int, count: int, limit: float) -> tuple[int, int, int]:
    command = [sys.executable, "-m", __name__, str(whole), str(folder), str(start), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    last = done.stdout.splitlines()[-1:]
    assert done.returncode == 0, f"ended with {done.returncode} at {last}: {done.stderr[-3000:]}"
    word, *numbers = last[0].split()
    assert word == "all"
    refused, saved, complete = map(int, numbers)
    return refused, saved, complete


def test_random_damage_gives_back_only_what_is_right(whole, tmp_path):
    refused, saved, complete = run_many(whole, tmp_path, 0, 40, 600)
    assert refused + saved == 40
    assert saved > 30
    assert complete > 5


@pytest.mark.slow
def test_much_random_damage_gives_back_only_what_is_right(whole, tmp_path):
    refused, saved, _ = run_many(whole, tmp_path, 5_000, 800, 3600)
    assert refused + saved == 800
    assert saved > 700


if __name__ == "__main__":
    try_many(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
