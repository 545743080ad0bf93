"""Files from another computer: HDF5 reads them in a sandbox only, and they are rebuilt before they are written to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tdw import store
from tdw.errors import DamagedFileError, NotAProjectError
from tdw.store import open_file as state_module
from tdw.store import sandbox, sandbox_worker, seen_files, structure
from tdw.store.inspect_hdf5 import walk
from tests.store import store_runs


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A file, and a user of another computer who is sent it."""
    path = store_runs.finished(tmp_path / "run.tdw")
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "another"))
    return path


@pytest.fixture
def looks(monkeypatch) -> list[Path]:
    """The files that were examined in a process of their own."""
    found: list[Path] = []

    def examined(fd: int, path: Path, size: int) -> structure.Structure:
        found.append(path)
        return sandbox.examined(fd, path, size)

    monkeypatch.setattr(state_module, "examined", examined)
    return found


def test_a_file_made_here_is_never_examined(tmp_path, looks):
    path = store_runs.finished(tmp_path / "run.tdw")
    shutil.copy(path, tmp_path / "copy.tdw")
    for name in ("run.tdw", "copy.tdw"):
        for open_it in (store.open_reader, store.open_writer):
            with open_it(tmp_path / name) as file:
                reader = getattr(file, "reader", file)
                assert reader.made_here
                assert reader.first_word is None
                store_runs.check_exact(file)
    assert looks == []


def test_a_strangers_file_is_examined_once_and_said_once(elsewhere, looks):
    with store.open_reader(elsewhere) as reader:
        assert not reader.made_here
        assert reader.first_word is not None
        assert reader.first_word.startswith("run.tdw comes from another computer")
        store_runs.check_exact(reader)
        assert reader.verify() == []
    for _ in range(2):
        with store.open_reader(elsewhere) as reader:
            assert (reader.made_here, reader.first_word) == (False, None)
            store_runs.check_exact(reader)
    assert len(looks) == 1


def test_this_process_gives_no_byte_of_it_to_hdf5(elsewhere):
    """Reading a stranger's file, the first time and later, works in a process that has no HDF5 at all."""
    code = (
        "import sys; sys.modules['h5py'] = None; from tests.store import store_runs\n"
        "from pathlib import Path\n"
        "from tdw.store.reader import open_reader\n"
        "for _ in range(2):\n"
        "    with open_reader(Path(sys.argv[1])) as reader:\n"
        "        store_runs.check_exact(reader); assert not reader.made_here and reader.verify() == []\n"
        "print('read')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(elsewhere)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("read\n", "")


def test_writing_rebuilds_it_first(elsewhere, looks):
    before, inode = elsewhere.read_bytes(), elsewhere.stat().st_ino
    with store.open_writer(elsewhere) as writer:
        assert writer.reader.made_here
        assert elsewhere.stat().st_ino != inode
        store_runs.check_exact(writer.reader)
    with store.open_reader(elsewhere) as reader:
        assert reader.made_here
        store_runs.check_exact(reader)
        assert reader.verify() == []
        assert reader.notes() == {"title": "a small run"}
    assert len(looks) == 1
    assert before != elsewhere.read_bytes()
    assert sorted(item.name for item in elsewhere.parent.iterdir()) == ["another", "run.tdw"]


def test_what_a_stranger_put_beside_the_data_is_gone_after_the_rebuild(elsewhere):
    """Attributes that no rule forbids, and bytes between the arrays, do not survive."""
    from tests.store.test_errors import reseal

    with h5py.File(elsewhere, "r+") as file:
        file["losses"].attrs["planted"] = np.bytes_("do not keep me")
    layout_of = structure.layout_of
    with elsewhere.open("rb") as file:
        layout = layout_of(walk(file.fileno(), elsewhere, elsewhere.stat().st_size), elsewhere)
    gap = layout.extents["config"].end
    with elsewhere.open("r+b") as file:
        file.seek(gap)
        file.write(b"planted too")
    reseal(elsewhere)
    store.open_reader(elsewhere).close()
    assert elsewhere.read_bytes().count(b"planted") == 2
    store.open_writer(elsewhere).close()
    assert b"planted" not in elsewhere.read_bytes()
    with store.open_reader(elsewhere) as reader:
        store_runs.check_exact(reader)


def test_a_file_left_torn_by_a_power_cut_elsewhere_is_mended_by_the_rebuild(tmp_path, monkeypatch):
    path = tmp_path / "run.tdw"
    writer = store_runs.create(path)
    store_runs.step(writer, 100, resume=True)
    layout = writer._state.layout
    writer.abandon()
    with path.open("r+b") as file:  # the sector that holds the last losses
        file.seek(layout.extents["losses/train"].offset)
        file.write(os.urandom(512))
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "another"))
    with store.open_writer(path):
        pass
    with h5py.File(path) as file:
        assert np.array_equal(file["losses/train"][:100], store_runs.losses(0, 100)["losses/train"])


