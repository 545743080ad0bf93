"""Analyses of several checkpoints at a time and in blocks: the same numbers, in order, in the memory that there is."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest
import threadpoolctl

import tdw
from tdw import machine, tasks
from tdw.analyses import baselines, excluded_loss, find, restricted_loss
from tdw.analyses.engine import checkpoint as checkpoint_module
from tdw.analyses.engine import memory, parallel, registry, runner
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.errors import OutOfRangeError, SettingError
from tdw.network import closed_form, reference


def results(path):
    with tdw.open(path) as run:
        return {
            f"{name}/{array}": values.tobytes()
            for name in run.analyses()
            for array, values in run.analysis(name).arrays.items()
        }


def test_results_are_the_same_for_any_number_of_jobs(tiny_run):
    found = []
    for jobs in (1, 2, 5):
        tdw.analyze(tiny_run, force=True, jobs=jobs)
        found.append(results(tiny_run))
    assert found[1] == found[0]
    assert found[2] == found[0]


def test_rows_are_in_order_however_long_each_takes(tiny_run, monkeypatch):
    plain = runner.evaluate

    def late(item, view, config):
        time.sleep(0.02 * (view.weights["embed.W_E"].tobytes()[0] % 3) if isinstance(view, Checkpoint) else 0)
        return plain(item, view, config)

    tdw.analyze(tiny_run, "weight_norms", jobs=1)
    expected = results(tiny_run)
    monkeypatch.setattr(runner, "evaluate", late)
    tdw.analyze(tiny_run, "weight_norms", force=True, jobs=4)
    assert results(tiny_run) == expected


@pytest.mark.parametrize("jobs", [1, 3])
def test_rows_end_where_an_analysis_fails(tiny_run, monkeypatch, jobs):
    plain = runner.evaluate
    with tdw.open(tiny_run) as run:
        epochs = run.checkpoints
        bad = run.weights(epochs[4])["embed.W_E"].tobytes()

    def failing(item, view, config):
        if item.name == "weight_norms" and view.weights["embed.W_E"].tobytes() == bad:
            raise OutOfRangeError("planted")
        return plain(item, view, config)

    monkeypatch.setattr(runner, "evaluate", failing)
    with pytest.raises(OutOfRangeError, match=rf"at epoch {epochs[4]} planted. Everything else was stored"):
        tdw.analyze(tiny_run, ["weight_norms", "stable_rank"], jobs=jobs)
    with tdw.open(tiny_run) as run:
        assert run.analysis("weight_norms").checkpoints == epochs[:4]
        assert run.analysis("stable_rank").checkpoints == epochs


def test_matrix_products_have_one_thread_and_get_theirs_back(tiny_run, monkeypatch):
    def threads():
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

    seen, plain = [], runner.evaluate

    def watched(item, view, config):
        seen.append((threading.current_thread().name, threads()))
        return plain(item, view, config)

    monkeypatch.setattr(runner, "evaluate", watched)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        tdw.analyze(tiny_run, "weight_norms", jobs=2)
        after = threads()
    assert {number for _, numbers in seen for number in numbers} == {1}
    assert set(after) == {2}
    assert all(name.startswith("tdw-analysis") for name, _ in seen)


def test_an_error_ends_what_runs_and_begins_nothing_more():
    begun = []

    def work(item, stop):
        begun.append(item)
        if item == 2:
            raise ZeroDivisionError(item)
        while item > 2:
            stop.check()
            time.sleep(0.001)
        return item

    results = parallel.in_order(work, range(1000), 3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert len(begun) < 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_threads_compute_ends_in_order(tiny_run, number):
    names = "weight_norms stable_rank sparsity effective_dimension embedding_frequencies unembedding_frequencies"
    code = f"""
import os, sys, threading, time
from tdw.analyses.engine import runner
plain, count = runner.evaluate, [0]
def evaluate(*given):
    count[0] += 1
    if count[0] == 40:
        assert threading.current_thread() is not threading.main_thread()
        os.kill(os.getpid(), {int(number)})
    return plain(*given)
runner.evaluate = evaluate
from tdw.cli.main import main
sys.argv = ["tdw", "analyze", {str(tiny_run)!r}, "--jobs", "3", "--only", *"{names}".split()]
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")
    assert [item.name for item in tiny_run.parent.iterdir()] == [tiny_run.name]
    with tdw.open(tiny_run) as run:
        assert run.verify() == []


