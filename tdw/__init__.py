"""Training Dynamics Workbench: train small networks that grok, keep each run in one file, look at all of it at once.

    import tdw
    tdw.create("run.tdw", tdw.configure(p=59, d_model=64, d_mlp=256, epochs=3000, lr=2e-3, train_fraction=0.5))
    tdw.train("run.tdw")
    tdw.analyze("run.tdw")
    run = tdw.open("run.tdw")
    run.train_loss, run.checkpoints, run.weights(3000)["embed.W_E"], run.figure("loss", epoch=3000)

Nothing here prints, and every error that a user can act on is a `tdw.TdwError`. Heavy libraries are imported when they
are first needed: reading a file never needs torch.
"""

from __future__ import annotations

import importlib
import os

# Two switches of the numerical libraries, which read them once, when they are loaded.
# Intel's may split a sum over as many parts as there are threads; told so, it adds in one order whatever their number.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
# GNU's threads spin while they wait for each other; on cores that other programs use too, an epoch then took ten times
# as long. Waiting briefly costs nothing where the cores are free.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

TYPE_CHECKING = False  # the module `typing` takes longer to import than this one
if TYPE_CHECKING:
    from typing import Any

    from tdw.analyses.engine.runner import analyze
    from tdw.config import RunConfig, configure
    from tdw.errors import TdwError
    from tdw.interchange.exporters.transformer_lens import export_run
    from tdw.interchange.pipeline import import_run
    from tdw.operations.branch import branch
    from tdw.operations.compare import compare
    from tdw.operations.copy import copy
    from tdw.operations.create import create
    from tdw.operations.densify import densify
    from tdw.operations.recover import recover
    from tdw.operations.train import train
    from tdw.project.project import Project
    from tdw.run import Run, open  # noqa: A004 - `tdw.open` reads as it should

__version__ = "0.2.0"

_WHERE = {
    "Project": "tdw.project.project",
    "Run": "tdw.run",
    "RunConfig": "tdw.config",
    "TdwError": "tdw.errors",
    "analyze": "tdw.analyses.engine.runner",
    "branch": "tdw.operations.branch",
    "compare": "tdw.operations.compare",
    "configure": "tdw.config",
    "copy": "tdw.operations.copy",
    "create": "tdw.operations.create",
    "densify": "tdw.operations.densify",
    "export_run": "tdw.interchange.exporters.transformer_lens",
    "import_run": "tdw.interchange.pipeline",
    "open": "tdw.run",
    "recover": "tdw.operations.recover",
    "train": "tdw.operations.train",
}
__all__ = [
    "Project",
    "Run",
    "RunConfig",
    "TdwError",
    "analyze",
    "branch",
    "compare",
    "configure",
    "copy",
    "create",
    "densify",
    "export_run",
    "import_run",
    "open",
    "recover",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'tdw' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
