"""Training compared with a plain loop, with results of other programs, and with itself."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

import tdw
from tdw import tasks
from tdw.network import reference, training
from tdw.network.losses import cross_entropy


def run_of(config, *, weights=None, split=None, **more):
    state = training.start(config, weights or reference.initial_weights(config))
    return list(training.train(config, state, split or tasks.draw_split(config), more.pop("keep", [0]), **more))


def series(segments, name):
    return np.concatenate([getattr(segment, name) for segment in segments])


# The losses, plainly written. `stable` is compared with float64, which it equals as far as float64 is precise.
IN_ARITHMETIC = {
    "stable": lambda logits, answers: functional.cross_entropy(logits.double(), answers),
    "float64": lambda logits, answers: functional.cross_entropy(logits.double(), answers),
    "float32": functional.cross_entropy,
}


@pytest.mark.parametrize(
    "given",
    [
        {"p": 12},
        {"p": 13},
        {"p": 13, "loss": "float32", "weight_decay": 0.0, "classes": "tokens"},
        {"p": 13, "loss": "float64", "network": "two-token"},
        {"p": 12, "loss": "float32", "network": "deep-transformer"},
        {"p": 13, "biases": "mlp", "classes": "tokens", "activation": "gelu", "warmup": 10, "task": "subtract"},
        {"p": 13, "network": "two-token", "d_head": 5, "task": "multiply"},
        {"p": 12, "network": "two-token", "activation": "quadratic", "biases": "mlp", "lr": 1e-3, "task": "x2+y2"},
        {"p": 13, "network": "two-token", "attention_rate": 0.0, "task": "add"},
        {"p": 13, "activation": "gelu", "attention_rate": 0.35},
        {"p": 13, "network": "one-hot", "activation": "quadratic", "task": "x2+xy+y2"},
        {"p": 12, "network": "one-hot", "biases": "mlp", "task": "random"},
    ],
    ids=lambda given: "-".join(map(str, given.values())),
)
def test_thirty_epochs_equal_a_plainly_written_loop(given):
    sizes = {"d_model": 24, "heads": 3, "d_mlp": 32, "epochs": 30, "lr": 3e-3, "train_fraction": 0.6}
    config = tdw.configure(**{**sizes, "evaluate_every": 1, "checkpoints": "", **given})
    p = config.p
    split = tasks.draw_split(config)
    segments = run_of(config, split=split)

    weights = {name: w.clone().requires_grad_() for name, w in reference.initial_weights(config).items()}
    optimizer = torch.optim.AdamW(weights.values(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)
    losses = []
    for epoch in range(31):
        found = []
        for side in split:
            a, b = (torch.from_numpy(x) for x in tasks.operands(side, p))
            answers = torch.from_numpy(tasks.answers(side, config))
            logits = reference.plain_forward(weights, a, b, config.nonlinearity)
            found += [IN_ARITHMETIC[config.loss](logits, answers), (logits.argmax(1) == answers).double().mean()]
        losses.append([x.item() for x in found])
        if epoch < 30:
            optimizer.zero_grad()
            found[0].backward()
            if config.warmup:
                optimizer.param_groups[0]["lr"] = config.lr * min(epoch / config.warmup, 1)
            optimizer.step()
    expected = np.array(losses).T
    for row, (name, tolerance) in zip(
        expected, [("train_loss", 2e-5), ("train_accuracy", 0), ("test_loss", 2e-5), ("test_accuracy", 0)], strict=True
    ):
        assert np.allclose(series(segments, name), row, rtol=tolerance, atol=1e-9), name
    for name, weight in segments[-1].state.weights.items():
        assert np.abs(weight - weights[name].detach().numpy()).max() < 2e-4, name


def test_the_first_forty_epochs_repeat_the_reference(reference_run):
    config = tdw.configure(
        p=29, d_model=32, heads=4, d_mlp=64, lr=3e-3, epochs=40, model_seed=7, data_seed=11, train_fraction=0.7,
        evaluate_every=1, checkpoints="",
    )  # fmt: skip
    segments = run_of(config)
    for name in ("train_loss", "test_loss"):
        assert np.abs(series(segments, name) / reference_run[name] - 1).max() < 1e-4, name
    for name in ("train_accuracy", "test_accuracy"):
        assert np.allclose(series(segments, name), reference_run[name], atol=1e-6), name


def test_series_belong_to_the_weights_of_their_epoch():
    config = tdw.configure(
        p=7, d_model=8, heads=2, d_mlp=8, epochs=25, train_fraction=0.5, evaluate_every=10, checkpoints=""
    )
    split = tasks.draw_split(config)
    segments = run_of(config, split=split, keep=[0, 7, 25], seconds=1e9)
    assert [segment.epochs for segment in segments] == [range(1), range(1, 8), range(8, 26)]
    assert all(segment.keep for segment in segments)
    test = series(segments, "test_loss")
    assert np.flatnonzero(~np.isnan(test)).tolist() == [0, 7, 10, 20, 25]
    for segment in segments:
        weights = {name: torch.from_numpy(w) for name, w in segment.state.weights.items()}
        for name, side in (("train_loss", split.train), ("test_loss", split.test)):
            a, b = (torch.from_numpy(x) for x in tasks.operands(side, 7))
            loss = cross_entropy(
                reference.plain_forward(weights, a, b, config.nonlinearity),
                torch.from_numpy(tasks.answers(side, config)),
            )
            assert getattr(segment, name)[-1] == pytest.approx(loss.item(), rel=1e-5)


def test_resuming_from_any_epoch_equals_uninterrupted_training():
    config = tdw.configure(p=7, d_model=8, heads=2, d_mlp=8, epochs=60, train_fraction=0.5, checkpoints="")
    split = tasks.draw_split(config)
    whole = run_of(config, split=split, keep=[0, 1, 23, 60])
    for segment in whole[:-1]:
        again = list(training.train(config, segment.state, split, [60]))
        assert again[0].train_loss[0] == segment.train_loss[-1]
        first, second = whole[-1].state, again[-1].state
        assert first.slots.keys() == second.slots.keys()
        for part in ("weights", *first.slots):
            ours, theirs = (state.slots.get(part, state.weights) for state in (first, second))
            assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
        expected = series(whole, "train_loss")[segment.state.epoch :]
        assert np.array_equal(series(again, "train_loss"), expected)


def test_stopping_hands_over_what_is_done():
    config = tdw.configure(p=7, d_model=8, heads=2, d_mlp=8, epochs=1000, train_fraction=0.5, checkpoints="")
    asked = iter([False] * 5 + [True])
    segments = run_of(config, stop=lambda: next(asked), seconds=1e9)
    assert segments[-1].epochs[-1] == 5


def test_the_same_bits_on_every_run_and_any_number_of_threads():
    code = """