def test_a_damaged_stranger_is_not_rebuilt(elsewhere):
    with elsewhere.open("r+b") as file:
        layout = structure.layout_of(walk(file.fileno(), elsewhere, elsewhere.stat().st_size), elsewhere)
        file.seek(layout.extents["checkpoints/safetensors"].offset + 1000)
        file.write(b"\1\2\3\4")
    data = elsewhere.read_bytes()
    with pytest.raises(
        DamagedFileError, match=r"checkpoint 0 .*, and a file from another computer .* is only rebuilt when undamaged"
    ):
        store.open_writer(elsewhere)
    assert elsewhere.read_bytes() == data
    assert store.locked_by(elsewhere) is None
    assert sorted(item.name for item in elsewhere.parent.iterdir()) == ["another", "run.tdw"]


def test_a_run_id_is_no_proof(tmp_path, monkeypatch, looks):
    """Who was sent a run can put its id on another file: what is known is the file's own bytes."""
    path = store_runs.finished(tmp_path / "run.tdw")
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "another"))
    other = store_runs.finished(tmp_path / "other.tdw", notes={"title": "a run of the same id"})
    assert looks == []
    with store.open_reader(other) as mine, store.open_reader(path) as theirs:
        assert mine.made_here
        assert mine.config == theirs.config
        assert not theirs.made_here
        assert theirs.first_word is None, "the run is known, so nothing is said; the file is not, so it is looked at"
    assert looks == [path]


@pytest.mark.parametrize("where", ["config", "split/train", "structure"])
def test_a_known_file_that_was_changed_is_examined_again(elsewhere, looks, where):
    store.open_reader(elsewhere).close()
    with elsewhere.open("r+b") as file:
        layout = structure.layout_of(walk(file.fileno(), elsewhere, elsewhere.stat().st_size), elsewhere)
        at = 4096 - 8 if where == "structure" else layout.extents[where].offset + 2
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises((DamagedFileError, NotAProjectError)):
        store.open_reader(elsewhere)
    assert len(looks) == 2


def test_it_starts_in_no_folder_of_a_strangers(elsewhere, tmp_path, monkeypatch):
    """Python imports from the folder it starts in; a stranger's may hold a module of that name."""
    (tmp_path / "h5py.py").write_text("raise SystemExit('a module of the stranger ran')")
    (tmp_path / "numpy.py").write_text("raise SystemExit('a module of the stranger ran')")
    monkeypatch.chdir(tmp_path)
    with store.open_reader(elsewhere) as reader:
        store_runs.check_exact(reader)


