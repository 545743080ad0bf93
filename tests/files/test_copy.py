"""`tdw copy` without a name, and whose run a copy is."""

import pytest

import tdw
from tdw.cli.main import main
from tdw.errors import AlreadyExistsError
from tdw.operations import copy as module
from tests.files.runs import make, names


@pytest.fixture
def run(tmp_path):
    return make(tmp_path / "run.tdw")


def test_a_copy_without_a_name_gets_an_unused_one(run, tmp_path, capsys):
    assert tdw.copy(run) == tmp_path / "run-copy.tdw"
    (tmp_path / "run-copy-2.tdw").write_text("mine")
    assert main(["copy", str(run)]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'run-copy-3.tdw'}: copied from {run}, ")
    assert (tmp_path / "run-copy-2.tdw").read_text() == "mine"
    assert names(tmp_path) == ["run-copy-2.tdw", "run-copy-3.tdw", "run-copy.tdw", "run.tdw"]


def test_a_name_that_is_taken_meanwhile_is_left_to_the_other(run, tmp_path, monkeypatch):
    plain, looked = module.unused_name, []

    def late(path, word):
        found = plain(path, word)
        looked.append(found)
        if len(looked) == 1:
            found.write_text("another process's")
        return found

    monkeypatch.setattr(module, "unused_name", late)
    assert tdw.copy(run) == tmp_path / "run-copy-2.tdw"
    assert looked[0].read_text() == "another process's"
    with pytest.raises(AlreadyExistsError):
        tdw.copy(run, looked[0])


def test_a_copy_is_the_same_run_and_a_branch_is_not(run, tmp_path):
    tdw.train(run)
    new = tdw.copy(run)
    assert tdw.info(new)["id"] == tdw.info(run)["id"]
    assert tdw.runs(tmp_path).copies() == 1
    tdw.branch(run, tmp_path / "branch.tdw", at=4, epochs=8)
    assert tdw.info(tmp_path / "branch.tdw")["id"] != tdw.info(run)["id"]
    assert tdw.runs(tmp_path).copies() == 1