import tdw, hashlib, torch
from tdw import tasks
from tdw.network import reference as model, training
config = tdw.configure(p=31, d_model=64, heads=4, d_mlp=256, epochs=25, checkpoints="", threads={threads})
last = list(training.train(config, training.start(config, model.initial_weights(config)), tasks.draw_split(config), []))[-1]
print(hashlib.sha256(b"".join(w.tobytes() for w in last.state.weights.values())).hexdigest())
"""

    def digest(threads):
        return subprocess.check_output([sys.executable, "-c", code.format(threads=threads)], text=True)

    first = digest(2)
    assert len(first.strip()) == 2 * hashlib.sha256().digest_size
    assert digest(2) == first
    if torch.backends.mkl.is_available() and (os.cpu_count() or 1) > 1:
        assert digest(1) == first


def test_a_missing_device_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(tdw.TdwError, match=r"--device must be auto or cpu on this machine: .* \(got cuda\)"):
        run_of(tdw.configure(p=5, d_model=4, heads=1, d_mlp=4, epochs=2, checkpoints="", device="cuda"))


def test_the_number_of_threads_follows_the_size_of_a_run(monkeypatch):
    monkeypatch.setattr(training, "_AVAILABLE_THREADS", 4)
    sizes = {"demo": {"p": 59, "d_mlp": 256, "train_fraction": 0.5}, "two": {"p": 83, "d_mlp": 256}, "paper": {}}
    chosen = {name: training.threads_of(tdw.configure(**given)) for name, given in sizes.items()}
    assert chosen == {"demo": 1, "two": 2, "paper": 4}
    assert training.threads_of(tdw.configure(threads=3)) == 3
    deep = tdw.configure(network="deep-transformer", p=113)  # whose sums depend on it
    assert [training.threads_of(deep, recorded) for recorded in (None, 1, 3, 64)] == [1, 1, 3, 4]
