"""Pairs computed in blocks: which sizes are, the bits of a run that goes on, rounding, and the memory that it takes."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

import tdw
from tdw import tasks
from tdw.network import factored, reference, training

SIZES = {"p": 13, "d_model": 16, "heads": 2, "d_mlp": 24, "train_fraction": 0.6}


def test_the_size_of_a_run_alone_decides_and_common_sizes_are_one_block():
    whole = [{}, {"train_fraction": 0.1}, {"train_fraction": 0.9}, {"p": 59}, {"p": 59, "d_mlp": 2048}]
    assert [training.pairs_at_once(tdw.configure(**given)) for given in whole] == [0] * len(whole)
    large = [{"p": 199}, {"p": 401}, {"d_mlp": 16_000}, {"p": 401, "threads": 7}]
    assert [training.pairs_at_once(tdw.configure(**given)) for given in large] == [10922, 8738, 1810, 8738]
    assert training.pairs_at_once(tdw.configure(p=401, network="deep-transformer")) == 0
    assert training.pairs_at_once(tdw.configure(p=401), 0) == 0


@pytest.mark.parametrize("at_once", [0, 10])
def test_a_run_goes_on_in_the_blocks_that_trained_it_before(tmp_path, monkeypatch, at_once):
    chosen = training.pairs_at_once
    config = tdw.configure(**SIZES, epochs=30, checkpoints="0:30:10")

    def blocks_by_size(pairs):
        monkeypatch.setattr(
            training, "pairs_at_once", lambda c, kept=None: chosen(c, kept) if kept is not None else pairs
        )

    blocks_by_size(at_once)
    tdw.create(tmp_path / "whole.tdw", config)
    assert tdw.train(tmp_path / "whole.tdw")
    tdw.create(tmp_path / "parts.tdw", config)
    polls = iter([False] * 17 + [True])
    assert not tdw.train(tmp_path / "parts.tdw", stop=lambda: next(polls))
    blocks_by_size(7 if at_once == 0 else 0)  # as if a later version chose otherwise
    assert tdw.train(tmp_path / "parts.tdw")
    tdw.branch(
        tmp_path / "parts.tdw", tmp_path / "branch.tdw", 10
    )  # by a replay, which is compared with what is stored
    assert tdw.train(tmp_path / "branch.tdw")
    with tdw.open(tmp_path / "whole.tdw") as whole:
        assert ("pairs_at_once" in whole.environments[-1].to_json()) == bool(at_once)
        for name in ("parts", "branch"):
            with tdw.open(tmp_path / f"{name}.tdw") as other:
                assert [item.pairs_at_once for item in other.environments] == [at_once]
                for curve in ("losses/train", "losses/test"):
                    assert np.array_equal(whole.series(curve), other.series(curve), equal_nan=True)
                ours, theirs = whole.weights(30), other.weights(30)
                assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


def test_blocks_round_no_worse_than_all_pairs_at_once():
    config = tdw.configure(p=59, train_fraction=0.5)
    weights = {name: w.requires_grad_() for name, w in reference.initial_weights(config).items()}
    exact = {name: w.detach().double().requires_grad_() for name, w in weights.items()}
    side = tasks.draw_split(config).train
    pairs = [torch.from_numpy(x) for x in (*tasks.operands(side, 59), tasks.answers(side, config))]
    loss = functional.cross_entropy(reference.plain_forward(exact, *pairs[:2], config.nonlinearity), pairs[2])
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(exact.values()))])
    errors = []
    for at_once in (0, 100):
        tables = factored.tables(weights, 1.0)
        _, found = factored.Pairs(*pairs, config=config, at_once=at_once).forward_and_backward(tables.detached())
        got = torch.autograd.grad(tables.tensors(), list(weights.values()), found.tensors())
        errors.append(float((torch.cat([g.flatten() for g in got]) - expected).norm() / expected.norm()))
    assert errors[0] < 1e-5
    assert errors[1] < 1.5 * errors[0]


MEASURE = r"""
import json, re, sys, h5py, numpy, safetensors.numpy, torch, tdw
from tdw import tasks
from tdw.network import reference, training
peak = lambda: 1024 * int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
def run(**given):
    config = tdw.configure(epochs=2, checkpoints="", threads=1, **given)
    state, split = training.start(config, reference.initial_weights(config)), tasks.draw_split(config)
    before = peak()
    list(training.train(config, state, split, []))
    return peak() - before, training.memory(config)
run(p=13, d_mlp=32)
print(json.dumps(run(p=199, d_mlp=512)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_a_large_run_takes_no_more_memory_than_is_told():
    took, told = json.loads(subprocess.check_output([sys.executable, "-c", MEASURE], text=True))
    assert took < told
    assert (
        told < 140e6
    )  # one array with a row for each pair would take 122 MB, and training all pairs at once took 258 MB
