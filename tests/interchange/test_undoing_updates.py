"""The weights before the last update are reconstructed and reproduce the losses stored for them."""

import numpy as np
import pytest
import torch

import tdw
from tdw.interchange import adamw_state
from tdw.network.segment import State
from tests.interchange import elsewhere


@pytest.mark.parametrize("warmup", [0, 10])
@pytest.mark.parametrize("updates", [1, 4, 30])
def test_the_last_update_of_a_plain_adamw_is_taken_back(updates, warmup):
    settings = {"lr": 3e-3, "weight_decay": 0.7, "betas": (0.9, 0.98), "warmup": warmup}
    generator = torch.Generator().manual_seed(updates)
    weight = torch.randn(5, 7, generator=generator).requires_grad_()
    adamw = torch.optim.AdamW([weight], lr=3e-3, weight_decay=0.7, betas=(0.9, 0.98))
    for done in range(updates):
        before = weight.detach().clone()
        adamw.param_groups[0]["lr"] = 3e-3 * (min(done / warmup, 1) if warmup else 1)
        weight.grad = torch.randn(5, 7, generator=generator)
        adamw.step()
    moments = adamw.state[weight]
    state = State(
        updates,
        {"w": weight.detach().numpy()},
        {slot: {"w": moments[slot].numpy()} for slot in ("exp_avg", "exp_avg_sq")},
    )
    found = adamw_state.undone(state, settings)["w"]
    assert np.abs(found - before.numpy()).max() < 1e-6
    if not warmup or updates > 1:  # the first update of a warm-up changes nothing
        assert np.abs(found - weight.detach().numpy()).max() > 1e-4


@pytest.mark.parametrize("rule", ["python", "torch"])
@pytest.mark.parametrize("epochs", [25, 80])
@pytest.mark.parametrize("fraction", [0.3, 0.9])
def test_a_split_is_found_by_the_last_weights_alone_while_the_loss_falls(tmp_path, rule, epochs, fraction):
    trainer = elsewhere.trained(epochs=epochs, every=1000, p=13, seed=42, fraction=fraction, rule=rule)
    tdw.import_run(elsewhere.saved(trainer.final(), tmp_path / "run.pth"), tmp_path / "run.tdw")
    with tdw.open(tmp_path / "run.tdw") as run:
        assert set(run.known_split.train.tolist()) == set(trainer.train.tolist())
        assert run.imported.split.seed == 42
        assert run.imported.split.error < 1e-4
