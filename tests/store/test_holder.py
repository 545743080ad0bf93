"""Which process a lock's text names: that very one, or none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from tdw.store import Holder
from tdw.store.holder import LIMIT, MAGIC, working

told = pytest.mark.skipif(not os.path.exists("/proc/self/ns/pid"), reason="this system does not tell")  # noqa: PTH110


@pytest.fixture
def decoy():
    """A process of this user that has nothing to do with anything."""
    process = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1)
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_what_is_written_is_what_is_read():
    for holder in (Holder.current("train"), Holder(7), Holder(7, "ü \u202e", "b", "n", "s", "analyze")):
        text = holder.encode()
        assert text.startswith(MAGIC)
        assert text.endswith(b"\n")
        assert text.count(b"\n") == 1
        assert Holder.decode(text) == holder
        assert Holder.decode(text).kind == holder.kind
    assert len(Holder(2**31 - 1, *["\U0001f600" * 400] * 5).encode()) > LIMIT
    assert len(Holder.current("x" * 400).encode()) <= LIMIT


def test_a_kind_of_work_is_said_while_it_is_done_and_is_no_part_of_who_it_is():
    with working("train"):
        assert Holder.current().kind == "train"
        assert Holder.current() == Holder.current("analyze")
    assert Holder.current().kind == ""


RIGHT = json.loads(Holder.current().encode())
TEXTS = [
    b"", b"0", b"-1", b"1", b"12345", b"9" * 20, b"9" * 5000, b"true", b"null", b"1.5", b"1e3", b"\xff\xfe", b"\0" * 64,
    b"[" * 100_000, b'{"pid": 1}', b"pid 1", b"my notes about the lock\n", "١٢٣".encode(), "²".encode(), MAGIC, MAGIC + b"}",
    MAGIC + b"[" * 2000, MAGIC[:-1] + b"}", b" " + Holder.current().encode(), Holder.current().encode()[:-10],
    Holder.current().encode() + b" " * LIMIT, json.dumps(RIGHT).encode(),
]  # fmt: skip


@pytest.mark.parametrize(
    "text", TEXTS, ids=range(len(TEXTS))
)  # ids without the number of this process, so that workers collect the same
def test_any_other_text_names_nobody(text):
    assert Holder.decode(text) is None


@pytest.mark.parametrize("name", [name for name in RIGHT if name != "tdw-writer"])
@pytest.mark.parametrize("value", [None, True, 1.5, "1", -1, 0, 2**31, 10**20, [], {}, [[[]]], "x" * 401, float("nan")])
def test_a_field_of_another_type_names_nobody(name, value):
    if isinstance(value, str) and len(value) < 400 and name != "pid":
        pytest.skip("a text is one")
    stored = {key: item for key, item in {**RIGHT, name: value}.items() if key != "tdw-writer"}
    assert Holder.decode(MAGIC + json.dumps(stored).encode()[1:]) is None
    del stored[name]
    assert Holder.decode(MAGIC + json.dumps(stored).encode()[1:]) is None


@told
def test_a_process_is_alive_here_only_if_all_of_it_is_the_same(decoy):
    holder = Holder.of(decoy.pid)
    assert Holder.current().is_alive_here()
    assert holder.is_alive_here()
    for name in ("host", "boot", "namespace", "started"):
        for value in ("", "another"):
            other = replace(holder, **{name: value})
            assert other != holder
            assert not other.is_alive_here(), name
            assert other.is_elsewhere == (name != "started")
            assert not other.send(signal.SIGKILL)
    assert decoy.poll() is None
    decoy.kill()
    os.waitid(os.P_PID, decoy.pid, os.WEXITED | os.WNOWAIT)
    assert not holder.is_alive_here(), "it has ended and is not buried"
    decoy.wait()
    assert not holder.is_alive_here()
    assert not holder.send(signal.SIGKILL)


@told
def test_a_number_that_was_given_out_again_is_not_hit(decoy):
    """The text a dead process left, with a pid that an unrelated process has now."""
    left_behind = replace(Holder.of(decoy.pid), started="1")
    assert not left_behind.send(signal.SIGKILL)
    assert decoy.poll() is None
    assert Holder.of(decoy.pid).send(signal.SIGKILL)
    assert decoy.wait() == -signal.SIGKILL


@told
def test_without_descriptors_of_processes_the_same_holds(decoy, monkeypatch):
    monkeypatch.delattr(os, "pidfd_open")
    assert not replace(Holder.of(decoy.pid), started="1").send(signal.SIGKILL)
    assert decoy.poll() is None
    assert Holder.of(decoy.pid).send(signal.SIGKILL)
    assert decoy.wait() == -signal.SIGKILL


@told
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can act as another user")
def test_another_users_process_is_nobodys_to_end():
    code = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, cwd="/") as process:
        process.stdout.readline()
        holder = Holder.of(process.pid)
        assert not holder.is_alive_here()
        assert not holder.send(signal.SIGKILL)
        assert process.poll() is None
        process.kill()
