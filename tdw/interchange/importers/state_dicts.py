"""State dicts of TransformerLens, `.pt`, `.pth` or `.safetensors`: one, or a folder of them; and folders of `.pth` files
as Nanda's code writes them while it trains (`init.pth`, `100.pth`, …, `final.pth`).

A single state dict says nothing but the weights; the epochs of a folder's files are the numbers in their names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tdw.errors import NotImportableError
from tdw.interchange import sniff
from tdw.interchange.importers import nanda
from tdw.interchange.source_run import Foreign, Piece, Raw
from tdw.interchange.weight_layouts import is_state, transposed
from tdw.safe_text import cut

SUFFIXES = (".pt", ".pth", ".safetensors")


def read_file(path: Path) -> Foreign:
    """A file of weights or losses, whatever its form. Raises NotImportableError."""
    form = sniff.form_of(path)
    if form == "safetensors":
        load = safetensors_of(path)
        return _single(path, load(), load)
    loaded = sniff.load_torch(path, form)
    if is_state(loaded):
        return _single(path, loaded, lambda: loaded)
    found = nanda.read(loaded, path)
    if found is None:
        raise sniff.refused(path, described(loaded))
    return found


def described(loaded: object) -> str:
    """What a value that a PyTorch file holds looks like, where it is none of the forms."""
    import torch

    if isinstance(loaded, dict):
        names = ", ".join(cut(str(name), 30) for name in list(loaded)[:6]) or "nothing"
        return f"a PyTorch file of another program: it holds {names}, and neither weights nor losses under a name that is known"
    if isinstance(loaded, list | tuple):
        return (
            f"a PyTorch file with a list of {len(loaded)} things: perhaps the curves of several runs, of which each needs a "
            "file of its own"
        )
    if isinstance(loaded, torch.Tensor):
        return f"a PyTorch file with a single tensor of shape {tuple(loaded.shape)}"
    return f"a PyTorch file with a {type(loaded).__name__} alone"


def _single(path: Path, raw: Raw, load: Callable[[], Raw]) -> Foreign:
    named = re.fullmatch(r"(?:.*(?:epoch|step|checkpoint)[_-]?)?(\d{1,8})", path.stem)
    found = Foreign("a state dict in Nanda's layout" if transposed(raw) else "a TransformerLens state dict")
    found.likely_rule = "python" if transposed(raw) else "torch"
    found.pieces = [Piece(int(named[1]) if named else None, load, str(path))]
    if named:
        found.inferred.append(f"the weights are those of epoch {int(named[1])}, by the file's name")
    return found


def safetensors_of(path: Path) -> Callable[[], Raw]:
    """A function that reads the arrays of a safetensors file. It raises NotImportableError."""

    def load() -> Raw:
        from safetensors import SafetensorError, safe_open

        try:
            with sniff.named_in_utf8(path) as name, safe_open(name, framework="numpy") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        except (SafetensorError, OSError, ValueError, TypeError, MemoryError) as error:
            why = "tensors of a type that NumPy lacks (bfloat16?)" if isinstance(error, TypeError) else "a damaged one"
            raise sniff.refused(path, f"a safetensors file, but {why}") from error

    return load


def read_folder(path: Path) -> Foreign:
    """A folder of state dicts, or of the files that Nanda's code writes. Raises NotImportableError."""
    files = sorted(item for item in path.iterdir() if item.suffix in SUFFIXES and item.is_file())
    if not files:
        raise sniff.refused(path, "a folder without a run: no .pt, .pth or .safetensors file is in it")
    first = sniff.form_of(files[0])
    loaded = None if first == "safetensors" else sniff.load_torch(files[0], first)
    if loaded is not None and not is_state(loaded):
        return _nanda_folder(path, files)
    found = Foreign("a folder of TransformerLens state dicts", likely_rule="torch")
    labeled: dict[int, Path] = {}
    for file in files:
        numbers = re.findall(r"\d+", file.stem)
        if not numbers:
            if len(files) == 1:
                return read_file(file)
            raise NotImportableError(
                f"{path} cannot be imported: the name of {file.name} says no epoch, as those of the other files in this folder do: "
                "take it away, or import it alone."
            )
        label = int(numbers[-1][-12:])
        if label in labeled:
            raise NotImportableError(
                f"{path} cannot be imported: {labeled[label].name} and {file.name} both say that they are of epoch {label}."
            )
        labeled[label] = file
    found.pieces = [Piece(label, state_of(file), str(file)) for label, file in sorted(labeled.items())]
    found.inferred.append("the epochs of the checkpoints are the numbers in the files' names")
    return found


def state_of(file: Path) -> Callable[[], Raw]:
    """A function that reads the weights of a file. It raises NotImportableError."""

    def load() -> Raw:
        form = sniff.form_of(file)
        if form == "safetensors":
            return safetensors_of(file)()
        loaded = sniff.load_torch(file, form)
        if not is_state(loaded):
            raise sniff.refused(file, f"no state dict as its neighbors are, but {described(loaded)}")
        return loaded

    return load


def _nanda_folder(path: Path, files: list[Path]) -> Foreign:
    found = Foreign("a folder of Nanda's grokking code", late=1)
    pieces: dict[int, Piece] = {}
    single: dict[str, dict[int, float]] = {"train": {}, "test": {}}
    for file in files:
        part = nanda.read(sniff.load_torch(file, sniff.form_of(file)), file)
        if part is None or len(part.pieces) != 1:
            raise sniff.refused(file, "no file with one set of weights, as its neighbors are")
        piece = part.pieces[0]
        label = -1 if piece.label is None and file.stem == "init" else piece.label
        if label is None or (label in pieces and part.optimizer is None):
            raise NotImportableError(
                f"{path} cannot be imported: {file.name} says no epoch, or one that another file has."
            )
        pieces[label] = Piece(label, _weights_in(file), str(file))
        found.pairs = found.pairs or part.pairs
        found.settings |= part.settings
        found.claims |= part.claims
        found.rules = found.rules or part.rules
        for side, curve in (("train", part.train), ("test", part.test)):
            if curve is not None:
                if np.isfinite(curve).sum() > 1:
                    setattr(found, side, curve)
                single[side] |= {int(at): float(curve[at]) for at in np.flatnonzero(~np.isnan(curve))[-1:]}
        if part.optimizer is not None:
            found.optimizer, found.scheduler = part.optimizer, part.scheduler
    for side, values in single.items():
        if getattr(found, side) is None and values:
            curve = np.full(max(values) + 1, np.nan)
            curve[list(values)] = list(values.values())
            setattr(found, side, curve)
    found.pieces = [pieces[label] for label in sorted(pieces)]
    return found


def _weights_in(file: Path) -> Callable[[], Raw]:
    def load() -> Raw:
        part = nanda.read(sniff.load_torch(file, sniff.form_of(file)), file)
        assert part is not None, "it was read before"
        return part.pieces[0].load()

    return load
