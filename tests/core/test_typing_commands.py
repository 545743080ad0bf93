"""Typed arguments are used or refused, never dropped; and printed commands can be pasted."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest

import tdw
from tdw.cli import commands, parser
from tdw.errors import AppError
from tdw.safe_text import typed

NAMES = ["-lead dash.tdw", "-x.tdw", "--epochs.tdw", "a b.tdw", "it's.tdw", "`id`$(id).tdw", "~.tdw", "a\nb\x1b.tdw",
         os.fsdecode(b"\xff.tdw"), "ü 中.tdw", "\\.tdw", "*.tdw"]  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="another shell")
@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_quoted_so_that_a_shell_takes_it_back(tmp_path, name):
    code = "import os, sys; os.write(1, os.fsencode(sys.argv[1]))"
    said = subprocess.run(
        ["bash", "-c", f"{sys.executable} -c {shlex.quote(code)} {typed(name)}"],
        capture_output=True,
        cwd=tmp_path,
    )
    assert os.path.normpath(os.fsdecode(said.stdout)) == name
    assert typed(name).isprintable()
    assert not typed(name).startswith("-")


@pytest.mark.skipif(os.name == "nt", reason="another shell")
@pytest.mark.parametrize("name", ["-lead dash.tdw", "a b.tdw", "a\x1bb.tdw"])
def test_the_command_that_is_printed_works(tmp_path, name):
    command = [sys.executable, "-m", "tdw"]
    sizes = ["--p", "7", "--d-model", "8", "--heads", "2", "--d-mlp", "8", "--epochs", "20", "--checkpoints", "0:20:10"]
    made = subprocess.run([*command, "new", *sizes, "--", name], capture_output=True, text=True, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    printed = re.search(r"Train it with `tdw (train .*)`\.", made.stdout)
    assert printed
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m tdw {printed[1]}"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    with tdw.open(tmp_path / name) as run:
        assert run.checkpoints == [0, 10, 20], "the options were not lost"


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        parser.parse(arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_options_after_two_dashes_are_refused_with_advice(capsys):
    said = refused(capsys, "train", "--", "-lead dash.tdw", "--epochs", "50")
    assert "unrecognized arguments: --epochs 50" in said
    assert "put options before it, or write the name as ./-NAME" in said


def test_options_before_the_command_reach_it(capsys):
    given = parser.parse(["--port", "7000", "--no-browser", "open", "x.tdw"])
    assert (given.port, given.no_browser, given.command) == (7000, True, commands.open_command)
    given = parser.parse(["--port", "7000", "open", "--port", "8000", "x.tdw"])
    assert given.port == 8000
    given = parser.parse(["--port", "7000"])
    assert (given.port, given.no_browser, given.files) == (7000, False, [])
    assert "apply only to `tdw open` and `tdw demo`" in refused(capsys, "--port", "7000", "info", "x.tdw")
    assert "apply only to `tdw open` and `tdw demo`" in refused(capsys, "--no-browser", "train", "x.tdw")
    given = parser.parse(["--root-path", "/p", "--trust-host", "a", "--trust-host", "b:1", "--allow-user", "c", "open"])
    assert (given.root_path, given.trust_host, given.allow_user) == ("/p", ["a", "b:1"], ["c"])
    given = parser.parse(["--trust-host", "a", "open", "--trust-host", "b", "--trust-host", "c"])
    assert (given.root_path, given.trust_host, given.allow_user) == (None, ["b", "c"], None)
    assert "apply only to `tdw open` and `tdw demo`" in refused(capsys, "--trust-host", "a", "info", "x.tdw")


def test_options_of_commands_are_not_taken_for_abbreviations_of_those_before_them():
    """argparse refuses `tdw train FILE --p 11` if two options before the command begin with --p."""
    assert len({flag[2] for flag in parser.WINDOW_FLAGS}) == len(parser.WINDOW_FLAGS)
    assert parser.parse(["train", "x.tdw", "--p", "11", "--tr", "0.5"]).train_fraction == "0.5"


def test_a_proxy_that_cannot_be_is_refused_before_the_demo_is_trained(tmp_path):
    arguments = parser.parse(["demo", str(tmp_path / "x.tdw"), "--root-path", "p"])
    with pytest.raises(AppError, match="the root path cannot be 'p'"):
        commands.demo_command(arguments)
    assert not list(tmp_path.iterdir())


def test_names_that_are_given_twice_are_all_taken():
    given = parser.parse(["analyze", "x.tdw", "--only", "events", "--only", "loss", "margin"])
    assert given.only == ["events", "loss", "margin"]
