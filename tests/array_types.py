"""Array annotations of the package, checked in every call in the test process; see `install`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import jaxtyping
from beartype import beartype

ROOT = Path(__file__).parents[1]
# Modules that take a project are left out, because tests of the page have a made-up one.
UNCHECKED = {"runner", "run_data", "summary", "__init__"}
# These are imported by `tdw --help` and must not import the libraries that their types come from: see `_check_light`.
LIGHT = {"kinds", "losses", "optimizers", "tasks"}


def install() -> None:
    """Check arrays by their annotations, in this process: before anything imports these modules."""
    folders = [ROOT / "tdw" / name for name in ("analyses", "network", "interchange")]
    files = [path for folder in folders for path in folder.rglob("*.py") if path.stem not in UNCHECKED | LIGHT]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    assert not set(names) & set(sys.modules), "imported too early"
    jaxtyping.install_import_hook(names, "beartype.beartype")
    _check_light()
    _check_methods(names={"Float32", "Float64", "Int64", "Num", "Shaped", "UInt32", "Arrays", "Series"})


def _check_methods(names: set[str]) -> None:
    """The same for the methods of a project that take or return arrays: the hook cannot check those that return `Self`."""
    from tdw.project.project import Project

    for name, item in list(vars(Project).items()):
        method = item.fget if isinstance(item, property) else item
        if isinstance(method, FunctionType) and any(text.split("[")[0] in names for text in _texts(method)):
            checked = _checked(method, sys.modules[Project.__module__])
            setattr(Project, name, property(checked) if isinstance(item, property) else checked)


def _texts(function: FunctionType) -> list[str]:
    return [text for text in function.__annotations__.values() if isinstance(text, str)]


def _check_light() -> None:
    """The same for modules that know the names in their annotations only while types are checked."""
    from tdw import tasks
    from tdw.network import losses, optimizers

    for name, function in list(vars(tasks).items()):
        if isinstance(function, FunctionType) and function.__module__ == tasks.__name__:
            setattr(tasks, name, _checked(function, tasks))
    for loss in losses.LOSSES.values():
        object.__setattr__(loss, "mean", _checked(loss.mean, losses))
    for optimizer in optimizers.OPTIMIZERS.values():
        object.__setattr__(optimizer, "update", _checked(optimizer.update, optimizers))


def _checked(function: Callable[..., Any], module: ModuleType) -> Callable[..., Any]:
    import numpy as np
    import torch
    from numpy.typing import ArrayLike

    from tdw.config import RunConfig, TaskConfig

    names = {"np": np, "Tensor": torch.Tensor, "ArrayLike": ArrayLike, "RunConfig": RunConfig, "TaskConfig": TaskConfig}
    names |= {name: getattr(jaxtyping, name) for name in ("Float", "Float32", "Float64", "Int64")}
    known = {**names, **vars(module)}
    function.__annotations__ = {
        name: eval(text, known) if isinstance(text, str) else text  # two objects may share a function
        for name, text in function.__annotations__.items()
    }
    return jaxtyping.jaxtyped(typechecker=beartype)(function)
