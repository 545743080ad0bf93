"""The lease next to a project file: two computers that share a folder but not their locks never both write.

Computers are processes, or threads, with other identities and with locks that keep nobody out.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tdw.errors import FileInUseError, OverwrittenError
from tdw.store import holder, lease, lock, open_reader, open_writer
from tests.store import store_runs


class Turns:
    """Lets one of several threads at a time do one operation on files, in an order drawn at random."""

    def __init__(self, seed: int):
        self.choose, self.now = random.Random(seed), 0.0
        self.waiting: dict[int, threading.Event] = {}
        self.changed = threading.Condition()

    def step(self) -> None:
        mine = threading.Event()
        with self.changed:
            self.waiting[threading.get_ident()] = mine
            self.changed.notify()
        assert mine.wait(30)

    def drive(self, threads: list[threading.Thread]) -> None:
        slept: int | None = None  # a thread that is suspended for long
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            with self.changed:
                alive = [thread.ident for thread in threads if thread.is_alive()]
                if not self.changed.wait_for(
                    lambda: all(t.ident in self.waiting for t in threads if t.is_alive()), timeout=0.002
                ):
                    continue
                if not self.waiting or not alive:
                    continue
                if self.choose.random() < 0.02:
                    slept = self.choose.choice([None, *alive])
                ready = [one for one in self.waiting if one != slept] or list(self.waiting)
                self.waiting.pop(self.choose.choice(ready)).set()


class Shared(lease.Files):
    """A folder in memory, as a server keeps it: every operation is atomic, names mean files."""

    def __init__(self, turns: Turns):
        self.turns, self.names = turns, {}

    def read(self, path):
        self.turns.step()
        return None if path not in self.names else self.names[path][0]

    def age(self, *_):
        raise OSError  # clocks that agree on nothing

    def write_new(self, path, text):
        self.turns.step()
        self.names[path] = [text]

    def link(self, source, target):
        self.turns.step()
        if target in self.names:
            return False
        self.names[target] = self.names[source]
        return True

    def rewrite(self, path, expected, text):
        self.turns.step()
        file = self.names.get(path)
        if file is None or lease.Claim.decode(file[0]).token != expected:
            return False
        self.turns.step()  # the name may mean another file meanwhile; this one was opened
        file[0] = text
        return True

    def remove(self, path):
        self.turns.step()
        self.names.pop(path, None)


def history(seed: int, writers: int) -> Counter:
    """What happened to writers of one file whose steps are mixed at random; `again` counts commits by an owner after
    another one's commit.
    """
    turns = Turns(seed)
    files, path, seen = Shared(turns), Path("/folder/run.tdw"), Counter()
    commits: list[str] = []

    def work(number: int) -> None:
        clock = [random.Random(seed * 31 + number).random() * 1e6]  # of this computer alone

        def sleep(seconds: float) -> None:
            turns.step()
            clock[0] += seconds

        for _ in range(3):
            one = lease.Lease(path, files, lambda: clock[0], sleep)
            try:
                one.claim()
            except FileInUseError:
                seen["refused"] += 1
                continue
            token = one._claim.token
            seen["claimed"] += 1
            for _ in range(turns.choose.randrange(1, 6)):
                clock[0] += turns.choose.choice((0.1, lease.BEAT, 3 * lease.BEAT))
                try:
                    one.beat()
                    one.check(path)
                except OverwrittenError:
                    seen["fenced"] += 1
                    break
                seen["committed"] += 1
                seen["again"] += token in commits and commits[-1] != token
                commits.append(token)
            else:
                if turns.choose.random() < 0.6:
                    one.release()
                    seen["released"] += 1
                else:
                    seen["killed"] += 1
                    lease._held.add(token)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(writers)]
    turns.drive(threads)
    return seen


def elsewhere(monkeypatch) -> None:
    """Make no process provably dead or alive: all are on other computers."""
    monkeypatch.setattr(holder.Holder, "has_ended_here", lambda _: False)
    monkeypatch.setattr(holder.Holder, "is_alive_here", lambda _: False)
    monkeypatch.setattr(lease, "_has_ended", lambda _: False)


@pytest.mark.parametrize("writers", [2, 3])
def test_no_owner_commits_again_after_another_one_did_in_any_order(monkeypatch, writers):
    elsewhere(monkeypatch)
    total: Counter = Counter()
    for seed in range(150):
        total += history(seed, writers)
    print(total)
    assert total["again"] == 0
    assert min(total[word] for word in ("claimed", "refused", "fenced", "committed", "released", "killed")) > 0


HOST = """
import sys, time
from tdw.store import filesystem, holder, lease, lock, open_writer
name, path, act = sys.argv[1:4]
holder._host, holder._boot = (lambda: name), (lambda: "boot of " + name)
lock.try_lock = lambda *a, **k: True
filesystem.lock_for_writing = lambda fd: None
lease.BEAT, lease.PATIENCE = 0.2, 1.5
from tests.store import store_runs
try:
    with open_writer(path) as writer:
        print("open", flush=True)
        while act == "write":
            store_runs.step(writer, 1)
            print("stored", writer.reader.n_epochs, flush=True)
            time.sleep(0.05)
except Exception as error:
    print(type(error).__name__, error, flush=True)
