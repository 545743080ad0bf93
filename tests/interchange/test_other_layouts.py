"""Weights in layouts of other programs: linear layers, MLPs on one-hot pairs, and optimizers other than AdamW."""

import numpy as np
import pytest
import torch

import tdw
from tdw.errors import NotImportableError, SettingError
from tests.interchange import elsewhere


def imported(path, **hints):
    record = tdw.import_run(path, path.parent / "run.tdw", overwrite=True, **hints)
    return record, path.parent / "run.tdw"


def logits_here(run, epoch):
    computation, weights = run.config.network_kind.computation, run.weights(epoch)
    return computation.logits(
        weights, computation.activations(weights, run.config.nonlinearity), run.config.nonlinearity
    )


def linear(state, heads):
    """The same network as TransformerLens 4 names it, element by element."""
    found = {"embed.weight": state["embed.W_E"], "pos_embed.weight": state["pos_embed.W_pos"]}
    for short in "QKV":
        w = state[f"blocks.0.attn.W_{short}"]  # (head, d_model, d_head)
        rows = [w[head, :, k] for head in range(heads) for k in range(w.shape[2])]
        found[f"blocks.0.attn.{short.lower()}.weight"] = torch.stack(rows)
        found[f"blocks.0.attn.{short.lower()}.bias"] = torch.zeros(len(rows))
    w = state["blocks.0.attn.W_O"]  # (head, d_head, d_model)
    columns = [w[head, k] for head in range(heads) for k in range(w.shape[1])]
    found["blocks.0.attn.o.weight"] = torch.stack(columns, dim=1)
    found["blocks.0.attn.o.bias"] = torch.zeros(w.shape[2])
    for name, theirs in (("W_in", "in"), ("W_out", "out")):
        w = state[f"blocks.0.mlp.{name}"]
        found[f"blocks.0.mlp.{theirs}.weight"] = torch.stack([w[:, i] for i in range(w.shape[1])])
        found[f"blocks.0.mlp.{theirs}.bias"] = torch.zeros(w.shape[1])
    found["unembed.weight"] = torch.stack([state["unembed.W_U"][:, i] for i in range(state["unembed.W_U"].shape[1])])
    found["unembed.bias"] = torch.zeros(len(found["unembed.weight"]))
    return found


@pytest.mark.parametrize("prefix", ["", "model."])
def test_linear_layers_of_transformer_lens_4(tmp_path, prefix):
    state = elsewhere.lens(heads=2).state()
    theirs = {prefix + name: value for name, value in linear(state, 2).items()}
    elsewhere.saved(theirs, tmp_path / "epoch_7.pt")
    with pytest.raises(SettingError, match="--heads must state the number of attention heads, a divisor of 16"):
        imported(tmp_path / "epoch_7.pt")
    with pytest.raises(SettingError, match=r"a divisor of 16.*\(got 3\)"):
        imported(tmp_path / "epoch_7.pt", heads=3)
    record, path = imported(tmp_path / "epoch_7.pt", heads="2")
    assert record.form == "a TransformerLens 4 state dict"
    with tdw.open(path) as run:
        assert run.config.heads == 2
        for name, array in run.weights(7).items():
            assert np.array_equal(array, state[name].numpy()), name
    (tmp_path / "config.json").write_text('{"n_heads": 2}')
    imported(tmp_path / "epoch_7.pt")


def test_heads_that_weights_tell_are_not_asked_for(tmp_path):
    elsewhere.saved(elsewhere.lens().state(), tmp_path / "epoch_7.pt")
    with pytest.raises(SettingError, match="whose weights tell it: leave it out"):
        imported(tmp_path / "epoch_7.pt", heads=2)


P, HIDDEN = 7, 24


def mlp(layout, seed=0):
    """Weights in a layout, and the function they are, on one-hot vectors with square neurons."""
    drawn = np.random.default_rng(seed)
    a, b = drawn.normal(size=(2, P, HIDDEN))
    out = drawn.normal(size=(HIDDEN, P))
    if layout.startswith("one matrix"):
        b = a
    first = {
        "here": np.concatenate([a, b]),
        "linear": np.concatenate([a, b]).T,
        "one matrix": a,
        "one matrix, linear": a.T,
    }[layout]
    state = {"mlp.W_in": first, "mlp.W_out": out if layout in ("here", "one matrix") else out.T}
    logits = np.array([[(a[i] + b[j]) ** 2 @ out for j in range(P)] for i in range(P)])
    return {
        name: torch.tensor(np.ascontiguousarray(value), dtype=torch.float32) for name, value in state.items()
    }, logits


