"""Sweeps on a Dask cluster of real processes that are killed, restarted and stopped, and on submitit's local executor."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

import tdw
from tdw.errors import AppError, SettingError
from tdw.sweeps import dask, manifest, slurm
from tests.sweeps.small import LONG, SMALL, alone, command, content, done, flags, kill

pytestmark = [
    pytest.mark.long,
]


class Cluster:
    """A scheduler and workers, each a process of its own, that can be killed and started again."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes = {}
        self.environment = os.environ | {
            "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "5s",
            "DASK_DISTRIBUTED__WORKER__LIFETIME__RESTART": "False",
            "PYTHONWARNINGS": "ignore",
        }

    def scheduler(self):
        line = ["scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard", "--no-show"]
        self._start("scheduler", line)

    def worker(self, name):
        line = [
            "worker",
            self.address,
            "--nthreads",
            "1",
            "--host",
            "127.0.0.1",
            "--no-dashboard",
            "--name",
            name,
            "--no-nanny",
        ]
        self._start(name, line)

    def _start(self, name, line):
        output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + line[0], *line[1:]],
            env=self.environment,
            start_new_session=True,
            **output,
        )

    def signal(self, name, number):
        kill(self.processes[name].pid, number)
        if number == signal.SIGKILL:
            self.processes[name].wait()

    def close(self):
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


WORK = """
import json, sys
from tdw.errors import TdwError
from tdw.sweeps.dask import work_on_dask
try:
    done = work_on_dask(sys.argv[1], sys.argv[2], patience=float(sys.argv[3]))
except TdwError as error:
    print(json.dumps({"error": str(error)}))
else:
    print(json.dumps({"counts": done.counts, "left": done.left, "runs": len(done.outcomes)}))
"""


