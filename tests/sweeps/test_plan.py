"""Which files a sweep makes, under which names, and what it leaves alone."""

import errno
import json
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

import tdw
from tdw.errors import CannotWriteError, NotAProjectError
from tdw.estimate import estimate
from tdw.store.atomic import make_folder
from tdw.sweeps import manifest
from tdw.sweeps.plan import plan_sweep
from tests.sweeps.small import SMALL


def names(folder, **settings):
    return [path.name for path in plan_sweep(folder, **SMALL, **settings).new]


def made(folder, **settings):
    tdw.sweep(folder, jobs=0, **SMALL, **settings)


def test_names_are_what_differs_with_the_seeds_last(tmp_path):
    assert names(tmp_path) == ["run.tdw"]
    assert names(tmp_path, model_seed="0-1") == ["model_seed=0.tdw", "model_seed=1.tdw"]
    assert names(tmp_path, model_seed="7", weight_decay="0.3,1", lr="1e-3") == [
        "weight_decay=0.3.tdw",
        "weight_decay=1.tdw",
    ]
    assert names(tmp_path, model_seed="0-1", betas="0.9,0.98;0.9,0.999")[-1] == "betas=0.9-0.999,model_seed=1.tdw"


def test_values_that_look_alike_in_a_name_get_names_of_their_own(tmp_path):
    found = [path.name for path in plan_sweep(tmp_path, **{**SMALL, "checkpoints": "0:20:5; 0,20,5; 5, 20"}).new]
    assert found[0] == "checkpoints=0-20-5.tdw"  # the third is the second in other words
    assert len(set(found)) == 2
    long = [path.name for path in plan_sweep(tmp_path, **{**SMALL, "checkpoints": [range(1, 40), range(2, 40)]}).new]
    assert len(set(long)) == 2
    assert all(len(name) < 160 for name in long)


def test_a_larger_grid_adds_what_is_missing(tmp_path):
    made(tmp_path, model_seed="0-2")
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.tdw")}
    planned = plan_sweep(tmp_path, **SMALL, model_seed="0-3", weight_decay="1,3")  # 1 is the default
    assert [path.name for path in planned.existing] == sorted(before)
    assert sorted(path.name for path in planned.new) == [
        "weight_decay=1,model_seed=3.tdw",
        *(f"weight_decay=3,model_seed={seed}.tdw" for seed in range(4)),
    ]
    made(tmp_path, model_seed="0-3", weight_decay="1,3")
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert len(manifest.read(tmp_path).runs) == 8
    assert plan_sweep(tmp_path, **SMALL, model_seed="0-3", weight_decay="1,3").new == {}
    (tmp_path / "model_seed=1.tdw").unlink()
    assert names(tmp_path, model_seed="0-2") == ["model_seed=1.tdw"]


def test_runs_made_in_other_ways_count(tmp_path):
    tdw.create(tmp_path / "mine.tdw", tdw.configure(**SMALL, model_seed=1, threads=1))
    (tmp_path / "broken.tdw").write_bytes(b"nothing")
    planned = plan_sweep(tmp_path, **SMALL, model_seed="0-1")
    assert planned.existing == [tmp_path / "mine.tdw"]
    assert list(planned.new) == [tmp_path / "model_seed=0.tdw"]
    assert list(planned.unreadable) == [tmp_path / "broken.tdw"]


def test_a_name_that_is_taken_is_not_replaced(tmp_path):
    other = tmp_path / "model_seed=0.tdw"
    other.write_text("mine")
    made(tmp_path, model_seed="0-1")
    assert other.read_text() == "mine"
    assert {path.name.partition(",")[0].removesuffix(".tdw") for path in tmp_path.glob("*.tdw")} == {
        "model_seed=0",
        "model_seed=1",
    }
    assert len(list(tmp_path.glob("*.tdw"))) == 3


def test_costs_are_those_of_all_runs(tmp_path):
    one = estimate(tdw.configure(**SMALL))
    planned = plan_sweep(tmp_path, **SMALL, model_seed="0-9")
    assert planned.megabytes == pytest.approx(10 * one.megabytes)
    assert plan_sweep(tmp_path, analyze=True, **SMALL, model_seed="0-9").megabytes == pytest.approx(
        10 * one.analyzed_megabytes
    )
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_told_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "total used free")(1, 1, 1_000_000))
    with pytest.raises(CannotWriteError, match=r"no room for 9 runs: .* MB are needed, 1 MB are free"):
        tdw.sweep(tmp_path / "new", **SMALL, model_seed="0-8")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"runs": 3}', '{"tdw_sweep": 2, "runs": {}}'])
def test_another_file_of_the_manifests_name_is_left_alone(tmp_path, text):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(NotAProjectError, match=r"sweep\.json"):
        made(tmp_path, model_seed="0-1")
    assert (tmp_path / "sweep.json").read_text() == text


def test_the_manifest_is_plain_json(tmp_path):
    made(tmp_path, model_seed="0-1", weight_decay=3)
    stored = json.loads((tmp_path / "sweep.json").read_text())
    assert set(stored["runs"]) == {"model_seed=0.tdw", "model_seed=1.tdw"}
    with tdw.Project.open(tmp_path / "model_seed=1.tdw") as project:
        assert project.state == "new"
        assert stored["runs"]["model_seed=1.tdw"] == project.config.to_json()
        assert (project.config.model_seed, project.config.weight_decay) == (1, 3.0)


