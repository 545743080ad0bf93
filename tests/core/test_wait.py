"""`--wait`, and the exit code where another process writes to the file."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from tdw.cli.main import IN_USE, main
from tdw.project.writer import ProjectWriter
from tdw.run import open as open_run

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
        assert IN_USE == main(["train", path]) == main(["analyze", path]) == 75
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
