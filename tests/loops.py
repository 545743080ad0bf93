"""Event loops for tests: a browser started by an earlier test has one in the main thread."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


def run(scene: Coroutine[Any, Any, Result]) -> Result:
    """`asyncio.run` in a thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, scene).result()
