"""Convert weights of other programs to the layout of this program, and refuse networks that are not supported.

               TransformerLens and here       Nanda's grokking code
W_E            (tokens, d_model)              (d_model, tokens)
W_Q, W_K, W_V  (heads, d_model, d_head)       (heads, d_head, d_model)
W_O            (heads, d_head, d_model)       (d_model, heads * d_head)
W_in, W_out    (d_model, d_mlp) and back      (d_mlp, d_model) and back
W_pos, W_U     (tokens, d_model), (d_model, classes) in both

TransformerLens 4 has PyTorch's linear layers instead (`blocks.0.attn.q.weight`, see `from_linear`).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import numpy as np
from jaxtyping import Shaped

from tdw.errors import NotImportableError
from tdw.interchange import one_hot_layouts
from tdw.interchange.source_run import Raw
from tdw.network.segment import Arrays
from tdw.safe_text import cut

BLOCK = "blocks.0."
MATRICES = (
    "embed.W_E",
    "pos_embed.W_pos",
    *(f"{BLOCK}attn.W_{name}" for name in "QKVO"),
    f"{BLOCK}mlp.W_in",
    f"{BLOCK}mlp.W_out",
    "unembed.W_U",
)
MLP_BIASES = (f"{BLOCK}mlp.b_in", f"{BLOCK}mlp.b_out")
BIASES = (*MLP_BIASES, *one_hot_layouts.BIASES)
OTHER_BIASES = (*(f"{BLOCK}attn.b_{name}" for name in "QKVO"), "unembed.b_U")
BUFFERS = (f"{BLOCK}attn.mask", f"{BLOCK}attn.IGNORE")
SUPPORTED = {*MATRICES, *MLP_BIASES, *OTHER_BIASES, *BUFFERS}
WIDENED = ("float16", "bfloat16")  # every number of which is a float32
MOST_NUMBERS = 1 << 27  # elements of one tensor: eight times those of the largest network allowed here

Kind = dict[str, Any]  # the settings determined by the shapes of weights


def is_state(value: Any) -> bool:
    """Whether a value is a state dict: a dict of tensors by name."""
    import torch

    return (
        isinstance(value, dict)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(item, torch.Tensor) for name, item in value.items())
    )


def unwrapped(raw: Raw) -> tuple[Raw, str]:
    """Weights under their own names, and what stood before each of them: the name of a module around the network, such as
    `model.` or `_orig_mod.`, which `torch.compile`, data-parallel training and Lightning add.
    """
    ends: tuple[str, ...] = (MATRICES[0], "embed.weight")
    if not any("embed" in name for name in raw):
        ends = (one_hot_layouts.W_IN,)
    first = next(
        ((name, end) for name in raw for end in ends if name.endswith(f".{end}") and "pos_embed" not in name), None
    )
    prefix = "" if first is None else first[0].removesuffix(first[1])
    if any(end in raw for end in ends) or not prefix or not all(name.startswith(prefix) for name in raw):
        return raw, ""
    return {name.removeprefix(prefix): value for name, value in raw.items()}, prefix


def is_linear(raw: Raw) -> bool:
    """Whether weights have the names of TransformerLens 4."""
    return "embed.weight" in raw and f"{BLOCK}attn.q.weight" in raw


def from_linear(raw: Raw, heads: int) -> Raw:
    """Weights of TransformerLens 4 under its older names: (out, in) matrices of linear layers, with all heads in one.

    Raises ValueError if the heads do not divide the matrices.
    """
    names = {"embed.weight": "embed.W_E", "pos_embed.weight": "pos_embed.W_pos", "unembed.bias": "unembed.b_U"}
    found: dict[str, Any] = {}
    for name, value in raw.items():
        match = re.fullmatch(r"(blocks\.\d+\.)(attn|mlp)\.(q|k|v|o|in|out)\.(weight|bias)", name)
        if name in names:
            found[names[name]] = value
        elif name == "unembed.weight":
            found["unembed.W_U"] = value.T
        elif match is None:
            found[name] = value
        else:
            block, part, layer, kind = match.groups()
            short = layer.upper() if part == "attn" else layer
            short = f"{block}{part}.{'W' if kind == 'weight' else 'b'}_{short}"
            if part == "mlp":
                found[short] = value.T if kind == "weight" else value
            elif kind == "bias":
                found[short] = value if layer == "o" else value.reshape(heads, -1)
            elif layer == "o":
                found[short] = value.T.reshape(heads, -1, value.shape[0])
            else:
                found[short] = value.reshape(heads, -1, value.shape[1]).swapaxes(1, 2)
    return found


def superfluous(raw: Raw, supported: Collection[str]) -> dict[str, str]:
    """Tensors that are not needed, because they repeat a weight bit for bit or are biases of zero: name -> why."""
    found = {}
    for name, value in raw.items():
        if name in supported:
            continue
        array = _plain(value)
        if array is None:
            continue
        if re.search(r"(^|\.)(b|bias)(_\w+)?$", name) and not np.any(array):
            found[name] = "a bias of zero"
        elif (
            same := next((one for one in MATRICES if one in raw and _equal(array, _plain(raw[one]))), None)
        ) is not None:
            found[name] = f"equal to {same} bit for bit"
    return found


def _plain(value: Any) -> Shaped[np.ndarray, ...] | None:
    """A floating-point tensor as an array; None for other values."""
    if isinstance(value, np.ndarray):
        return value if value.dtype.kind == "f" else None
    if not getattr(value, "is_floating_point", bool)() or str(value.layout) != "torch.strided":
        return None
    return np.asarray(value.detach().float().numpy())


def _equal(one: Shaped[np.ndarray, ...], other: Shaped[np.ndarray, ...] | None) -> bool:
    return other is not None and one.shape == other.shape and one.tobytes() == other.tobytes()


def transposed(raw: Raw) -> bool:
    """Whether weights have the layout of Nanda's code."""
    return f"{BLOCK}attn.W_O" in raw and len(raw[f"{BLOCK}attn.W_O"].shape) == 2


