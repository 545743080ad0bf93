"""Optimizers against PyTorch's own or their paper's formulas, and what training imports."""

import subprocess
import sys

import pytest
import torch

import tdw
from tdw.network.optimizers import OPTIMIZERS

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]
REFERENCE = {
    "adamw": lambda config, weights: torch.optim.AdamW(
        [weights], lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
    ),
    "sgd": lambda config, weights: torch.optim.SGD(
        [weights], lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    ),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("warmup", [0, 10])
@pytest.mark.parametrize("name", REFERENCE)
def test_three_hundred_updates_equal_pytorchs_bit_for_bit(name, warmup, device):
    config = tdw.configure(optimizer=name, lr=3e-3, warmup=warmup, weight_decay=0.7)
    optimizer = OPTIMIZERS[name]
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(1003, generator=generator).to(device)
    theirs = ours.clone().requires_grad_()
    theirs.grad = torch.zeros_like(theirs)
    slots = {slot: torch.zeros_like(ours) for slot in optimizer.slots}
    step = torch.tensor(0.0, device=device)
    reference = REFERENCE[name](config, theirs)
    for done in range(300):
        gradient = torch.randn(1003, generator=generator).to(device) * (0 if done % 17 == 0 else 1)
        lr = config.lr * (min(done / warmup, 1) if warmup else 1)
        theirs.grad.copy_(gradient)
        reference.param_groups[0]["lr"] = lr
        reference.step()
        step += 1
        optimizer.update(ours, gradient, slots, step, lr, config)
        assert torch.equal(ours, theirs), done
    for slot in optimizer.slots:
        assert torch.equal(slots[slot], reference.state[theirs][slot]), slot


def test_every_optimizer_is_compared_with_another_implementation():
    assert {*REFERENCE, "lion"} == set(OPTIMIZERS)


@pytest.mark.parametrize("device", DEVICES)
def test_lion_follows_algorithm_2_of_its_paper_weight_by_weight(device):
    config = tdw.configure(optimizer="lion", lr=3e-3, weight_decay=0.7, lion_betas=(0.8, 0.95))
    beta1, beta2, decay = 0.8, 0.95, 0.7
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(203, generator=generator)
    theta, momentum = weights.tolist(), [0.0] * 203  # in float64
    weights = weights.to(device)
    slots = {"exp_avg": torch.zeros_like(weights)}
    assert OPTIMIZERS["lion"].slots == tuple(slots)
    for done in range(300):
        gradient = torch.randn(203, generator=generator) * (0 if done % 17 == 0 else 1)
        lr = config.lr * min(done / 10, 1)
        for i, g in enumerate(gradient.tolist()):
            c = beta1 * momentum[i] + (1 - beta1) * g
            theta[i] -= lr * ((c > 0) - (c < 0) + decay * theta[i])
            momentum[i] = beta2 * momentum[i] + (1 - beta2) * g
        step = torch.tensor(done + 1.0, device=device)
        OPTIMIZERS["lion"].update(weights, gradient.to(device), slots, step, lr, config)
        assert weights.tolist() == pytest.approx(theta, abs=1e-5), done
    assert slots["exp_avg"].tolist() == pytest.approx(momentum, abs=1e-6)


@pytest.mark.parametrize("network", ["transformer", "one-hot"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_does_not_load_the_compiler(optimizer, network, tmp_path):
    code = f"""
import sys, tdw
sizes = dict(p=7, d_model=8, heads=2, d_mlp=12, epochs=5, train_fraction=0.5, checkpoints="")
tdw.create("x.tdw", tdw.configure(**sizes, optimizer={optimizer!r}, network={network!r}))
tdw.train("x.tdw")
print(*({{"torch._dynamo", "torch._inductor", "sympy", "torch.fx.experimental.symbolic_shapes"}} & set(sys.modules)))
"""
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=tmp_path)
    assert loaded.split() == []
