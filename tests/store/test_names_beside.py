"""Files next to a project file: the user's own are left alone, traps lead nowhere, permissions are kept."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import tdw
from tdw import store, temporary
from tdw.errors import AlreadyExistsError, CannotWriteError, FileInUseError
from tdw.operations import recover
from tdw.store import filesystem, lock
from tdw.store.atomic import new_file
from tdw.store.holder import Holder
from tests.store import store_runs
from tests.store.killed import OF_LOCKS, killed_at_each_call

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
BY_NAME = ("run.tdw.tmp", "run.tdw.part", "new.tdw.tmp", "new.tdw.part", ".run.tdw.tmp", ".new.tdw.0123.tmp")
SETTINGS = {"p": 5, "d_model": 4, "heads": 1, "d_mlp": 4, "epochs": 20, "checkpoints": "0:20:10", "threads": 1}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run.tdw"
    tdw.create(path, tdw.configure(**SETTINGS, train_fraction=0.5))
    tdw.train(path)
    return path


def everything(run: Path) -> None:
    """Every act that builds a file."""
    folder = run.parent
    tdw.analyze(run)
    with store.open_writer(run) as writer:
        writer.set_notes({"title": "noted"})
    tdw.train(run, epochs=30, checkpoints="0:30:10")
    tdw.densify(run, "0:30:5")
    for name, make in {
        "recover": lambda new: recover.recover(run, new),
        "copy": lambda new: tdw.copy(run, new),
        "branch": lambda new: tdw.branch(run, new, at=10, lr=0.01),
        "create": lambda new: tdw.create(new, tdw.configure(**SETTINGS, train_fraction=0.5)),
    }.items():
        make(folder / "new.tdw")
        assert (folder / "new.tdw").is_file(), name
        (folder / "new.tdw").unlink()
    tdw.create(run, tdw.configure(**SETTINGS, train_fraction=0.5), overwrite=True)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_nothing_of_the_users_is_removed_or_written_to(run, kind):
    for name in BY_NAME:
        if kind == "file":
            (run.parent / name).write_text("mine")
        else:
            (run.parent / name).mkdir()
            (run.parent / name / "mine").touch()
    everything(run)
    assert sorted(item.name for item in run.parent.iterdir()) == sorted([*BY_NAME, "run.tdw"])
    for name in BY_NAME:
        place = run.parent / name
        assert place.read_text() == "mine" if kind == "file" else (place / "mine").exists()


@pytest.mark.parametrize("kind", ["text", "folder", "link", "pipe"])
def test_what_is_in_the_place_of_a_lock_file_is_named_and_left(run, kind):
    beside, target = lock.sidecar(run), run.parent / "target"
    target.write_text("mine")
    match kind:
        case "text":
            beside.write_text("mine")
        case "folder":
            beside.mkdir()
        case "link":
            beside.symlink_to(target)
        case "pipe":
            os.mkfifo(beside)
    before = beside.lstat()
    with pytest.raises(CannotWriteError, match=r"run\.tdw\.lock is in the way: it is not a lock file of tdw"):
        tdw.train(run, epochs=30)
    assert store.locked_by(run) is None
    assert (beside.lstat().st_ino, beside.lstat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert target.read_text() == "mine"
    with tdw.open(run) as opened:  # looking is possible all the same
        assert opened.state == "finished"


def test_an_empty_file_in_the_place_of_a_lock_is_used_and_left_empty(run):
    lock.sidecar(run).touch()
    with store.open_writer(run), pytest.raises(FileInUseError):
        store.open_writer(run)
    assert lock.sidecar(run).read_bytes() == b""


@pytest.mark.parametrize("text", [b"12345", Holder(99999999).encode()])
def test_what_a_killed_process_left_is_taken_over_and_removed(run, text):
    """Also that of the first versions, which was a number."""
    lock.sidecar(run).write_bytes(text)
    folder = temporary.make_temporary(run).parent
    (folder / "file").write_bytes(bytes(9999))
    store.open_writer(run).close()
    assert [item.name for item in run.parent.iterdir()] == ["run.tdw"]


@pytest.mark.parametrize("left", [None, b"12345", Holder(99999999).encode()])
def test_a_kill_at_any_call_of_taking_the_lock_leaves_nothing_for_ever(run, left):
    """The process ends without notice after the first, second, … call that changes a lock file."""

    def prepare() -> None:
        lock.sidecar(run).unlink(missing_ok=True)
        if left is not None:
            lock.sidecar(run).write_bytes(left)

    prepare()
    for calls in killed_at_each_call(lambda: lock.Lock(run), OF_LOCKS):
        with store.open_writer(run):
            assert store.locked_by(run) == os.getpid(), calls
        assert [item.name for item in run.parent.iterdir()] == ["run.tdw"], calls
        prepare()
    assert calls > 2


def test_only_what_was_made_here_is_swept(run):
    """By its name it could be ours, but others can read it, or it is not a folder."""
    open_one = temporary.make_temporary(run).parent
    open_one.chmod(0o755)
    plain = run.parent / ".run.tdw.0123456789abcdef.tmp"
    plain.write_text("mine")
    other = temporary.make_temporary(run.with_name("run.tdw.tdw")).parent
    store.open_writer(run).close()
    assert sorted(item.name for item in run.parent.iterdir()) == sorted(
        ["run.tdw", open_one.name, plain.name, other.name]
    )


def test_a_planted_link_leads_nowhere(run, monkeypatch):
    """In a folder that others may write to, the temporary file's own name cannot be taken, even when it is guessed."""
    victim = run.parent / "victim"
    victim.write_text("mine")
    monkeypatch.setattr(temporary.secrets, "token_hex", lambda _: "0123456789abcdef")
    planted = run.parent / ".new.tdw.0123456789abcdef.tmp"
    planted.symlink_to(victim)
    with pytest.raises(CannotWriteError, match=r"new\.tdw cannot be written"):
        recover.recover(run, run.parent / "new.tdw")
    assert victim.read_text() == "mine"
    assert planted.is_symlink()
    planted.unlink()
    planted.mkdir(mode=0o777)
    (planted / "file").symlink_to(victim)
    with pytest.raises(CannotWriteError, match=r"new\.tdw cannot be written"):
        recover.recover(run, run.parent / "new.tdw")
    assert victim.read_text() == "mine"


