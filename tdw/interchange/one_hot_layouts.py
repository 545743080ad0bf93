"""Weights of MLPs on one-hot pairs in other programs' layouts, converted to that of this program.

            here            linear layers     one input matrix for a and b
mlp.W_in    (2 p, d_mlp)    (d_mlp, 2 p)      (d_mlp, p) or (p, d_mlp), applied to e_a + e_b
mlp.W_out   (d_mlp, p)      (p, d_mlp)        either
mlp.b_in, mlp.b_out, if they are not zero
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Shaped

from tdw.errors import NotImportableError
from tdw.interchange.source_run import Raw
from tdw.network.segment import Arrays
from tdw.safe_text import cut

W_IN, W_OUT = "mlp.W_in", "mlp.W_out"
BIASES = ("mlp.b_in", "mlp.b_out")
Array = Shaped[np.ndarray, "..."]


def is_one_hot(raw: Raw) -> bool:
    """Whether weights have the names of such an MLP."""
    return W_IN in raw and W_OUT in raw and not any("embed" in name for name in raw)


def is_tied(raw: Raw) -> bool:
    """Whether one input matrix is applied to both operands."""
    return is_one_hot(raw) and sorted(raw[W_IN].shape) == sorted(raw[W_OUT].shape)


def unused(raw: Raw) -> list[str]:
    """Tensors that are neither weights nor biases by their names, such as buffers."""
    return [
        name
        for name in raw
        if name not in {W_IN, W_OUT, *BIASES} and not re.match(r"(w|b|weight|bias)(_|$)", _last(name))
    ]


def read(raw: Raw, what: str, array: Callable[[Any, str, str, int | None], Array]) -> tuple[Arrays, dict[str, Any]]:
    """Weights in the layout of this program, and the settings given by their shapes.

    array: converts one tensor, see `weight_layouts`. Raises NotImportableError.
    """
    given: dict[str, Array] = {name: array(raw[name], name, what, 2) for name in (W_IN, W_OUT)}
    first, second = given[W_IN], given[W_OUT]
    p, hidden = _sizes(first.shape, second.shape, what)
    if second.shape != (hidden, p) or (p == hidden and first.shape == second.shape):
        second = second.T  # of a square matrix that does not tell: as linear layers have it
    if first.shape[0] not in (p, 2 * p) or (p == hidden and first.shape == (p, p)):
        first = first.T
    if len(first) == p:
        first = np.concatenate([first, first])
    arrays: Arrays = {W_IN: np.ascontiguousarray(first), W_OUT: np.ascontiguousarray(second)}
    for name, size in zip(BIASES, (hidden, p), strict=True):
        if name in raw:
            arrays[name] = array(raw[name], name, what, 1)
            if arrays[name].shape != (size,):
                raise NotImportableError(
                    f"{what} cannot be imported: {name} must have shape {(size,)}, by the shapes of the weights (got "
                    f"{arrays[name].shape})."
                )
    if len(arrays) == 3:
        raise NotImportableError(f"{what} cannot be imported: it has only one of the two biases of the MLP.")
    for name in raw:
        if name not in {W_IN, W_OUT, *BIASES, *unused(raw)}:
            raise NotImportableError(f"{what} cannot be imported: its tensor {cut(name)} is not supported.")
    kind = {
        "p": p,
        "network": "one-hot",
        "d_mlp": hidden,
        "biases": "mlp" if len(arrays) > 2 else "none",
        "classes": "answers",
    }
    return arrays, kind


def _sizes(first: tuple[int, ...], second: tuple[int, ...], what: str) -> tuple[int, int]:
    """p and d_mlp; of one input matrix, the smaller side is p. Raises NotImportableError."""
    for p, hidden in (sorted(second), sorted(second)[::-1]):
        if sorted(first) in (sorted((2 * p, hidden)), sorted((p, hidden))):
            return p, hidden
    raise NotImportableError(
        f"{what} cannot be imported: {W_IN} {first} and {W_OUT} {second} are not those of an MLP on one-hot pairs."
    )


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1].lower()
