"""Several checkpoints at a time: threads of one process, each of which computes on one core.

NumPy lets other threads run while it computes. The matrix products get one thread each: which of two threads computes an entry
changes its last bits, so that results would otherwise depend on the number of cores, and threads that wait for each other cost
more than they give.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import threadpoolctl

from tdw.config import RunConfig

Item = TypeVar("Item")
Result = TypeVar("Result")

WAITING = 2  # items per thread that are begun before the oldest is finished


class Stopped(Exception):  # noqa: N818 - not an error
    """The result is no longer needed."""


class Stop:
    """Tells running work that its result is no longer needed."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask everything that runs to end."""
        self._event.set()

    def check(self) -> None:
        """Raise Stopped if the result is no longer needed."""
        if self._event.is_set():
            raise Stopped


@contextmanager
def one_thread_each(config: RunConfig) -> Iterator[None]:
    """In this context, matrix products run in the thread that asks for them, for the analyses of a run with these settings."""
    with ExitStack() as stack:
        stack.enter_context(threadpoolctl.threadpool_limits(1, user_api="blas"))
        if "closed form" not in config.network_kind.capabilities:  # computed by PyTorch
            import torch

            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
        yield


def in_order(work: Callable[[Item, Stop], Result], items: Iterable[Item], jobs: int) -> Generator[Result, None, None]:
    """`work(item, stop)` of each item, in their order, in up to `jobs` threads at a time; with one, in this thread.

    An error is raised where its result would come. Then, and when the iterator is closed, nothing more is begun, and what runs
    ends at its next `stop.check()`.
    """
    stop = Stop()
    if jobs == 1:
        yield from (work(item, stop) for item in items)
        return
    with ThreadPoolExecutor(jobs, thread_name_prefix="tdw-analysis") as pool:
        begun: deque[Future[Result]] = deque()
        try:
            for item in items:
                begun.append(pool.submit(work, item, stop))
                if len(begun) >= WAITING * jobs:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
