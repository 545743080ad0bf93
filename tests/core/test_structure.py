"""The import arrows, the README's promises, and what the repository must not hold."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tdw
from tdw.analyses import ANALYSES
from tdw.commands import parser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Left to right: nothing imports to its right. Modules of one step may import each other.
FLOW = [
    {"errors", "text", "refusals", "stops"},
    {"private", "notes"},
    {"schedule"},
    {"config"},
    {"segment", "fourier"},
    {"tasks"},
    {"weights"},
    {"closed_form", "blobs", "model"},
    {"factored"},
    {"training", "store"},
    {"consistent"},
    {"project"},
    {"project_writer", "copying"},
    {"rescue"},
    {"analyses", "job"},
    {"interchange", "replay"},
    {"demo"},
    {"run"},
    {"recovery"},
    {"panels"},
    {"viewer"},
    {"app"},
    {"streams"},
    {"progress", "told"},
    {"comparison"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
STEP = {name: index for index, step in enumerate(FLOW) for name in step}


def part(path):
    return path.relative_to(ROOT / "tdw").parts[0].removesuffix(".py")


def imported(source):
    """Parts of the package that a source imports when it is loaded: not inside functions, not for types alone."""
    found = set()

    def visit(nodes):
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("tdw."))
            elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tdw":
                if node.module == "tdw":
                    found.update(alias.name for alias in node.names if alias.name in STEP)
                else:
                    found.add(node.module.split(".")[1])
            elif isinstance(node, (ast.Try, ast.With, ast.ClassDef)) or (
                isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test)
            ):
                visit(ast.iter_child_nodes(node))

    visit(ast.parse(source).body)
    return found


def against_the_flow(path, source):
    return sorted(name for name in imported(source) if STEP[name] > STEP[part(path)])


SOURCES = sorted(path for path in (ROOT / "tdw").rglob("*.py") if path != ROOT / "tdw" / "__init__.py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_imports_to_its_right(path):
    assert against_the_flow(path, path.read_text(encoding="utf-8")) == []


def test_that_check_can_fail():
    source = "from tdw import panels\nfrom tdw.app.server import serve\nfrom tdw import errors\n"
    assert against_the_flow(ROOT / "tdw" / "project.py", source) == ["app", "panels"]


def loaded_by(module):
    return subprocess.check_output(
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"], text=True
    ).split()


@pytest.mark.parametrize("module", ["tdw.project", "tdw.run", "tdw.panels", "tdw.viewer.page", "tdw.app.server"])
def test_looking_at_a_run_does_not_load_torch(module):
    assert "torch" not in loaded_by(module)


def test_that_torch_would_be_noticed():
    assert "torch" in loaded_by("tdw.training")


@pytest.mark.parametrize("module", ["tdw.run", "tdw.recovery", "tdw.app.server"])
def test_looking_at_a_run_does_not_load_hdf5(module):
    """A file from elsewhere cannot do anything to a library that is not there."""
    assert "h5py" not in loaded_by(module)
    assert "h5py" in loaded_by("tdw.store.walk")


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
