"""One description of every setting of a run.

A field of these dataclasses is at once a flag of the command line, a field of the form in the window, a key of the
stored JSON, a help text and its limits. Nothing else in the package repeats a default or a limit.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from typing import Any

from tdw import schedule
from tdw.errors import SettingError, UnknownNameError
from tdw.safe_text import cut

TASKS = ("add", "subtract", "multiply", "x2+y2", "x2+xy+y2", "random")
NETWORKS = ("transformer", "two-token", "one-hot")
ACTIVATIONS = ("relu", "gelu", "quadratic")
BIASES = ("none", "mlp")
CLASSES = ("answers", "tokens")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Setting:
    """What is known of one setting: enough for a flag, a form field and a check."""

    name: str
    type: type
    default: Any
    help: str
    group: str
    minimum: float | None = None
    maximum: float | None = None
    exclusive: bool = False  # the limits themselves are not allowed
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """As typed: `--train-fraction`."""
        return "--" + self.name.replace("_", "-")

    @property
    def text(self) -> str:
        """The default as one would type it."""
        return as_text(self.default)

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        noun = {int: "a whole number", float: "a number", tuple: "two numbers joined by a comma, each"}.get(
            self.type, "text"
        )
        if self.minimum is None or self.maximum is None:
            return noun
        low, high = as_text(self.minimum), as_text(self.maximum)
        return f"{noun} between {low} and {high}" + (", both excluded" if self.exclusive else "")


def _setting(default: Any, text: str, *, within: tuple[float, float] | None = None, **more: Any) -> Any:
    low, high = within or (None, None)
    return field(default=default, metadata={"help": text, "minimum": low, "maximum": high, **more})


SEEDS = (0, 2**63 - 1)


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """What is learnt: the pairs, their answers, and which of them are shown in training."""

    task: str = _setting(
        "add",
        "what is learnt of a and b, modulo p; random: nothing can be",
        choices=TASKS,
    )
    p: int = _setting(113, "modulus: operands and answers are 0 .. p-1", within=(2, 1_000))
    data_seed: int = _setting(598, "seed of the split into train and test pairs", within=SEEDS)
    train_fraction: float = _setting(0.3, "share of the p*p pairs that is trained on", within=(0, 1), exclusive=True)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network: its kind, its sizes and the seed of its initial weights."""

    network: str = _setting(
        "transformer",
        "one layer on tokens 'a b =', on 'a b', or a one-hot MLP",
        choices=NETWORKS,
    )
    d_model: int = _setting(128, "width of the residual stream; a multiple of heads", within=(1, 4_096))
    heads: int = _setting(4, "attention heads", within=(1, 64))
    d_head: int = _setting(0, "width of a head; 0: d_model / heads", within=(0, 4_096))
    d_mlp: int = _setting(512, "neurons in the MLP", within=(1, 16_384))
    activation: str = _setting("relu", "what a neuron makes of its input", choices=ACTIVATIONS)
    biases: str = _setting("none", "which biases are trained", choices=BIASES)
    classes: str = _setting("answers", "output classes: the p answers, or '=' as well", choices=CLASSES)
    model_seed: int = _setting(999, "seed of the initial weights", within=SEEDS)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Full-batch AdamW, what is recorded of it, and where it runs."""

    epochs: int = _setting(25_000, "optimizer updates to apply", within=(1, 10_000_000))
    lr: float = _setting(1e-3, "learning rate of AdamW", within=(0, 10), exclusive=True)
    warmup: int = _setting(0, "updates over which the learning rate rises from 0", within=(0, 10_000_000))
    weight_decay: float = _setting(1.0, "decoupled weight decay of AdamW", within=(0, 1_000))
    betas: tuple[float, float] = _setting((0.9, 0.98), "AdamW's two averaging factors", within=(0, 1))
    checkpoints: str = _setting("paper", f"epochs to keep, joined by commas: {schedule.FORMS}")
    evaluate_every: int = _setting(10, "epochs between measurements on the test pairs", within=(1, 10_000_000))
    device: str = _setting(
        "auto", "where to train; auto is the processor, which is what runs are compared on", choices=DEVICES
    )
    threads: int = _setting(0, "processor threads to train with; 0 leaves it to PyTorch", within=(0, 1_024))


@dataclass(frozen=True, kw_only=True)
class RunConfig(TaskConfig, ModelConfig, TrainingConfig):
    """All settings of a run, under the flags' names. Made by `configure`, which checks them."""

    @property
    def order(self) -> int:
        """Size of the cyclic group over which frequencies are counted: p, and p - 1 for products modulo a prime, whose
        factors other than 0 are powers of one of them.
        """
        return self.p - 1 if self.task == "multiply" and is_prime(self.p) else self.p

    @property
    def frequencies(self) -> int:
        """K = order // 2: the number of frequencies of functions on that group, the constant not counted."""
        return self.order // 2

    @property
    def outputs(self) -> int:
        """Number of output classes; the first p are the answers."""
        return self.p + 1 if self.classes == "tokens" else self.p

    @property
    def positions(self) -> int:
        """Tokens in the sequence; none for a network without one."""
        return {"transformer": 3, "two-token": 2, "one-hot": 0}[self.network]

    @property
    def train_pairs(self) -> int:
        """Number of pairs trained on."""
        return int(self.train_fraction * self.p**2)

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values, in the order of their declaration."""
        stored = asdict(self)
        return {item.name: stored[item.name] for item in settings()} | {"betas": list(self.betas)}


@cache
def settings() -> tuple[Setting, ...]:
    """Every setting, in the order in which help and form show them."""
    found = []
    for part, group in ((TaskConfig, "task"), (ModelConfig, "model"), (TrainingConfig, "training")):
        hints = typing.get_type_hints(part)
        for item in fields(part):
            hint = typing.get_origin(hints[item.name]) or hints[item.name]
            found.append(Setting(item.name, hint, item.default, group=group, **item.metadata))
    return tuple(found)


def configure(**flags: Any) -> RunConfig:
    """A checked configuration from the flags' names (underscores for dashes), as values or as text typed by someone.

    >>> configure(p=59, heads="4", betas="0.9, 0.95", checkpoints=[0, 50]).betas
    (0.9, 0.95)

    Raises SettingError, whose `.setting` names the culprit, and UnknownNameError for a name that is no setting.
    """
    known = {item.name: item for item in settings()}
    for name in flags:
        if name not in known:
            raise UnknownNameError("setting", name, known)
    config = RunConfig(**{name: value_of(known[name], given) for name, given in flags.items()})
    _check_together(config)
    return replace(config, d_head=config.d_model // config.heads) if not config.d_head else config


def from_json(stored: Mapping[str, Any]) -> RunConfig:
    """The configuration that `to_json` described."""
    return configure(**stored)


def value_of(setting: Setting, given: Any) -> Any:
    """`given` as a value of the setting's type, within its limits. Raises SettingError."""
    try:
        value = _converted(setting, given)
    except (ValueError, TypeError, OverflowError):
        raise _refused(setting, given) from None
    if setting.choices and value not in setting.choices:
        raise _refused(setting, given)
    if setting.minimum is not None and setting.maximum is not None:
        for number in value if isinstance(value, tuple) else (value,):
            if setting.exclusive:
                inside = setting.minimum < number < setting.maximum
            else:
                inside = setting.minimum <= number <= setting.maximum
            if not inside or (setting.name == "betas" and number == 1):
                raise _refused(setting, given)
    return value


