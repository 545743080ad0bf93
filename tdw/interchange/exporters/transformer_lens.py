"""Export the weights of a run to TransformerLens: state dicts with exactly the names that its network expects.

    HookedTransformer(HookedTransformerConfig(n_layers=layers, n_heads=heads, d_model=d_model, d_head=d_head, d_mlp=d_mlp,
        act_fn=activation, normalization_type=None, d_vocab=p + 1, d_vocab_out=p, n_ctx=3)).load_state_dict(torch.load(file))

Biases that this program does not have are zero; `mask` (n_ctx, n_ctx) is the causal mask, `IGNORE` is minus infinity.

An export is complete or absent (`tdw.store.atomic_files`).
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from tdw.config import RunConfig
from tdw.errors import (
    NotApplicableError,
    UnknownNameError,
)
from tdw.network.segment import Arrays
from tdw.project.project import Project
from tdw.store.atomic import explained
from tdw.store.atomic_files import files_explained, new_files, refuse_target
from tdw.store.filesystem import SYSTEM

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
    """Export checkpoints of a run for another program. Returns the written files.

    out: a file (.pt, .pth or .safetensors) for one checkpoint, the last one unless `epoch` is given; or a folder, created
    if missing, with a file `epoch-00100.safetensors` for each checkpoint
    Raises UnknownNameError, NotApplicableError, CheckpointNotFoundError, AlreadyExistsError (unless `overwrite`),
    CannotWriteError, and what opening a run raises.
    """
    if form not in FORMS:
        raise UnknownNameError("export format", form, FORMS)
    out = Path(out)
    with Project.open(path) as project:
        if "embedding" not in project.config.network_kind.capabilities:
            raise NotApplicableError(
                project.path,
                "TransformerLens",
                "TransformerLens has no MLP on one-hot pairs.",
            )
        if project.config.activation == "quadratic":
            raise NotApplicableError(
                project.path, "TransformerLens", "TransformerLens has no quadratic activation function."
            )
        if project.config.attention_rate != 1:
            raise NotApplicableError(project.path, "TransformerLens", "TransformerLens has no attention rate.")
        stored = project.checkpoints
        if (epoch is not None and epoch not in stored) or not stored:
            raise project.no_checkpoint("any" if epoch is None else epoch)
        if out.suffix in SUFFIXES and not out.is_dir():
            targets = {stored[-1] if epoch is None else epoch: out}
        else:
            digits = max(5, len(str(stored[-1])))
            targets = {
                each: out / f"epoch-{each:0{digits}d}.safetensors" for each in stored if epoch is None or each == epoch
            }
        folder = next(iter(targets.values())).parent
        with files_explained(out, "exported"):
            for target in targets.values():
                refuse_target(target, project.path, overwrite=overwrite)
            with new_files(folder, overwrite=overwrite) as made:
                for each, target in targets.items():
                    _save(transformer_lens(project.weights(each), project.config), made / target.name)
        with explained(out):
            SYSTEM.sync_folder(folder)
            SYSTEM.sync_folder(folder.absolute().parent)
    return list(targets.values())


def transformer_lens(weights: Arrays, settings: RunConfig) -> dict[str, Shaped[np.ndarray, ...]]:
    """A complete state dict with the names, shapes and types of TransformerLens 2.18."""
    heads, d_head, d_model, positions = settings.heads, settings.d_head, settings.d_model, settings.positions
    zeros: dict[str, tuple[int, ...]] = {}
    buffers: dict[str, Shaped[np.ndarray, ...]] = {}
    for layer in range(sum(name.endswith(".attn.W_Q") for name in weights)):
        block = f"blocks.{layer}."
        zeros |= {f"{block}attn.b_{name}": (heads, d_head) for name in "QKV"} | {
            f"{block}attn.b_O": (d_model,),
            f"{block}mlp.b_in": (settings.d_mlp,),
            f"{block}mlp.b_out": (d_model,),
        }
        buffers |= {
            f"{block}attn.mask": np.tri(positions, dtype=bool),
            f"{block}attn.IGNORE": np.array(-np.inf, np.float32),
        }
    zeros["unembed.b_U"] = (settings.outputs,)
    return {name: np.zeros(shape, np.float32) for name, shape in zeros.items()} | weights | buffers


def _save(state: dict[str, Shaped[np.ndarray, ...]], target: Path) -> None:
    """Write a new file with these arrays, and fsync it."""
    state = {name: np.asarray(array, order="C") for name, array in state.items()}  # safetensors ignores strides
    if target.suffix == ".safetensors":
        from safetensors.numpy import save

        data = save(state)
    else:
        import torch

        stream = io.BytesIO()
        torch.save({name: torch.from_numpy(array) for name, array in state.items()}, stream)
        data = stream.getvalue()
    with target.open("xb") as file:
        file.write(data)
        file.flush()
        SYSTEM.fsync(file.fileno())
