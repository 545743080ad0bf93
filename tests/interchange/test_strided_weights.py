"""Weights in any order in memory: what safetensors stores of strided arrays is not always what they hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tdw
from tdw.network import reference
from tdw.project import serialization
from tests.interchange import elsewhere


def fortran(array: np.ndarray) -> np.ndarray:
    return np.asfortranarray(array)


def transposed(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.T).T


def stepped(array: np.ndarray) -> np.ndarray:
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def reversed_(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array[..., ::-1])[..., ::-1]


ORDERS = pytest.mark.parametrize("order", [fortran, transposed, stepped, reversed_])
Order = Callable[[np.ndarray], np.ndarray]


def arranged(tensor: torch.Tensor, order: Order) -> torch.Tensor:
    """The same values with these strides; torch has no negative ones."""
    values = order(tensor.numpy())
    return torch.from_numpy(values if min(values.strides, default=0) >= 0 else values.copy(order="F"))


@ORDERS
def test_weights_given_to_create_are_stored_as_they_are(tiny_run, tmp_path, order: Order) -> None:
    with tdw.open(tiny_run) as run:
        tiny = run.config
    plain = {name: tensor.numpy() for name, tensor in reference.initial_weights(tiny).items()}
    given = {name: order(array) for name, array in plain.items()}
    assert any(not array.flags.c_contiguous for array in given.values())
    for number, weights in enumerate(
        (given, {name: arranged(torch.from_numpy(a), order) for name, a in plain.items()})
    ):
        path = tmp_path / f"{number}.tdw"
        tdw.create(path, tiny, weights=weights)
        tdw.train(path, stop=lambda: True)
        with tdw.open(path) as run:
            assert all(np.array_equal(run.weights(0)[name], array) for name, array in plain.items())


@ORDERS
def test_packed_arrays_are_read_back(order: Order) -> None:
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {name: random.normal(size=(3, 4, 5)).astype(np.float32) for name in "ab"}
    back = serialization.unpack(serialization.pack({name: order(array) for name, array in arrays.items()}, 3))
    assert all(np.array_equal(back[name], array) for name, array in arrays.items())


@ORDERS
def test_imported_weights_are_those_of_the_file(tmp_path, order: Order) -> None:
    state = elsewhere.lens().state()
    given = {name: arranged(t, order) if t.is_floating_point() and t.ndim else t for name, t in state.items()}
    assert any(not tensor.is_contiguous() for tensor in given.values())
    torch.save(given, tmp_path / "theirs.pt")
    tdw.import_run(tmp_path / "theirs.pt", tmp_path / "run.tdw")
    with tdw.open(tmp_path / "run.tdw") as run:
        for name, array in run.weights(1).items():
            assert np.array_equal(array, state[name].numpy()), name


@ORDERS
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_exported_weights_are_those_of_the_run(tiny_run, tmp_path, monkeypatch, order: Order, suffix: str) -> None:
    """Whatever the order is in which a run gives them."""
    plain = tdw.Run.weights

    def weights(self: tdw.Run, epoch: int) -> Any:
        return {name: order(array) for name, array in plain(self, epoch).items()}

    monkeypatch.setattr("tdw.project.project.Project.weights", weights)
    path = tmp_path / f"out.{suffix}"
    tdw.export_run(tiny_run, path, epoch=40)
    found = load_file(path) if suffix == "safetensors" else torch.load(path, weights_only=True)
    with tdw.open(tiny_run) as run:
        for name, array in plain(run, 40).items():
            assert np.array_equal(found[name].numpy(), array), name
