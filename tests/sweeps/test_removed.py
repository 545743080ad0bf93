"""Runs of a sweep that were renamed, deleted or moved away: no sweep makes them again unasked, and none fails."""

import pytest

import tdw
from tdw.cli.main import main
from tdw.sweeps import manifest
from tests.files.runs import SETTINGS, names, written

SEEDS = {**{name: value for name, value in SETTINGS.items() if name != "threads"}, "model_seed": "0-2"}
FIRST, SECOND, THIRD = (f"model_seed={seed}.tdw" for seed in range(3))


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "study"
    tdw.sweep(folder, jobs=1, **SEEDS)
    return folder


def planned(folder, **more):
    return tdw.plan_sweep(folder, **SEEDS, **more)


def test_a_renamed_run_is_known_by_its_new_name(study):
    tdw.rename(study / FIRST, "mine")
    known = manifest.read(study)
    assert sorted(known.runs) == ["mine.tdw", SECOND, THIRD]
    assert known.runs["mine.tdw"]["model_seed"] == 0
    plan = planned(study)
    assert (len(plan.new), len(plan.existing), plan.removed) == (0, 3, [])
    assert tdw.work(study, jobs=1).counts == {"current": 3}


def test_a_name_that_was_planned_for_another_run_does_not_stand_for_it(study):
    """Its file was removed by hand; the run that gets its name is not taken for it."""
    (study / SECOND).unlink()
    tdw.rename(study / FIRST, SECOND)
    plan = planned(study)
    assert [config.model_seed for config in plan.new.values()] == [1]
    assert sorted(path.name for path in plan.existing) == [SECOND, THIRD]


def test_an_extended_run_still_counts_as_what_was_planned(study):
    tdw.train(study / FIRST, epochs=6)
    tdw.rename(study / FIRST, "longer")
    assert not planned(study).new
    tdw.delete(study / "longer.tdw")
    assert not planned(study).new
    tdw.restore(study / "longer.tdw")
    assert manifest.read(study).runs["longer.tdw"]["epochs"] == 4
    assert (planned(study).new, planned(study).removed) == ({}, [])


def test_a_deleted_run_is_made_again_only_when_asked(study, capsys):
    tdw.delete([study / FIRST, study / THIRD])
    plan = planned(study)
    assert (len(plan.new), sorted(plan.removed)) == (0, [FIRST, THIRD])
    assert tdw.sweep(study, jobs=1, **SEEDS).counts == {"current": 1}
    flags = [text for name, value in SEEDS.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["sweep", str(study), *flags, "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    assert "2 runs left out, because of being deleted or moved away: --remake makes them again." in out
    assert main(["work", str(study), "--jobs", "1"]) == 0
    assert "without a file" not in capsys.readouterr().out
    tdw.empty_trash(study)  # which changes nothing of that
    assert len(planned(study).removed) == 2
    assert main(["sweep", str(study), *flags, "--jobs", "1", "--remake"]) == 0
    assert names(study) == [FIRST, SECOND, THIRD, "sweep.json"]
    assert manifest.read(study).removed == []
    assert not planned(study).removed


def test_a_restored_run_belongs_to_the_sweep_again(study):
    before = manifest.read(study)
    tdw.delete([study / FIRST, study / THIRD])
    tdw.restore(study / FIRST)
    tdw.restore(study / THIRD, to="third")
    known = manifest.read(study)
    assert known.removed == []
    assert known.runs == {FIRST: before.runs[FIRST], SECOND: before.runs[SECOND], "third.tdw": before.runs[THIRD]}


def test_a_run_that_is_moved_to_another_folder_is_not_made_again(study, tmp_path):
    (tmp_path / "best").mkdir()
    moved = tdw.rename(study / FIRST, tmp_path / "best")
    assert planned(study).removed == [FIRST]
    tdw.rename(moved, study / "back.tdw")
    assert (planned(study).new, planned(study).removed) == ({}, [])


def test_work_leaves_the_trash_alone(study):
    """An unfinished run in the trash is neither trained nor listed."""
    tdw.sweep(study, jobs=0, **SEEDS | {"model_seed": "9"})
    (name,) = set(names(study)) - {FIRST, SECOND, THIRD, "sweep.json"}
    (one,) = tdw.delete(study / name)
    before = one.file.read_bytes()
    assert tdw.work(study, jobs=1).counts == {"current": 3}
    assert one.file.read_bytes() == before
    assert len(tdw.runs(study)) == 3


def test_why_a_run_failed_moves_with_it(study):
    manifest.record_failure(study / FIRST, "Kind", "why")
    new = tdw.rename(study / FIRST, "mine")
    assert names(study / "sweep.failed") == ["mine.tdw.json"]
    assert tdw.work(study, jobs=1).counts == {"current": 2, "given up": 1}
    tdw.delete(new)
    assert not (study / "sweep.failed").exists()
    tdw.restore(new)
    failure = manifest.failure_of(new)
    assert (failure.kind, failure.message) == ("Kind", "why")
    assert names(study) == ["mine.tdw", SECOND, THIRD, "sweep.failed/mine.tdw.json", "sweep.json"]


def test_a_refused_deletion_leaves_the_sweep_as_it_was(study):
    before = manifest.read(study)
    with written(study / SECOND), pytest.raises(tdw.TdwError, match="is being written to"):
        tdw.delete([study / FIRST, study / SECOND])
    (study / "taken.tdw").write_text("mine")
    with pytest.raises(tdw.TdwError, match="already exists"):
        tdw.rename(study / FIRST, "taken")
    (study / ".tdw-trash").write_text("mine")
    with pytest.raises(tdw.TdwError, match="is in the way"):
        tdw.delete(study / FIRST)
    assert manifest.read(study) == before


@pytest.mark.parametrize("act", ["rename", "move", "delete"])
def test_an_act_that_fails_after_it_was_entered_is_taken_out_again(study, tmp_path, monkeypatch, act):
    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    before = manifest.read(study)
    (tmp_path / "other").mkdir()
    acts = {
        "rename": lambda: tdw.rename(study / FIRST, "new"),
        "move": lambda: tdw.rename(study / FIRST, tmp_path / "other"),
        "delete": lambda: tdw.delete(study / FIRST),
    }
    with monkeypatch.context() as patch:
        patch.setattr("tdw.store.move._link", full)
        with pytest.raises(tdw.TdwError, match="the disk is full"):
            acts[act]()
    assert manifest.read(study) == before
    assert names(study) == [FIRST, SECOND, THIRD, "sweep.json"]


def test_a_file_of_another_program_named_like_the_manifest_is_no_matter(tmp_path):
    (tmp_path / "sweep.json").write_text("mine")
    tdw.create(tmp_path / "run.tdw", tdw.configure(**SETTINGS))
    tdw.delete(tdw.rename(tmp_path / "run.tdw", "new"))
    assert (tmp_path / "sweep.json").read_text() == "mine"
