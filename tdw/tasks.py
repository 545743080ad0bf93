"""What is learnt: the pairs of operands, their answers, and the split into train and test pairs.

Pair (a, b) has the index a * p + b, everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tdw.config import TaskConfig, is_prime
from tdw.errors import SettingError

Indices = NDArray[np.int64]


class Split(NamedTuple):
    """Indices of the train and of the test pairs, in the order in which they were drawn."""

    train: Indices
    test: Indices


def operands(indices: Indices, p: int) -> tuple[Indices, Indices]:
    """The operands a and b of each pair.

    >>> operands(np.array([7]), p=5)
    (array([1]), array([2]))
    """
    return indices // p, indices % p


def answers(indices: Indices, config: TaskConfig) -> Indices:
    """The right answer of each pair.

    >>> answers(np.array([7, 24]), TaskConfig(p=5))
    array([3, 3])
    """
    if config.task == "random":
        return random_answers(config)[indices]
    a, b = operands(indices, config.p)
    match config.task:
        case "add":
            found = a + b
        case "subtract":
            found = a - b
        case "multiply":
            found = a * b
        case "x2+y2":
            found = a * a + b * b
        case "x2+xy+y2":
            found = a * a + a * b + b * b
        case _:
            raise SettingError("task", f"--task {config.task} has no rule for its answers")
    return found % config.p


def random_answers(config: TaskConfig) -> Indices:
    """An answer for every pair drawn from `data_seed`, (p * p,): a control that can be memorized and nothing else.

    The generator is NumPy's old one, whose numbers are the same in every version.
    """
    words = [config.data_seed >> shift & 0xFFFFFFFF for shift in (0, 32)]
    return np.random.RandomState(words).randint(0, config.p, config.p**2).astype(np.int64)


def powers(config: TaskConfig) -> Indices | None:
    """The operands in the order in which the group of the task runs through them, (order,); None where there is none.

    For sums and differences that is 0 .. p-1. For products modulo a prime it is 1, g, g², … with g the smallest
    primitive root, so that a product of operands is a sum of places; 0 is no power and left out.

    >>> powers(TaskConfig(task="multiply", p=7))
    array([1, 3, 2, 6, 4, 5])
    """
    if config.task != "multiply":
        return np.arange(config.p)
    if not is_prime(config.p):
        return None
    for root in range(1, config.p):
        found = [1]
        while (following := found[-1] * root % config.p) != 1:
            found.append(following)
        if len(found) == config.p - 1:
            return np.array(found)
    raise AssertionError("every prime has a primitive root")


def draw_split(config: TaskConfig) -> Split:
    """The split that `data_seed` stands for: PyTorch's random permutation of all pairs, the first share for training.

    This is the rule of the TransformerLens grokking demonstration, so the same seed gives the same pairs there.
    """
    import torch

    order = torch.randperm(config.p**2, generator=torch.Generator().manual_seed(config.data_seed)).numpy()
    cut = int(config.train_fraction * config.p**2)
    return Split(order[:cut].copy(), order[cut:].copy())


def check_split(train: ArrayLike, test: ArrayLike, p: int) -> Split:
    """A split that somebody gives, checked: whole numbers, inside 0 .. p*p - 1, no pair twice, neither side empty.

    Raises SettingError.
    """
    sides = []
    for name, given in (("train", train), ("test", test)):
        side = np.asarray(given)
        if side.ndim != 1 or side.dtype.kind not in "iu" or side.size == 0:
            raise SettingError("split", f"the {name} side of the split must be a list of pair indices, at least one")
        if side.min() < 0 or side.max() >= p**2:
            outside = side[(side < 0) | (side >= p**2)][0]
            raise SettingError(
                "split", f"the {name} side of the split holds {outside}: with p = {p} give 0 to {p**2 - 1}"
            )
        sides.append(side.astype(np.int64))
    both = np.concatenate(sides)
    if np.unique(both).size != both.size:
        twice = np.flatnonzero(np.bincount(both) > 1)[0]
        raise SettingError("split", f"the split holds pair {twice} twice: give each pair once, on one side")
    return Split(*sides)
