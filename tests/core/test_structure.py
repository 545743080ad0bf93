"""The import arrows, the README's promises, and what the repository must not hold."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import tdw

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
    """A file from elsewhere cannot do anything to a library that is not there."""
    assert "h5py" not in loaded_by(module)
    assert "h5py" in loaded_by("tdw.store.inspect_hdf5")


def test_the_top_of_the_package_is_a_table_of_contents():
    assert {name for name in tdw.__all__ if getattr(tdw, name) is None} == set()
    assert set(tdw.__all__) <= set(dir(tdw))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        tdw.trian  # noqa: B018


def test_one_version():
    """Packaging and the citation take the version from the package; the changelog has a section for it."""
    assert importlib.metadata.version("tdw") == tdw.__version__
    assert f"\nversion: {tdw.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {tdw.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
