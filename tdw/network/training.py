"""Training: a generator of segments, independent of files and of progress display.

Epoch e is the state after e optimizer updates. The losses of epoch e come from the forward pass on the weights of epoch
e, which is also the first half of update e + 1. A resumed run therefore recomputes the losses of the epoch it resumes
from, and the caller can check that they are the same.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from tdw import tasks
from tdw.errors import SettingError
from tdw.network.autograd import AutogradEngine
from tdw.network.closed_form import routes
from tdw.network.factored import FactoredEngine, padded
from tdw.network.parameters import shapes
from tdw.network.reference import Weights
from tdw.network.segment import Arrays, Segment, State

if TYPE_CHECKING:
    from tdw.config import RunConfig

SECONDS_A_SEGMENT = 0.5
#: Products of train pairs, neurons and answers for which one more thread pays: below twice as many, a second thread makes an
#: epoch 1.0 to 1.5 times as fast for twice the processor time, and a busy machine makes it slower.
A_THREAD = 2.5e7
#: Pairs are computed in blocks in which the largest array with one row per pair takes up to this many bytes, or twice as many rows
#: as the tables have: the gradient of the tables is read and written once for each block. What fits into one block keeps every bit
#: that it had before there were blocks.
A_BLOCK = 2**25
_AVAILABLE_THREADS = torch.get_num_threads()  # PyTorch's default: the cores, or what OMP_NUM_THREADS says


class Engine(Protocol):
    """Computes loss, accuracy and gradients of the weights it was created with, which the optimizer updates in place."""

    def measure_train(self) -> Float64[Tensor, " 2"]:
        """Loss and accuracy of the current weights on the train pairs, (2,) float64. Prepares the other two methods."""
        ...

    def measure_test(self) -> Float64[Tensor, " 2"]:
        """Loss and accuracy on the test pairs, (2,) float64. Call `measure_train` first."""
        ...

    def backward(self) -> None:
        """Accumulate the gradients of the train loss of the last `measure_train` into those of the weights."""
        ...


def engine_of(config: RunConfig) -> type[FactoredEngine] | type[AutogradEngine]:
    """The engine for a run: the factored one if the network and the loss support it, otherwise autograd."""
    factored = "closed form" in config.network_kind.capabilities and config.loss_kind.factored
    return FactoredEngine if factored else AutogradEngine


def start(config: RunConfig, weights: Weights) -> State:
    """The state of an untrained network: epoch 0, all optimizer slots zero."""
    arrays = {name: tensor.detach().cpu().numpy().astype(np.float32) for name, tensor in weights.items()}
    return State.fresh(0, arrays, config.optimizer_kind.slots)


def train(
    config: RunConfig,
    state: State,
    split: tasks.Split,
    checkpoints: Sequence[int],
    *,
    optimizer_from: int = 0,
    answers: tasks.Answers | None = None,
    at_once: int | None = None,
    seconds: float = SECONDS_A_SEGMENT,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Segment]:
    """Train from `state` to `config.epochs`. Yields a segment at each checkpoint and about every `seconds`.

    The first segment begins with `state.epoch` itself. Losses are in the unit of `config.loss` (cross-entropy: nats).

    optimizer_from: the epoch at which the optimizer started with zero slots, from which its warm-up counts
    answers:        the answer to every pair (a, b) at index a * p + b that training aims at; default: those of the task
    at_once:        pairs that are computed at a time, 0 for all; default: by the size of the run (`pairs_at_once`)
    stop:           called after every epoch; once it returns True, the segment so far is the last
    Raises SettingError if the device is not available.
    """
    torch.set_num_threads(threads_of(config))
    at_once = pairs_at_once(config, at_once)
    step = _Step(config, state, split, state.epoch - optimizer_from, answers, at_once)
    keep = {epoch for epoch in checkpoints if epoch >= state.epoch}
    first, epoch, due = state.epoch, state.epoch, time.monotonic() + seconds
    rows: list[list[Tensor]] = []
    unknown = torch.full((2,), torch.nan, dtype=torch.float64, device=step.device)
    while True:
        last = epoch == config.epochs
        rows.append([step.engine.measure_train()])
        evaluate = epoch in keep or _is_evaluated(config, epoch)
        rows[-1].append(step.engine.measure_test() if evaluate else unknown)
        stopped = stop is not None and stop()
        if last or stopped or epoch in keep or time.monotonic() >= due:
            series = torch.stack([torch.cat(row) for row in rows]).cpu().numpy().T.copy()
            yield Segment(
                range(first, epoch + 1), series[0], series[2], series[1], series[3], step.state(epoch), epoch in keep
            )
            first, rows, due = epoch + 1, [], time.monotonic() + seconds
        if last or stopped:
            return
        step.update(epoch - optimizer_from)
        epoch += 1


def _is_evaluated(config: RunConfig, epoch: int) -> bool:
    return epoch == config.epochs or epoch % config.evaluate_every == 0


def divergence(config: RunConfig, segment: Segment) -> tuple[int, str] | None:
    """The first epoch whose evaluated loss is not finite, and its side (train or test); None if all are finite.

    Such an epoch is not stored: in a file, NaN means that an epoch was not evaluated.
    """
    train = ~np.isfinite(segment.train_loss)
    measured = [
        (segment.keep and epoch == segment.state.epoch) or _is_evaluated(config, epoch) for epoch in segment.epochs
    ]
    test = ~np.isfinite(segment.test_loss) & measured
    at = np.flatnonzero(train | test).tolist()
    return (segment.epochs[at[0]], "train" if train[at[0]] else "test") if at else None


class _Step:
    """Weights, optimizer and engine on one device."""

    def __init__(
        self,
        config: RunConfig,
        state: State,
        split: tasks.Split,
        updates: int,
        answers: tasks.Answers | None,
        at_once: int,
    ):
        self.device = device_of(config)
        self.answers = answers
        self.config, self.shapes, self.optimizer = config, shapes(config), config.optimizer_kind
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        # All weights are in one flat buffer, so that one fused kernel updates them; autograd works on views of it.
        self.flat = torch.empty(sum(sizes), device=self.device)
        self.gradient = torch.zeros_like(self.flat)
        weights: Weights = {}
        pieces = zip(torch.split(self.flat, sizes), torch.split(self.gradient, sizes), strict=True)
        for (name, shape), (values, gradient) in zip(self.shapes.items(), pieces, strict=True):
            weights[name] = values.view(shape).requires_grad_()
            weights[name].grad = gradient.view(shape)
        self._fill(self.flat, state.weights)
        self.slots = {slot: torch.zeros_like(self.flat) for slot in self.optimizer.slots}
        if updates:
            for slot, values in self.slots.items():
                self._fill(values, state.slots[slot])
        # An optimizer updates the whole buffer; what is frozen, with its state, is put back afterwards.
        parts = [
            dict(zip(self.shapes, torch.split(all_, sizes), strict=True)) for all_ in (self.flat, *self.slots.values())
        ]
        self.frozen = [(part[name], part[name].clone()) for part in parts for name in config.frozen]
        self.updates = torch.tensor(float(updates), device=self.device)
        sides = self._pairs(split.train), self._pairs(split.test)
        self.engine: Engine = engine_of(config)(config, weights, sides, at_once)

    def update(self, done: int) -> None:
        """One optimizer update with the gradients of the last `engine.measure_train`; `done` updates came before it."""
        self.gradient.zero_()
        self.engine.backward()
        warmup, lr = self.config.warmup, self.config.lr
        if warmup:
            lr *= min(done / warmup, 1)
        self.updates += 1
        with torch.no_grad():
            self.optimizer.update(self.flat, self.gradient, self.slots, self.updates, lr, self.config)
            for values, before in self.frozen:
                values.copy_(before)

    def state(self, epoch: int) -> State:
        """A copy of the state needed to continue from `epoch`."""
        slots = {slot: self._arrays(values) for slot, values in self.slots.items()}
        return State(epoch, self._arrays(self.flat.detach()), slots)

    def _arrays(self, flat: Tensor) -> Arrays:
        parts = flat.cpu().numpy().copy()
        cuts = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()])[:-1]
        pieces = zip(self.shapes.items(), np.split(parts, cuts), strict=True)
        return {name: part.reshape(shape) for (name, shape), part in pieces}

    def _fill(self, flat: Tensor, arrays: Arrays) -> None:
        flat.detach().copy_(torch.from_numpy(np.concatenate([arrays[name].ravel() for name in self.shapes])))

    def _pairs(self, indices: tasks.Indices) -> tasks.Operands:
        indices = np.sort(indices)  # neighboring pairs then share rows of the tables, which stay in the CPU cache
        a, b = tasks.operands(indices, self.config.p)
        answers = tasks.answers(indices, self.config) if self.answers is None else self.answers[indices]
        arrays = (a, b, answers)
        on_device = [torch.from_numpy(array).to(self.device) for array in arrays]
        return on_device[0], on_device[1], on_device[2]


def device_of(config: RunConfig) -> torch.device:
    """The device selected by `--device`. Raises SettingError for cuda if PyTorch finds no GPU."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise SettingError("device", "--device must be auto or cpu on this machine: PyTorch finds no GPU (got cuda)")
    return torch.device("cuda" if config.device == "cuda" else "cpu")


