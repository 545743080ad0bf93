"""Files from elsewhere whose bytes are sound, and whose parts contradict each other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

import tdw
from tdw import store
from tdw.analyses import ANALYSES
from tdw.errors import DamagedFileError, NotAProjectError
from tdw.network.parameters import shapes
from tdw.project import serialization
from tdw.project.project import Project
from tdw.project.writer import ProjectWriter

P, EPOCHS = 5, 12


def described(**settings: Any) -> dict[str, Any]:
    given = {
        "p": P,
        "d_model": 4,
        "heads": 2,
        "d_mlp": 6,
        "epochs": EPOCHS,
        "checkpoints": "0:12:4",
        "train_fraction": 0.6,
    }
    return {
        "id": "a-run",
        "created": "2026-01-01T00:00:00+00:00",
        "settings": tdw.configure(**given).to_json() | settings,
        "plan": [0, 4, 8, 12],
        "environments": [{"from_epoch": 0, "torch": "2"}],
    }


def weights(epoch: int, **other: Any) -> dict[str, np.ndarray]:
    config = tdw.configure(**described()["settings"])
    random = np.random.default_rng(abs(epoch))
    return {n: random.standard_normal(s, dtype=np.float32) for n, s in shapes(config).items()} | other


def state(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    moments = {f"exp_avg.{name}": array for name, array in arrays.items()}
    return arrays | moments | {f"exp_avg_sq.{name}": array**2 for name, array in arrays.items()}


class Sent:
    """A file as somebody elsewhere might make it; every part can be another one."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = described()
        self.split = (np.arange(15), np.arange(15, 25))
        self.epochs = EPOCHS
        self.weights: Callable[[int], dict[str, np.ndarray]] = weights
        self.resumes: Callable[[int], dict[str, np.ndarray]] = lambda epoch: state(weights(epoch))
        self.resume_epoch = EPOCHS
        self.kept = (0, 4, 8, 12)
        self.results: dict[str, dict[str, np.ndarray]] = {}

    def write(self, path: Path) -> None:
        first = save(self.resumes(0), {"epoch": "0" * 12})
        with store.create(
            path,
            config=self.config,
            split_train=self.split[0],
            split_test=self.split[1],
            epochs=self.epochs,
            checkpoint_capacity=len(self.kept),
            blob_nbytes=len(serialization.pack(self.weights(0), 0)),
            resume_nbytes=len(first),
            resume=first,
        ) as writer:
            for start, end in ((0, 1), (1, 5), (5, 9), (9, EPOCHS + 1)):
                losses = {name: np.linspace(1, 2, end - start) for name in store.LOSSES}
                epoch = self.kept[writer.reader.n_checkpoints]
                kept = [(epoch, serialization.pack(self.weights(epoch), epoch))]
                again = (min(self.resume_epoch, end - 1), save(self.resumes(end), {"epoch": "0" * 12}))
                writer._check_append = lambda *_: None  # type: ignore[method-assign]  # the program that made it had no such rule
                writer.append(curves=losses, checkpoints=kept, resume=again)
            for name, arrays in self.results.items():
                rows = len(next(iter(arrays.values())))
                plans = {key: store.ArrayPlan(value.dtype.str, value.shape[1:]) for key, value in arrays.items()}
                item = ANALYSES[name]
                writer.plan_analyses([store.AnalysisPlan(name, item.version, dict(item.parameters), plans, rows)])
                writer.append_rows({name: arrays})


@pytest.fixture
def sent(tmp_path, monkeypatch) -> Callable[[Sent], Path]:
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "here"))

    def arrive(what: Sent) -> Path:
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv("TDW_STATE_DIR", str(tmp_path / "elsewhere"))
            what.write(tmp_path / "run.tdw")
        return tmp_path / "run.tdw"

    return arrive


def test_a_sound_file_from_elsewhere_is_opened_trained_and_analyzed(sent):
    made = Sent()
    made.config = described(epochs=20)
    made.epochs = 20
    path = sent(made)
    with tdw.open(path) as run:
        assert run.first_word
        assert run.checkpoints == [0, 4, 8, 12]
        assert np.array_equal(run.weights(8)["embed.W_E"], weights(8)["embed.W_E"])
    with tdw.open(path) as run:
        assert run.first_word is None
    assert tdw.train(path, allow_drift=True)
    tdw.analyze(path)
    with tdw.open(path) as run:
        assert len(run.epochs) == 21
        assert run.verify() == []
        assert run.analysis("neuron_frequencies").checkpoints == run.checkpoints


@pytest.mark.parametrize("began", [0, 4, 8])
def test_a_branch_of_a_branch_is_none_of_them(sent, began):
    made = Sent()
    _branch(began=began)(made)
    with tdw.open(sent(made)) as run:
        assert (run.optimizer_from, run.branched.at, run.branched.branched.at) == (began, 8, 4)


def _config(**changes: Any) -> Callable[[Sent], None]:
    return lambda made: setattr(made, "config", described() | changes)


