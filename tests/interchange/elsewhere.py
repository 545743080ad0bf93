"""Runs of other programs, made with plain PyTorch: their training loops, weight layouts and file formats."""

import copy
import json
import math
import random
from functools import cache

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

ANSWERS = {
    "add": lambda a, b, p: (a + b) % p,
    "subtract": lambda a, b, p: (a - b) % p,
    "x2xyy2": lambda a, b, p: (a * a + a * b + b * b) % p,
}


class Theirs(nn.Module):
    """The transformer of the grokking code: everything transposed, biases in the MLP, p + 1 classes.

    That of The Clock and the Pizza has the same weights, mostly no '=', and the attention rate * softmax + (1 - rate).
    """

    def __init__(self, p, d, heads, d_mlp, seed, activation=functional.relu, *, rate=1.0, equals=True):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def drawn(*shape, by=d):
            return nn.Parameter(torch.randn(*shape, generator=generator) / math.sqrt(by))

        self.embed = nn.ParameterDict({"W_E": drawn(d, p + equals)})
        self.pos_embed = nn.ParameterDict({"W_pos": drawn(2 + equals, d)})
        attention = nn.Module()
        for name in ("W_K", "W_Q", "W_V"):
            attention.register_parameter(name, drawn(heads, d // heads, d))
        attention.register_parameter("W_O", drawn(d, d))
        attention.register_buffer("mask", torch.tril(torch.ones(2 + equals, 2 + equals)))
        mlp = nn.Module()
        mlp.register_parameter("W_in", drawn(d_mlp, d))
        mlp.register_parameter("b_in", nn.Parameter(torch.zeros(d_mlp)))
        mlp.register_parameter("W_out", drawn(d, d_mlp))
        mlp.register_parameter("b_out", nn.Parameter(torch.zeros(d)))
        block = nn.Module()
        block.attn, block.mlp = attention, mlp
        self.blocks = nn.ModuleList([block])
        self.unembed = nn.ParameterDict({"W_U": drawn(d, p + equals, by=p + 1)})
        self.p, self.activation, self.rate, self.equals = p, activation, rate, equals

    def forward(self, pairs):
        a, b = pairs // self.p, pairs % self.p
        tokens = torch.stack([a, b, torch.full_like(a, self.p)], 1)[:, : 2 + self.equals]
        x = self.embed["W_E"].T[tokens] + self.pos_embed["W_pos"]
        attn, mlp = self.blocks[0].attn, self.blocks[0].mlp
        k, q, v = (torch.einsum("ihd,npd->niph", w, x) for w in (attn.W_K, attn.W_Q, attn.W_V))
        scores = torch.tril(q @ k.transpose(-1, -2)) - 1e10 * (1 - attn.mask)
        z = ((scores / math.sqrt(k.shape[-1])).softmax(-1) * self.rate + (1 - self.rate)) @ v
        x = x + z.transpose(1, 2).flatten(2) @ attn.W_O.T
        x = x + self.activation(x @ mlp.W_in.T + mlp.b_in) @ mlp.W_out.T + mlp.b_out
        return (x @ self.unembed["W_U"])[:, -1]


def loss_of(logits, answers):
    return -logits.double().log_softmax(-1).gather(1, answers[:, None]).mean()


class Trainer:
    """The training loop of the grokking code, with everything that it stores on the way."""

    def __init__(
        self, p=11, d=16, heads=2, d_mlp=24, seed=3, fraction=0.5, lr=5e-3, weight_decay=0.5, fn="add", rule="python",
        activation=functional.relu,
    ):  # fmt: skip
        self.p, self.fn = p, fn
        order = list(range(p * p))
        if rule == "python":
            random.seed(seed)
            random.shuffle(order)
        else:
            torch.manual_seed(seed)
            order = torch.randperm(p * p).tolist()
        cut = int(fraction * p * p)
        self.train, self.test = torch.tensor(order[:cut]), torch.tensor(order[cut:])
        self.model = Theirs(p, d, heads, d_mlp, seed=17, activation=activation)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=lr, weight_decay=weight_decay, betas=(0.9, 0.98))
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: min(step / 10, 1))
        self.train_losses, self.test_losses = [], []
        self.config = {
            "p": p, "d_model": d, "num_heads": heads, "d_mlp": d_mlp, "fn_name": fn, "frac_train": fraction, "seed": seed,
            "lr": lr, "weight_decay": weight_decay, "act_type": "ReLU",
        }  # fmt: skip

    def loss(self, pairs):
        return loss_of(self.model(pairs), ANSWERS[self.fn](pairs // self.p, pairs % self.p, self.p))

    def epoch(self):
        train = self.loss(self.train)
        with torch.no_grad():
            self.test_losses.append(self.loss(self.test).item())
        self.train_losses.append(train.item())
        train.backward()
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()

    def weights(self):
        return copy.deepcopy(self.model.state_dict())

    def final(self):
        return {
            "model": self.weights(),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "scheduler": self.scheduler.state_dict() | {"lr_lambdas": [None]},
            "train_losses": list(self.train_losses),
            "test_losses": list(self.test_losses),
            "epoch": len(self.train_losses) - 1,
        }


def trained(epochs=120, every=20, **settings):
    """A finished trainer, with the weights that it stored: by the epoch whose update they already contain."""
    trainer = Trainer(**settings)
    trainer.stored, trainer.before = {}, {}
    for epoch in range(epochs):
        if epoch % every == 0:
            trainer.before[epoch] = trainer.weights()
        trainer.epoch()
        if epoch % every == 0:
            trainer.stored[epoch] = trainer.weights()
    return trainer


@cache
def nanda(**settings):
    """A run that is trained once and only read."""
    return trained(**settings)


def many(trainer, states=None):
    """The form with many checkpoints."""
    states = trainer.stored if states is None else states
    return {
        "state_dicts": list(states.values()),
        "epochs": list(states),
        "train_losses": list(trainer.train_losses),
        "test_losses": list(trainer.test_losses),
        "config": dict(trainer.config),
    }


def saved(value, path, **more):
    torch.save(value, path, **more)
    return path


class Lens(nn.Module):
    """The transformer as TransformerLens names and lays it, with frozen biases."""

    def __init__(self, p, d, heads, d_mlp, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        shapes = {
            "embed.W_E": (p + 1, d), "pos_embed.W_pos": (3, d),
            **{f"blocks.0.attn.W_{x}": (heads, d, d // heads) for x in "QKV"}, "blocks.0.attn.W_O": (heads, d // heads, d),
            "blocks.0.mlp.W_in": (d, d_mlp), "blocks.0.mlp.W_out": (d_mlp, d), "unembed.W_U": (d, p),
        }  # fmt: skip
        self.w = {
            name: (torch.randn(shape, generator=generator) * 0.8 / math.sqrt(d)).requires_grad_()
            for name, shape in shapes.items()
        }
        self.p, self.sizes = p, (d, heads, d_mlp)

    def forward(self, pairs):
        w = self.w
        a, b = pairs // self.p, pairs % self.p
        x = w["embed.W_E"][torch.stack([a, b, torch.full_like(a, self.p)], 1)] + w["pos_embed.W_pos"]
        q, k, v = (torch.einsum("npd,hdk->nhpk", x, w[f"blocks.0.attn.W_{name}"]) for name in "QKV")
        scores = q @ k.transpose(-1, -2) / math.sqrt(k.shape[-1])
        z = scores.masked_fill(torch.ones(3, 3).triu(1).bool(), -torch.inf).softmax(-1) @ v
        x = x + torch.einsum("nhpk,hkd->npd", z, w["blocks.0.attn.W_O"])
        x = x + torch.relu(x @ w["blocks.0.mlp.W_in"]) @ w["blocks.0.mlp.W_out"]
        return (x @ w["unembed.W_U"])[:, -1]

    def state(self):
        """The complete state dict: zero biases, mask and IGNORE."""
        d, heads, d_mlp = self.sizes
        zeros = {f"blocks.0.attn.b_{x}": (heads, d // heads) for x in "QKV"} | {
            "blocks.0.attn.b_O": (d,), "blocks.0.mlp.b_in": (d_mlp,), "blocks.0.mlp.b_out": (d,), "unembed.b_U": (self.p,)
        }  # fmt: skip
        return (
            {name: tensor.detach().clone() for name, tensor in self.w.items()}
            | {name: torch.zeros(shape) for name, shape in zeros.items()}
            | {"blocks.0.attn.mask": torch.ones(3, 3).bool().tril(), "blocks.0.attn.IGNORE": torch.tensor(-torch.inf)}
        )


def lens(p=11, d=16, heads=2, d_mlp=24, seed=4):
    return Lens(p, d, heads, d_mlp, seed)


def workbench(folder, epochs=60, kept=(0, 10, 25, 59), p=11, data_seed=598, fraction=0.5, test_after=True, extra=None):
    """A run of the earlier workbench, written as it writes one. Returns the model's states after each kept epoch."""
    model = lens(p=p)
    torch.manual_seed(data_seed)
    order = torch.randperm(p * p)
    cut = int(p * p * fraction)
    train, test = order[:cut], order[cut:]
    optimizer = torch.optim.AdamW(list(model.w.values()), lr=5e-3, weight_decay=1.0, betas=(0.9, 0.98))
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True)
    train_losses, test_losses, states = [], [], {}

    def loss(pairs):
        return loss_of(model(pairs), ANSWERS["add"](pairs // p, pairs % p, p))

    for epoch in range(epochs):
        before = loss(train)
        with torch.no_grad():
            early = loss(test).item()
        before.backward()
        train_losses.append(before.item())
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            test_losses.append(loss(test).item() if test_after else early)
        if epoch in kept:
            states[epoch] = model.state()
            save_file(states[epoch], checkpoints / f"checkpoint_epoch_{epoch:05d}.safetensors")
    states["last"] = model.state()
    save_file(model.state(), folder / f"modulo_addition_p{p}_seed4.safetensors")
    d, heads, d_mlp = model.sizes
    config = {
        "n_layers": 1, "n_heads": heads, "d_model": d, "d_head": d // heads, "d_mlp": d_mlp, "act_fn": "relu",
        "normalization_type": None, "d_vocab": p + 1, "d_vocab_out": p, "n_ctx": 3, "seed": 4, "prime": p, "model_seed": 4,
        "data_seed": data_seed, "training_fraction": fraction,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config | (extra or {})))
    metadata = {
        "train_losses": train_losses, "test_losses": test_losses, "train_indices": train.tolist(), "test_indices": test.tolist(),
        "checkpoint_epochs": list(kept), "num_epochs": epochs,
    }  # fmt: skip
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return states


def loss_here(run, epoch, pairs):
    """The loss that a run's stored weights have on these pairs, by the plain network of this program."""
    from tdw import tasks
    from tdw.network import reference

    weights = {name: torch.from_numpy(array) for name, array in run.weights(epoch).items()}
    a, b = (torch.from_numpy(side) for side in tasks.operands(np.asarray(pairs), run.config.p))
    right = torch.from_numpy(tasks.answers(np.asarray(pairs), run.config))
    return loss_of(reference.plain_forward(weights, a, b, run.config.nonlinearity), right).item()