def threads_of(config: RunConfig, recorded: int | None = None) -> int:
    """The number of CPU threads that train a run: that of its settings, or chosen by its size if they have 0.

    The factored engine computes the same with any number. With autograd, sums depend on it, so that such a run is trained by
    one thread, or by as many as it was before.

    recorded: the number that trained the run so far
    """
    if config.threads:
        return config.threads
    if engine_of(config) is AutogradEngine:
        return min(recorded or 1, _AVAILABLE_THREADS)
    products = config.train_pairs * config.d_mlp * (config.p + (-config.p) % 64)
    return max(1, min(int(products / A_THREAD), _AVAILABLE_THREADS))


def pairs_at_once(config: RunConfig, recorded: int | None = None) -> int:
    """How many pairs the factored engine computes at a time, 0 for all: what was recorded, or else by the size of the run alone.

    Sums over pairs depend on it in their last digits, so that no machine, number of threads or free memory has a say, and a
    run keeps the number that trained it before.

    recorded: the number that trained the run so far; None if nothing did
    """
    if recorded is not None:
        return recorded
    if engine_of(config) is AutogradEngine:
        return 0
    block = max(A_BLOCK // (4 * (config.d_mlp + padded(config.outputs))), 2 * _rows(config))
    return 0 if block >= max(config.train_pairs, config.p**2 - config.train_pairs) else block


def _rows(config: RunConfig) -> int:
    return 2 * routes(config) * config.p + 1


def memory(config: RunConfig) -> int:
    """Bytes that training takes at most, besides those of the process: what depends on the size of the run."""
    p, neurons, pairs = config.p, config.d_mlp, config.p**2
    values = sum(math.prod(shape) for shape in shapes(config).values())
    if engine_of(config) is AutogradEngine:
        return 4 * pairs * (3 * neurons + 6 * p)
    columns = neurons + padded(config.outputs)
    tables = _rows(config) * columns + neurons * padded(config.outputs)
    # The product of all heads with the inputs of the neurons, for a and for b, is kept for autograd, which makes as much again.
    kept = 4 * config.heads * config.d_head * columns if config.network_kind.tokens else 0
    block = pairs_at_once(config) or max(config.train_pairs, pairs - config.train_pairs)
    buffers = block * (3 * columns + (neurons if config.activation != "relu" else 0))
    # Weights, gradient and optimizer state, and a copy of weights and state for the file.
    slots = len(config.optimizer_kind.slots)
    states = values * (2 + slots + 2 * (1 + slots))
    indices = pairs * (20 * config.heads + 24)
    return 4 * (2 * tables + kept + buffers + states) + 2 * indices


def environment(config: RunConfig, at_once: int | None = None) -> dict[str, Any]:
    """The software and hardware that affect the results of a run, as stored in its file. at_once: see `pairs_at_once`."""
    device = device_of(config)
    return {
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else torch.backends.cpu.get_cpu_capability(),
        "device": device.type,
        "threads": threads_of(config),
        "cores": os.cpu_count() or 1,
        "dtype": "float32",
        "mkl_cbwr": os.environ.get("MKL_CBWR", ""),
        "pairs_at_once": pairs_at_once(config, at_once),
    }