BLOCKED = [
    {},
    {"network": "two-token", "biases": "mlp", "activation": "gelu"},
    {"network": "one-hot", "biases": "mlp", "activation": "quadratic"},
    {"task": "multiply", "p": 13, "classes": "tokens", "attention_rate": 0.5},
]


def view_of(settings, scale=1):
    config = tdw.configure(**{"p": 12, "d_model": 8, "heads": 2, "d_mlp": 48, **settings})
    noise = np.random.default_rng(1)  # biases are 0 at first
    weights = {
        name: scale * (w.numpy() + 0.1 * noise.standard_normal(w.shape, dtype=np.float32))
        for name, w in reference.initial_weights(config).items()
    }
    keys = np.random.default_rng(0).integers(0, 2, (4, config.frequencies)).astype(np.uint8)
    return config, Checkpoint(config, weights, tasks.draw_split(config), keys)


@pytest.mark.parametrize("scale", [np.float32(3), np.float32(1e15)])
@pytest.mark.parametrize("settings", BLOCKED)
def test_blocks_give_what_whole_arrays_give(settings, scale, monkeypatch):
    config, whole = view_of(settings, scale)
    names = [item.name for item in registry.usual(config) if item.per == "checkpoint" and item.name != "baselines"]
    with np.errstate(over="ignore", invalid="ignore"):
        expected = {name: find(name).compute(whole, **find(name).parameters) for name in names}
        for module, name, value in [
            (checkpoint_module, "LARGEST_KEPT", 0), (checkpoint_module, "NEURON_BLOCK", 0),
            (checkpoint_module, "BLOCK", 2000), (excluded_loss, "BLOCK", 2000), (closed_form, "OPERANDS_AT_ONCE", 5),
            (closed_form, "VALUES_AT_ONCE", 500), (restricted_loss, "VALUES_AT_ONCE", 30), (checkpoint_module, "MOST_COUNTED", 5),
        ]:  # fmt: skip
            monkeypatch.setattr(module, name, value)
        _, view = view_of(settings, scale)
        found = {name: find(name).compute(view, **find(name).parameters) for name in names}
    assert "activations" not in vars(view)
    assert "activations" in vars(whole)
    for name, arrays in expected.items():
        for array, values in arrays.items():
            if np.asarray(values).dtype.kind != "f":
                continue  # choices between values that are equal up to rounding
            most = np.nanmax(np.abs(values)) if np.size(values) else 0
            assert np.allclose(found[name][array], values, rtol=2e-4, atol=2e-5 * most, equal_nan=True), (name, array)


@pytest.mark.parametrize("settings", [{}, {"network": "one-hot"}, {"network": "deep-transformer"}])
def test_declared_large_results_are_those_that_are_read(settings):
    for item in registry.ANALYSES.values():
        config, view = view_of(settings)
        if item.per == "run" or item.inapplicable_reason(config) or item.name == "memorization_baselines":
            continue
        registry.evaluate(item, view, config)
        assert set(item.reads) == {name for name in registry.LARGE if name in vars(view)}, item.name


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(
    "settings", [{}, {"task": "multiply"}, {"network": "one-hot"}, {"network": "two-token", "d_mlp": 768}]
)
def test_analyses_take_no_more_memory_than_is_said_before(settings, kept, monkeypatch):
    for module in (checkpoint_module, memory):
        monkeypatch.setattr(module, "LARGEST_KEPT", 64 << 20 if kept else 0)
        for name in ("NEURON_BLOCK", "ANSWER_BLOCK", "BLOCK"):  # so that what is kept is most of it
            monkeypatch.setattr(module, name, 1 << 20)
    monkeypatch.setattr(excluded_loss, "BLOCK", 1 << 20)
    settings = {"p": 113, "d_model": 32, "heads": 2, "d_mlp": 256, **settings}
    named = ["loss", "neuron_summary", "excluded_loss", "permutation_baselines"]
    config, _ = view_of(settings)
    usual = [item for item in registry.usual(config) if item.per == "checkpoint" and item.name != "baselines"]
    for items in ([find(name)] for name in named), [usual]:
        for group in items:
            _, view = view_of(settings)
            tracemalloc.start()
            try:
                for item in group:
                    once = {"draws": 1} if item.name == "permutation_baselines" else {}
                    item.compute(view, **item.parameters | once)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak < 1.02 * memory.needed(config, group) + 4e6, [item.name for item in group]
            assert memory.needed(config, group) < 2.2 * peak, [item.name for item in group]


