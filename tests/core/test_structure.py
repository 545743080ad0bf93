"""Which modules load heavy libraries, the public functions, and the version."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

import tdw
from tdw.analyses import fourier
from tdw.cli.parser import parser
from tdw.errors import AlreadyExistsError, UnknownNameError
from tdw.network import reference, transformer
from tdw.network.kinds import Nonlinearity
from tdw.project.records import Notes

ROOT = Path(__file__).parents[2]


def loaded_by(module):
    return subprocess.check_output(
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"], text=True
    ).split()


@pytest.mark.parametrize(
    "module", ["tdw.project.project", "tdw.run", "tdw.panels", "tdw.viewer.page", "tdw.app.server"]
)
def test_looking_at_a_run_does_not_load_torch(module):
    assert "torch" not in loaded_by(module)


def test_that_torch_would_be_noticed():
    assert "torch" in loaded_by("tdw.network.training")


@pytest.mark.parametrize("module", ["tdw.run", "tdw.operations.recover", "tdw.app.server"])
def test_looking_at_a_run_does_not_load_hdf5(module):
    """Hostile files cannot exploit a library that is not loaded."""
    assert "h5py" not in loaded_by(module)
    assert "h5py" in loaded_by("tdw.store.inspect_hdf5")


def test_the_top_of_the_package_is_a_table_of_contents():
    assert {name for name in tdw.__all__ if getattr(tdw, name) is None} == set()
    assert set(tdw.__all__) <= set(dir(tdw))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        tdw.trian  # noqa: B018


def test_every_command_has_a_function():
    """Of the same name; `import` and `export`, where one is a keyword, end in `_run`; `open` and `demo` open the window."""
    commands = next(action for action in parser()._actions if action.choices and "train" in action.choices).choices
    functions = {{"import": "import_run", "export": "export_run"}.get(name, name) for name in commands} - {"demo"}
    assert functions <= set(tdw.__all__)


def test_functions_of_commands_without_a_terminal(tmp_path):
    path = tmp_path / "run.tdw"
    sizes = {"p": 7, "d_model": 8, "heads": 2, "d_mlp": 8, "epochs": 20, "checkpoints": "0:20:10"}
    assert tdw.new(path, **sizes).p == 7
    with pytest.raises(AlreadyExistsError):
        tdw.new(path, **sizes)
    with pytest.raises(UnknownNameError, match="epochs"):
        tdw.new(tmp_path / "other.tdw", epoch=3)
    assert tdw.note(path, title="A title", tags=["x", "y"]) == Notes(title="A title", tags=["x", "y"])
    assert tdw.note(path, tags=[]) == Notes(title="A title")
    assert tdw.info(path)["title"] == "A title"
    assert tdw.verify(path) == []
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    assert tdw.verify(path) != []


def test_shapes_of_analyses_are_checked_in_tests():
    square, oblong = np.zeros((3, 3, 1)), np.zeros((2, 3, 1))
    assert fourier.energy(square) == 0
    with pytest.raises(jaxtyping.TypeCheckError):
        fourier.energy(oblong)
    with pytest.raises(jaxtyping.TypeCheckError):
        fourier.energy(square[0])


def test_shapes_of_networks_are_checked_in_tests():
    to_a, to_b = transformer.attention_pattern(np.zeros((2, 1, 3)))
    assert np.allclose(to_a + to_b, 2 / 3)
    with pytest.raises(jaxtyping.TypeCheckError):
        transformer.attention_pattern(np.zeros((2, 3)))
    weights = reference.initial_weights(tdw.configure(p=3, d_model=4, heads=1, d_mlp=4, train_fraction=0.5))
    pairs = torch.arange(3)
    assert reference.plain_forward(weights, pairs, pairs, Nonlinearity()).shape == (3, 3)
    with pytest.raises(jaxtyping.TypeCheckError):
        reference.plain_forward(weights, pairs, pairs[:2], Nonlinearity())


def test_one_version():
    """Packaging and the citation take the version from the package; the changelog has a section for it."""
    assert importlib.metadata.version("tdw") == tdw.__version__
    assert f"\nversion: {tdw.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {tdw.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
