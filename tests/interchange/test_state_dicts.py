"""State dicts of TransformerLens, read and written."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tdw
from tdw.errors import (
    AlreadyExistsError,
    CheckpointNotFoundError,
    NotApplicableError,
    NotImportableError,
    SettingError,
    UnknownNameError,
)
from tdw.network import reference
from tdw.network.kinds import Nonlinearity
from tests.interchange import elsewhere

# The parameters and buffers of HookedTransformer in TransformerLens 2.18 (one layer, no normalization), from its source.
P, D, HEADS, D_HEAD, D_MLP = 7, 8, 2, 4, 12
THEIRS = {
    "embed.W_E": (P + 1, D),
    "pos_embed.W_pos": (3, D),
    "blocks.0.attn.W_Q": (HEADS, D, D_HEAD),
    "blocks.0.attn.W_O": (HEADS, D_HEAD, D),
    "blocks.0.attn.b_Q": (HEADS, D_HEAD),
    "blocks.0.attn.b_O": (D,),
    "blocks.0.attn.W_K": (HEADS, D, D_HEAD),
    "blocks.0.attn.W_V": (HEADS, D, D_HEAD),
    "blocks.0.attn.b_K": (HEADS, D_HEAD),
    "blocks.0.attn.b_V": (HEADS, D_HEAD),
    "blocks.0.attn.mask": (3, 3),
    "blocks.0.attn.IGNORE": (),
    "blocks.0.mlp.W_in": (D, D_MLP),
    "blocks.0.mlp.b_in": (D_MLP,),
    "blocks.0.mlp.W_out": (D_MLP, D),
    "blocks.0.mlp.b_out": (D,),
    "unembed.W_U": (D, P),
    "unembed.b_U": (P,),
}
SMALL = {
    "p": P,
    "d_model": D,
    "heads": HEADS,
    "d_mlp": D_MLP,
    "epochs": 20,
    "train_fraction": 0.5,
    "checkpoints": "0:20:5",
}


def ours(folder, **settings):
    path = folder / "ours.tdw"
    tdw.create(path, tdw.configure(**SMALL | settings))
    tdw.train(path)
    return path


def read(path):
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)


@pytest.mark.parametrize("name", ["out.pt", "out.pth", "out.safetensors"])
def test_what_is_written_is_all_that_theirs_has(tmp_path, name):
    path = ours(tmp_path)
    assert tdw.export_run(path, tmp_path / name) == [tmp_path / name]
    state = read(tmp_path / name)
    assert {key: tuple(tensor.shape) for key, tensor in state.items()} == THEIRS
    assert state["blocks.0.attn.mask"].dtype is torch.bool
    assert state["blocks.0.attn.mask"].tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert state["blocks.0.attn.IGNORE"].item() == -torch.inf
    assert all(not tensor.any() for key, tensor in state.items() if ".b_" in key)
    with tdw.open(path) as run:
        assert np.array_equal(state["embed.W_E"].numpy(), run.weights(20)["embed.W_E"])


@pytest.mark.parametrize(
    "settings",
    [{}, {"biases": "mlp"}, {"classes": "tokens"}, {"network": "two-token"}, {"activation": "gelu"}, {"d_head": 3}],
)
def test_export_and_import_round_trip_is_bit_identical(tmp_path, settings):
    path = ours(tmp_path, **settings)
    folder = tmp_path / "all"
    assert len(tdw.export_run(path, folder)) == 5
    assert sorted(item.name for item in folder.iterdir()) == [
        f"epoch-{epoch:05d}.safetensors" for epoch in range(0, 21, 5)
    ]
    imported = tdw.import_run(folder, tmp_path / "back.tdw")
    with tdw.open(path) as there, tdw.open(tmp_path / "back.tdw") as back:
        assert back.checkpoints == there.checkpoints
        for name in ("p", "network", "d_model", "heads", "d_head", "d_mlp", "biases", "classes"):
            assert getattr(back.config, name) == getattr(there.config, name), name
        for epoch in there.checkpoints:
            before, after = there.weights(epoch), back.weights(epoch)
            assert before.keys() == after.keys()
            assert all(before[name].tobytes() == after[name].tobytes() for name in before)
        assert back.known_split is None
        assert np.isnan(back.train_loss).all()
    assert imported.split is None
    assert {"lr", "data_seed", "model_seed"} <= set(imported.unknown)
    tdw.export_run(tmp_path / "back.tdw", tmp_path / "one.pt", epoch=10)
    tdw.import_run(tmp_path / "one.pt", tmp_path / "one.tdw", epoch=10)
    with tdw.open(path) as there, tdw.open(tmp_path / "one.tdw") as one:
        assert one.checkpoints == [10]
        assert all(array.tobytes() == one.weights(10)[name].tobytes() for name, array in there.weights(10).items())


@pytest.mark.parametrize("size", [0x580, 0x10280, 0x10380, 0x10480])
def test_a_safetensors_file_whose_header_size_looks_like_a_pickle_is_read(tmp_path, size):
    """The first bytes of a pickle are 0x80 and its protocol, 2 to 5: these sizes begin like that."""
    weights, path = elsewhere.lens().state(), tmp_path / "model.safetensors"

    def header(length: int) -> int:
        save_file(weights, path, {"a": "x" * length} if length else None)
        return int.from_bytes(path.read_bytes()[:8], "little")

    length = next((n for n in range(size - header(1), size - header(0) + 1) if n >= 0 and header(n) == size), 0)
    assert header(length) == size
    tdw.import_run(path, tmp_path / "run.tdw")
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.weights(1)["embed.W_E"].tobytes() == weights["embed.W_E"].numpy().tobytes()


def test_a_single_file_says_no_epoch(tmp_path):
    elsewhere.saved(elsewhere.lens().state(), tmp_path / "model.pt")
    imported = tdw.import_run(tmp_path / "model.pt", tmp_path / "run.tdw")
    assert "epoch" in imported.unknown
    assert any("does not give the epoch of its weights" in sentence for sentence in imported.inferred)
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.checkpoints == [1]
    for name, epoch in (("epoch_300.pt", 300), ("5000.pt", 5000), ("model-checkpoint-40.pt", 40)):
        elsewhere.saved(elsewhere.lens().state(), tmp_path / name)
        imported = tdw.import_run(tmp_path / name, tmp_path / "run.tdw", overwrite=True)
        with tdw.open(tmp_path / "run.tdw") as run:
            assert run.checkpoints == [epoch]
        assert "epoch" not in imported.unknown


def test_a_split_that_is_asked_for_without_losses_is_believed(tmp_path):
    elsewhere.saved(elsewhere.lens().state(), tmp_path / "model.pt")
    imported = tdw.import_run(
        tmp_path / "model.pt", tmp_path / "run.tdw", data_seed=598, train_fraction=0.3, split_rule="torch"
    )
    assert (imported.split.seed, imported.split.error) == (598, None)
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.known_split.train.tolist() == tdw_split(598, 0.3)


def tdw_split(seed, fraction, p=11):
    torch.manual_seed(seed)
    return torch.randperm(p * p)[: int(fraction * p * p)].tolist()


def spoil(state, kind):
    if kind == "attention bias":
        state["blocks.0.attn.b_O"][0] = 0.1
    elif kind == "unembedding bias":
        state["unembed.b_U"][0] = 0.1
    elif kind == "layernorm":
        state["blocks.0.ln1.w"] = torch.ones(16)
    elif kind == "final layernorm":
        state["ln_final.w"] = torch.ones(16)
    elif kind == "layers":
        state |= {name.replace("blocks.0", "blocks.1"): tensor for name, tensor in state.items() if "blocks.0" in name}
    elif kind == "gated":
        state["blocks.0.mlp.W_gate"] = torch.ones(16, 24)
    elif kind == "missing":
        del state["blocks.0.attn.W_Q"]
    elif kind == "double":
        state["embed.W_E"] = state["embed.W_E"].double()
    elif kind == "integers":
        state["embed.W_E"] = state["embed.W_E"].long()
    elif kind == "nan":
        state["embed.W_E"][2, 2] = torch.nan
    elif kind == "infinite":
        state["unembed.W_U"][2, 2] = torch.inf
    elif kind == "shape":
        state["blocks.0.mlp.W_out"] = torch.zeros(23, 16)
    elif kind == "rank":
        state["embed.W_E"] = torch.zeros(12)
    elif kind == "classes":
        state["unembed.W_U"] = torch.zeros(16, 9)
        state["unembed.b_U"] = torch.zeros(9)
    elif kind == "positions":
        state["pos_embed.W_pos"] = torch.zeros(7, 16)
    elif kind == "mask":
        state["blocks.0.attn.mask"][0, 2] = True
    elif kind == "large":
        state["embed.W_E"] = torch.zeros(1).expand(1 << 20, 1 << 20)
    elif kind == "sparse":
        state["embed.W_E"] = state["embed.W_E"].to_sparse()
    elif kind == "other names":
        state = {f"transformer.{name}.weight": tensor for name, tensor in state.items()}
    return state


REFUSED = {
    "attention bias": r"blocks\.0\.attn\.b_O is a nonzero bias, which is not supported",
    "unembedding bias": r"unembed\.b_U is a nonzero bias",
    "layernorm": "it is a transformer with LayerNorm",
    "final layernorm": "it is a transformer with LayerNorm",
    "layers": "it is a transformer of 2 layers",
    "gated": r"its tensor blocks\.0\.mlp\.W_gate is not supported",
    "missing": r"its weight blocks\.0\.attn\.W_Q is missing",
    "double": r"embed\.W_E must be float32, float16 or bfloat16 \(got float64\)\. --dtype float32 rounds",
    "integers": r"embed\.W_E must be float32, float16 or bfloat16 \(got int64\)",
    "nan": r"embed\.W_E holds NaN or infinite values",
    "infinite": r"unembed\.W_U holds NaN or infinite values",
    "shape": r"blocks\.0\.mlp\.W_out must have shape \(24, 16\), .*\(got \(23, 16\)",
    "rank": r"embed\.W_E must have 2 axes \(got shape \(12,\)\)",
    "classes": "it is a transformer for another task, with 3 positions, 12 tokens and 9 classes",
    "positions": "it is a transformer for another task, with 7 positions",
    "mask": "its attention mask is not causal",
    "large": r"is too large \(shape",
    "sparse": r"embed\.W_E must be a dense tensor \(got torch\.sparse_coo\)",
    "other names": "it does not use TransformerLens' names",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_networks_are_refused(tmp_path, kind):
    source = elsewhere.saved(spoil(elsewhere.lens().state(), kind), tmp_path / "theirs.pt")
    with pytest.raises(NotImportableError, match=REFUSED[kind]) as refused:
        tdw.import_run(source, tmp_path / "run.tdw")
    assert "\n" not in str(refused.value)
    assert [item.name for item in tmp_path.iterdir()] == ["theirs.pt"]


def test_a_folder_whose_files_do_not_go_together(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    elsewhere.saved(elsewhere.lens().state(), folder / "1.pt")
    elsewhere.saved(elsewhere.lens(p=7).state(), folder / "2.pt")
    with pytest.raises(
        NotImportableError, match=r"2\.pt cannot be imported: it has p 7, but the other checkpoints have 11"
    ):
        tdw.import_run(folder, tmp_path / "run.tdw")
    elsewhere.saved(elsewhere.lens().state(), folder / "2.pt")
    elsewhere.saved(elsewhere.lens().state(), folder / "last.pt")
    with pytest.raises(NotImportableError, match=r"the names of its files \(1, 2, last\) do not tell their epochs"):
        tdw.import_run(folder, tmp_path / "run.tdw")
    (folder / "last.pt").write_bytes((folder / "2.pt").read_bytes()[:-99])
    (folder / "last.pt").rename(folder / "3.pt")
    with pytest.raises(
        NotImportableError,
        match=r"3\.pt cannot be imported: it looks like a truncated or damaged PyTorch file",
    ):
        tdw.import_run(folder, tmp_path / "run.tdw")
    assert [item.name for item in tmp_path.iterdir()] == ["runs"]


def test_biases_that_are_zero_at_first_are_kept_where_they_are_trained(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    state = elsewhere.lens().state()
    elsewhere.saved(state, folder / "0.pt")
    state["blocks.0.mlp.b_in"] += 0.25
    save_file(state, folder / "100.safetensors")
    elsewhere.saved(elsewhere.lens().state(), folder / "200.pt")
    tdw.import_run(folder, tmp_path / "run.tdw")
    with tdw.open(tmp_path / "run.tdw") as run:
        assert run.config.biases == "mlp"
        assert not run.weights(0)["blocks.0.mlp.b_in"].any()
        assert (run.weights(100)["blocks.0.mlp.b_in"] == 0.25).all()
        assert not run.weights(200)["blocks.0.mlp.b_in"].any()


def test_invalid_hints_are_refused(tmp_path):
    elsewhere.saved(elsewhere.lens().state(), tmp_path / "model.pt")
    for hints, sentence in [
        ({"p": 7}, r"--p must be 11, as in the weights of model\.pt \(got 7\)"),
        ({"test_stride": 10}, r"--test-stride does not apply to model\.pt, .*\(got 10\)"),
        ({"epoch": "soon"}, r"--epoch must be an integer from 0 to 10000000 \(got soon\)"),
        ({"data_seed": 4}, "add --train-fraction"),
        ({"train_fraction": 0.4}, "add --data-seed"),
        (
            {"split_rule": "numpy", "data_seed": 1, "train_fraction": 0.3},
            r"--split-rule must be one of python, torch \(got numpy\)",
        ),
        ({"task": "cube"}, r"--task must be one of add, .*\(got cube\)"),
    ]:
        with pytest.raises(SettingError, match=sentence):
            tdw.import_run(tmp_path / "model.pt", tmp_path / "run.tdw", **hints)
    with pytest.raises(UnknownNameError, match="no hint is named 'seed'"):
        tdw.import_run(tmp_path / "model.pt", tmp_path / "run.tdw", seed=1)
    assert [item.name for item in tmp_path.iterdir()] == ["model.pt"]


def test_refusals_of_an_export(tmp_path):
    path = ours(tmp_path)
    with pytest.raises(CheckpointNotFoundError, match="no checkpoint at epoch 7"):
        tdw.export_run(path, tmp_path / "out.pt", epoch=7)
    tdw.export_run(path, tmp_path / "out.pt")
    before = (tmp_path / "out.pt").read_bytes()
    with pytest.raises(
        AlreadyExistsError, match=r"already exists: use another name, or overwrite=True to replace it\."
    ):
        tdw.export_run(path, tmp_path / "out.pt", epoch=0)
    assert (tmp_path / "out.pt").read_bytes() == before
    tdw.export_run(path, tmp_path / "out.pt", epoch=0, overwrite=True)
    assert (tmp_path / "out.pt").read_bytes() != before
    with pytest.raises(UnknownNameError, match="transformer-lens"):
        tdw.export_run(path, tmp_path / "out", form="tensorflow")
    (tmp_path / "hot").mkdir()
    with pytest.raises(NotApplicableError, match="TransformerLens has no MLP on one-hot pairs"):
        tdw.export_run(ours(tmp_path / "hot", network="one-hot"), tmp_path / "x.pt")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["hot", "ours.tdw", "out.pt"]


@pytest.mark.filterwarnings("ignore")  # of what TransformerLens brings along
def test_transformer_lens_loads_an_export_and_gives_the_same_logits(tmp_path):
    theirs = pytest.importorskip("transformer_lens", reason="TransformerLens is not installed", exc_type=ImportError)
    path = ours(tmp_path)
    tdw.export_run(path, tmp_path / "out.pt")
    sizes = {"d_model": D, "n_heads": HEADS, "d_head": D_HEAD, "d_mlp": D_MLP, "d_vocab": P + 1, "d_vocab_out": P}
    network = theirs.HookedTransformer(
        theirs.HookedTransformerConfig(
            n_layers=1, n_ctx=3, act_fn="relu", normalization_type=None, device="cpu", **sizes
        )
    )
    network.load_state_dict(torch.load(tmp_path / "out.pt", weights_only=True), strict=True)
    index = torch.arange(P * P)
    a, b = index // P, index % P
    with tdw.open(path) as run:
        weights = {name: torch.from_numpy(array) for name, array in run.weights(20).items()}
    answered = network(torch.stack([a, b, torch.full_like(a, P)], 1))[:, -1]
    assert torch.allclose(answered, reference.plain_forward(weights, a, b, Nonlinearity()), atol=1e-6)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "model.", "net._orig_mod."])
def test_weights_of_a_wrapped_network_are_those_of_the_network(tmp_path, prefix):
    plain = elsewhere.lens().state()
    wrapped = {prefix + name: tensor for name, tensor in plain.items()}
    for value in (wrapped, {"state_dict": wrapped}):
        imported = tdw.import_run(
            elsewhere.saved(value, tmp_path / "theirs.pt"), tmp_path / "run.tdw", overwrite=True, task="add"
        )
        assert f"the names of the weights begin with {prefix!r}, which was left out" in imported.converted
        with tdw.open(tmp_path / "run.tdw") as run:
            assert run.weights(1)["blocks.0.attn.W_Q"].tobytes() == plain["blocks.0.attn.W_Q"].numpy().tobytes()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_narrow_weights_are_widened_exactly(tmp_path, dtype, suffix):
    state = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in elsewhere.lens().state().items()
    }
    path = tmp_path / f"theirs.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    imported = tdw.import_run(path, tmp_path / "run.tdw")
    name = str(dtype).removeprefix("torch.")
    assert f"{name} weights were widened to float32, which is exact" in imported.converted
    with tdw.open(tmp_path / "run.tdw") as run:
        for weight, array in run.weights(1).items():
            assert array.dtype == np.float32
            assert torch.equal(torch.from_numpy(array).to(dtype), state[weight])
            assert torch.equal(torch.from_numpy(array), state[weight].float())


def test_copies_of_weights_and_biases_of_zero_are_left_out(tmp_path):
    state = elsewhere.lens().state()
    state |= {"x_embed.W_E": state["embed.W_E"].clone(), "blocks.0.mlp.extra.bias": torch.zeros(7)}
    imported = tdw.import_run(elsewhere.saved(state, tmp_path / "theirs.pt"), tmp_path / "run.tdw")
    assert "x_embed.W_E was left out: it is equal to embed.W_E bit for bit" in imported.converted
    assert "blocks.0.mlp.extra.bias was left out: it is a bias of zero" in imported.converted
    state["x_embed.W_E"][3, 3] += 1e-6
    with pytest.raises(NotImportableError, match=r"its tensor x_embed\.W_E is not supported"):
        tdw.import_run(elsewhere.saved(state, tmp_path / "theirs.pt"), tmp_path / "other.tdw")