def test_an_analysis_that_does_not_fit_says_what_it_needs_and_what_fits(tiny_run, monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: 1000)
    before = tiny_run.read_bytes()
    with pytest.raises(
        OutOfRangeError,
        match=r"these analyses need 0\.0 GB of memory for p = .*, but this machine has 0\.0 GB: name some that fit, `--only .*weight_norms",
    ) as caught:
        tdw.analyze(tiny_run)
    assert tiny_run.read_bytes() == before
    names = str(caught.value).split("--only ")[1].rstrip("`").split()
    assert "loss" not in names
    assert set(tdw.analyze(tiny_run, names)) == set(names)


def test_jobs_are_as_many_as_cores_and_free_memory_allow(monkeypatch):
    config = tdw.configure(p=113)
    items = registry.usual(config)
    size = memory.needed(config, items)
    assert 30e6 < size < 110e6  # what a worker may take
    assert 260e6 < memory.needed(tdw.configure(p=401), items) < 700e6
    monkeypatch.setattr(machine, "cores", lambda: 6)
    for free, expected in ((None, 6), (100 * size, 6), (3.9 * size, 3), (0, 1)):
        monkeypatch.setattr(machine, "free_memory", lambda free=free: free)
        assert memory.jobs_that_fit(config, items, None) == expected
    assert memory.jobs_that_fit(config, items, 9) == 9
    assert memory.jobs_that_fit(config, [find("weight_norms")], None) == 6


def test_what_prepares_an_analysis_counts_before_it_starts(tiny_run, monkeypatch):
    config = tdw.configure(p=401)
    plain, untrained, memorizing = ([find(name)] for name in ("logit_spectrum", "baselines", "memorization_baselines"))
    assert memory.shared(config, plain) == memory.shared(config, untrained) == 0  # PyTorch is here
    assert memory.shared(config, memorizing) == pytest.approx(1.8e9, rel=0.1)
    monkeypatch.delitem(sys.modules, "torch")
    assert memory.shared(config, plain) == 0
    assert memory.shared(config, untrained) == memory.PYTORCH
    monkeypatch.setattr(machine, "memory", lambda: memory.PYTORCH)
    with tdw.open(tiny_run) as run:
        assert memory.needed(run.config, untrained) < memory.PYTORCH / 2
        with pytest.raises(OutOfRangeError, match=r"these analyses need 0\.3 GB") as caught:
            memory.jobs_that_fit(run.config, untrained, None)
        assert "neuron_clusters" in str(caught.value)
        assert "baselines" not in str(caught.value).split("--only")[1]
        monkeypatch.setattr(machine, "memory", lambda: 10**12)
        monkeypatch.setattr(machine, "cores", lambda: 6)
        monkeypatch.setattr(machine, "free_memory", lambda: 0.9 * memory.PYTORCH)
        assert memory.jobs_that_fit(run.config, plain, None) == 6
        assert memory.jobs_that_fit(run.config, untrained, None) == 1


def test_untrained_networks_are_the_same_for_any_number_of_jobs(monkeypatch):
    config = tdw.configure(p=7, d_model=8, heads=2, d_mlp=8)
    parameters = find("baselines").parameters | {"networks": 9}
    done, found = [], []
    for jobs in (1, 3):
        monkeypatch.setattr(baselines, "cached", lambda *arguments: arguments[3]())
        found.append(
            baselines.untrained(config, True, report=lambda *at: done.append(at), jobs=jobs, **parameters).tobytes()
        )
    assert found[0] == found[1]
    assert done == 2 * [(n, 9) for n in range(1, 10)]


@pytest.mark.parametrize("jobs", [0, -1, 5000])
def test_a_number_of_jobs_that_is_none_is_refused(tiny_run, jobs):
    with pytest.raises(SettingError, match=rf"--jobs must be an integer from 1 to 1024 \(got {jobs}\)"):
        tdw.analyze(tiny_run, jobs=jobs)