def test_what_took_a_planned_name_is_no_run(tmp_path):
    made(tmp_path, model_seed="0-2")
    (tmp_path / "model_seed=0.tdw").write_bytes(bytes(3000))
    (tmp_path / "model_seed=1.tdw").unlink()
    (tmp_path / "model_seed=1.tdw").mkdir()
    planned = plan_sweep(tmp_path, **SMALL, model_seed="0-2")
    assert sorted(planned.unreadable) == [tmp_path / "model_seed=0.tdw", tmp_path / "model_seed=1.tdw"]
    assert len(planned.new) == 2
    assert not set(planned.new) & set(planned.unreadable)


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotAProjectError, match="file is not a folder"):
        made(tmp_path / "file")


def _tmpfs(folder, *options):
    return os.system(f"mount -t tmpfs {' '.join(options)} tmpfs {folder} 2>/dev/null") == 0


@pytest.mark.skipif(os.name != "posix" or not shutil.which("mount") or os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize(("options", "sentence"), [
    ("-o ro", r"cannot be written: the file system of .*/disk is read-only\. Choose another place"),
    ("-o size=1m", r"has no room for 1 run: [\d,]+ MB are needed, 1 MB are free"),
])  # fmt: skip
def test_a_disk_that_is_full_and_one_that_is_read_only_are_told_apart(tmp_path, options, sentence):
    disk = tmp_path / "disk"
    disk.mkdir()
    if not _tmpfs(disk, options):
        pytest.skip("this machine does not let us mount")
    try:
        with pytest.raises(CannotWriteError, match=sentence):
            tdw.sweep(disk / "a" / "b", jobs=0, p=113)
        assert list(disk.iterdir()) == []
    finally:
        os.system(f"umount --lazy {disk}")


@pytest.mark.skipif(not os.path.isdir("/proc/1"), reason="Linux")  # noqa: PTH112
def test_a_place_without_files_is_not_full():
    for action in (lambda: tdw.sweep("/proc/none", jobs=0, **SMALL), lambda: make_folder(Path("/proc/none"))):
        with pytest.raises(CannotWriteError, match="/proc/none cannot be created: nothing can be created in /proc"):
            action()
    with pytest.raises(CannotWriteError, match=r"none\.tdw cannot be written: nothing can be created in /proc"):
        tdw.create("/proc/none.tdw", tdw.configure(p=7))


def test_permissions_and_files_in_the_way_are_told_apart(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotAProjectError, match=r"/file is not a folder\."):
        tdw.sweep(tmp_path / "file" / "a" / "b", jobs=0, **SMALL)
    with pytest.raises(CannotWriteError, match=r"cannot be written: .*/file is not a folder\. Choose another place"):
        make_folder(tmp_path / "file" / "a" / "b")
    with pytest.raises(NotAProjectError, match=r"none does not exist\."):
        tdw.work(tmp_path / "none")

    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(CannotWriteError, match=rf"no permission to write to it or to the folder {tmp_path}\."):
        tdw.sweep(tmp_path / "a" / "b", jobs=0, **SMALL)


def test_a_sweep_that_grows_by_a_setting_keeps_its_runs_and_the_order_in_its_names(tmp_path):
    made(tmp_path, weight_decay="0.3,1", model_seed="0-1")
    grown = plan_sweep(tmp_path, **SMALL, weight_decay="0.3,1", model_seed="0-1", lr="1e-3,2e-3")  # 1e-3 is the default
    assert {path.name for path in grown.existing} == {
        f"weight_decay={decay},model_seed={seed}.tdw" for decay in ("0.3", "1") for seed in (0, 1)
    }
    assert {path.name for path in grown.new} == {
        f"weight_decay={decay},lr=0.002,model_seed={seed}.tdw" for decay in ("0.3", "1") for seed in (0, 1)
    }
    made(tmp_path, weight_decay="0.3,1", model_seed="0-1", lr="1e-3,2e-3")
    # Then by one that stands before these in the help, and by a seed that stands before the other one.
    more = names(tmp_path, weight_decay="0.3", model_seed="0", lr="2e-3", train_fraction="0.3,0.4", data_seed="0,1")
    assert [name for name in more if "data_seed=1" in name] == [
        f"weight_decay=0.3,lr=0.002,train_fraction={part},data_seed=1,model_seed=0.tdw" for part in ("0.3", "0.4")
    ]


def test_names_do_not_depend_on_whether_values_are_listed_or_drawn(tmp_path):
    listed = names(tmp_path, lr="0.01,0.02", weight_decay="0.3,1")
    drawn = names(tmp_path, lr={"uniform": [0.01, 0.02]}, draws=2, weight_decay="0.3,1")
    assert [{part.partition("=")[0] for part in name.split(",")} for name in drawn] == [{"lr", "weight_decay"}] * 4
    assert {name.partition("=")[0] for name in [*listed, *drawn]} == {"lr"}
