"""Notes in a file, and what the command line prints of texts that anybody may have written."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tdw
from tdw import store
from tdw.cli import main
from tdw.errors import FileInUseError, SettingError
from tdw.project import notes
from tdw.project.project import Project
from tdw.project.records import Notes
from tdw.project.writer import ProjectWriter
from tdw.safe_text import json_text, visible
from tests import hostile_text


def command(*arguments: object, **more: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "tdw", *map(os.fsencode, map(str, arguments))], capture_output=True, **more
    )


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(tiny_run, tmp_path / "run.tdw"))


def test_notes_are_written_read_and_taken_away(run):
    before = tdw.open(run).train_loss.tobytes()
    assert command("note", run).stdout.decode() == f"{run}: no title, tags or remark.\n"
    written = command(
        "note", run, "--title", " The clock ", "--tag", "p11", "tiny", "--tag", "p11", "--remark", "first\nsecond"
    )
    assert (written.returncode, written.stdout, written.stderr) == (0, b"", b"")
    assert command("note", run).stdout.decode() == (
        "title: The clock\ntags: p11, tiny\nremark: first\n        second\n"
    )
    assert "title: The clock\ntags: p11, tiny\n" in command("info", run).stdout.decode()
    information = json.loads(command("info", run, "--json").stdout)
    assert {name: information[name] for name in ("title", "tags", "remark")} == {
        "title": "The clock", "tags": ["p11", "tiny"], "remark": "first\nsecond",
    }  # fmt: skip
    assert command("note", run, "--title", "", "--remark", "").returncode == 0
    assert command("note", run).stdout.decode() == "tags: p11, tiny\n"
    assert command("note", run, "--tag", "").returncode == 0
    with Project.open(run) as project:
        assert project.notes == Notes()
        assert project._store.notes() == {}, "what is taken away leaves nothing"
        assert project.train_loss.tobytes() == before
        assert project.verify() == []


def test_other_notes_stay(run):
    with store.open_writer(run) as writer:
        writer.set_notes({"bookmarks": [40], "title": "old"})
    with ProjectWriter.open(run) as writer:
        writer.set_notes(title="new", tags=["a"])
    with store.open_reader(run) as reader:
        assert reader.notes() == {"bookmarks": [40], "title": "new", "tags": ["a"]}


def test_notes_that_change_nothing_rewrite_nothing(run):
    command("note", run, "--title", "same")
    before = run.stat().st_ino
    command("note", run, "--title", "same")
    assert run.stat().st_ino == before


def test_the_longest_notes_are_kept(run):
    longest = {
        "title": "𝔸" * notes.TITLE,
        "tags": [f"{n:02}" + "ü" * (notes.TAG - 2) for n in range(notes.TAGS)],
        "remark": "𝔹" * notes.REMARK,
    }
    with ProjectWriter.open(run) as writer:
        writer.set_notes(**longest)
    with Project.open(run) as project:
        assert project.notes == Notes(**longest)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"title": "x" * 121}, "--title may have at most 120 characters (got 121)"),
        ({"tags": ["x" * 41]}, "--tag may have at most 40 characters (got 41)"),
        ({"tags": [str(n) for n in range(13)]}, "at most 12 tags are allowed (got 13)"),
        ({"remark": "x" * 4001}, "--remark may have at most 4000 characters (got 4001)"),
        (
            {"title": "a\nb"},
            "--title contains invisible characters or line breaks: a␊b",
        ),
        ({"title": "\x1b[31m"}, "--title contains invisible characters or line breaks: ␛[31m"),
        ({"tags": ["a\u202eb"]}, "--tag contains invisible characters or line breaks: a‹U+202E›b"),
        ({"remark": "a\nb\x00"}, "--remark contains invisible characters: "),
        ({"title": "\udcff"}, "--title contains invisible characters or line breaks: ‹U+DCFF›"),
    ],
)
def test_refused_notes_say_why_and_change_nothing(run, given, sentence):
    before = run.read_bytes()
    with ProjectWriter.open(run) as writer, pytest.raises(SettingError) as refused:
        writer.set_notes(**given)
    assert sentence in str(refused.value)
    assert hostile_text.unshown(str(refused.value).replace("\n", "")) == []
    assert run.read_bytes() == before


def test_notes_given_while_something_writes_wait_and_are_stored_by_it(run):
    beside = run.with_name(f"{run.name}.notes")
    with ProjectWriter.open(run):
        with pytest.raises(FileInUseError, match=r"is being written to by process"):
            ProjectWriter.open(run)
        assert command("note", run, "--title", "x", "--tag", "a", "b").returncode == 0
        assert command("note", run, "--remark", "y", "--tag", "c").returncode == 0
        assert beside.exists()
        with Project.open(run) as project:
            assert project.notes == Notes(title="x", tags=["c"], remark="y")
            assert project._store.notes() == {}
        refused = command("note", run, "--title", "x" * 200)
        assert (refused.returncode, b"at most 120 characters" in refused.stderr) == (2, True)
    assert not beside.exists(), "closing stores them"
    with Project.open(run) as project:
        assert project._store.notes() == {"title": "x", "tags": ["c"], "remark": "y"}


def test_notes_that_a_killed_writer_had_taken_are_stored_by_the_next_one(run):
    with ProjectWriter.open(run):
        tdw.note(run, title="first")
    taken = run.with_name(f"{run.name}.notes-taken")
    taken.write_text('{"title": "second"}')  # as after a kill between taking and storing
    run.with_name(f"{run.name}.notes").write_text('{"remark": "third"}')
    with Project.open(run) as project:
        assert (project.notes.title, project.notes.remark) == ("second", "third")
    for _ in range(2):  # what was taken comes first
        ProjectWriter.open(run).close()
    with Project.open(run) as project:
        assert project._store.notes() == {"title": "second", "remark": "third"}
    assert not taken.exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"title": 3}', '{"tags": 5}', '{"title": "a\\u0000"}', "x" * 100_000]
)
def test_files_of_others_in_the_place_of_waiting_notes_are_left_alone(run, text):
    beside = run.with_name(f"{run.name}.notes-taken")
    beside.write_text(text)
    with ProjectWriter.open(run) as writer:
        writer.set_notes(title="own")
    with Project.open(run) as project:
        assert project.notes.title == "own"
    assert beside.read_text() == text


NOTING = """
import sys, tdw
for i in range(50):
    tdw.note(sys.argv[1], **{sys.argv[2]: f"{sys.argv[2]} {i}"})
