"""What stands in a configuration next to the weights, and nowhere in them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import tdw
from tdw.cli import main
from tdw.errors import NotImportableError, SettingError
from tests.interchange import elsewhere

ACTIVATIONS = {"ReLU": functional.relu, "GeLU": functional.gelu}


def pizza(rate=0.0, act="ReLU", p=11, *, equals=False, seed=5, epochs=60):
    """A network of The Clock and the Pizza after some training, with its configuration."""
    model = elsewhere.Theirs(p, 16, 2, 24, seed, ACTIVATIONS[act], rate=rate, equals=equals)
    pairs = torch.arange(p * p)
    answers = (pairs // p + pairs % p) % p
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(epochs):
        optimizer.zero_grad()
        elsewhere.loss_of(model(pairs), answers).backward()
        optimizer.step()
    stated = {
        "name": f"modadd_{p}", "funcs": f"lambda x: (x[0]+x[1])%{p}", "C": p, "n_heads": 2, "d_model": 16, "n_layers": 1,
        "act_fn": act, "epoch": 20000, "lr": 0.01, "weight_decay": 0.1, "frac": 0.8, "attn_coeff": rate, "runid": "18c9ev5v5p",
        "diff_vocab": 0, "eqn_sign": int(equals), "func": None,
    }  # fmt: skip
    return model, stated


def imported(tmp_path, model, stated, **hints):
    elsewhere.saved(model.state_dict(), tmp_path / "model_18c9ev5v5p.pt")
    if stated is not None:
        (tmp_path / "config_18c9ev5v5p.json").write_text(json.dumps(stated))
    record = tdw.import_run(tmp_path / "model_18c9ev5v5p.pt", tmp_path / "run.tdw", overwrite=True, **hints)
    return record, tmp_path / "run.tdw"


def logits_here(run):
    neurons = run.config.network_kind.computation.activations(run.weights(run.checkpoints[-1]), run.config.nonlinearity)
    weights = run.weights(run.checkpoints[-1])
    return run.config.network_kind.computation.logits(weights, neurons, run.config.nonlinearity)


@pytest.mark.parametrize("equals", [False, True])
@pytest.mark.parametrize(("rate", "act"), [(0.0, "ReLU"), (0.8, "ReLU"), (0.3, "GeLU"), (1.0, "GeLU")])
def test_attention_rate_and_activation_beside_the_weights_are_used(tmp_path, rate, act, equals):
    model, stated = pizza(rate, act, equals=equals)
    record, path = imported(tmp_path, model, stated)
    assert record.assumed == []
    assert any("config_18c9ev5v5p.json, next to the weights, states" in line for line in record.inferred)
    with tdw.open(path) as run:
        assert (run.config.attention_rate, run.config.activation) == (rate, act.lower())
        assert (run.config.task, run.config.lr, run.config.weight_decay) == ("add", 0.01, 0.1)
        theirs = model(torch.arange(121)).detach().numpy().reshape(11, 11, -1)
        np.testing.assert_allclose(logits_here(run), theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def test_measures_of_a_pizza_are_those_of_its_own_logits(tmp_path):
    """Distance irrelevance and gradient symmetricity by their definitions, from the other program's forward pass."""
    model, stated = pizza(0.0)
    _, path = imported(tmp_path, model, stated)
    tdw.analyze(path, only=["distance_irrelevance", "gradient_symmetricity", "margin"])
    p = 11
    logits = model(torch.arange(p * p)).detach().double().numpy().reshape(p, p, p)
    own = np.array([[logits[a, b, (a + b) % p] for b in range(p)] for a in range(p)])
    table = np.array(
        [[own[(s + d) * 6 % p, (s - d) * 6 % p] for d in range(p)] for s in range(p)]
    )  # 1/2 is 6 modulo 11
    expected = table.std(axis=0).mean() / own.std()
    with tdw.open(path) as run:
        found = run.analysis("distance_irrelevance").arrays["value"][-1]
        assert found == pytest.approx(expected, rel=1e-5)
        ordinary = tdw.configure(**{**run.config.to_json(), "attention_rate": 1.0}).nonlinearity
        neurons = run.config.network_kind.computation.activations(run.weights(1), ordinary)
        wrong = run.config.network_kind.computation.logits(run.weights(1), neurons, ordinary)
        assert np.abs(wrong - logits).max() > 0.1 * np.abs(logits).max(), (
            "with ordinary attention it is another network"
        )


