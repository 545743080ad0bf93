"""`--wait`, and the exit code where another process writes to the file."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from tdw.cli.main import main
from tdw.errors import FileInUseError
from tdw.project.writer import ProjectWriter
from tdw.run import open as open_run
from tdw.store.atomic import new_file

SMALL = ["--p", "7", "--epochs", "20"]


def new(path) -> str:
    assert main(["new", str(path), *SMALL]) == 0
    return str(path)


def waiting(*arguments: str) -> subprocess.Popen:
    """A command that has said that it waits."""
    process = subprocess.Popen([sys.executable, "-m", "tdw", *arguments], stderr=subprocess.PIPE, text=True)
    assert "waiting until it is done" in process.stderr.readline()
    return process


def test_a_file_in_use_has_an_exit_code_of_its_own(tmp_path, capsys):
    path = new(tmp_path / "run.tdw")
    with ProjectWriter.open(path):
        assert FileInUseError.exit_code == main(["train", path]) == main(["analyze", path]) == 75
    assert "is being written to by process" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "none.tdw")]) == 2


def test_training_and_analyzing_wait_for_the_other_process(tmp_path):
    path = new(tmp_path / "run.tdw")
    for command in ("train", "analyze"):
        with ProjectWriter.open(path):
            process = waiting(command, path, "--wait")
            time.sleep(1)
            assert process.poll() is None
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 0
        assert "waiting" not in said
    with open_run(path) as run:
        assert run.state == "finished"


def test_ctrl_c_stops_waiting(tmp_path):
    path = new(tmp_path / "run.tdw")
    with ProjectWriter.open(path):
        for command in ("train", "analyze"):
            process = waiting(command, path, "--wait")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
            assert process.returncode == 130


def test_densify_branch_and_note_wait_too(tmp_path):
    path, branch = new(tmp_path / "run.tdw"), tmp_path / "branch.tdw"
    assert main(["train", path]) == 0
    for command in (["densify", path, "--checkpoints", "13"], ["note", path, "--title", "waited"]):
        with ProjectWriter.open(path):
            process = waiting(*command, "--wait")
            time.sleep(1)
            assert process.poll() is None
        said = process.communicate(timeout=120)[1]
        assert (process.returncode, "waiting" in said) == (0, False)
    assert not list(tmp_path.glob("*.notes"))
    process = None
    try:
        with new_file(branch):  # as another process that makes a file of that name, which then fails
            assert main(["branch", path, str(branch), "--at", "10"]) == FileInUseError.exit_code
            process = waiting("branch", path, str(branch), "--at", "10", "--wait")
            time.sleep(1)
            assert process.poll() is None
            raise OSError("it fails")
    except Exception:
        assert process is not None
    process.communicate(timeout=120)
    assert process.returncode == 0
    with open_run(path) as run, open_run(branch) as forked:
        assert (13 in run.checkpoints, run.notes.title, forked.branched.at) == (True, "waited", 10)


def test_a_note_that_does_not_wait_is_taken_at_once(tmp_path):
    path = new(tmp_path / "run.tdw")
    with ProjectWriter.open(path):
        assert main(["note", path, "--title", "at once"]) == 0
        with open_run(path) as run:
            assert run.notes.title == "at once"
