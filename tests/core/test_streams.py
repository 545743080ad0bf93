"""Lost output does not stop work. Each command line here is a separate process."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import tdw
from tdw.cli import streams
from tdw.cli.streams import Stream, Unfailing

COMMAND = [sys.executable, "-m", "tdw"]
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


def run(*arguments: object, **more) -> subprocess.CompletedProcess[str]:
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more
    return subprocess.run([*COMMAND, *map(str, arguments)], **more)


def by_shell(line: str, *arguments: object, **more) -> subprocess.CompletedProcess[str]:
    """A command line with redirections; "$@" stands for the command and its arguments."""
    return subprocess.run(
        ["sh", "-c", line, "sh", *COMMAND, *map(str, arguments)], capture_output=True, text=True, **more
    )


def test_help_survives_every_stream():
    assert by_shell('"$@" 2>&- <&-', "--help").returncode == 0
    closed = by_shell('("$@"; echo $? >&2) | true', "--help")
    assert closed.stderr == "0\n"


@needs_full
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["info", "tiny.tdw"], ["verify", "tiny.tdw"]])
def test_what_only_prints_says_that_it_could_not(tiny_run, arguments):
    full = by_shell('"$@" >/dev/full', *arguments, cwd=tiny_run.parent)
    assert full.returncode == 2
    assert full.stderr == (
        "tdw: standard output cannot be written to (no space left on device): redirect the output elsewhere\n"
    )
    both = by_shell('"$@" >/dev/full 2>/dev/full', *arguments, cwd=tiny_run.parent)
    assert (both.returncode, both.stdout, both.stderr) == (2, "", "")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["info", "tiny.tdw"], ["verify", "tiny.tdw"]])
def test_what_only_prints_says_that_standard_output_is_closed(tiny_run, arguments):
    closed = by_shell('"$@" >&-', *arguments, cwd=tiny_run.parent)
    assert closed.returncode == 2
    assert closed.stderr == (
        "tdw: standard output cannot be written to (it is closed): redirect the output elsewhere\n"
    )
    assert by_shell('"$@" <&- >&- 2>&-', *arguments, cwd=tiny_run.parent).returncode == 2


@pytest.mark.parametrize("arguments", [["frobnicate"], ["info", "missing.tdw"]])
def test_an_error_needs_no_standard_output(tiny_run, arguments):
    closed = by_shell('"$@" >&-', *arguments, cwd=tiny_run.parent)
    assert (closed.returncode, closed.stderr.count("\n")) == (2, 1)
    assert "standard output" not in closed.stderr


@needs_full
def test_training_continues_when_its_output_is_closed(tiny_run):
    for epochs, line, note in (
        (
            50,
            '"$@" >/dev/full',
            "note: standard output cannot be written to (no space left on device); work continues",
        ),
        (60, '"$@" >/dev/full 2>/dev/full', ""),
        (70, '("$@"; echo $? >&2) | true', "note: the reader closed standard output; work continues"),
        (80, '"$@" <&- >&- 2>&-', ""),
        (90, '"$@" >&-', ""),
    ):
        done = by_shell(line, "train", tiny_run, "--epochs", epochs)
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith(note)
        assert bool(done.stderr) == bool(note)
        with tdw.open(tiny_run) as run:
            assert len(run.epochs) == epochs + 1
            assert run.verify() == []


def test_a_file_never_becomes_a_standard_stream(tiny_run):
    """Output of a library could be written into the file: here a library prints at every commit."""
    code = (
        "import os, sys\nfrom tdw import store\nfrom tdw.cli import main, progress\n"
        "plain = store.Writer.append\n"
        "def append(*given, **more):\n"
        "    for number in (1, 2):\n        os.write(number, b'X' * 512)\n"
        "    return plain(*given, **more)\n"
        "store.Writer.append = append\n"
        f"sys.argv = ['tdw', 'train', {str(tiny_run)!r}, '--epochs', '60']\n"
        "sys.exit(main.main())"
    )
    line = '"$@" <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", line, "sh", sys.executable, "-c", code])
    assert done.returncode == 0
    with tdw.open(tiny_run) as run:
        assert len(run.epochs) == 61
        assert run.verify() == []


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16", "utf-8:strict"])
def test_any_name_is_printed_under_any_encoding(tmp_path, tiny_run, encoding):
    path = tiny_run.rename(tmp_path / os.fsdecode("ζ 🙂 ›".encode() + b"\xff.tdw"))
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = run("info", path, env=environment, text=False)
    assert done.returncode == 0, done.stderr
    assert b"finished" in done.stdout.replace(b"\0", b"")
    done = run("note", path, "--title", "ü ‹ 🙂", env=environment, text=False)
    assert (done.returncode, done.stderr) == (0, b"")
    done = run("info", path, "--json", env=environment, text=False)
    answer = json.loads(done.stdout.decode(encoding.split(":")[0]))
    assert answer["path"] == str(path)
    assert answer["title"] == "ü ‹ 🙂"
    done = run("info", path.with_name(f"no {path.name}"), env=environment, text=False)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_a_terminal_that_goes_away_stops_nothing(tiny_run):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "train", str(tiny_run), "--epochs", "400"], stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    os.read(ours, 1)  # the bar is there
    os.close(ours)
    assert process.wait() == 0
    with tdw.open(tiny_run) as run:
        assert len(run.epochs) == 401


def test_a_pipe_that_does_not_wait_loses_nothing():
    """A slow reader of a non-blocking pipe, as some programs give to their children."""
    code = "from tdw.cli import streams\nwith streams.Unfailing():\n    streams.say(*['x' * 5000] * 200)"
    out, into = os.pipe()
    fcntl.fcntl(into, fcntl.F_SETFL, fcntl.fcntl(into, fcntl.F_GETFL) | os.O_NONBLOCK)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=into, stderr=subprocess.PIPE, text=True)
    os.close(into)
    with os.fdopen(out, "rb") as reader:
        said = reader.read()
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert said == (b"x" * 5000 + b"\n") * 200


class Failing(io.StringIO):
    """A stream whose writes fail."""

    def __init__(self, problem: Exception):
        super().__init__()
        self.problem = problem

    def write(self, _: str) -> int:
        raise self.problem


@pytest.mark.parametrize(
    "problem",
    [OSError(errno.EBADF, "Bad file descriptor"), OSError(errno.EIO, "Input/output error"), ValueError("I/O on closed")],
)  # fmt: skip
def test_a_failing_stream_is_reported_once(monkeypatch, problem):
    other = io.StringIO()
    monkeypatch.setattr(sys, "stdout", Failing(problem))
    monkeypatch.setattr(sys, "stderr", other)
    with Unfailing() as unfailing:
        streams.say("one", "two")
        print("three")
        assert unfailing.output.problem is problem
    assert other.getvalue().count("note: standard output cannot be written to") == 1
    assert other.getvalue().endswith("work continues without it.\n")


def test_quiet_says_nothing(monkeypatch):
    other = io.StringIO()
    monkeypatch.setattr(sys, "stdout", Failing(OSError(errno.ENOSPC, "No space left on device")))
    monkeypatch.setattr(sys, "stderr", other)
    with Unfailing() as unfailing:
        unfailing.quiet = True
        streams.say("one")
        assert unfailing.output.why() == "standard output cannot be written to (No space left on device)".replace(
            "N", "n", 1
        )
    assert other.getvalue() == ""


def test_what_an_encoding_lacks_is_escaped():
    under = io.TextIOWrapper(io.BytesIO(), "ascii", "strict")
    stream = Stream(under, "a stream", lambda: None)
    stream.write("ü🙂\udcff\n")
    assert under.buffer.getvalue() == b"\\xfc\\U0001f642\\udcff\n"  # type: ignore[attr-defined]
    assert json.loads(stream.encodable('"ü🙂"', "tdw.json")) == "ü🙂"
