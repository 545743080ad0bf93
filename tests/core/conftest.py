"""Small runs for the tests of everything but file, viewer and window."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file

import tdw


@pytest.fixture(scope="session")
def reference_run():
    """Figures of a p = 29 run by TransformerLens 2.18 and an earlier workbench's formulas: 40 epochs of losses, and
    weights with some arrays at epoch 2500. Rows of the embedding norms are in our order, cosine before sine.
    """
    return load_file(Path(__file__).parent / "fixtures" / "reference_p29.safetensors")


@pytest.fixture
def tiny():
    """Settings of a run that takes a blink."""
    return tdw.configure(
        p=7, d_model=8, heads=2, d_mlp=12, epochs=40, train_fraction=0.5, evaluate_every=4, checkpoints="0:40:5"
    )


@pytest.fixture
def tiny_run(tiny, tmp_path):
    """The path of a finished tiny run, not analyzed."""
    path = tmp_path / "tiny.tdw"
    tdw.create(path, tiny)
    tdw.train(path)
    return path