def examiner(monkeypatch, code: str) -> None:
    """Let the examining process run something else."""
    plain = sandbox._ask
    monkeypatch.setattr(sandbox, "_ask", lambda command, fd, path: plain([command[0], "-c", code], fd, path))


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "in a sandbox ended with signal 11"),
        ("import time; time.sleep(60)", "took more than 1 s"),
        ("while True: pass", "took more than 1 s"),
        ("print('no json')", "the sandbox returned an invalid answer"),
        ("print('[1]')", "the sandbox returned an invalid answer"),
        ('print(\'{"structure": {"size": 1}}\')', "the sandbox returned an invalid answer"),
        (
            'print(\'{"structure": {"size": 1, "attributes": {"": 3}, "arrays": {}}}\')',
            "the sandbox returned an invalid answer",
        ),
        ('print(\'{"refused": "SystemExit", "sentence": "x"}\')', "the sandbox returned an invalid answer"),
        (
            'print(\'{"structure": {"size": 9, "attributes": {"": {}}, "arrays": {}}}\')',
            "the sandbox returned an invalid answer",
        ),
        ("print('[' * 100000)", "the sandbox returned an invalid answer"),
    ],
)
def test_whatever_becomes_of_the_process_is_a_sentence(elsewhere, monkeypatch, code, sentence):
    monkeypatch.setattr(sandbox, "PATIENCE", 1.0)
    examiner(monkeypatch, code)
    with pytest.raises(NotAProjectError, match=sentence):
        store.open_reader(elsewhere)


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits there")
@pytest.mark.parametrize(
    ("code", "last"),
    [
        ("bytearray(4 << 30)", "MemoryError"),
        ("__import__('tempfile').TemporaryFile()", "No usable temporary directory"),  # it tries each by writing
        ("[open('/dev/null') for _ in range(100)]", "Too many open files"),
    ],
)
def test_the_process_is_confined(code, last):
    confined = f"from tdw.store.sandbox_worker import confine; confine(); kept = {code}"
    done = subprocess.run([sys.executable, "-c", confined], capture_output=True, text=True)
    assert done.returncode != 0
    assert last in done.stderr.splitlines()[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits there")
def test_it_is_confined_before_it_looks():
    code = (
        "import resource, sys\n"
        "from tdw.errors import NotAProjectError\n"
        "from tdw.store import inspect_hdf5, sandbox_worker\n"
        "def look(*_): raise NotAProjectError(str(resource.getrlimit(resource.RLIMIT_AS)))\n"
        "inspect_hdf5.walk = look\n"
        "sandbox_worker.main(0, 'x')\n"
    )
    said = json.loads(subprocess.check_output([sys.executable, "-c", code], stdin=subprocess.DEVNULL))
    assert said == {"refused": "NotAProjectError", "sentence": f"({sandbox_worker.MEMORY}, {sandbox_worker.MEMORY})"}


def lie(elsewhere: Path, change: Any) -> structure.Structure:
    """What a process that was taken over might hand back."""
    with elsewhere.open("rb") as file:
        honest = walk(file.fileno(), elsewhere, elsewhere.stat().st_size)
    value = json.loads(honest.encode())
    change(value)
    return structure.Structure.decode(json.dumps(value).encode())


def _move(name: str, offset: int) -> Any:
    return lambda value: value["arrays"][name].__setitem__(0, offset)


LIES: dict[str, tuple[Any, str]] = {
    "outside": (_move("losses/train", 1 << 40), r"'losses/train' declares 4,808 bytes that are not in the file"),
    "before": (_move("losses/train", -4096), r"'losses/train' declares 4,808 bytes that are not in the file"),
    "crooked": (_move("losses/train", 4097), "'losses/train' does not start a sector"),
    "on top": (_move("losses/train", 0), "overlap|declares|other arrays|.*"),
    "huge": (lambda v: v["arrays"]["losses/train"].__setitem__(2, [1 << 60]), "bytes that are not in the file"),
    "negative": (lambda v: v["arrays"]["losses/train"].__setitem__(2, [-1]), "bytes that are not in the file"),
    "no axis": (lambda v: v["arrays"]["losses/train"].__setitem__(2, []), "'losses/train' is not an array"),
    "objects": (lambda v: v["arrays"]["losses/train"].__setitem__(1, "|O8"), "does not hold plain numbers"),
    "records of another size": (
        lambda v: v["arrays"]["commit"].__setitem__(2, [2, 256]),
        "its commit records have an unexpected layout",
    ),
    "a name": (
        lambda v: v["arrays"].__setitem__("analysis/../../x", v["arrays"].pop("notes")),
        "it holds an array with the name",
    ),
    "an array more": (
        lambda v: v["attributes"]["commit"].__setitem__("arrays", "losses/train\nconfig"),
        "its commit records do not match its arrays",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_what_the_process_says_is_not_believed(elsewhere, monkeypatch, name):
    change, sentence = LIES[name]
    told = lie(elsewhere, change)
    monkeypatch.setattr(state_module, "examined", lambda *_: told)
    with pytest.raises((NotAProjectError, DamagedFileError), match=sentence):
        store.open_reader(elsewhere)


@pytest.mark.parametrize("damage", ["gone", "empty", "nonsense", "a file in its place", "closed"])
def test_what_is_remembered_saves_a_look_and_no_more(tmp_path, elsewhere, looks, damage):
    store.open_reader(elsewhere).close()
    folder = tmp_path / "another" / "known"
    entries = [path for path in folder.rglob("*") if path.is_file()]
    assert len(entries) == 3
    assert {path.stat().st_mode & 0o777 for path in entries} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_dir()} == {0o700}
    for path in entries:
        match damage:
            case "gone":
                path.unlink()
            case "empty":
                path.write_bytes(b"")
            case "nonsense":
                path.write_bytes(b'{"size": "x"}')
    if damage in {"a file in its place", "closed"}:
        shutil.rmtree(folder)
        folder.write_text("in the way") if damage != "closed" else None
    with store.open_reader(elsewhere) as reader:
        store_runs.check_exact(reader)
    assert len(looks) == 2


def many(folder: Path, numbers: range) -> list[Path]:
    """Small files of different runs."""
    paths = [folder / f"{number}.tdw" for number in numbers]
    for path in paths:
        store_runs.create(path, config={"id": f"run {path.stem}"}).close()
    return paths


def test_files_made_here_are_never_forgotten_and_the_oldest_others_are(tmp_path, monkeypatch, looks):
    monkeypatch.setattr(seen_files, "MOST", {"files": 10, "structures": 10, "runs": 10})
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "mine"))
    paths = many(tmp_path, range(30))
    for path in paths:
        with store.open_reader(path) as reader:
            assert reader.made_here
    assert looks == []
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "another"))
    for _ in range(2):
        for path in (*paths[:15], paths[14]):
            store.open_reader(path).close()
    assert looks[:15] == paths[:15]
    assert looks[15] == paths[0]  # forgotten meanwhile
    assert looks.count(paths[14]) <= 2
    assert len(list((tmp_path / "another" / "known" / "files").iterdir())) <= 10