def as_text(value: Any) -> str:
    """A setting's value as one would type it.

    >>> as_text((0.9, 0.98)), as_text(0.001), as_text(25000)
    ('0.9,0.98', '0.001', '25000')
    """
    if isinstance(value, (tuple, list)):
        return ",".join(as_text(item) for item in value)
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _converted(setting: Setting, given: Any) -> Any:
    if isinstance(given, bool) or given is None:
        raise TypeError
    if setting.type is tuple:
        parts = given.split(",") if isinstance(given, str) else list(given)
        first, second = (_finite(part) for part in parts)
        return (first, second)
    if setting.type is int:
        if isinstance(given, str):
            return int(given)
        whole = int(given)
        if whole != given:
            raise ValueError
        return whole
    if setting.type is float:
        return _finite(given)
    if isinstance(given, str):
        return given.strip()
    if setting.name == "checkpoints" and isinstance(given, Iterable):
        return schedule.text_of(given)
    raise TypeError


def _finite(given: Any) -> float:
    number = float(given)
    if not math.isfinite(number):
        raise ValueError
    return number


def _refused(setting: Setting, given: Any) -> SettingError:
    shown = cut(given if isinstance(given, str) else as_text(given)) or "(nothing)"
    excluded = " (1 excluded)" if setting.name == "betas" else ""
    return SettingError(setting.name, f"{setting.flag} {shown} is not allowed: give {setting.allowed}{excluded}")


