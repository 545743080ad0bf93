"""The settings of a run, declared once.

Each field of these dataclasses is a command-line flag, a field of the *New run* form, a key of the stored JSON, a help
text and its limits. Defaults and limits are not repeated anywhere else in the package.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Any

from tdw import schedule
from tdw.errors import SettingError, UnknownNameError
from tdw.network import parameters
from tdw.network.kinds import NETWORKS, Network, NetworkSettings, Nonlinearity
from tdw.network.losses import LOSSES, Loss
from tdw.network.optimizers import OPTIMIZERS, Optimizer, OptimizerSettings
from tdw.registry import Registry
from tdw.setting import Setting, as_text, declared, setting, value_of
from tdw.tasks import TASKS, Task

ACTIVATIONS = ("relu", "gelu", "quadratic")
BIASES = ("none", "mlp")
CLASSES = ("answers", "tokens")
LEAVE_OUT = "leave it out"  # what to do with a setting that does not apply; a form has another way
NOTHING = "none"
DEVICES = ("auto", "cpu", "cuda")
#: Settings that may change in an existing run: its length, future checkpoints, and where it is trained.
CHANGEABLE = ("epochs", "checkpoints", "device", "threads")


SEEDS = (0, 2**63 - 1)


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """The task: the pairs, their answers, and the train/test split."""

    task: str = setting(
        "add",
        "operation on a and b, modulo p; random: random answers, as a memorization control",
        choices=tuple(TASKS),
    )
    p: int = setting(113, "modulus: operands and answers are 0 .. p-1", within=(2, 1_000))
    data_seed: int = setting(598, "seed of the train/test split", within=SEEDS)
    train_fraction: float = setting(0.3, "training fraction of the p*p pairs", within=(0, 1), exclusive=True)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(NetworkSettings):
    """The network: its kind, its sizes and the seed of its initial weights."""

    network: str = setting(
        "transformer",
        "architecture: one layer on tokens 'a b =' or 'a b', a one-hot MLP, or several layers",
        choices=tuple(NETWORKS),
    )
    d_model: int = setting(
        128, "width of the residual stream; a multiple of heads unless d_head is given", within=(1, 4_096)
    )
    heads: int = setting(4, "attention heads", within=(1, 64))
    d_head: int = setting(0, "width of a head; 0: d_model / heads", within=(0, 4_096))
    d_mlp: int = setting(512, "neurons in the MLP", within=(1, 16_384))
    activation: str = setting("relu", "activation function", choices=ACTIVATIONS)
    biases: str = setting("none", "which biases are trained", choices=BIASES)
    classes: str = setting("answers", "output classes: the p answers, or '=' as well", choices=CLASSES)
    model_seed: int = setting(999, "seed of the initial weights", within=SEEDS)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(OptimizerSettings):
    """Full-batch training: the optimizer, what is recorded, and the device."""

    epochs: int = setting(25_000, "optimizer updates to apply", within=(1, 10_000_000))
    optimizer: str = setting("adamw", "optimizer", choices=tuple(OPTIMIZERS), implied=True)
    loss: str = setting(
        "stable",
        "arithmetic of the cross-entropy: stable keeps the precision of tiny losses; float32 and float64 are PyTorch's",
        choices=tuple(LOSSES),
        implied=True,
    )
    lr: float = setting(1e-3, "learning rate", within=(0, 10), exclusive=True)
    warmup: int = setting(0, "updates over which the learning rate rises from 0", within=(0, 10_000_000))
    weight_decay: float = setting(1.0, "weight decay: decoupled (AdamW) or L2 (SGD)", within=(0, 1_000))
    freeze: str = setting(
        NOTHING, "weights that training does not change, such as W_E,W_pos; none, or all", implied=True
    )
    checkpoints: str = setting("paper", f"checkpoint epochs, comma-separated: {schedule.FORMS}")
    evaluate_every: int = setting(10, "epochs between evaluations on the test pairs", within=(1, 10_000_000))
    device: str = setting(
        "auto", "device to train on; auto is the CPU, whose results are reproducible", choices=DEVICES
    )
    threads: int = setting(0, "CPU threads for training; 0: as many as its size can use", within=(0, 1_024))


@dataclass(frozen=True, kw_only=True)
class RunConfig(TaskConfig, ModelConfig, TrainingConfig):
    """All settings of a run, named like the flags. Use `configure` to create one with its values checked."""

    @property
    def task_kind(self) -> Task:
        """The task."""
        return TASKS[self.task]

    @property
    def network_kind(self) -> Network:
        """The kind of network."""
        return NETWORKS[self.network]

    @property
    def optimizer_kind(self) -> Optimizer:
        """The optimizer."""
        return OPTIMIZERS[self.optimizer]

    @property
    def loss_kind(self) -> Loss:
        """The loss function."""
        return LOSSES[self.loss]

    @property
    def frozen(self) -> list[str]:
        """The names of the weights that training does not change, in the order of `network.parameters.shapes`."""
        return [] if self.freeze == NOTHING else self.freeze.split(",")

    @property
    def nonlinearity(self) -> Nonlinearity:
        """What the network computes, apart from its weights."""
        return Nonlinearity(self.activation, self.attention_rate)

    @property
    def order(self) -> int:
        """Order of the cyclic group whose frequencies are analyzed: p, or p - 1 for products and quotients modulo a
        prime, where every operand except 0 is a power of a primitive root.
        """
        return self.task_kind.group.order(self.p)

    @property
    def frequencies(self) -> int:
        """K = order // 2: the number of frequencies of functions on that group, without the constant."""
        return self.order // 2

    @property
    def outputs(self) -> int:
        """Number of output classes; the first p are the answers."""
        return self.p + 1 if self.classes == "tokens" else self.p

    @property
    def positions(self) -> int:
        """Number of tokens in the sequence; 0 for a network that does not read one."""
        return len(self.network_kind.tokens)

    @property
    def train_pairs(self) -> int:
        """Number of training pairs."""
        return int(self.train_fraction * self.p**2)

    def to_json(self) -> dict[str, Any]:
        """The settings that apply, as plain JSON values, in declaration order."""
        stored = asdict(self) | {item.name: list(value) for item, value in self.items() if item.type is tuple}
        return {
            item.name: stored[item.name] for item, value in self.items() if not (item.implied and value == item.default)
        }

    def items(self) -> Iterator[tuple[Setting, Any]]:
        """The settings that apply to this run, with their values."""
        for item in settings():
            if not item.kinds or getattr(self, item.chooser) in item.kinds:
                yield item, getattr(self, item.name)


