"""Edits of the state from which a branch starts: what each does, and that everything else stays what it would have been."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tdw
from tdw import config, tasks
from tdw.cli import main
from tdw.cli.parser import parser
from tdw.errors import (
    AlreadyExistsError,
    CheckpointNotFoundError,
    NewerFormatError,
    NotApplicableError,
    NotAProjectError,
    NotReproducibleError,
    OutOfRangeError,
    SettingError,
)
from tdw.network import kinds, reference, training
from tdw.network.losses import cross_entropy
from tdw.network.optimizers import OPTIMIZERS
from tdw.network.parameters import shapes
from tdw.network.segment import State
from tdw.operations import edited
from tdw.operations.edited import Edits
from tdw.project import edits
from tdw.project.edits import EDITS, Random, RemoveFrequency, Scale
from tdw.project.project import Project
from tdw.project.writer import ProjectWriter
from tests.core.test_replay import SERIES, assert_same_run, contents, same_weights


def resume_state(path):
    with Project.open(path) as run:
        return run.resume_state()


def losses_of(path, epoch):
    """Train and test loss of the weights that a file has at an epoch, by the plain network."""
    with tdw.open(path) as run:
        settings, split = run.config, run.split
        weights = {name: torch.tensor(array) for name, array in run.weights(epoch).items()}
    found = []
    for side in split:
        a, b = (torch.from_numpy(part) for part in tasks.operands(side, settings.p))
        logits = settings.network_kind.computation.forward(weights, a, b, settings.nonlinearity)
        found.append(cross_entropy(logits, torch.from_numpy(tasks.answers(side, settings))).item())
    return found


def plainly_without(weight, axis, start, elements, frequencies):
    """A weight without frequencies along an axis, from their complex amplitudes."""
    out = np.moveaxis(weight.astype(np.complex128), axis, 0).copy()
    n, rows = len(elements), [start + element for element in elements]
    for k in frequencies:
        for one in {k, n - k}:
            wave = np.exp(2j * np.pi * one * np.arange(n) / n)
            amplitude = sum(wave[i].conj() * out[row] for i, row in enumerate(rows)) / n
            for i, row in enumerate(rows):
                out[row] = out[row] - amplitude * wave[i]
    return np.moveaxis(out, 0, axis)


AXES = {
    "transformer": {"embed.W_E": (0, [0]), "unembed.W_U": (1, [0])},
    "two-token": {"embed.W_E": (0, [0]), "unembed.W_U": (1, [0])},
    "deep-transformer": {"embed.W_E": (0, [0]), "unembed.W_U": (1, [0])},
    "one-hot": {"mlp.W_in": (0, [0, 7]), "mlp.W_out": (1, [0]), "mlp.b_out": (0, [0])},
}


@pytest.mark.parametrize("what", ["remove-frequency:1,3", "keep-frequency:2"])
@pytest.mark.parametrize(("task", "elements"), [("add", [0, 1, 2, 3, 4, 5, 6]), ("multiply", [1, 3, 2, 6, 4, 5])])
@pytest.mark.parametrize("network", kinds.NETWORKS)
def test_frequencies_are_removed_along_operands_and_answers_in_the_order_of_the_group(
    tiny, network, task, elements, what
):
    settings = config.changed(tiny, {"network": network, "task": task, "biases": "mlp"})
    generator = np.random.default_rng(1)
    before = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes(settings).items()}
    with_axis = tuple(AXES[network])
    edit = replace_weights(edits.parse(what), with_axis)
    after = Edits((edit,), (None,)).applied(State(0, before, {}), settings).weights
    for name, array in before.items():
        expected = array.astype(np.complex128)
        axis, starts = AXES[network].get(name, (0, []))
        for start in starts:
            expected = plainly_without(expected, axis, start, elements, [1, 3])
        assert np.abs(expected.imag).max() < 1e-12
        assert np.allclose(after[name], expected.real, atol=1e-6), name
        assert np.array_equal(after[name], array) == (name not in with_axis), name


def replace_weights(edit, weights):
    return type(edit)(**{field: getattr(edit, field) for field in edit.__struct_fields__} | {"weights": weights})


def test_what_is_planted_at_a_frequency_is_what_removing_it_takes_away(tiny):
    settings = config.changed(tiny, {"p": 13})
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes(settings).items()}
    x = np.arange(13)
    weights["embed.W_E"][:13, 0] = 2 + np.cos(2 * np.pi * 4 * x / 13) + 3 * np.sin(2 * np.pi * 5 * x / 13)
    weights["embed.W_E"][13] = 7  # '='
    for text, left in [
        ("remove-frequency:4@W_E", 2 + 3 * np.sin(2 * np.pi * 5 * x / 13)),
        ("remove-frequency:5@W_E", 2 + np.cos(2 * np.pi * 4 * x / 13)),
        ("keep-frequency:4@W_E", 2 + np.cos(2 * np.pi * 4 * x / 13)),
        ("remove-frequency:1,2,3,4,5,6@W_E", np.full(13, 2)),
        ("remove-frequency:1,2,3,6@W_E", weights["embed.W_E"][:13, 0]),
    ]:
        after = Edits((edits.parse(text),), (None,)).applied(State(0, weights, {}), settings).weights["embed.W_E"]
        assert np.allclose(after[:13, 0], left, atol=1e-6), text
        assert (after[13] == 7).all()


NULL = [
    [],
    ["scale:all=1"],
    ["keep-frequency:1,2,3"],
    ["swap:all=@15"],
    ["random:all=0,3"],
    ["scale:W_E,W_in=2", "scale:W_E,W_in=0.5", "swap:W_out=ITSELF@15"],
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", kinds.NETWORKS)
def test_an_edit_that_changes_nothing_repeats_the_run_bit_for_bit(tiny, network, optimizer, tmp_path):
    path = tmp_path / "run.tdw"
    tdw.create(path, config.changed(tiny, {"network": network, "optimizer": optimizer, "lr": 0.01, "threads": 1}))
    tdw.train(path)
    few = {} if (network, optimizer) == ("transformer", "adamw") else {0, 2, 4}
    for number, given in enumerate(NULL):
        if number in few:  # enough of them for one
            continue
        new = tmp_path / f"{number}.tdw"
        weight = "W_in" if network == "one-hot" else "W_E,W_in"
        texts = [text.replace("ITSELF", str(path)).replace("W_E,W_in", weight) for text in given]
        tdw.branch(path, new, 15, edits=texts)
        tdw.train(new)
        assert_same_run(contents(new), contents(path))
        assert_same_state(resume_state(new), resume_state(path))
        if number == 6:
            assert tdw.densify(new, "7,33") == [7, 33]


def assert_same_state(one, other):
    assert one.epoch == other.epoch
    assert same_weights(one.weights, other.weights)
    assert all(same_weights(one.slots[slot], other.slots[slot]) for slot in one.slots)


EDITED = ["remove-frequency:2", "scale:W_in=1.5", "random:W_out=0.4,7", "reset-optimizer:W_E", "freeze:W_U"]


def test_everything_labeled_with_the_epoch_of_the_edit_is_of_the_edited_state(tiny_run, tmp_path):
    new = tmp_path / "new.tdw"
    before = tiny_run.read_bytes()
    tdw.branch(tiny_run, new, 15, edits=EDITED)
    assert tiny_run.read_bytes() == before
    with tdw.open(new) as run, tdw.open(tiny_run) as origin:
        weights, old = run.weights(15), origin.weights(15)
        assert run.resumes_from == 15
        assert same_weights(run.resume_state().weights, weights)
        assert not same_weights(weights, old)
        assert np.allclose([run.train_loss[15], run.test_loss[15]], losses_of(new, 15), rtol=1e-5)
        assert run.train_loss[15] != origin.train_loss[15]
        for name in SERIES:
            assert np.array_equal(getattr(run, name)[:15], getattr(origin, name)[:15], equal_nan=True)
        assert run.checkpoints == [0, 1, 2, 3, 5, 10, 15] or run.checkpoints[-1] == 15
        assert all(same_weights(run.weights(epoch), origin.weights(epoch)) for epoch in run.checkpoints[:-1])
        assert run.verify() == []
    tdw.train(new)
    with tdw.open(new) as run:
        assert run.drifts() == []
        assert same_weights(run.weights(15), weights)
        assert np.array_equal(run.weights(40)["unembed.W_U"], weights["unembed.W_U"])


def test_the_continuation_is_that_of_pytorch_from_the_edited_weights(tiny_run, tmp_path):
    new, plain = tmp_path / "new.tdw", tmp_path / "plain.tdw"
    tdw.branch(tiny_run, plain, 20)
    tdw.branch(tiny_run, new, 20, edits=["scale:W_E=1.5", "reset-optimizer:W_out", "freeze:W_U"])
    tdw.train(new)
    with tdw.open(plain) as run:
        state, split, settings = run.resume_state(), run.split, run.config
    weights = {name: torch.tensor(array) for name, array in state.weights.items()}
    weights["embed.W_E"] *= 1.5
    for name, tensor in weights.items():
        tensor.requires_grad_(name != "unembed.W_U")
    plainly = torch.optim.AdamW(
        weights.values(), lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay
    )
    for name, tensor in weights.items():
        reset = name == "blocks.0.mlp.W_out"
        of = {part: torch.tensor(state.slots[part][name]) * (not reset) for part in ("exp_avg", "exp_avg_sq")}
        plainly.state[tensor] = {"step": torch.tensor(20.0), **of}
    a, b = (torch.from_numpy(part) for part in tasks.operands(split.train, settings.p))
    answers, losses = torch.from_numpy(tasks.answers(split.train, settings)), []
    for _ in range(21):
        loss = cross_entropy(reference.plain_forward(weights, a, b, settings.nonlinearity), answers)
        losses.append(loss.item())
        plainly.zero_grad()
        loss.backward()
        plainly.step()
    with tdw.open(new) as run:
        assert np.allclose(run.train_loss[20:], losses, rtol=2e-4)
        assert run.optimizer_from == 0


def test_edits_are_made_in_the_order_given(tiny_run, tmp_path):
    with tdw.open(tiny_run) as run:
        first, at = run.weights(0)["embed.W_E"], run.weights(15)["embed.W_E"]
    for texts, expected in [
        (["swap:W_E=@0", "scale:W_E=2"], first * 2),
        (["scale:W_E=2", "swap:W_E=@0"], first),
        (["scale:embed.W_E=0.5", "scale:W_E=-4"], at * -2),
    ]:
        new = tmp_path / f"{texts[0][:5]}{len(list(tmp_path.iterdir()))}.tdw"
        tdw.branch(tiny_run, new, 15, edits=texts)
        with tdw.open(new) as run:
            assert np.array_equal(run.weights(15)["embed.W_E"], expected)
            assert np.array_equal(run.weights(15)["unembed.W_U"], tdw.open(tiny_run).weights(15)["unembed.W_U"])


def test_weights_of_another_run(tiny, tiny_run, tmp_path):
    other, new = tmp_path / "other @ = 2.tdw", tmp_path / "new.tdw"
    tdw.create(other, config.changed(tiny, {"model_seed": 5}))
    tdw.train(other)
    tdw.branch(tiny_run, new, 15, edits=[f"swap:W_E,W_Q={other}@20"])
    with tdw.open(new) as run, tdw.open(other) as theirs, tdw.open(tiny_run) as origin:
        for name, array in run.weights(15).items():
            source, epoch = (theirs, 20) if name in ("embed.W_E", "blocks.0.attn.W_Q") else (origin, 15)
            assert np.array_equal(array, source.weights(epoch)[name]), name
        assert run.branched.edits == [
            {
                "edit": "swap",
                "weights": ["embed.W_E", "blocks.0.attn.W_Q"],
                "file": other.name,
                "run": theirs.id,
                "epoch": 20,
            }
        ]
    other.unlink()  # the branch does not need it any more
    tdw.train(new)
    assert tdw.densify(new, "7,14,33") == [7, 14, 33]


def test_a_random_edit_has_the_norm_and_each_weight_and_seed_its_direction(tiny_run, tmp_path):
    with tdw.open(tiny_run) as run:
        before = run.weights(15)
    found = {}
    for seed in (0, 1):
        new = tmp_path / f"{seed}.tdw"
        tdw.branch(tiny_run, new, 15, edits=[Random(weights=("W_Q", "W_K", "W_E"), norm=0.75, seed=seed)])
        with tdw.open(new) as run:
            found[seed] = {name: array.astype(float) - before[name] for name, array in run.weights(15).items()}
        for name, change in found[seed].items():
            wanted = 0.75 if name.rpartition(".")[2] in ("W_Q", "W_K", "W_E") else 0
            assert np.linalg.norm(change) == pytest.approx(wanted, rel=1e-5), name
    one, other = found[0]["blocks.0.attn.W_Q"], found[0]["blocks.0.attn.W_K"]
    assert abs((one * other).sum()) < 0.9 * 0.75**2
    assert abs((one * found[1]["blocks.0.attn.W_Q"]).sum()) < 0.9 * 0.75**2
    assert edited._direction((2,), "embed.W_E", 3) == pytest.approx(DIRECTION), "stored runs are replayed with it"


DIRECTION = (0.5085272598335626, -0.86104589076667)


def test_resetting_all_of_the_optimizer_is_the_fresh_optimizer(tiny_run, tmp_path):
    one, other = tmp_path / "one.tdw", tmp_path / "other.tdw"
    tdw.branch(tiny_run, one, 20, edits=["reset-optimizer"], warmup=10)
    tdw.branch(tiny_run, other, 20, fresh_optimizer=True, warmup=10)
    with tdw.open(one) as run, tdw.open(other) as same:
        assert run.optimizer_from == same.optimizer_from == 20
        assert run.branched == same.branched
        assert not any(array.any() for part in run.resume_state().slots.values() for array in part.values())
    for path in (one, other):
        tdw.train(path)
    assert_same_run(contents(one), contents(other))


@pytest.mark.parametrize(
    "given", [EDITED, ["scale:all=1.2", "reset-optimizer"], ["swap:W_E=@0"]], ids=["kept", "fresh", "swap"]
)
def test_edited_runs_are_stopped_densified_and_branched_again(tiny_run, tmp_path, given):
    new, stopped, again, same, past = (tmp_path / f"{name}.tdw" for name in ("new", "stopped", "again", "same", "past"))
    tdw.branch(tiny_run, new, 15, edits=given)
    shutil.copy(new, stopped)
    tdw.train(new)
    asked = itertools.chain([False] * 9, itertools.repeat(True))
    tdw.train(stopped, stop=lambda: next(asked))
    tdw.train(stopped)
    assert_same_run(contents(stopped), contents(new))
    assert_same_state(resume_state(stopped), resume_state(new))
    tdw.branch(new, again, 25)  # its state comes from replaying over the edit
    tdw.train(again)
    assert_same_run(contents(again), contents(new))
    assert_same_state(resume_state(again), resume_state(new))
    tdw.branch(new, same, 15, edits=["scale:W_in=0.5"])  # where the first edits were made, and after them
    with tdw.open(same) as run, tdw.open(new) as first:
        name = "blocks.0.mlp.W_in"
        assert np.array_equal(run.weights(15)[name], first.weights(15)[name] * np.float32(0.5))
        assert len(run.branched.edited) == len(first.branched.edited) + 1
    tdw.train(same)
    tdw.branch(new, past, 10)  # in the history before the edits
    tdw.train(past)
    with tdw.open(past) as run, tdw.open(tiny_run) as origin:
        assert run.branched.edited == []
        assert run.config.freeze == ("unembed.W_U" if given == EDITED else "none")
        assert np.array_equal(run.train_loss[:11], origin.train_loss[:11])
    for path in (new, again, same, past):
        before = contents(path)
        assert tdw.densify(path, "7,12,14,22,33") == [7, 12, 14, 22, 33]
        after = contents(path)
        assert all(same_weights(after[1][epoch], before[1][epoch]) for epoch in before[1])
        assert same_weights(after[1][7], contents_at(tiny_run, 7, tmp_path))
        with tdw.open(path) as run:
            assert run.verify() == []


def contents_at(path, epoch, folder):
    """The weights at an epoch, of a densified copy."""
    copy = folder / "copy.tdw"
    if not copy.exists():
        shutil.copy(path, copy)
        tdw.densify(copy, str(epoch))
    with tdw.open(copy) as run:
        return run.weights(epoch)


def test_an_edited_run_equals_training_its_stages_plainly_bit_for_bit(tiny, tiny_run, tmp_path):
    new = tmp_path / "new.tdw"
    tdw.branch(tiny_run, new, 15, edits=["scale:W_E=1.25", "reset-optimizer:W_in"], lr=3e-3)
    tdw.train(new)
    with tdw.open(new) as run:
        split, settings = run.split, run.config
    (*_, first) = training.train(
        replace(tiny, epochs=15), training.start(tiny, reference.initial_weights(tiny)), split, []
    )
    weights, slots = first.state.weights, first.state.slots
    weights["embed.W_E"] = weights["embed.W_E"] * np.float32(1.25)
    for part in slots.values():
        part["blocks.0.mlp.W_in"][:] = 0
    (*_, last) = training.train(settings, State(15, weights, slots), split, [])
    assert_same_state(resume_state(new), last.state)


def test_a_replay_notices_edits_that_lead_elsewhere(tiny_run, tmp_path, monkeypatch):
    new = tmp_path / "new.tdw"
    tdw.branch(tiny_run, new, 15, edits=["scale:W_E=1.25"])
    tdw.train(new)
    true = edited._changed
    monkeypatch.setattr(edited, "_changed", lambda weight, *rest: np.nextafter(true(weight, *rest), np.float32(9)))
    with pytest.raises(NotReproducibleError, match="its edits at epoch 15 lead to other weights than the stored ones"):
        tdw.densify(new, "12")


REFUSED = [
    ("shrink:W_E=2", SettingError, r"--edit must be one of remove-frequency:5,8\[@W_E,W_U\], .* \(got shrink:W_E=2\)"),
    ("scale:W_E", SettingError, r"--edit scale must have the form scale:W_E=FACTOR, where FACTOR is a finite number \(got scale:W_E\)"),
    ("scale:W_E=nan", SettingError, "must have the form scale:W_E=FACTOR"),
    ("scale:W_E=1e999", SettingError, "must have the form scale:W_E=FACTOR"),
    ("scale:=2", SettingError, "must have the form scale:W_E=FACTOR"),
    ("random:W_E=-1", SettingError, "NORM is a number of at least 0"),
    ("random:W_E=1,-1", SettingError, "SEED an integer from 0 to 4294967295"),
    ("remove-frequency:x", SettingError, "must have the form remove-frequency:"),
    ("remove-frequency:1@", SettingError, "must have the form remove-frequency:"),
    ("swap:W_E=other.tdw", SettingError, r"must have the form swap:W_E=\[OTHER.tdw\]@EPOCH, where EPOCH is that of a checkpoint"),
    ("scale:W_X=2", SettingError, "--edit scale: no weight is named 'W_X': did you mean"),
    ("remove-frequency:4", SettingError, r"takes frequencies from 1 to 3, because k and 7 - k are the same \(got 4\)"),
    ("keep-frequency:0", SettingError, r"takes frequencies from 1 to 3, .* \(got 0\)"),
    ("remove-frequency:1@W_Q", SettingError, r"along operands or answers, which are embed.W_E, unembed.W_U \(got blocks.0.attn.W_Q\)"),
    ("swap:W_E=@13", CheckpointNotFoundError, "nearest"),
    ("swap:W_E=missing.tdw@10", NotAProjectError, "missing.tdw"),
    ("scale:all=1e30", OutOfRangeError, "the train loss of the edited weights is not finite: use edits that change the weights less"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "error", "sentence"), REFUSED, ids=[row[0] for row in REFUSED])
def test_edits_that_cannot_be_made_are_refused_and_nothing_is_written(tiny_run, tmp_path, text, error, sentence):
    with pytest.raises(error, match=sentence):
        tdw.branch(tiny_run, tmp_path / "new.tdw", 15, edits=[text])
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.tdw"]


def test_weights_of_runs_that_do_not_fit_are_refused(tiny, tiny_run, tmp_path):
    for name, changes, sentence in [
        ("wide", {"d_model": 10}, r"needs embed.W_E of shape \(8, 8\) \(wide.tdw has it as \(8, 10\)\): name weights that both"),
        ("hot", {"network": "one-hot"}, r"hot.tdw has mlp.W_in, mlp.W_out"),
        ("p", {"p": 5}, r"same p and group, here p = 7 and the additive group \(p.tdw has p = 5 and the additive group\)"),
        ("times", {"task": "multiply"}, r"times.tdw has p = 7 and the multiplicative group"),
    ]:  # fmt: skip
        other = tmp_path / f"{name}.tdw"
        tdw.create(other, config.changed(tiny, changes), overwrite=True)
        tdw.train(other)
        with pytest.raises(SettingError, match=sentence):
            tdw.branch(tiny_run, tmp_path / "new.tdw", 15, edits=[f"swap:W_E={other}@15"])


def test_frequencies_of_a_group_that_is_not_cyclic_are_refused(tiny, tmp_path):
    path = tmp_path / "run.tdw"
    tdw.create(path, config.changed(tiny, {"task": "multiply", "p": 8}))
    tdw.train(path)
    with pytest.raises(
        NotApplicableError, match=r"'remove-frequency' does not apply to run.tdw\. Not defined for composite p = 8"
    ):
        tdw.branch(path, tmp_path / "new.tdw", 15, edits=["remove-frequency:1"])


def test_an_existing_branch_with_these_edits_is_kept_and_with_others_refused(tiny_run, tmp_path):
    new = tmp_path / "new.tdw"
    tdw.branch(tiny_run, new, 15, edits=["scale:W_E=2", RemoveFrequency(frequencies=(1,))])
    made = new.read_bytes()
    tdw.branch(tiny_run, new, 15, edits=[Scale(weights=("embed.W_E",), factor=2.0), "remove-frequency:1"])
    assert new.read_bytes() == made
    for other in ([], ["scale:W_E=2"], ["remove-frequency:1", "scale:W_E=2"], ["scale:W_E=3", "remove-frequency:1"]):
        with pytest.raises(AlreadyExistsError):
            tdw.branch(tiny_run, new, 15, edits=other)


def test_an_edit_of_a_newer_version_is_read_but_not_changed_or_dropped(tiny_run, tmp_path, capsys):
    new, again = tmp_path / "new.tdw", tmp_path / "again.tdw"
    tdw.branch(tiny_run, new, 15, edits=["scale:W_E=2"])
    with ProjectWriter.open(new) as project:
        described = json.loads(json.dumps(project.described))
        described["branched"]["edits"].append({"edit": "rotate", "degrees": 30})
        project._writer.extend(config=described, epochs=40, checkpoint_capacity=len(project.planned_checkpoints))
    with tdw.open(new) as run:
        assert run.description.newer == ("edit rotate",)
        assert run.branched.edited[1] == (15, "an edit of a newer version, rotate")
    for act in (lambda: tdw.train(new), lambda: tdw.densify(new, "7"), lambda: tdw.branch(new, again, 15)):
        with pytest.raises(NewerFormatError, match="edit rotate"):
            act()


def test_a_setting_of_a_newer_version_that_only_the_origin_has_is_read_and_not_dropped(tiny_run, tmp_path):
    new = tmp_path / "new.tdw"
    tdw.branch(tiny_run, new, 15, edits=["scale:W_E=2"])
    with ProjectWriter.open(new) as project:
        described = json.loads(json.dumps(project.described))
        described["branched"]["settings"]["label_smoothing"] = 0.1
        project._writer.extend(config=described, epochs=40, checkpoint_capacity=len(project.planned_checkpoints))
    with tdw.open(new) as run:
        assert run.description.newer == ("label_smoothing",)
        assert run.branched.config == run.config
        assert run.branched.sentences(run.config)[0] == "forked from tiny.tdw at epoch 15"
    for act in (lambda: tdw.train(new), lambda: tdw.branch(new, tmp_path / "again.tdw", 15)):
        with pytest.raises(NewerFormatError, match="label_smoothing"):
            act()


def test_curves_of_another_program_are_not_of_the_edited_weights(tmp_path):
    """Such a curve, as an import keeps it, belongs to the weights before the edit at that epoch."""
    new = tmp_path / "new.tdw"
    run, imported = tmp_path / "run.tdw", tmp_path / "imported.tdw"
    settings = tdw.configure(p=7, d_model=8, heads=2, d_mlp=12, epochs=20, train_fraction=0.5, checkpoints="0:20:5")
    tdw.create(run, settings)
    tdw.train(run)
    with Project.open(run) as project:
        split, described = project.split, project.described
        losses = {name: project.curve(name) for name in project.curves}
        norms = np.arange(21, dtype=float)
        with ProjectWriter.create_from(imported, described, split, curves=[*losses, "curves/norm"]) as writer:
            last = -1
            for epoch in project.checkpoints:
                part = {name: values[last + 1 : epoch + 1] for name, values in losses.items()}
                part["curves/norm"] = norms[last + 1 : epoch + 1]
                writer.append_stored(part, (epoch, project.weights(epoch)))
                last = epoch
            writer.append_stored({}, resume=project.resume_state())
    for texts, expected in ([["scale:W_E=2"], [8, 9, np.nan]], [["scale:W_E=1"], [8, 9, 10]]):
        new.unlink(missing_ok=True)
        tdw.branch(imported, new, 10, edits=texts)
        with tdw.open(new) as branch:
            assert np.array_equal(branch.curve("curves/norm")[8:], expected, equal_nan=True)


def test_an_edit_that_is_none_makes_the_description_invalid(tiny_run, tmp_path):
    for edit in ({"edit": 3}, {"edit": "scale", "weights": "W_E"}, {}, {"edit": "<b>"}):
        new = tmp_path / "new.tdw"
        new.unlink(missing_ok=True)
        tdw.branch(tiny_run, new, 15, edits=["scale:W_E=2"])
        with ProjectWriter.open(new) as project:
            described = json.loads(json.dumps(project.described))
            described["branched"]["edits"] = [edit]
            project._writer.extend(config=described, epochs=40, checkpoint_capacity=len(project.planned_checkpoints))
        with pytest.raises(tdw.TdwError, match="the description of the run it was branched from is invalid"):
            _ = tdw.open(new).config


def test_the_command_and_what_info_says(tiny_run, tmp_path, capsys):
    new, again = tmp_path / "new.tdw", tmp_path / "again.tdw"
    given = [
        "--edit",
        "remove-frequency:1,3@W_E",
        "--edit",
        "scale:all=2",
        "--edit",
        "freeze:W_pos",
        "--fresh-optimizer",
    ]
    assert main.main(["branch", str(tiny_run), str(new), "--at", "15", *given]) == 0
    assert main.main(["branch", str(new), str(again), "--at", "15", "--edit", "random:W_U=0.5,3"]) == 0
    capsys.readouterr()
    assert main.main(["info", str(again)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "edited at epoch 15: frequencies 1, 3 removed from embed.W_E" in said
    assert [line for line in said if line.startswith("edited")] == [
        "edited at epoch 15: frequencies 1, 3 removed from embed.W_E",
        "edited at epoch 15: all weights multiplied by 2",
        "edited at epoch 15: pos_embed.W_pos frozen",
        "edited at epoch 15: optimizer started again",
        "edited at epoch 15: a random change of norm 0.5 added to unembed.W_U (seed 3)",
    ]
    assert main.main(["info", str(new), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["edits"][1] == {"epoch": 15, "edit": "all weights multiplied by 2"}
    assert told["branched"]["edits"][0] == {"edit": "remove-frequency", "weights": ["embed.W_E"], "frequencies": [1, 3]}
    assert main.main(["branch", str(tiny_run), str(tmp_path / "no.tdw"), "--at", "15", "--edit", "scale"]) == 2
    assert "--edit scale must have the form" in capsys.readouterr().err


def test_the_help_and_the_page_list_every_edit():
    actions = next(item for item in parser()._actions if item.choices and "branch" in item.choices).choices["branch"]
    text = next(item.help for item in actions._actions if item.dest == "edit")
    page = (Path(__file__).parents[2] / "docs" / "COUNTERFACTUALS.md").read_text(encoding="utf-8")
    for kind in EDITS.values():
        assert kind.form in text
        assert f"`{kind.form}`" in page


def test_edits_of_an_imported_run_start_with_a_fresh_optimizer(tiny_run, tmp_path):
    folder, imported, new = tmp_path / "out", tmp_path / "imported.tdw", tmp_path / "new.tdw"
    tdw.export_run(tiny_run, folder)
    with tdw.open(tiny_run) as run:
        seed, fraction = run.config.data_seed, run.config.train_fraction
    tdw.import_run(folder, imported, task="add", data_seed=seed, train_fraction=fraction, split_rule="torch")
    with pytest.raises(NotReproducibleError, match="--fresh-optimizer"):
        tdw.branch(imported, new, 15, edits=["scale:W_E=2"], epochs=40, checkpoints="")
    tdw.branch(
        imported,
        new,
        15,
        edits=["scale:W_E=2"],
        fresh_optimizer=True,
        epochs=40,
        checkpoints="",
        lr=1e-3,
        weight_decay=1,
    )
    assert tdw.train(new)
    with tdw.open(new) as run, tdw.open(tiny_run) as origin:
        assert np.array_equal(run.weights(15)["embed.W_E"], origin.weights(15)["embed.W_E"] * 2)
        assert np.allclose([run.train_loss[15], run.test_loss[15]], losses_of(new, 15), rtol=1e-5)


def test_stored_edits_without_a_frequency_are_read_as_before():
    # They used to be accepted; files that hold them keep their meaning.
    stored = {"edit": "keep-frequency", "frequencies": [], "weights": ["embed.W_E"]}
    assert edits.sentences([stored]) == ["only the constant and no frequency kept in embed.W_E"]


@pytest.mark.parametrize("number", [0.1 + 0.2, 1 / 3, 1e-7 / 3, 123456.789, 2.0])
def test_numbers_of_edits_and_settings_are_told_so_that_they_can_be_typed_again(number):
    from tdw.cli.report import _settings_line

    sentence = edits.parse(f"random:W_E={number!r}").sentence
    assert float(sentence.partition("norm ")[2].partition(" ")[0]) == number
    assert float(edits.parse(f"scale:W_E={number!r}").sentence.rpartition(" ")[2]) == number
    share = min(number, 1 / 7)
    line = _settings_line(config.configure(lr=share, weight_decay=share, train_fraction=max(share, 0.01)), ())
    told = dict(reversed(part.rsplit(" ", 1)) for part in line.split(" · ") if part.startswith(("lr", "weight decay")))
    assert {float(value) for value in told} == {share}
    assert f"{max(share, 0.01)!r} of pairs" in line or max(share, 0.01) == 0.01