def _check_together(config: RunConfig) -> None:
    if not config.d_head and (config.d_model % config.heads):
        raise SettingError(
            "heads",
            f"--heads {config.heads} does not divide --d-model {config.d_model}: give a number of heads that divides it, "
            "or the width of a head with --d-head",
        )
    if config.classes == "tokens" and config.network != "transformer":
        raise SettingError(
            "classes",
            f"--classes tokens is not possible with --network {config.network}, which has no token '=': give answers",
        )
    pairs = config.p**2
    if not 1 <= config.train_pairs < pairs:
        missing = "no train pair" if config.train_pairs < 1 else "no test pair"
        raise SettingError(
            "train_fraction",
            f"--train-fraction {as_text(config.train_fraction)} of the {pairs} pairs leaves {missing}: "
            f"give at least {math.ceil(1e6 / pairs) / 1e6:g} and less than 1",
        )
    schedule.parse(config.checkpoints, config.epochs)


@dataclass(frozen=True)
class Estimate:
    """What a run will take. megabytes: the file when trained; analyzed_megabytes: with all per-checkpoint results."""

    checkpoints: int
    megabytes: float
    analyzed_megabytes: float
    seconds: float


def estimate(config: RunConfig) -> Estimate:
    """Checkpoints, size of the file, and seconds of training on this machine's processor (within a factor of two).

    The time is the number of multiplications over the speed at which this machine multiplies matrices just now, with
    an efficiency and a fixed cost per epoch that were fitted to runs of p = 59 and p = 113.
    """
    p, d, heads, neurons = config.p, config.d_model, config.heads, config.d_mlp
    if config.network == "one-hot":
        d, heads, weights = 0, 1, 3 * p * neurons
    else:
        weights = (2 * p + 4) * d + 4 * d * heads * config.d_head + 2 * d * neurons
    count = len(schedule.parse(config.checkpoints, config.epochs))
    blob, resume = (_in_blocks(4 * parts * weights + 500 * (1 + parts)) for parts in (1, 3))
    resume += 4096  # three of these while it is trained, one when it is finished and analyzed
    stored = count * blob + 3 * resume + 32 * (config.epochs + 1) + 8 * p * p + FILE_OVERHEAD
    results = 4 * count * (p * p + 2 * p + (p // 2) * (neurons + 12) + 6 * neurons) + RESULTS_OVERHEAD - 2 * resume

    pairs, test = config.train_pairs, (p * p - config.train_pairs) / config.evaluate_every
    answers = p + (-p) % 64
    dense = (3 * pairs + test) * neurons * answers + 3 * (2 * heads * p + 1) * d * (neurons + answers)
    sparse = (3 * pairs + test) * (2 * heads + 1) * (neurons + answers)
    an_epoch = 2 * (dense + 6 * sparse) / (EFFICIENCY * _multiplications_per_second()) + SECONDS_AN_EPOCH
    return Estimate(count, stored / 1e6, (stored + results) / 1e6, config.epochs * an_epoch)


def is_prime(n: int) -> bool:
    """Whether n is a prime.

    >>> [n for n in range(12) if is_prime(n)]
    [2, 3, 5, 7, 11]
    """
    return n > 1 and all(n % divisor for divisor in range(2, math.isqrt(n) + 1))


def _in_blocks(size: int) -> int:
    return size + (-size) % 4096


FILE_OVERHEAD = 250_000  # bytes of commit records and metadata
RESULTS_OVERHEAD = 1_500_000  # bytes of those of all analyses
EFFICIENCY = 0.5
SECONDS_AN_EPOCH = 2e-3


@cache
def _multiplications_per_second() -> float:
    """Floating-point operations a second of a float32 matrix product on this machine, measured in some 30 ms."""
    import time

    import numpy as np

    size = 512
    matrix = np.ones((size, size), np.float32)
    matrix @ matrix  # the first product starts the library's threads
    best = float("inf")
    for _ in range(15):  # the best of many: other programs use the machine too
        started = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best
