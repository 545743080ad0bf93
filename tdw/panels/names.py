"""Names that people read, for identifiers that files store: one dictionary for the window, figures and captions."""

from __future__ import annotations

from collections.abc import Iterable

READABLE = {
    # variants of the restricted loss
    "sum_directions": "sum directions",
    "block_2x2": "2 × 2 blocks",
    "block_3x3": "3 × 3 blocks",
    "logit_fit": "logit fit",
    # rules for key frequencies
    "logit_cosine": "logit cosine",
    "neuron_map": "neuron maps",
    "clusters": "clusters",
    "embedding": "embedding",
}


def readable(identifier: str) -> str:
    """The name that people read; an identifier that has none is its own.

    >>> readable("block_2x2"), readable("mine")
    ('2 × 2 blocks', 'mine')
    """
    return READABLE.get(identifier, identifier)


def all_readable(identifiers: Iterable[str]) -> tuple[str, ...]:
    """The names that people read, of several identifiers; the identifiers where two would have one name.

    >>> all_readable(["logit_fit", "embedding"]), all_readable(["logit_fit", "logit fit"])
    (('logit fit', 'embedding'), ('logit_fit', 'logit fit'))
    """
    given = tuple(identifiers)
    names = tuple(map(readable, given))
    return names if len(set(names)) == len(given) else given
