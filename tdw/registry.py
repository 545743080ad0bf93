"""Registries: named objects of one kind, such as tasks, networks, optimizers and losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from tdw.errors import UnknownNameError


class Named(Protocol):
    """Anything with a name to register it under."""

    @property
    def name(self) -> str:
        """What a setting calls it."""
        ...


T = TypeVar("T", bound=Named)


class Registry(Mapping[str, T], Generic[T]):
    """Objects by name, in the order of their registration.

    >>> registry = Registry[Named]("color")
    >>> registry.find("red")
    Traceback (most recent call last):
    ...
    tdw.errors.UnknownNameError: no color is named 'red': there are none.
    """

    def __init__(self, noun: str):
        self.noun = noun
        self._items: dict[str, T] = {}

    def register(self, item: T) -> T:
        """Add an object. Raises ValueError where its name is taken."""
        if item.name in self._items:
            raise ValueError(f"two {self.noun}s are named {item.name!r}: {self._items[item.name]!r} and {item!r}")
        self._items[item.name] = item
        return item

    def find(self, name: str) -> T:
        """The object of that name. Raises UnknownNameError, which suggests the closest name."""
        if name not in self._items:
            raise UnknownNameError(self.noun, name, self._items)
        return self._items[name]

    def __getitem__(self, name: str) -> T:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)