def test_a_rate_that_nothing_states_is_said_to_be_assumed_and_can_be_stated(tmp_path):
    model, _ = pizza(0.0)
    record, _ = imported(tmp_path, model, None)
    assert "attention_rate" in record.unknown
    assert any("--attention-rate states it" in line for line in record.assumed)
    record, path = imported(tmp_path, model, None, attention_rate="0", activation="relu", task="add")
    assert record.assumed == []
    with tdw.open(path) as run:
        assert run.config.attention_rate == 0
    with pytest.raises(SettingError, match=r"--attention-rate must be a number from 0 to 1 \(got 2\)"):
        imported(tmp_path, model, None, attention_rate="2")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", json.dumps({"model": {"attn_coeff": {"value": 0.25, "desc": None}}, "train": {"lr": 0.5}})),
        ("hparams.yaml", "attention_rate: 0.25\nlr: 5e-1\n"),
        ("18c9ev5v5p.yml", "net:\n  attn_rate: 25e-2\n  act_fn: relu\nlearning_rate: 0.5\n"),
    ],
)
def test_sections_yaml_and_general_names_are_read(tmp_path, name, text):
    model, _ = pizza(0.25)
    (tmp_path / name).write_text(text)
    record, path = imported(tmp_path, model, None)
    with tdw.open(path) as run:
        assert run.config.attention_rate == 0.25
        assert run.config.lr == 0.5
    assert any(line.startswith(f"{name}, next to the weights") for line in record.inferred)


def test_a_configuration_of_another_run_is_not_used(tmp_path):
    model, stated = pizza(0.25)
    (tmp_path / "config_other.json").write_text(json.dumps(stated))
    record, path = imported(tmp_path, model, None)
    assert "attention_rate" in record.unknown
    with tdw.open(path) as run:
        assert run.config.attention_rate == 1
    assert not any("beside" in line for line in record.inferred)


def test_values_of_a_wrong_type_are_said_and_left_out(tmp_path):
    model, stated = pizza(0.25)
    record, path = imported(tmp_path, model, stated | {"lr": {"max": 1}, "weight_decay": "strong", "d_model": 99})
    assert "weight_decay in config_18c9ev5v5p.json is not a number and was ignored" in record.contradicted
    assert any("d_model 99, but the weights have 16" in line for line in record.contradicted)
    with tdw.open(path) as run:
        assert run.config.attention_rate == 0.25


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"act_fn": "Tanh"}, "unsupported activation function"),
        ({"diff_vocab": 1}, "separate vocabularies"),
        ({"n_layers": 3}, "transformer of 3 layers"),
    ],
)
def test_what_cannot_be_read_as_stated_is_refused(tmp_path, changed, said):
    model, stated = pizza()
    with pytest.raises(NotImportableError, match=said):
        imported(tmp_path, model, stated | changed)
    assert not (tmp_path / "run.tdw").exists()


@pytest.mark.parametrize(
    "text",
    ["", "[1, 2]", "{", "lr: [", "a: &a [1]\nb: [" + "*a, " * 50 + "]\n", "12", "attn_coeff:\n", "\x00\x01"],
)
@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_other_files_beside_are_passed_over(tmp_path, text, suffix):
    model, _ = pizza(1.0, epochs=1)
    (tmp_path / f"config{suffix}").write_text(text)
    record, _ = imported(tmp_path, model, None)
    assert "attention_rate" in record.unknown


def test_an_export_of_such_a_network_is_refused(tmp_path):
    _, path = imported(tmp_path, *pizza(0.25))
    with pytest.raises(tdw.errors.NotApplicableError, match="no attention rate"):
        tdw.export_run(path, tmp_path / "out.pt")


def test_what_is_unknown_is_nowhere_shown_as_a_value(tmp_path):
    """Also the settings of the kind of network that stands for an unknown one."""
    (tmp_path / "a.csv").write_text("step,train_loss\n0,2\n1,1\n")
    tdw.import_run(tmp_path / "a.csv", tmp_path / "curves.tdw")
    tdw.create(tmp_path / "other.tdw", tdw.configure(network="one-hot", p=7, d_mlp=8, epochs=2))
    tdw.create(tmp_path / "mixed.tdw", tdw.configure(p=7, d_mlp=8, epochs=2, attention_rate=0.5))
    with tdw.open(tmp_path / "curves.tdw") as run:
        assert {"network", "attention_rate"} <= set(run.unknown)
        assert "attention_rate" not in run.imported.unknown
    rows = {Path(row["path"]).name: row["attention_rate"] for row in tdw.runs(tmp_path).rows}
    assert rows == {"curves.tdw": None, "other.tdw": None, "mixed.tdw": 0.5}
    paths = [tmp_path / f"{name}.tdw" for name in ("curves", "other", "mixed")]
    assert tdw.compare(*paths).different["attention_rate"] == ["unknown", "does not apply", "0.5"]


def test_an_unknown_part_of_a_known_network_is_said_next_to_it(tmp_path, capsys):
    model, _ = pizza()
    _, path = imported(tmp_path, model, None)
    with tdw.open(path) as run:
        unknown = set(run.unknown)
        assert "attention_rate" in unknown
    assert main.main(["info", str(path)]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert "attention rate unknown" in line
    assert ("activation unknown" in line) == ("activation" in unknown)
