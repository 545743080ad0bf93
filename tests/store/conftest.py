"""The processes in which training is killed, and what it would have come to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from workshop import Whole, Workshop, uninterrupted


@pytest.fixture(scope="session")
def workshop() -> Iterator[Workshop]:
    """Does commands of `tdw` in processes of their own."""
    working = Workshop()
    yield working
    working.close()


@pytest.fixture(scope="session")
def whole(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A run of a thousand epochs that was never interrupted."""
    return uninterrupted(workshop, tmp_path_factory.mktemp("whole"), 1000)
