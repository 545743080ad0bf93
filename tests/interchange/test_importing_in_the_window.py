"""Opening another program's run in the window makes a project file of it."""

import os
import shutil
import sys
from pathlib import Path

import pytest

import tdw
from tdw.app import auto_import
from tests.interchange import elsewhere


@pytest.fixture
def source(tmp_path):
    return elsewhere.saved(elsewhere.nanda().final(), tmp_path / "theirs.pth")


def test_opening_a_file_imports_it_next_to_it(window, source, tmp_path):
    status, answer = window.do("open", path=str(source))
    assert status == 200, answer
    assert answer["path"] == str(tmp_path / "theirs.tdw")
    assert answer["word"].startswith(
        "Imported from theirs.pth, a file of Nanda's grokking code; 60 of 121 pairs for training, seed 3"
    )
    assert answer["word"].endswith("unknown: model_seed.")
    with tdw.open(tmp_path / "theirs.tdw") as run:
        assert run.checkpoints == [120]
    status, again = window.do("open", path=str(source))
    assert (again["path"], again["word"]) == (answer["path"], "Already imported from theirs.pth.")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["theirs.pth", "theirs.tdw"]


def test_nothing_is_overwritten(window, source, tmp_path):
    (tmp_path / "theirs.tdw").write_text("mine")
    _, answer = window.do("open", path=str(source))
    assert answer["path"] == str(tmp_path / "theirs-2.tdw")
    assert (tmp_path / "theirs.tdw").read_text() == "mine"
    before = source.stat().st_mtime
    os.utime(source, (before + 10_000, before + 10_000))  # it was trained on meanwhile: another run by the same name
    _, answer = window.do("open", path=str(source))
    assert answer["path"] == str(tmp_path / "theirs-3.tdw")


def test_a_folder_is_imported(window, tmp_path):
    elsewhere.workbench(tmp_path / "grok", epochs=30, kept=(5, 20))
    status, answer = window.do("open", path=str(tmp_path / "grok"))
    assert status == 200, answer
    assert answer["path"] == str(tmp_path / "grok.tdw")
    assert "a folder of an earlier workbench" in answer["word"]


def test_a_table_of_losses_is_imported(window, tmp_path):
    table = tmp_path / "losses.csv"
    table.write_text("epoch,train_loss,test_loss\n" + "".join(f"{i},{4 / (i + 1)},{5 / (i + 1)}\n" for i in range(20)))
    status, answer = window.do("open", path=str(table))
    assert status == 200, answer
    with tdw.open(tmp_path / "losses.tdw") as run:
        assert run.test_loss[:2].tolist() == [5, 2.5]


def test_a_project_file_named_like_a_table_is_opened_as_what_it_is(tiny_run, tmp_path):
    named = Path(shutil.copy(tiny_run, tmp_path / "run.csv"))
    assert not auto_import.is_foreign(named)
    (tmp_path / "table.csv").write_text("epoch,train_loss\n0,1\n")
    assert auto_import.is_foreign(tmp_path / "table.csv")


def test_a_refusal_is_a_sentence(window, tmp_path):
    (tmp_path / "page.pth").write_text("<!doctype html><html>")
    (tmp_path / "-f.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "empty").mkdir()
    for name, sentence in [
        ("page.pth", "a web page (HTML)"),
        ("-f.pth", "a Git LFS pointer"),
    ]:
        status, answer = window.do("open", path=str(tmp_path / name))
        assert status in {404, 409}
        assert sentence in answer["error"]
        assert "\n" not in answer["error"]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["-f.pth", "empty", "page.pth"]


def test_a_project_file_by_another_name_is_opened_as_what_it_is(window, source, tmp_path):
    tdw.import_run(source, tmp_path / "run.tdw")
    (tmp_path / "run.tdw").rename(tmp_path / "run.pt")
    status, answer = window.do("open", path=str(tmp_path / "run.pt"))
    assert (status, answer["path"]) == (200, str(tmp_path / "run.pt"))


def test_a_process_that_falls_over_is_a_refusal(source, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(tdw.TdwError, match=r"the import process exited with status 1\. Nothing was written"):
        auto_import.import_if_needed(source)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    with pytest.raises(tdw.TdwError, match=r"could not start the process that imports .*: No such file"):
        auto_import.import_if_needed(source)


def test_the_command_line_opens_them_too(open_window, source, tmp_path):
    running = open_window(source)
    assert b"theirs" in running.get("/now")
    assert (tmp_path / "theirs.tdw").exists()
