"""`tdw open` with several files, folders and patterns: which is shown, and which are listed."""

from pathlib import Path

import pytest

import tdw
from tdw.app import server
from tdw.app.given_paths import files_and_folders
from tdw.app.open_runs import key_of
from tdw.app.session import Session
from tdw.cli.main import main
from tdw.errors import NotAProjectError
from tests.files.runs import make


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with two runs, and two more in `study`, where a third is in the trash."""
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "state"))
    folder = tmp_path / "here"
    (folder / "study" / "more").mkdir(parents=True)
    for name in ("a.tdw", "b.tdw", "study/c.tdw", "study/more/d.tdw", "study/gone.tdw"):
        make(folder / name)
    tdw.delete(folder / "study" / "gone.tdw")
    (folder / "study" / "notes.txt").write_text("mine")
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder)
    return folder


def started(*given):
    """The name of the run that is shown, and the names in the table of runs."""
    session = Session()
    try:
        session.start_with(given)
        session.library.scan()
        paths = [Path(line["path"]) for line in session.library.changes()["lines"]]
        shown = next((path.name for path in paths if key_of(path) == session.runs.current), None)
        return shown, sorted(path.name for path in paths)
    finally:
        session.close()


@pytest.mark.parametrize(
    ("given", "shown", "listed"),
    [
        ([], None, []),
        (["a.tdw"], "a.tdw", ["a.tdw"]),
        (["b.tdw", "a.tdw"], "b.tdw", ["a.tdw", "b.tdw"]),
        (["b.tdw", "a.tdw", "b.tdw"], "b.tdw", ["a.tdw", "b.tdw"]),
        (["study"], None, ["c.tdw", "d.tdw"]),
        (["study", "a.tdw"], "a.tdw", ["a.tdw", "c.tdw", "d.tdw"]),
        (["*.tdw"], "a.tdw", ["a.tdw", "b.tdw"]),
        (["study/*"], "c.tdw", ["c.tdw"]),
        (["**/[cd].tdw"], "c.tdw", ["c.tdw", "d.tdw"]),
        (["stud?"], None, ["c.tdw", "d.tdw"]),
    ],
)
def test_the_first_file_is_shown_and_all_are_listed(here, given, shown, listed):
    assert started(*given) == (shown, listed)


def test_a_name_with_the_signs_of_patterns_means_that_file(here):
    make(here / "[ab].tdw")
    assert started("[ab].tdw") == ("[ab].tdw", ["[ab].tdw"])
    assert files_and_folders(["?.tdw"])[0][0].name == "a.tdw"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("none*.tdw", r"no file matches none\*\.tdw: give a project file, a folder, or another pattern in quotes"),
        ("empty", r"empty is a folder without project files \(\*\.tdw\): give one that has some"),
        ("none.tdw", "none.tdw"),
    ],
)
def test_what_cannot_be_opened_is_refused_in_a_sentence(here, given, message, capsys):
    with pytest.raises(NotAProjectError, match=message):
        started(given)
    assert main(["open", given, "--no-browser"]) == 2
    assert given in capsys.readouterr().err


def test_an_unreadable_file_hides_no_other(here):
    (here / "hurt.tdw").write_bytes(b"damaged")
    (here / "study" / "hurt.tdw").write_bytes(b"damaged")
    assert started("a.tdw", "hurt.tdw", "study") == ("a.tdw", ["a.tdw", "c.tdw", "d.tdw", "hurt.tdw", "hurt.tdw"])


def test_the_command_passes_everything_on(monkeypatch):
    got = []
    monkeypatch.setattr(server, "serve", lambda paths, **_: got.append([str(path) for path in paths]))
    for line in (["open", "a.tdw", "study", "*.tdw"], ["open"], []):
        assert main(line) == 0
    assert got == [["a.tdw", "study", "*.tdw"], [], []]