# Settings that select a kind, and the registries they select from. A kind may have settings of its own.
CHOOSERS: dict[str, Registry[Any]] = {"network": NETWORKS, "optimizer": OPTIMIZERS}


@cache
def settings() -> tuple[Setting, ...]:
    """All settings, in the order in which the help and the form show them."""
    ordered: list[Setting] = []
    for part, group in ((TaskConfig, "task"), (ModelConfig, "model"), (TrainingConfig, "training")):
        for item in declared(part, group):
            ordered.append(item)
            ordered += _of_kinds(item.name, group)
    return tuple(ordered)


def _of_kinds(chooser: str, group: str) -> list[Setting]:
    """The settings specific to kinds of network or optimizer, each with the kinds that have it.

    Raises TypeError for one that two kinds declare differently, or that is not a field of `RunConfig`.
    """
    belongs: dict[str, Setting] = {}
    for kind in CHOOSERS.get(chooser, {}).values():
        for item in _all_declared(kind.settings, group):
            before = belongs.get(item.name, replace(item, chooser=chooser))
            if replace(before, kinds=()) != replace(item, chooser=chooser):
                raise TypeError(
                    f"{item.flag} of --{chooser} {kind.name} is declared differently by --{chooser} {before.kinds[0]}: "
                    "give it another name"
                )
            if item.name not in {field.name for field in fields(RunConfig)}:
                raise TypeError(
                    f"{item.flag} of --{chooser} {kind.name} is missing in RunConfig: make {kind.settings.__name__} a base "
                    f"of {chooser.capitalize()}Settings"
                )
            belongs[item.name] = replace(before, kinds=(*before.kinds, kind.name))
    return list(belongs.values())