"""


class Host:
    """A process with the identity of a computer, whose locks keep nobody out."""

    def __init__(self, name: str, path: Path, act: str = "write"):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOST, name, str(path), act],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TDW_LEASE": "always"},
        )

    def line(self) -> str:
        return self.process.stdout.readline().strip()

    def rest(self) -> list[str]:
        return self.process.stdout.read().splitlines()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def host():
    made = []

    def make(*arguments) -> Host:
        made.append(Host(*arguments))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def path(tmp_path) -> Path:
    store_runs.create(tmp_path / "run.tdw").close()
    return tmp_path / "run.tdw"


def test_a_second_computer_is_refused_and_told_who_writes(host, path):
    one = host("alpha x", path)
    assert one.line() == "open"
    os.utime(lease.beside(path), (1e9, 1e9))  # clocks agree on nothing
    said = host("beta x", path).rest()
    assert len(said) == 1
    assert said[0].startswith("FileInUseError")
    assert f"process {one.process.pid} of " in said[0]
    assert " on alpha since 2" in said[0]
    assert one.line().startswith("stored")


def test_the_claim_of_a_killed_writer_is_taken_over_after_its_time(host, path):
    one = host("alpha x", path)
    assert one.line() == "open"
    while not one.line().startswith("stored 3"):
        pass
    one.end()
    os.utime(lease.beside(path), (1e9, 1e9))  # else it is refused at once for as long as the last beat is recent
    started = time.monotonic()
    other = host("beta x", path)
    assert other.line() == "open"
    assert time.monotonic() - started > 1.5
    assert int(other.line().split()[1]) > 3


def test_a_writer_that_slept_stops_before_its_next_commit(host, path):
    one = host("alpha x", path)
    assert one.line() == "open"
    one.signal(signal.SIGSTOP)
    time.sleep(0.5)
    other = host("beta x", path)
    assert other.line() == "open"
    first = int(other.line().split()[1])
    one.signal(signal.SIGCONT)
    said = one.rest()
    assert said[-1].startswith("OverwrittenError")
    assert "was taken over by another process" in said[-1]
    assert all(int(line.split()[1]) < first for line in said[:-1])
    assert other.line().startswith("stored")
    other.end()
    with open_reader(path) as reader:
        store_runs.check_exact(reader)
        assert reader.n_epochs > first


def test_a_dead_process_of_this_computer_holds_nothing_up(path, monkeypatch):
    monkeypatch.setenv("TDW_LEASE", "always")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    claim = lease.Claim("0" * 32, 5, holder.Holder.of(child.pid), "me", "now")
    lease.beside(path).write_bytes(claim.encode())
    with pytest.raises(FileInUseError, match=f"process {child.pid} of me on "):
        open_writer(path)
    child.kill()
    child.communicate()
    started = time.monotonic()
    open_writer(path).close()
    assert time.monotonic() - started < lease.BEAT
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_locks_that_hold_for_everyone_need_no_lease(path, monkeypatch):
    monkeypatch.setattr(lease.filesystem, "type_of", lambda _: "ext4")
    with open_writer(path):
        assert not lease.beside(path).exists()
    monkeypatch.setattr(lease.filesystem, "type_of", lambda _: "nfs4")
    with open_writer(path):
        assert lease.beside(path).exists()
    assert not lease.beside(path).exists()


@pytest.mark.parametrize("text", [b"", b"\0" * 300, lease.MAGIC + b'"beat":'])
def test_a_lease_that_a_power_cut_left_unreadable_is_taken_over(path, monkeypatch, text):
    monkeypatch.setattr(lease, "PATIENCE", 0.3)
    monkeypatch.setattr(lease, "BEAT", 0.1)
    lease.beside(path).write_bytes(text)
    open_writer(path).close()
    assert not lease.beside(path).exists()


def test_a_commit_that_slipped_in_after_a_takeover_is_read_whole_and_stops_the_new_owner(path, monkeypatch):
    """The window that no file system closes: the old owner looked, slept, and writes after the new one committed."""
    monkeypatch.setenv("TDW_LEASE", "never")
    monkeypatch.setattr(lock, "try_lock", lambda *_, **__: True)
    monkeypatch.setattr(lock.filesystem, "lock_for_writing", lambda _: None)
    old = open_writer(path)
    store_runs.step(old, 30)
    new = open_writer(path)
    store_runs.step(new, 20)
    with monkeypatch.context() as asleep:
        asleep.setattr(old._commits, "check", lambda: None)
        store_runs.step(old, 5)
    with open_reader(path) as reader:
        store_runs.check_exact(reader)
        assert reader.n_epochs in {35, 50}
    with pytest.raises(OverwrittenError, match="a commit of another writer"):
        store_runs.step(new, 1)
    old.abandon()
    with open_writer(path) as again:
        store_runs.step(again, 40)
    with open_reader(path) as reader:
        store_runs.check_exact(reader)


def test_the_type_of_a_file_system_is_told():
    if Path("/dev/shm").is_mount():
        assert lease.filesystem.type_of(Path("/dev/shm")) == "tmpfs"
    assert lease.filesystem.type_of(Path("/proc/self")) == "proc"


def test_watching_a_lease_is_told_with_its_owner_and_for_how_long(path, monkeypatch, caplog):
    monkeypatch.setattr(lease, "PATIENCE", 1.2)
    monkeypatch.setattr(lease, "BEAT", 0.3)
    claim = lease.Claim("t" * 32, 3, holder.Holder(4711, "alpha 1", "boot", "", "1"), "ada", "2026-01-02 03:04 +0000")
    lease.beside(path).write_bytes(claim.encode())
    os.utime(lease.beside(path), (1e9, 1e9))
    with caplog.at_level("INFO", logger="tdw.store"):
        open_writer(path).close()
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == (
        f"{path} has a lease of process 4711 of ada on alpha since 2026-01-02 03:04 +0000: waiting up to 1 s to see whether it is "
        "alive; if not, the lease is taken over"
    )