def _settings(**changes: Any) -> Callable[[Sent], None]:
    return lambda made: setattr(made, "config", described(**changes))


def _of(**changes: Any) -> Callable[[Sent], None]:
    def change(made: Sent) -> None:
        for name, value in changes.items():
            setattr(made, name, value)

    return change


def _results(name: str, change: Callable[[dict[str, np.ndarray]], Any]) -> Callable[[Sent], None]:
    def add(made: Sent) -> None:
        config = tdw.configure(**made.config["settings"])
        arrays = {k: np.zeros((4, *spec.shape(config)), spec.dtype) for k, spec in ANALYSES[name].arrays.items()}
        arrays["epoch"] = np.array([0, 4, 8, 12])
        change(arrays)
        made.results = {name: arrays}

    return add


def _branch(**changes: Any) -> Callable[[Sent], None]:
    """A run that branched off another one at epoch 8, which had branched off a third one at 4, with a new optimizer."""
    first = {"from": "c", "file": "c.tdw", "at": 4, "settings": described()["settings"], "optimizer_from": 0}
    first["branched"] = None
    second = {"from": "b", "file": "b.tdw", "at": 8, "settings": described()["settings"], "optimizer_from": 4}
    second["branched"] = first | {name[6:]: value for name, value in changes.items() if name.startswith("first_")}
    second |= {name[7:]: value for name, value in changes.items() if name.startswith("second_")}
    return _config(optimizer_from=changes.get("began", 8), branched=second)


BRANCH = "the description of the run it was branched from is invalid"
OPTIMIZER = "its optimizer starts at an impossible epoch"