def read(raw: Raw, what: str) -> tuple[Arrays, Kind]:
    """Weights under our names and in our layout, including MLP biases if present; and the settings given by their shapes.

    what: the name of the source in messages. Raises NotImportableError.
    """
    if one_hot_layouts.is_one_hot(raw):
        return one_hot_layouts.read(raw, what, _array)
    _check_names(raw, what)
    turned = transposed(raw)
    ranks = [2, 2, 3, 3, 3, 2 if turned else 3, 2, 2, 2]
    arrays: Arrays = {}
    for name, rank in zip(MATRICES, ranks, strict=True):
        arrays[name] = _array(raw[name], name, what, rank)
    for name in MLP_BIASES:
        if name in raw:
            arrays[name] = _array(raw[name], name, what, 1)
    for name in OTHER_BIASES:
        if name in raw and np.any(_array(raw[name], name, what)):
            raise NotImportableError(f"{what} cannot be imported: {name} is a nonzero bias, which is not supported.")
    mask = raw.get(BUFFERS[0])
    if mask is not None and not _is_causal(mask):
        raise NotImportableError(f"{what} cannot be imported: its attention mask is not causal.")
    if turned:
        arrays |= {name: turn(name, arrays[name], arrays) for name in arrays}
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}, _kind(arrays, what)


def turn(name: str, array: Shaped[np.ndarray, ...], raw: Raw) -> Shaped[np.ndarray, ...]:
    """A tensor in Nanda's layout, converted to ours. raw: weights with W_Q in Nanda's layout."""
    short = name.rsplit(".", 1)[-1]
    if short in {"W_E", "W_in", "W_out"}:
        return array.T
    if short in {"W_Q", "W_K", "W_V"}:
        return array.swapaxes(1, 2)
    if short == "W_O":
        heads = raw[f"{BLOCK}attn.W_Q"].shape[0]
        if array.shape[1] % heads:
            return array  # the shapes do not match, which is reported by `_kind`
        return array.reshape(array.shape[0], heads, -1).transpose(1, 2, 0)
    return array


def without_zero_biases(arrays: Arrays) -> Arrays:
    """The weights without MLP biases if these are all zero; TransformerLens stores zeros for untrained biases."""
    if has_biases(arrays):
        return arrays
    return {name: array for name, array in arrays.items() if name not in BIASES}


def has_biases(arrays: Arrays) -> bool:
    """Whether weights have biases of the MLP that are not all zero."""
    return any(np.any(arrays[name]) for name in BIASES if name in arrays)


def _check_names(raw: Raw, what: str) -> None:
    layers = {int(match[1]) for name in raw if (match := re.match(r"blocks\.(\d{1,4})\.", name))}
    if any(name not in raw for name in MATRICES[:1] + MATRICES[-1:]):
        shown = ", ".join(cut(str(name), 40) for name in list(raw)[:3])
        raise NotImportableError(
            f"{what} cannot be imported: it does not use TransformerLens' names for the weights of a transformer (got "
            f"{shown}, …)."
        )
    if any(re.search(r"(^|\.)(ln\w*|w_ln|b_ln)(\.|$)", name) for name in raw):
        raise NotImportableError(
            f"{what} cannot be imported: it is a transformer with LayerNorm, which is not supported."
        )
    if layers != {0}:
        raise NotImportableError(
            f"{what} cannot be imported: it is a transformer of {len(layers)} layers, but only one layer is supported."
        )
    dropped = superfluous(raw, SUPPORTED)
    for name in raw:
        if name not in SUPPORTED and name not in dropped:
            raise NotImportableError(f"{what} cannot be imported: its tensor {cut(name)} is not supported.")
    for name in MATRICES:
        if name not in raw:
            raise NotImportableError(f"{what} cannot be imported: its weight {name} is missing.")
    if sum(name in raw for name in MLP_BIASES) == 1:
        raise NotImportableError(f"{what} cannot be imported: it has only one of the two biases of the MLP.")


