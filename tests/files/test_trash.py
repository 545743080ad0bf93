"""`tdw delete`, `tdw restore`, `tdw trash`: nothing is gone before the trash is emptied, whatever is killed or fails."""

import errno
import json
import os
import shutil

import pytest

import tdw
from tdw.cli.main import main
from tdw.errors import AlreadyExistsError, CannotWriteError, FileInUseError, NotAProjectError, TdwError
from tdw.files import trash as trash_module
from tdw.store import filesystem
from tests.files.runs import make, names, wait_beside, written
from tests.store.killed import OF_NAMES, killed_at_each_call


@pytest.fixture
def run(tmp_path):
    return make(tmp_path / "run.tdw")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_goes_to_the_trash_of_its_folder_and_comes_back(run, tmp_path):
    before, about = run.read_bytes(), run.stat()
    wait_beside(run)
    (one,) = tdw.delete(run)
    place = f".tdw-trash/{one.id}"
    assert names(tmp_path) == [f"{place}/deleted.json", f"{place}/run.tdw", f"{place}/run.tdw.notes"]
    assert json.loads((tmp_path / place / "deleted.json").read_text()) == {
        "tdw_deletion": 1,
        "at": one.at.isoformat(),
        "folder": str(tmp_path),
        "names": ["run.tdw"],
    }
    assert len(tdw.runs(tmp_path)) == 0
    assert tdw.trash(tmp_path) == [one]
    assert one.path == run
    assert one.megabytes == pytest.approx(len(before) / 1e6)
    assert tdw.restore(run) == run
    assert names(tmp_path) == ["run.tdw", "run.tdw.notes"]
    assert not (tmp_path / ".tdw-trash").exists()
    assert run.read_bytes() == before
    assert (run.stat().st_ino, run.stat().st_mtime_ns) == (about.st_ino, about.st_mtime_ns)


def test_the_last_deletion_of_a_name_comes_back_first(run):
    tdw.delete(run)
    make(run, p=7)
    later = tdw.delete(run)[0]
    assert [one.file.exists() for one in tdw.trash(run.parent)] == [True, True]
    assert tdw.trash(run.parent)[0] == later  # though both may be of one second
    tdw.restore(run)
    assert tdw.info(run)["config"]["p"] == 7
    assert len(tdw.trash(run.parent)) == 1


def test_restoring_never_replaces_a_file(run, tmp_path):
    tdw.delete(run)
    again = make(run, p=7).read_bytes()
    with pytest.raises(
        AlreadyExistsError, match=r"run\.tdw exists again, so the run in the trash cannot be restored there"
    ):
        tdw.restore(run)
    assert run.read_bytes() == again
    assert tdw.restore(run, to="old") == tmp_path / "old.tdw"
    assert names(tmp_path) == ["old.tdw", "run.tdw"]
    assert tdw.info(tmp_path / "old.tdw")["config"]["p"] == 5


def test_a_run_can_be_restored_to_another_folder(run, tmp_path):
    (tmp_path / "sub").mkdir()
    tdw.delete(run)
    tdw.restore(run, to=tmp_path / "sub")
    assert names(tmp_path) == ["sub/run.tdw"]


def test_what_is_not_in_the_trash_is_refused_in_a_sentence(run, tmp_path):
    with pytest.raises(NotAProjectError, match=r"is not in the trash: it is where it was"):
        tdw.restore(run)
    with pytest.raises(NotAProjectError, match=r"`tdw trash .*` lists what is there"):
        tdw.restore(tmp_path / "none.tdw")
    with pytest.raises(NotAProjectError, match=r"the folder .*gone is gone, and its trash with it"):
        tdw.restore(tmp_path / "gone" / "run.tdw")
    with pytest.raises(TdwError, match=r"nowhere does not exist: give the folder"):
        tdw.trash(tmp_path / "nowhere")
    deleted = tdw.delete(run)[0]
    with pytest.raises(NotAProjectError, match=r"is in the trash already"):
        tdw.delete(deleted.file)


def test_all_runs_are_checked_before_the_first_is_moved(run, tmp_path):
    other = make(tmp_path / "other.tdw")
    with written(other) as writer:
        with pytest.raises(FileInUseError, match=rf"other\.tdw is being written to by process {writer.pid}:"):
            tdw.delete([run, other])
        assert main(["delete", str(run), str(other)]) == FileInUseError.exit_code
    with pytest.raises(NotAProjectError, match=r"none\.tdw does not exist"):
        tdw.delete([run, tmp_path / "none.tdw"])
    assert names(tmp_path) == ["other.tdw", "run.tdw"]


