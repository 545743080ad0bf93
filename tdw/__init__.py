"""Training Dynamics Workbench: train small networks that grok, keep each run in one file, and look at everything in it.

    import tdw
    tdw.create("run.tdw", tdw.configure(p=59, d_model=64, d_mlp=256, epochs=3000, lr=2e-3, train_fraction=0.5))
    tdw.train("run.tdw")
    tdw.analyze("run.tdw")
    run = tdw.open("run.tdw")
    run.train_loss, run.checkpoints, run.weights(3000)["embed.W_E"], run.figure("loss", epoch=3000)

Nothing here prints, and every error the user can act on is a `tdw.TdwError`. Heavy libraries are imported on first use;
reading a file does not import torch.
"""

from __future__ import annotations

import importlib
import os

# Settings of numerical libraries, which read them when they are loaded.
# MKL may split a sum by the number of threads; with this it adds in one order, independent of the number of threads.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
# Threads of GNU OpenMP spin while they wait for each other, which made an epoch take ten times as long on busy cores. A
# short spin costs nothing on idle ones.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

TYPE_CHECKING = False  # importing `typing` takes longer than importing this module
if TYPE_CHECKING:
    from typing import Any

    from tdw.analyses.engine.runner import analyze
    from tdw.config import RunConfig, configure
    from tdw.counterfactual.dose import dose
    from tdw.errors import TdwError
    from tdw.files.rename import rename
    from tdw.files.reveal import reveal
    from tdw.files.trash import delete, empty_trash, restore, trash
    from tdw.interchange.exporters.transformer_lens import export_run
    from tdw.interchange.pipeline import import_run
    from tdw.operations.branch import branch
    from tdw.operations.compare import compare
    from tdw.operations.copy import copy
    from tdw.operations.create import create
    from tdw.operations.densify import densify
    from tdw.operations.figure import figure
    from tdw.operations.info import info
    from tdw.operations.new import new
    from tdw.operations.note import note
    from tdw.operations.recover import recover
    from tdw.operations.train import train
    from tdw.operations.verify import verify
    from tdw.project.project import Project
    from tdw.run import Run, open  # noqa: A004 - used as `tdw.open`
    from tdw.statistics.collection import runs
    from tdw.statistics.forecast import forecast
    from tdw.sweeps.plan import plan_sweep
    from tdw.sweeps.work import sweep, work

__version__ = "0.2.0"

_MODULE_OF = {
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
    "delete": "tdw.files.trash",
    "densify": "tdw.operations.densify",
    "dose": "tdw.counterfactual.dose",
    "empty_trash": "tdw.files.trash",
    "export_run": "tdw.interchange.exporters.transformer_lens",
    "forecast": "tdw.statistics.forecast",
    "figure": "tdw.operations.figure",
    "import_run": "tdw.interchange.pipeline",
    "info": "tdw.operations.info",
    "new": "tdw.operations.new",
    "note": "tdw.operations.note",
    "open": "tdw.run",
    "plan_sweep": "tdw.sweeps.plan",
    "recover": "tdw.operations.recover",
    "rename": "tdw.files.rename",
    "restore": "tdw.files.trash",
    "reveal": "tdw.files.reveal",
    "runs": "tdw.statistics.collection",
    "sweep": "tdw.sweeps.work",
    "train": "tdw.operations.train",
    "trash": "tdw.files.trash",
    "verify": "tdw.operations.verify",
    "work": "tdw.sweeps.work",
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
    "delete",
    "densify",
    "dose",
    "empty_trash",
    "export_run",
    "figure",
    "forecast",
    "import_run",
    "info",
    "new",
    "note",
    "open",
    "plan_sweep",
    "recover",
    "rename",
    "restore",
    "reveal",
    "runs",
    "sweep",
    "train",
    "trash",
    "verify",
    "work",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'tdw' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
