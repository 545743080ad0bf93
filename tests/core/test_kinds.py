"""Contracts that every registered network, task, optimizer and loss keeps."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

import tdw
from tdw import config
from tdw.analyses import ANALYSES
from tdw.errors import SettingError, UnknownNameError
from tdw.network.kinds import CAPABILITIES, NETWORKS
from tdw.network.losses import LOSSES
from tdw.network.optimizers import OPTIMIZERS
from tdw.project.writer import ProjectWriter
from tdw.registry import Registry
from tdw.setting import declared, setting
from tdw.tasks import TASKS

REGISTRIES = {"network": NETWORKS, "task": TASKS, "optimizer": OPTIMIZERS, "loss": LOSSES}
KINDS = [{chooser: name} for chooser, registry in REGISTRIES.items() for name in registry]
TRAINED = [kind for kind in KINDS if "task" not in kind and "loss" not in kind]  # those that training depends on
SERIES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")


def ids(kind):
    return "=".join(*kind.items())


@pytest.fixture
def settings(tiny):
    return lambda **kind: config.changed(tiny, {"lr": 0.02, "threads": 1, **kind})


def contents(path):
    """Curves, weights and the state to resume from, as bytes by name."""
    with tdw.open(path) as run:
        state = run.resume_state()
        parts = {name: getattr(run, name).tobytes() for name in SERIES}
        parts |= {(e, n): w.tobytes() for e in run.checkpoints for n, w in run.weights(e).items()}
        parts |= {(slot, n): w.tobytes() for slot, part in state.slots.items() for n, w in part.items()}
        return parts | {"epoch": state.epoch}


@pytest.mark.parametrize("kind", TRAINED, ids=ids)
def test_killed_and_resumed_equals_uninterrupted(kind, settings, tmp_path):
    whole, killed = tmp_path / "whole.tdw", tmp_path / "killed.tdw"
    for path in (whole, killed):
        tdw.create(path, settings(**kind))
    tdw.train(whole)
    code = """
import os, signal, sys, tdw
from tdw.operations import train
train.SECONDS_A_COMMIT = 0
def stop(epochs=iter(range(10**6))):
    if next(epochs) == 23:
        os.kill(os.getpid(), signal.SIGKILL)