@pytest.mark.parametrize("layout", ["here", "linear", "one matrix", "one matrix, linear"])
def test_mlps_on_one_hot_pairs(tmp_path, layout):
    state, logits = mlp(layout)
    state["mlp.basis"] = torch.randn(P, P)
    elsewhere.saved(state, tmp_path / "epoch_9.pt")
    record, path = imported(tmp_path / "epoch_9.pt", activation="quadratic", task="add")
    assert record.assumed == ["mlp.basis is a buffer that the network does not use: it was left out"]
    assert ("d_model" in record.unknown, "heads" in record.unknown) == (False, False)
    with tdw.open(path) as run:
        assert (run.config.network, run.config.p, run.config.d_mlp) == ("one-hot", P, HIDDEN)
        np.testing.assert_allclose(logits_here(run, 9), logits, rtol=1e-4, atol=1e-4)


def test_a_series_of_such_checkpoints_with_its_split_in_files_of_their_own(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    order = np.random.default_rng(3).permutation(P * P)
    train, test = order[:20], order[20:]
    losses = {}
    for epoch in range(0, 500, 2):
        state, logits = mlp("one matrix, linear", seed=epoch)
        flat = torch.tensor(logits.reshape(P * P, P))
        answers = torch.arange(P * P) // P + torch.arange(P * P) % P
        each = torch.nn.functional.cross_entropy(flat, answers % P, reduction="none").numpy()
        losses[epoch] = each[train].mean(), each[test].mean()
        stored = {"model": state, "train_loss": losses[epoch][0], "test_loss": losses[epoch][1], "epoch": epoch}
        torch.save(stored, folder / f"{epoch}.pth")
    for name, side in (("train_data", train), ("test_data", test)):
        pairs = torch.tensor(np.stack([side // P, side % P], 1))
        torch.save((pairs, pairs.sum(1) % P), folder / f"{name}.pth")
    record, path = imported(folder, task="add", activation="quadratic")
    assert record.assumed == []
    assert any("one input matrix is applied to both operands" in line for line in record.converted)
    with tdw.open(path) as run:
        assert len(run.checkpoints) == 250
        assert sorted(run.known_split.train.tolist()) == sorted(train.tolist())
        for epoch in run.checkpoints[::50]:
            of_file = losses[epoch] if run.checkpoints[0] == 0 else losses[epoch - 1]
            assert elsewhere.loss_here(run, epoch, run.known_split.train) == pytest.approx(of_file[0], rel=1e-4)
    (folder / "test_data.pth").unlink()  # one side gives the other
    imported(folder, task="add", activation="quadratic")
    with tdw.open(path) as run:
        assert sorted(run.known_split.test.tolist()) == sorted(test.tolist())


def test_a_folder_with_a_split_alone_is_refused(tmp_path):
    for name in ("train_data", "test_data"):
        torch.save((torch.tensor([[0, 1]]), torch.tensor([1])), tmp_path / f"{name}.pth")
    with pytest.raises(NotImportableError, match="a train/test split and no weights"):
        tdw.import_run(tmp_path, tmp_path / "run.tdw")


def test_matrices_that_do_not_fit_are_refused(tmp_path):
    elsewhere.saved({"mlp.W_in": torch.zeros(24, 5), "mlp.W_out": torch.zeros(7, 24)}, tmp_path / "epoch_9.pt")
    with pytest.raises(NotImportableError, match="are not those of an MLP on one-hot pairs"):
        imported(tmp_path / "epoch_9.pt")


def test_an_optimizer_that_is_not_adamw_is_named_by_what_it_stores(tmp_path):
    trainer = elsewhere.Trainer()
    trainer.epoch()
    final = trainer.final()
    for item in final["optimizer"]["state"].values():
        item["momentum_buffer"] = item.pop("exp_avg")
        del item["exp_avg_sq"]
    final["optimizer"]["param_groups"][0]["eps"] = 1e-7  # as that of Muon
    torch.save(final, tmp_path / "muon.pth")
    record, _ = imported(tmp_path / "muon.pth")
    assert record.why_not == "its optimizer is not AdamW: it stores momentum_buffer instead of exp_avg and exp_avg_sq"


def test_float64_weights_are_rounded_if_asked_for(tmp_path):
    state = {name: value.double() * (1 + 1e-12) for name, value in elsewhere.lens().state().items()}
    elsewhere.saved(state, tmp_path / "epoch_9.pt")
    with pytest.raises(NotImportableError, match=r"got float64\). --dtype float32 rounds its values"):
        imported(tmp_path / "epoch_9.pt")
    record, path = imported(tmp_path / "epoch_9.pt", dtype="float32")
    assert "float64 weights were rounded to float32, as requested" in record.converted
    with tdw.open(path) as run:
        assert run.weights(9)["embed.W_E"].tobytes() == state["embed.W_E"].float().numpy().tobytes()
    with pytest.raises(SettingError, match="--dtype must be float32"):
        imported(tmp_path / "epoch_9.pt", dtype="float64")
    elsewhere.saved(elsewhere.lens().state(), tmp_path / "epoch_8.pt")
    with pytest.raises(SettingError, match="has no float64 weights: leave it out"):
        imported(tmp_path / "epoch_8.pt", dtype="float32")
