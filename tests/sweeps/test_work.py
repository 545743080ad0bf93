"""A folder of unfinished runs is finished: whole, once, whatever happens to the processes that do it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tdw
from tdw.errors import AppError, NotAProjectError, SettingError
from tdw.project.writer import ProjectWriter
from tdw.sweeps import manifest, work, workers
from tests.sweeps.small import LONG, SMALL, alone, command, content, done, flags, is_alive, kill, workers_of

pytestmark = pytest.mark.long


def made(folder: Path, **settings) -> list[Path]:
    """Unfinished runs."""
    tdw.sweep(folder, jobs=0, **settings)
    return sorted(folder.glob("*.tdw"))


def states(folder: Path) -> list[str]:
    found = []
    for path in sorted(folder.glob("*.tdw")):
        with tdw.Project.open(path) as project:
            found.append(project.state)
    return found


def recorded(folder: Path) -> int:
    """The epochs that all runs have recorded."""
    total = 0
    for path in folder.glob("*.tdw"):
        with tdw.Project.open(path) as project:
            total += len(project.epochs)
    return total


def grows(folder: Path, start: int) -> bool:
    return bool(wait_for(lambda: recorded(folder) > start))


def have_ended(pids: list[int]) -> bool:
    return bool(wait_for(lambda: not any(map(is_alive, pids))))


def wait_for(what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := what():
            return result
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def test_every_run_equals_the_run_alone(tmp_path):
    settings = {**SMALL, "network": "transformer,deep-transformer", "optimizer": "adamw,lion", "model_seed": "0-1"}
    reports = []
    result = tdw.sweep(
        tmp_path / "s",
        jobs=2,
        analyze=True,
        progress=lambda at: reports.append((len(at.outcomes), len(at.outcomes) + len(at.running) + at.left)),
        **settings,
    )
    assert result.counts == {"finished": 8}
    assert not result.stopped
    assert reports[-1] == (8, 8)
    assert max(total for _, total in reports) == 8
    assert len(list((tmp_path / "s").iterdir())) == 9  # with the manifest, and nothing else
    for path in (tmp_path / "s").glob("*.tdw"):
        with tdw.Project.open(path) as project:
            own, analyses = project.config, set(project.analyses())
        assert content(path) == alone(tmp_path / "alone", **own.to_json())
        assert {"events", "accuracy"} <= analyses
    before = {path: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    assert tdw.sweep(tmp_path / "s", jobs=2, analyze=True, **settings).counts == {"current": 8}
    assert {path: path.read_bytes() for path in (tmp_path / "s").iterdir()} == before


def test_a_script_needs_no_guard(tmp_path):
    # Workers do not import the script again, as those of multiprocessing do.
    script = tmp_path / "script.py"
    script.write_text(
        f"import tdw\nprint(tdw.sweep({str(tmp_path / 's')!r}, jobs=2, model_seed='0-1', **{SMALL!r}).counts)\n"
    )
    assert subprocess.check_output([sys.executable, script], text=True) == "{'finished': 2}\n"


def test_subfolders_are_worked_on_too(tmp_path):
    made(tmp_path / "a" / "b", **SMALL)
    made(tmp_path / "c", **SMALL)
    assert tdw.work(tmp_path, jobs=1).counts == {"finished": 2}
    assert tdw.work(tmp_path / "c").counts == {"current": 1}


@pytest.mark.parametrize("victim", ["parent", "workers", "all"])
def test_kills_lose_nothing(tmp_path, victim):
    settings = {**LONG, "model_seed": "0-3"}
    made(tmp_path / "s", **settings)
    for _ in range(2):
        process = command("work", tmp_path / "s", "--jobs", 2)
        start = recorded(tmp_path / "s")
        assert grows(tmp_path / "s", start)
        pids = workers_of(process.pid)
        assert len(pids) == 2
        time.sleep(0.3)
        if victim in {"parent", "all"}:
            kill(process.pid, signal.SIGKILL)
        if victim in {"workers", "all"}:
            for pid in pids:
                kill(pid, signal.SIGKILL)
        code, output, _ = done(process)
        if victim == "workers":  # two more took their places
            assert (code, "4 finished" in output) == (0, True)
            break
        assert code == -signal.SIGKILL
        assert have_ended(pids)  # orphans store what they are on, and end
        assert "finished" not in states(tmp_path / "s") or victim == "parent"
    assert list(tmp_path.rglob("*.lock")) == [] or victim == "all"
    code, output, errors = done(command("work", tmp_path / "s", "--jobs", 2))
    assert (code, errors) == (0, "")
    assert states(tmp_path / "s") == ["finished"] * 4
    assert manifest.failures(tmp_path / "s") == {}
    for seed in range(4):
        assert content(tmp_path / "s" / f"model_seed={seed}.tdw") == alone(tmp_path / "alone", **LONG, model_seed=seed)
    assert sorted(path.name for path in (tmp_path / "s").iterdir() if path.suffix not in {".tdw", ".lock"}) == [
        "sweep.json"
    ]


def test_planning_that_was_killed_is_completed(tmp_path):
    settings = {**SMALL, "model_seed": "0-299"}
    process = command("sweep", tmp_path / "s", *flags(settings), "--jobs", 2)
    wait_for(lambda: len(list((tmp_path / "s").glob("*.tdw"))) > 20)
    kill(process.pid, signal.SIGKILL)
    pids = workers_of(process.pid)
    done(process)
    wait_for(lambda: not any(map(is_alive, pids)))
    there = len(list((tmp_path / "s").glob("*.tdw")))
    assert 20 < there < 300
    assert len(manifest.read(tmp_path / "s").runs) == 300
    tdw.sweep(tmp_path / "s", jobs=0, **{**settings, "model_seed": "0-29"})
    assert {f"model_seed={seed}.tdw" for seed in range(30)} <= {path.name for path in (tmp_path / "s").iterdir()}


def test_ctrl_c_stores_what_is_done(tmp_path):
    made(tmp_path / "s", **{**LONG, "epochs": 6000, "model_seed": "0-3"})
    process = command("work", tmp_path / "s", "--jobs", 2)
    wait_for(lambda: states(tmp_path / "s").count("unfinished") == 2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    code, output, errors = done(process)
    assert (code, errors) == (130, "")
    assert "4 runs: 2 stopped, 2 not begun." in output
    assert f"continue with `tdw work {tmp_path / 's'}`" in output
    assert sorted(states(tmp_path / "s")) == ["new", "new", "unfinished", "unfinished"]
    assert sorted(path.suffix for path in (tmp_path / "s").iterdir()) == [".json", *[".tdw"] * 4]


def test_several_processes_share_the_runs(tmp_path):
    made(tmp_path / "s", **LONG, model_seed="0-7")
    processes = [command("work", tmp_path / "s", "--jobs", 1) for _ in range(3)]
    outputs = [done(process) for process in processes]
    assert [code for code, *_ in outputs] == [0, 0, 0]
    assert [errors for *_, errors in outputs] == ["", "", ""]
    assert states(tmp_path / "s") == ["finished"] * 8
    finished = [
        int(text.split(" finished")[0].rpartition(" ")[2])
        for _, text, _ in outputs
        if " finished," in text or " finished." in text
    ]
    assert sum(finished) == 8  # each by one of them
    assert content(tmp_path / "s" / "model_seed=5.tdw") == alone(tmp_path / "alone", **LONG, model_seed=5)


def test_one_runs_failure_is_its_own(tmp_path):
    paths = made(tmp_path, **SMALL, model_seed="0-3")
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[:9000])
    paths[2].write_bytes(b"no project")
    code, output, errors = done(command("work", tmp_path, "--jobs", 2))
    assert code == 2
    assert "4 runs: 2 finished, 2 failed." in output
    assert f"tdw: {paths[1]} failed: " in errors
    assert f"tdw: {paths[2]} failed: {paths[2]} is not a project file" in errors
    recorded = manifest.failures(tmp_path)
    assert {name: failure.tries for name, failure in recorded.items()} == {paths[1].name: 1, paths[2].name: 1}
    assert json.loads((tmp_path / "sweep.failed" / f"{paths[2].name}.json").read_text())["kind"] == "NotAProjectError"
    paths[1].write_bytes(whole)
    assert tdw.work(tmp_path, jobs=1).counts == {"current": 2, "given up": 2}  # not tried unasked
    assert tdw.work(tmp_path, jobs=1, retry=True).counts == {"finished": 1, "current": 2, "failed": 1}
    assert {name: failure.tries for name, failure in manifest.failures(tmp_path).items()} == {paths[2].name: 2}
    paths[2].unlink()
    shutil.copy(paths[0], paths[2])
    assert tdw.work(tmp_path, jobs=1, retry=True).counts == {"current": 4}
    assert not (tmp_path / "sweep.failed").exists()


def test_a_failure_that_cannot_be_recorded_is_told_and_ends_nothing(tmp_path):
    paths = made(tmp_path, **SMALL, model_seed="0-2")
    paths[0].write_bytes(b"no project")
    (tmp_path / "sweep.failed").write_text("in the way")
    result = tdw.work(tmp_path, jobs=1)
    assert result.counts == {"finished": 2, "failed": 1}
    assert "This could not be recorded: " in result.outcomes[paths[0]][1]


def test_a_diverged_run_is_an_outcome(tmp_path):
    result = tdw.sweep(
        tmp_path, jobs=2, **{**SMALL, "epochs": 400}, lr="1e-3,9", optimizer="sgd", momentum=0.9, weight_decay=50
    )
    assert result.counts == {"finished": 1, "diverged": 1}
    (path,) = result.paths("diverged")
    assert "not finite" in result.outcomes[path][1] or "diverged" in result.outcomes[path][1]
    before = path.read_bytes()
    assert tdw.work(tmp_path, jobs=1).counts == {"current": 1, "diverged": 1}
    assert path.read_bytes() == before


def test_a_worker_that_dies_twice_on_a_run_has_lost_it(tmp_path, monkeypatch):
    made(tmp_path, **SMALL, model_seed="0-2")
    deadly = tmp_path / "deadly.py"
    deadly.write_text(
        "import os, sys\nfrom tdw.sweeps import job, worker\nplain = job.finish\n"
        "def finish(path, **more):\n    if 'seed=1' in path.name:\n        print('out of memory', file=sys.stderr)\n        os.kill(os.getpid(), 9)\n"
        "    return plain(path, **more)\njob.finish = finish\nworker.main()\n"
    )
    plain = subprocess.Popen
    monkeypatch.setattr(workers.subprocess, "Popen", lambda line, **more: plain([line[0], str(deadly)], **more))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    result = tdw.work(tmp_path, jobs=2)
    assert result.counts == {"finished": 2, "failed": 1}
    failure = manifest.failures(tmp_path)["model_seed=1.tdw"]
    assert failure.message == "the process that trained it was killed by signal 9. out of memory"
    assert failure.tries == 2
    assert tdw.work(tmp_path, jobs=1, retry=True).counts == {"current": 2, "failed": 1}
    assert manifest.failures(tmp_path)["model_seed=1.tdw"].tries == 4


def test_a_stop_does_not_hide_failures(tmp_path):
    paths = made(tmp_path, **{**LONG, "epochs": 100_000}, model_seed="0-1")
    paths[0].write_bytes(b"no project")
    process = command("work", tmp_path, "--jobs", 1)

    def is_trained():
        with tdw.Project.open(paths[1]) as project:
            return len(project.epochs) > 0

    assert wait_for(is_trained)
    process.send_signal(signal.SIGINT)
    code, output, errors = done(process)
    assert code == 2
    assert "1 stopped, 1 failed" in output
    assert "is not a project file" in errors


def test_a_worker_that_cannot_start_says_why(tmp_path, monkeypatch):
    made(tmp_path, **SMALL)
    plain = subprocess.Popen
    broken = [sys.executable, "-c", "raise ImportError('no torch here')"]
    monkeypatch.setattr(workers.subprocess, "Popen", lambda _, **more: plain(broken, **more))
    with pytest.raises(AppError, match=r"cannot start: ImportError: no torch here \(exit code 1\)"):
        tdw.work(tmp_path)


def test_a_run_that_another_process_is_on_is_left_to_it(tmp_path):
    paths = made(tmp_path, **SMALL, model_seed="0-1")
    with ProjectWriter.open(paths[0]):
        code, output, _ = done(command("work", tmp_path, "--jobs", 1))
    assert (code, "2 runs: 1 finished, 1 in work elsewhere." in output) == (0, True)
    assert "without a file" not in output
    assert states(tmp_path) == ["new", "finished"]
    paths[0].unlink()
    assert "1 planned run without a file, see sweep.json" in done(command("work", tmp_path))[1]


def test_what_cannot_be_done_is_refused(tmp_path):
    with pytest.raises(NotAProjectError, match="does not exist"):
        tdw.work(tmp_path / "none")
    for jobs in (-1, 2000, 1.5):
        with pytest.raises(SettingError, match="--jobs must be an integer from 1 to 1024"):
            tdw.work(tmp_path, jobs=jobs)
        with pytest.raises(SettingError, match="--jobs"):
            tdw.sweep(tmp_path / "new", jobs=jobs, **SMALL)
    assert not (tmp_path / "new").exists()
    assert tdw.work(tmp_path).counts == {}


def test_the_plan_is_only_printed(tmp_path):
    line = ["sweep", tmp_path / "s", *flags(SMALL), "--model-seed", "0-4", "--jobs", 3, "--plan-only"]
    code, output, errors = done(command(*line))
    assert (code, errors) == (0, "")
    assert output.startswith(f"{tmp_path / 's'}: 5 runs to create: ")
    assert "in 3 processes" in output
    assert list(tmp_path.iterdir()) == []


def test_time_left_follows_what_is_done():
    from tdw.cli.sweeps import _left

    at = work.Work(Path(), left=6, seconds=10.0)
    assert _left(at) == "?"
    at.outcomes = {Path(str(number)): ("finished", "") for number in range(3)}
    at.running = [
        work.Running(Path("a"), 0.0, epoch=50, epochs=100),
        work.Running(Path("b"), 0.0, epoch=50, epochs=100),
    ]
    assert _left(at) == "0:17"  # 4 runs in 10 s, 7 left


def test_links_out_of_the_folder_are_left_out_by_sweep_work_and_runs(tmp_path):
    elsewhere = made(tmp_path / "elsewhere", **SMALL, model_seed="0-1")
    (inside,) = made(tmp_path / "s", **SMALL, model_seed="5")
    (tmp_path / "s" / "model_seed=0.tdw").symlink_to(elsewhere[0])
    (tmp_path / "s" / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "s" / "again.tdw").symlink_to(inside)
    (tmp_path / "s" / ".hidden.tdw").write_bytes(elsewhere[1].read_bytes())
    code, output, errors = done(command("work", tmp_path / "s", "--jobs", 1))
    assert code == 0
    assert f"model_seed=0.tdw is a link to {elsewhere[0]}, which is outside of the folder: it is left out." in errors
    assert "1 left out, a link to a file outside of the folder" in output
    assert states(tmp_path / "elsewhere") == ["new", "new"]
    runs = tdw.runs(tmp_path / "s")
    assert {path.name for path in runs.paths} <= {inside.name, "again.tdw"}
    assert len(runs) == 1
    assert [problem.message for problem in runs.problems] == [
        f"{tmp_path / 's' / 'model_seed=0.tdw'} is a link to {elsewhere[0]}, which is outside of the folder: it is left out."
    ]
    planned = tdw.plan_sweep(tmp_path / "s", **SMALL, model_seed="0,5")
    assert [path.name for path in planned.unreadable] == ["model_seed=0.tdw"]
    assert len(planned.new) == 1  # under another name, as that one is taken
    assert tmp_path / "s" / "model_seed=0.tdw" not in planned.new
    # A folder that is itself reached by a link is as good as its real one.
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert tdw.work(tmp_path / "link", jobs=1).counts == {"finished": 2}
    assert len(tdw.runs(tmp_path / "link")) == 2