def _array(value: Any, name: str, what: str, rank: int | None = None) -> Shaped[np.ndarray, ...]:
    """A float32 tensor or array as a NumPy array. Raises NotImportableError for anything else."""
    shape, dtype = tuple(value.shape), str(value.dtype).removeprefix("torch.")
    if rank is not None and len(shape) != rank:
        raise NotImportableError(
            f"{what} cannot be imported: {name} must have {rank} {'axes' if rank > 1 else 'axis'} (got shape {shape})."
        )
    if int(np.prod([int(side) for side in shape], dtype=object)) > MOST_NUMBERS:
        raise NotImportableError(f"{what} cannot be imported: {name} is too large (shape {shape}).")
    if dtype not in {"float32", *WIDENED}:
        raise NotImportableError(
            f"{what} cannot be imported: {name} must be float32, float16 or bfloat16 (got {dtype})"
            + (". --dtype float32 rounds its values." if dtype == "float64" else ".")
        )
    if not isinstance(value, np.ndarray):
        if str(value.layout) != "torch.strided":
            raise NotImportableError(f"{what} cannot be imported: {name} must be a dense tensor (got {value.layout}).")
        value = value.detach().float().numpy()
    array: Shaped[np.ndarray, ...] = np.array(value, np.float32)
    if not np.isfinite(array).all():
        raise NotImportableError(f"{what} cannot be imported: {name} holds NaN or infinite values.")
    return array


def _is_causal(mask: Any) -> bool:
    values = np.asarray(mask.detach().numpy() if hasattr(mask, "detach") else mask)
    size = values.shape[0] if values.ndim == 2 else 0
    return 0 < size <= 4096 and values.shape == (size, size) and bool(np.array_equal(values != 0, np.tri(size) != 0))


def _kind(arrays: Arrays, what: str) -> Kind:
    """The settings given by the shapes of weights in our layout. Raises NotImportableError if the shapes contradict."""
    query, w_in = arrays[f"{BLOCK}attn.W_Q"], arrays[f"{BLOCK}mlp.W_in"]
    tokens, d_model = arrays["embed.W_E"].shape
    positions, outputs = arrays["pos_embed.W_pos"].shape[0], arrays["unembed.W_U"].shape[1]
    heads, _, d_head = query.shape
    into_head = (heads, d_model, d_head)
    wanted = {
        "pos_embed.W_pos": (positions, d_model),
        **{f"{BLOCK}attn.W_{name}": into_head for name in "QKV"},
        f"{BLOCK}attn.W_O": (heads, d_head, d_model),
        f"{BLOCK}mlp.W_in": (d_model, w_in.shape[1]),
        f"{BLOCK}mlp.W_out": (w_in.shape[1], d_model),
        "unembed.W_U": (d_model, outputs),
        MLP_BIASES[0]: (w_in.shape[1],),
        MLP_BIASES[1]: (d_model,),
    }
    for name, shape in wanted.items():
        if name in arrays and arrays[name].shape != shape:
            raise NotImportableError(
                f"{what} cannot be imported: {name} must have shape {shape}, by the shapes of the other weights (got "
                f"{arrays[name].shape}; all in the layout of TransformerLens)."
            )
    network = {3: "transformer", 2: "two-token"}.get(positions)
    p = tokens - 1 if network == "transformer" else tokens
    if network is None or outputs not in ({p, p + 1} if network == "transformer" else {p}):
        raise NotImportableError(
            f"{what} cannot be imported: it is a transformer for another task, with {positions} positions, {tokens} tokens "
            f"and {outputs} classes. Supported are the inputs 'a b =' and 'a b', with one class per operand."
        )
    return {
        "p": p,
        "network": network,
        "d_model": d_model,
        "heads": heads,
        "d_head": d_head,
        "d_mlp": w_in.shape[1],
        "biases": "mlp" if MLP_BIASES[0] in arrays else "none",
        "classes": "tokens" if outputs == p + 1 else "answers",
    }