"""


def test_notes_from_two_processes_while_one_trains_are_all_kept_and_change_no_epoch(tmp_path):
    settings = {
        "p": 11,
        "d_model": 16,
        "heads": 2,
        "d_mlp": 16,
        "train_fraction": 0.5,
        "threads": 1,
        "checkpoints": "even:60",
    }
    paths = [tmp_path / "noted.tdw", tmp_path / "alone.tdw"]
    for path in paths:
        tdw.create(path, tdw.configure(**settings, epochs=6000))
    trainer = subprocess.Popen([sys.executable, "-c", "import sys, tdw; tdw.train(sys.argv[1])", paths[0]])
    noting = [subprocess.Popen([sys.executable, "-c", NOTING, paths[0], name]) for name in ("title", "remark")]
    assert [process.wait(120) for process in (*noting, trainer)] == [0, 0, 0]
    ProjectWriter.open(paths[0]).close()  # for a note that came after the training's end
    tdw.train(paths[1])
    with tdw.open(paths[0]) as noted, tdw.open(paths[1]) as alone:
        assert (noted.notes.title, noted.notes.remark) == ("title 49", "remark 49")
        assert noted._store.notes() == {"title": "title 49", "remark": "remark 49"}
        assert noted.checkpoints == alone.checkpoints
        for name in noted.curves:
            assert np.array_equal(noted.curve(name), alone.curve(name), equal_nan=True)
        assert all(np.array_equal(noted.weights(6000)[name], array) for name, array in alone.weights(6000).items())
    assert sorted(item.name for item in tmp_path.iterdir()) == ["alone.tdw", "noted.tdw"]


@pytest.mark.parametrize(
    "stored",
    [
        {"title": 3, "tags": "x", "remark": None},
        {"title": ["a"], "tags": {"a": 1}, "remark": {"b": []}},
        {"title": "", "tags": [[], {}, None, 7, True, ""], "remark": ""},
        {},
    ],
)
def test_notes_of_another_kind_count_as_none(run, stored):
    with store.open_writer(run) as writer:
        writer.set_notes(stored)
    with tdw.open(run) as project:
        assert project.notes == Notes()
        assert project.info()["tags"] == []


def test_too_long_notes_of_a_stranger_are_cut(run):
    with store.open_writer(run) as writer:
        writer.set_notes({"title": "x" * 500, "tags": ["y" * 500] * 50, "remark": "z" * 9_000})
    with tdw.open(run) as project:
        assert project.notes == Notes(title="x" * 119 + "…", tags=["y" * 39 + "…"] * 12, remark="z" * 3_999 + "…")


# ---- what a terminal is given -----------------------------------------------------------------------------------


def name(text: str) -> str:
    """As much of a text as the name of a file has room for."""
    return text.encode("utf-8", "surrogateescape")[:200].decode("utf-8", "ignore") + ".tdw"


def test_nothing_from_a_file_or_its_name_steers_the_terminal(run, tmp_path):
    file = os.fsdecode(b"\xff") + name(hostile_text.IN_NAMES)
    path = run.rename(tmp_path / file)
    with store.open_writer(path) as writer:
        writer.set_notes(
            {"title": hostile_text.ALL[:100] + "\ud800", "tags": ["\x1b[5m", "\u202e"], "remark": "a\n\x1b]0;x\x07\rb"}
        )
    damaged = tmp_path / name("damaged" + file[:40])
    damaged.write_bytes(path.read_bytes()[:-5000])
    folder = tmp_path / name("folder" + file[:40])
    folder.mkdir()
    said = [
        command("info", path),
        command("info", path, "--json"),
        command("note", path),
        command("verify", path),
        command("analyze", path),
        command("train", path),
        command("train", path, "--epochs", "3\x1b[0m"),
        command("new", path),
        command("new", tmp_path / ("new" + file[:30]), "--p", "7", "--epochs", "10"),
        command("demo", folder, "--no-open"),
        command("open", damaged, "--no-browser"),
        command("info", tmp_path / ("missing" + file[:30])),
        *(command(verb, damaged) for verb in ("info", "verify", "train")),
        *(command(verb, folder) for verb in ("note", "analyze")),
        command("frobnicate\x1b[31m"),
        command("info", path, "--\x1b[31m"),
    ]
    for one in said:
        text = (one.stdout + one.stderr).decode("utf-8")
        assert text
        assert "Traceback" not in text
        assert hostile_text.unshown(text.replace("\n", "")) == []
        for line in one.stderr.decode().splitlines():
            assert line.startswith(("tdw: ", "note: ")), "a line of its own is one we began"
    assert said[0].stdout.decode().startswith(visible(str(path)))
    assert "title: " + visible(hostile_text.ALL[:100] + "\ud800") in said[0].stdout.decode()
    assert "remark: a\n        ␛]0;x␇␍b\n" in said[2].stdout.decode()
    assert json.loads(said[1].stdout)["title"] == hostile_text.ALL[:100] + "\ud800"
    assert json.loads(said[1].stdout)["path"] == str(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"task": hostile_text.ALL}, "(got <img src=x"),
        ({"task": "<b>" * 100_000}, "(got <b><b>"),
        ({"task": None}, "--task must be one of add"),
        ({"p": "\x1b[31m"}, "--p must be an integer from 2 to 1000 (got ␛[31m)"),
        ({"<b>x\x1b": 1}, "no setting is named '<b>x"),
        ({"x" * 100_000: 1}, "no setting is named 'xxx"),
        ({"checkpoints": "\u202e" * 100_000}, "invalid checkpoint schedule"),
        ({"device": "\ud800"}, "--device must be one of auto, cpu, cuda (got ‹U+D800›)"),
    ],
)
def test_hostile_settings_are_refused_in_one_short_line(run, change, sentence):
    with store.open_writer(run) as writer:
        stored = writer.reader.config
        changed = {**stored, "settings": {**stored["settings"], **change}}
        writer.extend(
            config=changed, epochs=writer.reader.planned_epochs, checkpoint_capacity=writer.reader.checkpoint_capacity
        )
    for refused in (command("info", run), command("train", run)):
        said = refused.stderr.decode().splitlines()[-1]
        assert refused.returncode == 2
        assert sentence in said
        assert len(said) < 800
        assert hostile_text.unshown(said) == []


def test_only_one_line_of_the_package_prints():
    """A second one would have to handle hostile text, and streams that cannot be written."""
    prints = {"print", "sys.stdout.write", "sys.stderr.write"}
    calls = [
        source.name
        for source in Path(main.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(source.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in prints
    ]
    assert calls == ["streams.py"]


@pytest.mark.parametrize("text", ["plain", "ä ß 中 🙂 👩\u200d👧 ‑ – 12\u202f500", "می\u200cخواهم", "שלום", ""])
def test_what_can_be_seen_is_left_alone(text):
    assert visible(text) == text
    assert json.loads(json_text({"a": text})) == {"a": text}
    assert text in json_text([text])


def test_every_other_character_is_shown():
    for start in range(0, 0x110000, 0x1000):
        block = [chr(code) for code in range(start, start + 0x1000)]
        assert [visible(char) != char for char in block] == [hostile_text.unshown(char) != [] for char in block]
        text = "x".join(block)  # two halves of a pair side by side would be read as one character
        assert hostile_text.unshown(visible(text)) == []
        assert hostile_text.unshown(json_text(text)) == []
        assert json.loads(json_text(text)) == text
    assert visible("a\nb", lines=True) == "a\nb"
    assert visible("a\r\nb", lines=True) == "a␍\nb"
