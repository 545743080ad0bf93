"""A served made-up run, and a page that shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.viewer.serving import Served
from tests.viewer.synthetic import Made


@pytest.fixture
def made() -> Made:
    """A run of its own for the test: it may grow."""
    return Made()


@pytest.fixture
def served(made: Made) -> Iterator[Served]:
    """The made-up run on a server, under the key `made`."""
    server = Served(made=made)
    yield server
    server.close()


@pytest.fixture
def show(page: Any, served: Served) -> Callable[..., Any]:
    """Open the viewer on a run and wait until it is painted."""

    def opened(run: str | None = "made", **options: Any) -> Any:
        page.goto(served.page(run, **options))
        page.wait_for_function("window.tdw !== undefined")
        page.evaluate("window.tdw.ready")
        return page

    return opened


def go(page: Any, index: int) -> None:
    """Show a checkpoint and wait until it is painted."""
    page.evaluate("index => window.tdw.show(index)", index)
    page.wait_for_function("index => window.tdw.painted === index", arg=index)


def press(page: Any, key: str, expected: int) -> None:
    """Press a key and wait until the checkpoint it should lead to is painted."""
    page.keyboard.press(key)
    page.wait_for_function("index => window.tdw.painted === index", arg=expected)


def probe(page: Any, *where: Any) -> Any:
    """What a panel painted: see each kind's `probe`."""
    return page.evaluate("where => window.tdw.probe(...where)", list(where))
