"""Files that hold a state dict: `.safetensors`, or what `torch.save` wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tdw.interchange import sniff
from tdw.interchange.source_run import Raw
from tdw.interchange.weight_layouts import is_state
from tdw.safe_text import cut


def described(loaded: object) -> str:
    """What a PyTorch file with these contents looks like, if it has no supported form."""
    import torch

    if isinstance(loaded, dict):
        names = ", ".join(cut(str(name), 30) for name in list(loaded)[:6]) or "nothing"
        return f"a PyTorch file of another program: it contains {names}, but no weights or losses under a known name"
    if isinstance(loaded, list | tuple):
        return f"a PyTorch file with a list of {len(loaded)} items: for the curves of several runs, save each to a separate file"
    if isinstance(loaded, torch.Tensor):
        return f"a PyTorch file with a single tensor of shape {tuple(loaded.shape)}"
    return f"a PyTorch file with a value of type {type(loaded).__name__}"


def safetensors_of(path: Path) -> Callable[[], Raw]:
    """A function that reads the arrays of a safetensors file; it raises NotImportableError."""

    def load() -> Raw:
        from safetensors import SafetensorError, safe_open

        try:
            with sniff.named_in_utf8(path) as name, safe_open(name, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (SafetensorError, OSError, ValueError, TypeError, MemoryError) as error:
            why = "with a data type that NumPy does not support" if isinstance(error, TypeError) else "that is damaged"
            raise sniff.refused(path, f"a safetensors file {why}") from error

    return load


def state_of(file: Path) -> Callable[[], Raw]:
    """A function that reads the weights of a file; it raises NotImportableError."""

    def load() -> Raw:
        form = sniff.form_of(file)
        if form == "safetensors":
            return safetensors_of(file)()
        loaded = sniff.load_torch(file, form)
        if not is_state(loaded):
            raise sniff.refused(file, f"{described(loaded)}, while the other files are state dicts")
        return loaded

    return load
