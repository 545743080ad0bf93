"""A run's weights for TransformerLens: state dicts that its network loads with nothing missing and nothing too much.

    HookedTransformer(HookedTransformerConfig(n_layers=1, n_heads=heads, d_model=d_model, d_head=d_head, d_mlp=d_mlp,
        act_fn="relu", normalization_type=None, d_vocab=p + 1, d_vocab_out=p, n_ctx=3)).load_state_dict(torch.load(file))

Biases that this program lacks are zeros; `mask` (n_ctx, n_ctx) is the causal one, `IGNORE` a single minus infinity.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from tdw.config import RunConfig
from tdw.errors import AlreadyExists, CannotWrite, CheckpointNotFound, NotApplicable, UnknownName
from tdw.interchange.layouts import BLOCK
from tdw.project import Project
from tdw.segment import Arrays

FORMS = ("transformer-lens",)
SUFFIXES = (".pt", ".pth", ".safetensors")


def export_run(
    path: str | Path,
    out: str | Path,
    *,
    form: str = "transformer-lens",
    epoch: int | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a run's checkpoints for another program; the files that were written.

    out: a file (.pt, .pth or .safetensors) for one checkpoint, the last unless `epoch` says another; else a folder, made
    where there is none, with a file `epoch-00100.safetensors` for each. Raises NotApplicable, CheckpointNotFound,
    AlreadyExists (unless `overwrite`), CannotWrite and what opening a run raises.
    """
    if form not in FORMS:
        raise UnknownName("form to export to", form, FORMS)
    out = Path(out)
    with Project.open(path) as project:
        if project.config.network == "one-hot":
            raise NotApplicable(
                project.path,
                "TransformerLens",
                "it is an MLP on one-hot pairs, and TransformerLens has no such network.",
            )
        if project.config.activation == "quadratic":
            raise NotApplicable(
                project.path, "TransformerLens", "its activation is the square, which TransformerLens does not have."
            )
        stored = project.checkpoints
        if (epoch is not None and epoch not in stored) or not stored:
            raise CheckpointNotFound(project.path, epoch if epoch is not None else "any", stored)
        if out.suffix in SUFFIXES and not out.is_dir():
            targets = {stored[-1] if epoch is None else epoch: out}
        else:
            digits = max(5, len(str(stored[-1])))
            targets = {
                each: out / f"epoch-{each:0{digits}d}.safetensors" for each in stored if epoch is None or each == epoch
            }
        for target in targets.values():
            if os.path.lexists(target) and not overwrite:
                raise AlreadyExists(
                    f"{target} is there already and was left as it is: choose another name, or --force to replace it."
                )
            if os.path.lexists(target) and target.samefile(project.path):
                raise AlreadyExists(f"{target} is the run itself: choose another name.")
        try:
            for each, target in targets.items():
                target.parent.mkdir(exist_ok=True)
                _save(transformer_lens(project.weights(each), project.config), target)
        except OSError as error:
            raise CannotWrite(f"{out} cannot be written: {error.strerror or error}.") from error
    return list(targets.values())


def transformer_lens(weights: Arrays, settings: RunConfig) -> dict[str, np.ndarray[Any, Any]]:
    """A complete state dict: names, shapes and types as TransformerLens 2.18 has them."""
    heads, d_head, d_model, positions = settings.heads, settings.d_head, settings.d_model, settings.positions
    zeros = {f"{BLOCK}attn.b_{name}": (heads, d_head) for name in "QKV"} | {
        f"{BLOCK}attn.b_O": (d_model,),
        f"{BLOCK}mlp.b_in": (settings.d_mlp,),
        f"{BLOCK}mlp.b_out": (d_model,),
        "unembed.b_U": (settings.outputs,),
    }
    buffers = {
        f"{BLOCK}attn.mask": np.tri(positions, dtype=bool),
        f"{BLOCK}attn.IGNORE": np.array(-np.inf, np.float32),
    }
    return {name: np.zeros(shape, np.float32) for name, shape in zeros.items()} | weights | buffers


def _save(state: dict[str, np.ndarray[Any, Any]], target: Path) -> None:
    """A file with these arrays, whole or not at all."""
    beside = target.with_name(f"{target.name}.part")
    try:
        if target.suffix == ".safetensors":
            from safetensors.numpy import save_file

            save_file(state, beside)
        else:
            import torch

            torch.save({name: torch.from_numpy(array) for name, array in state.items()}, beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