def test_temporary_files_are_private(run, monkeypatch):
    seen = []
    plain = filesystem.System.allocate

    def look(self, fd, size):
        (folder,) = [item for item in run.parent.iterdir() if item.name.endswith(".tmp")]
        seen.append(stat.S_IMODE(folder.stat().st_mode))
        plain(self, fd, size)

    monkeypatch.setattr(filesystem.System, "allocate", look)
    before = os.umask(0)
    try:
        tdw.copy(run, run.parent / "new.tdw")
    finally:
        os.umask(before)
    assert seen == [0o700]


def acts(run: Path) -> dict[str, object]:
    return {
        "note": lambda: _note(run),
        "analyze": lambda: tdw.analyze(run),
        "extend": lambda: tdw.train(run, epochs=40, checkpoints="0:40:10"),
        "densify": lambda: tdw.densify(run, "0:20:5"),
        "new --force": lambda: tdw.create(run, tdw.configure(**SETTINGS, train_fraction=0.5), overwrite=True),
    }


def _note(run: Path) -> None:
    with store.open_writer(run) as writer:
        writer.set_notes({"title": "noted"})


@pytest.mark.parametrize("act", ["note", "analyze", "extend", "densify", "new --force"])
@pytest.mark.parametrize("mode", [0o600, 0o660, 0o444 | 0o200])
def test_rights_are_kept_when_a_file_is_rewritten(run, act, mode):
    run.chmod(mode)
    if ROOT:
        os.chown(run, 12345, 54321)
    with_attribute = False
    with contextlib.suppress(OSError):  # a file system without them
        os.setxattr(run, "user.origin", b"the cluster")
        with_attribute = True
    inode = run.stat().st_ino
    with run.open("rb"):  # so that its number is not given to the next file
        acts(run)[act]()
    after = run.stat()
    assert after.st_ino != inode, "it was not rewritten"
    assert stat.S_IMODE(after.st_mode) == mode
    if ROOT:
        assert (after.st_uid, after.st_gid) == (12345, 54321)
    if with_attribute:
        assert os.getxattr(run, "user.origin") == b"the cluster"


def test_a_group_that_cannot_be_kept_gets_no_more_than_everybody(run, monkeypatch):
    def refused(_fd, _user, _group):
        raise PermissionError(errno.EPERM, "no")

    run.chmod(0o664)
    if not ROOT:
        pytest.skip("giving a file to another group needs root")
    os.chown(run, -1, 54321)
    monkeypatch.setattr(os, "fchown", refused)
    _note(run)
    assert stat.S_IMODE(run.stat().st_mode) == 0o644


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_a_new_file_follows_the_umask(run, umask):
    before = os.umask(umask)
    try:
        for number, make in enumerate(
            (
                lambda new: tdw.create(new, tdw.configure(**SETTINGS, train_fraction=0.5)),
                lambda new: tdw.branch(run, new, at=10, lr=0.01),
                lambda new: tdw.copy(run, new),
                lambda new: recover.recover(run, new),
            )
        ):
            new = run.parent / f"new-{number}.tdw"
            make(new)
            assert stat.S_IMODE(new.stat().st_mode) == 0o666 & ~umask, number
    finally:
        os.umask(before)