def test_several_runs_of_several_folders_are_one_deletion(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "sub").mkdir()
    other = make(tmp_path / "sub" / "other.tdw")
    done = tdw.delete([run, other, run])
    assert len(done) == 2
    assert done[0].id == done[1].id
    assert tdw.trash(tmp_path) == sorted(done, key=lambda one: str(one.path), reverse=True)
    monkeypatch.chdir(tmp_path)
    assert main(["restore", done[0].id]) == 0
    assert names(tmp_path) == ["run.tdw", "sub/other.tdw"]
    assert capsys.readouterr().out.count("restored.") == 2


def test_a_failure_halfway_takes_everything_back(run, tmp_path, monkeypatch):
    """Each change of a name fails in turn, while three runs in two folders are deleted."""
    (tmp_path / "sub").mkdir()
    runs = [run, make(tmp_path / "other.tdw"), make(tmp_path / "sub" / "third.tdw")]
    wait_beside(run)
    before = {path: path.read_bytes() for path in runs}
    start = names(tmp_path)
    plain = filesystem.System.link
    for failing in range(1, 9):
        calls = 0

        def link(system, source, target):
            nonlocal calls
            calls += 1
            if calls == failing:  # noqa: B023 - called in this round only
                raise OSError(errno.ENOSPC, "No space left on device")
            return plain(system, source, target)

        with monkeypatch.context() as patch:
            patch.setattr(filesystem.System, "link", link)
            if failing > 4:
                tdw.delete(runs)
                break
            with pytest.raises(CannotWriteError, match="the disk is full"):
                tdw.delete(runs)
        assert names(tmp_path) == start, failing
        assert not list(tmp_path.rglob(".tdw-trash")), failing
        assert {path: path.read_bytes() for path in runs} == before, failing
    assert len(tdw.trash(tmp_path)) == 3


def test_a_kill_at_any_call_of_deleting_loses_nothing(run, tmp_path):
    before, notes = run.read_bytes(), wait_beside(run).read_bytes()
    for calls in killed_at_each_call(lambda: tdw.delete(run), OF_NAMES):
        assert run.exists() or len(tdw.trash(tmp_path)) == 1, calls
        if run.exists():
            assert run.read_bytes() == before, calls
            assert run.with_name("run.tdw.notes").read_bytes() == notes, calls
            assert tdw.trash(tmp_path) == [], calls
            tdw.delete(run)
        assert tdw.restore(run) == run
        assert run.read_bytes() == before, calls
        assert run.with_name("run.tdw.notes").read_bytes() == notes, calls
        tdw.empty_trash(tmp_path)
        assert [name for name in names(tmp_path) if ".lock" not in name] == ["run.tdw", "run.tdw.notes"], calls
    assert calls > 15


def test_a_kill_at_any_call_of_restoring_loses_nothing(run, tmp_path):
    before, notes = run.read_bytes(), wait_beside(run).read_bytes()
    tdw.delete(run)
    for calls in killed_at_each_call(lambda: tdw.restore(run), OF_NAMES):
        if not run.exists():
            tdw.restore(run)
        assert run.read_bytes() == before, calls
        assert run.with_name("run.tdw.notes").read_bytes() == notes, calls
        tdw.empty_trash(tmp_path)
        assert [name for name in names(tmp_path) if ".lock" not in name] == ["run.tdw", "run.tdw.notes"], calls
        tdw.delete(run)
    assert calls > 10


