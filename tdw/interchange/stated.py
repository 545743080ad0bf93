"""What a configuration of another program states of a run: inside a file of weights, or in a file next to it.

Files beside weights are JSON or YAML. They belong to a file of weights if the rest of their name is the same without words
like `config` and `model` (`config_18c9.json`, `model_18c9.pt`), or if their name is only such words (`config.yaml`,
`hparams.yaml`). Sections are searched too, and the `value` that W&B puts around each setting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tdw.errors import NotImportableError
from tdw.interchange.sniff import refused
from tdw.interchange.source_run import Rule, SourceRun, integer, number
from tdw.safe_text import cut

TASKS = {
    "add": "add",
    "subtract": "subtract",
    "x2xyy2": "x2+xy+y2",
    "multiply": "multiply",
    "x2y2": "x2+y2",
}
FORMULAS = {"+": "add", "-": "subtract", "*": "multiply"}  # of x[0] and x[1]
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "quadratic": "quadratic", "square": "quadratic"}

# Sizes, which the shapes of weights show better, and settings; by our names, with the names that programs use.
CLAIMS = {
    "p": ("p", "prime", "C", "modulus"),
    "d_model": ("d_model",),
    "heads": ("num_heads", "n_heads", "heads"),
    "d_head": ("d_head",),
    "d_mlp": ("d_mlp",),
}
SETTINGS = {
    "lr": ("lr", "learning_rate"),
    "weight_decay": ("weight_decay", "wd"),
    "attention_rate": ("attn_coeff", "attention_rate", "attn_rate"),
}
ACTIVATION = ("act_type", "act_fn", "activation")
SEED = ("data_seed", "seed")
FRACTION = ("frac_train", "training_fraction", "train_fraction", "frac")
EPOCHS = ("num_epochs", "n_epochs", "max_epochs", "epochs")
LAYERS = ("n_layers", "num_layers")
KNOWN = {
    *(name for names in (*CLAIMS.values(), *SETTINGS.values()) for name in names),
    *(*ACTIVATION, *SEED, *FRACTION, *LAYERS, *EPOCHS),
    *("fn_name", "funcs", "betas", "model_seed", "normalization_type", "diff_vocab"),
}

GENERIC = frozenset(
    [
        "config",
        "configs",
        "conf",
        "model",
        "hparams",
        "hyperparameters",
        "args",
        "params",
        "settings",
        "weights",
        "state",
        "dict",
    ]
)
SUFFIXES = (".json", ".yaml", ".yml")
MOST_BYTES = 1 << 20
MOST_VALUES = 10_000  # of a file; aliases can make a short YAML file long


def read_settings(run: SourceRun, config: Mapping[str, Any], path: Path, rules: tuple[str, ...]) -> None:
    """Add what a configuration states to a run. What the run has already stays.

    rules: how the program may draw a split from its seed, see `source_run.RULES`.
    Raises NotImportableError for runs that are not supported, and for values of a wrong type.
    """
    what = str(path)
    _refuse_unsupported(config, path)
    task = config.get("fn_name")
    if isinstance(task, str):
        if task == "rand":
            raise refused(path, "a run on random answers, which are not in the file")
        if task not in TASKS:
            raise refused(path, f"a run on an unsupported task ({cut(task, 40)})")
        run.settings.setdefault("task", TASKS[task])
    formula = _formula(config.get("funcs"))
    if formula is not None:
        run.settings.setdefault("task", formula)
    act = _first(config, ACTIVATION)
    if isinstance(act, str):
        if act.lower() not in ACTIVATIONS:
            raise refused(path, f"a run with an unsupported activation function ({cut(act, 40)})")
        run.settings.setdefault("activation", ACTIVATIONS[act.lower()])
    for ours, names in SETTINGS.items():
        for theirs in names:
            if config.get(theirs) is not None:
                run.settings.setdefault(ours, number(config[theirs], theirs, what))
    if isinstance(config.get("betas"), list | tuple):
        run.settings.setdefault("betas", tuple(number(item, "betas", what) for item in config["betas"]))
    if config.get("model_seed") is not None:
        run.settings.setdefault("model_seed", integer(config["model_seed"], "model_seed", what))
    for ours, names in CLAIMS.items():
        for theirs in names:
            if config.get(theirs) is not None:
                run.claims.setdefault(ours, integer(config[theirs], theirs, what))
    planned = _first(config, EPOCHS)
    if run.planned is None and isinstance(planned, int | float) and float(planned).is_integer():
        run.planned = int(planned)
    seed, fraction = _first(config, SEED), _first(config, FRACTION)
    if seed is not None and fraction is not None and not run.rules:
        drawn, share = integer(seed, "seed", what), number(fraction, "training fraction", what)
        if 0 < share < 1 and drawn >= 0:
            run.rules = [Rule(name, drawn, share) for name in rules]


def _refuse_unsupported(config: Mapping[str, Any], path: Path) -> None:
    layers, normal = _first(config, LAYERS), config.get("normalization_type")
    if layers not in (None, 1):
        raise refused(path, f"a run of a transformer of {cut(str(layers), 20)} layers, but only one layer is supported")
    if normal is not None:
        raise refused(
            path, f"a run of a transformer with normalization ({cut(str(normal), 20)}), which is not supported"
        )
    if config.get("diff_vocab"):
        raise refused(path, "a run whose operands have separate vocabularies (diff_vocab), which is not supported")


def _first(config: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((config[name] for name in names if config.get(name) is not None), None)


def _formula(text: Any) -> str | None:
    """The task of a formula such as `lambda x: (x[0]+x[1])%59`."""
    match = re.fullmatch(r"lambda x:\(x\[0\]([-+*])x\[1\]\)%\w+", re.sub(r"\s(?!x:)", "", str(text)))
    return None if match is None else FORMULAS[match[1]]


def read_beside(run: SourceRun, source: Path) -> None:
    """Add what the configuration next to a file or folder of weights states, and say so.

    Raises NotImportableError if it states that the run is not supported.
    """
    for path in _beside(source):
        known = dict(run.settings), dict(run.claims), list(run.rules)
        if usable := add_settings(run, _stated(path), path):
            if (run.settings, run.claims, run.rules) != known:
                run.inferred.append(f"{path.name}, next to the weights, states {usable}")
            return


def add_settings(run: SourceRun, stated: Mapping[str, Any], path: Path) -> str:
    """Add the known settings of a free configuration to a run. Returns them as text; "" if there are none.

    Raises NotImportableError if it states that the run is not supported.
    """
    usable: dict[str, Any] = {}
    for name, given in stated.items():
        value = _plain(given)
        if name not in KNOWN or value is None:
            continue
        try:
            read_settings(SourceRun(""), {name: value}, path, ())
        except NotImportableError:
            if name in {"fn_name", "funcs", *ACTIVATION, *LAYERS, "normalization_type", "diff_vocab"}:
                raise
            run.contradicted.append(f"{name} in {path.name} is not a number and was ignored")
        else:
            usable[name] = value
    read_settings(run, usable, path, ("torch", "python"))
    return ", ".join(f"{name} {cut(str(value), 40)}" for name, value in usable.items())


def _beside(source: Path) -> list[Path]:
    """The files that may describe a file or folder of weights, the one named like it first."""
    folder = source if source.is_dir() else source.parent
    folders = [folder, folder.parent] if folder.name in {"checkpoints", "ckpt", "weights"} else [folder]
    own = _words(source.stem if source.is_file() else "")
    found: list[Path] = []
    for place in folders:
        files = sorted(item for item in place.iterdir() if item.suffix in SUFFIXES and item.is_file())
        found += [item for item in files if own and _words(item.stem) == own]
        found += [item for item in files if not _words(item.stem)]
    return found


def _words(stem: str) -> frozenset[str]:
    return frozenset(word for word in re.split(r"[\W_]+", stem.lower()) if word and word not in GENERIC)


def _stated(path: Path) -> dict[str, Any]:
    """The known settings in a JSON or YAML file; nothing if it is something else."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return {}
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            loaded = json.loads(text)
        else:
            import yaml

            try:
                loaded = yaml.safe_load(text)
            except yaml.YAMLError:
                return {}
    except (OSError, ValueError, RecursionError):
        return {}
    found: dict[str, Any] = {}
    for count, (name, value) in enumerate(leaves(loaded)):
        if count > MOST_VALUES:
            return {}
        if name in KNOWN and value is not None:
            found.setdefault(name, value)
    return found


def leaves(value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Names and values in a mapping and its sections, outer ones first."""
    if not isinstance(value, dict) or depth > 8:
        return
    sections = []
    for name, item in value.items():
        if isinstance(item, dict) and set(item) <= {"value", "desc"} and "value" in item:
            yield str(name), item["value"]  # as W&B writes it
        elif isinstance(item, dict):
            sections.append(item)
        else:
            yield str(name), item
    for section in sections:
        yield from leaves(section, depth + 1)


def _plain(value: Any) -> Any:
    """A number for text that is one, which 1e-3 is in YAML."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", value, re.IGNORECASE):
        try:
            return float(value)
        except ValueError:
            return value
    return value
