"""The import arrows, the README's promises, and what the repository must not hold."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tdw
from tdw.analyses import ANALYSES
from tdw.cli.commands import parser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


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
    """A file from elsewhere cannot do anything to a library that is not there."""
    assert "h5py" not in loaded_by(module)
    assert "h5py" in loaded_by("tdw.store.inspect_hdf5")


def test_the_readme_explains_every_command():
    commands = next(action for action in parser()._actions if action.choices and "train" in action.choices)
    for name in commands.choices:
        assert f"tdw {name}" in README, name
    for name in ANALYSES:
        assert name in README, name


def test_the_readme_shows_how_to_read_a_file_without_this_package():
    recipe = re.search(r"```python\n(import h5py.*?)```", README, re.DOTALL)
    assert recipe
    assert 'f["losses/train"][: f["commit"]["n_epochs"].max()]' in recipe[1]


def test_the_recipe_of_the_readme_runs(tiny_run):
    recipe = re.search(r"```python\n(import h5py.*?)```", README, re.DOTALL)[1]
    names = {}
    exec(recipe.replace('"run.tdw"', repr(str(tiny_run))), names)
    names["f"].close()
    with tdw.open(tiny_run) as run:
        assert (names["loss"] == run.train_loss).all()
        assert (names["weights"]["embed.W_E"].numpy() == run.weights(40)["embed.W_E"]).all()


def test_the_top_of_the_package_is_a_table_of_contents():
    assert {name for name in tdw.__all__ if getattr(tdw, name) is None} == set()
    assert set(tdw.__all__) <= set(dir(tdw))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        tdw.trian  # noqa: B018


def test_one_version():
    assert f'version = "{tdw.__version__}"' in (ROOT / "pyproject.toml").read_text()
