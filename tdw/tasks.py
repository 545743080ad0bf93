"""Tasks: the pairs of operands, their answers, and the train/test split.

Pair (a, b) has the index a * p + b, everywhere.

Each task is an entry of `TASKS`. Its group makes frequencies meaningful: in the order of the group's elements, the
position of an answer is the sum or difference of the positions of its operands (`sign`).

Axes.  pair: entries of a set of pairs · all_pairs: p * p, in the order of their indices · order: elements of the group
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tdw.errors import SettingError
from tdw.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int64
    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from tdw.config import TaskConfig

    Indices = NDArray[np.int64]
    Answers = Int64[np.ndarray, " all_pairs"]
    # a, b and the answer of each pair of a set
    Operands = tuple[Int64[Tensor, " pair"], Int64[Tensor, " pair"], Int64[Tensor, " pair"]]
else:  # tests evaluate annotations that use these; `tdw --help` must not import numpy
    Answers = Indices = Operands = Any


class Split(NamedTuple):
    """Indices of the train pairs and of the test pairs, in the order in which they were drawn."""

    train: Int64[np.ndarray, " train"]
    test: Int64[np.ndarray, " test"]


def is_prime(n: int) -> bool:
    """Whether n is prime.

    >>> [n for n in range(12) if is_prime(n)]
    [2, 3, 5, 7, 11]
    """
    return n > 1 and all(n % divisor for divisor in range(2, math.isqrt(n) + 1))


@dataclass(frozen=True)
class Group:
    """A cyclic group on some of the operands 0 .. p-1.

    order:    p -> number of elements
    elements: p -> the elements in order, as powers of a generator starting with the identity; None if p has no such group
    natural:  the elements are 0 .. p-1 in numerical order
    """

    name: str
    order: Callable[[int], int]
    elements: Callable[[int], list[int] | None]
    natural: bool = False


def powers_of_root(p: int) -> list[int] | None:
    """Powers 1, g, g², … of the smallest primitive root g modulo a prime p; None for composite p.

    >>> powers_of_root(7)
    [1, 3, 2, 6, 4, 5]
    """
    if not is_prime(p):
        return None
    for root in range(1, p):
        powers = [1]
        while (following := powers[-1] * root % p) != 1:
            powers.append(following)
        if len(powers) == p - 1:
            return powers
    raise AssertionError("every prime has a primitive root")


ADDITIVE = Group("additive", lambda p: p, lambda p: list(range(p)), natural=True)
# 0 is not a power of the root and so not an element. For composite p, the units are not cyclic in general.
MULTIPLICATIVE = Group("multiplicative", lambda p: p - 1 if is_prime(p) else p, powers_of_root)


@dataclass(frozen=True)
class Task:
    """A task: a function from pairs to answers.

    answer: (a, b, p) -> the answer, not yet reduced modulo p, of integers or arrays; None if answers are random
    group:  the group whose frequencies are analyzed
    sign:   +1 or -1 if position(answer) = position(a) ± position(b) in the group; None if neither holds
    prime:  whether p must be prime
    """

    name: str
    answer: Callable[[Any, Any, int], Any] | None
    group: Group = ADDITIVE
    sign: int | None = None
    prime: bool = False

    def refusal(self, p: int) -> str | None:
        """Why this task is not defined modulo p; None if it is."""
        return f"--p must be prime for --task {self.name}" if self.prime and not is_prime(p) else None


def quotient(a: Any, b: Any, p: int) -> Any:
    """a / b modulo a prime p, computed as a * b^(p-2); a / 0 is defined as 0, so that every pair has an answer.

    >>> quotient(3, 2, 7), quotient(3, 0, 7), quotient(1, 1, 2)
    (5, 0, 1)
    """
    product, square, exponent = a, b, max(p - 2, 1)
    while exponent:
        if exponent & 1:
            product = product * square % p
        square = square * square % p
        exponent >>= 1
    return product


TASKS: Registry[Task] = Registry("task")
TASKS.register(Task("add", lambda a, b, _: a + b, sign=+1))
TASKS.register(Task("subtract", lambda a, b, _: a - b, sign=-1))
TASKS.register(Task("multiply", lambda a, b, _: a * b, MULTIPLICATIVE, sign=+1))
TASKS.register(Task("divide", quotient, MULTIPLICATIVE, sign=-1, prime=True))
TASKS.register(Task("x2+y2", lambda a, b, _: a * a + b * b))
TASKS.register(Task("x2+xy+y2", lambda a, b, _: a * a + a * b + b * b))
TASKS.register(Task("x3+xy", lambda a, b, _: a * a * a + a * b))
TASKS.register(Task("random", None))


def operands(
    indices: Int64[np.ndarray, " pair"], p: int
) -> tuple[Int64[np.ndarray, " pair"], Int64[np.ndarray, " pair"]]:
    """The operands a and b of each pair, (pair,) each.

    >>> import numpy as np
    >>> operands(np.array([7]), p=5)
    (array([1]), array([2]))
    """
    return indices // p, indices % p


def answers(indices: Int64[np.ndarray, " pair"], config: TaskConfig) -> Int64[np.ndarray, " pair"]:
    """The correct answer of each pair, (pair,).

    >>> import numpy as np
    >>> from tdw.config import TaskConfig
    >>> answers(np.array([7, 24]), TaskConfig(p=5))
    array([3, 3])
    """
    rule = TASKS.find(config.task).answer
    if rule is None:
        return random_answers(config)[indices]
    return rule(*operands(indices, config.p), config.p) % config.p


def random_answers(config: TaskConfig) -> Int64[np.ndarray, " all_pairs"]:
    """Random answers for all pairs, drawn with `data_seed`, (p * p,): a control that can be memorized but not generalized.

    Uses NumPy's legacy generator, because its numbers are the same in every version.
    """
    import numpy as np

    words = [config.data_seed >> shift & 0xFFFFFFFF for shift in (0, 32)]
    return np.random.RandomState(words).randint(0, config.p, config.p**2).astype(np.int64)


def elements(config: TaskConfig) -> Int64[np.ndarray, " order"] | None:
    """The operands in the order of the task's group, (order,); None if p has no such group.

    For sums and differences: 0 .. p-1. For products and quotients modulo a prime: 1, g, g², … with g the smallest
    primitive root, so that the discrete logarithm of an answer is the sum or difference of those of the operands.

    >>> from tdw.config import TaskConfig
    >>> elements(TaskConfig(task="multiply", p=7))
    array([1, 3, 2, 6, 4, 5])
    """
    import numpy as np

    ordered = TASKS.find(config.task).group.elements(config.p)
    return None if ordered is None else np.array(ordered)


def draw_split(config: TaskConfig) -> Split:
    """The split drawn with `data_seed`: PyTorch's random permutation of all pairs, the first fraction for training.

    The TransformerLens grokking demo does the same, so the same seed gives the same split there.
    """
    import torch

    order = torch.randperm(config.p**2, generator=torch.Generator().manual_seed(config.data_seed)).numpy()
    cut = int(config.train_fraction * config.p**2)
    return Split(order[:cut].copy(), order[cut:].copy())


def check_split(train: ArrayLike, test: ArrayLike, p: int) -> Split:
    """The given split, checked: pair indices from 0 to p*p - 1, each at most once, neither side empty.

    Raises SettingError.
    """
    import numpy as np

    sides = []
    for name, given in (("train", train), ("test", test)):
        side = np.asarray(given)
        if side.ndim != 1 or side.dtype.kind not in "iu" or side.size == 0:
            raise SettingError("split", f"the {name} side of the split must be a non-empty list of pair indices")
        if side.min() < 0 or side.max() >= p**2:
            outside = side[(side < 0) | (side >= p**2)][0]
            raise SettingError(
                "split",
                f"the {name} side of the split must hold integers from 0 to {p**2 - 1} for p = {p} (got {outside})",
            )
        sides.append(side.astype(np.int64))
    both = np.concatenate(sides)
    if np.unique(both).size != both.size:
        twice = np.flatnonzero(np.bincount(both) > 1)[0]
        raise SettingError("split", f"the split holds pair {twice} twice: each pair must occur once, on one side")
    return Split(*sides)