tdw.train(sys.argv[1], stop=stop)
"""
    assert subprocess.run([sys.executable, "-c", code, str(killed)]).returncode == -signal.SIGKILL
    with tdw.open(killed) as run:
        assert run.state == "unfinished"
        assert len(run.epochs) > 10
    assert tdw.train(killed)
    assert contents(killed) == contents(whole)
    with tdw.open(whole) as run:
        assert run.resume_state().slots.keys() == set(run.config.optimizer_kind.slots)
        assert run.train_loss[-1] < run.train_loss[0]
        assert any(array.any() for part in run.resume_state().slots.values() for array in part.values())


@pytest.mark.parametrize("kind", TRAINED, ids=ids)
def test_branched_and_densified_repeat_the_run(kind, settings, tmp_path):
    whole, sparse, new = (tmp_path / name for name in ("whole.tdw", "sparse.tdw", "branch.tdw"))
    tdw.create(whole, settings(**kind, evaluate_every=1))
    tdw.create(sparse, settings(**kind, evaluate_every=1, checkpoints="20"))
    for path in (whole, sparse):
        tdw.train(path)
    assert tdw.densify(sparse, "0:40:5") == [5, 10, 15, 25, 30, 35]
    assert contents(sparse) == contents(whole)
    tdw.branch(whole, new, 15)
    assert tdw.train(new)
    assert contents(new) == contents(whole)


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_settings_survive_their_json_and_analyses_run_or_say_why_not(kind, settings, tmp_path):
    chosen = settings(**kind)
    assert config.from_json(json.loads(json.dumps(chosen.to_json()))) == chosen
    path = tmp_path / "run.tdw"
    tdw.create(path, chosen)
    tdw.train(path)
    computed = set(tdw.analyze(path))
    assert {"loss", "accuracy", "margin", "weight_norms", "weight_trajectory"} <= computed
    for name, item in tdw.analyses.ANALYSES.items():
        why = item.inapplicable_reason(chosen)
        assert (name in computed) == (why is None and not item.on_request), name
        assert why is None or why.endswith(".")
    with tdw.open(path) as run:
        assert np.isfinite(run.analysis("loss").arrays["loss"]).all()


@pytest.mark.parametrize("chooser", config.CHOOSERS)
def test_settings_of_one_kind_are_refused_for_others(chooser):
    for own in config.settings():
        if own.chooser != chooser:
            continue
        for name in REGISTRIES[chooser]:
            if name in own.kinds:
                assert getattr(tdw.configure(**{chooser: name, own.name: own.default}), own.name) == own.default
            else:
                assert own.name not in tdw.configure(**{chooser: name}).to_json()
                with pytest.raises(
                    SettingError, match=f"{own.flag} only applies to --{chooser} {' or '.join(own.kinds)}"
                ):
                    tdw.configure(**{chooser: name, own.name: own.default})


def test_defaults_store_no_setting_that_earlier_files_lack():
    assert not {"optimizer", "loss"} & set(tdw.configure().to_json())
    assert config.from_json(tdw.configure().to_json()).optimizer == "adamw"


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_declare_what_they_compute(name, settings):
    kind = NETWORKS[name]
    assert kind.capabilities <= set(CAPABILITIES)
    weights = kind.weights(settings(network=name))
    assert {weight.role for weight in weights.values()} <= {"embedding", "attention", "mlp", "unembedding"}
    arrays = {key: np.zeros(weight.shape, np.float32) for key, weight in weights.items()}
    assert [other for other in NETWORKS if NETWORKS[other].recognizes(arrays)] == [name]
    assert all(item.group == "model" for item in declared(kind.settings, "model"))


def test_a_registry_refuses_duplicates_and_suggests_the_closest_name():
    registry = Registry("task")
    registry.register(TASKS["add"])
    with pytest.raises(ValueError, match="two tasks are named 'add'"):
        registry.register(TASKS["add"])
    with pytest.raises(UnknownNameError, match="no task is named 'ad': did you mean 'add'"):
        registry.find("ad")


def test_a_setting_that_two_kinds_declare_differently_is_refused(monkeypatch):
    @dataclass(frozen=True, kw_only=True)
    class Other:
        betas: tuple[float, float] = setting((0.5, 0.6), "other betas", within=(0, 1))

    sgd = OPTIMIZERS["sgd"]
    for settings, problem in ((Other, "declared differently by --optimizer adamw"), (Unknown, "missing in RunConfig")):
        other = Registry("optimizer")
        other.register(OPTIMIZERS["adamw"])
        other.register(replace(sgd, settings=settings))
        monkeypatch.setitem(config.CHOOSERS, "optimizer", other)
        with pytest.raises(TypeError, match=problem):
            config.settings.__wrapped__()


@dataclass(frozen=True, kw_only=True)
class Unknown:
    rho: float = setting(0.9, "of no run", within=(0, 1))


def test_lists_of_analyses_are_in_the_order_of_their_names(tiny_run):
    """In the registry, whichever module is imported first, and in a file, also while it is written."""
    assert list(ANALYSES) == sorted(ANALYSES)
    first = "import tdw.analyses.restricted_loss; from tdw.analyses import ANALYSES; print(*ANALYSES)"
    assert subprocess.check_output([sys.executable, "-c", first], text=True).split() == sorted(ANALYSES)
    tdw.analyze(tiny_run, only=["weight_norms", "margin", "stable_rank"])
    with ProjectWriter.open(tiny_run) as writer:
        assert list(writer.analyses()) == ["margin", "stable_rank", "weight_norms"]
    with tdw.open(tiny_run) as run:
        assert list(run.info()["analyses"]) == ["margin", "stable_rank", "weight_norms"]
