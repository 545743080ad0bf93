"""Errors and runs survive pickling, as pools of processes and notebooks do it."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
import shutil
from pathlib import Path
from typing import Any

import pytest

import tdw
from tdw.errors import ProjectError, SettingError, TdwError


def exceptions() -> list[type[Exception]]:
    """Every exception that the package defines."""
    found = set()
    for module in pkgutil.walk_packages(tdw.__path__, "tdw."):
        if module.name.endswith(("__main__", "sandbox_worker")):
            continue
        for _, item in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(item, Exception) and item.__module__.startswith("tdw."):
                found.add(item)
    return sorted(found, key=lambda item: item.__name__)


def made(kind: type[Exception]) -> Exception:
    """One with an argument for each parameter."""
    try:
        parameters = inspect.signature(kind.__init__).parameters.values()
    except ValueError:
        return kind("what happened")
    given = [one for one in parameters if one.name != "self" and one.kind == one.POSITIONAL_OR_KEYWORD]
    if not given or kind.__init__ in {Exception.__init__, OSError.__init__, ValueError.__init__}:
        return kind("what happened")
    arguments = []
    for one in given:
        text = str(one.annotation)
        value: Any = Path("run.tdw") if "Path" in text else 3 if text == "int" else "a text"
        arguments.append(["a", "b"] if "Iterable" in text or "Sequence" in text else value)
    return kind(*arguments)


@pytest.mark.parametrize("kind", exceptions(), ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling(kind):
    error = made(kind)
    error.add_note("a note")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        back = pickle.loads(pickle.dumps(error, protocol))
        assert (type(back), str(back), back.args) == (kind, str(error), error.args)
        assert vars(back) == vars(error)


def test_errors_as_they_are_raised(tmp_path):
    (tmp_path / "text.tdw").write_text("text")
    for cause in (
        lambda: tdw.configure(p=1),
        lambda: tdw.configure(nothing=1),
        lambda: tdw.open(tmp_path / "text.tdw"),
        lambda: tdw.configure(checkpoints="x"),
    ):
        with pytest.raises(TdwError) as raised:
            cause()
        back = pickle.loads(pickle.dumps(raised.value))
        assert (type(back), str(back)) == (type(raised.value), str(raised.value))
    assert isinstance(back, SettingError)
    assert back.setting == "checkpoints"


def test_a_run_is_pickled_by_its_path(tiny_run, tmp_path, monkeypatch):
    path = Path(shutil.copy(tiny_run, tmp_path / "run.tdw"))
    monkeypatch.chdir(tmp_path)
    with tdw.open("run.tdw") as run:
        pickled = pickle.dumps(run)
        loss = run.train_loss.tobytes()
    monkeypatch.chdir("/")
    with pickle.loads(pickled) as run:
        assert (type(run), run.path) == (tdw.Run, path)
        assert run.train_loss.tobytes() == loss
    tdw.create(path, tdw.configure(p=5, d_model=4, heads=1, d_mlp=4, epochs=2, checkpoints=""), overwrite=True)
    with pytest.raises(ProjectError, match=r"run\.tdw was replaced by another run: open it again"):
        pickle.loads(pickled)
