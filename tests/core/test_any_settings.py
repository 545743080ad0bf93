"""Whatever settings are accepted make a run that can be trained, analyzed, checked, compared and drawn."""

import contextlib
import random
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

import tdw
from tdw import config, panels
from tdw.errors import NotApplicableError, OutOfRangeError, SettingError

HOW = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]}


@st.composite
def runs(draw):
    """Settings of small runs of every kind, also such that diverge, or of which next to nothing is kept."""

    def one(*values):
        return draw(st.sampled_from(values))

    given = {
        "p": one(2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 16, 17, 25, 31),
        "d_model": one(1, 2, 4, 8, 16),
        "heads": one(1, 2, 4),
        "d_head": one(1, 2, 3, 5),
        "d_mlp": one(1, 2, 7, 16),
        "task": one(*config.TASKS),
        "network": one(*config.NETWORKS),
        "optimizer": one(*config.OPTIMIZERS),
        "loss": one(*config.LOSSES),
        "activation": one(*config.ACTIVATIONS),
        "attention_rate": one(1, 1, 0.4, 0),
        "biases": one("none", "mlp"),
        "classes": one("answers", "tokens"),
        "train_fraction": one(0.1, 0.3, 0.5, 0.9, 0.97),
        "epochs": one(0, 1, 2, 7, 30),
        "lr": one(1e-3, 0.1, 1, 9.9),
        "weight_decay": one(0, 1, 5, 100),
        "warmup": one(0, 3),
        "evaluate_every": one(1, 3, 10),
        "checkpoints": one("", "0:30:3", "even:5", "log:4", "1"),
    }
    if given["network"] == "one-hot":
        del given["attention_rate"]
    before = random.getstate()
    try:
        return tdw.configure(**given, threads=1)
    except SettingError:
        reject()  # a network without a class for '=', a checkpoint after the end, a split with an empty side
    finally:
        random.setstate(before)  # beartype looks at random items of a collection


def goes_through(path, found):
    path.unlink(missing_ok=True)
    tdw.create(path, found)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with contextlib.suppress(OutOfRangeError):
            tdw.train(path)
        with contextlib.suppress(OutOfRangeError):
            tdw.analyze(path)
        with tdw.open(path) as run:
            assert run.verify() == []
            assert np.isfinite(run.train_loss).all()
            assert run.info()["checkpoints"] == run.checkpoints
            if run.checkpoints:
                for panel in panels.describe(run):
                    if panel.header.state.status == "ready":
                        with contextlib.suppress(
                            NotApplicableError
                        ):  # nothing to draw, such as the speed between one checkpoint
                            run.figure(panel.header.name)
        assert tdw.compare(path, path).different == {}


@settings(max_examples=40, derandomize=True, **HOW)
@given(found=runs())
def test_a_run_of_any_settings(tmp_path, found):
    goes_through(tmp_path / "run.tdw", found)


@pytest.mark.slow
@settings(max_examples=400, **HOW)
@given(found=runs())
def test_hundreds_of_runs_of_any_settings(tmp_path, found):
    goes_through(tmp_path / "run.tdw", found)