def test_records_of_earlier_versions_are_kept_with_the_own_ones(tmp_path, monkeypatch, looks):
    """They lay in one folder with those of files from elsewhere."""
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "mine"))
    first, second = many(tmp_path, range(2))
    known = tmp_path / "mine" / "known"
    for kind in ("files", "structures"):
        for record in list((known / "own" / kind).glob("*/*")):
            record.rename(known / kind / record.name)
    shutil.rmtree(known / "own")
    with store.open_reader(first) as reader:
        assert reader.made_here
    many(tmp_path, range(2, 4))
    assert list((known / "files").iterdir()) == []
    assert len(list((known / "own" / "files").glob("*/*"))) == 4
    for path in (first, second):
        with store.open_reader(path) as reader:
            assert reader.made_here
    assert looks == []


def test_many_are_examined_by_one_process_each_in_a_sandbox_of_its_own(tmp_path, monkeypatch, looks):
    paths = many(tmp_path, range(5))
    bad = tmp_path / "bad.tdw"
    data = bytearray(paths[0].read_bytes())
    data[512:2048] = b"\xff" * 1536
    bad.write_bytes(data)
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "another"))
    started = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *args, **more: (started.append(args), run(*args, **more))[1])
    assert state_module.introduce([*paths[:2], bad, tmp_path / "missing.tdw", *paths[2:]]) == 5
    assert len(started) == 1
    for path in paths:
        with store.open_reader(path) as reader:
            assert (reader.made_here, reader.first_word) == (False, None)
    assert looks == []
    with pytest.raises((DamagedFileError, NotAProjectError)):
        store.open_reader(bad)


def test_together_the_same_is_found_as_alone(tmp_path):
    paths = many(tmp_path, range(3))
    files = [(os.open(path, os.O_RDONLY), path, path.stat().st_size) for path in paths]
    try:
        assert sandbox.examined_together(files) == [sandbox.examined(*file) for file in files]
    finally:
        for fd, *_ in files:
            os.close(fd)


def test_a_process_that_a_file_takes_over_changes_nothing_about_the_others():
    """One dies, and one answers several lines."""
    code = (
        "import os, sys; from tdw.store import sandbox_worker as worker\n"
        "def found(fd, size, name):\n"
        "    os.kill(os.getpid(), 9) if name == 'dies' else None\n"
        "    os.write(worker_out[0], b'forged\\nforged\\n') if name == 'forges' else None\n"
        "    return {'name': name}\n"
        "worker_out = [1]; worker.found = found\n"
        "real = worker._examine_and_exit\n"
        "def examine(fd, size, name, writing, others):\n"
        "    worker_out[0] = writing; real(fd, size, name, writing, others)\n"
        "worker._examine_and_exit = examine\n"
        "worker.each_alone([(os.open(os.devnull, 0), 0, name) for name in ('one', 'dies', 'forges', 'two')])\n"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.split(b"\n")
    assert json.loads(lines[0]) == {"name": "one"}
    assert lines[1] == b""
    assert lines[2].startswith(b"forged forged")
    assert json.loads(lines[3]) == {"name": "two"}
    assert len(lines) == 5