def begin(folder, address, patience):
    """`work_on_dask` in a process of its own: distributed leaves threads behind that use the global random generator."""
    line = [sys.executable, "-c", WORK, str(folder), address, str(patience)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result_of(process, seconds=240):
    output, errors = process.communicate(timeout=seconds)
    assert process.returncode == 0, errors
    return json.loads(output)


@pytest.fixture
def cluster():
    running = Cluster()
    running.scheduler()
    running.worker("one")
    running.worker("two")
    yield running
    running.close()


def reach(folder, epochs):
    """Wait until the runs of a folder have recorded so many epochs together."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        total = 0
        for path in folder.glob("*.tdw"):
            with tdw.Project.open(path) as project:
                total += len(project.epochs)
        if total >= epochs:
            return
        time.sleep(0.05)
    raise AssertionError("it did not get so far")


@pytest.mark.parametrize(
    "trouble", [pytest.param("none", marks=pytest.mark.slow), "worker killed", "scheduler restarted", "worker hangs"]
)
def test_every_run_on_dask_equals_the_run_alone(tmp_path, cluster, trouble):
    folder = tmp_path / "s"
    settings = {**LONG, "model_seed": "0-3"}
    planned = tdw.plan_sweep(folder, **settings)
    tdw.sweep(folder, jobs=0, **settings)
    process = begin(folder, cluster.address, 60)
    reach(folder, 300)
    if trouble == "worker killed":
        cluster.signal("one", signal.SIGKILL)
        cluster.worker("three")
    elif trouble == "scheduler restarted":
        cluster.signal("scheduler", signal.SIGKILL)
        cluster.scheduler()
        time.sleep(1)
        for name in ("three", "four"):  # workers end without their scheduler, as those of a job queue do
            cluster.worker(name)
    elif trouble == "worker hangs":
        cluster.signal("one", signal.SIGSTOP)
        cluster.worker("three")
        time.sleep(8)
        cluster.signal("one", signal.SIGCONT)
    result = result_of(process)
    assert set(result["counts"]) <= {"finished", "current"}
    assert (result["runs"], result["left"]) == (4, 0)
    for path, config in planned.new.items():
        assert content(path) == alone(tmp_path / "alone", **config.to_json())


def test_a_hanging_workers_run_is_left_and_told(tmp_path, cluster):
    settings = {**LONG, "epochs": 4000, "model_seed": "0-1"}
    tdw.sweep(tmp_path, jobs=0, **settings)
    process = begin(tmp_path, cluster.address, 6)
    reach(tmp_path, 300)
    cluster.signal("one", signal.SIGSTOP)
    assert result_of(process)["counts"] in ({"finished": 1, "busy": 1}, {"finished": 2})  # one may not have begun on it
    cluster.signal("one", signal.SIGKILL)  # whose lock ends with it
    assert set(tdw.work(tmp_path, jobs=1).counts) <= {"finished", "current"}


def test_the_command_on_dask(tmp_path, cluster):
    line = ["sweep", tmp_path / "s", *flags(SMALL), "--model-seed", "0-3", "--dask", cluster.address]
    code, output, errors = done(command(*line))
    assert (code, errors) == (0, "")
    assert "4 runs: 4 finished." in output
    code, output, errors = done(command("work", tmp_path / "s", "--dask", cluster.address))
    assert (code, "4 runs: 4 finished before." in output) == (0, True)


def test_ctrl_c_on_dask_stores_what_is_done(tmp_path, cluster):
    settings = {**LONG, "epochs": 60_000, "model_seed": "0-3"}
    tdw.sweep(tmp_path, jobs=0, **settings)
    process = command("work", tmp_path, "--dask", cluster.address)
    reach(tmp_path, 300)
    process.send_signal(signal.SIGINT)
    code, output, _ = done(process)
    assert code == 130
    assert "stopped" in output
    with tdw.Project.open(tmp_path / "model_seed=0.tdw") as project:
        assert project.state in {"unfinished", "new"}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("tcp://127.0.0.1:1", "the Dask scheduler at tcp://127.0.0.1:1 cannot be reached "),
        ("foo", "--dask foo names no computer that can be found "),
        ("127.0.0.1", "--dask 127.0.0.1 is not the address of a scheduler "),
    ],
)
def test_a_scheduler_that_is_not_there(tmp_path, address, message):
    tdw.sweep(tmp_path, jobs=0, **SMALL)
    assert result_of(begin(tmp_path, address, 0.5))["error"].startswith(message)


def test_a_task_that_raises_is_the_failure_of_its_run(tmp_path):
    # what distributed gives for a task whose workers were killed again and again
    error = KilledWorker("finish", "tcp://127.0.0.1:1", 3)
    future = type("Future", (), {"exception": lambda _: error})()
    outcome = dask._lost(tmp_path / "run.tdw", future)
    assert (outcome.state, outcome.kind) == ("failed", "KilledWorker")
    assert manifest.failures(tmp_path)["run.tdw"].kind == "KilledWorker"


class KilledWorker(Exception):  # noqa: N818 - its name in distributed
    """Workers died."""


def test_the_processes_of_a_cluster_are_not_counted_here(tmp_path):
    code, _, errors = done(command("work", tmp_path, "--dask", "tcp://127.0.0.1:1", "--jobs", 2))
    assert (code, errors) == (
        2,
        "tdw: --jobs does not apply to --dask, whose workers are those of the cluster: leave it out\n",
    )


def test_a_scheduler_without_workers(tmp_path):
    running = Cluster()
    running.scheduler()
    try:
        tdw.sweep(tmp_path, jobs=0, **SMALL)
        assert "has no workers" in result_of(begin(tmp_path, running.address, 5))["error"]
        process = command("work", tmp_path, "--dask", running.address)
        time.sleep(6)
        process.send_signal(signal.SIGTERM)
        code, output, _ = done(process, 30)
        assert (code, "1 not begun" in output) == (143, True)
    finally:
        running.close()


def test_slurm_jobs_work_on_the_folder(tmp_path):
    # submitit's local executor: the same jobs as processes of this computer
    line = [
        "sweep",
        tmp_path / "s",
        *flags(SMALL),
        "--model-seed",
        "0-5",
        "--jobs",
        2,
        "--slurm",
        "cluster=local",
        "cpus_per_task=1",
    ]
    code, output, errors = done(command(*line))
    assert (code, errors) == (0, "")
    assert "6 runs: 6 created." in output
    assert "2 jobs submitted: " in output
    end = time.monotonic() + 120
    while time.monotonic() < end:
        results = sorted((tmp_path / "s" / "sweep.slurm").glob("*_result.pkl"))
        if len(results) == 2:
            break
        time.sleep(0.2)
    assert tdw.work(tmp_path / "s", jobs=1).counts == {"current": 6}
    assert content(tmp_path / "s" / "model_seed=3.tdw") == alone(tmp_path / "alone", **SMALL, model_seed=3)


def test_the_number_of_slurm_jobs_follows_the_work(tmp_path, monkeypatch):
    import submitit

    submitted = []

    class Executor:
        def __init__(self, folder, cluster):
            submitted.append((folder, cluster))

        def update_parameters(self, **given):
            submitted.append(given)

        def batch(self):
            return contextlib.nullcontext()

        def submit(self, task):
            submitted.append(task)
            return type("Job", (), {"job_id": str(len(submitted))})

    monkeypatch.setattr(submitit, "AutoExecutor", Executor)
    assert len(slurm.submit(tmp_path, seconds=3 * 3600, options={"cpus_per_task": "4", "slurm_partition": "long"})) == 2
    assert submitted[1] == {"timeout_min": 240, "cpus_per_task": 4, "name": "tdw", "slurm_partition": "long"}
    task = submitted[2]
    assert (task.folder, task.jobs) == (tmp_path, 4)
    again = task.checkpoint().function  # what is queued after a job was preempted
    assert (again.folder, again.jobs) == (tmp_path, 4)
    assert len(slurm.submit(tmp_path, seconds=10.0)) == 1
    assert len(slurm.submit(tmp_path, seconds=1e9)) == 1000
    assert len(slurm.submit(tmp_path, seconds=1e9, jobs=3)) == 3


def test_what_slurm_cannot_do_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AppError, match=r"--slurm cannot submit from here: .*login node"):
        slurm.submit(tmp_path)
    with pytest.raises(SettingError, match="--slurm has an option that submitit does not accept"):
        slurm.submit(tmp_path, options={"cluster": "local", "nonsense": "1"})


@pytest.mark.parametrize(
    "address", ["tcp://no-such-host.invalid:8786", "no-such-host.invalid:8786", "tls://no-such-host.invalid"]
)
def test_a_name_that_no_computer_has_is_refused_at_once(tmp_path, address):
    tdw.sweep(tmp_path, jobs=0, **SMALL)
    start = time.monotonic()
    with pytest.raises(AppError, match=rf"--dask {address} names no computer that can be found .*: check the name"):
        dask.work_on_dask(tmp_path, address)
    assert time.monotonic() - start < 30


def test_waiting_for_a_scheduler_is_told_and_can_be_stopped(tmp_path):
    tdw.sweep(tmp_path, jobs=0, **SMALL)
    process = command("work", tmp_path, "--dask", "tcp://127.0.0.1:1")
    line = process.stderr.readline()
    assert re.fullmatch(r"tdw: waiting for the Dask scheduler at tcp://127.0.0.1:1, for [45]\d more seconds\n", line), (
        line
    )
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    code, output, _ = done(process, 40)
    assert (code, "1 not begun" in output) == (130, True)
    assert time.monotonic() - start < 30  # not all of the minute


def test_a_scheduler_that_never_comes_ends_the_work(tmp_path):
    tdw.sweep(tmp_path, jobs=0, **SMALL)
    told = []
    with pytest.raises(AppError, match=r"the Dask scheduler at tcp://127\.0\.0\.1:1 cannot be reached"):
        dask.work_on_dask(tmp_path, "tcp://127.0.0.1:1", patience=3, told=told.append)
    assert len(told) == 1
    with pytest.raises(AppError, match="is not the address of a scheduler"):
        dask.work_on_dask(tmp_path, "nonsense://x", patience=3)