REFUSED: dict[str, tuple[Callable[[Sent], Any], str]] = {
    "no id": (_config(id=None), "it has no valid run id"),
    "an endless id": (_config(id="x" * 5000), "it has no valid run id"),
    "no settings": (_config(settings=[1]), "it has no settings"),
    "an impossible modulus": (_settings(p=10**9), r"its settings are invalid .*--p .*got 1000000000"),
    "a modulus in words": (_settings(p="five"), r"its settings are invalid .*--p .*got five"),
    "a negative width": (_settings(d_mlp=-3), r"its settings are invalid .*--d-mlp .*got -3"),
    "another modulus": (_settings(p=7), "its split has 25 pairs instead of 49 for p = 7"),
    "another width": (
        _settings(d_mlp=512),
        "its first checkpoint does not match its settings: blocks.0.mlp.W_in is float32",
    ),
    "more epochs": (_settings(epochs=10**6), r"space for 12 epochs, but its settings plan 1000000"),
    "a plan in words": (_config(plan=["0"]), "it has no list of planned checkpoints"),
    "no plan": (_config(plan=None), "it has no list of planned checkpoints"),
    "an optimizer that began by itself": (_config(optimizer_from=4), OPTIMIZER),
    "an optimizer that began in words": (_config(optimizer_from="4"), OPTIMIZER),
    "an optimizer that began with yes": (_config(optimizer_from=False), OPTIMIZER),
    "a branch in words": (_config(branched="b.tdw"), BRANCH),
    "a branch of nothing": (_config(branched={}), BRANCH),
    "a branch of a list": (_branch(first_branched=[]), BRANCH),
    "a branch later than its epochs": (_branch(second_at=13), BRANCH),
    "a branch later than its origin's epochs": (
        _branch(second_settings=described(epochs=7, checkpoints="0:7")["settings"]),
        BRANCH,
    ),
    "a branch before the beginning": (_branch(second_at=-1), BRANCH),
    "a branch at yes": (_branch(second_at=True), BRANCH),
    "a branch with an unknown setting": (_branch(first_settings={"not a name": 1}), BRANCH),
    "a branch with a setting in words": (_branch(first_settings=described(p="five")["settings"]), BRANCH),
    "a branch with an impossible schedule": (_branch(first_settings=described(epochs=7)["settings"]), BRANCH),
    "an optimizer later than the branch": (_branch(began=9), BRANCH),
    "an optimizer before all": (_branch(began=-1), BRANCH),
    "an optimizer later than the first branch": (_branch(second_optimizer_from=5), BRANCH),
    "an optimizer that began by itself in the past": (_branch(first_optimizer_from=2), OPTIMIZER),
    "pairs that do not exist": (_of(split=(np.arange(15), np.arange(16, 26))), "its split is invalid .*got 25"),
    "negative pairs": (_of(split=(np.arange(-1, 15), np.arange(15, 24))), "its split is invalid .*got -1"),
    "a pair twice": (_of(split=(np.arange(15), np.arange(14, 24))), "its split is invalid .*pair 14 twice"),
    "pairs missing": (_of(split=(np.arange(15), np.arange(15, 24))), "its split has 24 pairs"),
    "epochs out of order": (_of(kept=(0, 8, 4, 12)), "its checkpoints are out of order"),
    "an epoch twice": (_of(kept=(0, 4, 4, 12)), "its checkpoints are out of order"),
    "an epoch that was not": (_of(kept=(0, 4, 8, 99)), "its checkpoints are out of order or at unrecorded epochs"),
    "a negative epoch": (_of(kept=(-4, 4, 8, 12)), "its checkpoints are out of order"),
    "half a number": (
        _of(weights=lambda e: weights(e, **{"unembed.W_U": np.zeros((4, 5), "f8")})),
        r"unembed.W_U is float64 \(4, 5\), but must be float32 \(4, 5\) with its settings",
    ),
    "a weight more": (
        _of(weights=lambda e: weights(e, **{"<b>x</b>": np.zeros(1, "f4")})),
        "'<b>x</b>' is not a weight of this network",
    ),
    "a weight less": (
        _of(weights=lambda e: {n: w for n, w in weights(e).items() if n != "embed.W_E"}),
        "embed.W_E is missing",
    ),
    "results of another size": (
        _results("embedding_frequencies", lambda a: a.update(norms=np.zeros((4, 9), "f4"))),
        "results of embedding_frequencies do not have the shapes that its settings require",
    ),
    "results of other epochs": (
        _results("neuron_clusters", lambda a: a.update(epoch=np.array([0, 4, 8, 11]))),
        "results of neuron_clusters do not belong to its checkpoints",
    ),
    "results of no epoch": (
        _results("neuron_clusters", lambda a: a.pop("epoch")),
        "results of neuron_clusters do not belong to its checkpoints",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_parts_that_contradict_each_other_are_refused(sent, name):
    change, sentence = REFUSED[name]
    made = Sent()
    change(made)
    path = sent(made)
    data = path.read_bytes()
    with pytest.raises(NotAProjectError, match=sentence) as caught:
        tdw.open(path)
    assert str(caught.value).endswith("Get another copy of the file.")
    assert str(caught.value).isprintable()
    if not made.results:
        with pytest.raises(NotAProjectError, match=sentence):
            ProjectWriter.open(path)
    assert path.read_bytes() == data


def test_weights_of_another_network_are_no_checkpoint_wherever_they_are(sent):
    """Only the first checkpoint is looked at when a file is opened; the others when they are asked for."""
    made = Sent()
    other = weights(8)
    other["blocks.0.mlp.W_in"], other["blocks.0.mlp.W_out"] = other["blocks.0.mlp.W_out"], other["blocks.0.mlp.W_in"]
    made.weights = lambda epoch: other if epoch == 8 else weights(epoch)
    with Project.open(sent(made)) as project:
        project.weights(4)
        with pytest.raises(
            DamagedFileError, match=r"checkpoint 2 is of another network: blocks\.0\.mlp\.W_in is float32 \(6, 4\)"
        ):
            project.weights(8)


def test_a_state_of_another_network_is_not_resumed_from(sent):
    made = Sent()
    made.config, made.epochs = described(epochs=20), 20
    other = weights(0)
    other["embed.W_E"] = other["embed.W_E"].T.copy()
    made.resumes = lambda _: state(other)
    path = sent(made)
    with pytest.raises(DamagedFileError, match=r"the resume state is of another network: embed\.W_E is"):
        tdw.train(path)
    made.resumes = lambda epoch: state(weights(epoch)) | {"exp_avg.more": np.zeros(1, "f4")}
    with pytest.raises(DamagedFileError, match="the resume state is of another network: 'more' is not a weight of"):
        tdw.train(sent(replace_file(path, made)))


def replace_file(path: Path, made: Sent) -> Sent:
    path.unlink()
    return made


def test_recovering_does_not_make_a_run_of_them(sent, tmp_path):
    made = Sent()
    _settings(d_mlp=512)(made)
    path = sent(made)
    with path.open("ab") as file:
        file.write(b"damage")
    with pytest.raises(NotAProjectError, match="its first checkpoint does not match its settings"):
        tdw.recover(path, tmp_path / "new.tdw")
    assert not (tmp_path / "new.tdw").exists()


def test_a_first_opening_is_said_once_on_the_command_line(sent):
    path = sent(Sent())
    command = [sys.executable, "-m", "tdw", "info", str(path)]
    first, second = (subprocess.run(command, capture_output=True, text=True) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stderr == (
        "note: run.tdw comes from another computer. It was checked in a sandbox, and will be rebuilt before "
        "anything is written to it.\n"
    )
    assert second.stderr == ""
    assert second.stdout == first.stdout


def test_training_goes_on_from_no_state_that_adamw_never_leaves(sent):
    made = Sent()

    def resumes(epoch: int) -> dict[str, np.ndarray]:
        found = state(weights(epoch))
        found["exp_avg_sq.unembed.W_U"] = -found["exp_avg_sq.unembed.W_U"]
        return found

    made.resumes = resumes
    path = sent(made)
    with pytest.raises(DamagedFileError, match=r"is invalid: exp_avg_sq of unembed\.W_U is a mean of squares"):
        tdw.train(path, epochs=20, allow_drift=True)