def _all_declared(part: type, group: str) -> list[Setting]:
    """The settings that a dataclass declares, those of its base classes first."""
    return [item for one in reversed(part.__mro__) if is_dataclass(one) for item in declared(one, group)]


def configure(**flags: Any) -> RunConfig:
    """A checked configuration from settings by name (flags with underscores for dashes), given as values or as typed text.

    >>> configure(p=59, heads="4", betas="0.9, 0.95", checkpoints=[0, 50]).betas
    (0.9, 0.95)

    Raises SettingError, whose `.setting` names the refused setting, and UnknownNameError for an unknown name.
    """
    named = {item.name: item for item in settings()}
    for name in flags:
        if name not in named:
            raise UnknownNameError("setting", name, named)
    config = RunConfig(**{name: value_of(named[name], given) for name, given in flags.items()})
    _check_applicable(config, flags)
    _check_together(config)
    if not config.d_head:
        config = replace(config, d_head=config.d_model // config.heads)
    return replace(config, freeze=_frozen(config))


def _frozen(config: RunConfig) -> str:
    """The setting `freeze` with the full names of the weights. Raises SettingError."""
    given = [name for part in config.freeze.split(",") if (name := part.strip()) and name != NOTHING]
    try:
        return ",".join(parameters.named(given, config)) or NOTHING
    except UnknownNameError as error:
        raise SettingError(
            "freeze", f"--freeze must name weights of the network, comma-separated, or none: {error}"
        ) from None


def changed(before: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """The settings of a run with changes applied. Settings specific to a kind that was replaced are dropped.

    Raises what `configure` raises.
    """
    chosen = {chooser: changes.get(chooser, getattr(before, chooser)) for chooser in CHOOSERS}
    kept = {item.name for item in settings() if not item.kinds or chosen[item.chooser] in item.kinds}
    return configure(**{**{name: value for name, value in before.to_json().items() if name in kept}, **changes})


def without_unused(typed: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a form, without fields that do not apply to the kinds selected in it and are at their default."""
    chosen = {item.name: typed.get(item.name, item.default) for item in settings() if item.name in CHOOSERS}
    unused = {
        item.name
        for item in settings()
        if item.kinds and chosen[item.chooser] not in item.kinds and typed.get(item.name) in (item.text, item.default)
    }
    return {name: value for name, value in typed.items() if name not in unused}


def from_json(stored: Mapping[str, Any]) -> RunConfig:
    """The configuration from the output of `to_json`. Raises what `configure` raises."""
    return configure(**stored)


def _check_applicable(config: RunConfig, given: Mapping[str, Any]) -> None:
    applies = {item.name for item, _ in config.items()}
    for item in settings():
        if item.name in given and item.name not in applies:
            chosen = getattr(config, item.chooser)
            raise SettingError(
                item.name,
                f"{item.flag} only applies to --{item.chooser} {' or '.join(item.kinds)} (got --{item.chooser} {chosen}): "
                f"{LEAVE_OUT}",
            )


def _check_together(config: RunConfig) -> None:
    if (refusal := config.task_kind.refusal(config.p)) is not None:
        raise SettingError("p", f"{refusal} (got {config.p})")
    if not config.d_head and (config.d_model % config.heads):
        raise SettingError(
            "heads",
            f"--heads must divide --d-model {config.d_model} (got {config.heads}): use another number of heads, or set the "
            "width of a head with --d-head",
        )
    if config.classes == "tokens" and "=" not in config.network_kind.tokens:
        raise SettingError(
            "classes",
            f"--classes must be answers with --network {config.network}, which has no '=' token (got tokens)",
        )
    pairs = config.p**2
    if not 1 <= config.train_pairs < pairs:
        missing = "training" if config.train_pairs < 1 else "test"
        raise SettingError(
            "train_fraction",
            f"--train-fraction must be at least {math.ceil(1e6 / pairs) / 1e6:g} and less than 1 for {pairs} pairs (got "
            f"{as_text(config.train_fraction)}, which leaves no {missing} pairs)",
        )
    schedule.parse(config.checkpoints, config.epochs)