def test_what_is_in_the_place_of_the_trash_is_left_alone(run, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    for put in (
        lambda: (tmp_path / ".tdw-trash").write_text("mine"),
        lambda: (tmp_path / ".tdw-trash").symlink_to(target),
    ):
        put()
        with pytest.raises(CannotWriteError, match=r"\.tdw-trash is in the way"):
            tdw.delete(run)
        assert tdw.trash(tmp_path) == []
        assert tdw.empty_trash(tmp_path) == []
        assert run.exists()
        assert not list(target.iterdir())
        (tmp_path / ".tdw-trash").unlink()


def test_emptying_removes_what_was_deleted_and_nothing_else(run, tmp_path):
    tdw.delete(run)
    mine = tmp_path / ".tdw-trash" / "mine"
    mine.mkdir()
    outside = make(tmp_path / "kept.tdw")
    place = tmp_path / ".tdw-trash" / "20260101-000000-000000"
    place.symlink_to(tmp_path)
    assert [one.path for one in tdw.empty_trash(tmp_path)] == [run]
    assert names(tmp_path) == ["kept.tdw"]
    assert mine.exists()
    assert outside.exists()


def test_emptying_asks_first_and_says_how_much_it_is(run, here, capsys):
    megabytes = f"{run.stat().st_size / 1e6:.1f} MB"
    assert main(["delete", "run.tdw"]) == 0
    assert capsys.readouterr().out == f"run.tdw: moved to the trash ({megabytes}). Undo with `tdw restore run.tdw`.\n"
    assert main(["trash", "--list"]) == 0
    out = capsys.readouterr().out
    assert "run.tdw" in out
    assert out.endswith(f"1 run, {megabytes}.\n")
    assert main(["trash", ".", "--empty"]) == 2
    assert capsys.readouterr().err.startswith(
        f"tdw: 1 run ({megabytes}) in the trash of . would be gone for good: add --yes"
    )
    assert main(["restore", "--list"]) == 0
    assert main(["trash", "--empty", "--yes"]) == 0
    assert capsys.readouterr().out.endswith(f".: 1 run ({megabytes}) removed for good.\n")
    assert names(here) == []
    assert main(["trash"]) == 0
    assert capsys.readouterr().out == ".: nothing in the trash.\n"


def test_the_printed_commands_undo_a_deletion(here, tmp_path, monkeypatch, capsys):
    """Also from another folder, and with names that a shell would split."""
    import shlex

    (here / "a folder").mkdir()
    first, second = make(here / "a folder" / "it's.tdw"), make(here / "a folder" / "-b.tdw")
    for paths, inside in (([first], here), ([first, second], here), ([first, second], tmp_path / "a folder")):
        monkeypatch.chdir(here)
        assert main(["delete", "--", *map(str, paths)]) == 0
        undo = shlex.split(capsys.readouterr().out.split("`")[1])
        monkeypatch.chdir(inside)
        assert undo[:2] == ["tdw", "restore"]
        assert main(undo[1:]) == 0
        assert names(here) == ["a folder/-b.tdw", "a folder/it's.tdw"]


def test_the_last_deletion_is_restored_from_the_command_line(run, here, capsys):
    other = make(here / "other.tdw")
    tdw.delete([run, other])
    assert main(["restore", "--last"]) == 0
    assert names(here) == ["other.tdw", "run.tdw"]
    assert main(["restore", "--last"]) == 2
    assert "is empty: there is nothing to restore" in capsys.readouterr().err
    assert main(["restore"]) == 2
    assert "give the runs to restore, the id of a deletion, or --last" in capsys.readouterr().err
    tdw.delete([run, other])
    assert main(["restore", "--last", "--to", "one"]) == 2
    assert "--to must be a folder for 2 runs (got one)" in capsys.readouterr().err


def test_a_moved_folder_takes_its_trash_along(run, tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    tdw.delete(tdw.rename(run, folder))
    moved = folder.rename(tmp_path / "moved")
    assert tdw.restore(moved / "run.tdw") == moved / "run.tdw"


def test_a_damaged_file_without_suffix_and_a_record_that_is_gone(tmp_path):
    run = make(tmp_path / "plain")
    tdw.delete(run)
    assert tdw.restore(run).exists()
    hurt = tmp_path / "hurt.tdw"
    hurt.write_bytes(b"damaged")
    (tmp_path / tdw.delete(hurt)[0].file.with_name("deleted.json")).unlink()
    tdw.restore(hurt)
    assert hurt.read_bytes() == b"damaged"


def test_without_hard_links_it_works_as_well(run, tmp_path, monkeypatch):
    def no_links(*_args, **_more):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    wait_beside(run)
    tdw.delete(run)
    tdw.restore(run)
    assert names(tmp_path) == ["run.tdw", "run.tdw.notes"]


def test_ids_are_those_of_the_clock(run):
    (one,) = tdw.delete(run)
    assert trash_module.is_id(one.id)
    assert one.id.startswith(f"{one.at:%Y%m%d-%H%M%S}-")
    shutil.rmtree(one.file.parent)
    assert tdw.trash(run.parent) == []
