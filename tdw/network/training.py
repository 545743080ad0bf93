"""Training: a generator of plain segments that knows no file, no progress bar and no window.

Epoch e is the state after e optimizer updates. The losses of epoch e come from the forward pass on the weights of epoch
e, which is also the first half of update e + 1; so a resumed run measures the epoch it resumes from once more, and the
caller can check that it finds the same number.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tdw import tasks
from tdw.config import RunConfig
from tdw.errors import OutOfRangeError, SettingError
from tdw.network.factored import Pairs, Tables, tables
from tdw.network.parameters import shapes
from tdw.network.reference import Weights
from tdw.network.segment import Arrays, Segment, State

SECONDS_A_SEGMENT = 0.5


def start(weights: Weights) -> State:
    """The state of an untrained network: epoch 0, moments zero."""
    arrays = {name: tensor.detach().cpu().numpy().astype(np.float32) for name, tensor in weights.items()}
    return State(
        0, arrays, {k: np.zeros_like(v) for k, v in arrays.items()}, {k: np.zeros_like(v) for k, v in arrays.items()}
    )


def train(
    config: RunConfig,
    state: State,
    split: tasks.Split,
    checkpoints: Sequence[int],
    *,
    optimizer_from: int = 0,
    seconds: float = SECONDS_A_SEGMENT,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Segment]:
    """Train from `state` to `config.epochs`, yielding a segment at each checkpoint and about every `seconds`.

    `stop` is asked after every epoch; when it says yes, the segment so far is the last. The first segment begins with
    `state.epoch` itself. `optimizer_from` is the epoch in which AdamW began anew, with moments zero and its warm-up
    before it. Losses are cross-entropies in nats.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    step = _Step(config, state, split, state.epoch - optimizer_from)
    keep = {epoch for epoch in checkpoints if epoch >= state.epoch}
    first, epoch, due = state.epoch, state.epoch, time.monotonic() + seconds
    rows: list[list[Tensor]] = []
    unknown = torch.full((2,), torch.nan, dtype=torch.float64, device=step.device)
    while True:
        last = epoch == config.epochs
        rows.append([step.measure_train()])
        evaluate = epoch in keep or _is_evaluated(config, epoch)
        rows[-1].append(step.measure_test() if evaluate else unknown)
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


def check_numbers(config: RunConfig, segment: Segment) -> None:
    """Raise OutOfRangeError where a loss that was measured is no number: nothing is learnt from there on, and what is no number
    means "not measured" in a file.
    """
    train = ~np.isfinite(segment.train_loss)
    measured = [
        (segment.keep and epoch == segment.state.epoch) or _is_evaluated(config, epoch) for epoch in segment.epochs
    ]
    test = ~np.isfinite(segment.test_loss) & measured
    if wrong := np.flatnonzero(train | test).tolist():
        side = "train" if train[wrong[0]] else "test"
        raise OutOfRangeError(
            f"the {side} loss of epoch {segment.epochs[wrong[0]]} is no number: the network's numbers have outgrown "
            "float32. What was recorded before stays; begin a run with a lower --lr or --weight-decay."
        )


class _Step:
    """Weights, optimizer and the two sets of pairs on one device."""

    def __init__(self, config: RunConfig, state: State, split: tasks.Split, updates: int):
        self.device = device_of(config)
        self.shapes, self.lr, self.warmup = shapes(config), config.lr, config.warmup
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        # All weights lie in one flat buffer, so that one fused kernel updates them; what autograd sees are views.
        self.flat = torch.empty(sum(sizes), device=self.device)
        self.flat.grad = torch.zeros_like(self.flat)
        self.views = dict(zip(self.shapes, torch.split(self.flat, sizes), strict=True))
        self.weights: Weights = {}
        for (name, shape), gradient in zip(self.shapes.items(), torch.split(self.flat.grad, sizes), strict=True):
            self.weights[name] = self.views[name].view(shape).requires_grad_()
            self.weights[name].grad = gradient.view(shape)
        self._fill(self.flat, state.weights)
        self.optimizer = torch.optim.AdamW(
            [self.flat], lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
        )
        if updates:
            moments = {"exp_avg": torch.empty_like(self.flat), "exp_avg_sq": torch.empty_like(self.flat)}
            self._fill(moments["exp_avg"], state.exp_avg)
            self._fill(moments["exp_avg_sq"], state.exp_avg_sq)
            step = torch.tensor(float(updates), device=self.device)
            self.optimizer.state[self.flat] = {"step": step, **moments}
        self.train, self.test = (self._pairs(side, config) for side in split)
        self.tables: Tables | None = None

    def measure_train(self) -> Tensor:
        """Loss and accuracy of the current weights on the train pairs, (2,) float64. Prepares `update`."""
        self.tables = tables(self.weights)
        return torch.stack(self.train.forward(self.tables.detached()))

    def measure_test(self) -> Tensor:
        """The same on the test pairs, after `measure_train`."""
        assert self.tables is not None, "measure_train comes first"
        return torch.stack(self.test.forward(self.tables.detached()))

    def update(self, done: int) -> None:
        """One update, `done` coming before it, by the gradients of the loss that `measure_train` just found."""
        assert self.tables is not None, "measure_train comes first"
        assert self.flat.grad is not None
        self.flat.grad.zero_()
        torch.autograd.backward(self.tables.tensors(), self.train.backward())
        if self.warmup:
            self.optimizer.param_groups[0]["lr"] = self.lr * min(done / self.warmup, 1)
        self.optimizer.step()

    def state(self, epoch: int) -> State:
        """A copy of everything needed to go on from `epoch`."""
        stored = self.optimizer.state.get(self.flat) or {}
        empty = torch.zeros_like(self.flat)
        named = (self.flat.detach(), stored.get("exp_avg", empty), stored.get("exp_avg_sq", empty))
        return State(epoch, *(self._arrays(tensor) for tensor in named))

    def _arrays(self, flat: Tensor) -> Arrays:
        parts = flat.cpu().numpy().copy()
        cuts = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()])[:-1]
        pieces = zip(self.shapes.items(), np.split(parts, cuts), strict=True)
        return {name: part.reshape(shape) for (name, shape), part in pieces}

    def _fill(self, flat: Tensor, arrays: Arrays) -> None:
        flat.detach().copy_(torch.from_numpy(np.concatenate([arrays[name].ravel() for name in self.shapes])))

    def _pairs(self, indices: tasks.Indices, config: RunConfig) -> Pairs:
        indices = np.sort(indices)  # neighbors then share rows of the tables, which stay in the processor's cache
        a, b = tasks.operands(indices, config.p)
        on_device = [torch.from_numpy(x).to(self.device) for x in (a, b, tasks.answers(indices, config))]
        return Pairs(*on_device, config=config)


def device_of(config: RunConfig) -> torch.device:
    """The device that `--device` stands for on this machine. Raises SettingError where there is no GPU to use."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise SettingError("device", "--device cuda: PyTorch finds no GPU on this machine; give auto or cpu")
    return torch.device("cuda" if config.device == "cuda" else "cpu")


def environment(config: RunConfig) -> dict[str, str | int]:
    """What the numbers of a run depend on beside its settings, as stored in the file."""
    device = device_of(config)
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else torch.backends.cpu.get_cpu_capability(),
        "device": device.type,
        "threads": config.threads or torch.get_num_threads(),
        "cores": os.cpu_count() or 1,
        "dtype": "float32",
        "mkl_cbwr": os.environ.get("MKL_CBWR", ""),
    }