def test_two_processes_that_make_the_same_file_make_one(run):
    """One makes it; the other one is told so, whenever it comes."""
    code = "import sys\nfrom tdw.operations import recover\nfrom tdw.errors import TdwError\nsys.stdin.readline()\ntry: recover.recover(*sys.argv[1:]); print('made')\nexcept TdwError as e: print(type(e).__name__)"
    results = []
    for number in range(6):
        new = run.parent / f"new-{number}.tdw"
        pair = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(run), str(new)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for one in pair:
            assert one.stdin is not None
            one.stdin.write("\n")
            one.stdin.flush()
        said = sorted(one.communicate()[0].strip() for one in pair)
        assert said[1] == "made"
        assert said[0] in {"AlreadyExistsError", "FileInUseError"}
        results.append(said[0])
        assert recover.damage(new) == []
        with tdw.open(new) as made:
            assert len(made.checkpoints) == 3
    assert sorted(item.name for item in run.parent.iterdir()) == sorted(
        ["run.tdw", *(f"new-{n}.tdw" for n in range(6))]
    )


def test_a_file_that_appeared_meanwhile_is_not_replaced(run):
    new = run.parent / "new.tdw"

    def build() -> None:
        with new_file(new) as part:
            part.write_text("built")
            new.write_text("another program's")

    with pytest.raises(AlreadyExistsError, match=r"new\.tdw already exists"):
        build()
    assert new.read_text() == "another program's"
    assert sorted(item.name for item in run.parent.iterdir()) == ["new.tdw", "run.tdw"]


def test_a_file_that_appears_while_one_is_created_is_not_replaced(tmp_path, monkeypatch):
    plain = filesystem.System.name

    def late(self, source, target):
        target.write_text("another program's")
        plain(self, source, target)

    monkeypatch.setattr(filesystem.System, "name", late)
    with pytest.raises(AlreadyExistsError, match=r"run\.tdw already exists: use another name"):
        store_runs.create(tmp_path / "run.tdw")
    assert (tmp_path / "run.tdw").read_text() == "another program's"
    assert [item.name for item in tmp_path.iterdir()] == ["run.tdw"]


def test_a_file_system_without_links_refuses_as_well(tmp_path, monkeypatch):
    def no_links(*_args, **_more):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    store_runs.create(tmp_path / "run.tdw").close()
    with new_file(tmp_path / "new.tdw") as part:
        part.write_text("built")
    assert (tmp_path / "new.tdw").read_text() == "built"
    (tmp_path / "there").write_text("mine")
    with pytest.raises(FileExistsError):
        filesystem.SYSTEM.name(tmp_path / "new.tdw", tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"


CLOSED = """
import os, sys
for fd in (0, 1, 2): os.close(fd)
import tdw
from tdw import store
with store.open_writer(sys.argv[1]) as writer:
    mine = {writer._state.fd, *writer._writing._files, writer._writing._name._fd}
    ok = min(mine) > 2
    writer.set_notes({"title": "x"})
    ok &= writer._state.fd > 2
with store.open_reader(sys.argv[1]) as reader:
    ok &= reader._state.fd > 2
os._exit(0 if ok else 1)
"""


def test_no_file_of_ours_becomes_a_standard_stream(run):
    done = subprocess.run([sys.executable, "-c", CLOSED, str(run)], check=False)
    assert done.returncode == 0
    assert recover.damage(run) == []


def test_a_long_name_has_room_for_its_temporary_file(tmp_path):
    path = tmp_path / f"{'n' * 240}.tdw"
    store_runs.create(path).close()
    with store.open_writer(path) as writer:
        writer.set_notes({"title": "a long name"})
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_a_limit_on_file_sizes_is_told_as_such(tmp_path):
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from tests.store import store_runs\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "store_runs.create(sys.argv[1])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run.tdw")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "run.tdw cannot be written: a file of 0." in done.stderr
    assert "than this process, or this file system, may make one. Raise the limit (`ulimit -f`)" in done.stderr
    assert "disk is full" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_thread_of_the_same_process_is_a_second_writer_too(run):
    refused = []

    def second() -> None:
        other = run.parent / "linked.tdw"
        other.hardlink_to(run)
        try:
            store.open_writer(other)
        except FileInUseError as error:
            refused.append(str(error))

    with store.open_writer(run):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(refused) == 1
    assert "linked.tdw is being written to by another process" in refused[0]
