"""Write an imported run to a project file."""

from __future__ import annotations

from pathlib import Path

from tdw.interchange.plan import Plan
from tdw.interchange.weight_layouts import read, without_zero_biases
from tdw.project.writer import ProjectWriter
from tdw.store.atomic import new_file


def write(plan: Plan, path: Path, *, overwrite: bool) -> None:
    """Write the project file, complete or not at all. Raises AlreadyExistsError, CannotWriteError, NotImportableError."""
    epochs = [epoch for epoch, _ in plan.checkpoints]
    biased = plan.settings.biases == "mlp"
    with (
        new_file(path, overwrite=overwrite) as part,
        ProjectWriter.create_imported(
            part, plan.settings, epochs, plan.split, plan.imported, curves=tuple(plan.curves), known_as=path
        ) as writer,
    ):
        start = 0
        for epoch, checkpoint in plan.checkpoints:
            arrays, _ = read(checkpoint.load(), checkpoint.what)
            resumed = plan.state if plan.state is not None and plan.state.epoch == epoch else None
            weights = resumed.weights if resumed else arrays if biased else without_zero_biases(arrays)
            curves = {name: values[start : epoch + 1] for name, values in plan.curves.items()}
            writer.append_stored(curves, (epoch, weights), resumed)
            start = epoch + 1
        if start <= plan.settings.epochs:
            writer.append_stored({name: values[start:] for name, values in plan.curves.items()})
